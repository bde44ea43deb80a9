{{/* Names and labels. */}}

{{- define "transom.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The release's name; with the chart's behind it where it does not say what it is. */}}
{{- define "transom.fullname" -}}
{{- $name := include "transom.name" . -}}
{{- $long := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $long | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Cluster-scoped objects carry the namespace too. A colon is in no name that could be part of it, so that no two installs can come to one name. */}}
{{- define "transom.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "transom.fullname" .) -}}
{{- end -}}

{{- define "transom.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "transom.fullname" .) -}}
{{- end -}}

{{- define "transom.adminName" -}}
{{- printf "%s-admin" (include "transom.fullname" . | trunc 57 | trimSuffix "-") -}}
{{- end -}}

{{- define "transom.gatewayClass" -}}
{{- .Values.gatewayClass.name | default (include "transom.fullname" .) -}}
{{- end -}}

{{/* A slash cannot be in a namespace or in a release's name: no two installs have one controllerName. */}}
{{- define "transom.controllerName" -}}
{{- .Values.controllerName | default (printf "transom.dev/%s/%s" .Release.Namespace .Release.Name) -}}
{{- end -}}

{{- define "transom.image" -}}
{{- with .Values.image -}}
{{- with .registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .repository -}}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Which pods are this install's. Never changes: a Deployment's selector cannot. */}}
{{- define "transom.selectorLabels" -}}
app.kubernetes.io/name: {{ include "transom.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of an object: a list of the root and the object's own. What selects pods beats everything. */}}
{{- define "transom.labels" -}}
{{- $root := first . -}}
{{- $standard := dict
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") -}}
{{- $selector := include "transom.selectorLabels" $root | fromYaml -}}
{{- mergeOverwrite $standard (deepCopy $root.Values.commonLabels) (last . | default dict | deepCopy) $selector | toYaml -}}
{{- end -}}
