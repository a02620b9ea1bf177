// require "host": which program this is; and, for the test runner, a look into the loop.
#include "loop.h"
#include "program.h"
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
  const char *path = kf_program_path();
  if (!path) return luaL_error(L, "cannot find this program's own path");
  lua_pushstring(L, path);
  return 1;
}

// host.testing.run(fn, …) -> ok, result | error, {tasks=, timers=, watches=}: runs fn as the main
// task of a loop of its own, whose time moves only by advance; then what it left behind.
static int l_run(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  struct kf_leftovers left;
  int status = kf_run_isolated(L, lua_gettop(L) - 1, &left);
  if (status == LUA_OK) lua_rawgeti(L, -1, 1);
  lua_pushboolean(L, status == LUA_OK);
  lua_insert(L, -2);
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, (lua_Integer)left.tasks);
  lua_setfield(L, -2, "tasks");
  lua_pushinteger(L, (lua_Integer)left.timers);
  lua_setfield(L, -2, "timers");
  lua_pushinteger(L, (lua_Integer)left.watches);
  lua_setfield(L, -2, "watches");
  return 3;
}

static int advanced(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  kf_waited(L, lua_touserdata(L, -1));
  return 0;
}

// host.testing.advance(seconds): lets time pass; timers that become due fire in their order.
static int l_advance(lua_State *L) {
  luaL_checkany(L, 1);
  struct kf_loop *loop = kf_host(L)->loop;
  double until = kf_deadline(L, 1);
  struct kf_waiter *waiter = lua_newuserdatauv(L, sizeof *waiter, 0);
  *waiter = (struct kf_waiter){0};
  kf_loop_allow(loop, until);
  return kf_wait(L, waiter, until, 0, advanced);
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

// host.options() -> {context = "team", readonly = true, …}: what the command line says of connections
static int l_options(lua_State *L) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, KF_OPTIONS) != LUA_TTABLE) lua_newtable(L);
  return 1;
}

static const luaL_Reg functions[] = {
    {"executable", l_executable}, {"gc_stress", l_gc_stress}, {"pid", l_pid}, {"libraries", l_libraries},
    {"scripts", l_scripts},       {"options", l_options},     {NULL, NULL},
};

static const luaL_Reg testing_functions[] = {{"run", l_run}, {"advance", l_advance}, {NULL, NULL}};

int luaopen_kf_host(lua_State *L) {
  luaL_newlib(L, functions);
  lua_pushliteral(L, KFHOST_VERSION);
  lua_setfield(L, -2, "version");
  luaL_newlib(L, testing_functions);
  lua_setfield(L, -2, "testing");
  return 1;
}
