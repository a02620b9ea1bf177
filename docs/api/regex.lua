---@meta regex
-- Regular expressions with the syntax and meaning of Go's regexp (RE2), as Kubernetes, Katib and Istio
-- have them: linear time, leftmost match, the first alternative wins. No \p{…}, case folding for ASCII.

local regex = {}

---@class regex.Expression
local Expression = {}
---@return integer # of capturing groups
function Expression:groups() end
---The first match from a place on.
---@param text string
---@param init integer? 1
---@return integer? first, integer? last, (string|false)[]? groups false for one that took no part
function Expression:find(text, init) end
---@param text string
---@return boolean # whether it is found anywhere in the text
function Expression:matches(text) end

---@param pattern string
---@return regex.Expression # raises "Regex" in Go's words, with the offset
function regex.compile(pattern) end

return regex
