// require "host": which program this is; and, for the test runner, a look into the loop.
#include "loop.h"
#include "state.h"
#include "task.h"

#include <lauxlib.h>
#include <unistd.h>

int luaopen_kf_host(lua_State *L);

// host.executable() -> path of this program
static int l_executable(lua_State *L) {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  if (length < 0) return luaL_error(L, "cannot find this program's own path");
  lua_pushlstring(L, path, (size_t)length);
  return 1;
}

// host.manual_time(on): the clock stands still and moves by host.advance (tests only).
static int l_manual_time(lua_State *L) {
  kf_loop_set_manual_time(kf_host(L)->loop, lua_toboolean(L, 1));
  return 0;
}

// host.advance(seconds)
static int l_advance(lua_State *L) {
  kf_loop_advance(kf_host(L)->loop, kf_check_seconds(L, 1));
  return 0;
}

// host.pending() -> timers, watches: what the loop still waits for
static int l_pending(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)kf_loop_timers(kf_host(L)->loop));
  lua_pushinteger(L, (lua_Integer)kf_loop_watches(kf_host(L)->loop));
  return 2;
}

// host.gc_stress() -> whether garbage is collected all the time (--gc-stress)
static int l_gc_stress(lua_State *L) {
  lua_pushboolean(L, kf_host(L)->gc_stress);
  return 1;
}

// host.pid() -> this process
static int l_pid(lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

static const luaL_Reg functions[] = {
    {"executable", l_executable}, {"manual_time", l_manual_time}, {"advance", l_advance},
    {"pending", l_pending},       {"gc_stress", l_gc_stress},     {"pid", l_pid},
    {NULL, NULL},
};

int luaopen_kf_host(lua_State *L) {
  luaL_newlib(L, functions);
  lua_pushliteral(L, KFHOST_VERSION);
  lua_setfield(L, -2, "version");
  return 1;
}
