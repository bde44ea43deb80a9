{{/* What the install may do. Nothing here names a Secret in a rule that writes, and nothing is a wildcard. */}}

{{/* In each namespace that is watched. */}}
{{- define "transom.namespacedRules" -}}
- apiGroups: [""]
  resources: [services, secrets, configmaps]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
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
  verbs: [get, list, watch]
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
  verbs: [patch, update]
- apiGroups: [transom.dev]
  resources: [upstreampolicies]
  verbs: [get, list, watch]
- apiGroups: [transom.dev]
  resources: [upstreampolicies/status]
  verbs: [patch, update]
{{- if not .Values.hostNetwork }}
# the Service of each Gateway, and its endpoints
- apiGroups: [""]
  resources: [services]
  verbs: [create, patch, update, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [create, patch, update, delete]
{{- end }}
{{- end -}}

{{/* What has no namespace. */}}
{{- define "transom.clusterRules" -}}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [get, list, watch, patch, update] # the finalizer of a class in use
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses/status]
  verbs: [patch, update]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get] # which bundle of the Gateway API this is
{{- if .Values.hostNetwork }}
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch] # their addresses
{{- end }}
{{- end -}}

{{/* In the release's namespace alone. */}}
{{- define "transom.ownRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
{{- end -}}
