-- Every option of a step, however it is said: on its cell, in the notebook's defaults of either era, by a default that
-- the cell overrides. Its fields beside the SDK's: tests/sdk/options_test.py.
local ir = require "kale.ir"
local json = require "json"
local notebook = require "kale.notebook"
local plan = require "kale.plan"
local test = require "test"

-- A tag, the same option with another value, and a text that stands in the pipeline for the first.
local OPTIONS = {
  { "image:site/a:1", "image:site/b:1", "site/a:1" }, { "cache:disabled", "cache:enabled" },
  { "report:disabled", "report:enabled" }, { "limit:cpu:2", "limit:cpu:3", 'resourceCpuLimit: "2"' },
  { "limit:memory:4Gi", "limit:memory:5Gi", "resourceMemoryLimit: 4Gi" },
  { "limit:nvidia.com/gpu:1", "limit:nvidia.com/gpu:2", 'resourceCount: "1"' },
  { "limit:amd.com/gpu:1", "limit:amd.com/gpu:2", "amd.com/gpu" },
  { "request:cpu:500m", "request:cpu:600m", "resourceCpuRequest: 500m" },
  { "request:memory:1Gi", "request:memory:2Gi", "resourceMemoryRequest: 1Gi" },
  { "retry:3", "retry:4", "maxRetryCount: 3" }, { "retry:3:10s:2", "retry:3:20s:2", "backoffDuration: 10s" },
  { "timeout:90s", "timeout:80s", "activeDeadlineSeconds: 90" },
  { "packages:polars==1.0,requests", "packages:polars==1.1,requests", "polars==1.0 requests" },
  { "volume:claim-a:/data", "volume:claim-b:/data", "claim-a" }, { "node:disk:ssd", "node:disk:hdd", "disk: ssd" },
  { "env:MODE:fast", "env:MODE:slow", "value: fast" }, { "secret:db:password:DB", "secret:db:user:DB", "password" },
  { "label:team:x", "label:team:y", "team: x" },
  { "annotation:site.org/note:x", "annotation:site.org/note:y", "site.org/note: x" },
}

-- The pipeline and platform documents of a notebook of one step with these tags and metadata.
local function documents(tags, metadata)
  local list = json.array { "step:a" }
  for i, tag in ipairs(tags) do list[i + 1] = tag end
  metadata = metadata or {}
  metadata.pipeline_name = "options"
  local made = plan.make(notebook.parse(json.encode {
    nbformat = 4, metadata = { kubeflow_notebook = metadata },
    cells = json.array { { cell_type = "code", metadata = { tags = list }, source = "x = 1" } },
  }, "a.ipynb"))
  for _, d in ipairs(made.diagnostics) do
    if d.code ~= "default-wrong" then error(("%s: %s"):format(table.concat(tags, " "), d.message), 0) end
  end
  return ir.encode(ir.build(made)), made
end

test("each option of a cell's tag stands in the pipeline, and its value with it", function()
  local plain = documents {}
  for _, option in ipairs(OPTIONS) do
    local one, other = documents { option[1] }, documents { option[2] }
    assert(one ~= other, option[1])
    assert(one ~= plain or other ~= plain, option[1])
    assert(not option[3] or one:find(option[3], 1, true), option[1] .. " is not in\n" .. one)
  end
end)

test("an option among the notebook's defaults is that of every step, unless a step has its own", function()
  for _, option in ipairs(OPTIONS) do
    local own = documents { option[1] }
    test.equal((documents({}, { steps_defaults = json.array { option[1] } })), own)
    test.equal((documents({ option[1] }, { steps_defaults = json.array { option[2] } })), own)
  end
end)

test("options of both stand beside each other", function()
  local tags = { "label:a:1", "env:A:1", "secret:s:k:A_KEY", "volume:one:/one", "annotation:a/b:1", "node:a:1",
    "limit:cpu:1", "request:cpu:1" }
  local defaults = { "label:b:2", "env:B:2", "secret:s:k:B_KEY", "volume:two:/two", "annotation:a/c:2", "node:b:2",
    "limit:memory:1Gi", "request:memory:1Gi" }
  local all = table.move(defaults, 1, #defaults, #tags + 1, { table.unpack(tags) })
  test.equal((documents(tags, { steps_defaults = json.array(defaults) })), (documents(all)))
end)

test("what both eras of the notebook's metadata say of steps stands in the pipeline", function()
  local plain = documents {}
  for _, metadata in ipairs {
    { docker_image = "site/old:1" }, { base_image = "site/old:1" }, { enable_caching = false }, { timeout = 90 },
    { abs_working_dir = "/home/jovyan" }, { security_context = { enabled = true } },
    { volumes = json.array { { name = "v", type = "pvc", mount_point = "/v" } } },
    { volumes = json.array { { name = "v", type = "new_pvc", mount_point = "/v", size = 5, size_type = "Gi" } } },
    { volumes = json.array { { name = "v", type = "pv", mount_point = "/v", size = "5Gi" } } },
    { volumes = json.array { { name = "v", type = "pvc", mount_point = "/v", expose_as_env_var = true } } },
    { pipeline_description = "what it is for" },
  } do
    local key = next(metadata) == "pipeline_name" and next(metadata, "pipeline_name") or next(metadata)
    assert(documents({}, metadata) ~= plain, key)
  end
  test.equal((documents({}, { docker_image = "site/old:1" })), (documents({}, { base_image = "site/old:1" })))
  test.equal((documents({}, { docker_image = "site/old:1" })), (documents { "image:site/old:1" }))
end)

test("storage classes and access modes of the notebook are those of the volumes that it makes", function()
  local volume = { name = "v", type = "new_pvc", mount_point = "/v", size = 5, size_type = "Gi" }
  local metadata = { volumes = json.array { volume }, storage_class_name = "fast", volume_access_mode = "rwo" }
  local text = documents({}, metadata)
  for _, part in ipairs { "fast", "ReadWriteOnce", "5Gi" } do assert(text:find(part, 1, true), part) end
  volume.storage_class_name, volume.volume_access_mode = "slow", "rwm"
  text = documents({}, metadata)
  for _, part in ipairs { "slow", "ReadWriteMany" } do assert(text:find(part, 1, true), part) end
  assert(not text:find("fast", 1, true))
end)
