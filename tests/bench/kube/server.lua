-- A server with many pods, for the bench of the client: lists (whole or in pages), tables, one watch with events.
-- Not an API server: it knows pods and nothing else.
--   kfhost tests/bench/kube/server.lua PODS with|without EVENTS   prints its port
local json = require "json"
local server = require "server"
local task = require "task"

local count, managed, event_count = math.tointeger(arg[1]), arg[2] == "with", math.tointeger(arg[3] or 0)

-- --- pods of 4.5 kB -----------------------------------------------------------------------------------------

local LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
local state = 20260611

local function random(limit)
  state = state * 6364136223846793005 + 1442695040888963407
  return (state >> 33) % limit + 1
end

local function word(length)
  local letters = {}
  for i = 1, length do
    local at = random(#LETTERS)
    letters[i] = LETTERS:sub(at, at)
  end
  return table.concat(letters)
end

local function environment(variables)
  local list = {}
  for i = 1, variables do list[i] = { name = "PIPELINE_SETTING_" .. i, value = word(30) } end
  return list
end

local function container(name, variables)
  return {
    name = name, image = "registry.example/team/trainer:" .. word(12), imagePullPolicy = "IfNotPresent",
    command = { "python", "/pipelines/component/src/main.py", "--run", word(16) }, env = environment(variables),
    resources = { limits = { cpu = "2", memory = "4Gi" }, requests = { cpu = "500m", memory = "1Gi" } },
    terminationMessagePath = "/dev/termination-log", terminationMessagePolicy = "File",
    volumeMounts = { { name = "kube-api-access-" .. word(5), readOnly = true,
      mountPath = "/var/run/secrets/kubernetes.io/serviceaccount" } },
  }
end

local function managed_fields()
  local fields = {}
  for i = 1, 24 do
    fields["f:" .. word(12)] = { ["k:{\"name\":\"PIPELINE_SETTING_" .. i .. "\"}"] = { ["."] = {}, ["f:value"] = {} } }
  end
  return { { manager = "kube-controller-manager", operation = "Update", apiVersion = "v1", fieldsType = "FieldsV1",
    time = "2026-06-11T10:00:00Z", fieldsV1 = { ["f:spec"] = fields } } }
end

local function pod(index, version)
  return {
    metadata = {
      name = ("trial-%s-%d"):format(word(8), index), namespace = "team-" .. index % 40, uid = ("%s-%s-%s-%s-%s"):format(
        word(8), word(4), word(4), word(4), word(12)), resourceVersion = tostring(version),
      creationTimestamp = "2026-06-11T10:00:00Z",
      labels = { ["katib.kubeflow.org/experiment"] = "tune-" .. index % 300, ["pipeline/runid"] = word(36),
        ["job-name"] = "trial-" .. word(8), ["pod-template-generation"] = "1" },
      ownerReferences = { { apiVersion = "batch/v1", kind = "Job", name = "trial-" .. word(8), uid = word(36),
        controller = true, blockOwnerDeletion = true } },
      managedFields = managed and managed_fields() or nil,
    },
    spec = {
      containers = { container("main", managed and 5 or 23), container("wait", managed and 2 or 10) },
      restartPolicy = "Never", terminationGracePeriodSeconds = 30, dnsPolicy = "ClusterFirst",
      serviceAccountName = "default-editor", nodeName = "node-" .. index % 90, schedulerName = "default-scheduler",
      tolerations = { { key = "node.kubernetes.io/not-ready", operator = "Exists", effect = "NoExecute",
        tolerationSeconds = 300 } },
    },
    status = {
      phase = "Running", podIP = ("10.%d.%d.%d"):format(random(250), random(250), random(250)),
      startTime = "2026-06-11T10:00:02Z", qosClass = "Burstable",
      conditions = { { type = "Ready", status = "True", lastProbeTime = json.null,
        lastTransitionTime = "2026-06-11T10:00:05Z" }, { type = "PodScheduled", status = "True",
        lastProbeTime = json.null, lastTransitionTime = "2026-06-11T10:00:02Z" } },
    },
  }
end

local items, rows, total = {}, {}, 0
for index = 1, count do
  local object = pod(index, 1000 + index)
  items[index] = json.encode(object, { sort = true })
  total = total + #items[index]
  rows[index] = json.encode {
    cells = { object.metadata.name, "2/2", "Running", 0, "12d", object.status.podIP, object.spec.nodeName, "<none>",
      "<none>" }, object = json.null,
  }
end

local function columns()
  local list = {}
  for index, name in ipairs { "Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node",
    "Readiness Gates" } do
    list[index] = { name = name, type = name == "Restarts" and "integer" or "string", format = "", description = name,
      priority = index > 5 and 1 or 0 }
  end
  return json.encode(list)
end

-- --- answers --------------------------------------------------------------------------------------------------

local JSON = { ["Content-Type"] = "application/json" }
local VERSION = tostring(1000 + count)

local function list(first, last)
  local token = last < count and (',"continue":"%d","remainingItemCount":%d'):format(last + 1, count - last) or ""
  return ('{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"%s"%s},"items":['):format(VERSION, token)
    .. table.concat(items, ",", first, last) .. "]}\n"
end

local whole = list(1, count)
local printed = ('{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"%s"},'):format(VERSION)
  .. '"columnDefinitions":' .. columns() .. ',"rows":[' .. table.concat(rows, ",") .. "]}\n"

-- Changes of pods, one after the other, as fast as they are taken.
local function events(w)
  local lines = {}
  for number = 1, event_count do
    local index = (number - 1) % count + 1
    local text = items[index]:gsub('"resourceVersion":"%d+"', ('"resourceVersion":"%d"'):format(1000 + count + number))
    lines[#lines + 1] = '{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1",' .. text:sub(2) .. "}\n"
    if #lines == 50 then
      w:write(table.concat(lines))
      lines = {}
    end
  end
  w:write(table.concat(lines))
  task.sleep(3600)
end

local DISCOVERY = {
  ["/api"] = '{"kind":"APIVersions","versions":["v1"]}',
  ["/apis"] = '{"kind":"APIGroupList","apiVersion":"v1","groups":[]}',
  ["/api/v1"] = [[{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","singularName":"pod",
    "namespaced":true,"kind":"Pod","verbs":["get","list","watch"],"shortNames":["po"]}]}]],
  ["/version"] = '{"major":"1","minor":"37","gitVersion":"v1.37.2"}',
}

-- client-go asks for a list as a stream first, and then for pages.
local NO_STREAMED_LIST = '{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,'
  .. '"message":"sendInitialEvents is forbidden"}'

local function answer(request)
  if DISCOVERY[request.path] then return { headers = JSON, body = DISCOVERY[request.path] } end
  if request.path ~= "/api/v1/pods" then return { status = 404, body = "404 page not found\n" } end
  local query = request.query or ""
  if query:find "sendInitialEvents" then return { status = 422, headers = JSON, body = NO_STREAMED_LIST } end
  if query:find "watch=" then return { headers = JSON, stream = events } end
  if (request.headers.accept or ""):find "as=Table" then return { headers = JSON, body = printed } end
  local limit = math.tointeger(query:match "limit=(%d+)")
  if not limit then return { headers = JSON, body = whole } end
  local first = math.tointeger(query:match "continue=(%d+)") or 1
  return { headers = JSON, body = list(first, math.min(count, first + limit - 1)) }
end

local s = server.listen { handler = answer }
print(s.port, #whole, total // count)
io.stdout:flush()
s:wait()
