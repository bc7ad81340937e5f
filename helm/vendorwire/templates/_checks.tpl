{{/* What a schema cannot say. Each ends in a sentence that tells what to change. */}}

{{- define "vendorwire.checks" -}}
{{- include "vendorwire.checkConfig" . }}
{{- include "vendorwire.checkSecrets" . }}
{{- include "vendorwire.checkVariables" . }}
{{- include "vendorwire.checkPlainVariables" . }}
{{- include "vendorwire.checkScaling" . }}
{{- include "vendorwire.checkStopping" . }}
{{- end }}

{{- define "vendorwire.checkConfig" -}}
{{- if and .Values.config .Values.existingConfigMap }}
{{- fail "config and existingConfigMap are both set: choose one" }}
{{- end }}
{{- if not (or .Values.config .Values.existingConfigMap) }}
{{- fail "config is empty: write vendorwire.yaml there, or name a ConfigMap of yours in existingConfigMap" }}
{{- end }}
{{- end }}

{{- define "vendorwire.checkSecrets" -}}
{{- range regexFindAll "/etc/vendorwire/secrets/[^/\"}]*" (toJson .Values.config) -1 }}
{{- $name := base . }}
{{- if not (has $name $.Values.secrets) }}
{{- fail (printf "config refers to %s/…, and secrets does not list %q: add it" . $name) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vendorwire.checkVariables" -}}
{{- $names := list }}
{{- range .Values.env }}{{ $names = append $names .name }}{{ end }}
{{- range regexFindAll "\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}" (toJson .Values.config) -1 }}
{{- $name := trimPrefix "${" . | trimSuffix "}" }}
{{- if not (has $name $names) }}
{{- fail (printf "config refers to ${%s}, and env has no variable of that name: add it" $name) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vendorwire.checkPlainVariables" -}}
{{- range $setting := regexFindAll "(secret|password|token|api_key|nkey|passphrase)\":(\\[[^]]*\\]|\"[^\"]*\")" (toJson .Values.config) -1 }}
{{- range $.Values.env }}
{{- if and (hasKey . "value") (contains (printf "${%s}" .name) $setting) }}
{{- fail (printf "env: %s is a secret of config in plain text: take it from a Secret, by valueFrom" .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vendorwire.checkScaling" -}}
{{- if and .Values.separateRoles.enabled .Values.autoscaling.enabled }}
{{- fail "autoscaling is that of one Deployment: with separateRoles.enabled set separateRoles.poll.autoscaling or separateRoles.route.autoscaling" }}
{{- end }}
{{- if .Values.existingConfigMap }}
{{- if and .Values.keda.enabled (not .Values.keda.maxReplicas) }}
{{- fail "keda.maxReplicas is 0, and how many routes existingConfigMap has is not known here: set it" }}
{{- end }}
{{- with .Values.separateRoles }}
{{- if and .enabled .route.autoscaling.enabled (not .route.autoscaling.maxReplicas) }}
{{- fail "separateRoles.route.autoscaling.maxReplicas is 0, and how many routes existingConfigMap has is not known here: set it" }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.keda }}
{{- if .enabled }}
{{- if not $.Values.separateRoles.enabled }}
{{- fail "keda scales the agents that deliver: set separateRoles.enabled" }}
{{- end }}
{{- if $.Values.separateRoles.route.autoscaling.enabled }}
{{- fail "keda and separateRoles.route.autoscaling would both choose the number of agents: switch one off" }}
{{- end }}
{{- if not .prometheusUrl }}
{{- fail "keda.prometheusUrl is empty: name the Prometheus that has the agents' metrics" }}
{{- end }}
{{- $most := .maxReplicas | int | default (include "vendorwire.routes" $ | int) }}
{{- if gt (.minReplicas | int) $most }}
{{- fail (printf "keda.minReplicas is above keda.maxReplicas, which is %d" $most) }}
{{- end }}
{{- end }}
{{- end }}
{{- range (include "vendorwire.workloads" . | fromJsonArray) }}
{{- $most := .autoscaling.maxReplicas | int | default (include "vendorwire.routes" $ | int) }}
{{- if and .autoscaling.enabled (gt (.autoscaling.minReplicas | int) $most) }}
{{- fail (printf "autoscaling of %s: minReplicas is above maxReplicas, which is %d" .name $most) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vendorwire.checkStopping" -}}
{{- $given := .Values.terminationGracePeriodSeconds | int }}
{{- $needed := include "vendorwire.stopping" . | int }}
{{- if and $given (le $given $needed) }}
{{- fail (printf "terminationGracePeriodSeconds is %d: stopping takes up to %d seconds (config.grace, 3 seconds for a bus that hangs, preStopSeconds); set more, or 0 to have it computed" $given $needed) }}
{{- end }}
{{- end }}
