-- lab.demo: seven breakages of a multi-tenant Kubeflow on vSphere, and their repairs: each scene is played twice in a
-- lab, without its policy and with it, by real pods and a real `kfhost policy serve`.
-- Not for printing (lab.demo.show). A scene is a file beside this one.
--   local results = demo.play({ "P6" }, { say = function(kind, text) print(text) end })

local stage = require "lab.demo.stage"

local M = {}

---@class lab.Scene
---@field number string "P6"
---@field title string what breaks
---@field policies string[] the bundled policies that repair it; none: the repair is a program
---@field settings string? YAML for `policy serve --config`
---@field lab table? options of the lab that it is played in
---@field kubeflow boolean? the lab has Pipelines and Katib
---@field single_user boolean? Pipelines asks nobody who he is
---@field repair string? what repairs it, where no policy does
---@field picture {name: string, note: string?, state: string?}[] why it breaks, from left to right
---@field why string
---@field before fun(stage: lab.Stage)? what is there before the policies are
---@field act fun(stage: lab.Stage, repaired: boolean): boolean whether what was wanted has happened

M.NUMBERS = { "P1", "P2", "P3", "P4", "P5", "P6", "P7" }

---@param number string
---@return lab.Scene
function M.scene(number)
  return require("lab.demo." .. number:lower())
end

-- One scene, twice. What was seen is told while it happens, and kept.
local function play(scene, options)
  local result = { scene = scene, acts = {} }
  for _, repaired in ipairs { false, true } do
    local lines = {}
    options.say(repaired and "repaired" or "broken", scene)
    local passed, problem = stage.with(scene, repaired, {
      root = options.root,
      say = function(kind, text)
        lines[#lines + 1] = { kind = kind, text = text }
        options.say(kind, text)
      end,
    })
    result.acts[repaired and "repaired" or "broken"] = { lines = lines, passed = passed, problem = problem }
    options.say(passed and "passed" or "failed", problem or "")
    if not repaired then options.say("why", scene) end
  end
  local broken = result.acts.broken
  result.held = not broken.passed and not broken.problem and result.acts.repaired.passed
  return result
end

---Plays scenes.
---@param numbers string[]
---@param options {say: fun(kind: string, what: any), root: string}
---@return {scene: lab.Scene, acts: table, held: boolean}[] # held: it broke without, and passed with
function M.play(numbers, options)
  local results = {}
  for index, number in ipairs(numbers) do
    local scene = M.scene(number)
    options.say("scene", scene)
    results[index] = play(scene, options)
  end
  return results
end

return M
