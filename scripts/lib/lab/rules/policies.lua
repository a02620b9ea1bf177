-- lab.rules.policies: disruption budgets.
-- Not for counting what they count (lab.controllers.disruption).
--   return { ["policy/poddisruptionbudgets"] = … }

local budgets = {}

function budgets.prepare_create(budget)
  budget.status = { disruptionsAllowed = 0, currentHealthy = 0, desiredHealthy = 0, expectedPods = 0 }
end

function budgets.validate(budget, causes)
  local spec = budget.spec or {}
  if spec.minAvailable ~= nil and spec.maxUnavailable ~= nil then
    causes:invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
  end
  for _, name in ipairs { "minAvailable", "maxUnavailable" } do
    local value = spec[name]
    if math.type(value) == "integer" and value < 0 then
      causes:invalid("spec." .. name, value, "must be greater than or equal to 0")
    elseif type(value) == "string" and not value:match "^%d+%%$" then
      causes:invalid("spec." .. name, value, "a valid percent string must be a numeric string followed by an ending "
        .. "'%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')")
    end
  end
end

return { ["policy/poddisruptionbudgets"] = budgets }
