{{- define "grounded-labeler.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Names of Ray's objects end with up to 11 further characters. */}}
{{- define "grounded-labeler.fullname" -}}
{{- $name := include "grounded-labeler.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What the release's pods have in common, whatever they do. */}}
{{- define "grounded-labeler.releaseLabels" -}}
app.kubernetes.io/name: {{ include "grounded-labeler.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "grounded-labeler.labels" -}}
{{ include "grounded-labeler.releaseLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* REGISTRY/NAME:TAG of what runs the models. */}}
{{- define "grounded-labeler.image" -}}
{{- $repository := required "image.repository: name the REGISTRY/NAME that you pushed the image to" .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default (printf "%s-%s" .Chart.AppVersion .Values.device) .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* A value as a variable: whole numbers without the exponent that Helm would write. */}}
{{- define "grounded-labeler.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . | quote }}{{ else }}{{ . | toString | quote }}{{ end }}
{{- end }}

{{/* The names of those of `wanted` that secrets has, as a comma-separated list. */}}
{{- define "grounded-labeler.secretNames" -}}
{{- $names := list }}
{{- range $name := .wanted }}
{{- if hasKey $.root.Values.secrets $name }}{{ $names = append $names $name }}{{ end }}
{{- end }}
{{- join "," $names }}
{{- end }}

{{/* The variables of a container, with the files of `secrets`, a comma-separated list. */}}
{{- define "grounded-labeler.env" -}}
{{- $secrets := splitList "," .secrets }}
{{- range $name, $value := .root.Values.settings }}
{{- /* The user goes with the password, which Ray's pods do not get. */}}
{{- if or (ne $name "BASIC_AUTH_USER") (has "BASIC_AUTH_PASS" $secrets) }}
- name: {{ $name }}
  value: {{ include "grounded-labeler.text" $value }}
{{- end }}
{{- end }}
{{- range $name := compact $secrets }}
{{- if eq $name "RAY_AUTH_TOKEN" }}
- {name: RAY_AUTH_MODE, value: token}
- {name: RAY_AUTH_TOKEN_PATH, value: /secrets/RAY_AUTH_TOKEN}
{{- else }}
- {name: {{ $name }}_FILE, value: /secrets/{{ $name }}}
{{- end }}
{{- end }}
{{- if .root.Values.weights.onVolume }}
- {name: MODEL_DIR, value: /data/models}
{{- end }}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "grounded-labeler.volumeMounts" -}}
- {name: data, mountPath: /data}
- {name: shared-memory, mountPath: /dev/shm}
{{- if .secrets }}
- {name: secrets, mountPath: /secrets, readOnly: true}
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* All volumes of a pod but /data. */}}
{{- define "grounded-labeler.volumes" -}}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ .root.Values.sharedMemory }}}
{{- with compact (splitList "," .secrets) }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $name := . }}
      {{- $secret := index $.root.Values.secrets $name }}
      - secret:
          name: {{ default (include "grounded-labeler.fullname" $.root) $secret.existingSecret }}
          items:
            - {key: {{ default $name $secret.key }}, path: {{ $name }}}
      {{- end }}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What every pod may do: nothing that it need not. */}}
{{- define "grounded-labeler.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 0
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "grounded-labeler.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Where a pod runs: `at` has nodeSelector, tolerations and affinity; `gpu` that it has a GPU. */}}
{{- define "grounded-labeler.scheduling" -}}
{{- with .at.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or .at.tolerations .gpu }}
tolerations:
  {{- if .gpu }}
  - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
  {{- end }}
  {{- with .at.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- with .at.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* `resources`, with GPUs where the pod has them. */}}
{{- define "grounded-labeler.resources" -}}
{{- $gpus := dict }}
{{- if .gpu }}
{{- $gpus = dict "limits" (dict .root.Values.gpu.resource .root.Values.gpu.count) }}
{{- end }}
{{- toYaml (mergeOverwrite (deepCopy .resources) $gpus) }}
{{- end }}

{{/* Downloads the weights to /data/models and, for CPUs, makes their graphs. */}}
{{- define "grounded-labeler.weights" -}}
{{- $v := .root.Values }}
- name: weights
  {{- if eq $v.device "cuda" }}
  image: {{ include "grounded-labeler.image" .root }}
  args: [grounded-labeler, weights, --no-export]
  {{- else }}
  image: {{ default $v.image.repository $v.weights.image.repository }}:{{ default (printf "%s-maker" .root.Chart.AppVersion) $v.weights.image.tag }}
  args: [grounded-labeler, weights]
  {{- end }}
  imagePullPolicy: {{ $v.image.pullPolicy }}
  env:
    {{- include "grounded-labeler.env" . | trim | nindent 4 }}
  resources:
    {{- toYaml $v.weights.resources | nindent 4 }}
  {{- include "grounded-labeler.containerSecurity" .root | nindent 2 }}
  volumeMounts:
    {{- include "grounded-labeler.volumeMounts" . | nindent 4 }}
{{- end }}

{{/* What a schema cannot say: values that do not go together. */}}
{{- define "grounded-labeler.check" -}}
{{- $v := .Values }}
{{- range $name, $secret := $v.secrets }}
{{- if or (eq (empty $secret.existingSecret) (empty $secret.value)) (and $secret.value $secret.key) }}
{{- fail (printf "secrets.%s: set existingSecret, with its key, or value alone" $name) }}
{{- end }}
{{- end }}
{{- if and $v.settings.MODEL_DIR $v.weights.onVolume }}
{{- fail "settings.MODEL_DIR: weights.onVolume says where the weights are; unset one of them" }}
{{- end }}
{{- if gt (int $v.replicas) 1 }}
{{- if not (hasKey $v.secrets "PROMPT_STORE") }}
{{- fail "replicas: more than one need secrets.PROMPT_STORE, a PostgreSQL that they share" }}
{{- end }}
{{- if and $v.persistence.enabled (not (has "ReadWriteMany" $v.persistence.accessModes)) }}
{{- fail "replicas: more than one need persistence.enabled=false, or accessModes: [ReadWriteMany]" }}
{{- end }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) }}
{{- fail "ingress.hosts: name the host, such as labeler.example.com" }}
{{- end }}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.labelStudio) }}
{{- fail "networkPolicy.labelStudio: say which pods, namespaces or addresses Label Studio is" }}
{{- end }}
{{- if $v.ray.enabled }}
{{- if not (hasKey $v.secrets "RAY_AUTH_TOKEN") }}
{{- fail "secrets.RAY_AUTH_TOKEN: whoever reaches a Ray cluster can run code on it; set a token of at least 32 characters" }}
{{- end }}
{{- if not (or $v.image.tag $v.image.digest) }}
{{- fail "image.tag: ray.enabled needs an image that was built with EXTRAS=ray; name its tag" }}
{{- end }}
{{- if $v.settings.RAY_ADDRESS }}
{{- fail "settings.RAY_ADDRESS: ray.enabled makes a cluster of its own; unset one of them" }}
{{- end }}
{{- end }}
{{- end }}
