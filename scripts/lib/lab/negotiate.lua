-- lab.negotiate: which form of an answer a client accepts: JSON or YAML; whole, table or metadata only.
-- Not for making that form (see lab.answer).
--   negotiate.accept("application/json;as=Table;v=v1;g=meta.k8s.io,application/json") -> {as="Table", …}

local status = require "lab.status"

local M = {}

---@class lab.Form
---@field yaml boolean
---@field as "Table"|"PartialObjectMetadata"|"PartialObjectMetadataList"|"APIGroupDiscoveryList"|nil
---@field pretty boolean

local KNOWN_AS = {
  Table = "meta.k8s.io/v1", PartialObjectMetadata = "meta.k8s.io/v1", PartialObjectMetadataList = "meta.k8s.io/v1",
  APIGroupDiscoveryList = "apidiscovery.k8s.io/v2",
}

local function clauses_of(accept)
  local list = {}
  for clause in accept:gmatch "[^,]+" do
    local media, rest = clause:match "^%s*([^;%s]+)%s*(.*)$"
    if media then
      local parameters = {}
      for name, value in rest:gmatch ";%s*([%w_%-]+)=([^;%s]+)" do parameters[name] = value end
      list[#list + 1] = { media = media:lower(), parameters = parameters }
    end
  end
  return list
end

local FORMATS = {
  ["application/json"] = "json", ["application/yaml"] = "yaml", ["*/*"] = "json", ["application/*"] = "json",
  ["text/yaml"] = nil,
}

-- Whether a clause asks for a form that there is; then the form.
local function form_of(clause)
  local format = FORMATS[clause.media]
  if not format then return nil end
  local as = clause.parameters.as
  if as then
    local wanted = (clause.parameters.g or "") .. "/" .. (clause.parameters.v or "")
    if KNOWN_AS[as] ~= wanted then return nil end
  end
  return { yaml = format == "yaml", as = as, pretty = false }
end

---@param accept string? the header; nil or empty accepts JSON
---@return lab.Form? nil when nothing of it can be served
function M.read(accept)
  if not accept or accept == "" then return { yaml = false, pretty = false } end
  for _, clause in ipairs(clauses_of(accept)) do
    local form = form_of(clause)
    if form then return form end
  end
end

---@param headers table<string, string>
---@param query table<string, string[]>
---@return boolean whether the answer should be indented
function M.wants_pretty(headers, query)
  local value = query.pretty and query.pretty[1]
  if value then return value ~= "false" and value ~= "0" end
  local agent = headers["user-agent"] or ""
  return agent:find "^curl" ~= nil or agent:find "^Wget" ~= nil or agent:find "^Mozilla/5%.0" ~= nil
end

---@return lab.Form raises NotAcceptable
function M.accept(headers, query)
  local form = M.read(headers.accept)
  if not form then
    local text = "only the following media types are accepted: application/json, application/yaml"
    if (headers.accept or ""):find "as=Table" then text = text .. ", application/vnd.kubernetes.protobuf" end
    status.raise(406, "NotAcceptable", text)
  end
  form.pretty = M.wants_pretty(headers, query)
  return form
end

return M
