-- The statements of the imports and functions cells, which every step that needs them runs first.
-- Not for steps: see kale.analysis.
--   local setup, always = setup.read(layout, report); setup.scale[1].piece.source
local diagnostics = require "kale.diagnostics"
local magics = require "kale.magics"
local source = require "kale.source"

local at = diagnostics.at

local M = {}

local function note_facts(statement, facts, held)
  for name, fact in pairs(statement.summary.facts) do
    facts[name] = facts[name] or {}
    table.insert(facts[name], fact)
  end
  for name, one in pairs(statement.summary.held) do held[name] = held[name] or one end
end

---@param layout table of kale.cells
---@param report fun(code: string, fields: table)
---@return table<string, table[]> setup statements by the names they bind
---@return table[] always statements that every step runs
---@return table[] stars star imports
---@return table<string, kale.Facts[]> facts what their functions do
---@return table<string, table> held
function M.read(layout, report)
  local setup, always, stars, facts, held = {}, {}, {}, {}, {}
  for _, group in ipairs { "imports", "functions" } do
    for _, statement in ipairs(source.statements(layout[group], report)) do
      local summary, place = statement.summary, statement.place
      for name in pairs(summary.stores) do
        setup[name] = setup[name] or {}
        table.insert(setup[name], statement)
      end
      note_facts(statement, facts, held)
      if #summary.stars > 0 then
        always[#always + 1] = statement
        if not summary.stars[1].future then
          stars[#stars + 1] = statement
          report("star-import", at(place))
        end
      elseif statement.kind == "statement" then
        always[#always + 1] = statement
        local matters = next(summary.stores) == nil or next(summary.changes) ~= nil
        if matters and not magics.is_setting(statement.piece.source) then
          report("effects-repeated", at(place, { kind = group }))
        end
      end
    end
  end
  return setup, always, stars, facts, held
end

return M
