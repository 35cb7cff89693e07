{{/*
A Deployment with its disruption budget. Takes what casaflow.pod takes, and: name; replicas, none where something else scales it;
disruptionBudget.
*/}}
{{- define "casaflow.deployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  labels:
    {{- include "casaflow.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if .replicas }}
  replicas: {{ .replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels:
      {{- include "casaflow.selector" . | nindent 6 }}
  template:
    {{- include "casaflow.pod" . | nindent 4 }}
{{- with .disruptionBudget }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $.name }}
  labels:
    {{- include "casaflow.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $.component }}
spec:
  {{- toYaml . | nindent 2 }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "casaflow.selector" $ | nindent 6 }}
{{- end }}
{{- end -}}

{{/* By processor time. Takes root, name, component, and autoscaling. */}}
{{- define "casaflow.hpa" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  labels:
    {{- include "casaflow.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .name }}}
  minReplicas: {{ .autoscaling.minReplicas }}
  maxReplicas: {{ .autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .autoscaling.targetCPUUtilizationPercentage }}}
  behavior:
    # What runs is finished before a pod ends, but what waited in its cache is replayed elsewhere: so down slowly.
    scaleDown:
      stabilizationWindowSeconds: 300
      policies:
        - {type: Pods, value: 1, periodSeconds: 60}
{{- end -}}
