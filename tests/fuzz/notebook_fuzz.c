// Any bytes as a notebook, JSON or Python in percent format: reader, tags and analysis give a plan,
// or an error table with code "Notebook"; findings have a code, a message and a place that is in
// the notebook.
#include "lua_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char check[] =
    "local errors, notebook, plan = require 'errors', require 'kale.notebook', require 'kale.plan'\n"
    "return function(text)\n"
    "  local name = text:find '^%s*[{[]' and 'fuzz.ipynb' or 'fuzz.py'\n"
    "  local ok, nb = pcall(notebook.parse, text, name)\n"
    "  if not ok then assert(errors.is(nb, 'Notebook'), tostring(nb)) return end\n"
    "  local made, result = pcall(plan.make, nb)\n"
    "  if not made then\n"
    "    assert(errors.is(result, 'PYAST') or errors.is(result, 'Notebook'), tostring(result))\n"
    "    return\n"
    "  end\n"
    "  for _, d in ipairs(result.diagnostics) do\n"
    "    assert(d.code and d.message and (not d.cell or nb.cells[d.cell]))\n"
    "  end\n"
    "end\n";

static lua_State *start(void) {
  return start_host(check);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return check_input(start, data, size);
}
