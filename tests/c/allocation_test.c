// Every codec must survive a failure of each of its allocations: the error is memory's, nothing is
// lost (the leak checker of the asan build sees to that) and the state works on.
#include "tap.h"

#include "state.h"
#include "values.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

int luaopen_kf_json(lua_State *L);
int luaopen_kf_yaml(lua_State *L);

// Allocations fail after `left` more and from then on: Lua collects and tries again, so that a single
// failure would never be seen.
struct budget {
  long left;
  bool counts, failed;
};

// The budget of the state under test. The linker sends every malloc of the program through here, so
// that the allocations of the codecs and of libyaml fail too.
static struct budget *active;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);

static bool spend(void) {
  if (!active || !active->counts) return true;
  if (active->left == 0) active->failed = true;
  else active->left--;
  return !active->failed;
}

void *__wrap_malloc(size_t size) {
  return spend() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size) {
  return spend() ? __real_calloc(count, size) : NULL;
}

void *__wrap_realloc(void *block, size_t size) {
  return spend() ? __real_realloc(block, size) : NULL;
}

static void *allocate(void *data, void *block, size_t old_size, size_t size) {
  (void)data;
  if (size == 0) {
    free(block);
    return NULL;
  }
  // Lua relies on blocks that shrink without failure.
  if ((!block || size > old_size) && !spend()) return NULL;
  return __real_realloc(block, size);
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

// Code that returns true when all went well, or when nothing did but a want of memory.
static void test_codec(const char *name, const char *code) {
  struct budget budget = {0};
  active = &budget;
  lua_State *L = lua_newstate(allocate, NULL);
  if (!L) {
    tap_ok(false, name);
    return;
  }
  luaL_openlibs(L);
  kf_values_prepare(L);
  luaL_requiref(L, "json", luaopen_kf_json, 1);
  luaL_requiref(L, "yaml", luaopen_kf_yaml, 1);
  lua_settop(L, 0);
  // Lua's own buffers make their metatable in two steps, once; here it is not what is tested.
  bool warm = luaL_dostring(L, "return ('x'):rep(5000)") == LUA_OK;
  lua_settop(L, 0);
  bool loaded = warm && luaL_loadstring(L, code) == LUA_OK;
  if (!loaded) fprintf(stderr, "# %s\n", lua_tostring(L, -1));
  tap_ok(loaded && survives(L, &budget), name);
  lua_close(L);
  active = NULL;
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
  test_codec("reading YAML survives each allocation that fails",
             "local v = yaml.decode('a: &x [1, 2.5, \"b\\\\u00e9\", ~, yes]\\nb:\\n  c: |\\n    text\\n'\n"
             "  .. '    more\\n  d: *x\\n  <<: {e: ' .. ('z'):rep(3000) .. '}\\n')\n"
             "return v.a[2] == 2.5 and #v.b.d == 5 and #v.b.e == 3000");
  test_codec("reading several documents of YAML survives each allocation that fails",
             "local all = yaml.decode_all('a: 1\\n---\\n- [b, {c: d}]\\n---\\nx\\n')\n"
             "return #all == 3 and all[2][1][2].c == 'd'");
  test_codec("an error of reading YAML survives each allocation that fails",
             "for text, path in pairs {['a: {b: 1, b: 2}'] = '$.a', ['a: [1'] = false, ['a: *x'] = false} do\n"
             "  local ok, err = pcall(yaml.decode, text)\n"
             "  if ok or err ~= 'not enough memory' and (err.code ~= 'YAML' or path and err.path ~= path) then\n"
             "    return false\n"
             "  end\n"
             "end\n"
             "return true");
  test_codec("writing YAML survives each allocation that fails",
             "local t = {a = json.array {1, 2.5, 'x\\ny\\n'}, b = json.object {}, c = ('y'):rep(3000), d = '1'}\n"
             "return #yaml.encode(t) > 3000 and #yaml.encode_all {t, t} > 6000");
  test_codec("an error of writing YAML survives each allocation that fails",
             "local ok, err = pcall(yaml.encode, {a = {'text', 0 / 0}})\n"
             "return not ok and (err == 'not enough memory' or err.path == '$.a[1]')");
  return tap_done();
}
