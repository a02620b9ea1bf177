// Every codec must survive a failure of each of its allocations: the error is memory's, nothing is
// lost (the leak checker of the asan build sees to that) and the state works on.
#include "tap.h"

#include "state.h"
#include "values.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

int luaopen_kf_json(lua_State *L);

// An allocator that fails after `left` more allocations and from then on: Lua collects and tries
// again, so that a single failure would never be seen.
struct budget {
  long left;
  bool counts, failed;
};

static void *allocate(void *data, void *block, size_t old_size, size_t size) {
  struct budget *budget = data;
  if (size == 0) {
    free(block);
    return NULL;
  }
  // Lua relies on blocks that shrink without failure.
  if (budget->counts && (!block || size > old_size)) {
    if (budget->left == 0) {
      budget->failed = true;
      return NULL;
    }
    budget->left--;
  }
  return realloc(block, size);
}

// Runs the function at index 1 once for each allocation that may fail, until it succeeds; false
// when something else goes wrong.
static bool survives(lua_State *L, struct budget *budget) {
  for (long allocation = 0; allocation < 100000; allocation++) {
    lua_settop(L, 1);
    lua_gc(L, LUA_GCCOLLECT);
    lua_pushvalue(L, 1);
    *budget = (struct budget){.left = allocation, .counts = true};
    int status = lua_pcall(L, 0, 1, 0);
    budget->counts = false;
    if (status != LUA_OK && status != LUA_ERRMEM) {
      printf("# allocation %ld: %s\n", allocation, lua_tostring(L, -1));
      return false;
    }
    if (status == LUA_OK && !lua_toboolean(L, -1)) return false;
    if (!budget->failed) return status == LUA_OK && allocation > 0;
  }
  return false;
}

static void test_codec(const char *name, const char *code) {
  struct budget budget = {0};
  lua_State *L = lua_newstate(allocate, &budget);
  if (!L) {
    tap_ok(false, name);
    return;
  }
  luaL_openlibs(L);
  kf_values_prepare(L);
  luaL_requiref(L, "json", luaopen_kf_json, 1);
  lua_settop(L, 0);
  // Lua's own buffers make their metatable in two steps, once; here it is not what is tested.
  bool warm = luaL_dostring(L, "return ('x'):rep(5000)") == LUA_OK;
  lua_settop(L, 0);
  bool loaded = warm && luaL_loadstring(L, code) == LUA_OK;
  if (!loaded) fprintf(stderr, "# %s\n", lua_tostring(L, -1));
  tap_ok(loaded && survives(L, &budget), name);
  lua_close(L);
}

int main(void) {
  test_codec("decoding survives each allocation that fails",
             "local v = json.decode([==[{\"a\":[1,2.5,\"b\\u00e9\",null,true],\"c\":{\"d\":[]},"
             "\"long\":\"" "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}]==])\n"
             "return #v.a == 5 and v.a[2] == 2.5");
  test_codec("an error of decoding survives each allocation that fails",
             "local v, err = pcall(json.decode, '{\"a\":[1,{\"b\":tru}]}')\n"
             "return not v and (err == 'not enough memory' or err.path == '$.a[1].b')");
  test_codec("encoding survives each allocation that fails",
             "local t = {a = json.array {1, 2.5, 'x\\n'}, b = json.object {}, c = ('y'):rep(3000)}\n"
             "return #json.encode(t, {sort = true, indent = 2}) > 3000");
  test_codec("an error of encoding survives each allocation that fails",
             "local ok, err = pcall(json.encode, {a = {'text', 0 / 0}})\n"
             "return not ok and (err == 'not enough memory' or err.path == '$.a[1]')");
  return tap_done();
}
