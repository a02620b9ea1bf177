-- policy.serve.cache: what reviews may look at, on its way from the controller to the workers: a frame for each
-- object, so that a worker takes over only what is another one than before, and as text.
-- Not for what policies see (policy.inside.objects).
--   cache.frame(followed, "team-a", "data", "17", json)     local changes, known = cache.changes(text, known)

local M = {}

local HEAD = "%s\t%s\t%s\t%s\t%s\t%d\n"

---@param resource {plural: string, group: string}
---@param namespace string?
---@param name string
---@param version string its resourceVersion
---@param text string JSON
---@return string frame
function M.frame(resource, namespace, name, version, text)
  return HEAD:format(resource.plural, resource.group, namespace or "", name, version, #text) .. text
end

---What has changed.
---@param text string frames
---@param known table<string, string> versions by object
---@return table[] changes as policy.inside.objects takes them; without `text`: gone
---@return table<string, string> known now
function M.changes(text, known)
  local changes, now, at = {}, {}, 1
  while at <= #text do
    local stop = text:find("\n", at, true)
    local place, version, size = text:sub(at, stop - 1):match "^(.*)\t([^\t]*)\t(%d+)$"
    local last = stop + math.tointeger(size)
    now[place] = version
    if known[place] ~= version then changes[#changes + 1] = { place = place, text = text:sub(stop + 1, last) } end
    at = last + 1
  end
  for place in pairs(known) do
    if not now[place] then changes[#changes + 1] = { place = place } end
  end
  for _, change in ipairs(changes) do
    change.plural, change.group, change.namespace, change.name =
      change.place:match "^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)$"
    if change.namespace == "" then change.namespace = nil end
    change.place = nil
  end
  return changes, now
end

return M
