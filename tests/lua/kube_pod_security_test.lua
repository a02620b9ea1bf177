-- The Pod Security Standards: every control of both levels, good and bad, with the versions that changed it.
local kube = require "kube"
local test = require "test"

-- A pod that passes "restricted"; `change` edits it (pod, its spec, its first container).
local function pod(change)
  local container = { name = "main", securityContext = { allowPrivilegeEscalation = false,
    capabilities = { drop = { "ALL" } } } }
  local object = { metadata = { name = "p" }, spec = { containers = { container },
    securityContext = { runAsNonRoot = true, seccompProfile = { type = "RuntimeDefault" } } } }
  if change then change(object, object.spec, container) end
  return object
end

local function said(object, level, version)
  local lines = {}
  for i, v in ipairs(kube.pod_security(object, level, { version = version })) do
    lines[i] = ("%s %s: %s"):format(v.check, v.path, v.message)
  end
  return table.concat(lines, "\n")
end

-- { level, version, change, what is said; "" when the pod is allowed }
local CASES = {
  { "restricted", "latest", nil, "" },
  { "baseline", "latest", function(_, s) s.hostNetwork, s.hostIPC = true, true end,
    "hostNamespaces spec.hostNetwork: host namespaces (hostNetwork=true, hostIPC=true)" },
  { "baseline", "latest", function(_, _, c) c.securityContext.privileged = true end,
    'privileged spec.containers[0].securityContext.privileged: privileged (container "main" must not set '
    .. "securityContext.privileged=true)" },
  { "baseline", "latest", function(_, _, c) c.securityContext.capabilities.add = { "SYS_ADMIN", "KILL" } end,
    'capabilities_baseline spec.containers[0].securityContext.capabilities.add: non-default capabilities (container '
    .. '"main" must not include "SYS_ADMIN" in securityContext.capabilities.add)' },
  { "baseline", "latest", function(_, s) s.volumes = { { name = "a" }, { name = "h", hostPath = { path = "/" } } } end,
    'hostPathVolumes spec.volumes[1].hostPath: hostPath volumes (volume "h")' },
  { "baseline", "latest", function(_, _, c) c.ports = { { containerPort = 1 }, { hostPort = 80 } } end,
    'hostPorts spec.containers[0].ports[1].hostPort: hostPort (container "main" uses hostPort 80)' },
  { "baseline", "latest", function(_, _, c) c.ports = { { containerPort = 1, hostPort = 0 } } end, "" },
  { "baseline", "v1.34", function(_, _, c) c.livenessProbe = { httpGet = { host = "h" } } end,
    'hostProbesAndHostLifecycle spec.containers[0].livenessProbe.httpGet.host: probe or lifecycle host (container '
    .. '"main" uses probe or lifecycle host "h")' },
  { "baseline", "v1.33", function(_, _, c) c.livenessProbe = { httpGet = { host = "h" } } end, "" },
  { "baseline", "latest", function(_, _, c) c.lifecycle = { preStop = { tcpSocket = { host = "h" } } } end,
    'hostProbesAndHostLifecycle spec.containers[0].lifecycle.preStop.tcpSocket.host: probe or lifecycle host '
    .. '(container "main" uses probe or lifecycle host "h")' },
  { "baseline", "latest", function(_, s) s.securityContext.appArmorProfile = { type = "Unconfined" } end,
    'appArmorProfile spec.securityContext.appArmorProfile.type: forbidden AppArmor profile (pod must not set AppArmor '
    .. 'profile type to "Unconfined")' },
  { "baseline", "latest", function(p)
    p.metadata.annotations = { ["container.apparmor.security.beta.kubernetes.io/main"] = "unconfined" }
  end, "appArmorProfile metadata.annotations['container.apparmor.security.beta.kubernetes.io/main']: forbidden "
    .. 'AppArmor profile (annotation must not set AppArmor profile type to '
    .. '"container.apparmor.security.beta.kubernetes.io/main="unconfined"")' },
  { "baseline", "latest", function(p)
    p.metadata.annotations = { ["container.apparmor.security.beta.kubernetes.io/main"] = "localhost/x" }
  end, "" },
  { "baseline", "latest", function(_, _, c) c.securityContext.procMount = "Unmasked" end,
    'procMount spec.containers[0].securityContext.procMount: procMount (container "main" must not set '
    .. 'securityContext.procMount to "Unmasked")' },
  { "baseline", "latest", function(_, s, c) s.hostUsers, c.securityContext.procMount = false, "Unmasked" end, "" },
  { "restricted", "latest", function(_, s, c) s.hostUsers, c.securityContext.procMount = false, "Unmasked" end,
    'procMount_restricted spec.containers[0].securityContext.procMount: procMount (container "main" must not set '
    .. 'securityContext.procMount to "Unmasked")' },
  { "baseline", "latest",
    function(_, s) s.securityContext.seLinuxOptions = { type = "bad", user = "u", role = "r" } end,
    "seLinuxOptions spec.securityContext.seLinuxOptions: seLinuxOptions (pod set forbidden "
    .. 'securityContext.seLinuxOptions: type "bad"; user may not be set; role may not be set)' },
  { "baseline", "v1.31", function(_, s) s.securityContext.seLinuxOptions = { type = "container_engine_t" } end, "" },
  { "baseline", "v1.30", function(_, s) s.securityContext.seLinuxOptions = { type = "container_engine_t" } end,
    "seLinuxOptions spec.securityContext.seLinuxOptions: seLinuxOptions (pod set forbidden "
    .. 'securityContext.seLinuxOptions: type "container_engine_t")' },
  { "baseline", "latest", function(_, _, c) c.securityContext.seccompProfile = { type = "Unconfined" } end,
    "seccompProfile_baseline spec.containers[0].securityContext.seccompProfile.type: seccompProfile (container "
    .. '"main" must not set securityContext.seccompProfile.type to "Unconfined")' },
  { "baseline", "v1.18", function(p)
    p.metadata.annotations = { ["seccomp.security.alpha.kubernetes.io/pod"] = "unconfined" }
  end, "seccompProfile_baseline metadata.annotations['seccomp.security.alpha.kubernetes.io/pod']: seccompProfile "
    .. '(forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")' },
  { "baseline", "latest", function(_, s) s.securityContext.sysctls = { { name = "kernel.msgmax" } } end,
    "sysctls spec.securityContext.sysctls[0].name: forbidden sysctls (kernel.msgmax)" },
  { "baseline", "v1.31", function(_, s) s.securityContext.sysctls = { { name = "net.ipv4.tcp_rmem" } } end,
    "sysctls spec.securityContext.sysctls[0].name: forbidden sysctls (net.ipv4.tcp_rmem)" },
  { "baseline", "v1.32", function(_, s) s.securityContext.sysctls = { { name = "net.ipv4.tcp_rmem" } } end, "" },
  { "baseline", "latest", function(_, s) s.securityContext.windowsOptions = { hostProcess = true } end,
    "windowsHostProcess spec.securityContext.windowsOptions.hostProcess: hostProcess (pod must not set "
    .. "securityContext.windowsOptions.hostProcess=true)" },
  { "restricted", "latest", function(_, _, c) c.securityContext.allowPrivilegeEscalation = nil end,
    "allowPrivilegeEscalation spec.containers[0].securityContext.allowPrivilegeEscalation: allowPrivilegeEscalation != "
    .. 'false (container "main" must set securityContext.allowPrivilegeEscalation=false)' },
  { "restricted", "latest", function(_, s, c)
    s.os, c.securityContext.allowPrivilegeEscalation = { name = "windows" }, nil
  end, "" },
  { "restricted", "v1.24", function(_, s, c)
    s.os, c.securityContext.allowPrivilegeEscalation = { name = "windows" }, nil
  end, "allowPrivilegeEscalation spec.containers[0].securityContext.allowPrivilegeEscalation: allowPrivilegeEscalation "
    .. '!= false (container "main" must set securityContext.allowPrivilegeEscalation=false)' },
  { "restricted", "latest", function(_, _, c) c.securityContext.capabilities = { add = { "CHOWN" } } end,
    'capabilities_restricted spec.containers[0].securityContext.capabilities.drop: unrestricted capabilities '
    .. '(container "main" must set securityContext.capabilities.drop=["ALL"]; container "main" must not include "CHOWN"'
    .. " in securityContext.capabilities.add)" },
  { "restricted", "v1.21", function(_, _, c) c.securityContext.capabilities = { add = { "CHOWN" } } end, "" },
  { "restricted", "latest", function(_, s) s.volumes = { { name = "n", nfs = {} }, { name = "c", configMap = {} } } end,
    'restrictedVolumes spec.volumes[0].nfs: restricted volume types (volume "n" uses restricted volume type "nfs")' },
  { "restricted", "latest", function(_, s) s.securityContext.runAsNonRoot = nil end,
    "runAsNonRoot spec.containers[0].securityContext.runAsNonRoot: runAsNonRoot != true (pod or container \"main\" "
    .. "must set securityContext.runAsNonRoot=true)" },
  { "restricted", "latest", function(_, _, c) c.securityContext.runAsNonRoot = false end,
    "runAsNonRoot spec.containers[0].securityContext.runAsNonRoot: runAsNonRoot != true (container \"main\" must not "
    .. "set securityContext.runAsNonRoot=false)" },
  { "restricted", "latest", function(_, s) s.hostUsers, s.securityContext.runAsNonRoot = false, nil end, "" },
  { "restricted", "latest", function(_, s) s.securityContext.runAsUser = 0 end,
    "runAsUser spec.securityContext.runAsUser: runAsUser=0 (pod must not set runAsUser=0)" },
  { "restricted", "v1.22", function(_, s) s.securityContext.runAsUser = 0 end, "" },
  { "restricted", "latest", function(_, s) s.securityContext.seccompProfile = nil end,
    "seccompProfile_restricted spec.containers[0].securityContext.seccompProfile.type: seccompProfile (pod or container"
    .. ' "main" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")' },
  { "restricted", "v1.18", function(_, s) s.securityContext.seccompProfile = nil end, "" },
  { "privileged", "latest", function(_, s) s.hostNetwork = true end, "" },
}

test("every control refuses what it must, in the words of the admission plugin", function()
  for _, case in ipairs(CASES) do
    test.equal(said(pod(case[3]), case[1], case[2]), case[4])
  end
end)

test("init and ephemeral containers count, in that order", function()
  local object = pod(function(_, spec)
    spec.initContainers = { { name = "i", securityContext = { privileged = true } } }
    spec.ephemeralContainers = { { name = "e", securityContext = { privileged = true } } }
  end)
  local found = kube.pod_security(object, "baseline")
  test.equal(#found, 1)
  test.equal(found[1].detail, 'containers "i", "e" must not set securityContext.privileged=true')
  test.same(found[1].paths, { "spec.initContainers[0].securityContext.privileged",
    "spec.ephemeralContainers[0].securityContext.privileged" })
end)

test("templates of workloads are checked at their place", function()
  local template = pod(function(_, spec) spec.hostPID = true end)
  for path, object in pairs {
    ["spec.template.spec.hostPID"] = { kind = "Deployment", spec = { template = template } },
    ["spec.jobTemplate.spec.template.spec.hostPID"] = { kind = "CronJob",
      spec = { jobTemplate = { spec = { template = template } } } },
    ["template.spec.hostPID"] = { kind = "PodTemplate", template = template },
    ["spec.hostPID"] = template,
  } do
    test.equal(kube.pod_security(object, "baseline")[1].path, path)
  end
end)

test("unknown levels and versions are misuse", function()
  test.equal(pcall(kube.pod_security, pod(), "strict"), false)
  test.equal(pcall(kube.pod_security, pod(), "baseline", { version = "2" }), false)
  test.equal(#kube.pod_security(pod(), "restricted", { version = "1.99" }), 0)
end)
