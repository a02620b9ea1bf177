-- Server-side apply: who owns what after applies and updates, conflicts, and what the API server says.
local apply = require "kube.apply"
local fs = require "fs"
local json = require "json"
local kube = require "kube"
local test = require "test"

local DEPLOYMENT = apply.type_of "apps/v1/Deployment"
local TIME = "2026-01-01T00:00:00Z"

local function decode(text) return json.decode(text) end
local function text(value) return json.encode(value, { sort = true }) end

local function deployment(spec, metadata)
  return decode(('{"apiVersion":"apps/v1","kind":"Deployment","metadata":%s,"spec":%s}'):format(
    metadata or '{"name":"d"}', spec))
end

-- Owners as one text: "one Apply: .spec.replicas; …", sorted as the API server sorts them.
local fields = require "kube.apply.fields"
local function owners(object)
  local lines = {}
  for i, entry in ipairs(object.metadata.managedFields or {}) do
    local paths = {}
    fields.each(fields.decode(entry.fieldsV1), function(path) paths[#paths + 1] = fields.text(path) end)
    lines[i] = ("%s %s%s: %s"):format(entry.manager, entry.operation, entry.subresource and "/" .. entry.subresource
      or "", table.concat(paths, " "))
  end
  return table.concat(lines, "; ")
end

local function applied(live, config, manager, options)
  options = options or {}
  options.manager, options.type, options.time = manager, options.type or DEPLOYMENT, options.time or TIME
  local object, conflicts = apply.apply(live, config, options)
  if not object then error(apply.message(conflicts), 0) end
  return object
end

local function updated(live, object, manager, options)
  options = options or {}
  options.manager, options.type, options.time = manager, options.type or DEPLOYMENT, options.time or TIME
  return apply.update(live, object, options)
end

local FULL = '{"replicas":0,"selector":{"matchLabels":{"app":"a"}},"template":{"metadata":{"labels":{"app":"a"}},'
  .. '"spec":{"containers":[{"name":"main","image":"i:1"}]}}}'

test("the first apply owns what it says, atomic structs as one", function()
  local object = applied(nil, deployment(FULL), "one")
  test.equal(text(object.metadata.managedFields), '[{"apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":'
    .. '{"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":'
    .. '{"f:containers":{"k:{\\"name\\":\\"main\\"}":{".":{},"f:image":{},"f:name":{}}}}}}},"manager":"one",'
    .. '"operation":"Apply","time":"2026-01-01T00:00:00Z"}]')
end)

test("another value is a conflict, in the API server's words", function()
  local live = applied(nil, deployment(FULL), "one")
  local object, conflicts = apply.apply(live, deployment '{"replicas":3}', { manager = "two", type = DEPLOYMENT })
  test.equal(object, nil)
  test.same(conflicts, { { manager = '"one"', field = ".spec.replicas", message = 'conflict with "one"' } })
  test.equal(apply.message(conflicts), 'Apply failed with 1 conflict: conflict with "one": .spec.replicas')
  local image = '{"replicas":3,"template":{"spec":{"containers":[{"name":"main","image":"i:2"}]}}}'
  local _, both = apply.apply(live, deployment(image), { manager = "two", type = DEPLOYMENT })
  test.equal(apply.message(both), 'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.replicas\n'
    .. '- .spec.template.spec.containers[name="main"].image')
end)

test("force takes the field over", function()
  local live = applied(nil, deployment(FULL), "one")
  local object = applied(live, deployment '{"replicas":3}', "two", { force = true })
  test.equal(object.spec.replicas, 3)
  test.equal(owners(object), 'one Apply: .spec.selector .spec.template.metadata.labels.app '
    .. '.spec.template.spec.containers[name="main"] .spec.template.spec.containers[name="main"].image '
    .. '.spec.template.spec.containers[name="main"].name; two Apply: .spec.replicas')
end)

test("the same value is shared, without a time when nothing changes", function()
  local live = applied(nil, deployment '{"replicas":3}', "one")
  local options = { manager = "two", type = DEPLOYMENT, time = TIME }
  local object, what = apply.apply(live, deployment '{"replicas":3}', options)
  test.equal(what, "same")
  test.equal(owners(object), "two Apply: .spec.replicas; one Apply: .spec.replicas")
  test.equal(object.metadata.managedFields[1].time, nil)
  local dropped = applied(object, deployment "{}", "two")
  test.equal(dropped.spec.replicas, 3)
  test.equal(owners(dropped):find("two Apply: .spec.replicas", 1, true), nil)
end)

test("what a manager no longer applies goes, unless somebody else owns it", function()
  local live = applied(nil, deployment '{"replicas":1,"paused":true}', "one")
  live = applied(live, deployment '{"replicas":1}', "two")
  local object = applied(live, deployment '{"minReadySeconds":5}', "one")
  test.equal(text(object.spec), '{"minReadySeconds":5,"replicas":1}')
end)

test("items of lists are owned one by one", function()
  local live = applied(nil, deployment(FULL), "one")
  local side = '{"template":{"spec":{"containers":[{"name":"side","image":"s:1"}]}}}'
  local object = applied(live, deployment(side), "two")
  test.equal(text(object.spec.template.spec.containers),
    '[{"image":"i:1","name":"main"},{"image":"s:1","name":"side"}]')
  local rest = applied(object, deployment '{"template":{"spec":{"containers":[]}}}', "two")
  test.equal(text(rest.spec.template.spec.containers), '[{"image":"i:1","name":"main"}]')
end)

test("keys have defaults: a port without protocol is the TCP one", function()
  local config = '{"template":{"spec":{"containers":[{"name":"m","ports":[{"containerPort":80},'
    .. '{"containerPort":80,"protocol":"UDP"}]}]}}}'
  local live = applied(nil, deployment(config), "one")
  local list = live.metadata.managedFields[1].fieldsV1["f:spec"]["f:template"]["f:spec"]["f:containers"]
  local ports = list['k:{"name":"m"}']["f:ports"]
  test.equal(ports['k:{"containerPort":80,"protocol":"TCP"}'] ~= nil, true)
  test.equal(ports['k:{"containerPort":80,"protocol":"UDP"}'] ~= nil, true)
end)

test("the order of items follows the configuration, others keep their place", function()
  local function names(list) return '{"template":{"spec":{"containers":' .. list .. "}}}" end
  local live = applied(nil, deployment(names '[{"name":"a"},{"name":"s"},{"name":"b"}]'), "one")
  local object = applied(live, deployment(names '[{"name":"b"},{"name":"a"},{"name":"c"}]'), "two")
  local order = {}
  for i, container in ipairs(object.spec.template.spec.containers) do order[i] = container.name end
  test.equal(table.concat(order, " "), "s b a c")
end)

test("an update owns what it changes, and takes it from others", function()
  local live = applied(nil, deployment '{"replicas":1,"paused":true}', "one")
  local object = updated(live, deployment('{"replicas":5,"paused":true}', text(live.metadata)), "upd")
  test.equal(owners(object), "one Apply: .spec.paused; upd Update: .spec.replicas")
  local _, conflicts = apply.apply(object, deployment '{"replicas":1}', { manager = "one", type = DEPLOYMENT })
  test.equal(apply.message(conflicts),
    'Apply failed with 1 conflict: conflict with "upd" using apps/v1: .spec.replicas')
  local removed = updated(object, deployment('{"replicas":5}', text(object.metadata)), "upd")
  test.equal(owners(removed), "upd Update: .spec.replicas")
end)

test("a create by update is tracked, untracked objects stay untracked, [{}] resets", function()
  local created = updated(nil, deployment '{"replicas":1}', "kc")
  test.equal(owners(created), "kc Update: .spec.replicas") -- Go writes spec even when empty
  for _, list in ipairs { "[]", "[{}]" } do
    local object = deployment '{"replicas":2}'
    object.metadata.managedFields = decode(list)
    test.equal(updated(created, object, "kc").metadata.managedFields, nil)
  end
  test.equal(updated(deployment '{"replicas":1}', deployment '{"replicas":2}', "kc").metadata.managedFields, nil)
end)

-- All objects of the recordings, as if each were created.
test("a create owns what a comparison with an empty object finds", function()
  local compared = 0
  local function compare(object)
    local type_ = apply.type_of(object.apiVersion .. "/" .. object.kind) or apply.type_of_openapi(nil)
    object.metadata.managedFields = nil
    local function owners_with(reset)
      local ok, list = pcall(apply.owners, nil, object, { manager = "m", time = "t", type = type_, reset = reset })
      return ok, ok and list or nil
    end
    -- A path below a member takes the long way.
    test.same({ owners_with { "status" } }, { owners_with { "status", "none.such" } })
    compared = compared + 1
  end
  for _, name in ipairs(fs.list "tests/fixtures/wire") do
    local text_of = name:find "%.json$" and name ~= "manifest.json" and fs.read("tests/fixtures/wire/" .. name) or "[]"
    for _, exchange in ipairs(json.decode(text_of, { duplicates = "last" })) do
      for _, part in ipairs { exchange.request or {}, exchange.response or {} } do
        local body = part.body
        if type(body) == "table" and body.kind and body.apiVersion and type(body.metadata) == "table" then
          compare(body)
        end
      end
    end
  end
  test.equal(compared > 300, true)
end)

test("fields from before the first apply have an owner of that name", function()
  local object = applied(deployment '{"replicas":1,"paused":true}', deployment '{"replicas":1}', "one")
  test.equal(owners(object), "one Apply: .spec.replicas; before-first-apply Update: .spec.paused .spec.replicas")
end)

test("subresources are told apart, and cannot change what is not theirs", function()
  local live = applied(nil, deployment '{"replicas":1}', "one")
  local config = decode('{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"status":'
    .. '{"conditions":[{"type":"T","status":"True"}]}}')
  local object = applied(live, config, "st", { subresource = "status", reset = { "spec" } })
  test.equal(owners(object), 'one Apply: .spec.replicas; st Apply/status: .status.conditions[type="T"] '
    .. '.status.conditions[type="T"].status .status.conditions[type="T"].type')
  local _, conflicts = apply.apply(updated(object, decode(text(object):gsub('"True"', '"False"')), "kcm",
    { subresource = "status" }), config, { manager = "st", subresource = "status", type = DEPLOYMENT })
  test.equal(conflicts[1].message, 'conflict with "kcm" with subresource "status" using apps/v1')
end)

test("lists of custom resources are kept as their schema says", function()
  local type_ = apply.type_of_openapi(decode [[{"type":"object","properties":{"spec":{"type":"object","properties":{
    "size":{"type":"integer"},
    "parts":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],
      "items":{"type":"object","properties":{"name":{"type":"string"},"count":{"type":"integer"}}}},
    "tags":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
    "words":{"type":"array","items":{"type":"string"}},
    "one":{"type":"object","x-kubernetes-map-type":"atomic","properties":{"a":{"type":"string"}}},
    "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}]])
  local function widget(spec) return decode(('{"apiVersion":"k/v1","kind":"W","spec":%s}'):format(spec)) end
  local live = applied(nil, widget('{"parts":[{"name":"a","count":1}],"tags":["x"],"words":["p"],"one":{"a":"b"},'
    .. '"free":{"k":{"l":[1]}}}'), "one", { type = type_ })
  test.equal(owners(live), 'one Apply: .spec.one .spec.words .spec.free.k .spec.free.k.l .spec.parts[name="a"] '
    .. '.spec.parts[name="a"].count .spec.parts[name="a"].name .spec.tags[="x"]')
  local object = applied(live, widget '{"parts":[{"name":"b"}],"tags":["y"]}', "two", { type = type_ })
  test.equal(text(object.spec.parts), '[{"count":1,"name":"a"},{"name":"b"}]')
  test.equal(text(object.spec.tags), '["x","y"]')
  local rest = applied(object, widget '{"size":1}', "two", { type = type_ })
  test.equal(text(rest.spec.parts), '[{"count":1,"name":"a"}]')
  test.equal(text(rest.spec.tags), '["x"]')
end)

test("without a schema everything but metadata follows the values", function()
  local type_ = apply.type_of_openapi(nil)
  local object = applied(nil, decode '{"apiVersion":"k/v1","kind":"W","spec":{"a":[1,2],"b":{"c":1}}}', "one",
    { type = type_ })
  test.equal(owners(object), "one Apply: .spec .spec.a .spec.b .spec.b.c")
end)

test("a configuration that does not fit the type is refused", function()
  for spec, message in pairs {
    ['{"nope":1}'] = ".spec.nope: field not declared in schema",
    ['{"template":{"spec":{"containers":[{"name":"a"},{"name":"a"}]}}}'] =
      '.spec.template.spec.containers: duplicate entries for key [name="a"]',
    ['{"template":{"spec":{"containers":[{"image":"a"}]}}}'] = ".spec.template.spec.containers: element 0: associative "
      .. 'list with keys has an element that omits all key fields ["name"] (and doesn\'t have default values for any '
      .. "key fields)",
  } do
    local err = test.raises("Apply", function() applied(nil, deployment(spec), "one") end)
    test.equal(err.message, message)
  end
  local err = test.raises("Apply", function()
    applied(nil, deployment("{}", '{"name":"d","managedFields":[]}'), "one")
  end)
  test.equal(err.message, "metadata.managedFields must be nil")
end)

test("of more than ten updaters the oldest become one", function()
  local live = updated(nil, deployment '{"replicas":0}', "m00", { time = "2026-01-01T00:00:00Z" })
  for i = 1, 14 do
    local object = decode(text(live))
    object.metadata.labels = object.metadata.labels or json.object {}
    object.metadata.labels["l" .. i] = "x"
    live = updated(live, object, ("m%02d"):format(i), { time = ("2026-01-01T00:00:%02dZ"):format(i) })
  end
  local names = {}
  for i, entry in ipairs(live.metadata.managedFields) do names[i] = entry.manager end
  test.equal(#names, 10)
  test.equal(names[1], "ancient-changes")
end)

test("kubectl may change what its client-side apply set and nobody changed since", function()
  local type_ = apply.type_of "v1/ConfigMap"
  local live = decode '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1","y":"1"}}'
  live.metadata.annotations = { ["kubectl.kubernetes.io/last-applied-configuration"] =
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1","y":"0"}}' }
  live = updated(nil, live, "kubectl-client-side-apply", { type = type_ })
  local function try(manager, data)
    local config = decode(('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":%s}'):format(data))
    local object, conflicts = apply.apply(live, config, { manager = manager, type = type_ })
    return object and text(object.data) or apply.message(conflicts)
  end
  local refused = 'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.'
  test.equal(try("kubectl", '{"x":"2"}'), '{"x":"2","y":"1"}')
  test.equal(try("kubectl", '{"y":"2"}'), refused .. "y")
  test.equal(try("other", '{"x":"2"}'), refused .. "x")
end)

test("neither the live object nor the configuration changes", function()
  local live, config = applied(nil, deployment(FULL), "one"), deployment '{"replicas":3}'
  local before_live, before_config = text(live), text(config)
  applied(live, config, "two", { force = true })
  updated(live, deployment('{"replicas":9}', text(live.metadata)), "x")
  test.equal(text(live), before_live)
  test.equal(text(config), before_config)
  test.equal(kube.apply, apply)
end)
