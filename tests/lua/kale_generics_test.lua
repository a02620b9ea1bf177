-- Type parameters (PEP 695): which names they bind, and what a step needs of those around them. The grammar
-- parses them whatever Python is here; tests/differential runs a program of them where there is one of 3.12.
local test = require "test"
local notebooks = dofile "tests/lua/support/notebooks.lua"

local plan_of = notebooks.plan

local function codes(made)
  local list = {}
  for i, d in ipairs(made.diagnostics) do list[i] = ("%s@%s:%s"):format(d.code, d.cell or "-", d.line or "-") end
  return list
end

-- How names cross into the second step.
local function crossings(made)
  local list = {}
  for i, crossing in ipairs(made.crossings) do list[i] = crossing.name .. " " .. crossing.how end
  return list
end

test("type parameters are no names of the notebook", function()
  local made = plan_of {
    {
      "step:a",
      "def f[T, *Ts, **P](x: T) -> T: return x\nclass C[K]:\n    def m[V](self, v: V) -> K: ...\ntype A[T] = list[T]",
    },
    { "step:b prev:a", "print(T)" },
  }
  test.same(codes(made), { "undefined-name@2:1" })
end)

test("a type parameter hides a name of the notebook", function()
  local made = plan_of {
    { "step:a", "T = 5" }, { "step:b prev:a", "def f[T](x: T) -> T: return x\nprint(f(1))" },
  }
  test.same(made.steps[2].ins, {})
end)

test("a generic function takes the bounds of its parameters along, and what it reads where it stands", function()
  local made = plan_of {
    { "step:a", "class Base: pass\nlimit = 2\ndef f[T: Base](x: T, n=limit) -> T: return x" },
    { "step:b prev:a", "print(f(1).__class__)" },
  }
  test.same(codes(made), {})
  test.same(crossings(made), { "Base definition", "f definition" })
  local setup = {}
  for i, piece in ipairs(made.steps[2].setup) do setup[i] = piece.source:match "^[^\n:[]*" end
  test.same(setup, { "class Base", "limit = 2", "def f" })
end)

test("a generic class takes its bases along, and its methods what they read", function()
  local made = plan_of {
    { "step:a", "scale = [1]\nclass Base: pass\nclass Box[T](Base):\n    def get(self) -> T: return scale" },
    { "step:b prev:a", "print(Box().get())" },
  }
  test.same(codes(made), {})
  test.same(crossings(made), { "Box definition", "scale value" })
  test.equal(made.steps[2].setup[1].source, "class Base: pass\n")
end)

test("a type alias crosses by definition, with what it means", function()
  local made = plan_of {
    { "step:a", "class Row: pass\nclass Unused: pass\ntype Rows = list[Row]\ntype Table[K] = dict[K, Rows]" },
    { "step:b prev:a", "x: Table[int] = {}\nprint(Table.__value__)" },
  }
  test.same(codes(made), {})
  test.same(crossings(made), { "Row definition", "Rows definition", "Table definition" })
end)

test("what an alias or a bound names may be made later, and is missed only when it is nowhere", function()
  local made = plan_of {
    {
      "step:a",
      "type Late = list[Later]\ndef f[T: Later](x: T): return x\nclass Later: pass\ntype Never = list[Nowhere]",
    },
    { "step:b prev:a", "print(Late, f, Never)" },
  }
  test.same(codes(made), { "undefined-in-function@1:4" })
  test.same(crossings(made), { "Late definition", "Later definition", "Never definition", "f definition" })
end)

test("an alias in a class means names of the class", function()
  local made = plan_of {
    { "step:a", "class C:\n    Kind = int\n    type Kinds = list[Kind]" }, { "step:b prev:a", "print(C.Kinds)" },
  }
  test.same(codes(made), {})
end)
