// sandbox.open: a sandbox that is kept over many calls. What it offers are the functions that its
// code puts into the table `exports`, which each chunk gets as its argument.
#include "kept.h"

#include "error.h"
#include "registry.h"
#include "sandbox.h"
#include "task.h"
#include "values.h"

#include <math.h>
#include <string.h>

#define TYPE_SANDBOX "kfhost.sandbox"
#define EXPORTS "kfhost.exports"

struct kept {
  struct kf_sandbox *sandbox;  // NULL when closed
};

// What code that is not trusted may have of the C modules: functions of their arguments alone.
static const char *const pure_modules[] = {"json",      "yaml",       "hash",  "cel",
                                           "kube.core", "katib.core", "regex", NULL};

static bool is_pure(const char *name) {
  for (const char *const *known = pure_modules; *known; known++)
    if (strcmp(name, *known) == 0) return true;
  return false;
}

static lua_CFunction find_module(const char *name) {
  for (const luaL_Reg *entry = kf_registry; entry->name; entry++)
    if (strcmp(entry->name, name) == 0) return entry->func;
  return NULL;
}

static struct kept *check_kept(lua_State *L) {
  struct kept *kept = luaL_checkudata(L, 1, TYPE_SANDBOX);
  luaL_argcheck(L, kept->sandbox, 1, "the sandbox is closed");
  return kept;
}

// --- inside the sandbox, protected ------------------------------------------------------------------

// [name, open] makes a C module one that `require` finds.
static int provide_module(lua_State *L) {
  luaL_requiref(L, lua_tostring(L, 1), lua_tocfunction(L, 2), 0);
  return 0;
}

// [the host's state; index there of {name, text, chunk name}] keeps a text for `require`.
static int provide_text(lua_State *L) {
  lua_State *from = lua_touserdata(L, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, KF_SANDBOX_SOURCES);
  kf_sandbox_copy(L, from, -1);
  lua_setfield(L, -2, lua_tostring(from, -2));
  return 0;
}

static int prepare(lua_State *L) {
  kf_values_prepare(L);
  luaL_requiref(L, "errors", luaopen_kf_errors, 0);
  lua_newtable(L);
  lua_setfield(L, LUA_REGISTRYINDEX, EXPORTS);
  return 0;
}

struct crossing {
  lua_State *from;
  int first, last;
};

// [function, …, crossing on top] calls it with copies of the crossing's values.
static int call_with_copies(lua_State *L) {
  const struct crossing *crossing = lua_touserdata(L, -1);
  lua_pop(L, 1);
  luaL_checkstack(L, crossing->last - crossing->first + 8, "too many arguments");
  for (int i = crossing->first; i <= crossing->last; i++) kf_sandbox_copy(L, crossing->from, i);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

// [crossing of a name and arguments] calls the exported function of that name.
static int call_export(lua_State *L) {
  const struct crossing *crossing = lua_touserdata(L, 1);
  const char *name = lua_tostring(crossing->from, crossing->first - 1);
  lua_getfield(L, LUA_REGISTRYINDEX, EXPORTS);
  if (lua_getfield(L, -1, name) != LUA_TFUNCTION) return luaL_error(L, "nothing exported as '%s'", name);
  lua_replace(L, 2);
  lua_insert(L, 1);
  return call_with_copies(L);
}

// --- results ----------------------------------------------------------------------------------------

// [results or an error on the sandbox's stack] gives copies of them, or nil and the error.
static int finish(lua_State *L, struct kf_sandbox *sandbox, int status) {
  lua_State *inside = kf_sandbox_state(sandbox);
  lua_settop(L, 0);
  if (status != LUA_OK) {
    lua_pushnil(L);
    kf_sandbox_push_error(sandbox, status, L);
    lua_settop(inside, 0);
    return 2;
  }
  int count = lua_gettop(inside);
  luaL_checkstack(L, count + 8, "too many results");
  for (int i = 1; i <= count; i++) kf_sandbox_copy(L, inside, i);
  lua_settop(inside, 0);
  return count;
}

// Copies may fail half-way: nothing of this call may stay on the sandbox's stack for the next.
static lua_State *clean(struct kept *kept) {
  lua_State *inside = kf_sandbox_state(kept->sandbox);
  lua_settop(inside, 0);
  return inside;
}

enum { TIDY_PAUSE = 400 };  // percent of what is alive

// --- what Lua calls ---------------------------------------------------------------------------------

// s:run(code, name, timeout, …) -> what the chunk returns, or nil, error
static int l_run(lua_State *L) {
  struct kept *kept = check_kept(L);
  size_t length;
  const char *code = luaL_checklstring(L, 2, &length);
  const char *name = luaL_checkstring(L, 3);
  double seconds = kf_check_seconds(L, 4);
  lua_State *inside = clean(kept);
  lua_pushcfunction(inside, call_with_copies);
  int status = kf_sandbox_load(kept->sandbox, code, length, name, seconds);
  if (status != LUA_OK) {
    lua_remove(inside, 1);
    return finish(L, kept->sandbox, status);
  }
  struct crossing crossing = {L, 5, lua_gettop(L)};
  lua_getfield(inside, LUA_REGISTRYINDEX, EXPORTS);
  lua_pushlightuserdata(inside, &crossing);
  return finish(L, kept->sandbox, kf_sandbox_call(kept->sandbox, 3, LUA_MULTRET, seconds));
}

// s:call(name, timeout, …) -> what the exported function returns, or nil, error
static int l_call(lua_State *L) {
  struct kept *kept = check_kept(L);
  luaL_checkstring(L, 2);
  double seconds = kf_check_seconds(L, 3);
  lua_pushvalue(L, 2);
  lua_replace(L, 3);
  struct crossing crossing = {L, 4, lua_gettop(L)};
  lua_State *inside = clean(kept);
  lua_pushcfunction(inside, call_export);
  lua_pushlightuserdata(inside, &crossing);
  return finish(L, kept->sandbox, kf_sandbox_call(kept->sandbox, 1, LUA_MULTRET, seconds));
}

// s:used() -> bytes that the sandbox's values take
static int l_used(lua_State *L) {
  lua_State *inside = kf_sandbox_state(check_kept(L)->sandbox);
  lua_pushinteger(L, (lua_Integer)lua_gc(inside, LUA_GCCOUNT) * 1024 + lua_gc(inside, LUA_GCCOUNTB));
  return 1;
}

// s:limit(bytes): from now on the code may use so much
static int l_limit(lua_State *L) {
  struct kept *kept = check_kept(L);
  lua_Integer bytes = luaL_checkinteger(L, 2);
  luaL_argcheck(L, bytes > 0, 2, "bytes expected");
  kf_sandbox_set_limit(kept->sandbox, (size_t)bytes);
  return 0;
}

// s:collect(): frees what the sandbox no longer reaches; between calls, when there is time.
static int l_collect(lua_State *L) {
  lua_gc(kf_sandbox_state(check_kept(L)->sandbox), LUA_GCCOLLECT);
  return 0;
}

// s:tidy(bytes): does the collector's work for so many bytes now, so that calls need not do it.
static int l_tidy(lua_State *L) {
  struct kept *kept = check_kept(L);
  lua_Integer bytes = luaL_checkinteger(L, 2);
  int kilobytes = bytes > (1 << 30) ? 1 << 20 : (int)(bytes / 1024);
  lua_State *inside = kf_sandbox_state(kept->sandbox);
  // What is tidied up between calls may lie for longer until the next round begins.
  if (!kf_host(inside)->gc_stress) lua_gc(inside, LUA_GCINC, TIDY_PAUSE, 0, 0);
  if (kilobytes > 0) lua_gc(inside, LUA_GCSTEP, kilobytes);
  return 0;
}

static int l_close(lua_State *L) {
  struct kept *kept = luaL_checkudata(L, 1, TYPE_SANDBOX);
  kf_sandbox_free(kept->sandbox);
  kept->sandbox = NULL;
  return 0;
}

static const luaL_Reg methods[] = {
    {"run", l_run},     {"call", l_call},   {"used", l_used}, {"limit", l_limit}, {"collect", l_collect},
    {"tidy", l_tidy},   {"close", l_close}, {"__gc", l_close}, {"__close", l_close}, {NULL, NULL},
};

// --- opening ----------------------------------------------------------------------------------------

static void provide(lua_State *L, struct kept *kept) {
  lua_State *inside = clean(kept);
  if (lua_type(L, -1) == LUA_TSTRING) {  // list of C modules: [index] = name
    const char *name = lua_tostring(L, -1);
    lua_CFunction open = is_pure(name) ? find_module(name) : NULL;
    if (!open) luaL_error(L, "module '%s' is not for sandboxes", name);
    lua_pushcfunction(inside, provide_module);
    lua_pushstring(inside, name);
    lua_pushcfunction(inside, open);
    if (kf_sandbox_call(kept->sandbox, 2, 0, HUGE_VAL) != LUA_OK) luaL_error(L, "no memory for module '%s'", name);
    return;
  }
  luaL_argcheck(L, lua_istable(L, -1) && lua_type(L, -2) == LUA_TSTRING, 1,
                "modules must name C modules, or be {text, chunk name} by name");
  lua_pushcfunction(inside, provide_text);
  lua_pushlightuserdata(inside, L);
  if (kf_sandbox_call(kept->sandbox, 1, 0, HUGE_VAL) != LUA_OK)
    luaL_error(L, "no memory for module '%s'", lua_tostring(L, -2));
}

int kf_sandbox_open(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "memory");
  lua_Integer memory = luaL_optinteger(L, -1, KF_SANDBOX_MEMORY);
  luaL_argcheck(L, memory >= KF_SANDBOX_LEAST_MEMORY, 1, "memory must be 262144 bytes at least");
  struct kept *kept = lua_newuserdatauv(L, sizeof *kept, 0);
  kept->sandbox = NULL;
  luaL_setmetatable(L, TYPE_SANDBOX);  // options memory kept
  kept->sandbox = kf_sandbox_new((size_t)memory, kf_host(L)->gc_stress);
  if (!kept->sandbox) return luaL_error(L, "not enough memory for a sandbox");
  lua_pushcfunction(kf_sandbox_state(kept->sandbox), prepare);
  if (kf_sandbox_call(kept->sandbox, 0, 0, HUGE_VAL) != LUA_OK)
    return luaL_error(L, "not enough memory for a sandbox");
  if (lua_getfield(L, 1, "modules") == LUA_TTABLE) {
    for (lua_pushnil(L); lua_next(L, 4); lua_pop(L, 1)) provide(L, kept);
  }
  lua_settop(L, 3);
  return 1;
}

void kf_sandbox_open_prepare(lua_State *L) {
  luaL_newmetatable(L, TYPE_SANDBOX);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
