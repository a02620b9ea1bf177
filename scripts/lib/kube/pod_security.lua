-- The Pod Security Standards: every control of "baseline" and "restricted", as the admission plugin has it.
-- Not for namespaces' labels and exemptions, which decide what level applies to whom.
--   for _, v in ipairs(kube.pod_security(pod, "restricted")) do print(v.check, v.path, v.message) end
local json = require "json"
local container_list = require "kube.containers"

local LATEST = 37 -- the minor version of Kubernetes 1 with the newest rules

-- --- reading pods ---------------------------------------------------------------------------------

-- The value behind names; nil where something is missing or null.
local function get(value, ...)
  for i = 1, select("#", ...) do
    if type(value) ~= "table" then return nil end
    value = value[select(i, ...)]
  end
  if value == json.null then return nil end
  return value
end

local function list(value)
  return type(value) == "table" and value or {}
end

-- All containers with their paths.
local function containers(pod)
  local all = {}
  for index, one in ipairs(container_list.of(pod.spec)) do
    all[index] = { value = one.container, name = get(one.container, "name") or "",
      path = ("%s.%s[%d]"):format(pod.path, one.field, one.index - 1) }
  end
  return all
end

local function is_windows(pod) return get(pod.spec, "os", "name") == "windows" end
local function has_user_namespace(pod) return get(pod.spec, "hostUsers") == false end

-- --- words ----------------------------------------------------------------------------------------

local function plural(word, count, words) return count == 1 and word or words or word .. "s" end

local function quoted(items) return '"' .. table.concat(items, '", "') .. '"' end

local function keys(set)
  local all = {}
  for key in pairs(set) do all[#all + 1] = key end
  table.sort(all)
  return all
end

local function named(word, items) return plural(word, #items) .. " " .. quoted(items) end

local function go_quoted(text) return '"' .. text:gsub('["\\]', "\\%0") .. '"' end

-- --- gathering ------------------------------------------------------------------------------------
-- A control looks at the pod, then at each container, and notes who does wrong: names of containers,
-- paths of fields, bad values.

local function new_findings() return { names = {}, paths = {}, values = {}, pod = false } end

local function note(findings, container, field, value)
  findings.names[#findings.names + 1] = container.name
  findings.paths[#findings.paths + 1] = container.path .. "." .. field
  if value then findings.values[value] = true end
end

local function note_pod(findings, pod, field, value)
  findings.pod = true
  findings.paths[#findings.paths + 1] = pod.path .. "." .. field
  if value then findings.values[value] = true end
end

-- "pod and containers "a", "b""
local function setters(findings)
  local all = {}
  if findings.pod then all[1] = "pod" end
  if #findings.names > 0 then all[#all + 1] = named("container", findings.names) end
  return table.concat(all, " and ")
end

local function is_empty(findings) return #findings.paths == 0 end

local function result(findings, reason, detail, ...)
  return { reason = reason, detail = detail:format(...), paths = findings.paths }
end

-- --- baseline -------------------------------------------------------------------------------------

local function set(...)
  local members = {}
  for _, name in ipairs { ... } do members[name] = true end
  return members
end

local APP_ARMOR = set("RuntimeDefault", "Localhost")
local APP_ARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"

local function app_armor(pod)
  local found, annotations = new_findings(), {}
  local kind = get(pod.spec, "securityContext", "appArmorProfile")
  if kind and not APP_ARMOR[get(kind, "type") or ""] then
    note_pod(found, pod, "securityContext.appArmorProfile.type", get(kind, "type") or "")
  end
  for _, container in ipairs(containers(pod)) do
    kind = get(container.value, "securityContext", "appArmorProfile")
    if kind and not APP_ARMOR[get(kind, "type") or ""] then
      note(found, container, "securityContext.appArmorProfile.type", get(kind, "type") or "")
    end
  end
  for key, value in pairs(list(get(pod.metadata, "annotations"))) do
    local allowed = value == "" or value == "runtime/default" or value:find "^localhost/"
    if key:sub(1, #APP_ARMOR_ANNOTATION) == APP_ARMOR_ANNOTATION and not allowed then
      annotations[#annotations + 1] = key .. "=" .. go_quoted(value)
      found.paths[#found.paths + 1] = ("%s.annotations['%s']"):format(pod.metadata_path, key)
    end
  end
  if is_empty(found) then return end
  table.sort(annotations)
  local values = keys(found.values)
  local who = setters(found)
  if #annotations > 0 then
    table.move(annotations, 1, #annotations, #values + 1, values)
    who = (who ~= "" and who .. " and " or "") .. plural("annotation", #annotations)
  end
  return result(found, plural("forbidden AppArmor profile", #values), "%s must not set AppArmor profile type to %s",
    who, quoted(values))
end

local DEFAULT_CAPABILITIES = set("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
  "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")

-- Notes containers that add a capability which is not allowed.
local function added_capabilities(pod, allowed)
  local found = new_findings()
  for _, container in ipairs(containers(pod)) do
    local bad = false
    for _, capability in ipairs(list(get(container.value, "securityContext", "capabilities", "add"))) do
      if not allowed[capability] then
        bad = true
        found.values[capability] = true
      end
    end
    if bad then note(found, container, "securityContext.capabilities.add") end
  end
  return found
end

local function adds(found)
  return ("%s must not include %s in securityContext.capabilities.add"):format(named("container", found.names),
    quoted(keys(found.values)))
end

local function capabilities_baseline(pod)
  local found = added_capabilities(pod, DEFAULT_CAPABILITIES)
  if not is_empty(found) then return result(found, "non-default capabilities", "%s", adds(found)) end
end

local function host_namespaces(pod)
  local found, words = new_findings(), {}
  for _, field in ipairs { "hostNetwork", "hostPID", "hostIPC" } do
    if get(pod.spec, field) == true then
      words[#words + 1] = field .. "=true"
      note_pod(found, pod, field)
    end
  end
  if #words > 0 then return result(found, "host namespaces", "%s", table.concat(words, ", ")) end
end

local function host_path_volumes(pod)
  local found = new_findings()
  for i, volume in ipairs(list(get(pod.spec, "volumes"))) do
    if get(volume, "hostPath") then
      note(found, { name = get(volume, "name") or "", path = ("%s.volumes[%d]"):format(pod.path, i - 1) }, "hostPath")
    end
  end
  if not is_empty(found) then return result(found, "hostPath volumes", "%s", named("volume", found.names)) end
end

local function host_ports(pod)
  local found = new_findings()
  for _, container in ipairs(containers(pod)) do
    local bad
    for i, port in ipairs(list(get(container.value, "ports"))) do
      local number = get(port, "hostPort") or 0
      if number ~= 0 then
        bad = bad or i
        found.values[("%d"):format(number)] = true
      end
    end
    if bad then note(found, container, ("ports[%d].hostPort"):format(bad - 1)) end
  end
  if is_empty(found) then return end
  local ports = keys(found.values)
  return result(found, "hostPort", "%s %s %s %s", named("container", found.names),
    plural("uses", #found.names, "use"), plural("hostPort", #ports), table.concat(ports, ", "))
end

local HANDLERS = {
  { "livenessProbe" }, { "readinessProbe" }, { "startupProbe" }, { "lifecycle", "postStart" },
  { "lifecycle", "preStop" },
}

local function host_probes(pod)
  local found, names = new_findings(), {}
  for _, container in ipairs(containers(pod)) do
    for _, path in ipairs(HANDLERS) do
      local handler = get(container.value, table.unpack(path))
      for _, kind in ipairs { "httpGet", "tcpSocket" } do
        local host = get(handler, kind, "host") or ""
        if host ~= "" then
          names[container.name] = true
          note(found, container, ("%s.%s.host"):format(table.concat(path, "."), kind), host)
        end
      end
    end
  end
  if is_empty(found) then return end
  local who, hosts = keys(names), keys(found.values)
  return result(found, "probe or lifecycle host", "%s %s %s %s", named("container", who), plural("uses", #who, "use"),
    plural("probe or lifecycle host", #hosts), quoted(hosts))
end

local function privileged(pod)
  local found = new_findings()
  for _, container in ipairs(containers(pod)) do
    if get(container.value, "securityContext", "privileged") == true then
      note(found, container, "securityContext.privileged")
    end
  end
  if is_empty(found) then return end
  return result(found, "privileged", "%s must not set securityContext.privileged=true",
    named("container", found.names))
end

local function proc_mount(pod)
  local found = new_findings()
  for _, container in ipairs(containers(pod)) do
    local kind = get(container.value, "securityContext", "procMount")
    if kind and kind ~= "Default" then note(found, container, "securityContext.procMount", kind) end
  end
  if is_empty(found) then return end
  return result(found, "procMount", "%s must not set securityContext.procMount to %s",
    named("container", found.names), quoted(keys(found.values)))
end

local function proc_mount_relaxed(pod)
  if not has_user_namespace(pod) then return proc_mount(pod) end
end

local function selinux(allowed)
  return function(pod)
    local found, flags = new_findings(), {}
    local function is_bad(options)
      local kind = get(options, "type") or ""
      local user, role = (get(options, "user") or "") ~= "", (get(options, "role") or "") ~= ""
      if not allowed[kind] then found.values[kind] = true end
      flags.user, flags.role = flags.user or user, flags.role or role
      return not allowed[kind] or user or role
    end
    local options = get(pod.spec, "securityContext", "seLinuxOptions")
    if options and is_bad(options) then note_pod(found, pod, "securityContext.seLinuxOptions") end
    for _, container in ipairs(containers(pod)) do
      options = get(container.value, "securityContext", "seLinuxOptions")
      if options and is_bad(options) then note(found, container, "securityContext.seLinuxOptions") end
    end
    if is_empty(found) then return end
    local words, kinds = {}, keys(found.values)
    if #kinds > 0 then words[1] = named("type", kinds) end
    if flags.user then words[#words + 1] = "user may not be set" end
    if flags.role then words[#words + 1] = "role may not be set" end
    return result(found, "seLinuxOptions", "%s set forbidden securityContext.seLinuxOptions: %s", setters(found),
      table.concat(words, "; "))
  end
end

local function seccomp_annotations(pod)
  local found = new_findings()
  local function check(key)
    local value = get(pod.metadata, "annotations", key)
    local good = not value or value == "runtime/default" or value == "docker/default" or value:find "^localhost/"
    if good then return end
    found.values[key .. "=" .. go_quoted(value)] = true
    found.paths[#found.paths + 1] = ("%s.annotations['%s']"):format(pod.metadata_path, key)
  end
  check "seccomp.security.alpha.kubernetes.io/pod"
  for _, container in ipairs(containers(pod)) do
    check("container.seccomp.security.alpha.kubernetes.io/" .. container.name)
  end
  if is_empty(found) then return end
  local values = keys(found.values)
  return result(found, "seccompProfile", "forbidden %s %s", plural("annotation", #values), table.concat(values, ", "))
end

local SECCOMP = set("RuntimeDefault", "Localhost")

-- Who sets a bad profile, and which containers have none at all.
local function seccomp_profiles(pod)
  local found, missing = new_findings(), new_findings()
  local profile = get(pod.spec, "securityContext", "seccompProfile")
  local is_set = profile and SECCOMP[get(profile, "type") or ""]
  if profile and not is_set then
    note_pod(found, pod, "securityContext.seccompProfile.type", get(profile, "type") or "")
  end
  for _, container in ipairs(containers(pod)) do
    profile = get(container.value, "securityContext", "seccompProfile")
    if profile and not SECCOMP[get(profile, "type") or ""] then
      note(found, container, "securityContext.seccompProfile.type", get(profile, "type") or "")
    elseif not profile and not is_set then
      note(missing, container, "securityContext.seccompProfile.type")
    end
  end
  return found, missing
end

local function bad_seccomp(found)
  return result(found, "seccompProfile", "%s must not set securityContext.seccompProfile.type to %s", setters(found),
    quoted(keys(found.values)))
end

local function seccomp_baseline(pod)
  local found = seccomp_profiles(pod)
  if not is_empty(found) then return bad_seccomp(found) end
end

local function sysctls(...)
  local allowed = {}
  for _, names in ipairs { ... } do
    for _, name in ipairs(names) do allowed[name] = true end
  end
  return function(pod)
    local found, names = new_findings(), {}
    for i, sysctl in ipairs(list(get(pod.spec, "securityContext", "sysctls"))) do
      local name = get(sysctl, "name") or ""
      if not allowed[name] then
        names[#names + 1] = name
        note_pod(found, pod, ("securityContext.sysctls[%d].name"):format(i - 1))
      end
    end
    if #names > 0 then return result(found, "forbidden sysctls", "%s", table.concat(names, ", ")) end
  end
end

local SYSCTLS_0 = { "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
  "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start" }
local SYSCTLS_27 = { "net.ipv4.ip_local_reserved_ports" }
local SYSCTLS_29 = { "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
  "net.ipv4.tcp_keepalive_probes" }
local SYSCTLS_32 = { "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem" }
local SYSCTLS_37 = { "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat" }

local function windows_host_process(pod)
  local found = new_findings()
  if get(pod.spec, "securityContext", "windowsOptions", "hostProcess") == true then
    note_pod(found, pod, "securityContext.windowsOptions.hostProcess")
  end
  for _, container in ipairs(containers(pod)) do
    if get(container.value, "securityContext", "windowsOptions", "hostProcess") == true then
      note(found, container, "securityContext.windowsOptions.hostProcess")
    end
  end
  if is_empty(found) then return end
  return result(found, "hostProcess", "%s must not set securityContext.windowsOptions.hostProcess=true",
    setters(found))
end

-- --- restricted -----------------------------------------------------------------------------------

local function privilege_escalation(pod)
  local found = new_findings()
  for _, container in ipairs(containers(pod)) do
    if get(container.value, "securityContext", "allowPrivilegeEscalation") ~= false then
      note(found, container, "securityContext.allowPrivilegeEscalation")
    end
  end
  if is_empty(found) then return end
  return result(found, "allowPrivilegeEscalation != false",
    "%s must set securityContext.allowPrivilegeEscalation=false", named("container", found.names))
end

local function drops_all(container)
  for _, capability in ipairs(list(get(container.value, "securityContext", "capabilities", "drop"))) do
    if capability == "ALL" then return true end
  end
  return false
end

local function capabilities_restricted(pod)
  local missing, words = new_findings(), {}
  for _, container in ipairs(containers(pod)) do
    if not drops_all(container) then note(missing, container, "securityContext.capabilities.drop") end
  end
  local added = added_capabilities(pod, { NET_BIND_SERVICE = true })
  if not is_empty(missing) then
    words[1] = named("container", missing.names) .. ' must set securityContext.capabilities.drop=["ALL"]'
  end
  if not is_empty(added) then words[#words + 1] = adds(added) end
  if #words == 0 then return end
  table.move(added.paths, 1, #added.paths, #missing.paths + 1, missing.paths)
  return result(missing, "unrestricted capabilities", "%s", table.concat(words, "; "))
end

-- Rules that do not hold for pods of Windows.
local function not_on_windows(control)
  return function(pod)
    if not is_windows(pod) then return control(pod) end
  end
end

local function not_with_user_namespace(control)
  return function(pod)
    if not has_user_namespace(pod) then return control(pod) end
  end
end

local ALLOWED_VOLUMES = { "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
  "projected", "secret" }
local OTHER_VOLUMES = { "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs",
  "rbd", "flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk",
  "photonPersistentDisk", "portworxVolume", "scaleIO", "storageos" }

local function first_of(volume, kinds)
  for _, kind in ipairs(kinds) do
    if get(volume, kind) then return kind end
  end
end

local function restricted_volumes(pod)
  local found = new_findings()
  for i, volume in ipairs(list(get(pod.spec, "volumes"))) do
    if not first_of(volume, ALLOWED_VOLUMES) then
      local kind = first_of(volume, OTHER_VOLUMES)
      local place = { name = get(volume, "name") or "", path = ("%s.volumes"):format(pod.path) }
      note(found, place, "", kind or "unknown")
      found.paths[#found.paths] = ("%s.volumes[%d]%s"):format(pod.path, i - 1, kind and "." .. kind or "")
    end
  end
  if is_empty(found) then return end
  local kinds = keys(found.values)
  return result(found, "restricted volume types", "%s %s %s %s", named("volume", found.names),
    plural("uses", #found.names, "use"), plural("restricted volume type", #kinds), quoted(kinds))
end

local function run_as_non_root(pod)
  local found, missing = new_findings(), new_findings()
  local of_pod = get(pod.spec, "securityContext", "runAsNonRoot")
  if of_pod == false then note_pod(found, pod, "securityContext.runAsNonRoot") end
  for _, container in ipairs(containers(pod)) do
    local value = get(container.value, "securityContext", "runAsNonRoot")
    if value == false then note(found, container, "securityContext.runAsNonRoot") end
    if value == nil and not of_pod then note(missing, container, "securityContext.runAsNonRoot") end
  end
  if not is_empty(found) then
    return result(found, "runAsNonRoot != true", "%s must not set securityContext.runAsNonRoot=false", setters(found))
  end
  if is_empty(missing) then return end
  return result(missing, "runAsNonRoot != true", "pod or %s must set securityContext.runAsNonRoot=true",
    named("container", missing.names))
end

local function run_as_user(pod)
  local found = new_findings()
  if get(pod.spec, "securityContext", "runAsUser") == 0 then note_pod(found, pod, "securityContext.runAsUser") end
  for _, container in ipairs(containers(pod)) do
    if get(container.value, "securityContext", "runAsUser") == 0 then
      note(found, container, "securityContext.runAsUser")
    end
  end
  if not is_empty(found) then return result(found, "runAsUser=0", "%s must not set runAsUser=0", setters(found)) end
end

local function seccomp_restricted(pod)
  local found, missing = seccomp_profiles(pod)
  if not is_empty(found) then return bad_seccomp(found) end
  if is_empty(missing) then return end
  return result(missing, "seccompProfile",
    'pod or %s must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"',
    named("container", missing.names))
end

-- --- the table of controls ------------------------------------------------------------------------
-- In the order of the plugin's messages; each with the minor versions from which a rule holds, and the
-- baseline control that it stands for at the restricted level.

local BASELINE = {
  { "appArmorProfile", { [0] = app_armor } },
  { "capabilities_baseline", { [0] = capabilities_baseline } },
  { "hostNamespaces", { [0] = host_namespaces } },
  { "hostPathVolumes", { [0] = host_path_volumes } },
  { "hostPorts", { [0] = host_ports } },
  { "hostProbesAndHostLifecycle", { [34] = host_probes } },
  { "privileged", { [0] = privileged } },
  { "procMount", { [0] = proc_mount, [35] = proc_mount_relaxed } },
  { "seLinuxOptions", {
    [0] = selinux(set("", "container_t", "container_init_t", "container_kvm_t")),
    [31] = selinux(set("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")),
  } },
  { "seccompProfile_baseline", { [0] = seccomp_annotations, [19] = seccomp_baseline } },
  { "sysctls", {
    [0] = sysctls(SYSCTLS_0), [27] = sysctls(SYSCTLS_0, SYSCTLS_27), [29] = sysctls(SYSCTLS_0, SYSCTLS_27, SYSCTLS_29),
    [32] = sysctls(SYSCTLS_0, SYSCTLS_27, SYSCTLS_29, SYSCTLS_32),
    [37] = sysctls(SYSCTLS_0, SYSCTLS_27, SYSCTLS_29, SYSCTLS_32, SYSCTLS_37),
  } },
  { "windowsHostProcess", { [0] = windows_host_process } },
}

local RESTRICTED = {
  { "allowPrivilegeEscalation", { [8] = privilege_escalation, [25] = not_on_windows(privilege_escalation) } },
  { "capabilities_restricted", { [22] = capabilities_restricted, [25] = not_on_windows(capabilities_restricted) },
    "capabilities_baseline" },
  { "procMount_restricted", { [35] = proc_mount }, "procMount" },
  { "restrictedVolumes", { [0] = restricted_volumes }, "hostPathVolumes" },
  { "runAsNonRoot", { [0] = run_as_non_root, [35] = not_with_user_namespace(run_as_non_root) } },
  { "runAsUser", { [23] = run_as_user, [35] = not_with_user_namespace(run_as_user) } },
  { "seccompProfile_restricted", { [19] = seccomp_restricted, [25] = not_on_windows(seccomp_restricted) },
    "seccompProfile_baseline" },
}

local function rule_at(versions, minor)
  for version = minor, 0, -1 do
    if versions[version] then return versions[version] end
  end
end

-- The controls of a level at a version: {name, rule}.
local function controls(level, minor)
  local chosen, replaced = {}, {}
  if level == "restricted" then
    for _, control in ipairs(RESTRICTED) do
      if control[3] and rule_at(control[2], minor) then replaced[control[3]] = true end
    end
  end
  for _, of_level in ipairs { BASELINE, level == "restricted" and RESTRICTED or {} } do
    for _, control in ipairs(of_level) do
      local rule = not replaced[control[1]] and rule_at(control[2], minor)
      if rule then chosen[#chosen + 1] = { control[1], rule } end
    end
  end
  return chosen
end

local function minor_of(version)
  if version == nil or version == "latest" then return LATEST end
  local minor = tostring(version):match "^v?1%.(%d+)$"
  if not minor then error(("the version %s is neither latest nor v1.N"):format(tostring(version)), 3) end
  return math.min(tonumber(minor), LATEST)
end

-- The pod in an object: the object itself, or the template of a workload.
local function pod_of(object)
  local places = {
    { "spec.jobTemplate.spec.template.", get(object, "spec", "jobTemplate", "spec", "template") },
    { "spec.template.", get(object, "spec", "template") }, { "template.", get(object, "template") }, { "", object },
  }
  for i = 1, #places do
    local prefix, template = table.unpack(places[i])
    if template then
      return { spec = get(template, "spec") or {}, metadata = get(template, "metadata") or {}, path = prefix .. "spec",
        metadata_path = prefix .. "metadata" }
    end
  end
end

---@class kube.PodSecurityViolation
---@field check string # the control: "runAsNonRoot"
---@field path string # the first field that is wrong or missing: "spec.containers[0].securityContext.runAsNonRoot"
---@field paths string[] # all of them
---@field reason string # as the admission plugin names it
---@field detail string # who, and what must be
---@field message string # reason and detail as in the plugin's refusal

---Checks a pod, or the pod template of a workload, against a level of the Pod Security Standards.
---@param object table
---@param level "privileged"|"baseline"|"restricted"
---@param options {version: string?}? # "latest" or "v1.N"
---@return kube.PodSecurityViolation[] # empty when the pod is allowed
local function pod_security(object, level, options)
  if type(object) ~= "table" then error("bad argument #1 to 'pod_security' (table expected)", 2) end
  if level ~= "privileged" and level ~= "baseline" and level ~= "restricted" then
    error(("the level %s is none of privileged, baseline, restricted"):format(tostring(level)), 2)
  end
  local minor, violations = minor_of(options and options.version), {}
  if level == "privileged" then return violations end
  local pod = pod_of(object)
  for _, control in ipairs(controls(level, minor)) do
    local found = control[2](pod)
    if found then
      found.check, found.path = control[1], found.paths[1]
      found.message = ("%s (%s)"):format(found.reason, found.detail)
      violations[#violations + 1] = found
    end
  end
  return violations
end

return pod_security
