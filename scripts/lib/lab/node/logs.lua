-- lab.node.logs: what containers have printed, as the API offers it.
-- Not for commands and other streams (lab.node.streams).
--   logs.read(nodes, ctx, pod, container) -> response

local clock = require "lab.clock"
local fs = require "fs"
local lists = require "lab.lists"
local route = require "lab.route"
local status = require "lab.status"

local M = {}

local function lines_of(text)
  local list = {}
  for line in text:gmatch "[^\n]*\n?" do
    if line ~= "" then list[#list + 1] = line end
  end
  return list
end

local function show(line, options)
  local time, text = line:match "^(%S+) (.*)$"
  if options.since and (clock.parse(time) or 0) < options.since then return nil end
  return options.timestamps and line or text
end

local function read_options(ctx)
  local since = lists.integer(ctx, "sinceSeconds")
  local since_time = lists.first(ctx, "sinceTime")
  return {
    timestamps = route.is_on(ctx.query, "timestamps"), tail = lists.integer(ctx, "tailLines"),
    limit = lists.integer(ctx, "limitBytes"), follow = route.is_on(ctx.query, "follow"),
    since = since and ctx.cluster:now() - since or since_time ~= "" and clock.parse(since_time) or nil,
  }
end

local HEADERS = { ["Content-Type"] = "text/plain", ["Cache-Control"] = "no-cache, private" }

local function select_text(text, options)
  local shown = {}
  for _, line in ipairs(lines_of(text)) do
    local part = show(line, options)
    if part then shown[#shown + 1] = part end
  end
  local first = options.tail and math.max(1, #shown - options.tail + 1) or 1
  local out = table.concat(shown, "", first)
  return options.limit and out:sub(1, options.limit) or out
end

local function follow(ctx, process, options, from)
  return function(writer)
    local at = from
    while true do
      local wake = ctx.cluster.log_written
      local text = fs.exists(process.log) and fs.read(process.log) or ""
      local last = #text - #(text:match "[^\n]*$")
      if last > at then
        local part = select_text(text:sub(at + 1, last), { timestamps = options.timestamps })
        at = last
        writer:write(part)
      elseif process.finished or ctx.cluster.closing then
        return
      else
        wake:clear()
        wake:wait(0.2)
      end
    end
  end
end

---@param nodes lab.Nodes
---@param ctx lab.Context
---@param pod table
---@param name string of the container
---@return table response
function M.read(nodes, ctx, pod, name)
  local worker = nodes.workers[pod.metadata.uid]
  local c = worker and require("lab.node.streams").container(worker, name)
  local previous = route.is_on(ctx.query, "previous")
  local process = c and (previous and c.previous or not previous and (c.process or c.last)) or nil
  if not process then
    if previous then
      status.bad_request('previous terminated container "%s" in pod "%s" not found', name, pod.metadata.name)
    end
    local why = c and c.waiting or "ContainerCreating"
    status.bad_request('container "%s" in pod "%s" is waiting to start: %s', name, pod.metadata.name,
      why:find "Image" and "trying and failing to pull image" or why)
  end
  local options = read_options(ctx)
  local text = fs.exists(process.log) and fs.read(process.log) or ""
  local whole = text:sub(1, #text - #(text:match "[^\n]*$"))
  local first = select_text(whole, options)
  if not options.follow then return { status = 200, headers = HEADERS, body = first } end
  local more = follow(ctx, process, options, #whole)
  return { status = 200, headers = HEADERS, stream = function(writer)
    if first ~= "" then writer:write(first) end
    more(writer)
  end }
end

return M
