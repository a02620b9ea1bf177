-- lab.kfp.failure: what the KFP API server answers when it refuses: three shapes, by who refuses.
-- Not for Kubernetes' Status (lab.status).
--   failure.raise(404, 5, "Run x not found", "Failed to fetch run x: ResourceNotFoundError: Run x not found")

local errors = require "errors"
local json = require "json"

local M = {}

local JSON = { ["Content-Type"] = "application/json" }
local TEXT = { ["Content-Type"] = "text/plain; charset=utf-8" }

local HTTP = { [3] = 400, [5] = 404, [6] = 409, [7] = 403, [9] = 400, [10] = 409, [12] = 501, [13] = 500, [16] = 401 }

---Raises what the gateway answers as google.rpc.Status, with the short text for users inside.
---@param code integer of gRPC
---@param short string
---@param long string? the chain of causes; default: the short text
function M.raise(code, short, long)
  errors.raise { code = "KFP", message = short, response = { status = HTTP[code], headers = JSON, body = json.encode {
    code = code, message = long or short,
    details = json.array { { ["@type"] = "type.googleapis.com/google.rpc.Status", code = code, message = short } },
  } } }
end

---What the compiler of pipelines says: its words are for users, though the server takes the fault for its own.
---@param text string
function M.compiler(text)
  local message = "Internal error: " .. text
  errors.raise { code = "KFP", message = message, response = { status = 500, headers = JSON, body = json.encode {
    code = 13, message = message,
    details = json.array { { ["@type"] = "type.googleapis.com/google.rpc.Status", code = 2, message = message } },
  } } }
end

---An error that the server takes for its own, though the user made it.
---@param long string
function M.internal(long)
  M.raise(13, "Internal Server Error", long)
end

---@param long string the chain before the short text ends in it
function M.invalid(before, short)
  M.raise(3, short, before .. ": Invalid input error: " .. short)
end

---@param kind string "Run"
---@param id string
---@param before string? what was being done
function M.missing(kind, id, before)
  local short = ("%s %s not found"):format(kind, id)
  M.raise(5, short, (before and before .. ": " or "") .. "ResourceNotFoundError: " .. short)
end

---What the JSON decoder of the gateway answers: no details.
---@param message string
function M.decoder(message)
  errors.raise { code = "KFP", message = message, response = { status = 400, headers = JSON,
    body = json.encode { code = 3, message = message } } }
end

---What the upload handlers answer.
---@param status integer
---@param message string
---@param as_text boolean? the body is JSON, its type is not
function M.upload(status, message, as_text)
  errors.raise { code = "KFP", message = message, response = { status = status, headers = as_text and TEXT or JSON,
    body = json.encode { error_message = message, error_details = message .. "\n" } } }
end

---@param status integer
---@param text string
function M.plain(status, text)
  errors.raise { code = "KFP", message = text, response = { status = status, headers = TEXT, body = text .. "\n" } }
end

---@param code integer of gRPC
---@param message string
---@return table response without details
function M.bare(code, message)
  return { status = HTTP[code], headers = JSON,
    body = json.encode { code = code, message = message } }
end

return M
