-- Pictures of golden screens, for whoever changes one: look at them before they are committed.
-- Writes NAME.svg for each file, and NAME.png where rsvg-convert (librsvg2-bin) is there.
--   kfhost tests/terminal/picture.lua FOLDER tests/golden/terminal/*.txt

local fs = require "fs"
local proc = require "proc"

local here = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"
local markup = dofile(here .. "markup.lua")

local folder = arg[1] or error("a folder for the pictures is missing", 0)
fs.mkdir(folder, { parents = true })
for index = 2, #arg do
  local svg = fs.join(folder, arg[index]:match "([^/]+)%.txt$" .. ".svg")
  fs.write(svg, markup.svg(fs.read(arg[index])))
  if proc.which "rsvg-convert" then
    proc.run { "rsvg-convert", "-o", svg:gsub("svg$", "png"), svg, check = true }
  end
  print(svg)
end
