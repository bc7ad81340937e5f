{{/* What the pods of agents, of the operator and of `helm test` have in common. Nothing of this can be switched off. */}}

{{- define "vendorwire.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with .Values.security.runAsUser }}
  runAsUser: {{ int . }}
  {{- end }}
  {{- with .Values.security.runAsGroup }}
  runAsGroup: {{ int . }}
  {{- end }}
  {{- with .Values.security.fsGroup }}
  fsGroup: {{ int . }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* `secrets` are mounted; all else is in `root`. */}}
{{- define "vendorwire.container" -}}
image: {{ include "vendorwire.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
env:
  - name: VENDORWIRE_CONFIG
    value: /etc/vendorwire/config/vendorwire.yaml
  {{- with .root.Values.tokenKey }}
  {{- if .secretName }}
  - name: VENDORWIRE_KEY
    valueFrom:
      secretKeyRef: {name: {{ .secretName }}, key: {{ .key }}}
  {{- end }}
  {{- end }}
  {{- with .root.Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/vendorwire/config
    readOnly: true
  {{- range $index, $name := .secrets }}
  - name: secret-{{ $index }}
    mountPath: /etc/vendorwire/secrets/{{ $name }}
    readOnly: true
  {{- end }}
{{- end }}

{{/* `configMap` has vendorwire.yaml. */}}
{{- define "vendorwire.volumes" -}}
volumes:
  - name: config
    configMap:
      name: {{ .configMap }}
  {{- range $index, $name := .secrets }}
  - name: secret-{{ $index }}
    secret:
      secretName: {{ $name }}
      defaultMode: {{ ternary 0440 0444 (not (empty $.root.Values.security.fsGroup)) }}
  {{- end }}
{{- end }}

{{- define "vendorwire.nodes" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "vendorwire.probe" -}}
httpGet: {path: {{ .path }}, port: http}
{{ toYaml .settings }}
{{- end }}

{{- define "vendorwire.spread" -}}
{{- range .root.Values.topologySpread.keys }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: {{ $.root.Values.topologySpread.whenUnsatisfiable }}
  labelSelector:
    matchLabels:
      {{- $.selector | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
