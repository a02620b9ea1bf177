-- Values as the rules for kinds look at them. A part of istio.validate.
local M = {}

---Whether a field says something: in Istio's messages an empty text is one that is not there.
---@param value any
---@return boolean
function M.is_set(value)
  return value ~= nil and value ~= ""
end

---A name of DNS, with a wildcard as its first label.
---@param name string
---@return boolean
function M.is_host(name)
  if name == "*" then return true end
  local rest = name:gsub("^%*%.", "")
  if rest == "" or #rest > 255 then return false end
  for label in (rest .. "."):gmatch "([^.]*)%." do
    if not label:find "^[%w_]$" and not label:find "^[%w_][-%w_]*[%w_]$" or #label > 63 then return false end
  end
  return true
end

return M
