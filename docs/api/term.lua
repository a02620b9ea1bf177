---@meta term
-- What the terminal is, how wide texts are, colours, tables and moving lines.

---@class term
local M = {}

---Whether the stream is a terminal.
---@param stream? "stdin"|"stdout"|"stderr" (stdout)
---@return boolean
function M.is_terminal(stream) end

---The size of the terminal: COLUMNS and LINES, else what the terminal says, else 80 and 24.
---@return integer columns
---@return integer rows
function M.size() end

---The columns a text takes: combining marks and escape sequences take none, wide characters two.
---@param text string
---@return integer columns
function M.width(text) end

---The text, shortened to at most that many columns with … at its end. Colours still end.
---@param text string
---@param columns integer from 0 on
---@return string
function M.cut(text, columns) end

---How many bytes of the text so many columns hold; what belongs together is not split.
---@param text string
---@param columns integer
---@return integer
function M.fit(text, columns) end

---A text of others as a terminal may show it: control characters, sequences other than colours and marks that turn
---the direction of writing appear as what they are (^[, <9b>), a colour left on ends, wrong UTF-8 becomes U+FFFD.
---@param text string
---@return string
function M.safe(text) end

---The text with colours, or as it is when the stream shows none: it is no terminal, NO_COLOR is
---set, TERM is dumb, or plain(true) was called.
---@param text string
---@param style string words of: bold dim italic underline reverse black red green yellow blue magenta cyan white gray
---@param stream? "stdin"|"stdout"|"stderr" (stdout)
---@return string
function M.style(text, style, stream) end

---Asks for plain text (--plain does), or takes that back.
---@param wanted? boolean
---@return boolean plain whether standard output gets plain text now
function M.plain(wanted) end

---Whether lines on the stream may be coloured and redrawn.
---@param stream? "stdin"|"stdout"|"stderr" (stdout)
---@return boolean
function M.shows(stream) end

---Rows as aligned columns, shrunk to the terminal's width.
---@param rows string[][]
---@param options? {header: string[]?, align: table<integer, "left"|"right">?, gap: integer?, columns: integer?,
---  least: table<integer, integer>?, widths: integer[]?}
---@return string text ends with a newline
function M.table(rows, options) end

---A few lines at the bottom that are redrawn at most ten times a second, on standard error. Where
---nothing may be redrawn only what `print` gets appears, as plain lines.
---@param options {draw: (fun(): string[]), plain: boolean?}
---@return term.progress progress with print(text), changed(), tick(), close(); closed by <close> too
function M.progress(options) end

return M
