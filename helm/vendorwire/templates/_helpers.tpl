{{/* Names, labels, and what several templates need. */}}

{{- define "vendorwire.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for what is added to it. */}}
{{- define "vendorwire.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "vendorwire.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "vendorwire.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What all pods of the release have, the operator's and `helm test`'s too. */}}
{{- define "vendorwire.selector" -}}
app.kubernetes.io/name: {{ include "vendorwire.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What agents have besides, of either role. */}}
{{- define "vendorwire.agentSelector" -}}
{{ include "vendorwire.selector" . }}
app.kubernetes.io/component: agent
{{- end }}

{{/* The labels of an object; `more` are its own. */}}
{{- define "vendorwire.labelsWith" -}}
{{ include "vendorwire.selector" .root }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with merge (dict) (.more | default dict) .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Annotations of an agent's pod. What is said by the chart is not overridden. */}}
{{- define "vendorwire.agentAnnotations" -}}
{{- $own := dict }}
{{- if not .Values.existingConfigMap }}
{{- $own = dict "checksum/config" (include "vendorwire.config" . | sha256sum) }}
{{- end }}
{{- if .Values.scrapeAnnotations }}
{{- $port := toString .Values.port }}
{{- $own = merge $own (dict "prometheus.io/scrape" "true" "prometheus.io/path" "/metrics" "prometheus.io/port" $port) }}
{{- end }}
{{- toYaml (merge $own .Values.podAnnotations) }}
{{- end }}

{{- define "vendorwire.labels" -}}
{{- include "vendorwire.labelsWith" (dict "root" .) }}
{{- end }}

{{- define "vendorwire.image" -}}
{{- .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "vendorwire.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "vendorwire.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "vendorwire.configMap" -}}
{{- .Values.existingConfigMap | default (include "vendorwire.fullname" .) }}
{{- end }}

{{/* vendorwire.yaml: the values as they are, and where HTTP is served. */}}
{{- define "vendorwire.config" -}}
{{- include "vendorwire.served" (dict "root" . "config" .Values.config) }}
{{- end }}

{{- define "vendorwire.served" -}}
{{- $http := dict "listen" (printf "%s:%d" .root.Values.listenOn (int .root.Values.port)) }}
{{- toYaml (mergeOverwrite (deepCopy .config) (dict "http" $http)) }}
{{- end }}

{{- define "vendorwire.operator" -}}
{{ include "vendorwire.fullname" . }}-operator
{{- end }}

{{- define "vendorwire.operatorConfigMap" -}}
{{- .Values.operator.existingConfigMap | default (include "vendorwire.operator" .) }}
{{- end }}

{{/* The operator's vendorwire.yaml: the agents', but for how NATS is signed in to. */}}
{{- define "vendorwire.operatorConfig" -}}
{{- include "vendorwire.checks" . }}
{{- $bus := omit .Values.config.bus "credentials" "user" "password" "token" "nkey" }}
{{- $config := set (deepCopy .Values.config) "bus" (mergeOverwrite (deepCopy $bus) .Values.operator.bus) }}
{{- include "vendorwire.served" (dict "root" . "config" $config) }}
{{- end }}

{{/* Milliseconds in a duration such as 1m30s. */}}
{{- define "vendorwire.milliseconds" -}}
{{- $units := dict "ms" 1.0 "s" 1000.0 "m" 60000.0 "h" 3600000.0 "d" 86400000.0 }}
{{- $sum := 0.0 }}
{{- range regexFindAll "[0-9.]+(ms|s|m|h|d)" . -1 }}
{{- $unit := regexFind "[a-z]+" . }}
{{- $sum = addf $sum (mulf (trimSuffix $unit . | float64) (get $units $unit)) }}
{{- end }}
{{- ceil $sum | int }}
{{- end }}

{{/* Seconds in a duration, rounded up. */}}
{{- define "vendorwire.seconds" -}}
{{- divf (include "vendorwire.milliseconds" . | int) 1000.0 | ceil | int }}
{{- end }}

{{/* What stopping takes at most: `grace` for deliveries in hand, 3 seconds for a bus that hangs, what comes before. */}}
{{- define "vendorwire.stopping" -}}
{{- add (include "vendorwire.seconds" (.Values.config.grace | default "6s")) 3 .Values.preStopSeconds }}
{{- end }}

{{- define "vendorwire.terminationGrace" -}}
{{- .Values.terminationGracePeriodSeconds | int | default (add (include "vendorwire.stopping" .) 6) }}
{{- end }}

{{/* How many routes there are, at least one: more agents than that have none to work. */}}
{{- define "vendorwire.routes" -}}
{{- max 1 (len (.Values.config.routes | default list)) }}
{{- end }}

{{/* NATS' ports: those named, or those of the URLs. */}}
{{- define "vendorwire.busPorts" -}}
{{- $ports := .Values.networkPolicy.bus.ports }}
{{- if not $ports }}
{{- $urls := dig "bus" "url" list .Values.config }}
{{- if kindIs "string" $urls }}{{ $urls = list $urls }}{{ end }}
{{- range $urls }}
{{- $port := regexFind ":[0-9]+(/|$)" . | trimPrefix ":" | trimSuffix "/" | default "4222" }}
{{- $ports = append $ports (int $port) }}
{{- end }}
{{- end }}
{{- $ports | default (list 4222) | uniq | toJson }}
{{- end }}

{{/* The Deployments: a name, the role it is limited to, and its settings. */}}
{{- define "vendorwire.workloads" -}}
{{- $name := include "vendorwire.fullname" . }}
{{- $found := list }}
{{- if .Values.separateRoles.enabled }}
{{- range $role := list "poll" "route" }}
{{- $own := get $.Values.separateRoles $role }}
{{- $one := dict "name" (printf "%s-%s" $name $role) "role" $role "replicas" $own.replicas "autoscaling" $own.autoscaling }}
{{- $scaled := or $own.autoscaling.enabled (and (eq $role "route") $.Values.keda.enabled) }}
{{- $found = append $found (merge $one (dict "resources" ($own.resources | default $.Values.resources) "scaled" $scaled)) }}
{{- end }}
{{- else }}
{{- $one := dict "name" $name "role" "" "replicas" .Values.replicas "autoscaling" .Values.autoscaling }}
{{- $found = append $found (merge $one (dict "resources" .Values.resources "scaled" .Values.autoscaling.enabled)) }}
{{- end }}
{{- $found | toJson }}
{{- end }}
