-- The list of all pods by our codec and by lua-cjson: kfhost json.lua URL   prints how many times as fast ours
-- decodes and encodes, by CPU time, the median of rounds that take turns
local cjson = require "cjson"
local json = require "json"
local text = require "http".request { url = arg[1] .. "/api/v1/pods" }.body
local ROUNDS <const> = 5

local function seconds(action, argument)
  collectgarbage()
  collectgarbage()
  local began = os.clock()
  action(argument)
  return os.clock() - began
end

local function ratio(ours, our_argument, theirs, their_argument)
  local ratios = {}
  for round = 1, ROUNDS do
    local mine = seconds(ours, our_argument)
    ratios[round] = seconds(theirs, their_argument) / mine
  end
  table.sort(ratios)
  return ratios[ROUNDS // 2 + 1]
end

local decoding = ratio(json.decode, text, cjson.decode, text)
print(decoding, ratio(json.encode, json.decode(text), cjson.encode, cjson.decode(text)))
