-- Floats as texts of the fewest digits that read back equal: as Python and numpy write them, and as Go does.
-- Not for JSON: json.encode writes that.
--   decimal.python_text(1e-5)    --> "1e-05"      decimal.go_text(1e-5)      --> "0.00001"

local M = {}

-- Digits and exponent of a number that is not negative: 0.DIGITS × 10^point.
local function digits_of(value, as_typed)
  for count = 1, 17 do
    local text = ("%%.%de"):format(count - 1):format(value)
    local number = tonumber(text)
    if (as_typed and as_typed(number) or number) == value then
      local first, rest, exponent = text:match "^(%d)%.?(%d*)e(.*)$"
      return first .. rest, math.tointeger(tonumber(exponent)) + 1
    end
  end
end

local function plain(digits, point)
  if point <= 0 then return "0." .. ("0"):rep(-point) .. digits end
  if point >= #digits then return digits .. ("0"):rep(point - #digits) end
  return digits:sub(1, point) .. "." .. digits:sub(point + 1)
end

local function scientific(digits, point)
  local rest = #digits > 1 and "." .. digits:sub(2) or ""
  return ("%s%se%s%02d"):format(digits:sub(1, 1), rest, point < 1 and "-" or "+", math.abs(point - 1))
end

-- With an exponent below 1e-4 and from 10^least on.
local function with_exponent(value, least, as_typed)
  local digits, point = digits_of(math.abs(value), as_typed)
  return (point < -3 or point > least) and scientific(digits, point) or plain(digits, point)
end

-- A zero has a sign, too.
local function sign(value) return (value < 0 or value == 0 and 1 / value < 0) and "-" or "" end

---A float as Python's repr and numpy's str write it ("1e-05", "0.1", "2.0").
---@param value number
---@param as_typed (fun(value: number): number)? rounds to the type that the value is of: fewer digits tell it apart
---@return string
function M.python_text(value, as_typed)
  if value ~= value then return "nan" end
  if math.abs(value) == math.huge then return value > 0 and "inf" or "-inf" end
  local text = with_exponent(value, 16, as_typed)
  return sign(value) .. text .. (text:find "[.e]" and "" or ".0")
end

---A float as Go's FormatFloat(v, 'f', -1, 64) writes it: never an exponent.
---@param value number
---@return string
function M.go_text(value)
  return sign(value) .. plain(digits_of(math.abs(value)))
end

---A float as Go's fmt prints it with %v.
---@param value number
---@return string
function M.go_value(value)
  return sign(value) .. with_exponent(value, 6)
end

return M
