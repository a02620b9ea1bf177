---@meta edit
-- The terminal's keys, for the line editor of the REPL.

local edit = {}

---@class edit.Terminal
local Terminal = {}
---Waits for a key, in raw mode: "text" and the character; "paste" and the whole text of a paste; a key's
---name such as "Enter", "Tab", "Up", "C-a", "M-f"; "resize"; "timeout"; nil when the input has ended.
---@param timeout number|string|nil
---@return string? name, string? text
function Terminal:key(timeout) end
---Waits for what is typed, as the bytes that come; raw mode.
---@param timeout number|string|nil
---@return string? bytes, "resize"|"timeout"|nil what nil and nothing when the input has ended
function Terminal:bytes(timeout) end
---Throws away what was typed and not yet taken, as an interrupt does.
function Terminal:forget() end
---Whether Ctrl-C is SIGINT while keys are read, or (as at first) the key "C-c".
---@param on boolean
function Terminal:signals(on) end
---The terminal as it was found, until the next key is waited for.
function Terminal:suspend() end
function Terminal:close() end

---@return edit.Terminal # raises "ENOTTY"
function edit.open() end

return edit
