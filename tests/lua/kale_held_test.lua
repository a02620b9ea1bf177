-- What functions and classes hold from where they are defined: bases, defaults, descriptors, decorators; what is
-- known of classes when others are made below them; and what a weak reference points at.
-- Values are compared in tests/differential (inherited_globals, descriptors, class_registries, weak_references).
local test = require "test"
local notebooks = dofile "tests/lua/support/notebooks.lua"

local plan_of = notebooks.chain

-- Values that come into the last step, as "name<step".
local function ins(made)
  local list = {}
  for i, value in ipairs(made.steps[#made.steps].values_in) do list[i] = value.name .. "<" .. value.from end
  return list
end

local function said(made, code)
  local list = {}
  for _, d in ipairs(made.diagnostics) do
    if not code or d.code == code then list[#list + 1] = d.code .. " " .. d.message end
  end
  return list
end

local function has(list, wanted)
  for _, value in ipairs(list) do
    if value == wanted then return true end
  end
  error(("no %s in %s"):format(wanted, table.concat(list, " ")))
end

-- what holds it -> what defines `thing`, and how the last step uses it; the global `rate` is set again between them.
local HOLDERS = {
  ["a base's method"] = { "class A:\n    def f(self): return rate\nclass B(A): pass", "print(B().f())" },
  ["the base of a base"] = {
    "class A:\n    def f(self): return rate\nclass B(A): pass\nclass C(B): pass", "print(C().f())",
  },
  ["an instance of a class below"] = {
    "class A:\n    def f(self): return rate\nclass B(A): pass\nb = B()", "print(b.f())",
  },
  ["a descriptor made in the class's body"] = {
    "class D:\n    def __get__(self, o, t): return rate\nclass C:\n    x = D()\nc = C()", "print(c.x)",
  },
  ["a descriptor that is a decorator"] = {
    "class D:\n    def __init__(self, f): self.f = f\n    def __get__(self, o, t): return self.f(o) + rate\n"
      .. "class C:\n    @D\n    def x(self): return 1\nc = C()",
    "print(c.x)",
  },
  ["a default of a function"] = { "def f(): return rate\ndef g(h=f): return h()", "print(g())" },
  ["a table in a class"] = { "def f(): return rate\nclass C:\n    t = {'f': f}", "print(C.t['f']())" },
  ["a metaclass"] = {
    "class M(type):\n    def f(cls): return rate\nclass C(metaclass=M): pass", "print(C.f())",
  },
}

for name, row in pairs(HOLDERS) do
  test("a global that is set again is seen by " .. name, function()
    has(ins(plan_of { "rate = 1\n" .. row[1], "rate = 2", row[2] }), "rate<s2")
  end)
end

test("a decorator and a function that a body only calls are done with when the definition stands", function()
  local made = plan_of {
    "rate = 1\ndef mark(f):\n    f.rate = rate\n    return f\ndef make(): return rate\n"
      .. "@mark\ndef g(x=make()): return x",
    "rate = 2", "print(g())",
  }
  test.same(ins(made), { "g<s1" })
end)

test("a class that a metaclass or a base makes with values of the notebook crosses by value", function()
  for _, above in ipairs {
    "class M(type):\n    def __new__(m, n, b, d):\n        d['rate'] = rate\n"
      .. "        return super().__new__(m, n, b, d)\nclass C(metaclass=M): pass",
    "class M:\n    def __init_subclass__(cls):\n        cls.rate = rate\nclass C(M): pass",
  } do
    local made = plan_of { "import os\nrate = os.getpid()\n" .. above, "print(C.rate)" }
    test.same(said(made), {
      "function-by-value 'C' crosses to another step by value, as its use of 'rate' where it is defined "
        .. "may have effects",
    })
  end
end)

test("a metaclass or a base that only sets what is the new class's own changes nothing", function()
  for _, above in ipairs {
    "class M(type):\n    def __new__(m, n, b, d):\n        made = super().__new__(m, n, b, d)\n        made.tag = n\n"
      .. "        return made\nclass C(metaclass=M): pass",
    "class M:\n    def __init_subclass__(cls):\n        cls.tag = cls.__name__\nclass C(M): pass",
  } do
    test.same(said(plan_of { above, "print(C.tag)" }), {})
  end
end)

test("a registry of classes in a base is said, and goes along with every class that is made", function()
  local made = plan_of {
    "class Base:\n    known = []\n    def __init_subclass__(cls):\n        cls.known.append(cls)",
    "class A(Base): pass", "class B(Base): pass", "print(Base.known)",
  }
  test.equal(#said(made, "class-state"), 1)
  test.same(ins(made), { "Base<s3" })
end)

test("what a weak reference points at comes along, as nothing else keeps it", function()
  local made = plan_of { "import weakref\nclass A: pass\na = A()\nr = weakref.ref(a)", "print(r())" }
  test.same(ins(made), { "a<s1", "r<s1" })
  test.same(said(made), {})
end)

test("annotations of names cross where somebody reads them, and only there", function()
  local made = plan_of { "x: int = 1", "y: str = ''", "print(__annotations__)" }
  test.same(ins(made), { "__annotations__<s2" })
  test.same(ins(plan_of { "x: int = 1", "y: str = ''", "print(x)" }), { "x<s1" })
end)

test("an iterator of a class of the notebook is used up where it is read", function()
  local class = "class Down:\n    n = 3\n    def __iter__(self): return self\n    def __next__(self):\n"
    .. "        self.n -= 1\n        if self.n < 0: raise StopIteration\n        return self.n\nd = Down()"
  test.same(ins(plan_of { class, "for x in d:\n    break", "print(list(d))" }), { "d<s2" })
end)

test("a method that changes its object by what it inherits is a change", function()
  local class = "class A:\n    def push(self, x): self.items.append(x)\n"
    .. "class B(A):\n    items = ()\n    def add(self, x): super().push(x)\nb = B()"
  test.same(ins(plan_of { class, "b.add(1)", "print(b)" }), { "b<s2" })
  local list = "class L(list):\n    def add(self, x): super().append(x)\nl = L()"
  test.same(ins(plan_of { list, "l.add(1)", "print(l)" }), { "l<s2" })
end)

test("a decorated function with a state is handed on by the step that calls it", function()
  local class = "class Counted:\n    def __init__(self, f): self.f, self.n = f, 0\n"
    .. "    def __call__(self):\n        self.n += 1\n        return self.f()\n@Counted\ndef f(): return 1"
  test.same(ins(plan_of { class, "print([f() for _ in range(2)])", "print(f.n)" }), { "f<s2" })
end)

test("a generator of random numbers is drawn from where a library is handed it, and by its methods", function()
  local start = "import numpy as np\nfrom sklearn.datasets import make_spd_matrix\nrng = np.random.RandomState(1)"
  test.same(ins(plan_of { start, "m = make_spd_matrix(3, random_state=rng)", "print(rng.rand())" }), { "rng<s2" })
  test.same(ins(plan_of { start, "m = rng.binomial(3, 0.5)", "print(rng.rand())" }), { "rng<s2" })
end)

test("a pipeline of a library holds its parts; a class does not hold what its new object keeps", function()
  local pipe = "from sklearn.pipeline import make_pipeline\nfrom sklearn.svm import SVC\n"
    .. "c = SVC()\np = make_pipeline(c)"
  has(ins(plan_of { pipe, "p.fit([[1], [2]], [0, 1])", "print(c)" }), "c<s2")
  local class = "class Model:\n    def fit(self, xs):\n        self.xs = xs\n        return self\nxs = [1]"
  test.same(said(plan_of { class, "m = Model().fit(xs)", "print(m.xs, Model)" }), {})
end)

test("what an augmented assignment may change in place is a change of what it was taken from", function()
  local start = "import numpy as np\nws = [np.ones(2)]\ndef descend(params):\n    for p in params: p -= 0.1"
  test.same(ins(plan_of { start, "descend(ws)", "print(ws)" }), { "ws<s2" })
  test.same(ins(plan_of { start, "for w in ws: w -= 0.1", "print(ws)" }), { "ws<s2" })
  test.same(ins(plan_of { "ns = [1, 2]", "for n in ns: n += 1", "print(ns)" }), { "ns<s1" })
end)

test("a decorator that is an object's method changes the object", function()
  local bus = "class Bus:\n    def __init__(self): self.all = []\n    def on(self, f):\n        self.all.append(f)\n"
    .. "        return f\nbus = Bus()"
  test.same(ins(plan_of { bus, "@bus.on\ndef f(): pass", "print(bus.all)" }), { "bus<s2" })
end)

test("what a context manager of the notebook yields is no generator", function()
  local made = plan_of {
    "import contextlib\n@contextlib.contextmanager\ndef m():\n    yield 1\nwith m() as v: pass", "print(v)",
  }
  test.same(said(made, "not-saved"), {})
end)

test("what is drawn on axes that a library is handed is a change of them, and of their figure", function()
  local start = "import pandas as pd\nimport matplotlib.pyplot as plt\ndf = pd.DataFrame()\nfig, ax = plt.subplots()"
  test.same(ins(plan_of { start, "df.plot(ax=ax)", "print(ax.lines, fig.axes)" }), { "ax<s2", "fig<s2" })
  has(ins(plan_of { start, "import seaborn as sns\nsns.lineplot(df, ax=ax)", "print(ax.lines)" }), "ax<s2")
end)
