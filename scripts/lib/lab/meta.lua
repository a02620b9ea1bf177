-- lab.meta: the rules that all objects' metadata obey: names, labels, annotations, owners, finalizers.
-- Not for the fields of a kind (lab.rules).
--   meta.check(resource, object, causes)

local status = require "lab.status"

local M = {}

-- --- names ----------------------------------------------------------------------------------------

local LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"

local function is_label(text) return text:match "^[a-z0-9][-a-z0-9]*$" ~= nil and text:sub(-1) ~= "-" end

local function is_subdomain(text)
  if text == "" or text:sub(1, 1) == "." or text:sub(-1) == "." or text:find("..", 1, true) then return false end
  for part in text:gmatch "[^.]+" do
    if not is_label(part) then return false end
  end
  return true
end

---@param text string
---@return string[] what is wrong with it as an RFC 1123 label
function M.label_faults(text)
  local faults = {}
  if #text > 63 then faults[#faults + 1] = "must be no more than 63 bytes" end
  if not is_label(text) and is_subdomain(text) then
    faults[#faults + 1] = "must not contain dots"
  elseif not is_label(text) then
    faults[#faults + 1] = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
      .. "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation "
      .. "is '" .. LABEL .. "')"
  end
  return faults
end

---@return string[] what is wrong with it as an RFC 1035 label
function M.label_1035_faults(text)
  local faults = {}
  if #text > 63 then faults[#faults + 1] = "must be no more than 63 bytes" end
  if not is_label(text) or not text:match "^[a-z]" then
    faults[#faults + 1] = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
      .. "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
      .. "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
  end
  return faults
end

---@return string[] what is wrong with it as an RFC 1123 subdomain
function M.subdomain_faults(text)
  local faults = {}
  if #text > 253 then faults[#faults + 1] = "must be no more than 253 bytes" end
  if not is_subdomain(text) then
    faults[#faults + 1] = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
      .. "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
      .. "'" .. LABEL .. "(\\." .. LABEL .. ")*')"
  end
  return faults
end

local function path_faults(text)
  if text == "." or text == ".." then return { ("may not be '%s'"):format(text) } end
  if text:find "/" then return { "may not contain '/'" } end
  if text:find "%%" then return { "may not contain '%'" } end
  return {}
end

local NAME_RULES = {
  namespaces = M.label_faults, services = M.label_1035_faults,
  ["rbac.authorization.k8s.io/roles"] = path_faults, ["rbac.authorization.k8s.io/rolebindings"] = path_faults,
  ["rbac.authorization.k8s.io/clusterroles"] = path_faults,
  ["rbac.authorization.k8s.io/clusterrolebindings"] = path_faults,
}

-- --- labels and other maps ------------------------------------------------------------------------

local NAME_PART = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
  .. "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
  .. "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
local LABEL_VALUE = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
  .. "must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
  .. "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

local function is_word(text)
  return text:match "^[%w][-%w_.]*$" ~= nil and text:match "[%w]$" ~= nil
end

local NOTHING = {}
local good = {} -- names that were found to be right
local good_count = 0

local function remember(text)
  if good_count > 5000 then good, good_count = {}, 0 end
  good[text], good_count = true, good_count + 1
end

---@param text string
---@return string[] what is wrong with it as a qualified name, "example.com/name"
function M.qualified_faults(text)
  if good[text] then return NOTHING end
  local faults = {}
  local prefix, name = text:match "^(.-)/(.*)$"
  if name and name:find "/" then
    return { "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
      .. "an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
      .. "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' "
      .. "(e.g. 'example.com/MyName')" }
  end
  if prefix == "" then
    faults[1] = "prefix part must be non-empty"
  elseif prefix then
    for _, fault in ipairs(M.subdomain_faults(prefix)) do faults[#faults + 1] = "prefix part " .. fault end
  end
  name = name or text
  if name == "" then
    faults[#faults + 1] = "name part must be non-empty"
  elseif #name > 63 then
    faults[#faults + 1] = "name part must be no more than 63 bytes"
  end
  if not is_word(name) then faults[#faults + 1] = NAME_PART end
  if #faults == 0 then remember(text) end
  return faults
end

---@param text string
---@return string[] what is wrong with it as a label's value
function M.value_faults(text)
  if text == "" or #text <= 63 and is_word(text) then return NOTHING end
  local faults = {}
  if #text > 63 then faults[#faults + 1] = "must be no more than 63 bytes" end
  if text ~= "" and not is_word(text) then faults[#faults + 1] = LABEL_VALUE end
  return faults
end

local function sorted_names(map)
  local names = {}
  for name in pairs(map) do names[#names + 1] = name end
  table.sort(names)
  return names
end
M.sorted_names = sorted_names

---@param labels table<string, string>
---@param field string where they are
---@param causes lab.Causes
function M.check_labels(labels, field, causes)
  for _, name in ipairs(sorted_names(labels)) do
    for _, fault in ipairs(M.qualified_faults(name)) do causes:invalid(field, name, fault) end
    for _, fault in ipairs(M.value_faults(labels[name])) do causes:invalid(field, labels[name], fault) end
  end
end

local MOST_ANNOTATIONS = 262144

local function check_annotations(annotations, causes)
  local size = 0
  for _, name in ipairs(sorted_names(annotations)) do
    if not good[name] then
      for _, fault in ipairs(M.qualified_faults(name:lower())) do
        causes:invalid("metadata.annotations", name, fault)
      end
    end
    size = size + #name + #annotations[name]
  end
  if size > MOST_ANNOTATIONS then causes:too_long("metadata.annotations", MOST_ANNOTATIONS) end
end

local function check_owners(owners, causes)
  local controller
  for i, owner in ipairs(owners) do
    local field = ("metadata.ownerReferences[%d]"):format(i - 1)
    local version = owner.apiVersion or ""
    if version == "" then
      causes:required(field .. ".apiVersion", "must not be empty")
    elseif version:find "/.*/" or version:find "/$" then
      causes:invalid(field .. ".apiVersion", version, "must be <group>/<version> or <version>")
    end
    for _, name in ipairs { "kind", "name", "uid" } do
      if (owner[name] or "") == "" then causes:required(field .. "." .. name, "must not be empty") end
    end
    if version == "v1" and owner.kind == "Event" then
      causes:invalid(field, owner, "/v1, Kind=Event is disallowed from being an owner")
    end
    if owner.controller then
      local name = ("%s/%s"):format(owner.kind, owner.name)
      if controller then
        causes:invalid("metadata.ownerReferences", owners,
          ('Only one reference can have Controller set to true. Found "true" in references for %s and %s'):format(
            controller, name))
      end
      controller = controller or name
    end
  end
end

local STANDARD_FINALIZERS = { kubernetes = true, orphan = true, foregroundDeletion = true }

-- Of custom resources any qualified name will do; the real server only warns.
local function check_finalizers(resource, finalizers, causes)
  local both = {}
  for i, name in ipairs(finalizers) do
    both[name] = true
    if not STANDARD_FINALIZERS[name] then
      local field = ("metadata.finalizers[%d]"):format(i - 1)
      local faults = M.qualified_faults(name)
      for _, fault in ipairs(faults) do causes:invalid(field, name, fault) end
      if #faults == 0 and not resource.custom and not name:find "/" then
        causes:invalid(field, name, "name is neither a standard finalizer name nor is it fully qualified")
      end
    end
  end
  if both.orphan and both.foregroundDeletion then
    causes:invalid("metadata.finalizers", finalizers,
      "finalizer orphan and foregroundDeletion cannot be both set")
  end
end

---Checks the metadata of an object.
---@param resource lab.Resource
---@param object table
---@param causes lab.Causes
function M.check(resource, object, causes)
  local meta = object.metadata
  if (meta.name or "") == "" then
    causes:required("metadata.name", "name or generateName is required")
  else
    for _, fault in ipairs((NAME_RULES[resource.stored] or M.subdomain_faults)(meta.name)) do
      causes:invalid("metadata.name", meta.name, fault)
    end
  end
  if meta.labels then M.check_labels(meta.labels, "metadata.labels", causes) end
  if meta.annotations then check_annotations(meta.annotations, causes) end
  if meta.ownerReferences then check_owners(meta.ownerReferences, causes) end
  if meta.finalizers then check_finalizers(resource, meta.finalizers, causes) end
end

---Checks what an update may not change.
---@param object table
---@param old table
---@param causes lab.Causes
function M.check_update(object, old, causes)
  local meta, before = object.metadata, old.metadata
  if meta.uid ~= before.uid then causes:invalid("metadata.uid", meta.uid, "field is immutable") end
  if not before.deletionTimestamp then return end
  local had, added = {}, {}
  for _, name in ipairs(before.finalizers or {}) do had[name] = true end
  for _, name in ipairs(meta.finalizers or {}) do
    if not had[name] then added[#added + 1] = status.shown(name) end
  end
  if #added > 0 then
    causes:forbidden("metadata.finalizers", "no new finalizers can be added if the object is being deleted, found new "
      .. ("finalizers []string{%s}"):format(table.concat(added, ", ")))
  end
end

-- --- fields that the server owns ------------------------------------------------------------------

local MAPS = { "labels", "annotations", "finalizers", "ownerReferences", "managedFields" }

---Drops what is empty, as Go's omitempty does.
function M.tidy(meta)
  for _, name in ipairs(MAPS) do
    if meta[name] and next(meta[name]) == nil then meta[name] = nil end
  end
  if meta.generateName == "" then meta.generateName = nil end
  if meta.name == "" then meta.name = nil end
  if meta.namespace == "" then meta.namespace = nil end
  if meta.resourceVersion == "" then meta.resourceVersion = nil end
  if meta.uid == "" then meta.uid = nil end
  meta.selfLink = nil
end

return M
