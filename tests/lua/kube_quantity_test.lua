-- Quantities: reading, arithmetic, and the text that Kubernetes prints.
local kube = require "kube"
local test = require "test"

-- { text, canonical, value, thousandths }
local GOOD = {
  { "0", "0", 0, 0 }, { "1", "1", 1, 1000 }, { "1.5Gi", "1536Mi", 1610612736, 1610612736000 },
  { "1.5", "1500m", 2, 1500 }, { "100m", "100m", 1, 100 }, { "0.1", "100m", 1, 100 }, { "1000m", "1", 1, 1000 },
  { "1024Mi", "1Gi", 1 << 30, (1 << 30) * 1000 }, { "1000Mi", "1000Mi", 1048576000, 1048576000000 },
  { "1000k", "1M", 1000000, 1000000000 }, { "12e6", "12e6", 12000000, 12000000000 }, { "1e3", "1e3", 1000, 1000000 },
  { "1E3", "1E3", 1000, 1000000 }, { "10e3", "10e3", 10000, 10000000 }, { "1000e3", "1e6", 1000000, 1000000000 },
  { "1.1Ki", "1126400m", 1127, 1126400 }, { "0.5Ki", "512", 512, 512000 }, { "1n", "1n", 1, 1 },
  { "0.1n", "1n", 1, 1 }, { "1e-10", "1e-9", 1, 1 }, { "1u", "1u", 1, 1 }, { "1000n", "1u", 1, 1 },
  { "-1.5", "-1500m", -2, -1500 }, { "+1", "+1", 1, 1000 }, { "01", "01", 1, 1000 }, { "1.", "1.", 1, 1000 },
  { ".5", "500m", 1, 500 }, { "1.500", "1.500", 2, 1500 }, { "0.500", "500m", 1, 500 }, { "-0", "0", 0, 0 },
  { "0Ki", "0", 0, 0 }, { "8Ei", "9223372036854775807", math.maxinteger, nil }, { "1E", "1E", 10 ^ 18 // 1 | 0, nil },
  { "9223372036854775807", "9223372036854775807", math.maxinteger, nil }, { "1025Ki", "1025Ki", 1049600, 1049600000 },
  { "1023", "1023", 1023, 1023000 }, { "2048", "2048", 2048, 2048000 }, { "100Ei", "9223372036854775807",
    math.maxinteger, nil }, { "1e18", "1e18", 1000000000000000000, nil }, { "5P", "5P", 5000000000000000, nil },
}

test("quantities are read and printed as Kubernetes does", function()
  for _, case in ipairs(GOOD) do
    local quantity = kube.quantity(case[1])
    test.equal(tostring(quantity), case[2])
    test.equal(quantity:text(), case[2])
    test.equal(quantity:value(), case[3])
    if case[4] then test.equal(quantity:milli(), case[4]) end
    test.equal(kube.quantity(case[2]):cmp(quantity), 0)
  end
end)

test("texts that are no quantities are refused with Kubernetes' words", function()
  local form = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
  local suffix = "unable to parse quantity's suffix"
  for text, message in pairs {
    [""] = form, ["1 Gi"] = form, ["1,5"] = form, ["one"] = form, ["1.2.3"] = form, ["--1"] = suffix, ["0x1F"] = form,
    ["1K"] = suffix, ["1gi"] = form, ["1mi"] = suffix, ["1e"] = suffix, ["1ee3"] = suffix, ["1Kii"] = suffix,
    ["1i"] = suffix, [" 1"] = form, ["1 "] = form, ["1\n"] = form, ["1+1.0M"] = form, ["1e4294967297"] = suffix,
    ["-3.01e-"] = suffix, ["Ei"] = "unable to parse numeric part of quantity", ["Inf"] = form, ["1e+"] = suffix,
  } do
    test.equal(test.raises("Quantity", function() kube.quantity(text) end).message, message)
  end
  test.raises("Quantity", function() kube.quantity(("9"):rep(2000)) end)
end)

test("quantities add, subtract and compare by value", function()
  local q = kube.quantity
  for _, case in ipairs {
    { "1Gi", "512Mi", "1536Mi", "512Mi", 1 }, { "1", "100m", "1100m", "900m", 1 }, { "0", "1Gi", "1Gi", "-1Gi", -1 },
    { "1G", "1Gi", "2073741824", "-73741824", -1 }, { "1024Mi", "1Gi", "2Gi", "0", 0 },
    { "0.1", "0.2", "300m", "-100m", -1 }, { "1e3", "1", "1001", "999", 1 },
    { "1n", "1E", "1000000000000000000000000001n", "-999999999999999999999999999n", -1 },
    { "9223372036854775807", "1", "9223372036854775808", "9223372036854775806", 1 },
  } do
    local a, b = q(case[1]), q(case[2])
    test.equal(tostring(a + b), case[3])
    test.equal(tostring(a:sub(b)), case[4])
    test.equal(a:cmp(b), case[5])
    test.equal(a < b, case[5] < 0)
    test.equal(a <= b, case[5] <= 0)
    test.equal(a == b, case[5] == 0)
  end
  test.equal(tostring(q "1Gi" + "1Mi"), "1025Mi")
  test.equal(tostring(-q "1500m"), "-1500m")
  test.equal(q(1.5):text(), "1500m")
  test.equal(q(7):text(), "7")
end)

test("what has no suffix of its own is written so that it reads back equal", function()
  local q = kube.quantity
  local two_to_70 = q "1Ei"
  for _ = 1, 10 do two_to_70 = two_to_70 + two_to_70 end
  for text, quantity in pairs {
    ["1e21"] = q "1000E", ["-5e21"] = q "-5000E", ["1e24"] = q "1000000E", ["1001E"] = q "1001E",
    ["1180591620717411303424"] = two_to_70, ["4Ei"] = q "1Ei" + "3Ei",
  } do
    test.equal(quantity:text(), text)
    test.equal(q(text):cmp(quantity), 0)
  end
end)

test("integers are exact or nil, signs and formats are told", function()
  test.equal(kube.quantity("1.5"):integer(), nil)
  test.equal(kube.quantity("2000m"):integer(), 2)
  test.equal(kube.quantity("10E"):integer(), nil)
  test.raises("Quantity", function() kube.quantity("10E"):value() end)
  test.equal(kube.quantity("-1"):sign(), -1)
  test.equal(kube.quantity("0"):sign(), 0)
  test.equal(kube.quantity("1Gi"):format(), "BinarySI")
  test.equal(kube.quantity("1e3"):format(), "DecimalExponent")
end)

test("sums of any size stay exact", function()
  local sum = kube.quantity "1n"
  for _ = 1, 200 do sum = sum + sum end
  test.equal(sum:text():sub(1, 12), "160693804425")
  test.equal(tostring(sum - sum), "0")
  test.raises("Quantity", function()
    for _ = 1, 4000 do sum = sum + sum end
  end)
end)
