// require "host": which program this is; and, for the test runner, a look into the loop.
#include "loop.h"
#include "scripts.h"
#include "state.h"
#include "task.h"

#include <event2/event.h>
#include <lauxlib.h>
#include <tree_sitter/api.h>
#include <unistd.h>
#include <yaml.h>

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

// host.libraries() -> {name = version} of what is linked in
static int l_libraries(lua_State *L) {
  lua_createtable(L, 0, 4);
  lua_pushliteral(L, LUA_VERSION_MAJOR "." LUA_VERSION_MINOR "." LUA_VERSION_RELEASE);
  lua_setfield(L, -2, "Lua");
  lua_pushstring(L, event_get_version());
  lua_setfield(L, -2, "libevent");
  lua_pushstring(L, yaml_get_version_string());
  lua_setfield(L, -2, "libyaml");
  lua_pushfstring(L, "ABI %d", TREE_SITTER_LANGUAGE_VERSION);
  lua_setfield(L, -2, "tree-sitter");
  return 1;
}

// host.scripts() -> names of the embedded files, "cmd/help.lua" for instance, sorted
static int l_scripts(lua_State *L) {
  lua_createtable(L, (int)kf_embedded_count, 0);
  for (size_t i = 0; i < kf_embedded_count; i++) {
    lua_pushstring(L, kf_embedded[i].name);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static const luaL_Reg functions[] = {
    {"executable", l_executable}, {"manual_time", l_manual_time}, {"advance", l_advance},
    {"pending", l_pending},       {"gc_stress", l_gc_stress},     {"pid", l_pid},
    {"libraries", l_libraries},   {"scripts", l_scripts},         {NULL, NULL},
};

int luaopen_kf_host(lua_State *L) {
  luaL_newlib(L, functions);
  lua_pushliteral(L, KFHOST_VERSION);
  lua_setfield(L, -2, "version");
  return 1;
}
