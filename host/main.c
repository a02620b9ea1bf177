// The program: arguments, dispatch, exit codes.
//
// A first word that ends in .lua or contains / is a script, - or piped standard input is a script,
// else it is a command (cmd/NAME.lua on the search path). Exit codes: 0 done, 1 the work failed,
// 2 usage, 130 SIGINT, 143 SIGTERM.
#include "error.h"
#include "scripts.h"
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
  int count;
  char **words;
  const char *code;  // -e CODE
};

static bool is_script(const char *word) {
  size_t length = strlen(word);
  return strchr(word, '/') || strcmp(word, "-") == 0 ||
         (length > 4 && strcmp(word + length - 4, ".lua") == 0);
}

// [-0, +1, e] pushes the chunk that the words name.
static void load_work(lua_State *L, const struct arguments *arguments) {
  if (arguments->code) {
    if (luaL_loadbufferx(L, arguments->code, strlen(arguments->code), "=(command line)", "t"))
      lua_error(L);
    return;
  }
  const char *word = arguments->words[0];
  if (is_script(word)) {
    if (luaL_loadfilex(L, strcmp(word, "-") ? word : NULL, "t") != LUA_OK) lua_error(L);
    return;
  }
  const char *name = lua_pushfstring(L, "cmd/%s.lua", word);
  if (!kf_scripts_load(L, name)) kf_fail(L, "Usage", "no command '%s' (see kfhost help)", word);
}

static int run(lua_State *L) {
  const struct arguments *arguments = lua_touserdata(L, 1);
  load_work(L, arguments);
  int first = arguments->code ? 0 : 1;
  for (int i = first; i < arguments->count; i++) lua_pushstring(L, arguments->words[i]);
  lua_call(L, arguments->count > first ? arguments->count - first : 0, 1);
  return 1;
}

int main(int argc, char **argv) {
  struct host host = {0};
  struct arguments arguments = {argc - 1, argv + 1, NULL};
  while (arguments.count > 0 && arguments.words[0][0] == '-' && arguments.words[0][1]) {
    const char *option = arguments.words[0];
    if (strcmp(option, "--gc-stress") == 0) host.gc_stress = true;
    else if (arguments.count > 1 && strcmp(option, "--scripts") == 0)
      kf_scripts_prepend((arguments.words++, arguments.count--, arguments.words[0]));
    else if (arguments.count > 1 && strcmp(option, "-e") == 0)
      arguments.code = (arguments.words++, arguments.count--, arguments.words[0]);
    else {
      fprintf(stderr, "kfhost: unknown option %s\n", option);
      return 2;
    }
    arguments.words++, arguments.count--;
  }
  if (arguments.count == 0 && !arguments.code) {
    fprintf(stderr, "usage: kfhost SCRIPT.lua | COMMAND …\n");
    return 2;
  }
  lua_State *L = kf_state_new(&host);
  if (!L) return 1;
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, &arguments);
  int code = 0;
  if (kf_call(L, 1, 1) != LUA_OK) {
    kf_error_text(L);
    fprintf(stderr, "kfhost: %s\n", lua_tostring(L, -1));
    code = 1;
  } else if (lua_isinteger(L, -1)) {
    code = (int)lua_tointeger(L, -1);
  }
  kf_state_close(L);
  return code;
}
