---@meta sqlite
-- SQL databases in a file or in memory. Calls do not wait as tasks. Foreign keys are enforced.

local sqlite = {}

---@alias sqlite.Value integer|number|string|boolean|nil a boolean is stored as 0 or 1, json.null as NULL
---@alias sqlite.Row table<string, integer|number|string> column -> value; NULL is absent

---@class sqlite.Statement
local Statement = {}
---@param ... sqlite.Value|table<string, sqlite.Value> for ?, or one table for :name
---@return integer changes
function Statement:run(...) end
---@return sqlite.Row[]
function Statement:query(...) end
---@return fun(): sqlite.Row?
function Statement:rows(...) end
function Statement:close() end

---@class sqlite.Database
local Database = {}
---Runs statements; with parameters only one.
---@param sql string
---@param ... sqlite.Value|table<string, sqlite.Value> for ?, or one table for :name
---@return integer changes raises "SQLite" with `reason` ("constraint", "busy", "readonly", "full", "corrupt", "io", "error") and `sql`
function Database:exec(sql, ...) end
---@param sql string
---@return sqlite.Statement
function Database:prepare(sql) end
---@param sql string
---@return sqlite.Row[]
function Database:query(sql, ...) end
---@param sql string
---@return fun(): sqlite.Row?
function Database:rows(sql, ...) end
---Commits when the function returns, rolls back when it raises; within another one it is a part of that.
---@param fn function cannot wait
---@return any ... what it returns
function Database:transaction(fn, ...) end
---@return integer rowid of the last inserted row
function Database:last_id() end
function Database:close() end

---@param path string ":memory:" for one in memory
---@param options { readonly: boolean?, busy_timeout: number? }? busy_timeout: seconds, default 5
---@return sqlite.Database # raises "SQLite"
function sqlite.open(path, options) end

return sqlite
