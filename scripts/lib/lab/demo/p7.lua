-- P7: pod security refuses the pods of a profile namespace. Repaired by pod-security.
local stage = require "lab.demo.stage"

local PLACE <const> = "team-a"

local function act(on, repaired)
  on.client:create { apiVersion = "v1", kind = "Namespace", metadata = { name = PLACE, labels = {
    ["app.kubernetes.io/part-of"] = "kubeflow-profile" } } }
  if repaired then
    local labels = on.client:get("namespaces", PLACE).metadata.labels
    on:hears("Namespace %s: pod-security.kubernetes.io/enforce=%s", PLACE,
      labels["pod-security.kubernetes.io/enforce"] or "not set")
  end
  on:creates(stage.job(PLACE, "train", { image = "busybox", command = { "sh", "-c", "echo trained" } }))
  if not repaired then
    on:hears("Job train: %s", on:event(PLACE, "train", "FailedCreate") or "no event came")
    return on:ended(PLACE, "train", 1) == "Complete"
  end
  local ended = on:ended(PLACE, "train")
  on:hears("Job train: %s; its pod printed: %s", ended or "goes on", on:printed(PLACE, "train"))
  return ended == "Complete"
end

return {
  number = "P7", title = "pod security refuses the pods of a profile namespace",
  policies = { "pod-security" }, settings = "pod-security: {enforce: baseline}\n",
  lab = { nodes = 1, time_scale = 0.01, pod_security = "restricted" },
  picture = { { name = "Job", note = "train" }, { name = "pod", note = "no securityContext" },
    { name = "admission", note = "restricted", state = "failed" } },
  why = "Where the cluster's default is restricted (PodSecurityPolicies then, Pod Security admission now), pods that "
    .. "say nothing of themselves are refused, and the job makes none. The policy labels profile namespaces with the "
    .. "level that Kubeflow's pods meet, and never lowers what an administrator has set.",
  act = act,
}
