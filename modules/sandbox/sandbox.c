// require "sandbox": runs code that is not trusted: once, or (kept.c) in a state that is kept.
#include "sandbox.h"

#include "error.h"
#include "kept.h"
#include "task.h"

#include <math.h>
#include <time.h>

#define DEFAULT_SECONDS 1.0

int luaopen_kf_sandbox(lua_State *L);

struct run {
  lua_State *L;  // the caller's
  struct kf_sandbox *sandbox;
  const char *code, *name;
  size_t length, memory;
  double seconds;
};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// [host state's `globals` at index 1] puts copies of them into the sandbox.
static int set_globals(lua_State *L) {
  lua_State *from = lua_touserdata(L, 1);
  lua_pushglobaltable(L);
  kf_sandbox_copy(L, from, -1);
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_settable(L, 2);
  }
  return 0;
}

// [globals on top of the caller's stack] LUA_OK, or a status with the error in the sandbox.
static int prepare(struct run *run) {
  lua_State *inside = kf_sandbox_state(run->sandbox);
  if (lua_istable(run->L, -1)) {
    lua_pushcfunction(inside, set_globals);
    lua_pushlightuserdata(inside, run->L);
    int status = kf_sandbox_call(run->sandbox, 1, 0, HUGE_VAL);
    if (status != LUA_OK) return status;
  }
  return kf_sandbox_load(run->sandbox, run->code, run->length, run->name, run->seconds);
}

// Runs under a protected call, so that the sandbox is freed whatever happens here.
static int run_code(lua_State *L) {
  struct run *run = lua_touserdata(L, 1);
  lua_State *inside = kf_sandbox_state(run->sandbox);
  run->L = L;
  double deadline = now() + run->seconds;
  int status = prepare(run);  // globals are argument 2
  lua_settop(L, 0);
  double left = fmax(deadline - now(), 1e-6);
  if (status == LUA_OK) status = kf_sandbox_call(run->sandbox, 0, LUA_MULTRET, left);
  if (status != LUA_OK) {
    lua_pushnil(L);
    kf_sandbox_push_error(run->sandbox, status, L);
    return 2;
  }
  int count = lua_gettop(inside);
  luaL_checkstack(L, count + 8, "too many results");
  for (int i = 1; i <= count; i++) kf_sandbox_copy(L, inside, i);
  return count;
}

static void read_options(lua_State *L, struct run *run) {
  if (lua_isnoneornil(L, 2)) {
    lua_settop(L, 1);
    lua_newtable(L);
  }
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  if (lua_getfield(L, 2, "timeout") != LUA_TNIL) run->seconds = kf_check_seconds(L, 3);
  luaL_argcheck(L, run->seconds > 0, 2, "timeout must be more than 0");
  if (lua_getfield(L, 2, "memory") != LUA_TNIL) {
    lua_Integer memory = luaL_checkinteger(L, 4);
    luaL_argcheck(L, memory >= KF_SANDBOX_LEAST_MEMORY, 2, "memory must be 262144 bytes at least");
    run->memory = (size_t)memory;
  }
  if (lua_getfield(L, 2, "name") != LUA_TNIL) run->name = luaL_checkstring(L, 5);
  lua_getfield(L, 2, "globals");
  luaL_argcheck(L, lua_isnil(L, 6) || lua_istable(L, 6), 2, "globals must be a table");
}

// sandbox.run(code, {globals=, timeout=, memory=, name=}) -> what the code returns, or nil, error
static int l_run(lua_State *L) {
  struct run run = {.seconds = DEFAULT_SECONDS, .memory = KF_SANDBOX_MEMORY, .name = "=sandbox"};
  run.code = luaL_checklstring(L, 1, &run.length);
  read_options(L, &run);  // code options timeout memory name globals
  lua_pushcfunction(L, run_code);
  lua_insert(L, 6);
  lua_pushlightuserdata(L, &run);
  lua_insert(L, 7);  // … run_code run globals
  run.sandbox = kf_sandbox_new(run.memory, kf_host(L)->gc_stress);
  if (!run.sandbox) return luaL_error(L, "not enough memory for a sandbox");
  int status = lua_pcall(L, 2, LUA_MULTRET, 0);
  kf_sandbox_free(run.sandbox);
  if (status != LUA_OK) {  // a result that cannot be copied
    if (status == LUA_ERRMEM || lua_type(L, -1) == LUA_TSTRING) return lua_error(L);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
  }
  return lua_gettop(L) - 5;
}

static const luaL_Reg functions[] = {{"run", l_run}, {"open", kf_sandbox_open}, {NULL, NULL}};

int luaopen_kf_sandbox(lua_State *L) {
  kf_sandbox_open_prepare(L);
  luaL_newlib(L, functions);
  return 1;
}
