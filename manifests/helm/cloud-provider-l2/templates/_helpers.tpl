{{/* A file of the chart, for the namespace of this release. */}}
{{- define "l2.file" -}}
{{- .Files.Get .path | replace "metallb-system" .Release.Namespace -}}
{{- end }}

{{/* The same, one object, as a value. */}}
{{- define "l2.labelled" -}}
{{- $object := include "l2.file" . | fromYaml -}}
{{- with .labels }}{{ $_ := set $object.metadata "labels" (merge (dict) . (default (dict) $object.metadata.labels)) }}{{ end -}}
{{- toYaml $object -}}
{{- end }}

{{- define "l2.image" -}}
{{- $image := .component.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* What both programs must be told alike. */}}
{{- define "l2.selection" -}}
{{- with .Values.loadBalancerClass }}
- --load-balancer-class={{ . }}
{{- end }}
{{- if not .Values.serveClassless }}
- --serve-classless=false
{{- end }}
{{- if .Values.ignoreExcludeLB }}
- --ignore-exclude-lb
{{- end }}
{{- end }}

{{/* Helm reads every number as a float, and would write large ones as 1e+06. */}}
{{- define "l2.flags" -}}
{{- range $name, $value := .flags }}
- {{ if and (kindIs "float64" $value) (eq $value (floor $value)) }}{{ printf "--%s=%d" $name (int64 $value) | quote }}{{ else }}{{ printf "--%s=%v" $name $value | quote }}{{ end }}
{{- end }}
{{- end }}

{{/* Made when a release has been uninstalled, and removed again. */}}
{{- define "l2.afterUninstall" }}
    helm.sh/hook: post-delete
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}
