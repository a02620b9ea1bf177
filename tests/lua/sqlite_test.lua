-- Databases: values come back as they went, transactions are whole or nothing.
local test = require "test"
local json = require "json"
local sqlite = require "sqlite"

local function open()
  local db = sqlite.open ":memory:"
  db:exec "CREATE TABLE t (id INTEGER PRIMARY KEY, v, w TEXT UNIQUE)"
  return db
end

test("values come back as they went", function()
  local db <close> = open()
  local values = { 0, -9223372036854775807 - 1, 0.5, -0.0, 1e300, "", "text", "a\0b", "grüße" }
  for _, value in ipairs(values) do db:exec("INSERT INTO t (v) VALUES (?)", value) end
  local back = {}
  for row in db:rows "SELECT v FROM t ORDER BY id" do back[#back + 1] = row.v end
  test.same(back, values)
  test.equal(math.type(back[1]), "integer")
  test.equal(math.type(back[3]), "float")
end)

test("NULL is absent, booleans are numbers", function()
  local db <close> = open()
  db:exec("INSERT INTO t (v, w) VALUES (?, ?)", json.null, nil)
  db:exec("INSERT INTO t (v) VALUES (?)", true)
  test.same(db:query "SELECT v, w FROM t", { {}, { v = 1 } })
end)

test("parameters by place and by name", function()
  local db <close> = open()
  test.equal(db:exec("INSERT INTO t (v, w) VALUES (?, ?), (?, ?)", 1, "a", 2, "b"), 2)
  test.equal(db:last_id(), 2)
  test.same(db:query("SELECT v FROM t WHERE w = :name", { name = "b" }), { { v = 2 } })
  test.raises("3 parameters", function() db:query("SELECT ?", 1, 2, 3) end)
  test.raises("cannot be stored", function() db:query("SELECT ?", print) end)
end)

test("a prepared statement runs again and again", function()
  local db <close> = open()
  local insert <close> = db:prepare "INSERT INTO t (v) VALUES (?)"
  for i = 1, 10 do test.equal(insert:run(i), 1) end
  local select_one <close> = db:prepare "SELECT v FROM t WHERE id = ?"
  test.same(select_one:query(7), { { v = 7 } })
  test.same(select_one:query(8), { { v = 8 } })
  local sum = 0
  for row in db:prepare("SELECT v FROM t WHERE v > ?"):rows(8) do sum = sum + row.v end
  test.equal(sum, 19)
end)

test("a transaction is whole or nothing, also within another", function()
  local db <close> = open()
  test.equal(db:transaction(function(value)
    db:exec("INSERT INTO t (v) VALUES (?)", value)
    test.raises("Oops", function()
      db:transaction(function()
        db:exec "INSERT INTO t (v) VALUES (2)"
        error "Oops"
      end)
    end)
    return "done"
  end, 1), "done")
  test.same(db:query "SELECT v FROM t", { { v = 1 } })
  test.raises("constraint", function()
    db:transaction(function()
      db:exec "INSERT INTO t (w) VALUES ('x')"
      db:exec "INSERT INTO t (w) VALUES ('x')"
    end)
  end)
  test.equal(#db:query "SELECT * FROM t", 1)
end)

test("errors are tables with a reason and the statement", function()
  local db <close> = open()
  db:exec "INSERT INTO t (w) VALUES ('x')"
  local _, err = pcall(db.exec, db, "INSERT INTO t (w) VALUES ('x')")
  test.equal(err.code, "SQLite")
  test.equal(err.reason, "constraint")
  test.equal(err.sql, "INSERT INTO t (w) VALUES ('x')")
  test.equal(test.raises("SQLite", function() db:exec "SELEKT 1" end).reason, "error")
  test.equal(test.raises("SQLite", function() sqlite.open "/nowhere/db" end).reason, "open")
end)

test("several statements in one text, comments too", function()
  local db <close> = open()
  test.equal(db:exec "INSERT INTO t (v) VALUES (1); -- one\nINSERT INTO t (v) VALUES (2);\n-- the end", 2)
  test.raises("one statement", function() db:query "SELECT 1; SELECT 2" end)
end)

test("what is closed says so", function()
  local db = open()
  local statement = db:prepare "SELECT 1"
  local iterator = statement:rows()
  statement:close()
  test.raises("Closed", function() statement:run() end)
  test.raises("Closed", iterator)
  db:close()
  test.raises("Closed", function() db:exec "SELECT 1" end)
  db:close()
end)

test("a file is kept, and can be opened for reading only", function()
  local path = test.tmpdir() .. "/db"
  do
    local db <close> = sqlite.open(path)
    db:exec "PRAGMA journal_mode = WAL; CREATE TABLE t (v); INSERT INTO t VALUES (7)"
  end
  local db <close> = sqlite.open(path, { readonly = true })
  test.same(db:query "SELECT v FROM t", { { v = 7 } })
  test.equal(test.raises("SQLite", function() db:exec "DELETE FROM t" end).reason, "readonly")
end)

test("a statement that outlives its database is harmless", function()
  local db = open()
  local statement = db:prepare "SELECT 1 AS one"
  db:close()
  test.raises("Closed", function() statement:query() end)
end)
