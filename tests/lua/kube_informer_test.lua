-- Informers and watches, against a cluster whose time, answers and faults are the test's.
local test = require "test"
local errors = require "errors"
local host = require "host"
local kube = require "kube"
local task = require "task"
local clusters = dofile "tests/lua/support/cluster.lua"

local function connect(cluster, faults, handler)
  local said = {}
  local c = kube.connect {
    server = "https://cluster", transport = cluster:transport(faults, handler),
    log = function(record) said[#said + 1] = record end,
  }
  return c, said
end

-- A handler that keeps what it is told: "key:version", "key:gone".
local function recorder()
  local told = {}
  return told, function(key, object)
    told[#told + 1] = key .. ":" .. (object and object.metadata.resourceVersion or "gone")
  end
end

test("an informer lists in pages, then follows what changes", function()
  local cluster = clusters.new()
  for i = 1, 7 do cluster:put("n", "a" .. i) end
  local c = connect(cluster)
  local told, handler = recorder()
  local i <close> = c:informer { kind = "configmaps", namespace = "n", page = 3, handler = handler }
  i:sync(10)
  test.equal(#i:list(), 7)
  cluster:put("n", "a1", { k = "new" })
  cluster:remove("n", "a2")
  test.advance(1)
  test.same(table.concat(told, " ", 8), "n/a1:1008 n/a2:gone")
  test.equal(i:get("n", "a1").data.k, "new")
  test.equal(i:get("n", "a2"), nil)
  test.equal(i:get("n", "a1").metadata.managedFields, nil)
  test.equal(i:get("n", "a3").kind, "ConfigMap")
  local stats = i:stats()
  test.equal(stats.objects, 6)
  test.equal(stats.lists, 1)
  test.equal(stats.pending, 0)
end)

test("the state that the handler knew, and the last one of what is gone, come as the third argument", function()
  local cluster = clusters.new()
  cluster:put("n", "a", { v = "1" })
  local c = connect(cluster)
  local told = {}
  local i <close> = c:informer { kind = "configmaps", handler = function(key, object, last)
    told[#told + 1] = { key, object and object.data.v, last and last.data.v }
  end }
  i:sync(10)
  test.advance(1)
  cluster:put("n", "a", { v = "2" })
  test.advance(1)
  cluster:remove("n", "a")
  test.advance(1)
  test.same(told, { { "n/a", "1" }, { "n/a", "2", "1" }, { "n/a", nil, "2" } })
end)

test("changes that come while a handler works are told once, with the newest state", function()
  local cluster = clusters.new()
  cluster:put("n", "a")
  local c = connect(cluster)
  local told = {}
  local i <close> = c:informer { kind = "configmaps", handler = function(_, object)
    task.sleep(5)
    told[#told + 1] = object.metadata.resourceVersion
  end }
  i:sync(10)
  for _ = 1, 5 do
    cluster:put("n", "a")
    test.advance(0.5)
  end
  test.advance(20)
  test.same(told, { "1001", "1006" })
end)

test("a handler that fails is called again, later each time; one that keeps failing is reported", function()
  local cluster = clusters.new()
  cluster:put("n", "poison")
  cluster:put("n", "good")
  local c, said = connect(cluster)
  local calls, healed = 0, false
  local i <close> = c:informer { kind = "configmaps", handler = function(key)
    if key ~= "n/poison" or healed then return end
    calls = calls + 1
    error "it does not work"
  end }
  i:sync(10)
  test.advance(60)
  assert(calls >= 5 and calls < 20, calls)
  local stats = i:stats()
  test.equal(stats.poison[1].key, "n/poison")
  assert(stats.poison[1].message:find "it does not work")
  test.equal(stats.pending, 1)
  local reports = 0
  for _, record in ipairs(said) do reports = reports + (tostring(record.message):find "n/poison" and 1 or 0) end
  test.equal(reports, 1)
  healed = true
  test.advance(300)
  test.same(i:stats().poison, {})
  test.equal(i:stats().pending, 0)
end)

test("an event cut in its middle is read again, and no version is lost", function()
  local cluster = clusters.new()
  local cut = true
  local c = connect(cluster, function(what)
    if what == "watch" and cut then
      cut = false
      return { kind = "cut", after = 2 }
    end
  end)
  local told, handler = recorder()
  local i <close> = c:informer { kind = "configmaps", handler = handler }
  i:sync(10)
  for n = 1, 3 do cluster:put("n", "a" .. n) end
  test.advance(5)
  test.same(told, { "n/a1:1001", "n/a2:1002", "n/a3:1003" })
  test.equal(i:stats().lists, 1)
  test.equal(i:stats().faults, 1)
end)

for _, form in ipairs { "an event", "a status" } do
  test("after 410 as " .. form .. " a new list tells what is gone, and nothing twice", function()
    local cluster = clusters.new()
    for n = 1, 4 do cluster:put("n", "a" .. n) end
    local opened = 0
    local c = connect(cluster, function(what)
      if what ~= "watch" then return nil end
      opened = opened + 1
      if opened == 1 then return { kind = "end", after = 1 } end
      if opened > 2 then return nil end
      cluster:put("n", "a2") -- while there is no watch
      cluster:remove("n", "a3")
      cluster:compact()
      return form == "a status" and { kind = "status", status = 410, reason = "Expired" } or nil
    end)
    local told, handler = recorder()
    local i <close> = c:informer { kind = "configmaps", page = 2, handler = handler }
    i:sync(10)
    test.advance(0)
    cluster:put("n", "a1")
    test.advance(120)
    table.sort(told)
    test.same(told, { "n/a1:1001", "n/a1:1005", "n/a2:1002", "n/a2:1006", "n/a3:1003", "n/a3:gone", "n/a4:1004" })
    local stats = i:stats()
    test.equal(stats.relists, 1)
    test.equal(stats.synthetic_deletes, 1)
    test.equal(stats.expired, 1)
  end)
end

test("an object that was made again while nobody looked is told gone, then there", function()
  local cluster = clusters.new()
  cluster:put("n", "a")
  local first = true
  local c = connect(cluster, function(what)
    if what == "watch" and first then
      first = false
      return { kind = "drop" }
    end
  end)
  local told, handler = recorder()
  local i <close> = c:informer { kind = "configmaps", handler = handler }
  i:sync(10)
  task.sleep(0)
  cluster:remove("n", "a")
  cluster:put("n", "a")
  cluster:compact()
  test.advance(60)
  test.same(told, { "n/a:1001", "n/a:gone", "n/a:1003" })
end)

test("a list that expires between its pages begins again in one piece", function()
  local cluster = clusters.new()
  for n = 1, 9 do cluster:put("n", "a" .. n) end
  local pages = 0
  local c = connect(cluster, function(what)
    if what ~= "list" then return nil end
    pages = pages + 1
    if pages == 2 then
      cluster:put("n", "a1")
      cluster:compact()
    end
  end)
  local i <close> = c:informer { kind = "configmaps", page = 4 }
  i:sync(10)
  test.equal(pages, 3)
  test.equal(i:get("n", "a1").metadata.resourceVersion, "1010")
  test.equal(i:stats().resource_version, "1010")
end)

test("a stream that has shown a bookmark and then is silent for 90 seconds is dead", function()
  local cluster = clusters.new()
  local fault = { kind = "silence", after = 1 }
  local c = connect(cluster, function(what)
    if what == "watch" then
      local now = fault
      fault = nil
      return now
    end
  end)
  local told, handler = recorder()
  local i <close> = c:informer { kind = "configmaps", handler = handler }
  i:sync(10)
  test.advance(61) -- the bookmark, after which it is silent
  test.equal(i:stats().armed, true)
  cluster:put("n", "a")
  test.advance(85)
  test.same(told, {})
  test.equal(i:stats().dead_streams, 0)
  test.advance(8)
  test.equal(i:stats().dead_streams, 1)
  test.same(told, { "n/a:1001" })
end)

test("a stream that never shows a bookmark is not dead; it is opened anew in time, without a list", function()
  local cluster = clusters.new()
  local silent = true
  local c = connect(cluster, function(what)
    if what == "watch" and silent then return { kind = "silence", after = 1 } end
  end)
  local told, handler = recorder()
  local i <close> = c:informer { kind = "configmaps", handler = handler }
  i:sync(10)
  test.advance(1)
  cluster:put("n", "a") -- the one event after which it is silent
  test.advance(1)
  cluster:put("n", "b")
  silent = false
  test.advance(290)
  test.equal(i:stats().dead_streams, 0)
  test.same(told, { "n/a:1001" })
  test.advance(311)
  test.same(told, { "n/a:1001", "n/b:1002" })
  local stats = i:stats()
  test.equal(stats.reopened, 1)
  test.equal(stats.faults, 0)
  test.equal(stats.lists, 1)
end)

test("pauses between tries grow from 0.8 to 30 seconds, and a watch that closes at once does not reset them", function()
  local cluster = clusters.new()
  local moments = {}
  local c = connect(cluster, function(what)
    if what == "watch" then
      moments[#moments + 1] = task.now()
      return { kind = "end", after = 0 }
    end
  end)
  -- a watch that ends before any event: the cluster ends it by its own time
  local transport = c.transport
  local open = transport.stream
  transport.stream = function(self, options)
    local stream = open(self, options)
    if options.url:find "watch=true" then stream.read = function() return nil end end
    return stream
  end
  local i <close> = c:informer { kind = "configmaps" }
  i:sync(10)
  test.advance(300)
  local function pause(n) return moments[n + 1] - moments[n] end
  assert(pause(1) >= 0.8 and pause(1) <= 1.2, pause(1))
  assert(pause(3) >= 3.2 and pause(3) <= 4.8, pause(3))
  assert(pause(#moments - 1) >= 29.9 and pause(#moments - 1) <= 30.1, pause(#moments - 1))
end)

test("a server that streams its list is in sync at the bookmark that ends it, also after a cut", function()
  local cluster = clusters.new()
  for n = 1, 5 do cluster:put("n", "a" .. n) end
  local cut = true
  local c = connect(cluster, function(what, query)
    assert(what == "watch", "there is no list")
    if cut and query.sendInitialEvents then
      cut = false
      return { kind = "cut", after = 3 }
    end
  end)
  local told, handler = recorder()
  local i <close> = c:informer { kind = "configmaps", streaming = true, handler = handler }
  local t = task.spawn(i.sync, i, 30)
  test.advance(5)
  t:wait()
  test.equal(#i:list(), 5)
  cluster:remove("n", "a1")
  test.advance(1)
  test.equal(i:stats().lists, 0)
  test.equal(told[#told], "n/a1:gone")
  test.equal(#told, 6)
  -- the bookmark that ends the beginning does not arm the rule of dead streams
  test.equal(i:stats().armed, false)
end)

test("what a streamed list does not mention is gone", function()
  local cluster = clusters.new()
  for n = 1, 3 do cluster:put("n", "a" .. n) end
  local opened = 0
  local c = connect(cluster, function(_, query)
    if not query.sendInitialEvents then
      opened = opened + 1
      if opened == 1 then
        cluster:remove("n", "a2")
        cluster:compact()
      end
    elseif opened == 0 then
      return { kind = "end", after = 4 }
    end
  end)
  local i <close> = c:informer { kind = "configmaps", streaming = true }
  local t = task.spawn(i.sync, i, 30)
  test.advance(30)
  t:wait()
  test.equal(#i:list(), 2)
  test.equal(i:stats().synthetic_deletes, 1)
end)

test("a server that cannot stream its list is asked for pages", function()
  local cluster = clusters.new()
  cluster:put("n", "a")
  local c = connect(cluster, function(_, query)
    return query.sendInitialEvents and { kind = "status", status = 422, reason = "Invalid" } or nil
  end)
  local i <close> = c:informer { kind = "configmaps", streaming = true }
  i:sync(10)
  test.equal(i:stats().lists, 1)
end)

test("a list comes as a stream from servers whose version offers it", function()
  for minor, lists in pairs { ["33"] = 1, ["34"] = 0, ["37+"] = 0, [""] = 1 } do
    local cluster = clusters.new()
    cluster.minor = minor
    cluster:put("n", "a")
    local i <close> = connect(cluster):informer { kind = "configmaps" }
    i:sync(10)
    test.equal(i:stats().lists, lists)
    test.equal(#i:list(), 1)
    local paged <close> = connect(cluster):informer { kind = "configmaps", streaming = false }
    paged:sync(10)
    test.equal(paged:stats().lists, 1)
  end
end)

test("a server that never says that all objects are told, or breaks off before, is asked for pages", function()
  for _, kind in ipairs { "silence", "end", "cut" } do
    local cluster = clusters.new()
    cluster.minor = "37"
    for n = 1, 5 do cluster:put("n", "a" .. n) end
    local c = connect(cluster, function(_, query)
      return query.sendInitialEvents and { kind = kind, after = 3, seconds = 1e6 } or nil
    end)
    local i <close> = c:informer { kind = "configmaps" }
    local t = task.spawn(i.sync, i, 600)
    test.advance(590)
    t:wait()
    test.equal(#i:list(), 5)
    test.equal(i:stats().lists, 1)
    test.equal(i:stats().faults, 2)
  end
end)

test("a kind that comes later is found by an informer that waits for it", function()
  local cluster, there = clusters.new(), false
  local function discovery(_, path)
    if path ~= "/api" and path ~= "/apis" then return nil end
    local items = {}
    if path == "/apis" and there then
      items[1] = { metadata = { name = "ex.io" }, versions = { { version = "v1", resources = { {
        resource = "configmaps", responseKind = { kind = "Gadget" }, scope = "Namespaced", singularResource = "gadget",
        shortNames = {}, verbs = {} } } } } }
    end
    return { status = 200, headers = {}, body = require("json").encode {
      kind = "APIGroupDiscoveryList", items = require("json").array(items) } }
  end
  local c = connect(cluster, nil, discovery)
  cluster:put("n", "a")
  local i <close> = c:informer { kind = "gadget" }
  test.raises("NotFound", function() i:sync(10) end)
  there = true
  test.advance(60)
  i:sync(10)
  test.equal(i:get("n", "a").metadata.name, "a")
end)

test("sync says at once what keeps it from succeeding, and that the time is up", function()
  local cluster = clusters.new()
  local c = connect(cluster, function() return { kind = "status", status = 403, reason = "Forbidden" } end)
  local i <close> = c:informer { kind = "configmaps" }
  test.raises("Forbidden", function() i:sync(10) end)
  local other = connect(cluster, function() return { kind = "drop" } end)
  local j <close> = other:informer { kind = "configmaps" }
  local t = task.spawn(j.sync, j, 5)
  test.advance(6)
  local err = test.raises("Timeout", function() t:wait() end)
  test.equal(err.cause.code, "Connection")
end)

test("objects are found by the script's own index, by owner, label and selector", function()
  local cluster = clusters.new()
  cluster:put("n", "a", { node = "one" }, { app = "web" })
  cluster:put("n", "b", { node = "two" }, { app = "web", tier = "x" })
  cluster:put("m", "c", { node = "two" })
  local c = connect(cluster)
  local i <close> = c:informer { kind = "configmaps", namespace = "*", index = {
    node = function(object) return object.data.node end,
    letters = function(object) return { object.metadata.name, "all" } end,
  } }
  i:sync(10)
  local function names(list)
    local text = {}
    for n, object in ipairs(list) do text[n] = object.metadata.name end
    return table.concat(text, " ")
  end
  test.equal(names(i:list { index = "node", key = "two" }), "c b")
  test.equal(names(i:list { index = "letters", key = "all" }), "c a b")
  test.equal(names(i:list { labels = "app=web" }), "a b")
  test.equal(names(i:list { labels = { app = "web", tier = "x" } }), "b")
  test.equal(names(i:list { namespace = "m" }), "c")
  cluster:put("n", "b", { node = "one" })
  test.advance(1)
  test.equal(names(i:list { index = "node", key = "two" }), "c")
  test.equal(names(i:list { index = "node", key = "one" }), "a b")
  test.raises("no index", function() i:list { index = "nodes", key = "x" } end)
end)

-- --- one watch ------------------------------------------------------------------------------------------

test("c:watch gives events until the server ends it, and leaving the loop closes it", function()
  local cluster = clusters.new()
  cluster:put("n", "a")
  local c = connect(cluster)
  local seen = {}
  for event in c:watch("configmaps", { resource_version = "1000", timeout = 10 }) do
    seen[#seen + 1] = event.type .. event.resource_version
    test.advance(30)
  end
  test.same(seen, { "ADDED1001" })
  for event in c:watch("configmaps", { resource_version = "1000" }) do
    if event.type == "ADDED" then break end
  end
  test.equal(next(cluster.watchers), nil)
end)

test("a version that is too old is Expired, before and in a watch", function()
  local cluster = clusters.new()
  cluster:put("n", "a")
  cluster:compact()
  local c = connect(cluster)
  local err = test.raises("Expired", function()
    for _ in c:watch("configmaps", { resource_version = "1000" }) do error "no event was expected" end
  end)
  test.equal(err.status, 410)
  test.equal(err.verb, "watch")
end)

-- --- the storm ------------------------------------------------------------------------------------------

-- A generator of its own, so that a seed gives one storm.
local function generator(seed)
  local state = seed
  return function(limit)
    state = state * 6364136223846793005 + 1442695040888963407
    return (state >> 33) % limit + 1
  end
end

local KINDS = { "drop", "cut", "cut", "silence", "delay", "end", "status", "compact" }
local STATUSES = { 429, 500, 503, 410 }

-- Faults as long as the storm lasts; counts them.
local function storm_faults(cluster, random, storm)
  return function(what)
    if not storm.on or random(4) == 1 then return nil end
    storm.count = storm.count + 1
    local kind = KINDS[random(#KINDS)]
    if kind == "compact" then
      cluster:compact()
      return { kind = "end", after = random(5) }
    end
    if kind == "status" then
      local code = STATUSES[random(#STATUSES)]
      return { kind = "status", status = code, reason = code == 410 and "Expired" or nil,
        retry_after = code == 429 and "1" or nil }
    end
    if what == "list" and kind ~= "drop" then kind = "cut" end
    return { kind = kind, after = what == "list" and random(8000) or random(12), seconds = random(40),
      clean = random(2) == 1 }
  end
end

-- Whether an informer has met with each kind of trouble.
local function was_tried(stats)
  return stats.faults > 0 and stats.relists > 0 and stats.synthetic_deletes > 0
end

-- Changes of a cluster in a storm of faults, which lasts until the informer has met with all kinds of trouble; what the
-- handler was told in the end is what is there.
local function weather(minor, faults_wanted, changes_wanted)
  local cluster, random, storm = clusters.new(), generator(20260611), { on = true, count = 0 }
  cluster.minor = minor
  local c = connect(cluster, storm_faults(cluster, random, storm))
  local told, failed, order = {}, {}, {}
  local function handler(key, object)
    local count = (failed[key] or 0) + 1
    failed[key] = count
    if count == 1 or random(10) == 1 then error "not this time" end
    if random(20) == 1 then task.sleep(random(10) / 10) end
    local version = object and math.tointeger(object.metadata.resourceVersion) or "gone"
    if version ~= "gone" then
      assert(version >= (order[key] or 0), key .. ": an older state after a newer one")
      order[key] = version
    end
    told[key] = version
  end
  local i <close> = c:informer { kind = "configmaps", namespace = "*", page = 20, handler = handler, workers = 4 }
  local changes, ever, before = 0, {}, nil
  while changes < changes_wanted or storm.count < faults_wanted or not was_tried(i:stats()) do
    assert(changes < 10 * changes_wanted, "the storm is no storm")
    for _ = 1, changes < changes_wanted and 10 or 1 do
      local name = "o" .. random(150)
      ever["n/" .. name] = true
      if random(5) == 1 then cluster:remove("n", name) else cluster:put("n", name, { v = random(1000) }) end
      changes = changes + 1
    end
    test.advance(random(20))
    if changes > changes_wanted // 10 and not before then
      collectgarbage()
      before = collectgarbage "count"
    end
    if #cluster.history > 2000 then cluster:compact() end
  end
  storm.on = false
  for _ = 1, 40 do test.advance(60) end
  -- checked against what the cluster holds now, by version
  local list = c:list("configmaps", { namespace = "*" })
  local there = {}
  for _, object in ipairs(list) do
    local key = object.metadata.namespace .. "/" .. object.metadata.name
    there[key] = true
    test.equal(tostring(told[key]), object.metadata.resourceVersion)
    test.same(i:get("n", object.metadata.name).data, object.data)
  end
  for key in pairs(ever) do
    if not there[key] then assert(told[key] == "gone" or not order[key], key .. " was not told gone") end
    if not there[key] then test.equal(i:get("n", key:sub(3)), nil) end
    assert(not told[key] or failed[key] >= 2, key .. ": its handler never failed")
  end
  local stats = i:stats()
  test.equal(stats.pending, 0)
  test.same(stats.poison, {})
  assert(storm.count >= faults_wanted and changes >= changes_wanted)
  cluster.history = {}
  collectgarbage()
  collectgarbage()
  local grown = collectgarbage "count" - before
  assert(grown < 1024, ("memory grew by %d KiB"):format(grown // 1))
end

test("a thousand faults over ten thousand changes: the last state of every object reaches the handler", function()
  weather("31", host.gc_stress() and 40 or 1000, host.gc_stress() and 400 or 10000)
end)

test("the same storm where lists come as streams", function()
  weather("37", host.gc_stress() and 40 or 300, host.gc_stress() and 400 or 3000)
end)

test("an error of an informer is a table that names the watch", function()
  local cluster = clusters.new()
  local c = connect(cluster, function(what) return what == "watch" and { kind = "drop" } or nil end)
  local i <close> = c:informer { kind = "configmaps" }
  i:sync(10)
  test.advance(1)
  local problem = i:stats().last_error
  assert(errors.is(problem, "Connection"))
  test.equal(problem.verb, "watch")
  test.equal(problem.server, "https://cluster")
end)
