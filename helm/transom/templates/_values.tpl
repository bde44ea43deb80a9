{{/* Values that have to be looked at before they are used. */}}

{{/* The one value of several that mean the same; a dict of name and value. Two that differ are an error. */}}
{{- define "transom.oneOf" -}}
{{- $said := dict -}}
{{- range $name, $value := . -}}
  {{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) -}}
    {{- range $other, $text := $said -}}
      {{- if ne $text (toString $value) -}}
        {{- fail (printf "%s is %s and %s is %s: they mean the same, give one" $other $text $name (toString $value)) -}}
      {{- end -}}
    {{- end -}}
    {{- $_ := set $said $name (toString $value) -}}
  {{- end -}}
{{- end -}}
{{- range $said | values | uniq }}{{ . }}{{ end -}}
{{- end -}}

{{/* "yes" if the cluster has this API, as group/version/Kind, or if there is no cluster to ask (helm template): what is
     rendered for later is rendered whole. */}}
{{- define "transom.has" -}}
{{- if .root.Capabilities.APIVersions.Has .api -}}
yes
{{- else if not (lookup "v1" "Namespace" "" "kube-system") -}}
yes
{{- end -}}
{{- end -}}

{{- define "transom.hasGatewayApi" -}}
{{- include "transom.has" (dict "root" . "api" "gateway.networking.k8s.io/v1/GatewayClass") -}}
{{- end -}}

{{/* Namespaces that are watched, separated by commas; empty: all. */}}
{{- define "transom.namespaces" -}}
{{- $listed := .Values.providers.kubernetesGateway.namespaces -}}
{{- if or $listed .Values.rbac.namespaced -}}
{{- append $listed .Release.Namespace | uniq | sortAlpha | join "," -}}
{{- end -}}
{{- end -}}

{{/* Combinations that would be ignored, or would not work, are refused. Included once, by the workload. */}}
{{- define "transom.refuse" -}}
{{- $plain := dict "type" "LoadBalancer" -}}
{{- if .Values.hostNetwork -}}
  {{- range $key, $value := .Values.service -}}
    {{- if and $value (ne (toString $value) (get $plain $key)) -}}
      {{- fail (printf "service.%s: with hostNetwork no Service is made for a Gateway; leave it out" $key) -}}
    {{- end -}}
  {{- end -}}
  {{- if .Values.networkPolicy.enabled -}}
    {{- fail "networkPolicy.enabled: a NetworkPolicy has no hold on pods with hostNetwork; set one of the two" -}}
  {{- end -}}
{{- else -}}
  {{- if .Values.publishAddresses -}}
    {{- fail "publishAddresses: only with hostNetwork; otherwise a Gateway's addresses are those of its Service" -}}
  {{- end -}}
  {{- if and (ne .Values.service.type "LoadBalancer") .Values.service.loadBalancerClass -}}
    {{- fail (printf "service.loadBalancerClass: a Service of type %s has none" .Values.service.type) -}}
  {{- end -}}
  {{- if and (ne .Values.service.type "LoadBalancer") .Values.service.loadBalancerSourceRanges -}}
    {{- fail (printf "service.loadBalancerSourceRanges: a Service of type %s has none" .Values.service.type) -}}
  {{- end -}}
  {{- if and (eq .Values.service.type "ClusterIP") .Values.service.externalTrafficPolicy -}}
    {{- fail "service.externalTrafficPolicy: a Service of type ClusterIP has none" -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (ne .Values.deployment.kind "Deployment") -}}
  {{- fail "autoscaling.enabled: a DaemonSet cannot be scaled; set deployment.kind to Deployment" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
  {{- fail "autoscaling.minReplicas is greater than autoscaling.maxReplicas" -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
  {{- if and .enabled (not (kindIs "invalid" .minAvailable)) (not (kindIs "invalid" .maxUnavailable)) -}}
    {{- fail "podDisruptionBudget: give minAvailable or maxUnavailable, not both" -}}
  {{- end -}}
{{- end -}}
{{- $other := ternary "OnDelete" "Recreate" (eq .Values.deployment.kind "Deployment") -}}
{{- if eq (.Values.updateStrategy.type | default "") $other -}}
  {{- fail (printf "updateStrategy.type: a %s has no %s" .Values.deployment.kind $other) -}}
{{- end -}}
{{- with .Values.metrics.prometheus.prometheusRule -}}
  {{- if and .enabled (not .defaultRules) (not .rules) -}}
    {{- fail "metrics.prometheus.prometheusRule: without defaultRules and rules there is nothing to make" -}}
  {{- end -}}
{{- end -}}
{{- $watched := include "transom.namespaces" . -}}
{{- $home := .Values.gateway.namespace | default .Release.Namespace -}}
{{- if and .Values.gateway.enabled $watched (not (has $home (splitList "," $watched))) -}}
  {{- fail (printf "gateway.namespace: %s is not among the namespaces that are watched (%s)" $home $watched) -}}
{{- end -}}
{{- end -}}
