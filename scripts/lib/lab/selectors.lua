-- lab.selectors: label and field selectors of lists, watches and deletions of collections.
-- Not for selectors inside objects (see lab.match).
--   local m = selectors.of(ctx); m.matches(record) -> boolean

local kube = require "kube"
local errors = require "errors"
local status = require "lab.status"

local M = {}

-- --- fields ---------------------------------------------------------------------------------------

-- Splits at commas that no backslash precedes.
local function split_terms(text)
  local terms, current, at = {}, {}, 1
  while at <= #text do
    local c = text:sub(at, at)
    if c == "\\" and at < #text then
      current[#current + 1] = text:sub(at, at + 1)
      at = at + 2
    elseif c == "," then
      terms[#terms + 1] = table.concat(current)
      current = {}
      at = at + 1
    else
      current[#current + 1] = c
      at = at + 1
    end
  end
  terms[#terms + 1] = table.concat(current)
  return terms
end

-- Where the operator is: the first of != == = outside escapes.
local function split_term(term)
  local at = 1
  while at <= #term do
    local two = term:sub(at, at + 1)
    if two:sub(1, 1) == "\\" then
      at = at + 2
    elseif two == "!=" or two == "==" then
      return term:sub(1, at - 1), two, term:sub(at + 2)
    elseif two:sub(1, 1) == "=" then
      return term:sub(1, at - 1), "=", term:sub(at + 1)
    else
      at = at + 1
    end
  end
end

local function unescape(value) return (value:gsub("\\([\\,=])", "%1")) end

---@param text string
---@return {field: string, equal: boolean, value: string}[] raises BadRequest
function M.fields(text)
  local list = {}
  if text == "" then return list end
  for _, term in ipairs(split_terms(text)) do
    if term ~= "" then
      local field, operator, value = split_term(term)
      if not field then
        status.bad_request("invalid selector: '%s'; can't understand '%s'", text, term)
      end
      list[#list + 1] = { field = field, equal = operator ~= "!=", value = unescape(value) }
    end
  end
  return list
end

local function check_fields(ctx, terms)
  local resource = ctx.resource
  local rules = ctx.cluster.rules[resource.stored]
  local known = resource.custom and resource.custom.selectable or rules and rules.field_names or {}
  for _, term in ipairs(terms) do
    local field = term.field
    if field ~= "metadata.name" and field ~= "metadata.namespace" and not known[field] then
      if resource.custom or resource.plural == "pods" then
        status.bad_request("field label not supported: %s", field)
      elseif resource.group == "" then
        status.bad_request('"%s" is not a known field selector: only "metadata.name", "metadata.namespace"', field)
      end
      status.bad_request('field label "%s" not supported for %s', field, resource.kind)
    end
  end
end

local function field_of(record, field)
  if field == "metadata.name" then return record.name end
  if field == "metadata.namespace" then return record.namespace or "" end
  return record.fields and record.fields[field] or ""
end

local function fields_match(terms, record)
  for _, term in ipairs(terms) do
    if (field_of(record, term.field) == term.value) ~= term.equal then return false end
  end
  return true
end

-- --- labels ---------------------------------------------------------------------------------------

---@param text string
---@return table selector with matches(labels); raises BadRequest
function M.labels(text)
  local ok, selector = pcall(kube.selector, text)
  if ok then return selector end
  if errors.is(selector) then status.bad_request("%s", selector.message) end
  error(selector, 0)
end

local NO_LABELS = {}

---@class lab.Selection
---@field all boolean whether everything matches
---@field name string? the only name that can match
---@field matches fun(record: lab.Record): boolean

---@param ctx lab.Context
---@return lab.Selection
function M.of(ctx)
  local label_text = ctx.query.labelSelector and ctx.query.labelSelector[1] or ""
  local field_text = ctx.query.fieldSelector and ctx.query.fieldSelector[1] or ""
  local labels = label_text ~= "" and M.labels(label_text) or nil
  local terms = M.fields(field_text)
  check_fields(ctx, terms)
  local name
  for _, term in ipairs(terms) do
    if term.field == "metadata.name" and term.equal then name = term.value end
  end
  return {
    all = not labels and #terms == 0, name = name,
    matches = function(record)
      return fields_match(terms, record) and (not labels or labels:matches(record.labels or NO_LABELS))
    end,
  }
end

return M
