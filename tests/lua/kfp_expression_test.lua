local expression = require "kfp.expression"
local json = require "json"
local test = require "test"

local function value_of(text, variables) return expression.compile(text):eval(variables or {}) end

test("expressions have the values that CEL gives them", function()
  local inputs = { inputs = { parameter_values = { s = "it's", n = 3, f = 2.5, ok = true, xs = json.array { 1, 2 } } } }
  for text, wanted in pairs {
    ["inputs.parameter_values['n'] == 3"] = true, ["int(inputs.parameter_values['f']) == 2"] = true,
    ["double(inputs.parameter_values['n']) / 2.0 > 1.4"] = true, ["inputs.parameter_values['s'] == 'it\\'s'"] = true,
    ['inputs.parameter_values["s"] == "it\'s"'] = true, ["inputs.parameter_values['ok'] == true"] = true,
    ["!(inputs.parameter_values['ok']) || 1 > 2"] = false, ["'a' < 'b' && 2 <= 2 && 3 != 4"] = true,
    ["1 + 2 * 3 - 4 == 3"] = true, ["-7 / 2 == -3 && -7 % 2 == -1"] = true, ["1 == 1.0"] = true, ["'1' == 1"] = false,
    ["2 in inputs.parameter_values['xs']"] = true, ["size(inputs.parameter_values['xs']) == 2"] = true,
    ["'abc'.startsWith('ab') && 'abc'.endsWith('bc') && 'abc'.contains('b')"] = true,
    ["1 < 2 ? 'yes' == 'yes' : false"] = true, ["[1, 'a'] == [1, 'a']"] = true, ["int('12') == 12"] = true,
    ["bool('True')"] = true, ["string(1.5) == '1.5'"] = true, ["r'\\n' == '\\\\n'"] = true, ["null == null"] = true,
    ["'\\u00e9\\x41' == 'éA'"] = true, ["0x10 == 16 && 1e3 == 1000.0 && .5 < 1.0"] = true,
  } do
    test.same({ text, value_of(text, inputs) }, { text, wanted })
  end
end)

test("selectors read what JSON texts and structures hold", function()
  test.equal(value_of('parseJson(string_value)["a"]["b"][1]', { string_value = '{"a":{"b":[1,"x"]}}' }), "x")
  test.equal(value_of('parseJson(string_value)["k"]', { string_value = { k = 5 } }), 5)
end)

test("what cannot be evaluated is an error that names the expression", function()
  for text, reason in pairs {
    ["1 <"] = "not expected", ["'it's'"] = "does not end", ["1 < 'a'"] = "no meaning", ["x == 1"] = "'x' is not known",
    ["inputs.parameter_values['no'] == 1"] = 'no "no"', ["int('a') > 1"] = "int cannot take", ["1 && true"] = "neither",
    ["what(1)"] = "no function what", ["1 / 0 == 1"] = "no meaning", ["(1"] = "')' is missing", ["1 # 2"] = "'#'",
    ["parseJson('{')"] = "parseJson cannot take", ["[1][3] == 1"] = "there is no 3", ["1 2"] = "2 is not expected",
  } do
    local err = test.raises("Expression", function()
      expression.compile(text):test { inputs = { parameter_values = json.object {} } }
    end)
    assert(err.message:find(reason, 1, true) and err.message:find(text, 1, true), err.message)
  end
end)

test("a condition is true or false, nothing else", function()
  test.raises("Expression", function() expression.compile "1 + 1":test {} end)
  test.raises("Expression", function() expression.compile "'true'":test {} end)
end)
