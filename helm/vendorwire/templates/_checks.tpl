{{/* What a schema cannot say. Each ends in a sentence that tells what to change. */}}

{{- define "vendorwire.checks" -}}
{{- include "vendorwire.checkConfig" . }}
{{- include "vendorwire.checkOperator" . }}
{{- include "vendorwire.checkSecrets" . }}
{{- include "vendorwire.checkVariables" . }}
{{- include "vendorwire.checkPlainVariables" . }}
{{- include "vendorwire.checkScaling" . }}
{{- include "vendorwire.checkStopping" . }}
{{- include "vendorwire.checkScraping" . }}
{{- include "vendorwire.checkNetwork" . }}
{{- end }}

{{- define "vendorwire.checkConfig" -}}
{{- if and .Values.config .Values.existingConfigMap }}
{{- fail "config and existingConfigMap are both set: choose one" }}
{{- end }}
{{- if not (or .Values.config .Values.existingConfigMap) }}
{{- fail "config is empty: write vendorwire.yaml there, or name a ConfigMap of yours in existingConfigMap" }}
{{- end }}
{{- end }}

{{- define "vendorwire.checkOperator" -}}
{{- with .Values.operator }}
{{- if .enabled }}
{{- if and $.Values.existingConfigMap (not .existingConfigMap) }}
{{- fail "operator.existingConfigMap is empty: with existingConfigMap the operator needs a ConfigMap of yours too, which signs in to NATS as the operator" }}
{{- end }}
{{- $own := pick .bus "credentials" "user" "token" "nkey" "tls" }}
{{- if and (not .existingConfigMap) (not $own) (pick $.Values.config.bus "credentials" "user" "token" "nkey") }}
{{- fail "operator.bus does not sign in, and config.bus does: say how commands sign in to NATS, as a user who may do what they do" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What is configured in the values, of the operator too where there is one. */}}
{{- define "vendorwire.configured" -}}
{{- $of := list .Values.config }}
{{- if .Values.operator.enabled }}{{ $of = append $of .Values.operator.bus }}{{ end }}
{{- toJson $of }}
{{- end }}

{{- define "vendorwire.checkSecrets" -}}
{{- include "vendorwire.checkMounted" (dict "in" "config" "config" .Values.config "named" "secrets" "secrets" .Values.secrets) }}
{{- with .Values.operator }}
{{- if .enabled }}
{{- $mounted := concat $.Values.secrets .secrets }}
{{- include "vendorwire.checkMounted" (dict "in" "operator.bus" "config" .bus "named" "operator.secrets" "secrets" $mounted) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vendorwire.checkMounted" -}}
{{- range regexFindAll "/etc/vendorwire/secrets/[^/\"}]*" (toJson .config) -1 }}
{{- $name := base . }}
{{- if not (has $name $.secrets) }}
{{- fail (printf "%s refers to %s/…, and %s does not list %q: add it" $.in . $.named $name) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vendorwire.checkVariables" -}}
{{- $names := list }}
{{- range .Values.env }}{{ $names = append $names .name }}{{ end }}
{{- range regexFindAll "\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}" (include "vendorwire.configured" .) -1 }}
{{- $name := trimPrefix "${" . | trimSuffix "}" }}
{{- if not (has $name $names) }}
{{- fail (printf "config refers to ${%s}, and env has no variable of that name: add it" $name) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vendorwire.checkPlainVariables" -}}
{{- range $setting := regexFindAll "(secret|password|token|api_key|nkey|passphrase)\":(\\[[^]]*\\]|\"[^\"]*\")" (include "vendorwire.configured" .) -1 }}
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

{{- define "vendorwire.checkScraping" -}}
{{- with .Values.serviceMonitor }}
{{- if gt (include "vendorwire.milliseconds" .scrapeTimeout | int) (include "vendorwire.milliseconds" .interval | int) }}
{{- fail (printf "serviceMonitor.scrapeTimeout is %s, longer than serviceMonitor.interval, %s: Prometheus refuses that" .scrapeTimeout .interval) }}
{{- end }}
{{- end }}
{{- end }}

{{/* NATS' own port leads to NATS; one that others have leads to whatever the cloud and the cluster serve there. */}}
{{- define "vendorwire.checkNetwork" -}}
{{- with .Values.networkPolicy }}
{{- if and .enabled (not .bus.to) }}
{{- $common := concat (list 80 443) .https.ports | toJson | fromJsonArray }}
{{- range (include "vendorwire.busPorts" $ | fromJsonArray) }}
{{- if has . $common }}
{{- fail (printf "networkPolicy.bus.to is empty, and the bus is at port %d: that would open it to every address, private ones and the cloud's metadata too; say where NATS is" (int .)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
