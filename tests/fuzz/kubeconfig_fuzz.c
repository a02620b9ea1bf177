// Any bytes as a kubeconfig: a configuration whose every context is whole, or an error table with code
// "Kubeconfig" whose line is in the text.
#include "lua_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char check[] =
    "local errors, kubeconfig = require 'errors', require 'kube.kubeconfig'\n"
    "local function checked(text, ...)\n"
    "  local ok, result = pcall(...)\n"
    "  if ok then return result end\n"
    "  assert(errors.is(result, 'Kubeconfig'), tostring(result))\n"
    "  local _, lines = text:gsub('\\n', '\\n')\n"
    "  assert(not result.line or result.line <= lines + 2, result.line)\n"
    "end\n"
    "return function(text)\n"
    "  local config = checked(text, kubeconfig.parse, text, '/nowhere/config')\n"
    "  if not config then return end\n"
    "  for _, context in ipairs(config.contexts) do\n"
    "    local found = checked(text, config.context, config, context.name)\n"
    "    assert(not found or found.server:find '^https?://', found and found.server)\n"
    "  end\n"
    "  checked(text, config.context, config)\n"
    "end\n";

static lua_State *start(void) {
  return start_host(check);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return check_input(start, data, size);
}
