{{/* Names, labels, images, and what is worked out from values. A component is ingester, store, scraper, querier, alertEvaluator or gateway. */}}

{{- define "tidemark.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "tidemark.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "tidemark.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tidemark.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* alertEvaluator → alert-evaluator, the name of the service's folder. */}}
{{- define "tidemark.service" -}}
{{- . | kebabcase -}}
{{- end -}}

{{/* Arguments: dict "root" $ "component" "ingester". */}}
{{- define "tidemark.componentName" -}}
{{- printf "%s-%s" (include "tidemark.fullname" .root) (include "tidemark.service" .component) -}}
{{- end -}}

{{- define "tidemark.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tidemark.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ include "tidemark.service" .component }}
{{- end -}}

{{- define "tidemark.labels" -}}
{{ include "tidemark.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tidemark
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidemark.annotations" -}}
{{- with .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The component's values over the defaults, as YAML. */}}
{{- define "tidemark.componentValues" -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy (index .root.Values .component))) -}}
{{- end -}}

{{/* Arguments: dict "root" $ "image" (an image section) "tag" (used when the section has none). */}}
{{- define "tidemark.image" -}}
{{- $registry := default .image.registry .root.Values.global.imageRegistry -}}
{{- $name := .image.repository -}}
{{- if $registry -}}{{- $name = printf "%s/%s" $registry $name -}}{{- end -}}
{{- if .image.digest -}}{{- printf "%s@%s" $name .image.digest -}}{{- else -}}{{- printf "%s:%s" $name (default .tag .image.tag) -}}{{- end -}}
{{- end -}}

{{- define "tidemark.serviceAccountName" -}}
{{- $values := include "tidemark.componentValues" . | fromYaml -}}
{{- if $values.serviceAccount.create -}}
{{- default (include "tidemark.componentName" .) $values.serviceAccount.name -}}
{{- else -}}
{{- default "default" $values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "tidemark.ingesterCount" -}}
{{- $replicas := (include "tidemark.componentValues" (dict "root" . "component" "ingester") | fromYaml).replicas | int -}}
{{- mul $replicas (max 1 (len .Values.ingester.zones)) -}}
{{- end -}}

{{- define "tidemark.replicationFactor" -}}
{{- min (int .Values.cluster.replicationFactor) (include "tidemark.ingesterCount" . | int) -}}
{{- end -}}

{{- define "tidemark.storeReplicationFactor" -}}
{{- min (int .Values.cluster.storeReplicationFactor) ((include "tidemark.componentValues" (dict "root" . "component" "store") | fromYaml).replicas | int) -}}
{{- end -}}

{{- define "tidemark.natsUrl" -}}
{{- if .Values.nats.enabled -}}
{{- printf "nats://%s-nats.%s.svc:4222" (include "tidemark.fullname" .) (include "tidemark.namespace" .) -}}
{{- else -}}
{{- if not .Values.externalNats.servers -}}
{{- fail "nats.enabled is false, and externalNats.servers is empty: one of them has to give a NATS" -}}
{{- end -}}
{{- join "," .Values.externalNats.servers -}}
{{- end -}}
{{- end -}}

{{- define "tidemark.natsReplicas" -}}
{{- if .Values.nats.enabled -}}{{- .Values.nats.replicas -}}{{- else -}}{{- .Values.externalNats.replicas -}}{{- end -}}
{{- end -}}

{{/* The Secret with the certificate that all services share. */}}
{{- define "tidemark.tlsSecret" -}}
{{- if .Values.tls.existingSecret -}}
{{- .Values.tls.existingSecret -}}
{{- else -}}
{{- if not .Values.tls.issuerRef.name -}}
{{- fail "tls.enabled needs tls.existingSecret, or tls.issuerRef.name for cert-manager to make one" -}}
{{- end -}}
{{- printf "%s-tls" (include "tidemark.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "tidemark.configMapName" -}}
{{- default (printf "%s-config" (include "tidemark.fullname" .)) .Values.existingConfigMap -}}
{{- end -}}

{{- define "tidemark.externalUrl" -}}
{{- if .Values.gateway.externalUrl -}}
{{- .Values.gateway.externalUrl -}}
{{- else -}}
{{- printf "http://%s-gateway.%s.svc:%d" (include "tidemark.fullname" .) (include "tidemark.namespace" .) (int .Values.gateway.service.port) -}}
{{- end -}}
{{- end -}}
