{{/* The setting `ports`, as JSON; empty if no port has any. Names become the ports that they stand for. */}}
{{- define "transom.ports" -}}
{{- $ports := dict -}}
{{- $names := dict -}}
{{- $named := dict -}}
{{- range $name, $given := .Values.ports -}}
  {{- if $given -}}
    {{- $port := toString (int $given.port) -}}
    {{- if hasKey $names $port -}}
      {{- fail (printf "ports.%s.port and ports.%s.port are both %s" (get $names $port) $name $port) -}}
    {{- end -}}
    {{- $_ := set $names $port $name -}}
    {{- $_ := set $named $name $port -}}
  {{- end -}}
{{- end -}}
{{- range $name, $given := .Values.ports -}}
  {{- if $given -}}
    {{- $settings := dict -}}
    {{- with $given.proxyProtocol -}}
      {{- if .trustedIPs -}}
        {{- $_ := set $settings "proxyProtocol" . -}}
      {{- else if .mode -}}
        {{- fail (printf "ports.%s.proxyProtocol.mode: without trustedIPs there is nobody to send it" $name) -}}
      {{- end -}}
    {{- end -}}
    {{- with ($given.forwardedHeaders | default dict).trustedIPs -}}
      {{- $_ := set $settings "forwardedHeaders" (dict "trustedIPs" .) -}}
    {{- end -}}
    {{- with ($given.redirections | default dict).entryPoint -}}
      {{- $to := toString (.to | default "") -}}
      {{- if not $to -}}
        {{- fail (printf "ports.%s.redirections.entryPoint.to: missing" $name) -}}
      {{- end -}}
      {{- $port := get $named $to | default (trimPrefix ":" $to) -}}
      {{- if not (regexMatch "^[1-9][0-9]*$" $port) -}}
        {{- fail (printf "ports.%s.redirections.entryPoint.to: %s is neither a name in ports nor a port" $name $to) -}}
      {{- end -}}
      {{- $_ := set $settings "redirections" (dict "entryPoint" (merge (dict "to" (int $port)) .)) -}}
    {{- end -}}
    {{- if $settings -}}
      {{- $_ := set $ports (get $named $name) $settings -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if $ports }}{{ toJson $ports }}{{ end -}}
{{- end -}}
