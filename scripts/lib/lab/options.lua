-- lab.options: what a write's query and options body say: dry run, field validation, preconditions.
-- Not for lists and watches (lab.lists).
--   options.write(ctx, "CreateOptions"); if ctx.dry_run then … end

local json = require "json"
local route = require "lab.route"
local status = require "lab.status"

local M = {}

local GROUP = "meta.k8s.io"

local function check_dry_run(values, causes)
  for _, value in ipairs(values) do
    if value ~= "All" then
      causes:unsupported("dryRun", json.array(values), { "All" })
      return
    end
  end
end

local VALIDATION = { Strict = true, Warn = true, Ignore = true }

---Reads dryRun, fieldValidation and force of a write.
---@param ctx lab.Context
---@param kind "CreateOptions"|"UpdateOptions"|"PatchOptions"
function M.write(ctx, kind)
  local causes = status.causes()
  local query = ctx.query
  local applies = (ctx.headers["content-type"] or ""):find("apply-patch", 1, true)
  if kind == "PatchOptions" and query.force and not applies then
    causes:forbidden("force", "may not be specified for non-apply patch")
  end
  local dry_run = query.dryRun or {}
  check_dry_run(dry_run, causes)
  ctx.dry_run = #dry_run > 0
  local validation = query.fieldValidation and query.fieldValidation[1] or ""
  if validation ~= "" and not VALIDATION[validation] then
    causes:unsupported("fieldValidation", validation, { "", "Ignore", "Strict", "Warn" })
  end
  if #ctx.manager > 128 then causes:too_long("fieldManager", 128) end
  status.check({ group = GROUP, kind = kind }, "", causes)
  ctx.validation = validation ~= "" and validation or "Warn"
  local given = query.fieldManager and query.fieldManager[1] or nil
  -- Admission sees a patch as the update that it is.
  ctx.options = { kind = kind == "PatchOptions" and "UpdateOptions" or kind, apiVersion = "meta.k8s.io/v1",
                  fieldManager = given ~= "" and given or nil,
                  dryRun = ctx.dry_run and json.array { "All" } or nil,
                  fieldValidation = validation ~= "" and validation or nil }
end

local POLICIES = { Foreground = true, Background = true, Orphan = true }

local function parse_delete_body(ctx)
  local body = ctx.request.body
  if not body or body == "" then return nil end
  local media = (ctx.headers["content-type"] or ""):match "^[^;]*"
  local decode = media:find "yaml" and require("yaml").decode
    or media:find "protobuf" and require("lab.protobuf").decode or json.decode
  local ok, value = pcall(decode, body)
  if not ok or type(value) ~= "table" then
    local text = body:match "^%s*{%s*$" and "unexpected end of JSON input" or "invalid character"
    status.bad_request("couldn't get version/kind; json parse error: %s", text)
  end
  return value
end

local function check_delete(options)
  local causes = status.causes()
  local policy = options.propagationPolicy
  if policy and options.orphanDependents ~= nil then
    causes:invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set")
  end
  if policy and not POLICIES[policy] then
    causes:unsupported("propagationPolicy", policy, { "Foreground", "Background", "Orphan", "nil" })
  end
  check_dry_run(options.dryRun or {}, causes)
  status.check({ group = GROUP, kind = "DeleteOptions" }, "", causes)
end

---Reads the options of a deletion from the body, or from the query when there is no body.
---@param ctx lab.Context
---@return table options DeleteOptions
function M.delete(ctx)
  local options = parse_delete_body(ctx)
  local query = ctx.query
  if not options then
    options = {}
    local grace = query.gracePeriodSeconds and query.gracePeriodSeconds[1]
    if grace then
      options.gracePeriodSeconds = math.tointeger(tonumber(grace))
      if not options.gracePeriodSeconds then
        status.bad_request('strconv.ParseInt: parsing "%s": invalid syntax', grace)
      end
    end
    options.propagationPolicy = query.propagationPolicy and query.propagationPolicy[1]
    if query.orphanDependents then options.orphanDependents = route.is_on(query, "orphanDependents") end
  end
  for name, value in pairs(options) do
    if value == json.null then options[name] = nil end
  end
  options.dryRun = options.dryRun or query.dryRun and json.array(query.dryRun)
  check_delete(options)
  options.kind, options.apiVersion = "DeleteOptions", "meta.k8s.io/v1"
  ctx.dry_run = options.dryRun ~= nil and #options.dryRun > 0
  if not ctx.dry_run then options.dryRun = nil end
  ctx.options = options
  return options
end

return M
