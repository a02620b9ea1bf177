local pyast = require "pyast"
local test = require "test"

-- "name context" of each occurrence, in order.
local function occurrences(source)
  local _, found = pyast.scopes(source)
  local list = {}
  for i = 1, found.count do list[i] = found.name[i] .. " " .. found.context[i] end
  return table.concat(list, ", ")
end

test("a value is read before its target is stored", function()
  test.equal(occurrences "x = y\n", "y load, x store")
end)

test("an augmented assignment updates its target", function()
  test.equal(occurrences "x += y\n", "y load, x update")
end)

test("an annotation without a value binds nothing", function()
  test.equal(occurrences "x: int\n", "x annotation, int load")
end)

test("a walrus in a comprehension binds in the function around it", function()
  local scopes = pyast.scopes "def f():\n  return [y := x for x in z]\n"
  test.equal(scopes[2].names.y.cell, true)
  test.equal(scopes[3].names.y.free, true)
end)

test("a method's names pass over the class", function()
  local _, found = pyast.scopes "class C:\n  x = 1\n  def f(self): return x\n"
  for i = 1, found.count do
    if found.context[i] == "load" then test.equal(found.resolved[i], 0) end
  end
end)

test("a change of an element is told of its root", function()
  local _, found = pyast.scopes "x.a[0] = 1\ndel y[0]\nz.append(1)\n"
  test.same(found.mutation, { "store", "delete", "call" })
end)

test("what stands in a branch is conditional", function()
  local _, found = pyast.scopes "if a:\n  b = 1\n"
  test.same(found.conditional, { false, true })
end)

test("a name of type(x).y = z is no alias", function()
  test.equal(occurrences "type(x).y = z\n", "type load, x load, z load")
end)

test("an assigned shell line leaves the assignment", function()
  local source, magics = pyast.blank "x = !ls\n"
  test.equal(source, "x = 0  \n")
  test.equal(magics[1].name, "x")
  test.equal(magics[1].text, "!ls")
end)

test("a line of an expression that begins with modulo is no magic", function()
  local text = "x = (5\n% 3)\ny = 5 \\\n% 3\n"
  test.equal(pyast.blank(text), text)
end)

test("nesting has no limit of recursion", function()
  local scopes = pyast.scopes("x = " .. ("["):rep(20000) .. ("]"):rep(20000) .. "\n")
  test.equal(scopes[1].names.x.assigned, true)
end)

test("a line in brackets may begin left of its statement", function()
  for _, source in ipairs {
    "def f():\n    (bar.\nbaz)\n    x = 1\n", "def f():\n    g(a +\nb)\n", "if x:\n    y = (a and # why\n\n# so\nb)\n",
    "def f():\n    g(a=\n1)\n", "def f():\n    x = (not\na)\n", "def f():\n\tx = (a if\n    b else\nc)\n",
    "def f():\n    x = {a:\nb}\n", "def f():\n    x = (*\na,)\n", "def f():\n    g(\"\"\"\nx\"\"\" +\n'(' +\ny)\n",
  } do
    local tree = pyast.parse(source)
    test.equal(#tree.errors, 0)
    test.equal(tree.source, source)
  end
  local scopes = pyast.scopes "def f():\n    g(a +\nb)\n    c = 1\n"
  test.equal(scopes[2].names.c.assigned, true)
  test.equal(scopes[2].names.b.global, true)
  local tree = pyast.parse "def f():\n    g(a +\nb)\n"
  local found = {}
  for node = 1, tree.count do
    local first, last = tree.first[node], tree.last[node]
    if tree.kind[node] == "identifier" then found[tree.source:sub(first, last)] = first end
  end
  test.same(found, { f = 5, g = 14, a = 16, b = 20 })
end)
