-- A seeded list of pods as an API server writes it: the same text for the same seed.
-- Not a model of any cluster; sizes are what counts: strings of 20–30 bytes on average, a third of
-- the bytes in managedFields.
--   local text = require "pod_list".text(20 * 1024 * 1024)
local M = {}

local LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

-- A generator of our own: math.random's sequence belongs to Lua, this one to the bench.
local function generator(seed)
  local state = seed
  return function(limit)
    state = state * 6364136223846793005 + 1442695040888963407
    return (state >> 33) % limit + 1
  end
end

local function word(random, length)
  local letters = {}
  for i = 1, length do
    local at = random(#LETTERS)
    letters[i] = LETTERS:sub(at, at)
  end
  return table.concat(letters)
end

local function environment(random)
  local parts = {}
  for i = 1, 8 + random(6) do
    parts[i] = ('{"name":"PIPELINE_SETTING_%s","value":"%s"}'):format(
      word(random, 8), word(random, 60 + random(100)))
  end
  return table.concat(parts, ",")
end

local function labels(random)
  local parts = {}
  for i = 1, 6 do
    parts[i] = ('"kubeflow.example/%s-%d":"%s"'):format(word(random, 6), i, word(random, 8 + random(30)))
  end
  return table.concat(parts, ",")
end

local function container(random, index)
  return ([[{"name":"container-%d","image":"registry.example/%s@sha256:%s",]] ..
    [["imagePullPolicy":"IfNotPresent","env":[%s],"resources":{"limits":{"cpu":"%dm","memory":"%dMi"},]] ..
    [["requests":{"cpu":"100m","memory":"64Mi"}},"ports":[{"containerPort":%d,"protocol":"TCP"}],]] ..
    [["terminationMessagePath":"/dev/termination-log","volumeMounts":[{"readOnly":true,]] ..
    [["mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","name":"kube-api-access-%s"}],]] ..
    [["livenessProbe":{"httpGet":{"path":"/healthz","port":8080},"periodSeconds":10}}]]):format(
    index, word(random, 20), word(random, 64), environment(random), random(4000), random(8000),
    random(65000), word(random, 5))
end

local function managed_fields(random)
  local managers = {}
  for i = 1, 2 do
    local fields = {}
    for j = 1, 7 + random(5) do
      fields[j] = ([["f:%s":{"f:%s":{},"k:{\"name\":\"%s\"}":{".":{},"f:%s":{}}}]]):format(
        word(random, 24 + j % 7) .. j, word(random, 28), word(random, 26), word(random, 22))
    end
    managers[i] = ([[{"manager":"manager-%s","operation":"Update",]] ..
      [["apiVersion":"v1","time":"2020-06-1%dT10:00:00Z","fieldsType":"FieldsV1","fieldsV1":{%s}}]]):format(
      word(random, 8), i, table.concat(fields, ","))
  end
  return "[" .. table.concat(managers, ",") .. "]"
end

local function pod(random, index)
  local fields = managed_fields(random)
  local text = ([[{"metadata":{"name":"trial-%s-%d","namespace":"team-%d","uid":"%s-%s-%s",]] ..
    [["resourceVersion":"%d","creationTimestamp":"2020-06-11T10:00:00Z","labels":{%s},]] ..
    [["annotations":{"note.example/text":"%s"},]] ..
    [["managedFields":%s},"spec":{"containers":[%s,%s],"restartPolicy":"Never","nodeName":"node-%d",]] ..
    [["terminationGracePeriodSeconds":30,"priority":0,"enableServiceLinks":true,"hostNetwork":false},]] ..
    [["status":{"phase":"Running","podIP":"10.%d.%d.%d",]] ..
    [["startTime":"2020-06-11T10:00:02Z","load":%.3f,"conditions":[{"type":"Ready","status":"True",]] ..
    [["lastProbeTime":null},]] ..
    [[{"type":"PodScheduled","status":"True","lastProbeTime":null}]}}]]):format(
    word(random, 8), index, random(40), word(random, 8), word(random, 12), word(random, 12),
    random(100000000), labels(random), word(random, 40), fields, container(random, 1), container(random, 2),
    random(200),
    random(250), random(250), random(250), random(1000000) / 1000 + 0.001)
  return text, #fields
end

---@param size integer the least number of bytes
---@param seed integer?
---@return string text
---@return {pods: integer, managed: number} # managed: the share of managedFields in the bytes
function M.text(size, seed)
  local random = generator(seed or 1)
  local pods, total, managed = {}, 0, 0
  while total < size do
    local text, fields = pod(random, #pods + 1)
    pods[#pods + 1] = text
    total, managed = total + #text + 1, managed + fields
  end
  local text = '{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":['
    .. table.concat(pods, ",") .. "]}"
  return text, { pods = #pods, managed = managed / #text }
end

return M
