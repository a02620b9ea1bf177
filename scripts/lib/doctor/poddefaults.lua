-- doctor.poddefaults: PodDefaults that contradict each other, or the pods that they are for: their webhook refuses
-- such a pod. A room of checks; see doctor.

local poddefaults = require "istio.analyze.poddefaults"
local world = require "doctor.world"

local M = {}

local get, list = world.get, world.list

-- --- who meets whom ----------------------------------------------------------------------------------------

-- Whether all that one selector chooses is chosen by the other.
local function covers(wide, narrow)
  if #list(get(wide, "matchExpressions")) > 0 then return false end
  for key, value in pairs(list(get(wide, "matchLabels"))) do
    if get(narrow, "matchLabels", key) ~= value then return false end
  end
  return true
end

-- Whether two PodDefaults of a namespace meet in a pod that is there, or in each that one of them chooses.
local function meet(a, b, pods)
  local first, second = get(a, "spec", "selector") or {}, get(b, "spec", "selector") or {}
  if covers(first, second) or covers(second, first) then return true end
  for _, pod in ipairs(pods) do
    if world.selects(first, pod.labels) and world.selects(second, pod.labels) then return true end
  end
  return false
end

-- --- the check ---------------------------------------------------------------------------------------------

local function grouped(w)
  local places = {}
  for _, default in ipairs(w:of "PodDefault") do
    local name = default.metadata.namespace
    places[name] = places[name] or { defaults = {}, pods = {} }
    table.insert(places[name].defaults, default)
  end
  for _, pod in ipairs(w.pods) do
    local place = places[pod.namespace]
    if place then table.insert(place.pods, pod) end
  end
  return places
end

---PodDefaults for the same pods say the same.
---@param w doctor.World
function M.pod_defaults(w)
  for _, place in pairs(grouped(w)) do
    local defaults = place.defaults
    for i = 1, #defaults do
      for k = i + 1, #defaults do
        local what = poddefaults.contradictions(defaults[i].spec, defaults[k].spec)[1]
        if what and meet(defaults[i], defaults[k], place.pods) then
          w:add("poddefault-conflict", "error", defaults[k], {
            what = ("it and %s are for the same pods and disagree about %s"):format(defaults[i].metadata.name, what),
            why = "the webhook of PodDefaults refuses such a pod",
            fix = ("let one of the two select other pods, or make both say the same, or `kubectl delete poddefault"
              .. " -n %s %s`"):format(defaults[k].metadata.namespace, defaults[k].metadata.name),
          })
        end
      end
    end
  end
end

return M
