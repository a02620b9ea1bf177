-- lab.kfp.multipart: the parts of a multipart/form-data body.
-- Not for streaming: the body is there.
--   local part = multipart.part(body, content_type, "uploadfile")   part.filename, part.content

local M = {}

---@param body string
---@param content_type string
---@param name string of the field
---@return {filename: string, content: string}? part nil when there is none, or the body is no form
function M.part(body, content_type, name)
  local boundary = content_type:match 'boundary="([^"]+)"' or content_type:match "boundary=([^;%s]+)"
  if not content_type:find "^multipart/form%-data" or not boundary then return nil end
  local mark = "--" .. boundary
  local at = 1
  while true do
    local first, last = body:find(mark, at, true)
    if not first or body:sub(last + 1, last + 2) == "--" then return nil end
    local head_end, content_start = body:find("\r\n\r\n", last, true)
    local stop = body:find("\r\n" .. mark, last, true)
    if not head_end or not stop then return nil end
    local head = body:sub(last + 1, head_end)
    if head:match '[ ;]name="([^"]*)"' == name then
      return { filename = head:match 'filename="([^"]*)"' or "", content = body:sub(content_start + 1, stop - 1) }
    end
    at = stop
  end
end

return M
