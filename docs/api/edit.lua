---@meta edit
-- The terminal's keys, for the line editor of the REPL.

local edit = {}

---@class edit.Terminal
local Terminal = {}
---Waits for a key, in raw mode: "text" and the character; "paste" and a character of a paste; a key's
---name such as "Enter", "Tab", "Up", "C-a", "M-f"; "resize"; "timeout"; nil when the input has ended.
---@param timeout number|string|nil
---@return string? name, string? text
function Terminal:key(timeout) end
---The terminal as it was found, until the next key is waited for.
function Terminal:suspend() end
function Terminal:close() end

---@return edit.Terminal # raises "ENOTTY"
function edit.open() end

return edit
