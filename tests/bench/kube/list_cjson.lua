-- The same list through Debian's lua-cjson: kfhost list_cjson.lua URL
local text = require "http".request { url = arg[1] .. "/api/v1/pods" }.body
print(#require "cjson".decode(text).items)
