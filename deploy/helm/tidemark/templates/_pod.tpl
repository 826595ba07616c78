{{/* The pod of a component. Arguments: dict "root" $ "component" "ingester" "zone" (a zone, or nothing). */}}

{{/* The flags of a component; what all components share stands in tidemark.env. */}}
{{- define "tidemark.args" -}}
{{- $root := .root -}}
{{- $values := include "tidemark.componentValues" . | fromYaml -}}
{{- $config := has .component (list "scraper" "store" "alertEvaluator" "gateway") }}
- services/{{ include "tidemark.service" .component }}/main.ts
{{- if has .component (list "ingester" "store" "scraper") }}
- --storage.tsdb.path=/data
{{- end }}
{{- if $config }}
- --config.file=/etc/tidemark/prometheus.yml
{{- end }}
{{- if eq .component "ingester" }}
- --cluster.partitions={{ int $root.Values.cluster.partitions }}
- --cluster.replication-factor={{ include "tidemark.replicationFactor" $root }}
- --store.replication-factor={{ include "tidemark.storeReplicationFactor" $root }}
{{- end }}
{{- if and (eq .component "store") $root.Values.retentionSize }}
- --storage.tsdb.retention.size={{ $root.Values.retentionSize }}
{{- end }}
{{- with $root.Values.objectStorage }}
{{- if and (eq $.component "store") .bucket }}
- --objstore.bucket={{ .bucket }}
- --objstore.region={{ .region }}
{{- if .endpoint }}
- --objstore.endpoint={{ .endpoint }}
{{- end }}
{{- if .prefix }}
- --objstore.prefix={{ .prefix }}
{{- end }}
{{- if .localAge }}
- --objstore.local-age={{ .localAge }}
- --objstore.cache-size={{ .cacheSize }}
{{- end }}
- --objstore.access-key-file=/etc/tidemark-objstore/access-key
- --objstore.secret-key-file=/etc/tidemark-objstore/secret-key
{{- if .sessionToken }}
- --objstore.session-token-file=/etc/tidemark-objstore/session-token
{{- end }}
{{- end }}
{{- end }}
{{- if has .component (list "alertEvaluator" "gateway") }}
- --web.external-url={{ include "tidemark.externalUrl" $root }}
{{- end }}
{{- if eq .component "gateway" }}
{{- if $root.Values.gateway.adminApi }}
- --web.enable-admin-api
{{- end }}
{{- if $root.Values.gateway.lifecycle }}
- --web.enable-lifecycle
{{- end }}
{{- end }}
{{- range $name, $value := $values.extraArgs }}
- --{{ $name }}={{ $value }}
{{- end }}
{{- end -}}

{{/* Environment twins of the flags that every component shares; a service that lacks one of them ignores it. */}}
{{- define "tidemark.env" -}}
{{- $root := .root }}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: TIDEMARK_CLUSTER_INSTANCE
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: TIDEMARK_CLUSTER_ZONE
{{- if .zone }}
  value: {{ .zone.name | quote }}
{{- else }}
  # Kubernetes 1.35 and later give pods their node's zone; empty before, and then all pods count as one zone.
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}
{{- end }}
- name: TIDEMARK_CLUSTER_NAME
  value: {{ $root.Values.cluster.name | quote }}
- name: TIDEMARK_WEB_LISTEN_ADDRESS
  value: 0.0.0.0:9090
- name: TIDEMARK_GRPC_LISTEN_ADDRESS
  value: 0.0.0.0:9095
- name: TIDEMARK_GRPC_ADVERTISE_ADDRESS
  value: $(POD_IP):9095
- name: TIDEMARK_STORAGE_TSDB_RETENTION_TIME
  value: {{ $root.Values.retention | quote }}
- name: TIDEMARK_LOG_LEVEL
  value: {{ $root.Values.log.level | quote }}
- name: TIDEMARK_LOG_FORMAT
  value: {{ $root.Values.log.format | quote }}
{{- if $root.Values.tls.enabled }}
- name: TIDEMARK_CLUSTER_TLS_CERT_FILE
  value: /etc/tidemark-tls/tls.crt
- name: TIDEMARK_CLUSTER_TLS_KEY_FILE
  value: /etc/tidemark-tls/tls.key
- name: TIDEMARK_CLUSTER_TLS_CA_FILE
  value: /etc/tidemark-tls/ca.crt
- name: TIDEMARK_CLUSTER_TLS_PEER_NAME
  value: {{ $root.Values.tls.peerName | quote }}
{{- else }}
- name: TIDEMARK_CLUSTER_INSECURE
  value: "true"
{{- end }}
- name: TIDEMARK_NATS_URL
  value: {{ include "tidemark.natsUrl" $root | quote }}
- name: TIDEMARK_NATS_REPLICAS
  value: {{ include "tidemark.natsReplicas" $root | quote }}
{{- if not $root.Values.nats.enabled }}
{{- with $root.Values.externalNats }}
{{- if eq .auth "password" }}
- name: TIDEMARK_NATS_USER_FILE
  value: /etc/tidemark-nats/user
- name: TIDEMARK_NATS_PASSWORD_FILE
  value: /etc/tidemark-nats/password
{{- else if eq .auth "token" }}
- name: TIDEMARK_NATS_TOKEN_FILE
  value: /etc/tidemark-nats/token
{{- else if eq .auth "credentials" }}
- name: TIDEMARK_NATS_CREDENTIALS_FILE
  value: /etc/tidemark-nats/nats.creds
{{- end }}
{{- if .tls.existingSecret }}
- name: TIDEMARK_NATS_TLS_CA_FILE
  value: /etc/tidemark-nats-tls/ca.crt
{{- if .tls.clientCertificate }}
- name: TIDEMARK_NATS_TLS_CERT_FILE
  value: /etc/tidemark-nats-tls/tls.crt
- name: TIDEMARK_NATS_TLS_KEY_FILE
  value: /etc/tidemark-nats-tls/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tidemark.podTemplate" -}}
{{- $root := .root -}}
{{- $component := .component -}}
{{- $values := include "tidemark.componentValues" . | fromYaml -}}
{{- $stateful := has .component (list "ingester" "store") -}}
{{- $config := has .component (list "scraper" "store" "alertEvaluator" "gateway") -}}
{{- $external := not $root.Values.nats.enabled -}}
metadata:
  labels:
    {{- include "tidemark.labels" . | nindent 4 }}
    {{- with .zone }}
    tidemark.io/zone: {{ .name | quote }}
    {{- end }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- if and $config (not $root.Values.existingConfigMap) }}
    {{- if eq .component "store" }}
    {{- /* Of the file it reads our own section only: no restart for a new scrape job. */}}
    checksum/config: {{ default dict $root.Values.config.tidemark | toJson | sha256sum }}
    {{- else }}
    checksum/config: {{ include (print $root.Template.BasePath "/configmap.yaml") $root | sha256sum }}
    {{- end }}
    {{- end }}
    {{- if not $stateful }}
    prometheus.io/scrape: "true"
    prometheus.io/port: "9090"
    {{- end }}
    kubectl.kubernetes.io/default-container: {{ include "tidemark.service" $component }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "tidemark.serviceAccountName" . }}
  automountServiceAccountToken: {{ eq $component "scraper" }}
  # Kubernetes would add variables like TIDEMARK_STORE_PORT, and TIDEMARK_… are flags here.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int $values.terminationGracePeriodSeconds }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with $root.Values.global.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- toYaml $root.Values.podSecurityContext | nindent 4 }}
  {{- $nodeSelector := $values.nodeSelector }}
  {{- with .zone }}
  {{- $nodeSelector = merge (dict "topology.kubernetes.io/zone" .topology) $nodeSelector }}
  {{- end }}
  {{- with $nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if $values.topologySpreadConstraints }}
    {{- toYaml $values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - topologyKey: {{ $key }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "tidemark.selectorLabels" (dict "root" $root "component" $component) | nindent 10 }}
    {{- end }}
    {{- end }}
  containers:
    - name: {{ include "tidemark.service" $component }}
      image: {{ include "tidemark.image" (dict "root" $root "image" $root.Values.image "tag" $root.Chart.AppVersion) | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- include "tidemark.args" . | trim | nindent 8 }}
      env:
        {{- include "tidemark.env" . | trim | nindent 8 }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: http, containerPort: 9090, protocol: TCP}
        - {name: grpc, containerPort: 9095, protocol: TCP}
      # Answers while the log is still replayed; only a process that hangs is restarted.
      startupProbe:
        httpGet: {path: /-/healthy, port: http}
        {{- toYaml $values.probes.startup | nindent 8 }}
      readinessProbe:
        httpGet: {path: /-/ready, port: http}
        {{- toYaml $values.probes.readiness | nindent 8 }}
      livenessProbe:
        httpGet: {path: /-/healthy, port: http}
        {{- toYaml $values.probes.liveness | nindent 8 }}
      {{- if eq $component "gateway" }}
      # Time for load balancers to see that this pod is going before it stops to accept connections.
      lifecycle:
        preStop:
          exec: {command: [sleep, "5"]}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- toYaml $root.Values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if or $stateful (eq $component "scraper") }}
        - {name: data, mountPath: /data}
        {{- end }}
        {{- if $config }}
        - {name: config, mountPath: /etc/tidemark, readOnly: true}
        {{- end }}
        {{- if and (eq $component "store") $root.Values.objectStorage.bucket }}
        - {name: objstore, mountPath: /etc/tidemark-objstore, readOnly: true}
        {{- end }}
        {{- if $root.Values.tls.enabled }}
        - {name: tls, mountPath: /etc/tidemark-tls, readOnly: true}
        {{- end }}
        {{- if and $external (ne $root.Values.externalNats.auth "none") }}
        - {name: nats, mountPath: /etc/tidemark-nats, readOnly: true}
        {{- end }}
        {{- if and $external $root.Values.externalNats.tls.existingSecret }}
        - {name: nats-tls, mountPath: /etc/tidemark-nats-tls, readOnly: true}
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if and $stateful (not $values.persistence.enabled) }}
    - name: data
      emptyDir: {}
    {{- else if eq $component "scraper" }}
    # The spool: --scrape.spool-size and some room. It outlives a container, not a pod.
    - name: data
      emptyDir: {sizeLimit: 1280Mi}
    {{- end }}
    {{- if $config }}
    - name: config
      configMap:
        name: {{ include "tidemark.configMapName" $root }}
    {{- end }}
    {{- if and (eq $component "store") $root.Values.objectStorage.bucket }}
    - name: objstore
      secret:
        secretName: {{ required "objectStorage.bucket needs objectStorage.existingSecret" $root.Values.objectStorage.existingSecret }}
    {{- end }}
    {{- if $root.Values.tls.enabled }}
    - name: tls
      secret:
        secretName: {{ include "tidemark.tlsSecret" $root }}
    {{- end }}
    {{- if and $external (ne $root.Values.externalNats.auth "none") }}
    - name: nats
      secret:
        secretName: {{ required "externalNats.auth needs externalNats.existingSecret" $root.Values.externalNats.existingSecret }}
    {{- end }}
    {{- if and $external $root.Values.externalNats.tls.existingSecret }}
    - name: nats-tls
      secret:
        secretName: {{ $root.Values.externalNats.tls.existingSecret }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
