-- Which command stands for a container's image on this machine.
-- Not for pulling or running images.
--   local environment = images.find("python:3.12", { python = "python3" }); print(environment.interpreter)
local errors = require "errors"
local fs = require "fs"
local pip = require "kfp.pip"

local M = {}

local function matches(pattern, image)
  local escaped = pattern:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*")
  return image:find("^" .. escaped .. "$") ~= nil
end

-- Steps run in other folders: a path is made whole; links stay, as a virtual environment needs them.
local function whole(program)
  if program:find("/", 1, true) and program:sub(1, 1) ~= "/" then return fs.join(fs.cwd(), program) end
  return program
end

local function is_python(word) return word:match "([^/]*)$":find "^python[%d.]*$" ~= nil end

---The environment of an image: of the patterns in options.images that match the longest one, else
---options.python for the images python:*.
---@param image string
---@param options {images: table<string, {command: string[]?, env: table<string, string>?}>?, python: string?}
---@return {command: string[], env: table<string, string>, interpreter: string?}? # nil for an unknown image
function M.find(image, options)
  local best
  for pattern in pairs(options.images or {}) do
    if matches(pattern, image) and (not best or #pattern > #best or #pattern == #best and pattern < best) then
      best = pattern
    end
  end
  if best then
    local given = options.images[best]
    local command = table.move(given.command or {}, 1, #(given.command or {}), 1, {})
    if command[1] then command[1] = whole(command[1]) end
    return { command = command, env = given.env or {}, interpreter = #command == 1 and is_python(command[1])
      and command[1] or nil }
  end
  local name = image:gsub("@.*$", ""):match "([^/]+)$" or image
  if name ~= "python" and not name:find "^python:" then return nil end
  local python = whole(options.python or "python3")
  return { command = { python }, env = {}, interpreter = python }
end

---Checks that every container's image is known here.
---@param containers {path: string, image: string}[]
---@param options table as for find
---@return nil # raises "Image" with the line to add
function M.check(containers, options)
  for _, container in ipairs(containers) do
    if not M.find(container.image, options) then
      errors.raise {
        code = "Image", path = container.path,
        message = ("no local command for the image '%s' of %s; add to images: "
          .. "[%q] = { command = { \"python3\" } }, or give --image '%s=python3'"):format(
          container.image, container.path, container.image, container.image),
      }
    end
  end
end

---The words that are started for a container's words, and what is added to the environment.
---@param environment table of find
---@param words string[] command and arguments of the container
---@param root string the run's folder
---@param packages string folder for what the step installs
---@return string[] words
---@return table<string, string> env
function M.start(environment, words, root, packages)
  local env = {}
  for name, value in pairs(environment.env) do env[name] = value end
  local result = table.move(words, 1, #words, 1, {})
  if environment.interpreter then
    if result[1] and is_python(result[1]) then
      result[1] = environment.interpreter
    elseif result[1] then
      local path = env.PATH or os.getenv "PATH" or "/usr/bin:/bin"
      env.PATH = pip.folder(root, environment.interpreter) .. ":" .. path
      pip.environment(env, words, packages)
    else
      result[1] = environment.interpreter
    end
    return result, env
  end
  local prefix = environment.command
  return table.move(words, 1, #words, #prefix + 1, table.move(prefix, 1, #prefix, 1, {})), env
end

return M
