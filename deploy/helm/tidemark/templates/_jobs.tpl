{{/* The scrape jobs that the chart offers. */}}

{{/* Pods of the StatefulSets have lasting names; the other pods are found by their annotations. */}}
{{- define "tidemark.job.self" -}}
job_name: tidemark
static_configs:
  {{- range $component := list "ingester" "store" }}
  {{- $arguments := dict "root" $ "component" $component }}
  {{- $values := include "tidemark.componentValues" $arguments | fromYaml }}
  {{- $name := include "tidemark.componentName" $arguments }}
  {{- $sets := list $name }}
  {{- if and (eq $component "ingester") $.Values.ingester.zones }}
  {{- $sets = list }}
  {{- range $.Values.ingester.zones }}
  {{- $sets = append $sets (printf "%s-%s" $name .name) }}
  {{- end }}
  {{- end }}
  - labels: {service: {{ $component }}}
    targets:
      {{- range $set := $sets }}
      {{- range $ordinal := until (int $values.replicas) }}
      - {{ printf "%s-%d.%s.%s.svc:9090" $set $ordinal $name (include "tidemark.namespace" $) }}
      {{- end }}
      {{- end }}
  {{- end }}
{{- end -}}

{{- define "tidemark.job.pods" -}}
job_name: kubernetes-pods
kubernetes_sd_configs:
  - role: pod
    {{- if .Values.rbac.namespaced }}
    namespaces: {own_namespace: true}
    {{- end }}
relabel_configs:
  - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape]
    regex: "true"
    action: keep
  - source_labels: [__meta_kubernetes_pod_phase]
    regex: Pending|Succeeded|Failed
    action: drop
  - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scheme]
    regex: (https?)
    target_label: __scheme__
  - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path]
    regex: (.+)
    target_label: __metrics_path__
  - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_port, __meta_kubernetes_pod_ip]
    regex: (\d+);(((\d{1,3}\.){3})\d{1,3})
    replacement: $2:$1
    target_label: __address__
  - source_labels: [__meta_kubernetes_namespace]
    target_label: namespace
  - source_labels: [__meta_kubernetes_pod_name]
    target_label: pod
  - source_labels: [__meta_kubernetes_pod_container_name]
    target_label: container
{{- end -}}

{{- define "tidemark.job.nodes" -}}
{{- range $path := list "/metrics" "/metrics/cadvisor" }}
- job_name: {{ if eq $path "/metrics" }}kubernetes-nodes{{ else }}kubernetes-cadvisor{{ end }}
  scheme: https
  metrics_path: {{ $path }}
  authorization: {credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token}
  # Kubelets mostly serve with certificates of their own making.
  tls_config: {insecure_skip_verify: true}
  kubernetes_sd_configs: [{role: node}]
  relabel_configs:
    - source_labels: [__meta_kubernetes_node_name]
      target_label: node
{{- end }}
{{- end -}}

{{/* Which custom resources are read: `tidemark.kubernetes_monitors` of the configuration file. */}}
{{- define "tidemark.monitors" -}}
{{- $namespaces := .Values.monitors.namespaces }}
{{- if and .Values.rbac.namespaced (not $namespaces) }}
{{- $namespaces = list (include "tidemark.namespace" .) }}
{{- end }}
{{- with $namespaces }}
namespaces: {{ toJson . }}
{{- end }}
deny_file_access: {{ .Values.monitors.denyFileAccess }}
{{- range $kind, $key := dict "serviceMonitor" "service_monitors" "podMonitor" "pod_monitors" "probe" "probes" "scrapeConfig" "scrape_configs" }}
{{- $terms := list }}
{{- range $label, $value := index $.Values.monitorSelectors $kind }}
{{- $terms = append $terms (printf "%s=%s" $label $value) }}
{{- end }}
{{- with $terms }}
{{ $key }}: {selector: {{ join "," . | quote }}}
{{- end }}
{{- end }}
{{- end -}}
