{{/* Labels of every object. */}}
{{- define "weighbridge.labels" -}}
{{ include "weighbridge.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* What never changes, so that it can be in selectors. */}}
{{- define "weighbridge.selector" -}}
app.kubernetes.io/name: weighbridge
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The image, by digest. */}}
{{- define "weighbridge.image" -}}
{{ .Values.image.repository }}@{{ required "image.digest is required: sha256:… of the image to run" .Values.image.digest }}
{{- end }}

{{/* What both Pods declare for security: the restricted level, and no writing to the root. */}}
{{- define "weighbridge.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "weighbridge.securityContext" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end }}

{{/* Environment of both programs: who they are. */}}
{{- define "weighbridge.identity" -}}
- name: WEIGHBRIDGE_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: WEIGHBRIDGE_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: WEIGHBRIDGE_POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: WEIGHBRIDGE_LOG
  value: {{ .Values.log.level | quote }}
- name: WEIGHBRIDGE_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
{{- end }}

{{/* Probes: the metrics port answers before the serving certificate is there. */}}
{{- define "weighbridge.probes" -}}
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  failureThreshold: 1
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 1
  failureThreshold: 60
{{- end }}
