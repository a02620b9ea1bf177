-- The messages of an executor's part in the Kubernetes platform's document, for kfp.validate.spec, which says how
-- they are written. Not for what they do to a pod.
--   spec.check("KubernetesExecutor", executor)

return [[
Platform platforms:Platforms
Platforms kubernetes:Kubernetes
Kubernetes deploymentSpec:KubernetesDeployment pipelineConfig:PipelineConfig
KubernetesDeployment executors:{KubernetesExecutor}
PipelineConfig resourceTtlOnCompletion:i resourceTtlOnSuccess:i resourceTtlOnFailure:i activeDeadlineSeconds:i
  workspace:Workspace
Workspace size:s kubernetes:WorkspaceClaim
WorkspaceClaim pvcSpecPatch:v
KubernetesExecutor secretAsVolume:[SecretAsVolume] secretAsEnv:[SecretAsEnv] pvcMount:[PvcMount]
  nodeSelector:NodeSelector podMetadata:PodMetadata imagePullSecret:[ImagePullSecret] imagePullPolicy:s
  configMapAsVolume:[ConfigMapAsVolume] configMapAsEnv:[ConfigMapAsEnv] activeDeadlineSeconds:i
  fieldPathAsEnv:[FieldPathAsEnv] tolerations:[Toleration] genericEphemeralVolume:[GenericEphemeralVolume]
  nodeAffinity:[NodeAffinity] podAffinity:[PodAffinity] enabledSharedMemory:SharedMemory
  emptyDirMounts:[EmptyDirMount] securityContext:SecurityContext initContainers:[InitContainer] podResourceClaims:[v]
SecretAsVolume secretName:s mountPath:s optional:b secretNameParameter:TaskParameter
SecretAsEnv secretName:s keyToEnv:[SecretKey] optional:b secretNameParameter:TaskParameter
SecretKey secretKey:s envVar:s
PvcMount taskOutputParameter|reference:TaskOutput constant|reference:s componentInputParameter|reference:s mountPath:s
  pvcNameParameter:TaskParameter subPath:s
NodeSelector labels:{s} nodeSelectorJson:TaskParameter
PodMetadata labels:{s} annotations:{s}
ImagePullSecret secretName:s secretNameParameter:TaskParameter
ConfigMapAsVolume configMapName:s mountPath:s optional:b configMapNameParameter:TaskParameter
ConfigMapAsEnv configMapName:s keyToEnv:[ConfigMapKey] configMapNameParameter:TaskParameter optional:b
ConfigMapKey configMapKey:s envVar:s
FieldPathAsEnv name:s fieldPath:s
Toleration key:s operator:s value:s effect:s tolerationSeconds:i tolerationJson:TaskParameter
GenericEphemeralVolume volumeName:s mountPath:s accessModes:[s] size:s defaultStorageClass:b storageClassName:s
  metadata:PodMetadata
SelectorRequirement key:s operator:s values:[s]
NodeAffinity matchExpressions:[SelectorRequirement] matchFields:[SelectorRequirement] weight:i
  nodeAffinityJson:TaskParameter
PodAffinity matchPodExpressions:[SelectorRequirement] matchPodLabels:{s} topologyKey:s namespaces:[s]
  matchNamespaceExpressions:[SelectorRequirement] matchNamespaceLabels:{s} weight:i anti:b
SharedMemory volumeName:s size:s
EmptyDirMount volumeName:s mountPath:s medium:s sizeLimit:s
SecurityContext runAsUser:i runAsGroup:i runAsNonRoot:b
InitContainer name:s image:s command:[s] args:[s] env:[EnvVar] volumeMounts:[VolumeMount] restartPolicy:s
  resources:Requirements
EnvVar name:s value:s
VolumeMount volumeName:s mountPath:s
Requirements requests:{s} limits:{s}
]]
