{{/* The flags of `transom run`, one a line. */}}

{{- define "transom.arguments" -}}
{{- $provider := .Values.providers.kubernetesGateway -}}
{{- $classes := include "transom.oneOf" (dict
  "providers.kubernetesGateway.gatewayClassSelector" $provider.gatewayClassSelector
  "providers.kubernetesGateway.labelSelector" $provider.labelSelector
  "providers.kubernetesGateway.labelselector" $provider.labelselector) -}}
{{- $level := include "transom.oneOf" (dict "log.level" .Values.log.level "logs.general.level" .Values.logs.general.level) | lower -}}
{{- $format := include "transom.oneOf" (dict "log.format" .Values.log.format "logs.general.format" .Values.logs.general.format) -}}
{{- $logged := include "transom.oneOf" (dict "accessLog.enabled" .Values.accessLog.enabled "logs.access.enabled" .Values.logs.access.enabled) -}}
{{- $line := include "transom.oneOf" (dict "accessLog.format" .Values.accessLog.format "logs.access.format" .Values.logs.access.format) -}}
{{- $codes := include "transom.oneOf" (dict "accessLog.filters.statusCodes" .Values.accessLog.filters.statusCodes "logs.access.filters.statuscodes" .Values.logs.access.filters.statuscodes) -}}
{{- $duration := include "transom.oneOf" (dict "accessLog.filters.minDuration" .Values.accessLog.filters.minDuration "logs.access.filters.minduration" .Values.logs.access.filters.minduration) -}}
--kubernetes
--controller-name={{ include "transom.controllerName" . }}
--admin-address=[$(POD_IP)]:{{ .Values.admin.port }}
--pod-selector={{ range $i, $label := include "transom.selectorLabels" . | fromYaml | toYaml | splitList "\n" }}{{ if $i }},{{ end }}{{ $label | replace ": " "=" }}{{ end }}
--expose={{ .Values.hostNetwork | ternary "host" "service" }}
{{- if not .Values.hostNetwork }}
--service-template=/etc/transom/service.yaml
{{- end }}
{{- with .Values.publishAddresses }}
--publish-addresses={{ join "," . }}
{{- end }}
{{- if .Values.state.enabled }}
--state-file=/var/lib/transom/state
{{- end }}
{{- with include "transom.namespaces" . }}
--namespaces={{ . }}
{{- end }}
{{- with $classes }}
--gateway-class-selector={{ . }}
{{- end }}
{{- with $provider.gatewaySelector }}
--gateway-selector={{ . }}
{{- end }}
{{- with $provider.routeSelector }}
--route-selector={{ . }}
{{- end }}
{{- with .Values.tls.minVersion }}
--tls-min-version={{ . }}
{{- end }}
{{- with .Values.tls.cipherSuites }}
--tls-cipher-suites={{ join "," . }}
{{- end }}
{{- with $level }}
--log-level={{ . }}
{{- end }}
{{- with $format }}
--log-format={{ . }}
{{- end }}
{{- with include "transom.ports" . }}
--ports={{ . }}
{{- end }}
{{- if eq $logged "false" }}
--access-log=off
{{- else if $line }}
--access-log={{ $line }}
{{- end }}
{{- with .Values.tracing.otlp.http.endpoint }}
--tracing-otlp-endpoint={{ . }}
{{- end }}
{{- if not (kindIs "invalid" .Values.tracing.sampleRate) }}
--tracing-sample-rate={{ printf "%.6f" (float64 .Values.tracing.sampleRate) }}
{{- end }}
{{- with .Values.tracing.serviceName }}
--tracing-service-name={{ . }}
{{- end }}
{{- with $codes }}
--access-log-status={{ . | replace " " "" }}
{{- end }}
{{- with $duration }}
--access-log-min-duration={{ . }}
{{- end }}
{{- if not (kindIs "invalid" .Values.accessLog.sample) }}
--access-log-sample={{ printf "%.6f" (float64 .Values.accessLog.sample) }}
{{- end }}
{{- with include "transom.loggedHeaders" . }}
--access-log-headers={{ . }}
{{- end }}
{{- end -}}

{{/* Headers in the access log, as the flag has them. Of those that are kept by default credentials are redacted. */}}
{{- define "transom.loggedHeaders" -}}
{{- $new := .Values.accessLog.fields.headers -}}
{{- $old := .Values.logs.access.fields.headers -}}
{{- $others := include "transom.oneOf" (dict "accessLog.fields.headers.defaultMode" $new.defaultMode "logs.access.fields.headers.defaultmode" $old.defaultmode) -}}
{{- $names := dict -}}
{{- range $name, $mode := merge (deepCopy $new.names) $old.names -}}
  {{- $said := include "transom.oneOf" (dict (printf "accessLog.fields.headers.names.%s" $name) (get $new.names $name) (printf "logs.access.fields.headers.names.%s" $name) (get $old.names $name)) -}}
  {{- if $said -}}{{- $_ := set $names $name $said -}}{{- end -}}
{{- end -}}
{{- $all := list -}}
{{- range $name, $mode := $names -}}{{- $all = append $all (printf "%s=%s" (lower $name) $mode) -}}{{- end -}}
{{- if eq $others "keep" -}}{{- $all = append $all "*" -}}{{- end -}}
{{- if eq $others "redact" -}}{{- $all = append $all "*=redact" -}}{{- end -}}
{{- join "," $all -}}
{{- end -}}

{{/* The same, and what the user adds, as a list. */}}
{{- define "transom.args" -}}
{{- $ours := include "transom.arguments" . | splitList "\n" -}}
{{- $flags := list -}}
{{- range $ours }}{{ $flags = append $flags (splitList "=" . | first) }}{{ end -}}
{{- range .Values.additionalArguments -}}
  {{- if has (splitList "=" . | first) $flags -}}
    {{- fail (printf "additionalArguments: %s is set by the chart; see its values" (splitList "=" . | first)) -}}
  {{- end -}}
{{- end -}}
- run
{{ concat $ours .Values.additionalArguments | toYaml }}
{{- end -}}
