-- lab.kfp.packages: the pipeline in an uploaded file: YAML, JSON, or an archive that holds one.
-- Not for judging it.
--   local text = packages.read("pipeline.yaml", content)   nil when there is none

local proc = require "proc"

local M = {}

local MOST = 32 * 1024 * 1024

-- Python's standard library opens archives; it is there wherever steps run.
local OPEN = [[
import io, sys, tarfile, zipfile
data = sys.stdin.buffer.read()
files = {}
if data[:2] == b"PK":
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
else:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.isfile()}
names = sorted(n for n in files if n.endswith((".yaml", ".yml")))
name = "pipeline.yaml" if "pipeline.yaml" in files else (names[0] if names else None)
if name is None:
    sys.exit(1)
sys.stdout.buffer.write(files[name])
]]

local function unpack_archive(content)
  local ok, result = pcall(proc.run, { "python3", "-c", OPEN, stdin = content, stderr = "null", timeout = "20s" })
  return ok and result.code == 0 and result.stdout or nil
end

---@param filename string
---@param content string
---@return string? text nil when the file holds no pipeline that can be read
function M.read(filename, content)
  if #content > MOST then return nil end
  local extension = filename:lower():match "%.(%w+)$"
  if extension == "yaml" or extension == "yml" or extension == "json" then return content end
  if content:sub(1, 2) == "PK" or content:sub(1, 2) == "\31\139" then return unpack_archive(content) end
  return nil
end

return M
