// Any Python as the cells of a notebook: a line of '#' begins a cell, the letters after it are its tags.
// The analysis gives a plan whose places are in the notebook and whose steps take only what others give.
#include "lua_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char check[] =
    "local errors, plan = require 'errors', require 'kale.plan'\n"
    "local json, notebook = require 'json', require 'kale.notebook'\n"
    "local special = { i = 'imports', f = 'functions', p = 'pipeline-parameters', k = 'skip' }\n"
    "local function cells_of(text)\n"
    "  local cells = json.array {}\n"
    "  for line in (text .. '\\n'):gmatch '([^\\n]*)\\n' do\n"
    "    local head = line:match '^##(%w*)$'\n"
    "    if head or #cells == 0 then\n"
    "      local tags, name = json.array {}, (head or 'a'):sub(1, 1)\n"
    "      if special[name] then tags[1] = special[name]\n"
    "      else\n"
    "        tags[1] = 'step:s' .. name\n"
    "        for other in (head or ''):sub(2):gmatch '.' do tags[#tags + 1] = 'prev:s' .. other end\n"
    "      end\n"
    "      cells[#cells + 1] = { cell_type = 'code', metadata = { tags = tags }, source = '' }\n"
    "    end\n"
    "    if not head then cells[#cells].source = cells[#cells].source .. line .. '\\n' end\n"
    "  end\n"
    "  return cells\n"
    "end\n"
    "local function check_plan(made, nb)\n"
    "  for _, d in ipairs(made.diagnostics) do\n"
    "    assert(d.code and d.message and (not d.cell or nb.cells[d.cell]))\n"
    "    if d.severity == 'error' then return end\n"
    "  end\n"
    "  local gives = {}\n"
    "  for _, step in ipairs(made.steps) do\n"
    "    for _, value in ipairs(step.values_in) do\n"
    "      assert(gives[value.from .. ' ' .. value.name], value.name .. ' of ' .. value.from)\n"
    "    end\n"
    "    for _, name in ipairs(step.values_out) do gives[step.name .. ' ' .. name] = true end\n"
    "  end\n"
    "end\n"
    "return function(text)\n"
    "  if not utf8.len(text) or text:find '%z' then return end\n"
    "  local document = { nbformat = 4, metadata = json.object {}, cells = cells_of(text) }\n"
    "  local nb = notebook.parse(json.encode(document), 'fuzz.ipynb')\n"
    "  for _, infer in ipairs { false, true } do\n"
    "    local ok, made = pcall(plan.make, nb, { infer = infer })\n"
    "    if ok then check_plan(made, nb)\n"
    "    else assert(errors.is(made, 'PYAST') or errors.is(made, 'Notebook'), tostring(made)) end\n"
    "    for _, cell in ipairs(nb.cells) do cell.parsed = nil end\n"
    "  end\n"
    "end\n";

static lua_State *start(void) {
  return start_host(check);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return check_input(start, data, size);
}
