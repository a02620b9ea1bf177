#include "state.h"

#include "error.h"
#include "loop.h"
#include "scripts.h"
#include "task.h"
#include "values.h"

#include <lualib.h>
#include <limits.h>
#include <string.h>

struct host *kf_host(lua_State *L) {
  return *(struct host **)lua_getextraspace(L);
}

static int traceback(lua_State *L) {
  if (lua_istable(L, 1)) {
    if (lua_getmetatable(L, 1)) {
      luaL_traceback(L, L, NULL, 1);
      lua_setfield(L, 1, "traceback");
    }
    lua_settop(L, 1);
    return 1;
  }
  lua_settop(L, 1);
  kf_error_text(L);
  luaL_traceback(L, L, lua_tostring(L, 1), 1);
  return 1;
}

int kf_call(lua_State *L, int nargs, int nresults) {
  int handler = lua_gettop(L) - nargs;
  lua_pushcfunction(L, traceback);
  lua_insert(L, handler);
  int status = lua_pcall(L, nargs, nresults, handler);
  lua_remove(L, handler);
  return status;
}

// load(chunk, name, mode, env) that takes text only: bytecode can crash the interpreter.
static int l_load(lua_State *L) {
  lua_settop(L, lua_gettop(L) < 4 ? 3 : 4);
  lua_pushliteral(L, "t");
  lua_replace(L, 3);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

// loadfile(name, mode, env), text only.
static int l_loadfile(lua_State *L) {
  lua_settop(L, lua_gettop(L) < 3 ? 2 : 3);
  lua_pushliteral(L, "t");
  lua_replace(L, 2);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int all_results(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  return lua_gettop(L) - 1;
}

// dofile(name), text only.
static int l_dofile(lua_State *L) {
  const char *name = luaL_optstring(L, 1, NULL);
  lua_settop(L, 1);
  if (luaL_loadfilex(L, name, "t") != LUA_OK) return lua_error(L);
  lua_callk(L, 0, LUA_MULTRET, 0, all_results);
  return all_results(L, LUA_OK, 0);
}

// os.exit(code) that closes the state, so that handles and children do not outlive it; with false as
// its second argument it does not, as Lua's own.
static int l_exit(lua_State *L) {
  bool closes = lua_isnoneornil(L, 2) || lua_toboolean(L, 2);
  lua_settop(L, 1);
  kf_loop_forget(kf_host(L)->loop);
  lua_pushvalue(L, lua_upvalueindex(1));
  if (lua_isnil(L, 1)) lua_pushboolean(L, 1);
  else lua_pushvalue(L, 1);
  lua_pushboolean(L, closes);
  lua_call(L, 2, 0);
  return 0;
}

static void wrap_exit(lua_State *L) {
  lua_getglobal(L, "os");
  lua_getfield(L, -1, "exit");
  lua_pushcclosure(L, l_exit, 1);
  lua_setfield(L, -2, "exit");
  lua_pop(L, 1);
}

static void wrap_global(lua_State *L, const char *name, lua_CFunction wrapper) {
  lua_getglobal(L, name);
  lua_pushcclosure(L, wrapper, 1);
  lua_setglobal(L, name);
}

// --- beginning and end --------------------------------------------------------------------------

#ifdef __SANITIZE_ADDRESS__
enum { LARGE_HEAP = INT_MAX };  // what is not freed would be told as leaks
#else
enum { LARGE_HEAP = 16 << 10 };  // kilobytes
#endif

// __gc of the first value of a state, which is collected last.
static int l_all_closed(lua_State *L) {
  struct host *host = kf_host(L);
  if (host->ending) longjmp(*host->ending, 1);
  return 0;
}

static void add_last_closed(lua_State *L) {
  lua_newuserdatauv(L, 0, 0);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_all_closed);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, (void *)l_all_closed);
}

static int open_libraries(lua_State *L) {
  add_last_closed(L);
  lua_pushboolean(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  luaL_openlibs(L);
  wrap_global(L, "load", l_load);
  wrap_global(L, "loadfile", l_loadfile);
  lua_register(L, "dofile", l_dofile);
  wrap_exit(L);
  lua_warning(L, "@on", 0);  // an error in __gc can only be told as a warning
  luaL_requiref(L, "errors", luaopen_kf_errors, 0);
  kf_values_prepare(L);
  kf_task_prepare(L);
  kf_coroutine_install(L);
  kf_scripts_install(L);
  return 0;
}

lua_State *kf_state_new(struct host *host) {
  lua_State *L = luaL_newstate();
  if (!L) return NULL;
  *(struct host **)lua_getextraspace(L) = host;
  host->running = L;
  host->loop = kf_loop_new();
  host->scheduler = kf_scheduler_new(L, host);
  lua_pushcfunction(L, open_libraries);
  if (!host->loop || !host->scheduler || lua_pcall(L, 0, 0, 0) != LUA_OK) {
    kf_state_close(L);
    return NULL;
  }
  // Bursts of the default setting cost 20 ms pauses with large heaps; this one a quarter of that.
  lua_gc(L, LUA_GCINC, 200, host->gc_stress ? 1000 : 10, host->gc_stress ? 1 : 0);
  return L;
}

void kf_state_close(lua_State *L) {
  struct host *host = kf_host(L);
  if (host->loop) kf_loop_forget(host->loop);  // what is started lies in memory that goes now
  lua_close(L);
  kf_scheduler_free(host->scheduler);
  kf_loop_free(host->loop);
}

void kf_state_end(lua_State *L) {
  struct host *host = kf_host(L);
  jmp_buf ending;
  if (lua_gc(L, LUA_GCCOUNT) >= LARGE_HEAP) {
    host->ending = &ending;
    if (setjmp(ending)) return;
  }
  kf_state_close(L);
}
