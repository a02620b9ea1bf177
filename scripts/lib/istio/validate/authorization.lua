-- Rules for AuthorizationPolicy. A part of istio.validate.
local match = require "istio.match"
local rules = require "istio.rules"

local M = {}

local function filled(list)
  return type(list) == "table" and #list > 0
end

-- --- values --------------------------------------------------------------------------------------------------

local function check_texts(checker, path, values)
  for i, value in ipairs(values) do
    if value == "" then checker:error(("%s[%d]"):format(path, i - 1), "empty value not allowed") end
  end
end

local function check_blocks(checker, path, values)
  for i, value in ipairs(values) do
    if not match.block(tostring(value)) then
      checker:error(("%s[%d]"):format(path, i - 1), "invalid IP address or CIDR: %s", tostring(value))
    end
  end
end

local function check_ports(checker, path, values)
  for i, value in ipairs(values) do checker:port(("%s[%d]"):format(path, i - 1), value) end
end

-- {*} and {**} are whole segments, and none of them follows the second one. Beside them all is literal; braces have no
-- other meaning anywhere.
local function template_problem(value)
  local is_template, seen_rest = match.is_template(value), false
  for segment in value:gmatch "[^/]+" do
    local operator = segment == "{*}" or segment == "{**}"
    if operator and seen_rest then return "{**} is not the last operator in path template" end
    if segment == "{**}" then seen_rest = true
    elseif not operator and (segment:find "[{}]" or is_template and segment:find "[^%w%-._~%%!$&'()+,;:@=]") then
      return "the segment " .. segment .. " is no literal, {*} or {**}"
    end
  end
end

local function check_paths(checker, path, values)
  for i, value in ipairs(values) do
    local place = ("%s[%d]"):format(path, i - 1)
    if value == "" then checker:error(place, "empty value not allowed")
    else
      local problem = template_problem(value)
      if problem then checker:error(place, "invalid or unsupported path %s: %s", value, problem) end
    end
  end
end

local function check_accounts(checker, path, values)
  if #values > 16 then checker:error(path, "at most 16 service accounts") end
  for i, value in ipairs(values) do
    local place = ("%s[%d]"):format(path, i - 1)
    local _, slashes = value:gsub("/", "")
    if value == "" then checker:error(place, "empty value not allowed")
    elseif value:find("*", 1, true) then checker:error(place, "wildcard not allowed in a service account")
    elseif #value > 320 then checker:error(place, "at most 320 characters")
    elseif slashes > 1 or value:find "^/" or value:find "/$" then
      checker:error(place, "%s is neither ACCOUNT nor NAMESPACE/ACCOUNT", value)
    end
  end
end

local function check_domains(checker, path, values)
  for i, value in ipairs(values) do
    local inner = value:gsub("^%*", ""):gsub("%*$", "")
    local both = value:find "^%*.+%*$"
    if value == "" then checker:error(("%s[%d]"):format(path, i - 1), "empty value not allowed")
    elseif inner:find("*", 1, true) or both then
      checker:error(("%s[%d]"):format(path, i - 1), "a wildcard is allowed at one end only")
    end
  end
end

local CHECKS = {
  ipBlocks = check_blocks, remoteIpBlocks = check_blocks, ports = check_ports, paths = check_paths,
  serviceAccounts = check_accounts, trustDomains = check_domains,
}

-- All fields of a source or operation; how many are there.
local function check_fields(checker, path, object, names)
  local count = 0
  for _, name in ipairs(names) do
    for _, field in ipairs { name, rules.negated(name) } do
      local values = object[field]
      if values ~= nil then
        if not filled(values) then checker:error(path .. "." .. field, "%s cannot be empty", field)
        else (CHECKS[name] or check_texts)(checker, path .. "." .. field, values) end
        count = count + 1
      end
    end
  end
  return count
end

-- --- clauses ----------------------------------------------------------------------------------------------------

local IDENTITIES = { "principals", "namespaces", "serviceAccounts", "trustDomains", "requestPrincipals" }

local function has(object, name)
  return object[name] ~= nil or object[rules.negated(name)] ~= nil
end

local function check_source(checker, path, source, custom)
  if check_fields(checker, path, source, rules.SOURCE) == 0 then
    checker:error(path, "`from.source` must have at least one field")
  end
  if has(source, "serviceAccounts") and (has(source, "principals") or has(source, "namespaces")) then
    checker:error(path, "Cannot set serviceAccounts with namespaces or principals")
  end
  for _, name in ipairs(custom and IDENTITIES or {}) do
    for _, field in ipairs { name, rules.negated(name) } do
      if source[field] then checker:error(path .. "." .. field, "%s is not supported with CUSTOM", field) end
    end
  end
end

local CUSTOM_KEYS = {
  ["source.namespace"] = true, ["source.principal"] = true, ["source.serviceAccount"] = true,
  ["source.trustDomain"] = true, ["request.auth.principal"] = true, ["request.auth.audiences"] = true,
  ["request.auth.presenter"] = true,
}

local VALUE_CHECKS = {
  ["source.ip"] = check_blocks, ["remote.ip"] = check_blocks, ["destination.ip"] = check_blocks,
  ["destination.port"] = check_ports,
}

local function check_condition(checker, path, condition, custom)
  local key = condition.key or ""
  if key == "" then return checker:error(path .. ".key", "`key` must not be empty") end
  if not filled(condition.values) and not filled(condition.notValues) then
    checker:error(path, "at least one of `values` or `notValues` must be set for key %s", key)
  end
  if not rules.key(key) then checker:error(path .. ".key", "unknown attribute (%s)", key) end
  if custom and (CUSTOM_KEYS[key] or key:find "^request%.auth%.claims") then
    checker:error(path .. ".key", "%s is not supported with CUSTOM", key)
  end
  local check = VALUE_CHECKS[key]
  for _, field in ipairs { "values", "notValues" } do
    if condition[field] then (check or check_texts)(checker, path .. "." .. field, condition[field]) end
  end
end

local function check_list(checker, path, list, member, check, custom)
  if list == nil then return end
  if not filled(list) then
    return checker:error(path, "`%s` cannot be empty, must have at least one entry", path:match "[^.]*$")
  end
  for i, entry in ipairs(list) do
    local place = ("%s[%d].%s"):format(path, i - 1, member)
    if entry[member] == nil then checker:error(place, "`%s` cannot be nil", member)
    else check(checker, place, entry[member], custom) end
  end
end

local function check_operation(checker, path, operation)
  if check_fields(checker, path, operation, rules.OPERATION) == 0 then
    checker:error(path, "`to.operation` must have at least one field")
  end
end

-- A DENY that only says things of HTTP denies every connection that is none.
local function warn_of_tcp(checker, path, rule)
  local http = rules.http_fields(rule)
  local others = false
  for _, entry in ipairs(rule.to or {}) do
    others = others or (entry.operation or {}).ports ~= nil
  end
  if #http > 0 and not others then
    checker:warning(path, "this rule only contains HTTP attributes (%s); on a TCP port it denies all it still matches",
      table.concat(http, ", "))
  end
end

local function check_rule(checker, path, rule, action)
  local custom = action == "CUSTOM"
  check_list(checker, path .. ".from", rule.from, "source", check_source, custom)
  check_list(checker, path .. ".to", rule.to, "operation", check_operation)
  for i, condition in ipairs(rule.when or {}) do
    check_condition(checker, ("%s.when[%d]"):format(path, i - 1), condition, custom)
  end
  if action == "DENY" then warn_of_tcp(checker, path, rule) end
end

local BOOLEANS = { ["true"] = true, ["false"] = true, ["1"] = true, ["0"] = true, t = true, f = true, T = true,
  F = true, True = true, False = true, TRUE = true, FALSE = true }

local function check_dry_run(checker, object, action)
  local said = ((object.metadata or {}).annotations or {})["istio.io/dry-run"]
  if said == nil then return end
  local path = "metadata.annotations[istio.io/dry-run]"
  if not BOOLEANS[said] then checker:error(path, "%s is neither true nor false", tostring(said))
  elseif action ~= "ALLOW" and action ~= "DENY" then checker:error(path, "a dry run is not for action %s", action) end
end

---@param checker istio.Checker
---@param spec table
---@param object table
function M.AuthorizationPolicy(checker, spec, object)
  local action = spec.action or "ALLOW"
  check_dry_run(checker, object, action)
  checker:targeting(spec)
  checker:one_of("spec.action", action, { "ALLOW", "DENY", "AUDIT", "CUSTOM" })
  if action == "CUSTOM" then
    if not filled(spec.rules) then checker:error("spec.rules", "CUSTOM action without `rules` is meaningless") end
    if not spec.provider or (spec.provider.name or "") == "" then
      checker:error("spec.provider.name", "`provider.name` must not be empty")
    end
  elseif spec.provider then
    checker:error("spec.provider", "`provider` must not be set with %s", action)
  end
  if action == "DENY" and not filled(spec.rules) then
    checker:error("spec.rules", "DENY action without `rules` is meaningless as it will never be triggered")
  end
  if #(spec.rules or {}) > 512 then checker:error("spec.rules", "at most 512 rules") end
  for i, rule in ipairs(spec.rules or {}) do check_rule(checker, ("spec.rules[%d]"):format(i - 1), rule, action) end
end

return M
