-- Reports claims by storage class: how many, how much they ask for, how many are bound, who uses ReadWriteMany.
--   kfhost claims-by-class.lua [NAMESPACE]
local kube = require "kube"
local columns = require "term.table"

local c = kube.connect()
local classes = {}

local UNITS = { "", "Ki", "Mi", "Gi", "Ti", "Pi" }

local function size_text(bytes)
  local unit = 1
  while bytes >= 1024 and unit < #UNITS do bytes, unit = bytes / 1024, unit + 1 end
  return ("%.4g%s"):format(bytes, UNITS[unit])
end

local FACTORS = { Ki = 2 ^ 10, Mi = 2 ^ 20, Gi = 2 ^ 30, Ti = 2 ^ 40, Pi = 2 ^ 50, k = 1e3, M = 1e6, G = 1e9, T = 1e12 }

local function bytes_of(quantity)
  local number, unit = tostring(quantity or 0):match "^([%d.]+)(%a*)$"
  return tonumber(number or 0) * (FACTORS[unit] or 1)
end

for claim in c:each("persistentvolumeclaims", { namespace = arg[1] or "*" }) do
  local name = claim.spec.storageClassName or "(default)"
  local class = classes[name] or { name = name, claims = 0, bytes = 0, bound = 0, shared = 0 }
  classes[name] = class
  class.claims = class.claims + 1
  class.bytes = class.bytes + bytes_of(claim.spec.resources.requests.storage)
  if claim.status.phase == "Bound" then class.bound = class.bound + 1 end
  for _, mode in ipairs(claim.spec.accessModes) do
    if mode == "ReadWriteMany" then class.shared = class.shared + 1 end
  end
end

local rows = {}
for _, class in pairs(classes) do
  rows[#rows + 1] = { class.name, tostring(class.claims), size_text(class.bytes), tostring(class.bound),
    tostring(class.shared) }
end
table.sort(rows, function(a, b) return a[1] < b[1] end)
table.insert(rows, 1, { "CLASS", "CLAIMS", "ASKED", "BOUND", "SHARED" })
io.write(columns(rows, { align = { [2] = "right", [3] = "right", [4] = "right", [5] = "right" } }))
