-- Follows a Job to its end: prints what its pod prints, then how the Job ended; the exit code says the same.
--   kfhost follow-job.lua NAME [NAMESPACE]
local kube = require "kube"
local task = require "task"

local name, namespace = arg[1], arg[2]
if not name then error("usage: kfhost follow-job.lua NAME [NAMESPACE]", 0) end
local c = kube.connect()

-- "Complete" or "Failed", once the Job has ended.
local function ending(job)
  for _, condition in ipairs(job.status and job.status.conditions or {}) do
    local ends = condition.type == "Complete" or condition.type == "Failed"
    if ends and condition.status == "True" then return condition end
  end
end

local function print_logs(pod)
  local lines = c:logs { pod = pod.metadata.name, namespace = pod.metadata.namespace, follow = true }
  for line in lines do print(line) end
end

-- Pods are followed as soon as they run; a Job may have several, one after the other.
local followed = {}
local pods <close> = c:informer {
  kind = "pods", namespace = namespace, labels = "job-name=" .. name, workers = 4,
  handler = function(key, pod)
    if not pod or pod.status.phase == "Pending" or followed[key] then return end
    followed[key] = task.spawn(print_logs, pod)
  end,
}

local job = c:wait { kind = "jobs", name = name, namespace = namespace, test = ending }
pods:sync "30s"
while pods:stats().pending > 0 do task.sleep(0.05) end
for _, reader in pairs(followed) do reader:wait "30s" end

local condition = ending(job)
print(("job %s: %s%s"):format(name, condition.type, condition.message and ": " .. condition.message or ""))
return condition.type == "Complete" and 0 or 1
