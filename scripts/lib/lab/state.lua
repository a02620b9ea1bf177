-- lab.state: a lab's objects in SQLite, so that they outlast the process.
-- Not against the loss of power: what was acknowledged survives the end of the process, however it ends.
--   local s = state.open "DIR"; api.new { state = s }

local fs = require "fs"
local hash = require "hash"
local json = require "json"
local sqlite = require "sqlite"
local store = require "lab.store"

local M = {}

local SCHEMA = [[
CREATE TABLE IF NOT EXISTS object (collection TEXT, namespace TEXT, name TEXT, revision INTEGER, bytes TEXT,
  PRIMARY KEY (collection, namespace, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
]]

---@class lab.State
local state = {}
state.__index = state

---@param directory string made when it is not there, for this user only
---@return lab.State raises "SQLite"
function M.open(directory)
  fs.mkdir(directory, { parents = true, mode = 448 })
  local db = sqlite.open(fs.join(directory, "lab.db"))
  db:query "PRAGMA journal_mode = WAL"
  db:exec "PRAGMA synchronous = OFF"
  db:exec(SCHEMA)
  local self = setmetatable({ db = db, directory = directory }, state)
  self.put = db:prepare "INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?)"
  self.delete = db:prepare "DELETE FROM object WHERE collection = ? AND namespace = ? AND name = ?"
  self.set_revision = db:prepare "INSERT OR REPLACE INTO fact VALUES ('revision', ?)"
  return self
end

---A text that is made once and kept.
---@param name string
---@param make fun(): string
---@return string
function state:fact(name, make)
  local row = self.db:query("SELECT value FROM fact WHERE name = ?", name)[1]
  if row then return row.value end
  local value = make()
  self.db:exec("INSERT INTO fact VALUES (?, ?)", name, value)
  return value
end

---@return boolean whether there is nothing yet
function state:is_empty() return #self.db:query "SELECT 1 FROM object LIMIT 1" == 0 end

---Keeps an event, within the write that it is about.
---@param event lab.Event
---@param collection string
function state:keep(event, collection)
  local record = event.record
  self.db:transaction(function()
    if event.removed then
      self.delete:run(collection, record.namespace or "", record.name)
    else
      self.put:run(collection, record.namespace or "", record.name, record.revision,
        store.bytes(record))
    end
    self.set_revision:run(event.revision)
  end)
end

local CRD = "apiextensions.k8s.io/customresourcedefinitions"

local function restore(cluster, collection, row)
  local object = json.decode(row.bytes)
  local resource = require("lab.inside").resource(cluster, collection)
  local fields
  if resource and resource.custom then
    fields = cluster.crds:fields(resource, object)
  else
    local rules = cluster.rules[collection]
    fields = rules and rules.fields and rules.fields(object)
  end
  cluster.store:restore(collection, object, row.bytes, row.revision, fields)
  return object
end

---Fills a new cluster with what was kept.
---@param cluster lab.Cluster
function state:load(cluster)
  for row in self.db:rows("SELECT * FROM object WHERE collection = ?", CRD) do
    local object = restore(cluster, CRD, row)
    local accepted = object.status and type(object.status.conditions) == "table"
    if accepted then cluster.crds:install(object) end
  end
  for row in self.db:rows("SELECT * FROM object WHERE collection <> ?", CRD) do
    restore(cluster, row.collection, row)
  end
  local row = self.db:query "SELECT value FROM fact WHERE name = 'revision'"[1]
  cluster.store:restored(math.tointeger(tonumber(row and row.value or 0)))
end

---@return string secret that service accounts' tokens are signed with
function state:token_secret() return self:fact("token_secret", function() return hash.random_hex(32) end) end

function state:close() self.db:close() end

return M
