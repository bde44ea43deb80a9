{{/* What is mounted: the pattern of Services, the state, and what the user adds. */}}

{{- define "transom.mounts" -}}
{{- $mounts := list -}}
{{- if not .Values.hostNetwork -}}
  {{- $mounts = append $mounts (dict "name" "transom-config" "mountPath" "/etc/transom" "readOnly" true) -}}
{{- end -}}
{{- if .Values.state.enabled -}}
  {{- $mounts = append $mounts (dict "name" "transom-state" "mountPath" "/var/lib/transom") -}}
{{- end -}}
{{- range .Values.volumes -}}
  {{- $mounts = append $mounts (dict "name" (tpl .name $) "mountPath" .mountPath "readOnly" (ne .type "persistentVolumeClaim")) -}}
{{- end -}}
{{- with concat $mounts .Values.additionalVolumeMounts }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- define "transom.volumes" -}}
{{- $volumes := list -}}
{{- if not .Values.hostNetwork -}}
  {{- $volumes = append $volumes (dict "name" "transom-config" "configMap" (dict "name" (include "transom.fullname" .))) -}}
{{- end -}}
{{- if .Values.state.enabled -}}
  {{- $volumes = append $volumes (merge (dict "name" "transom-state") (deepCopy .Values.state.volume)) -}}
{{- end -}}
{{- range .Values.volumes -}}
  {{- $name := tpl .name $ -}}
  {{- $field := get (dict "secret" "secretName" "configMap" "name" "persistentVolumeClaim" "claimName") .type -}}
  {{- $volumes = append $volumes (dict "name" $name .type (dict $field $name)) -}}
{{- end -}}
{{- with concat $volumes .Values.deployment.additionalVolumes }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* What --service-template reads: only what is given. */}}
{{- define "transom.serviceTemplate" -}}
{{- $given := dict -}}
{{- range $key, $value := .Values.service }}{{ if $value }}{{ $_ := set $given $key $value }}{{ end }}{{ end -}}
{{- toYaml $given -}}
{{- end -}}
