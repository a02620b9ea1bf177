-- Watches and schedules against a lab: no object is missed, whatever fails on the way.
local test = require "test"
local controller = require "policy.controller"
local fs = require "fs"
local json = require "json"
local kube = require "kube"
local policy = require "policy"
local serve = require "lab.serve"
local task = require "task"
local wait_until = dofile "tests/lua/support/wait.lua"

local function load(text)
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", 'local policy = require "policy"\n' .. text)
  return policy.load(directory .. "/site.lua")
end

local function with_lab(use)
  local lab <close> = serve.start { nodes = 0 }
  local function connect()
    return kube.connect { server = lab.url, token = lab.token, ca = lab.ca, manager = "test", log = function() end }
  end
  local c = connect()
  use(c, connect, lab)
  c:close()
end

local function create(c, name, labels)
  return c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = name, labels = labels } }
end

local GRANT = [[policy.grant { reads = { "configmaps" },
  writes = { { resource = "namespaces", verbs = { "patch" } }, { resource = "configmaps", verbs = { "patch" } } } }
local function mark(object, ctx, key, value)
  ctx:patch(object, { metadata = { labels = { [key] = value or "yes" } } }, { type = "merge" })
end
]]

local function label_of(c, name, key)
  return (c:get("namespaces", name).metadata.labels or {})[key]
end

test("the objects that are there come as one call, then one by one, without protected namespaces", function()
  with_lab(function(c)
    create(c, "a")
    create(c, "own")
    local said = {}
    local set = load(GRANT .. [[policy.watch { name = "w", resource = "namespaces",
      initial = function(list, ctx) ctx:log("initial %d %s", #list, list[1].kind) end,
      reconcile = function(ns, ctx) ctx:log("one %s", ns.metadata.name) end }]])
    local running = controller.start(set, c, { own_namespace = "own", log = function(text) said[#said + 1] = text end })
    wait_until("all of them", function() return #said >= 5 end)
    test.equal(said[1], "initial 4 Namespace") -- default, kube-node-lease, kube-public and a
    table.sort(said)
    test.same(said, { "initial 4 Namespace", "one a", "one default", "one kube-node-lease", "one kube-public" })
    running:stop()
    set:close()
  end)
end)

test("what is there at first can be published as soon as it is known, of each kind", function()
  with_lab(function(c)
    local kinds = { "limitranges", "serviceaccounts", "namespaces", "services", "secrets", "resourcequotas",
      "configmaps" }
    for i = 1, 30 do
      for kind, spec in pairs { ConfigMap = false, ServiceAccount = false, LimitRange = { limits = json.array {} } } do
        c:create { apiVersion = "v1", kind = kind, metadata = { name = "c" .. i, namespace = "default" },
          spec = spec or nil }
      end
    end
    local set = load(('policy.grant { reads = { "%s" } }'):format(table.concat(kinds, '", "')))
    local running = controller.start(set, c, { wait_for_lead = true, log = function() end })
    running:sync "60s"
    local known, there = #running:texts(), 0
    for _, kind in ipairs(kinds) do there = there + #c:list(kind, { namespace = "*" }) end
    test.equal(known, there)
    running:stop()
    set:close()
  end)
end)

test("a handler that fails is called again, and others of the resource go on", function()
  with_lab(function(c)
    create(c, "a")
    local failures = {}
    local set = load(GRANT .. [[
      policy.watch { name = "breaks", resource = "namespaces", reconcile = function(ns, ctx)
        if ns.metadata.name ~= "a" then return end
        if not ctx:get("configmaps", "a", "ready") then error("not ready yet") end
        mark(ns, ctx, "breaks")
      end }
      policy.watch { name = "goes-on", resource = "namespaces", reconcile = function(ns, ctx)
        if not (ns.metadata.labels or {}).on then mark(ns, ctx, "on") end
      end }
      policy.watch { name = "first", resource = "configmaps", initial = function() error "no beginning" end }]])
    local recorded = require "policy.serve.metrics".new()
    local running = controller.start(set, c, { metrics = recorded,
      on_failure = function(text) failures[#failures + 1] = text end })
    wait_until("the other watch", function() return label_of(c, "a", "on") end)
    wait_until("a failure", function() return (running.failures.breaks or 0) >= 2 end)
    test.equal(running.failures.first, 1)
    c:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "ready", namespace = "a" } }
    wait_until("the watch that failed", function() return label_of(c, "a", "breaks") end)
    test.equal(table.concat(failures, "\n"):find("not ready yet (", 1, true) ~= nil, true)
    local function count(of) return tonumber(recorded:text():match("\nkfhost_policy_" .. of .. " (%d+)")) end
    test.equal(count 'calls_total{policy="first",result="failed"}', 1)
    test.equal(count 'errors_total{policy="breaks"}', running.failures.breaks)
    test.equal(count 'calls_total{policy="goes%-on",result="done"}' >= 1, true)
    test.equal(count 'seconds_count{policy="goes%-on"}' >= 1, true)
    running:stop()
    set:close()
  end)
end)

test("a namespace that gets its label later has its objects looked at then", function()
  with_lab(function(c)
    create(c, "a")
    c:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "m", namespace = "a" } }
    local set = load(GRANT .. [[policy.watch { name = "w", resource = "configmaps", namespaces = { label = "team=x" },
      reconcile = function(map, ctx) if not (map.metadata.labels or {}).seen then mark(map, ctx, "seen") end end }]])
    local running = controller.start(set, c, {})
    running:sync "20s"
    create(c, "b", { team = "x" })
    c:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "m", namespace = "b" } }
    local function seen(namespace)
      return (c:get("configmaps", "m", { namespace = namespace }).metadata.labels or {}).seen
    end
    wait_until("that with the label", function() return seen "b" end)
    test.equal(seen "a", nil)
    c:patch("namespaces", "a", { metadata = { labels = { team = "x" } } }, { type = "merge" })
    wait_until("that which got it", function() return seen "a" end)
    running:stop()
    set:close()
  end)
end)

test("a handler that asks for it is called again, and once only", function()
  with_lab(function(c)
    create(c, "a")
    local count = 0
    local set = load(GRANT .. [[policy.watch { name = "w", resource = "namespaces", namespaces = { names = { "a" } },
      reconcile = function(_, ctx) ctx:log "called" ctx:requeue "300ms" ctx:requeue "200ms" end }]])
    local running = controller.start(set, c, { log = function() count = count + 1 end })
    wait_until("three calls", function() return count >= 3 end)
    local waiting = 0
    for _ in pairs(running.followed["namespaces."].again) do waiting = waiting + 1 end
    test.equal(waiting <= 1, true)
    running:stop()
    set:close()
  end)
end)

test("who no longer leads writes nothing, and what comes meanwhile is done by who leads then", function()
  with_lab(function(c, connect)
    local text = GRANT .. [[policy.watch { name = "w", resource = "namespaces", resync = "1s",
      reconcile = function(ns, ctx) if not (ns.metadata.labels or {}).by then mark(ns, ctx, "by", "BY") end end }
      policy.schedule { name = "s", every = "10ms", run = function(ctx) ctx:log "tick BY" end }]]
    local ticks, sets, running = { one = 0, two = 0 }, {}, {}
    for _, name in ipairs { "one", "two" } do
      sets[name] = load((text:gsub("BY", name)))
      running[name] = controller.start(sets[name], connect(), { wait_for_lead = true,
        log = function(said) if said == "tick " .. name then ticks[name] = ticks[name] + 1 end end })
    end
    running.one:lead(running.one.client)
    create(c, "a")
    wait_until("the first leader", function() return label_of(c, "a", "by") == "one" and ticks.one > 3 end)
    running.one:rest()
    create(c, "b")
    local before = ticks.one
    running.two:lead(running.two.client)
    wait_until("the second leader", function() return label_of(c, "b", "by") == "two" and ticks.two > 3 end)
    test.equal(ticks.one, before)
    running.two:rest()
    running.one:lead(running.one.client)
    create(c, "c")
    wait_until("the first one again", function() return label_of(c, "c", "by") == "one" end)
    local seconds, from = 0.3, ticks.one -- as often as one schedule, not as two
    task.sleep(seconds)
    test.equal(ticks.one - from <= seconds / 0.01 + 2, true)
    for name, one in pairs(running) do
      one:stop()
      one.client:close()
      sets[name]:close()
    end
  end)
end)

test("a handler finds what it has written, before the cluster tells of it", function()
  with_lab(function(c)
    create(c, "mine", { turn = "1" })
    local said = {}
    local set = load [[policy.grant { reads = { "configmaps" },
        writes = { { resource = "configmaps", verbs = { "create", "patch" } } } }
      policy.watch { name = "w", resource = "namespaces", label = "turn", reconcile = function(ns, ctx)
        local made = ctx:create { apiVersion = "v1", kind = "ConfigMap",
          metadata = { name = "m", namespace = ns.metadata.name }, data = { a = "1" } }
        local created = ctx:get("configmaps", "mine", "m").data.a
        ctx:patch(made, { data = { a = "2" } }, { type = "merge" })
        ctx:patch(made, { data = { a = "3" } }, { type = "merge", dry_run = true })
        ctx:log("%s %s", created, ctx:get("configmaps", "mine", "m").data.a)
      end }]]
    local running = controller.start(set, c, { log = function(text) said[#said + 1] = text end })
    wait_until("the handler", function() return said[1] end)
    test.equal(said[1], "1 2")
    running:stop()
    set:close()
  end)
end)

test("what is watched by one label only is asked for by it; in what reviews look at, all are", function()
  with_lab(function(c)
    create(c, "mine")
    for name, labels in pairs { one = { task = "yes" }, two = { other = "yes" } } do
      c:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name,
        namespace = "mine", labels = labels } }
    end
    local WATCH = [[policy.watch { name = "w", resource = "configmaps", label = "task", reconcile = function(map, ctx)
      ctx:log("%s", map.metadata.name) end }]]
    for text, whole in pairs { [WATCH] = false, [GRANT .. WATCH] = true } do
      local said = {}
      local set = load(text)
      local running = controller.start(set, c, { log = function(line) said[#said + 1] = line end })
      wait_until("the handler", function() return said[1] end)
      test.same(said, { "one" })
      test.equal(running.followed["configmaps."].informer:get("mine", "two") ~= nil, whole)
      running:stop()
      set:close()
    end
  end)
end)

test("who asks for it is told of what is gone, or is no longer meant; again after a failure", function()
  with_lab(function(c)
    create(c, "mine")
    for _, name in ipairs { "goes", "leaves", "stays" } do
      c:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name, namespace = "mine",
        labels = { task = "yes" } } }
    end
    local said = {}
    local set = load [[
      local failures = 0 -- a file's own state, kept between calls
      policy.grant { follows = { "configmaps" } }
      policy.watch { name = "w", resource = "configmaps", label = "task",
        reconcile = function(map, ctx) ctx:log("is %s", map.metadata.name) end,
        deleted = function(map, ctx)
          failures = failures + 1
          if failures == 1 then error "not now" end
          ctx:log("was %s %s", map.kind, map.metadata.name)
        end }]]
    local running = controller.start(set, c, { log = function(line) said[line] = true end })
    wait_until("all", function() return said["is goes"] and said["is leaves"] and said["is stays"] end)
    c:delete("configmaps", "goes", { namespace = "mine" })
    wait_until("the deletion", function() return said["was ConfigMap goes"] end)
    c:patch("configmaps", "leaves", { metadata = { labels = require "json".object { task = require "json".null } } },
      { namespace = "mine", type = "merge" })
    wait_until("the label", function() return said["was ConfigMap leaves"] end)
    test.equal(said["was ConfigMap stays"], nil)
    test.equal(running.failures.w, 1)
    running:stop()
    set:close()
  end)
end)
