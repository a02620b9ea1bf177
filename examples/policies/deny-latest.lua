-- Refuses images without a version: what runs today should run tomorrow.
local policy = require "policy"

policy.validate {
  name = "deny-latest",
  match = { { resource = "pods", operations = { "CREATE" } },
    { resource = "pods/ephemeralcontainers", operations = { "UPDATE" } } },
  check = function(req)
    for _, list in ipairs { "initContainers", "containers", "ephemeralContainers" } do
      for _, container in ipairs(req.object.spec[list] or {}) do
        local name = (container.image or ""):match "[^/]*$"
        if not name:find "[:@]" or name:find ":latest$" then
          return req:deny("container %s: name a version of %s", container.name, container.image)
        end
      end
    end
  end,
}

local function pod(image)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "p" },
    spec = { containers = { { name = "main", image = image } } } }
end

policy.test { name = "a version is fine", object = pod "python:3.12", expect = { allowed = true } }
policy.test { name = "a digest is fine", object = pod "site:5000/python@sha256:00", expect = { allowed = true } }
policy.test { name = "latest is not", object = pod "python:latest", expect = { allowed = false, message = "version" } }
policy.test { name = "nor for a look into a pod", resource = "pods/ephemeralcontainers", old = pod "python:3.12",
  object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" }, spec = { containers = {},
    ephemeralContainers = { { name = "look", image = "busybox" } } } }, expect = { allowed = false } }
policy.test { name = "nor is nothing", object = pod "site:5000/python", expect = { allowed = false } }
