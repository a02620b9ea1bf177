-- lab.demo.older: the trial of an older Kale: a job whose program starts a run and asks every so often how it goes.
-- Its first question that fails is its last. Not Kale's code: a few lines of ours that do what that program did.
--   older.prepare(on, "team-a"); experiment.create(on, "team-a", older.container(uploaded, { pause = 1 }), older.MORE)

local fs = require "fs"

local M = {}

local PROGRAM <const> = [[
import json, os, sys, time, urllib.error, urllib.request

URL = "http://ml-pipeline.kubeflow.svc.cluster.local:8888/apis/v2beta1/"

def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=10))

def say(text):
    with open(os.environ.get("KFHOST_ROOT", "") + "/dev/termination-log", "w") as log:
        log.write(text)

def create_and_wait_kfp_run(pipeline_id, version_id, run_name, experiment_name, **parameters):
    try:
        values = {name: float(value) for name, value in parameters.items()}
        run = ask("runs", {"display_name": run_name, "runtime_config": {"parameters": values},
                           "pipeline_version_reference": {"pipeline_id": pipeline_id,
                                                          "pipeline_version_id": version_id}})
        while run.get("state") not in ("SUCCEEDED", "FAILED"):
            time.sleep(float(os.environ["PAUSE"]))
            run = ask("runs/" + run["run_id"])
    except OSError as problem:
        say("the older program ends: %s" % problem)
        sys.exit(1)
    say("the run has ended: %s" % run["state"])
    print("accuracy=0.9")
]]

-- A pipeline whose one step takes some seconds.
local NOTEBOOK <const> = [[
# %%%% [pipeline-parameters]
lr = 0.1

# %%%% [step:train]
import time
time.sleep(%g)
accuracy = 1.0 - lr

# %%%% [pipeline-metrics]
print(accuracy)
]]

-- What a trial's pod needs to have the older program.
M.MORE = {
  serviceAccountName = "default-editor",
  volumes = { { name = "program", configMap = { name = "older-kale", items = {
    { key = "kfputils.py", path = "kale/common/kfputils.py" } } } } },
}

---Puts the program into the namespace and a pipeline into Pipelines.
---@param on lab.Stage
---@param namespace string
---@param seconds number that the pipeline's step takes
---@return {pipeline_id: string, version_id: string}
function M.prepare(on, namespace, seconds)
  on.client:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "older-kale", namespace = namespace },
    data = { ["kfputils.py"] = PROGRAM } }
  local folder <close> = require "kfhost.folder".new "kfhost-demo"
  local path = fs.join(folder.path, "train.py")
  fs.write(path, NOTEBOOK:format(seconds))
  local k = require("kfp").connect { endpoint = on.kubeflow.pipelines.url }
  local uploaded = k:upload(require("kale.submit").compile(path).text, { name = "train" })
  return uploaded
end

---The container of the trial, as an older Kale wrote it.
---@param uploaded {pipeline_id: string, version_id: string}
---@param pause number seconds between two questions (30 in the older program)
---@return table
function M.container(uploaded, pause)
  local call = ("create_and_wait_kfp_run(pipeline_id='%s', version_id='%s', run_name='trial', "
    .. "experiment_name='Default', lr='${trialParameters.lr}')"):format(uploaded.pipeline_id, uploaded.version_id)
  return { image = "python:3", command = { "sh", "-c" }, args = { "PYTHONPATH=${KFHOST_ROOT:-}/opt python3 -u -c \""
    .. "from kale.common.kfputils import create_and_wait_kfp_run; " .. call .. '"' },
    env = { { name = "PAUSE", value = tostring(pause) } },
    volumeMounts = { { name = "program", mountPath = "/opt" } } }
end

return M
