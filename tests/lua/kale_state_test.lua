-- What steps leave that is no name's value, and values that cannot leave a step: each is said at its place.
local test = require "test"
local notebooks = dofile "tests/lua/support/notebooks.lua"

local plan_of = notebooks.chain

-- The messages of findings with the code, and where they are.
local function said(made, code)
  local list = {}
  for _, d in ipairs(made.diagnostics) do
    if d.code == code then list[#list + 1] = ("%d:%d %s"):format(d.cell, d.line, d.message) end
  end
  return list
end

-- name of the test -> first step, later step, what is said
local STATE = {
  ["the level of a logger"] = {
    "import logging\nlog = logging.getLogger('a')\nlog.setLevel('INFO')", "log.info('x')",
    "1:3 the configuration of logging",
  },
  ["a logger that is turned off"] = {
    "import logging\nlog = logging.getLogger('a')\nlog.disabled = True", "log.info('x')",
    "1:3 the configuration of logging",
  },
  ["basicConfig"] = {
    "import logging\nlogging.basicConfig(level='INFO')", "logging.info('x')", "1:2 the configuration of logging",
  },
  ["options of pandas, which show wherever a frame is"] = {
    "import pandas as pd\npd.options.display.max_rows = 3\ndf = pd.DataFrame()", "df", "1:2 the state of 'pandas'",
  },
  ["how NumPy prints"] = {
    "import numpy as np\nnp.set_printoptions(precision=2)\nx = np.ones(3)", "x", "1:2 the settings of 'numpy'",
  },
  ["a theme of seaborn, where matplotlib draws"] = {
    "import seaborn as sns\nsns.set_theme()", "import matplotlib.pyplot as plt\nplt.plot([1])",
    "1:2 the settings of 'seaborn'",
  },
  ["a filter of warnings"] = {
    "import warnings\nwarnings.filterwarnings('ignore')", "print(1)", "1:2 the filter of warnings",
  },
  ["the environment"] = { "import os\nos.environ['A'] = 'b'", "print(1)", "1:2 the environment" },
  ["%env"] = { "%env A=b", "print(1)", "1:1 the environment" },
  ["%cd"] = { "x = 1\n%cd /tmp", "print(1)", "1:2 the working directory" },
  ["os.chdir"] = { "import os\nos.chdir('/')", "print(1)", "1:2 the working directory" },
  ["sys.path"] = { "import sys\nsys.path.append('lib')", "import helper", "1:2 sys.path" },
  ["!pip install"] = { "!pip install -q left", "import left", "1:1 what is installed" },
  ["%pip install"] = { "%pip install left", "import left", "1:1 what is installed" },
  ["a seed"] = { "import random\nrandom.seed(1)", "import random\nprint(random.random())",
    "1:2 the seed of random numbers" },
  ["a patched module"] = { "import math\nmath.pi = 3", "print(math.pi)", "1:2 the state of 'math'" },
  ["a context that is left open"] = {
    "import contextlib, io\nout = io.StringIO()\nr = contextlib.redirect_stdout(out)\nr.__enter__()", "print(1)",
    "1:4 the context of 'r'",
  },
  ["the cache of a function that somebody asks about"] = {
    "import functools\n@functools.cache\ndef f(n): return n\nf(1)", "print(f.cache_info())", "1:2 the cache of 'f'",
  },
  ["the cache of a function that does something"] = {
    "import functools\n@functools.lru_cache\ndef f(n):\n    print(n)\n    return n", "f(1)", "1:2 the cache of 'f'",
  },
}

for name, row in pairs(STATE) do
  test("said to stay in its step: " .. name, function()
    local made = plan_of { row[1], row[2] }
    test.same(said(made, "state-stays"),
      { row[3] .. " is changed here and stays as it was elsewhere: step 's2' does not see it" })
  end)
end

test("state that no later step looks at is not spoken of", function()
  local made = plan_of {
    "import random, logging, functools\nrandom.seed(1)\nlogging.basicConfig()\n@functools.cache\ndef f(n): return n",
    "print(f(1))",
  }
  test.same(said(made, "state-stays"), {})
end)

-- A class whose body binds `items`, and a method that changes them by way of its object.
local function class_of(value, change, more)
  return ("class A:\n    items = %s\n    def put(self, x):\n        %s\n%sa = A()"):format(value, change, more or "")
end

test("what a class holds for all its objects is said when a method changes it in place", function()
  for _, row in ipairs {
    { "[]", "self.items.append(x)" }, { "{}", "self.items[x] = 1" }, { "[]", "self.items += [x]" },
    { "dict()", "del self.items[x]" },
  } do
    local made = plan_of { class_of(row[1], row[2]), "a.put(1)", "print(A.items)" }
    test.equal(#said(made, "class-state"), 1)
  end
  for _, row in ipairs {
    { "[]", "print(self.items)" }, { "[]", "self.items = [x]" }, { "1", "self.items += 1" },
    { "[]", "self.items.append(x)", "    def __init__(self):\n        self.items = []\n" },
  } do
    test.same(said(plan_of { class_of(row[1], row[2], row[3]), "a.put(1)", "print(A.items)" }, "class-state"), {})
  end
end)

-- what makes the value -> what it is called
local UNSAVED = {
  ["v = open('a.txt')"] = "an open file",
  ["import sqlite3\nv = sqlite3.connect('a.db')"] = "an open connection",
  ["import threading\nv = threading.Thread(target=print)"] = "a thread",
  ["v = (i for i in range(3))"] = "a generator",
  ["def g():\n    yield 1\nv = g()"] = "a generator",
  ["import functools\nv = functools.cmp_to_key(lambda a, b: 0)"] = "a key function",
  ["import contextvars\nc = contextvars.ContextVar('c')\nv = c.set(1)"] = "a token",
  ["import subprocess\nv = subprocess.Popen(['true'])"] = "a process",
}

for source, what in pairs(UNSAVED) do
  test("a value that cannot be saved is said where it is wanted: " .. source:match "v = .*", function()
    test.same(said(plan_of { source, "w = v" }, "not-saved"),
      { ("2:1 'v' of step 's1' is %s, which cannot be handed to another step"):format(what) })
    test.same(said(plan_of { source .. "\nw = v", "print(1)" }, "not-saved"), {})
  end)
end

test("a name that is bound to something else since is no value that cannot be saved", function()
  for _, source in ipairs {
    "v = (i for i in range(3))\nv = list(v)", "with open('a.txt', 'w') as v: v.write('x')",
    "import re\nv = re.search('a', 'a')", "v = open('a.txt', 'w')\nv.close()",
  } do
    test.same(said(plan_of { source, "w = v" }, "not-saved"), {})
  end
  test.same(said(plan_of { "v = (i for i in range(3))", "v = list(v)", "w = v" }, "not-saved"),
    { "2:1 'v' of step 's1' is a generator, which cannot be handed to another step" })
end)

-- what writes the file in the first step -> what the second step does
local FILES = {
  ["open('a.txt', 'w').write('x')"] = "print(open('a.txt').read())",
  ["with open('a.txt', mode='ab') as f: f.write(b'x')"] = "print(open('a.txt').read())",
  ["import pandas as pd\npd.DataFrame().to_csv('out/a.csv')"] = "import pandas as pd\nprint(pd.read_csv('out/a.csv'))",
  ["import joblib\njoblib.dump(1, 'm.pkl')"] = "import joblib\nprint(joblib.load('m.pkl'))",
  ["import numpy as np\nnp.save('m.npy', np.ones(2))"] = "import numpy as np\nprint(np.load('m.npy'))",
  ["from pathlib import Path\nPath('a.txt').write_text('x')"] = "print(Path('a.txt').read_text())",
  ["%%writefile helper.py\nx = 1"] = "import helper\nprint(helper.x)",
}

for first, later in pairs(FILES) do
  test("a file that a later step names stays where it is written: " .. first:match "[^\n]*$", function()
    test.equal(#said(plan_of { first, later }, "file-stays"), 1)
    test.same(said(plan_of { first .. "\nprint(1)", "print(2)" }, "file-stays"), {})
    test.same(said(plan_of { first, first }, "file-stays"), {})
  end)
end

test("a file that is only read, an absolute path and one in memory are not spoken of", function()
  test.same(said(plan_of {
    "import io, pandas as pd\nx = open('a.txt').read()\npd.DataFrame().to_csv('/mnt/a.csv')\n"
      .. "io.StringIO().write('b.txt')",
    "print(open('a.txt').read(), open('/mnt/a.csv').read(), 'b.txt')",
  }, "file-stays"), {})
end)
