-- The parts of the client in C: cutting answers into objects, and the store of packed bytes.
local test = require "test"
local core = require "kube.core"
local json = require "json"

-- All elements that the splitter gives when the text comes in pieces of `size` bytes, and the rest.
local function split(text, member, size)
  local splitter, found = core.splitter(member), {}
  for at = 1, #text, size do
    splitter:feed(text:sub(at, at + size - 1))
    for element in function() return splitter:next() end do found[#found + 1] = element end
  end
  return found, splitter
end

local LIST = [==[ {"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","x":"\"items\":["},
  "items" : [ {"a":"]}\"{[\\","n":[1,[2]]} , {"b":{"items":[1]}},{} ],"more":[{"items":[]}]} ]==] .. "\n"

test("a list is cut into its items wherever its pieces end", function()
  for size = 1, #LIST do
    local found, splitter = split(LIST, "items", size)
    test.same(found, { [==[{"a":"]}\"{[\\","n":[1,[2]]}]==], '{"b":{"items":[1]}}', "{}" })
    test.same(json.decode(splitter:rest()), {
      kind = "PodList", apiVersion = "v1", metadata = { resourceVersion = "7", x = '"items":[' }, items = {},
      more = { { items = {} } },
    })
  end
end)

test("a list without items, and one whose items are null, are all rest", function()
  for _, text in ipairs { '{"items":[],"a":1}', '{"items":null}', '{"items":[  ]}', "{}" } do
    local found, splitter = split(text, "items", 3)
    test.same(found, {})
    test.same(json.decode(splitter:rest()), json.decode(text))
  end
end)

test("a list that ends too early, or goes on too long, is no list", function()
  for length = 0, #LIST - 3 do
    local _, splitter = split(LIST:sub(1, length), "items", 7)
    test.raises("Protocol", function() splitter:rest() end)
  end
  test.raises("Protocol", function() split('{"items":[]}{', "items", 100) end)
  test.raises("Protocol", function() split('{"items":[1]}', "items", 100) end)
end)

test("a stream is cut into objects wherever its pieces end", function()
  local text = '{"type":"ADDED","object":{"s":"}"}}\n{"type":"é\\"","object":[{}]}\r\n\n{}'
  for size = 1, #text do
    local found, splitter = split(text, nil, size)
    test.same(found, { '{"type":"ADDED","object":{"s":"}"}}', '{"type":"é\\"","object":[{}]}', "{}" })
    test.equal(splitter:pending(), false)
  end
  local _, splitter = split(text:sub(1, -2), nil, 5)
  test.equal(splitter:pending(), true)
end)

local EVENTS = [[ { "type" : "MODIFIED", "object": {"a": [1, {"name":"no"}], "metadata":{"name":"x","namespace":"n",
  "uid":"u","resourceVersion":"5"}} }
{"object":{"metadata":{"name":"}\"{"}},"type":"ADDED"}{"type":"BOOKMARK","object":{}}
]]

test("events tell type, object, key, uid and version wherever their pieces end", function()
  for size = 1, #EVENTS do
    local splitter, got = core.splitter(), {}
    for at = 1, #EVENTS, size do
      splitter:feed(EVENTS:sub(at, at + size - 1))
      for type in function() return splitter:step() end do
        local key, uid, version = core.facts(splitter:text())
        got[#got + 1] = { type, json.decode(splitter:text()).a, key, uid, version }
      end
    end
    test.same(got, { { "MODIFIED", { 1, { name = "no" } }, "n/x", "u", "5" }, { "ADDED", nil, '}\\"{' },
      { "BOOKMARK", nil, "" } })
  end
end)

test("what is no event is a fault of the protocol", function()
  for _, text in ipairs { "{}", "[]", '{"type":"X"}', '{"type":1,"object":{}}', '{"type":"X","object":}' } do
    local splitter = core.splitter()
    splitter:feed(text .. "\n")
    test.raises("Protocol", function() splitter:step() end)
  end
end)

local function pod(namespace, name, more)
  local object = { metadata = { namespace = namespace, name = name, uid = "uid-" .. name, resourceVersion = "5" } }
  for key, value in pairs(more or {}) do object.metadata[key] = value end
  return json.encode(object)
end

test("facts are those of the object's own metadata", function()
  local key, uid, version = core.facts [[{"spec":{"metadata":{"name":"no"}},"metadata":
    {"labels":{"name":"no"},"name":"a","uid":"u","resourceVersion":"9","namespace":"n"},"x":{"name":"no"}}]]
  test.equal(key, "n/a")
  test.equal(uid, "u")
  test.equal(version, "9")
  test.equal(core.facts '{"metadata":{"name":"cluster"}}', "cluster")
end)

test("what comes back from the store is what was put, without blanks and managed fields", function()
  local store = core.store()
  local text = [[ { "metadata" : {"name":"a", "managedFields":[{"x":"]"}], "namespace":"n" },
    "list" : [ 1, -2.50, 1e9, true, null, "é\u00e9\n\\\"", { } , [ ] ],
    "managedFields": "here it stays", "deep": {"metadata":{"managedFields":1}} } ]]
  test.equal(store:put(text), "n/a")
  test.equal(store:text "n/a", [[{"metadata":{"name":"a","namespace":"n"},"list":[1,-2.50,1e9,true,null,]]
    .. [==["é\u00e9\n\\\"",{},[]],"managedFields":"here it stays","deep":{"metadata":{"managedFields":1}}}]==])
  local whole = core.store { keep_managed_fields = true }
  whole:put(text)
  test.same(json.decode(whole:text "n/a"), json.decode(text))
end)

test("strings that come again are kept once, and objects stay whole", function()
  local store, texts = core.store(), {}
  for i = 1, 2000 do
    texts[i] = json.encode({
      metadata = { name = "pod-" .. i, namespace = "n" },
      spec = { terminationMessagePolicy = "FallbackToLogsOnError", nodeName = "node-" .. i % 9000,
        ["key-" .. i % 700] = "value-" .. i % 900 },
    }, { sort = true })
    store:put(texts[i])
  end
  local total = 0
  for i, text in ipairs(texts) do
    total = total + #text
    test.equal(store:text("n/pod-" .. i), text)
  end
  local objects, bytes = store:size()
  test.equal(objects, 2000)
  assert(bytes < total / 2, "packed to less than half")
end)

test("what is no object is refused and leaves the store as it was", function()
  local store = core.store()
  store:put(pod("n", "a"))
  for _, text in ipairs { "", "{", "[]", '{"metadata":{}}', '{"metadata":{"name":"b"}', '{"metadata":{"name":"b"},}',
    '{"metadata":{"name":"b\1"}}', '{"metadata":{"name":"b"} "x":1}', ("["):rep(600) } do
    test.raises("Protocol", function() store:put(text) end)
  end
  test.same(store:keys(), { "n/a" })
end)

local function sorted(list)
  table.sort(list)
  return list
end

test("objects are found by namespace, owner and label, also those from before the index", function()
  local store = core.store()
  local owners = { { uid = "o1" }, { uid = "o2" } }
  store:put(pod("n", "a", { labels = { app = "web", tier = "1" }, ownerReferences = owners }))
  store:put(pod("m", "b", { labels = { app = "web" } }))
  test.same(sorted(store:find("label:app", "web")), { "m/b", "n/a" })
  test.same(store:find("owner", "o2"), { "n/a" })
  test.same(store:find("namespace", "m"), { "m/b" })
  store:put(pod("m", "c", { labels = { app = "web" }, ownerReferences = { { uid = "o2" } } }))
  test.same(sorted(store:find("owner", "o2")), { "m/c", "n/a" })
  store:put(pod("n", "a", { labels = { app = "db" } }))
  test.same(sorted(store:find("label:app", "web")), { "m/b", "m/c" })
  test.same(store:find("label:app", "db"), { "n/a" })
  store:remove "m/c"
  test.same(store:find("owner", "o2"), {})
  test.same(store:find("namespace", "m"), { "m/b" })
end)

test("terms from outside are an index too, until the object changes", function()
  local store = core.store()
  store:put(pod("n", "a"))
  store:terms("n/a", "own:node", { "one", "two" })
  test.same(store:find("own:node", "two"), { "n/a" })
  store:terms("n/a", "own:node", { "three" })
  test.same(store:find("own:node", "two"), {})
  test.same(store:find("own:node", "three"), { "n/a" })
  store:put(pod("n", "a"))
  test.same(store:find("own:node", "three"), {})
end)

test("what a new list does not mention is stale", function()
  local store = core.store()
  for _, name in ipairs { "a", "b", "c" } do store:put(pod("n", name)) end
  store:begin()
  store:put(pod("n", "a"))
  store:put(pod("n", "b"))
  test.same(store:stale(), { "n/c" })
  local uid, version = store:known "n/b"
  test.equal(uid, "uid-b")
  test.equal(version, "5")
  test.equal(store:known "n/z", nil)
end)

-- What the store says of each object of a list.
local function take_all(store, objects, wants_before)
  local splitter, said = core.splitter "items", {}
  splitter:feed('{"items":[' .. table.concat(objects, ",") .. "]}")
  while splitter:step() do said[#said + 1] = table.pack(store:take(splitter, wants_before)) end
  return said
end

test("an object that is taken in is new, changed, the same, or another of the same name", function()
  local store = core.store()
  local function said(change, key, version, before)
    return { change, key, version, before, n = before and 4 or 3 }
  end
  store:begin()
  test.same(take_all(store, { pod("n", "a"), pod("n", "b") }), { said("new", "n/a", "5"), said("new", "n/b", "5") })
  test.same(store:stale(), {})
  test.same(take_all(store, { pod("n", "a") }), { said("same", "n/a", "5") })
  test.same(take_all(store, { pod("n", "a", { resourceVersion = "6" }) }), { said("changed", "n/a", "6") })
  local before = store:text "n/a"
  test.same(take_all(store, { pod("n", "a", { resourceVersion = "7" }) }, true),
    { said("changed", "n/a", "7", before) })
  test.same(take_all(store, { pod("n", "a", { uid = "other", resourceVersion = "7" }) }),
    { said("replaced", "n/a", "7") })
  store:begin()
  test.same(take_all(store, { pod("n", "b") }), { { "same", n = 1 } })
  test.same(store:stale(), { "n/a" })
end)

test("an event is taken in where it stands; what follows its object is no part of it", function()
  for _, text in ipairs {
    '{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"3"}}}',
    ' { "type" : "ADDED" , "object" : {"metadata":{"name":"a","resourceVersion":"3"}} } ',
    '{"object":{"metadata":{"name":"a","resourceVersion":"3"}},"type":"ADDED"}',
    '{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"3"}},"more":1}',
  } do
    for size = 1, #text do
      local splitter, store, type = core.splitter(), core.store(), nil
      for at = 1, #text, size do
        splitter:feed(text:sub(at, at + size - 1))
        local found = splitter:step()
        if found then
          type = found
          test.equal(splitter:text(), '{"metadata":{"name":"a","resourceVersion":"3"}}')
          test.equal(table.pack(store:take(splitter))[3], "3")
        end
      end
      test.equal(type, "ADDED")
    end
  end
  local splitter, store = core.splitter(), core.store()
  splitter:feed '{"type":"ADDED","object":{"metadata":{"name":"a"}},"more":{}}'
  test.equal(splitter:step(), "ADDED")
  test.raises("Protocol", function() store:take(splitter) end)
  assert(not pcall(store.take, store, core.splitter()), "a splitter that is at no object")
end)
