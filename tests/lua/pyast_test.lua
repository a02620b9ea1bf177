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

-- Where each load of a name is found: "global", or the kind of the scope that holds it.
local function holders(source)
  local scopes, found = pyast.scopes(source)
  local list = {}
  for i = 1, found.count do
    if found.context[i] == "load" then
      local scope = scopes[found.resolved[i]]
      list[#list + 1] = found.name[i] .. " " .. (scope and scope.kind or "global")
    end
  end
  return table.concat(list, ", ")
end

test("type parameters are names of a scope of their own, their bounds names of the one around it", function()
  test.equal(holders "def f[T: B, *Ts, **P](x: list[T] = d) -> T: return T\n",
    "B global, d global, list global, T type parameters, T type parameters, T type parameters")
  test.equal(holders "class C[T](G[T]):\n  def m[U: T](self): return U\n",
    "G global, T type parameters, T type parameters, U type parameters")
  test.equal(holders "type X[T: B] = list[T | Z]\n", "B global, list global, T type parameters, Z global")
end)

test("the value of a type alias in a class sees the names of the class", function()
  test.equal(holders "class C:\n  K = int\n  type X = K\n  def f(self): return K\n", "int global, K class, K global")
end)

test("a name in full-width or ligature letters is its plain one", function()
  test.equal(occurrences "ﬁ = 1\nclass Ｃ:\n  __ﬁ = fi\n", "fi store, fi load, _C__fi store, C definition")
  test.equal(pyast.identifier "𝔘𝔫𝔦", "Uni")
  test.equal(pyast.identifier "e\u{301}", "é")
end)
