-- Strategic merge patch: every directive and strategy, good and bad; and the schema behind it.
local json = require "json"
local kube = require "kube"
local schema = require "kube.schema"
local test = require "test"

local function text(value) return json.encode(value, { sort = true }) end

-- { kind, document, patch, result } or { kind, document, patch, nil, message }
local CASES = {
  -- maps and values
  { "v1/ConfigMap", '{"data":{"a":"1","b":"2"}}', '{"data":{"b":null,"c":"3"}}', '{"data":{"a":"1","c":"3"}}' },
  { "v1/ConfigMap", '{"data":{"a":"1"}}', '{"data":{"$patch":"replace","b":"2"}}', '{"data":{"b":"2"}}' },
  { "v1/ConfigMap", '{"data":{"a":"1"}}', '{"data":{"$patch":"delete"}}', '{"data":{}}' },
  { "v1/ConfigMap", '{"data":{"a":"1"}}', '{"$patch":"replace","data":{"b":"2"}}', '{"data":{"b":"2"}}' },
  { "v1/ConfigMap", "{}", '{"data":{"b":null,"c":"3"}}', '{"data":{"c":"3"}}' },
  { "v1/ConfigMap", '{"data":{"a":"1"}}', '{"data":{"$patch":"merge","b":"2"}}', nil,
    "unknown patch type: merge in map: map[$patch:merge b:2]" },
  { "v1/ConfigMap", '{"data":{"a":{"b":1}}}', '{"data":{"a":{"c":{"d":1}}}}',
    nil, "merging an object in json but data type is not struct, instead is: map" },
  { "v1/ConfigMap", '{"nope":{"a":1}}', '{"nope":{"b":1}}', nil,
    'unable to find api field in struct ConfigMap for the json field "nope"' },
  { "v1/ConfigMap", '{"nope":1}', '{"nope":2}', '{"nope":2}' },
  -- lists of maps with a merge key
  { "v1/Pod", '{"spec":{"containers":[{"name":"a","image":"a:1"},{"name":"b","image":"b:1"}]}}',
    '{"spec":{"containers":[{"name":"b","image":"b:2"},{"name":"c","image":"c:1"}]}}',
    '{"spec":{"containers":[{"image":"a:1","name":"a"},{"image":"b:2","name":"b"},{"image":"c:1","name":"c"}]}}' },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}',
    '{"spec":{"containers":[{"name":"a","$patch":"delete"}]}}', '{"spec":{"containers":[{"name":"b"}]}}' },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}',
    '{"spec":{"containers":[{"$patch":"replace"},{"name":"c"}]}}', '{"spec":{"containers":[{"name":"c"}]}}' },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a","env":[{"name":"x","value":"1"},{"name":"y","value":"2"}]}]}}',
    '{"spec":{"containers":[{"name":"a","env":[{"name":"y","$patch":"delete"},{"name":"z","value":"3"}]}]}}',
    '{"spec":{"containers":[{"env":[{"name":"z","value":"3"},{"name":"x","value":"1"}],"name":"a"}]}}' },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a","args":["1","2"]}]}}',
    '{"spec":{"containers":[{"name":"a","args":["9"]}]}}', '{"spec":{"containers":[{"args":["9"],"name":"a"}]}}' },
  { "v1/Pod", '{"spec":{"tolerations":[{"key":"a"},{"key":"b"}]}}', '{"spec":{"tolerations":[{"key":"c"}]}}',
    '{"spec":{"tolerations":[{"key":"c"}]}}' },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a","ports":[{"containerPort":80,"protocol":"TCP"}]}]}}',
    '{"spec":{"containers":[{"name":"a","ports":[{"containerPort":80,"protocol":"UDP"}]}]}}',
    '{"spec":{"containers":[{"name":"a","ports":[{"containerPort":80,"protocol":"UDP"}]}]}}' },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a"}]}}', '{"spec":{"containers":[{"image":"b"}]}}', nil,
    "map: map[image:b] does not contain declared merge key: name" },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a"}]}}', '{"spec":{"containers":[{"$patch":"delete"}]}}', nil,
    "map: map[$patch:delete] does not contain declared merge key: name" },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a"}]}}', '{"spec":{"containers":[{"$patch":"merge"}]}}', nil,
    "merging lists cannot yet be specified in the patch" },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a"}]}}', '{"spec":{"containers":[{"name":"a","$patch":"no"}]}}', nil,
    "unknown patch type: no in map: map[$patch:no name:a]" },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a"}]}}', '{"spec":{"containers":["a"]}}', nil,
    "list element types are not identical: [[map[name:a]] [a]]" },
  { "v1/Pod", '{"spec":{"containers":[]}}', '{"spec":{"containers":[]}}', '{"spec":{"containers":[]}}' },
  { "v1/Pod", '{"spec":{}}', '{"spec":{"containers":[{"name":"a","$patch":"delete"},{"name":"b"}]}}',
    '{"spec":{"containers":[{"name":"b"}]}}' },
  -- lists of values that merge
  { "v1/Pod", '{"metadata":{"finalizers":["a","b"]}}', '{"metadata":{"finalizers":["b","c"]}}',
    '{"metadata":{"finalizers":["a","b","c"]}}' },
  { "v1/Pod", '{"metadata":{"finalizers":["a","b","c"]}}',
    '{"metadata":{"$deleteFromPrimitiveList/finalizers":["b","z"]}}', '{"metadata":{"finalizers":["a","c"]}}' },
  { "v1/Pod", '{"metadata":{}}', '{"metadata":{"$deleteFromPrimitiveList/finalizers":["b"]}}', '{"metadata":{}}' },
  { "v1/Pod", '{"metadata":{"finalizers":["a"]}}', '{"metadata":{"$deleteFromPrimitiveList":["b"]}}', nil,
    "invalid patch format of primitive list" },
  { "v1/Pod", '{"metadata":{"finalizers":["a"]}}',
    '{"metadata":{"finalizers":["c","b"],"$setElementOrder/finalizers":["c","b","a"]}}',
    '{"metadata":{"finalizers":["c","b","a"]}}' },
  -- $setElementOrder
  { "v1/Pod", '{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}',
    '{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]}}',
    '{"spec":{"containers":[{"name":"b"},{"name":"a"}]}}' },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a"},{"name":"s"},{"name":"b"}]}}',
    '{"spec":{"$setElementOrder/containers":[{"name":"c"},{"name":"b"},{"name":"a"}],"containers":[{"name":"c"}]}}',
    '{"spec":{"containers":[{"name":"c"},{"name":"s"},{"name":"b"},{"name":"a"}]}}' },
  { "v1/Pod", '{"spec":{"volumes":[{"name":"a"},{"name":"c"}]}}',
    '{"spec":{"$setElementOrder/volumes":[{"name":"b"}],"volumes":[{"name":"b"},{"name":"a","$patch":"delete"}]}}',
    '{"spec":{"volumes":[{"name":"c"},{"name":"b"}]}}' },
  { "v1/Pod", "{}", '{"spec":{"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"a"}]}}',
    '{"spec":{"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"a"}]}}' },
  { "v1/Pod", '{"spec":{}}', '{"spec":{"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"a"}]}}',
    '{"spec":{"containers":[{"name":"a"}]}}' },
  { "v1/Pod", '{"spec":{}}', '{"spec":{"$setElementOrder/containers":[{"name":"b"}],"containers":[{"name":"a"}]}}',
    nil, "The order in patch list:\n[map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n" },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a"}]}}', '{"spec":{"$setElementOrder/containers":{"a":1}}}', nil,
    "expected a []interface {}, but received a map[string]interface {}" },
  { "v1/Pod", '{"spec":{"containers":[{"name":"a"}]}}', '{"spec":{"$setElementOrder":[{"name":"a"}]}}', nil,
    "invalid patch format of setElementOrder list" },
  -- $retainKeys
  { "v1/Pod", '{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}}',
    '{"spec":{"volumes":[{"name":"v","$retainKeys":["name","configMap"],"configMap":{"name":"x"}}]}}',
    '{"spec":{"volumes":[{"configMap":{"name":"x"},"name":"v"}]}}' },
  { "apps/v1/Deployment", '{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}}',
    '{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}', '{"spec":{"strategy":{"type":"Recreate"}}}' },
  { "apps/v1/Deployment", '{"spec":{"strategy":{"type":"Recreate"}}}',
    '{"spec":{"strategy":{"$retainKeys":["type"],"rollingUpdate":{"maxSurge":1}}}}', nil,
    "invalid patch format of retainKeys" },
  { "apps/v1/Deployment", '{"spec":{"strategy":{"type":"Recreate"}}}',
    '{"spec":{"strategy":{"$retainKeys":"type"}}}', nil, "invalid patch format of retainKeys" },
  -- kinds
  { "rbac.authorization.k8s.io/v1/ClusterRole", '{"rules":[{"verbs":["get"]}]}', '{"rules":[{"verbs":["list"]}]}',
    '{"rules":[{"verbs":["list"]}]}' },
  { "v1/Service", '{"spec":{"ports":[{"port":80,"name":"a"}]}}', '{"spec":{"ports":[{"port":80,"targetPort":8080}]}}',
    '{"spec":{"ports":[{"name":"a","port":80,"targetPort":8080}]}}' },
  { "kubeflow.org/v1/Profile", "{}", "{}", nil,
    "no strategic merge patch for kubeflow.org/v1/Profile: it is no built-in kind" },
  { "v1/Pod", "[]", "{}", nil, "invalid JSON document" },
}

test("strategic merge patches are applied as the API server does", function()
  for _, case in ipairs(CASES) do
    local doc, patch = json.decode(case[2]), json.decode(case[3])
    local result, err = kube.patch.try.strategic(doc, patch, case[1])
    if case[4] then
      test.equal(err and err.message, nil)
      test.equal(text(result), case[4])
    else
      test.equal(err and err.message, case[5])
      test.equal(err.code, "Patch")
    end
    test.equal(text(doc), text(json.decode(case[2])))
    test.equal(text(patch), text(json.decode(case[3])))
  end
end)

test("an error of a strategic patch says where", function()
  local err = test.raises("Patch", function()
    kube.patch.strategic({ spec = { containers = { { name = "a" } } } },
      { spec = { containers = { { image = "b" } } } }, "v1/Pod")
  end)
  test.equal(err.path, "$.spec.containers")
end)

test("the schema knows kinds, fields and how lists are kept", function()
  test.same({ schema.kind "apps/v1/Deployment" }, { "apps.v1.Deployment", "namespace" })
  test.same({ schema.kind "v1/Namespace" }, { "core.v1.Namespace", "cluster" })
  test.equal(schema.kind "v1/Nothing", nil)
  local container = schema.type "core.v1.Container"
  test.same(container.fields.ports, { type = "list", of = { type = "struct", name = "core.v1.ContainerPort" },
    list = "map", keys = { "containerPort", "protocol" }, merge_key = "containerPort", patch_strategy = "merge" })
  test.same(container.fields.name, { type = "string", required = true, written = true })
  test.equal(schema.type("apps.v1.DeploymentSpec").fields.strategy.written, true)
  test.equal(schema.type("core.v1.Container").fields.securityContext.written, nil)
  test.equal(schema.type("core.v1.ContainerPort").fields.protocol.default, '"TCP"')
  test.equal(schema.type("core.v1.ResourceRequirements").fields.limits.of.type, "quantity")
  test.equal(schema.type("core.v1.ServicePort").fields.targetPort.type, "int_or_string")
  test.equal(schema.type("coordination.v1.LeaseSpec").fields.renewTime.type, "micro_time")
  test.equal(schema.type("core.v1.Secret").fields.data.of.type, "bytes")
  test.equal(schema.type("meta.v1.LabelSelector").atomic, true)
  test.equal(schema.type("meta.v1.ObjectMeta").fields.finalizers.list, "set")
  test.equal(schema.type("core.v1.PodSpec").fields.tolerations.list, "atomic")
  test.equal(schema.type "core.v1.Nothing", nil)
end)

test("a long list is put in the order that is asked for, in no more time than that takes", function()
  local count, there, order = 1500, {}, {}
  for i = 1, count do
    there[i] = { name = "c" .. i }
    order[i] = { name = "c" .. count + 1 - i }
  end
  local merged = require "kube".patch.strategic({ spec = { containers = there } },
    { spec = { ["$setElementOrder/containers"] = order, containers = order } }, "v1/Pod")
  for i = 1, count do test.equal(merged.spec.containers[i].name, order[i].name) end
end)

test("every type that a field names is there", function()
  local function check(field)
    if field.name then test.equal(schema.type(field.name).name, field.name) end
    if field.of then check(field.of) end
  end
  local queue, seen = {}, {}
  for _, kind in ipairs(schema.kinds()) do queue[#queue + 1] = schema.kind(kind) end
  test.equal(#queue > 100, true)
  while #queue > 0 do
    local name = table.remove(queue)
    local described = not seen[name] and schema.type(name)
    seen[name] = true
    for _, field in pairs(described and described.fields or {}) do
      check(field)
      local inner = field
      while inner.of do inner = inner.of end
      if inner.name and not seen[inner.name] then queue[#queue + 1] = inner.name end
    end
  end
end)
