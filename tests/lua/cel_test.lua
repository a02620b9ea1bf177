-- CEL: what every operator, macro and function gives, as Kubernetes' own library gives it.
local cel = require "cel"
local json = require "json"
local test = require "test"

local VARIABLES = json.decode [[{"a":5,"self":{"80":"x","443":"y"},"o":{"a":{"b":{"c":3}},"null":null,
  "list":[{"name":"n1","v":1},{"name":"n2","v":2},{"name":"n3","v":3}],"foo-bar":7,"a_b":8,"if":9}}]]

-- { expression, value as JSON, type } or { expression, nil, message; "compile: …" before it is run }
local CASES = {
  { "1 + 2 * 3 == 7", "true", "bool" },
  { "-7 / 2", "-3", "int" },
  { "-7 % 3", "-1", "int" },
  { "7u / 2u", "3", "uint" },
  { "1.5 * 2.0", "3", "double" },
  { "9223372036854775807 + 1", nil, "integer overflow" },
  { "-9223372036854775808", "-9223372036854775808", "int" },
  { "-9223372036854775808 - 1", nil, "integer overflow" },
  { "9223372036854775807 * 2", nil, "integer overflow" },
  { "-(-9223372036854775808)", nil, "integer overflow" },
  { "18446744073709551615u + 1u", nil, "unsigned integer overflow" },
  { "0u - 1u", nil, "unsigned integer overflow" },
  { "1 / 0", nil, "division by zero" },
  { "1 % 0", nil, "modulus by zero" },
  { "1.0 / 0.0", '"inf"', "double" },
  { "-9223372036854775808 / -1", nil, "integer overflow" },
  { "0x1F", "31", "int" },
  { "0xFFu", "255", "uint" },
  { "1e3", "1000", "double" },
  { ".5", "0.5", "double" },
  { "1 == 1.0", "true", "bool" },
  { "1u == 1", "true", "bool" },
  { "1 < 1.5", "true", "bool" },
  { "2u > 1", "true", "bool" },
  { "1 != 2", "true", "bool" },
  { '"a" < "b"', "true", "bool" },
  { [['abc' == "abc"]], "true", "bool" },
  { [[r'\n' == '\\n']], "true", "bool" },
  { [["\u00e9\x41\101\n" == "éAA\n"]], "true", "bool" },
  { [["""a"b""" == 'a"b']], "true", "bool" },
  { 'b"abc" == bytes("abc")', "true", "bool" },
  { [[b"\xff".size()]], "1", "int" },
  { '"é".size()', "1", "int" },
  { 'size("héllo")', "5", "int" },
  { [[[1,2,3].size()]], "3", "int" },
  { '{"a":1}.size()', "1", "int" },
  { [=[[1,2] + [3] == [1,2,3]]=], "true", "bool" },
  { [=[[1,2][0]]=], "1", "int" },
  { [=[[1,2][2]]=], nil, "index out of bounds: 2" },
  { [=[[1,2][-1]]=], nil, "index out of bounds: -1" },
  { [=[{"a":1}["a"]]=], "1", "int" },
  { [=[{"a":1}["b"]]=], nil, "no such key: b" },
  { '{"a":1}.a', "1", "int" },
  { [=[{1:"x"}[1]]=], '"x"', "string" },
  { [=[{1:"x"}[1.0]]=], '"x"', "string" },
  { [=[{1u:"x"}[1]]=], '"x"', "string" },
  { [=[1 in [1,2]]=], "true", "bool" },
  { '"a" in {"a":1}', "true", "bool" },
  { [=[3 in [1,2]]=], "false", "bool" },
  { "true || (1/0 == 1)", "true", "bool" },
  { "(1/0 == 1) || true", "true", "bool" },
  { "false && (1/0 == 1)", "false", "bool" },
  { "(1/0 == 1) && false", "false", "bool" },
  { "(1/0 == 1) || false", nil, "division by zero" },
  { "true ? 1 : 2", "1", "int" },
  { "false ? 1 : 1/0", nil, "division by zero" },
  { "!true", "false", "bool" },
  { "!!true", "true", "bool" },
  { [[[1,2,3].all(x, x > 0)]], "true", "bool" },
  { [[[1,2,3].exists(x, x == 2)]], "true", "bool" },
  { [[[1,2,2].exists_one(x, x == 2)]], "false", "bool" },
  { [[[1,2,3].map(x, x * 2)]], [=[[2,4,6]]=], "list" },
  { [[[1,2,3].map(x, x > 1, x * 2)]], [=[[4,6]]=], "list" },
  { [[[1,2,3].filter(x, x > 1)]], [=[[2,3]]=], "list" },
  { '{"a":1,"b":2}.all(k, k != "c")', "true", "bool" },
  { '{"a":1}.map(k, k)', [=[["a"]]=], "list" },
  { [[[1,0].all(x, 1/x == 1)]], nil, "division by zero" },
  { [[[0,2].all(x, 1/x == 1)]], "false", "bool" },
  { [[[0,1].exists(x, 1/x == 1)]], "true", "bool" },
  { [=[[[1,2],[3]].map(l, l.map(x, x + 1))]=], [=[[[2,3],[4]]]=], "list" },
  { "has(o.a)", "true", "bool" },
  { "has(o.z)", "false", "bool" },
  { "has(o.a.b)", "true", "bool" },
  { "o.a.b.c", "3", "int" },
  { "o.z", nil, "no such key: z" },
  { [[o.list[0].name]], '"n1"', "string" },
  { "o.list.map(x, x.name)", [=[["n1","n2","n3"]]=], "list" },
  { "o.list.filter(x, x.v > 1).size()", "2", "int" },
  { [[o["a"].b.c == 3]], "true", "bool" },
  { "o.null == null", nil, "compile: Syntax error: mismatched input 'null'" },
  { "null == null", "true", "bool" },
  { "type(1) == int", "true", "bool" },
  { "type(1u) == uint", "true", "bool" },
  { 'type("a")', '"string"', "type" },
  { [[type([])]], '"list"', "type" },
  { "type({}) == map", "true", "bool" },
  { "type(null)", '"null_type"', "type" },
  { "type(type(1)) == type", "true", "bool" },
  { "type(1.0) == double", "true", "bool" },
  { 'type(b"") == bytes', "true", "bool" },
  { "type(true) == bool", "true", "bool" },
  { 'int("12")', "12", "int" },
  { 'int("x")', nil, "cannot convert text to int" },
  { "int(1.9)", "1", "int" },
  { "int(-1.9)", "-1", "int" },
  { "int(1e300)", nil, "integer overflow" },
  { "int(3u)", "3", "int" },
  { "uint(3)", "3", "uint" },
  { "uint(-1)", nil, "unsigned integer overflow" },
  { 'uint("7")', "7", "uint" },
  { 'double("1.5")', "1.5", "double" },
  { "double(3)", "3", "double" },
  { 'double("x")', nil, "cannot convert text to double" },
  { "string(1)", '"1"', "string" },
  { "string(1.5)", '"1.5"', "string" },
  { "string(1e21)", '"1e+21"', "string" },
  { "string(1000000.0)", '"1e+06"', "string" },
  { "string(true)", '"true"', "string" },
  { 'string(b"abc")', '"abc"', "string" },
  { [[string(b"\xff")]], nil, "invalid UTF-8 in bytes, cannot convert to string" },
  { "string(5u)", '"5"', "string" },
  { 'bool("true")', "true", "bool" },
  { 'bool("no")', nil, "Type conversion error" },
  { [[bytes("é") == b"\xc3\xa9"]], "true", "bool" },
  { "dyn(1) == 1", "true", "bool" },
  { '"abc".contains("b")', "true", "bool" },
  { '"abc".startsWith("ab")', "true", "bool" },
  { '"abc".endsWith("bc")', "true", "bool" },
  { '"abc".matches("^a.c$")', "true", "bool" },
  { 'matches("abc", "b")', "true", "bool" },
  { '"abc".matches("[")', nil, [=[compile: invalid matches argument: missing closing ]]=] },
  { '"hello".charAt(1)', '"e"', "string" },
  { '"hello".charAt(5)', '""', "string" },
  { '"hello".charAt(6)', nil, "index out of range: 6" },
  { '"hello".indexOf("l")', "2", "int" },
  { '"hello".indexOf("l", 3)', "3", "int" },
  { '"hello".indexOf("z")', "-1", "int" },
  { '"hello".indexOf("", 2)', "2", "int" },
  { '"hello".lastIndexOf("l")', "3", "int" },
  { '"hello".lastIndexOf("l", 2)', "2", "int" },
  { '"HeLLo".lowerAscii()', '"hello"', "string" },
  { '"HeLLo".upperAscii()', '"HELLO"', "string" },
  { '"hello hello".replace("he", "we")', '"wello wello"', "string" },
  { '"hello hello".replace("he", "we", 1)', '"wello hello"', "string" },
  { '"hello".replace("", "_")', '"_h_e_l_l_o_"', "string" },
  { '"a,b,c".split(",")', [=[["a","b","c"]]=], "list" },
  { '"a,b,c".split(",", 2)', [=[["a","b,c"]]=], "list" },
  { '"a,b,c".split(",", 0)', [=[[]]=], "list" },
  { '"abc".split("")', [=[["a","b","c"]]=], "list" },
  { '"".split(",")', [=[[""]]=], "list" },
  { '"tacocat".substring(4)', '"cat"', "string" },
  { '"tacocat".substring(0, 4)', '"taco"', "string" },
  { '"tacocat".substring(4, 1)', nil, "invalid substring range. start: 4, end: 1" },
  { '"tacocat".substring(9)', nil, "index out of range: 9" },
  { [[" \t x y \n".trim()]], '"x y"', "string" },
  { [[["a","b"].join()]], '"ab"', "string" },
  { [[["a","b"].join("-")]], '"a-b"', "string" },
  { [[[].join("-")]], '""', "string" },
  { [[strings.quote("a\"b\n")]], [["\"a\\\"b\\n\""]], "string" },
  { [["%s %d %.2f %x %b %o %e".format(["x", 5, 1.5, 255, 5, 8, 1234.5])]],
    '"x 5 1.50 ff 101 10 1.234500e+03"', "string" },
  { [=["%s".format([[1,"a",{"k":true}]])]=], [["[1, a, {k: true}]"]], "string" },
  { [["%X".format([255])]], '"FF"', "string" },
  { [["%x".format(["hi"])]], '"6869"', "string" },
  { [["%d".format(["a"])]], nil, "error during formatting: string cannot be formatted with %d" },
  { [["%s".format([])]], nil, "index 0 out of range" },
  { [["%%".format([])]], '"%"', "string" },
  { [["%s %s".format([null, duration("1h")])]], '"null 3600s"', "string" },
  { 'duration("1h30m")', '"5400s"', "google.protobuf.Duration" },
  { 'duration("1.5s") == duration("1500ms")', "true", "bool" },
  { 'duration("-1s") < duration("0s")', "true", "bool" },
  { 'duration("x")', nil, "invalid duration" },
  { 'duration("1h") + duration("30m")', '"5400s"', "google.protobuf.Duration" },
  { 'duration("90m").getHours()', "1", "int" },
  { 'duration("90m").getMinutes()', "90", "int" },
  { 'duration("90s").getSeconds()', "90", "int" },
  { 'duration("1.5s").getMilliseconds()', "1500", "int" },
  { 'timestamp("2023-01-02T03:04:05Z")', '"2023-01-02T03:04:05Z"', "google.protobuf.Timestamp" },
  { 'timestamp("2023-01-02T03:04:05.678Z").getMilliseconds()', "678", "int" },
  { 'timestamp("2023-01-02T03:04:05Z").getFullYear()', "2023", "int" },
  { 'timestamp("2023-01-02T03:04:05Z").getMonth()', "0", "int" },
  { 'timestamp("2023-01-02T03:04:05Z").getDate()', "2", "int" },
  { 'timestamp("2023-01-02T03:04:05Z").getDayOfMonth()', "1", "int" },
  { 'timestamp("2023-01-02T03:04:05Z").getDayOfWeek()', "1", "int" },
  { 'timestamp("2023-03-02T03:04:05Z").getDayOfYear()', "60", "int" },
  { 'timestamp("2023-01-02T03:04:05Z").getHours("+02:00")', "5", "int" },
  { 'timestamp("2023-01-02T03:04:05Z").getHours("-05:30")', "21", "int" },
  { 'timestamp("2023-01-02T03:04:05Z") + duration("24h")', '"2023-01-03T03:04:05Z"', "google.protobuf.Timestamp" },
  { 'timestamp("2023-01-02T03:04:05Z") - timestamp("2023-01-01T03:04:05Z")', '"86400s"', "google.protobuf.Duration" },
  { 'timestamp("2023-01-02T03:04:05+02:00")', '"2023-01-02T01:04:05Z"', "google.protobuf.Timestamp" },
  { 'timestamp("2023-02-30T03:04:05Z")', nil, "invalid timestamp" },
  { 'timestamp("9999-12-31T23:59:59Z") + duration("1s")', nil, "timestamp overflow" },
  { "timestamp(0)", '"1970-01-01T00:00:00Z"', "google.protobuf.Timestamp" },
  { 'int(timestamp("1970-01-01T00:01:00Z"))', "60", "int" },
  { 'string(duration("1h1m"))', '"3660s"', "string" },
  { 'string(timestamp("2023-01-02T03:04:05Z"))', '"2023-01-02T03:04:05Z"', "string" },
  { 'timestamp("2023-01-02T03:04:05Z") < timestamp("2024-01-02T03:04:05Z")', "true", "bool" },
  { [[[3,1,2].isSorted()]], "false", "bool" },
  { [[[1,2,3].isSorted()]], "true", "bool" },
  { [[["a","b"].isSorted()]], "true", "bool" },
  { [[[1,2,3].sum()]], "6", "int" },
  { [[[1.5,2.5].sum()]], "4", "double" },
  { [[[].sum()]], "0", "int" },
  { [[[1,5,3].max()]], "5", "int" },
  { [[[1,5,3].min()]], "1", "int" },
  { [[[].max()]], nil, "max called on empty list" },
  { [[[1,2,1].indexOf(1)]], "0", "int" },
  { [[[1,2,1].lastIndexOf(1)]], "2", "int" },
  { [[[1,2].indexOf(9)]], "-1", "int" },
  { [[[1,2,3,4].slice(1,3)]], [=[[2,3]]=], "list" },
  { [[[1,2].slice(1,3)]], nil, "cannot slice(1, 3), list is length 2" },
  { [=[[[1],[2,[3]]].flatten()]=], [=[[1,2,[3]]]=], "list" },
  { [=[[[1],[2,[3]]].flatten(2)]=], [=[[1,2,3]]=], "list" },
  { [[[1,1,2].distinct()]], [=[[1,2]]=], "list" },
  { [[[1,2,3].reverse()]], [=[[3,2,1]]=], "list" },
  { [[[3,1,2].sort()]], [=[[1,2,3]]=], "list" },
  { [[["b","a"].sort()]], [=[["a","b"]]=], "list" },
  { [[[{"n":2},{"n":1}].sortBy(x, x.n)]], [=[[{"n":1},{"n":2}]]=], "list" },
  { "lists.range(4)", [=[[0,1,2,3]]=], "list" },
  { [[[1,2].first()]], "1", "optional_type" },
  { [[[].first()]], "null", "optional_type" },
  { [[[1,2].last().value()]], "2", "int" },
  { [[sets.contains([1,2,3],[2])]], "true", "bool" },
  { [[sets.contains([1],[2])]], "false", "bool" },
  { [[sets.equivalent([1,2,2],[2,1])]], "true", "bool" },
  { [[sets.intersects([1],[1,2])]], "true", "bool" },
  { 'quantity("1Gi").isGreaterThan(quantity("1000Mi"))', "true", "bool" },
  { 'quantity("1Gi").compareTo(quantity("1024Mi"))', "0", "int" },
  { 'quantity("1.5").isInteger()', "false", "bool" },
  { 'quantity("2000m").asInteger()', nil, "cannot convert value to integer" },
  { 'quantity("1.5").asInteger()', nil, "cannot convert value to integer" },
  { 'quantity("50k").add(quantity("20k")) == quantity("70k")', "true", "bool" },
  { 'quantity("50k").sub(20000) == quantity("30k")', "true", "bool" },
  { 'quantity("1500m").asApproximateFloat()', "1.5", "double" },
  { 'isQuantity("1.3Gi")', "true", "bool" },
  { 'isQuantity("1.3G1")', "false", "bool" },
  { 'sign(quantity("-1"))', "-1", "int" },
  { 'quantity("x")', nil,
    [[quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$']] },
  { 'url("https://user@example.com:80/p/a%20th?q=1&q=2&r=x#f").getHost()', '"example.com:80"', "string" },
  { 'url("https://example.com:80/path/").getHostname()', '"example.com"', "string" },
  { [[url("https://[::1]:80/path/").getHostname()]], '"::1"', "string" },
  { 'url("https://example.com:80/path/").getPort()', '"80"', "string" },
  { 'url("https://example.com:80/path with/").getEscapedPath()', '"/path%20with/"', "string" },
  { 'url("https://example.com/p?k1=a&k2=b&k2=c").getQuery()', [[{"k1":["a"],"k2":["b","c"]}]], "map" },
  { 'url("https://example.com/p").getScheme()', '"https"', "string" },
  { 'url("/path").getHost()', '""', "string" },
  { 'url("/path").getEscapedPath()', '"/path"', "string" },
  { 'isURL("https://a.b")', "true", "bool" },
  { 'isURL("../relative")', "false", "bool" },
  { 'isURL("")', "false", "bool" },
  { 'url("../x")', nil, "URL parse error during conversion from string" },
  { [["abc 123".find("[0-9]+")]], '"123"', "string" },
  { [["abc".find("[0-9]+")]], '""', "string" },
  { [["1 2 3".findAll("[0-9]")]], [=[["1","2","3"]]=], "list" },
  { [["1 2 3".findAll("[0-9]", 2)]], [=[["1","2"]]=], "list" },
  { [["1 2 3".findAll("[0-9]", 0)]], [=[[]]=], "list" },
  { 'ip("127.0.0.1").isLoopback()', "true", "bool" },
  { 'ip("::1").family()', "6", "int" },
  { 'ip("1.2.3.4").family()', "4", "int" },
  { 'ip("0.0.0.0").isUnspecified()', "true", "bool" },
  { 'ip("169.254.1.1").isLinkLocalUnicast()', "true", "bool" },
  { 'ip("224.0.0.1").isLinkLocalMulticast()', "true", "bool" },
  { 'ip("8.8.8.8").isGlobalUnicast()', "true", "bool" },
  { 'ip("255.255.255.255").isGlobalUnicast()', "false", "bool" },
  { 'isIP("1.2.3")', "false", "bool" },
  { 'isIP("::ffff:1.2.3.4")', "false", "bool" },
  { 'ip.isCanonical("2001:db8::abcd")', "true", "bool" },
  { 'ip.isCanonical("2001:DB8::ABCD")', "false", "bool" },
  { 'ip("1.2.3.4") == ip("1.2.3.4")', "true", "bool" },
  { 'string(ip("2001:0db8:0:0:0:0:0:1"))', '"2001:db8::1"', "string" },
  { 'string(ip("1:0:0:2:0:0:0:3"))', '"1:0:0:2::3"', "string" },
  { 'string(ip("::"))', '"::"', "string" },
  { 'string(ip("1::"))', '"1::"', "string" },
  { 'ip("x")', nil, "the text is no IP address" },
  { 'cidr("192.168.0.0/24").containsIP("192.168.0.1")', "true", "bool" },
  { 'cidr("192.168.0.0/24").containsIP(ip("192.168.1.1"))', "false", "bool" },
  { 'cidr("192.168.0.0/24").containsCIDR("192.168.0.0/25")', "true", "bool" },
  { 'cidr("192.168.0.0/24").containsCIDR(cidr("192.168.0.0/23"))', "false", "bool" },
  { 'cidr("192.168.0.5/24").masked()', '"192.168.0.0/24"', "net.CIDR" },
  { 'cidr("192.168.0.5/24").prefixLength()', "24", "int" },
  { 'cidr("192.168.0.5/24").ip()', '"192.168.0.5"', "net.IP" },
  { 'isCIDR("192.168.0.0/33")', "false", "bool" },
  { 'isCIDR("10.0.0.0/8")', "true", "bool" },
  { 'string(cidr("10.0.0.0/8"))', '"10.0.0.0/8"', "string" },
  { 'cidr("x")', nil, "the text is no network address" },
  { "optional.of(1).hasValue()", "true", "bool" },
  { "optional.none().hasValue()", "false", "bool" },
  { "optional.of(1).value()", "1", "int" },
  { "optional.none().value()", nil, "optional.none() dereference" },
  { "optional.none().orValue(5)", "5", "int" },
  { "optional.of(1).or(optional.of(2)).value()", "1", "int" },
  { "optional.of(1).orValue(1/0)", "1", "int" },
  { "o.?a.b.c.orValue(0)", "3", "int" },
  { "o.?z.b.orValue(9)", "9", "int" },
  { "o.?z.hasValue()", "false", "bool" },
  { [[o[?"a"].hasValue()]], "true", "bool" },
  { [[[1][?0].value()]], "1", "int" },
  { [[[1][?5].hasValue()]], "false", "bool" },
  { [=[[?optional.of(1), ?optional.none(), 2]]=], [=[[1,2]]=], "list" },
  { '{?"a": optional.of(1), ?"b": optional.none()}', '{"a":1}', "map" },
  { "o.?a.optMap(x, x.b.c + 1).value()", "4", "int" },
  { "optional.none().optMap(x, x + 1).hasValue()", "false", "bool" },
  { "optional.of(2).optFlatMap(x, optional.of(x * 2)).value()", "4", "int" },
  { "optional.ofNonZeroValue(0).hasValue()", "false", "bool" },
  { 'optional.ofNonZeroValue("a").hasValue()', "true", "bool" },
  { [[[1,2].all(i, v, i < v)]], "true", "bool" },
  { [[["a","b"].transformList(i, v, string(i) + v)]], [=[["0a","1b"]]=], "list" },
  { '{"a":1}.transformMap(k, v, v + 1)', '{"a":2}', "map" },
  { '{"a":1}.transformMapEntry(k, v, {v: k})', '{"1":"a"}', "map" },
  { [[[1,2].exists(i, v, i == 0 && v == 1)]], "true", "bool" },
  { '{"a":1,"b":2}.existsOne(k, v, v == 2)', "true", "bool" },
  { "nosuch", nil, "compile: undeclared reference to 'nosuch' (no variable of that name)" },
  { "nosuch(1)", nil, "compile: undeclared reference to 'nosuch' (no function of that name)" },
  { '"a".nosuch()', nil, "compile: undeclared reference to 'nosuch' (no function of that name)" },
  { "size(1, 2)", nil, "compile: found no matching overload for 'size' with 2 arguments" },
  { "1 +", nil, "compile: Syntax error: the expression ends too early" },
  { "(1", nil, "compile: Syntax error: the expression ends too early" },
  { "[1,", nil, "compile: Syntax error: the expression ends too early" },
  { '"abc', nil, "compile: Syntax error: a text does not end" },
  { "1 2", nil, "compile: Syntax error: mismatched input '2'" },
  { "a.b.", nil, "compile: Syntax error: the expression ends too early" },
  { "@", nil, "compile: Syntax error: token recognition error at: '@'" },
  { '{"a" 1}', nil, "compile: Syntax error: mismatched input '1'" },
  { "has(o)", nil, "compile: invalid argument to has() macro" },
  { [[[1].all(1, true)]], nil, "compile: argument must be a simple name" },
  { "true && 1", nil, "no such overload" },
  { "1 ? 2 : 3", nil, "no such overload" },
  { '"a" + 1', nil, "no such overload" },
  { "1 + 1u", nil, "no such overload" },
  { [[[1] + 2]], nil, "no such overload" },
  { '-"a"', nil, "no such overload" },
  { "!1", nil, "no such overload" },
  { '1 < "a"', nil, "no such overload" },
  { "o.a.b.c.d", nil, "type 'int' does not support field selection" },
  { "o.list.name", nil, "type 'list' does not support field selection" },
  { [[[1,2,3].exists(x, x)]], nil, "no such overload" },
  { '{"a":1,"a":2}', nil, "Failed with repeated key" },
  { [[{[1]:1}]], nil, "unsupported key type" },
  { "1 in 2", nil, "no such overload" },
  { "if", nil, "compile: Syntax error: reserved identifier: if" },
  { "for + 1", nil, "compile: Syntax error: reserved identifier: for" },
  { "o.if", "9", "int" },
  { "o.in", nil, "compile: Syntax error: mismatched input 'in'" },
  { [=["abc".size() == 3 && o.a.b.c in [1,2,3]]=], "true", "bool" },
  { 'o.list.exists(x, x.name == "n2" && x.v == 2)', "true", "bool" },
  { [=[[1, "a", null, true, 1.5, {"x": []}]]=], [=[[1,"a",null,true,1.5,{"x":[]}]]=], "list" },
  { [["\a\b\f\v\?\`\'\"\\"]], [["\u0007\b\f\u000b?`'\"\\"]], "string" },
  { [['\U0001F600']], '"😀"', "string" },
  { [["\xff" == "ÿ"]], "true", "bool" },
  { "1==1?2:3", "2", "int" },
  { "a == 5 && a > 4", "true", "bool" },
  { "a.b", nil, "type 'int' does not support field selection" },
  { [=[[a, a][1]]=], "5", "int" },
  { '{"x": a}.x', "5", "int" },
  { "// comment", nil, "compile: Syntax error: the expression ends too early" },
  { "1 // comment", "1", "int" },
  { "1.0 == 1 && 1 == 1u && 1u == 1.0", "true", "bool" },
  { [=[[1.0, 2.0] == [1, 2]]=], "true", "bool" },
  { '{"a": 1} == {"a": 1.0}', "true", "bool" },
  { [=[[1] == ["a"]]=], "false", "bool" },
  { "0.0 == -0.0", "true", "bool" },
  { 'double("NaN") == double("NaN")', "false", "bool" },
  { 'double("Infinity") > 1.0', "true", "bool" },
  { [=[[1,2] == [1,2,3]]=], "false", "bool" },
  { 'b"a" + b"b"', '"ab"', "bytes" },
  { 'b"a" < b"b"', "true", "bool" },
  { "false < true", "true", "bool" },
  { [["x".format([1])]], '"x"', "string" },
  { "o.foo__dash__bar", "7", "int" },
  { "o.a_b", "8", "int" },
  { '"" in o', "false", "bool" },
  { '"a" in o', "true", "bool" },
  { 'timestamp("2023-01-02T03:04:05Z") == timestamp("2023-01-02T04:04:05+01:00")', "true", "bool" },
  { 'duration("100h").getHours()', "100", "int" },
  { 'duration("9223372036s") + duration("9223372036s")', nil, "duration overflow" },
  { "o.list.map(x, x.v).sum() == 6", "true", "bool" },
  { "(has(o.a) ? 1 : 0) + (has(o.z) ? 1 : 0) <= 1", "true", "bool" },
  { "self.all(key, 0 < int(key) && int(key) <= 65535)", "true", "bool" },
  { 'self.all(key, !key.contains("*"))', "true", "bool" },
  { "!has(o.name) || has(o.a)", "true", "bool" },
  { '!(("free" in o))', "true", "bool" },
  { [["no name like " + o.list[0].name]], '"no name like n1"', "string" },
}

local function shown(value)
  if value ~= value then return '"NaN"' end
  if value == math.huge or value == -math.huge then return '"inf"' end
  return json.encode(value, { sort = true })
end

test("expressions give what Kubernetes' CEL gives", function()
  for _, case in ipairs(CASES) do
    local program, err = cel.try.compile(case[1], { variables = { "o", "a", "self" } })
    if err then
      test.equal(case[2], nil)
      test.equal("compile: " .. err.message, case[3])
      test.equal(err.offset >= 0 and err.offset <= #case[1], true)
    else
      local result = table.pack(pcall(program.eval, program, VARIABLES))
      if case[2] then
        if not result[1] then error(("%s: %s"):format(case[1], result[2]), 0) end
        test.equal(shown(result[2]), case[2])
        test.equal(result[3], case[3])
      else
        test.equal(result[1], false)
        test.equal(result[2].code, "CEL")
        test.equal(result[2].message, case[3])
      end
    end
  end
end)

test("the expressions of Istio's and Katib's resources hold", function()
  local function holds(expression, self)
    return (cel.compile(expression, { variables = { "self", "oldSelf" } }):eval { self = self })
  end
  local targets = "(has(self.selector) ? 1 : 0) + (has(self.targetRef) ? 1 : 0) + (has(self.targetRefs) ? 1 : 0) <= 1"
  test.equal(holds(targets, { selector = {} }), true)
  test.equal(holds(targets, { selector = {}, targetRef = {} }), false)
  local mtls = "has(self.portLevelMtls) ? (((has(self.selector) && has(self.selector.matchLabels)) ? "
    .. "self.selector.matchLabels : {}).size() > 0) : true"
  test.equal(holds(mtls, { portLevelMtls = {} }), false)
  test.equal(holds(mtls, { portLevelMtls = {}, selector = { matchLabels = { a = "b" } } }), true)
  test.equal(holds(mtls, json.object {}), true)
  test.equal(holds('url(self).getScheme() in ["http", "https"]', "https://a/b"), true)
  test.equal(holds('url(self).getScheme() in ["http", "https"]', "ftp://a/b"), false)
  test.equal(holds("duration(self) >= duration('1ms')", "5s"), true)
end)

test("transition rules see the old value", function()
  local program = cel.compile("!has(oldSelf.name) || has(self.name)", { variables = { "self", "oldSelf" } })
  test.equal(program:eval { self = json.object {}, oldSelf = { name = "a" } }, false)
  test.equal(program:eval { self = { name = "b" }, oldSelf = { name = "a" } }, true)
end)

test("conditions of KFP are evaluated, parseJson only where it is asked for", function()
  local options = { variables = { "inputs" }, functions = { "parseJson" } }
  local inputs = { parameter_values = { x = "a", n = 3, t = '{"k":[1,{"v":"z"}]}' } }
  for expression, expected in pairs {
    ["inputs.parameter_values['x'] == 'a'"] = true,
    ["int(inputs.parameter_values['n']) > 2"] = true,
    ["double(inputs.parameter_values['n']) == 3.0 && !(inputs.parameter_values['x'] == 'b')"] = true,
    ["parseJson(inputs.parameter_values['t'])['k'][1].v"] = "z",
  } do
    test.equal((cel.compile(expression, options):eval { inputs = inputs }), expected)
  end
  test.raises("CEL", function() cel.compile("parseJson('1')") end)
  test.raises("CEL", function() cel.compile("parseJson('{')", options):eval {} end)
end)

test("names that nobody declared are errors before anything runs", function()
  for expression, offset in pairs {
    ["1 + nosuch"] = 4, ["object.x && other.y"] = 12, ["nosuch(1)"] = 0, ["object.nosuch()"] = 7,
    ["[1].all(x, y > x)"] = 11, ["object.x.size(1, 2)"] = 9, ["lists.nosuch(1)"] = 0,
  } do
    local err = test.raises("CEL", function() cel.compile(expression, { variables = { "object" } }) end)
    test.equal(err.offset, offset)
  end
  test.equal((cel.compile("free.x"):eval { free = { x = 1 } }), 1)
end)

test("with the type of its result, an expression is checked before it runs, as Kubernetes does", function()
  local options = { variables = { "object" }, result = "bool" }
  for _, text in ipairs {
    "object.x + 1 == 2", "object.x.startsWith('a')", "'a'.startsWith(object.x)", "has(object.x.y)", "object.a && true",
    "[1, 2].all(x, x > 1)", "object.list.filter(x, x.a == 1).size() == 1", "null == object", "1 < 1.0",
    "quantity('1').isGreaterThan(quantity(object.x))", "ip('1.2.3.4').family() == 4", "[1.5].sum() == 1.5",
    "cidr('10.0.0.0/8').containsIP('10.0.0.1')", "url(object.u).getHost() == 'a'", "type(1) == int", "dyn(1) == 'a'",
    "timestamp(object.t) - timestamp('2020-01-01T00:00:00Z') < duration('1h')", "object.?a.orValue('') == 1",
    "object.x ? object.y : object.z", "[[1]][0].size() == 1", "{'a': 1}.all(k, k == 'a')",
    "object.list.map(x, x.name).join(',') == 'a'", "object.x.?y[?'z'].hasValue()", "object['a-b'] == 1",
    "object.x == 1 || object.x == 'a'", "-object.x < 1",
  } do
    local program, problem = cel.try.compile(text, options)
    assert(program, problem and text .. ": " .. problem.message)
  end
  local overload = "found no matching overload for '%s' applied to '%s'"
  for text, message in pairs {
    ["1 + 'a' == 2"] = overload:format("_+_", "(int, string)"),
    ["size(1) > 0"] = overload:format("size", "int.()"),
    ["object.x.startsWith(1)"] = overload:format("startsWith", "dyn.(int)"),
    ["1 == 'a'"] = overload:format("_==_", "(int, string)"),
    ["1 == 1.0"] = overload:format("_==_", "(int, double)"),
    ["object.x < 'a' && 1 < 'a'"] = overload:format("_<_", "(int, string)"),
    ["1 in 'a'"] = overload:format("_in_", "(int, string)"),
    ["quantity('1') < 2"] = overload:format("_<_", "(kubernetes.Quantity, int)"),
    ["cidr('10.0.0.0/8').containsIP(1)"] = overload:format("containsIP", "net.CIDR.(int)"),
    ["url('https://a/b').getHost() == 1"] = overload:format("_==_", "(string, int)"),
    ["timestamp('2020-01-01T00:00:00Z') + 1 == object.x"] = overload:format("_+_", "(timestamp, int)"),
    ["[1]['a'] == 1"] = overload:format("_[_]", "(list(dyn), string)"),
    ["'abc'[0] == 'a'"] = overload:format("_[_]", "(string, int)"),
    ["!1"] = overload:format("!_", "(int)"),
    ["sets.contains(1, [2])"] = overload:format("sets.contains", "(int, list(dyn))"),
    ["'a'.foo == 1"] = "type 'string' does not support field selection",
    ["1.all(x, true)"] = "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
    ["[1].all(x, 'a')"] = "found no matching overload for '_&&_': expected type 'bool' but found 'string'",
    ["1 && true"] = "found no matching overload for '_&&_': expected type 'bool' but found 'int'",
    ["1 ? true : false"] = "found no matching overload for '_?_:_': expected type 'bool' but found 'int'",
    ["object.x + 1"] = "must evaluate to bool",
    ["'a' + object.x"] = "must evaluate to bool",
    ["object.list.map(x, x.a)"] = "must evaluate to bool",
  } do
    test.equal(test.raises("CEL", function() cel.compile(text, options) end).message, message)
  end
  test.equal((cel.compile("'a' + 'b'", { result = "string" }):eval {}), "ab")
  test.equal((cel.compile("1 == 1.0"):eval {}), true) -- unchecked, as two values of unknown type are compared
  test.raises("CEL", function() cel.compile("[1].all(x, 1 + 'a' == x)", { result = "any" }) end)
end)

test("evaluation costs, and has a limit", function()
  local many = json.array {}
  for i = 1, 300 do many[i] = i end
  local program = cel.compile("l.all(a, l.all(b, l.all(c, a + b + c > 0)))", { variables = { "l" } })
  local err = test.raises("CEL", function() program:eval { l = many } end)
  test.equal(err.message, "actual cost limit exceeded")
  test.raises("CEL", function() cel.compile("[1, 2, 3].map(x, x + 1)", { cost = 5 }):eval {} end)
  local text = "'x'"
  for _ = 1, 150 do text = text .. " + 'x'" end
  test.equal(#cel.compile(text):eval {}, 151)
  test.raises("CEL", function() cel.compile(("("):rep(5000) .. "1" .. (")"):rep(5000)) end)
  test.raises("CEL", function() cel.compile(("!"):rep(5000) .. "true") end)
  test.raises("CEL", function() cel.compile(("["):rep(5000)) end)
  test.raises("CEL", function() cel.compile("a" .. (".b"):rep(5000)) end)
end)

test("a program can be run again with other values, and says its text", function()
  local program = cel.compile("x * 2", { variables = { "x" } })
  test.equal((program:eval { x = 2 }), 4)
  test.equal((program:eval { x = 3 }), 6)
  test.raises("CEL", function() program:eval { x = "a" } end)
  test.equal(tostring(program), "x * 2")
end)
