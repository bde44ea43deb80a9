"""A Kubernetes cluster of one node on this machine, without a container engine.

settings   where things lie, which addresses there are: read from the environment once
programs   what the cluster consists of: fetched, compiled, put into images
node       the namespaces that hold it: processes and mounts in them, and their end
parts      each process: its command line and its configuration
"""
