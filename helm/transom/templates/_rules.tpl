{{/* What the install may do: what the program asks of an API server and nothing besides (tests/chart.rs holds the two
     together). Nothing here names a Secret in a rule that writes, and nothing is a wildcard. */}}

{{/* In each namespace that is watched. */}}
{{- define "transom.namespacedRules" -}}
- apiGroups: [""]
  resources: [services, secrets, configmaps]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources:
    - gateways
    - listenersets
    - httproutes
    - grpcroutes
    - tlsroutes
    - tcproutes
    - udproutes
    - referencegrants
    - backendtlspolicies
  verbs: [list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources:
    - gateways/status
    - listenersets/status
    - httproutes/status
    - grpcroutes/status
    - tlsroutes/status
    - tcproutes/status
    - udproutes/status
    - backendtlspolicies/status
  verbs: [patch]
- apiGroups: [transom.dev]
  resources: [upstreampolicies]
  verbs: [list, watch]
- apiGroups: [transom.dev]
  resources: [upstreampolicies/status]
  verbs: [patch]
{{- if not .Values.hostNetwork }}
# the Service of each Gateway, and its endpoints
- apiGroups: [""]
  resources: [services]
  verbs: [get, create, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, create, patch, delete]
{{- end }}
{{- end -}}

{{/* What has no namespace. */}}
{{- define "transom.clusterRules" -}}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [list, watch, patch] # the finalizer of a class in use
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get] # which bundle of the Gateway API this is, for `transom check`
{{- if and .Values.hostNetwork (not .Values.publishAddresses) }}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch] # their addresses
{{- end }}
{{- end -}}

{{/* In the release's namespace alone. */}}
{{- define "transom.ownRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end -}}
