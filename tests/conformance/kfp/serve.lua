-- Serves the lab's KFP API for the judge: kfhost serve.lua FOLDER. The port is the first line that it prints.
local root = ...
local pipelines = require "lab.kfp.serve".start { root = root, images = { ["alpine:*"] = { command = {} } } }
print(pipelines.port)
io.stdout:flush()
pipelines.server:wait()
