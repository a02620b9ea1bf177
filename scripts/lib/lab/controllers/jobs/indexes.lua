-- lab.controllers.jobs.indexes: the numbers of an Indexed job's pods, alone and as texts such as "0-2,5".
-- Not for pods.
--   indexes.text(indexes.read("0-2,5", 6)) -> "0-2,5"

local M = {}

M.NAME = "batch.kubernetes.io/job-completion-index"

---@param pod table
---@return integer? index nil when the pod has none
function M.of(pod)
  local index = math.tointeger(tonumber((pod.metadata.annotations or {})[M.NAME] or ""))
  return index and index >= 0 and index or nil
end

---@return boolean
function M.indexed(job) return job.spec.completionMode == "Indexed" end

---Whether a pod may count for a job: in an Indexed one, pods without an index below `completions` do not.
---@return boolean
function M.valid(job, pod)
  if not M.indexed(job) then return true end
  local index = M.of(pod)
  return index ~= nil and index < job.spec.completions
end

---@param text string?
---@param completions integer those from it on are left out
---@return table<integer, boolean> set
function M.read(text, completions)
  local set = {}
  for part in (text or ""):gmatch "[^,]+" do
    local first, last = part:match "^(%d+)%-(%d+)$"
    first = math.tointeger(tonumber(first or part))
    last = last and math.tointeger(tonumber(last)) or first
    for index = first or 0, math.min(last or -1, completions - 1) do set[index] = true end
  end
  return set
end

---@param set table<integer, boolean>
---@return integer
function M.count(set)
  local count = 0
  for _ in pairs(set) do count = count + 1 end
  return count
end

---@param set table<integer, boolean>
---@return string
function M.text(set)
  local list, texts = {}, {}
  for index in pairs(set) do list[#list + 1] = index end
  table.sort(list)
  local at = 1
  while at <= #list do
    local last = at
    while list[last + 1] == list[last] + 1 do last = last + 1 end
    texts[#texts + 1] = last == at and tostring(list[at])
      or last == at + 1 and ("%d,%d"):format(list[at], list[last]) or ("%d-%d"):format(list[at], list[last])
    at = last + 1
  end
  return table.concat(texts, ",")
end

---The first indexes below `completions` that are in none of the sets.
---@param count integer how many at most
---@param completions integer
---@param taken table<integer, boolean>[]
---@return integer[]
function M.pending(count, completions, taken)
  local list = {}
  for index = 0, completions - 1 do
    if #list >= count then break end
    local free = true
    for _, set in ipairs(taken) do free = free and not set[index] end
    if free then list[#list + 1] = index end
  end
  return list
end

return M
