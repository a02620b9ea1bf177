---@meta katib.core
-- The numbers behind katib.suggest that Lua is too slow for; use `require "katib"`.

local core = {}

---@class katib.Process
local Process = {}
---@param point number[] within the unit cube
---@return number mean, number deviation
function Process:predict(point) end
---Where it is best to look next.
---@param criterion "EI"|"LCB"|"PI"
---@param best number the lowest target
---@param seed integer
---@return number[] point
function Process:propose(criterion, best, seed) end

---A Gaussian process over the unit cube, fitted to costs.
---@param points number[][]
---@param targets number[] standardized
---@param levels integer[] by dimension: 0 continuous, n evenly spaced values, -n values without an order
---@return katib.Process # raises "Space" when nothing fits
function core.gp(points, targets, levels) end

return core
