-- vsphere.words: what there is to say of a claim: who uses it, where its disk is, what becomes of it with its node.
-- Not for decisions (vsphere.placement).
--   for _, line in ipairs(words.explain(claim, view)) do print(line) end

local claims = require "vsphere.claims"
local nodes = require "vsphere.nodes"
local placement = require "vsphere.placement"

local M = {}

-- Where no node is known at all, nothing is said against one.
local function trouble_of(name, view)
  local trouble = next(view.nodes) and nodes.trouble(view.nodes[name])
  return trouble and ", which " .. trouble or ""
end

local function attachment_of(claim, view)
  for _, attachment in ipairs(view.attachments) do
    local volume = attachment.spec.source.persistentVolumeName
    if volume and volume == claim.spec.volumeName then return attachment end
  end
  return nil
end

-- Whether the disk of a claim is where a pod of it is to start.
local function has_arrived(claim, node, view)
  if not claims.is_disk(claim, view.config) then return true end
  local attachment = attachment_of(claim, view)
  return attachment ~= nil and attachment.spec.nodeName == node and not attachment.metadata.deletionTimestamp
    and attachment.status ~= nil and attachment.status.attached == true
end

local function say_user(pod, claim, view)
  local name, node = pod.metadata.name, pod.spec.nodeName
  if placement.is_finished(pod) then return ("%s has ended, and holds nothing"):format(name) end
  if placement.is_gated(pod) then
    local verdict = placement.decide(pod, view)
    return ("%s waits at the gate: %s"):format(name, verdict.lift and "it is about to go" or verdict.message)
  end
  if not node then return ("%s waits for the scheduler"):format(name) end
  local waits = pod.status and pod.status.phase == "Pending" and not has_arrived(claim, node, view)
  return (waits and "%s waits for the disk on %s%s" or "%s runs on %s%s"):format(name, node, trouble_of(node, view))
end

local function say_disk(claim, view)
  if (claim.spec.volumeName or "") == "" then return "disk: none yet, it is made when the claim binds" end
  local attachment = attachment_of(claim, view)
  if not attachment then return ("disk: %s, attached to no node"):format(claim.spec.volumeName) end
  local node, status = attachment.spec.nodeName, attachment.status or {}
  local where = attachment.metadata.deletionTimestamp and "being detached from"
    or status.attached and "attached to" or "on its way to"
  local problem = status.detachError or status.attachError
  return ("disk: %s, %s %s%s%s"):format(claim.spec.volumeName, where, node, trouble_of(node, view),
    problem and ": " .. tostring(problem.message) or "")
end

---What there is to say of a claim: who uses it, where the disk is, and what becomes of it when a node goes.
---@param claim table
---@param view table
---@return string[] lines
function M.explain(claim, view)
  local metadata, lines = claim.metadata, {}
  local asked = claims.annotations(claim)[claims.ORIGINAL_MODES]
  lines[1] = ("modes: %s%s%s"):format(table.concat(claim.spec.accessModes or {}, ","),
    asked and (" (asked for: %s)"):format(asked) or "",
    claims.is_single(claim, view.config) and ", shared " .. placement.sharing(claim, view.config) or "")
  lines[2] = say_disk(claim, view)
  local users, on_node = {}, nil
  for _, pod in ipairs(view.pods) do
    if placement.uses(pod, metadata.name) then
      users[#users + 1] = "pod " .. say_user(pod, claim, view)
      if pod.spec.nodeName and not placement.is_finished(pod) then on_node = pod.spec.nodeName end
    end
  end
  table.sort(users)
  if #users == 0 then users[1] = "pods: none uses it" end
  table.move(users, 1, #users, #lines + 1, lines)
  if not claims.is_disk(claim, view.config) then return lines end
  if not on_node then
    lines[#lines + 1] = "drain, upgrade: nothing to move; the next pod takes the disk to its node"
    return lines
  end
  lines[#lines + 1] = ("drain of %s (an upgrade drains each node in turn): its pods end, the disk is detached, the "
    .. "next pods start elsewhere together; a Job's pod that is evicted starts again"):format(on_node)
  lines[#lines + 1] = ("loss of %s: its pods stay until they are deleted, and the disk is detached by force 6 minutes "
    .. "after that (8 to 10 in all); the taint node.kubernetes.io/out-of-service, once the machine is surely off, "
    .. "makes it at once"):format(on_node)
  return lines
end

return M
