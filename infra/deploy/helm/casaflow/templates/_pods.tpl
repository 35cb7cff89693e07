{{/* Names and labels. */}}
{{- define "casaflow.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "casaflow.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: casaflow
{{- end -}}

{{/* What selects the pods of a component. Takes (dict "root" $ "component" "api"). */}}
{{- define "casaflow.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .buildId }}
casaflow/build-id: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "casaflow.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}{{ default (include "casaflow.name" .) .Values.serviceAccount.name }}{{- else -}}{{ default "default" .Values.serviceAccount.name }}{{- end -}}
{{- end -}}

{{/* Takes (dict "root" $ "tag" … "digest" …), of which the last two may be empty. */}}
{{- define "casaflow.image" -}}
{{- $image := .root.Values.image -}}
{{- if .digest -}}{{ $image.repository }}@{{ .digest }}{{- else -}}{{ $image.repository }}:{{ default .root.Chart.AppVersion .tag }}{{- end -}}
{{- end -}}

{{- define "casaflow.buildId" -}}
{{- default (default .Chart.AppVersion .Values.image.tag) .Values.worker.buildId -}}
{{- end -}}

{{/*
The pod of a process. Takes a dict: root; component; args; secret, by which the settings come; resources; and, where it has them, buildId (of
the selector), workerBuildId, image, port with portName, env, probes, restartPolicy, grace, serviceAccount.
*/}}
{{- define "casaflow.pod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "casaflow.selector" . | nindent 4 }}
    {{- with $root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $root.Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .serviceAccount }}
  serviceAccountName: {{ . }}
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  restartPolicy: {{ default "Always" .restartPolicy }}
  terminationGracePeriodSeconds: {{ default 45 .grace }}
  {{- with $root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: casaflow
      image: {{ default (include "casaflow.image" (dict "root" $root "tag" $root.Values.image.tag "digest" $root.Values.image.digest)) .image | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        - {name: CASAFLOW_SECRETS_DIR, value: /run/secrets/casaflow}
        - {name: CASAFLOW_WORKER_BUILD_ID, value: {{ default (include "casaflow.buildId" $root) .workerBuildId | quote }}}
        {{- if eq (default "" .portName) "metrics" }}
        - {name: CASAFLOW_METRICS_ADDRESS, value: "0.0.0.0:{{ .port }}"}
        {{- end }}
        {{- if and $root.Values.relay.replicas (has .component (list "api" "worker")) }}
        - {name: CASAFLOW_RELAY_AFTER_SECONDS, value: "0"}
        {{- end }}
        {{- range $name, $value := .env }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
        {{- range $name, $value := $root.Values.settings }}
        - {name: {{ $name }}, value: {{ $value | toString | quote }}}
        {{- end }}
      {{- with .port }}
      ports:
        - {name: {{ $.portName }}, containerPort: {{ . }}, protocol: TCP}
      {{- end }}
      {{- with .probes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - {name: secrets, mountPath: /run/secrets/casaflow, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- with $root.Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: secrets
      secret:
        secretName: {{ .secret }}
        defaultMode: 0440
    - name: tmp
      emptyDir:
        sizeLimit: 512Mi
    {{- with $root.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and $root.Values.topologySpread (ne (default "Always" .restartPolicy) "Never") }}
  topologySpreadConstraints:
    {{- range $root.Values.topologySpread }}
    - topologyKey: {{ .topologyKey }}
      maxSkew: {{ .maxSkew }}
      whenUnsatisfiable: {{ .whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "casaflow.selector" $ | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end -}}

{{/* Of a process that serves figures and nothing else. The thread that does so lives as long as the process. */}}
{{- define "casaflow.metricsProbes" -}}
startupProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
{{- end -}}
