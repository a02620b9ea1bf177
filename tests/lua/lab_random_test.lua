-- Random writes against the lab and against a naive second implementation of the rules (support/lab_model.lua):
-- patches, ownership, versions, generations, and what a watch sees. Seeded: KFHOST_LAB_SEED, KFHOST_LAB_ROUNDS
-- (./dev lab) make other and longer runs.
local api = require "lab.api"
local json = require "json"
local task = require "task"
local test = require "test"

local model = dofile "tests/lua/support/lab_model.lua"

local SEED = math.tointeger(tonumber(os.getenv "KFHOST_LAB_SEED" or 20261126))
local ROUNDS = math.tointeger(tonumber(os.getenv "KFHOST_LAB_ROUNDS" or 4))
local STEPS = 60 -- of a round

local copy = model.copy

-- --- kinds: where they are, what they start as, and places that can be set ------------------------------------------

local function container(name, image)
  return { name = name, image = image, imagePullPolicy = "IfNotPresent", resources = json.object {},
           terminationMessagePath = "/dev/termination-log", terminationMessagePolicy = "File" }
end

local function port(number, target)
  return { name = "p" .. number, port = number, protocol = "TCP", targetPort = target }
end

local function text(random) return "v" .. random(9) end
local function image(random) return "registry.example/app:" .. random(9) end

-- A place: a path of names and {key = value} for items of lists; `value` makes one, `item` a whole new item.
local function at(path, value, item) return { path = path, value = value, item = item } end

local COMMON = {
  at({ "metadata", "labels", "x" }, text), at({ "metadata", "labels", "y" }, text),
  at({ "metadata", "annotations", "a" }, text), at({ "metadata", "annotations", "b" }, text),
}

local function places(list)
  for _, place in ipairs(COMMON) do list[#list + 1] = place end
  return list
end

local KINDS = {
  ConfigMap = { "/api/v1/namespaces/default/configmaps", "v1", { data = { a = "v1" } }, places {
    at({ "data", "a" }, text), at({ "data", "b" }, text), at({ "data", "c" }, text) } },
  Secret = { "/api/v1/namespaces/default/secrets", "v1", { data = { a = "djE=" }, type = "Opaque" }, places {
    at({ "data", "a" }, function(random) return ("djE=djI=djM="):sub(random(3) * 4 - 3):sub(1, 4) end),
    at({ "data", "b" }, function() return "djE=" end) } },
  ServiceAccount = { "/api/v1/namespaces/default/serviceaccounts", "v1", {}, places {
    at({ "secrets", { name = "s1" } }), at({ "secrets", { name = "s2" } }),
    at({ "secrets", { name = "s3" } }) } },
  Role = { "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", "rbac.authorization.k8s.io/v1",
    { rules = json.array { { apiGroups = { "" }, resources = { "pods" }, verbs = { "get" } } } }, places {
    at({ "rules" }, function(random)
      return json.array { { apiGroups = json.array { "" }, resources = json.array { "pods" },
                            verbs = json.array { "verb" .. random(3) } } }
    end) } },
  ResourceQuota = { "/api/v1/namespaces/default/resourcequotas", "v1", { spec = { hard = { pods = "5000" } } },
    places {
    at({ "spec", "hard", "pods" }, function(random) return tostring(5000 + random(5)) end),
    at({ "spec", "hard", "secrets" }, function(random) return tostring(7000 + random(5)) end) } },
  Service = { "/api/v1/namespaces/default/services", "v1",
    { spec = { ports = json.array { port(80, 8080) }, selector = { app = "x" } } }, places {
    at({ "spec", "selector" }, function(random) return { app = text(random) } end),
    at({ "spec", "ports", { port = 80 }, "targetPort" }, function(random) return 8000 + random(9) end),
    at({ "spec", "ports", { port = 81 }, "targetPort" }, function(random) return 8000 + random(9) end,
      function(random) return port(81, 8000 + random(9)) end) } },
  Deployment = { "/apis/apps/v1/namespaces/default/deployments", "apps/v1",
    { spec = { replicas = 0, selector = { matchLabels = { app = "d" } }, template = {
      metadata = { labels = { app = "d" } }, spec = { containers = json.array { container("c1", "x:1") } } } } },
    places {
    at({ "spec", "replicas" }, function(random) return random(5) end),
    at({ "spec", "template", "metadata", "annotations", "t" }, text),
    at({ "spec", "template", "spec", "nodeSelector" }, function(random) return { disk = text(random) } end),
    at({ "spec", "template", "spec", "containers", { name = "c1" }, "image" }, image),
    at({ "spec", "template", "spec", "containers", { name = "c1" }, "env", { name = "E" }, "value" }, text,
      function(random) return { name = "E", value = text(random) } end),
    at({ "spec", "template", "spec", "containers", { name = "c1" }, "env", { name = "F" }, "value" }, text,
      function(random) return { name = "F", value = text(random) } end),
    at({ "spec", "template", "spec", "containers", { name = "c2" }, "image" }, image,
      function(random) return container("c2", image(random)) end) } },
  Widget = { "/apis/random.example/v1/namespaces/default/widgets", "random.example/v1", { spec = { size = 1 } },
    places {
    at({ "spec", "size" }, function(random) return random(9) end),
    at({ "spec", "free", "k" }, text), at({ "spec", "free", "l" }, text),
    at({ "spec", "numbers" }, function(random) return json.array { random(3), random(3) } end),
    at({ "spec", "parts", { name = "a" }, "count" }, function(random) return random(9) end,
      function(random) return { name = "a", count = random(9) } end),
    at({ "spec", "parts", { name = "b" }, "count" }, function(random) return random(9) end,
      function(random) return { name = "b", count = random(9) } end) } },
}

local WIDGETS = { metadata = { name = "widgets.random.example" }, spec = { group = "random.example",
  scope = "Namespaced", names = { plural = "widgets", kind = "Widget" }, versions = { { name = "v1", served = true,
    storage = true, schema = { openAPIV3Schema = { type = "object", properties = { spec = { type = "object",
      properties = { size = { type = "integer" },
        free = { type = "object", additionalProperties = { type = "string" } },
        numbers = { type = "array", items = { type = "integer" } },
        tags = { type = "array", items = { type = "string" }, ["x-kubernetes-list-type"] = "set" },
        parts = { type = "array", ["x-kubernetes-list-type"] = "map", ["x-kubernetes-list-map-keys"] = { "name" },
          items = { type = "object", required = { "name" }, properties = { name = { type = "string" },
            count = { type = "integer" } } } } } } } } } } } } }

-- --- places in objects ----------------------------------------------------------------------------------------

local function matches(item, keys)
  for name, value in pairs(keys) do
    if item[name] ~= value then return false end
  end
  return true
end

-- The value at a place; where the walk stopped, and at which part of the path.
local function find(object, path)
  local value = object
  for i, part in ipairs(path) do
    local inner
    if type(part) == "table" then
      for _, item in ipairs(value) do
        if matches(item, part) then inner = item end
      end
    else
      inner = value[part]
    end
    if inner == nil then return nil, value, i end
    value = inner
  end
  return value
end

-- Sets a place in an object, making what leads to it; a new item of a list is made whole.
local function set(object, place, value, random)
  local at_ = object
  for i, part in ipairs(place.path) do
    local last = i == #place.path
    if type(part) == "table" then
      local item
      for _, one in ipairs(at_) do item = matches(one, part) and one or item end
      if not item then
        at_[#at_ + 1] = copy(place.item and place.item(random) or part)
        return
      end
      at_ = item
    elseif last then
      at_[part] = value
    else
      if at_[part] == nil then
        at_[part] = type(place.path[i + 1]) == "table" and json.array {} or json.object {}
      end
      at_ = at_[part]
    end
  end
end

-- Takes away what is at a place: the item of the list it is in, or the member.
local function unset(object, path)
  local parent, last = object, #path
  for i = #path, 1, -1 do
    if type(path[i]) == "table" then
      last = i
      break
    end
  end
  for i = 1, last - 1 do
    parent = find({ parent }, { { } }) and find(parent, { path[i] })
    if parent == nil then return false end
  end
  if type(path[last]) == "table" then
    for i, item in ipairs(parent) do
      if matches(item, path[last]) then
        table.remove(parent, i)
        return true
      end
    end
    return false
  end
  if parent[path[last]] == nil then return false end
  parent[path[last]] = nil
  return true
end

-- What may be taken away: metadata, data, and items that are not the first ones of the object.
local function may_go(place)
  local first = place.path[1]
  if first == "data" or first == "metadata" or first == "secrets" then return true end
  if place.path[2] == "free" then return true end
  return place.item ~= nil
end

-- --- writes ---------------------------------------------------------------------------------------------------

local run = {}
run.__index = run

local function new_run(seed)
  math.randomseed(seed)
  local clock = { now = 1700000000 }
  local cluster = api.new { now = function()
    clock.now = clock.now + 1
    return clock.now
  end, on_error = function(_, text_, traceback) error(text_ .. (traceback or ""), 0) end }
  local self = setmetatable({ cluster = cluster, seed = seed, objects = {}, count = 0, log = {} }, run)
  self:send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", WIDGETS)
  return self
end

function run:send(method, path, body, media, query, agent)
  local response = self.cluster:handle { method = method, path = path, query = query, body = json.encode(body),
    headers = { ["user-agent"] = agent or "test-1", ["content-type"] = media or "application/json",
                authorization = "Bearer " .. self.cluster.auth.admin_token } }
  return response.status, json.decode(response.body)
end

local random = function(n) return math.random(n) end

-- Some places of a kind, and what is to become of each: a value, or nil to take it away.
local function changes(kind)
  local list, chosen = KINDS[kind][4], {}
  for _ = 1, random(3) do
    local place = list[random(#list)]
    local value
    if not may_go(place) or random(4) > 1 then value = place.value and place.value(random) or true end
    chosen[#chosen + 1] = { place = place, value = value }
  end
  return chosen
end

local function changed(object, list)
  local new = copy(object)
  for _, change in ipairs(list) do
    if change.value == nil then unset(new, change.place.path) else set(new, change.place, change.value, random) end
  end
  return new
end

local MEDIA = { json = "application/json-patch+json", merge = "application/merge-patch+json",
                strategic = "application/strategic-merge-patch+json" }

-- A merge patch from one object to another; lists as a whole.
local function merge_between(a, b)
  local patch = json.object {}
  for name, value in pairs(b) do
    local old = a[name]
    if type(value) == "table" and type(old) == "table" and not json.is_array(value) then
      local inner = merge_between(old, value)
      if next(inner) then patch[name] = inner end
    elseif json.encode(value, { sort = true }) ~= json.encode(old == nil and json.null or old, { sort = true }) then
      patch[name] = value
    end
  end
  for name in pairs(a) do
    if b[name] == nil then patch[name] = json.null end
  end
  return patch
end

-- JSON patch operations from one object to another: whole top-level members, or one level below.
local function operations_between(a, b)
  local list = json.array {}
  for _, name in ipairs { "metadata", "spec", "data", "rules", "secrets" } do
    local old, new = a[name], b[name]
    if old == nil and new ~= nil then list[#list + 1] = { op = "add", path = "/" .. name, value = new }
    elseif old ~= nil and new == nil then list[#list + 1] = { op = "remove", path = "/" .. name }
    elseif old ~= nil and not json.is_array(new) then
      for inner, value in pairs(new) do
        if json.encode(value, { sort = true }) ~= json.encode(old[inner] == nil and json.null or old[inner],
          { sort = true }) then
          list[#list + 1] = { op = old[inner] == nil and "add" or "replace", path = ("/%s/%s"):format(name, inner),
                              value = value }
        end
      end
      for inner in pairs(old) do
        if new[inner] == nil then list[#list + 1] = { op = "remove", path = ("/%s/%s"):format(name, inner) } end
      end
    elseif old ~= nil then
      list[#list + 1] = { op = "replace", path = "/" .. name, value = new }
    end
  end
  return list
end

-- A strategic patch of some changes: nested maps, items by their keys, $patch for what goes.
local function strategic_of(list)
  local patch = json.object {}
  for _, change in ipairs(list) do
    local place, where = change.place, patch
    for i, part in ipairs(place.path) do
      local last = i == #place.path
      if type(part) == "table" then
        local item
        for _, one in ipairs(where) do item = matches(one, part) and one or item end
        if not item then
          item = copy(part)
          where[#where + 1] = item
        end
        local deepest = true
        for j = i + 1, #place.path do deepest = deepest and type(place.path[j]) ~= "table" end
        if change.value == nil and deepest then
          for name in pairs(item) do
            if part[name] == nil then item[name] = nil end
          end
          item["$patch"] = "delete"
          break
        end
        if item["$patch"] then break end
        if place.item and change.value ~= nil and deepest then
          for name, value in pairs(place.item(random)) do item[name] = value end
        end
        where = item
      elseif last then
        where[part] = change.value == nil and json.null or change.value
      else
        if type(where[part]) ~= "table" then
          where[part] = type(place.path[i + 1]) == "table" and json.array {} or json.object {}
        end
        where = where[part]
      end
    end
  end
  return patch
end

-- What is left out of an object when it is sent whole.
local function bare(object)
  local out = copy(object)
  out.metadata.managedFields, out.metadata.resourceVersion = nil, nil
  return out
end

local function fail(self, what, wanted, got)
  error(("seed %d, write %d, %s:\n%s\nthe model: %s\nthe lab:   %s"):format(self.seed, self.count, what,
    table.concat(self.log, "\n", math.max(1, #self.log - 3)), json.encode(wanted, { sort = true }),
    json.encode(got, { sort = true })), 0)
end

local function same(self, what, wanted, got)
  if json.encode(wanted, { sort = true }) ~= json.encode(got, { sort = true }) then fail(self, what, wanted, got) end
end

-- --- what is expected -----------------------------------------------------------------------------------------

local function names_of(managers)
  local out = {}
  for name, set_ in pairs(managers) do
    local list = {}
    for path in pairs(set_) do list[#list + 1] = path end
    table.sort(list)
    out[name] = list
  end
  return out
end

local function plain(object)
  local out = copy(object)
  out.metadata.resourceVersion, out.metadata.managedFields = nil, nil
  return out
end

-- Checks what a write made of an object, and remembers what a watch is to see.
function run:check(state, new, managers, got)
  same(self, "the object", model.content(new), model.content(got))
  same(self, "owners", names_of(managers), names_of(model.owners(got)))
  local old = state.object
  local version, before = tonumber(got.metadata.resourceVersion), old and tonumber(old.metadata.resourceVersion) or 0
  -- A patch may only change the order of a list; that is a change.
  local no_op = old ~= nil and json.encode(plain(got), { sort = true }) == json.encode(plain(old), { sort = true })
    and json.encode(names_of(managers), { sort = true }) == json.encode(names_of(model.owners(old)), { sort = true })
  if no_op then
    same(self, "the version of a write that changes nothing", before, version)
  else
    if version <= self.version then fail(self, "the version grows", self.version, version) end
    self.version = version
    self.events[#self.events + 1] = (old and "MODIFIED " or "ADDED ") .. got.metadata.name .. " " .. version
  end
  local generation = old and old.metadata.generation
  if generation then
    same(self, "the generation", generation + (model.grows(old, new) and 1 or 0), got.metadata.generation)
  end
  state.object = got
end

local WRITES = {}

function WRITES.update(self, kind, state, manager)
  local new = changed(state.object, changes(kind))
  local code, got = self:send("PUT", state.path, bare(new), nil, nil, manager)
  if kind == "Widget" then -- a custom resource wants its version
    same(self, "an update without a version", 422, code)
    local body = bare(new)
    body.metadata.resourceVersion = state.object.metadata.resourceVersion
    code, got = self:send("PUT", state.path, body, nil, nil, manager)
  end
  same(self, "the status", 200, code)
  self:check(state, new, model.updated(model.owners(state.object), state.object, new, manager), got)
end

local function patch(media, make, apply)
  return function(self, kind, state, manager)
    local body = make(state.object, changes(kind))
    local new = apply(state.object, body)
    self.log[#self.log + 1] = media .. " " .. json.encode(body, { sort = true })
    local code, got = self:send("PATCH", state.path, body, MEDIA[media], nil, manager)
    if kind == "Widget" and media == "strategic" then return same(self, "the status", 415, code) end
    same(self, "the status " .. (got.message or ""), 200, code)
    self:check(state, new, model.updated(model.owners(state.object), state.object, new, manager), got)
  end
end

WRITES.json = patch("json", function(old, list) return operations_between(old, changed(old, list)) end,
  model.json_patch)
WRITES.merge = patch("merge", function(old, list) return merge_between(old, changed(old, list)) end, model.merge)
WRITES.strategic = patch("strategic", function(_, list) return strategic_of(list) end, model.strategic)

function WRITES.apply(self, kind, state, manager)
  local row = KINDS[kind]
  local config = { apiVersion = row[2], kind = kind, metadata = { name = state.object.metadata.name,
    namespace = "default" } }
  for _, change in ipairs(changes(kind)) do
    if change.value ~= nil then
      local value = change.value
      set(config, change.place, value, random)
      if type(change.place.path[#change.place.path]) ~= "table" and not change.place.item then
        set(config, change.place, value, random)
      end
    end
  end
  -- An item that is named but for a place below it is applied whole, as a client would.
  local containers = kind == "Deployment" and find(config, { "spec", "template", "spec", "containers" })
  for i = #(containers or {}), 1, -1 do
    if not containers[i].image then table.remove(containers, i) end
  end
  if containers and #containers == 0 then config.spec.template.spec.containers = nil end
  local force = random(2) == 1
  self.log[#self.log + 1] = ("apply by %s, force %s: %s"):format(manager, force, json.encode(config, { sort = true }))
  local new, managers = model.apply(model.owners(state.object), state.object, config, manager, force)
  local code, got = self:send("PATCH", state.path, config, "application/apply-patch+yaml",
    ("fieldManager=%s&force=%s"):format(manager, force))
  if not new and not managers then
    return same(self, "the status of what is not valid " .. (got.message or ""), 422, code)
  elseif not new then
    same(self, "the status of a conflict", 409, code)
    local count = 0
    for _ in pairs(managers) do count = count + 1 end
    if #got.details.causes < count then fail(self, "causes", managers, got.details.causes) end
    return
  end
  same(self, "the status " .. (got.message or ""), 200, code)
  self:check(state, new, managers, got)
end

function WRITES.delete(self, _, state)
  if random(6) > 1 then return end
  local code = self:send("DELETE", state.path, json.object {})
  same(self, "the status", 200, code)
  self.version = self.version + 1
  self.events[#self.events + 1] = "DELETED " .. state.object.metadata.name .. " " .. self.version
  state.object = nil
end

function run:create(kind, state, manager)
  local row = KINDS[kind]
  local body = copy(row[3])
  body.apiVersion, body.kind, body.metadata = row[2], kind, { name = state.name }
  local code, got = self:send("POST", row[1], body, nil, nil, manager)
  same(self, "the status " .. (got.message or ""), 201, code)
  -- Defaults are the lab's: the model takes them as given, but not who owns them.
  local fresh = copy(got)
  if fresh.spec then fresh.spec.clusterIP, fresh.spec.clusterIPs = nil, nil end
  local allocated = kind == "Service" and { "f:spec/f:clusterIP", "f:spec/f:clusterIPs", "f:spec/f:ipFamilies",
    "f:spec/f:ipFamilyPolicy" } or {}
  local managers = model.updated({}, nil, fresh, manager)
  for _, path in ipairs(allocated) do managers[manager .. " Update"][path] = nil end
  same(self, "owners", names_of(managers), names_of(model.owners(got)))
  self.version = tonumber(got.metadata.resourceVersion)
  self.events[#self.events + 1] = "ADDED " .. state.name .. " " .. self.version
  state.object, state.path = got, row[1] .. "/" .. state.name
end

-- Everything that a watch saw since a version.
function run:watched(path, since)
  local response = self.cluster:handle { method = "GET", path = path, query = "watch=1&resourceVersion=" .. since,
    headers = { authorization = "Bearer " .. self.cluster.auth.admin_token } }
  local lines = {}
  local reader = task.spawn(response.stream, { write = function(_, text_)
    for line in text_:gmatch "[^\n]+" do
      local event = json.decode(line)
      lines[#lines + 1] = ("%s %s %s"):format(event.type, event.object.metadata.name,
        event.object.metadata.resourceVersion)
    end
  end })
  test.advance(0.1)
  reader:cancel()
  return lines
end

local function play(kinds, writes, seed)
  local self = new_run(seed)
  for _, kind in ipairs(kinds) do
    self.events, self.version, self.log = {}, self.cluster.store.revision, {}
    local since = self.version
    local states = { { name = "one" }, { name = "two" } }
    for _ = 1, STEPS do
      self.count = self.count + 1
      local state, manager = states[random(2)], "test-" .. random(3)
      local write = writes[random(#writes)]
      self.log[#self.log + 1] = ("%s %s %s by %s"):format(write, kind, state.name, manager)
      if state.object then WRITES[write](self, kind, state, manager) else self:create(kind, state, manager) end
    end
    same(self, "what a watch of " .. kind .. " saw", self.events, self:watched(KINDS[kind][1], since))
  end
  return self.count
end

local ALL = { "ConfigMap", "Secret", "ServiceAccount", "Role", "ResourceQuota", "Service", "Deployment", "Widget" }

test("random updates, patches and deletions are what a naive implementation makes of them", function()
  local count = 0
  for round = 1, ROUNDS do
    count = count + play(ALL, { "update", "json", "merge", "strategic", "delete" }, SEED + round)
  end
  test.equal(count, ROUNDS * #ALL * STEPS)
end)

test("random applies among updates own and conflict as a naive implementation says", function()
  local count = 0
  for round = 1, ROUNDS do
    count = count + play(ALL, { "apply", "apply", "apply", "update", "merge", "delete" }, SEED + 1000 + round)
  end
  test.equal(count, ROUNDS * #ALL * STEPS)
end)
