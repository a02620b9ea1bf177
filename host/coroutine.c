#include "error.h"
#include "scheduler.h"
#include "state.h"
#include "task.h"

#include <lauxlib.h>

// --- coroutine.resume, wrap, yield --------------------------------------------------------------

static int finish_resume(lua_State *L, lua_State *coroutine, int status, int count, bool wrap) {
  if (status == LUA_OK || status == LUA_YIELD) {
    luaL_checkstack(L, count + 1, "too many results to resume");
    if (!wrap) lua_pushboolean(L, 1);
    lua_xmove(coroutine, L, count);
    return count + !wrap;
  }
  if (wrap) lua_resetthread(coroutine);  // runs what is to be closed; the error stays on top
  if (!wrap) lua_pushboolean(L, 0);
  lua_xmove(coroutine, L, 1);
  if (!wrap) return 2;
  if (lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static bool waits(lua_State *coroutine) {
  return lua_status(coroutine) == LUA_YIELD && lua_touserdata(coroutine, -1) == &kf_wait_mark;
}

static int resume_again(lua_State *L, int status, lua_KContext wrap);

// Resumes with `arguments` values that are on the coroutine already. A wait inside it is handed on
// to our own caller, until the task's loop has it.
static int resume(lua_State *L, lua_State *coroutine, int arguments, bool wrap) {
  struct host *host = kf_host(L);
  int count = 0;
  host->running = coroutine;
  int status = lua_resume(coroutine, L, arguments, &count);
  host->running = L;
  if (!waits(coroutine)) return finish_resume(L, coroutine, status, count, wrap);
  if (!lua_isyieldable(L)) {
    struct kf_task *task = host->scheduler->current;
    if (task && task->waiter) kf_wait_abandon(task->waiter, KF_CANCELLED);
    return luaL_error(L, "cannot wait here: the coroutine was resumed by a callback of C");
  }
  luaL_checkstack(L, 1, NULL);
  lua_pushlightuserdata(L, &kf_wait_mark);
  return lua_yieldk(L, 1, wrap, resume_again);
}

static int resume_again(lua_State *L, int status, lua_KContext wrap) {
  (void)status;
  lua_State *coroutine = lua_tothread(L, wrap ? lua_upvalueindex(1) : 1);
  lua_pop(coroutine, 1);  // the mark
  return resume(L, coroutine, 0, wrap);
}

// Why a coroutine cannot be resumed, or NULL.
static const char *unresumable(lua_State *L, lua_State *coroutine) {
  if (L == coroutine) return "cannot resume non-suspended coroutine";
  if (waits(coroutine)) return "cannot resume a coroutine that waits in another task";
  if (lua_status(coroutine) == LUA_YIELD) return NULL;
  lua_Debug activation;
  if (lua_status(coroutine) == LUA_OK) {
    if (lua_getstack(coroutine, 0, &activation)) return "cannot resume non-suspended coroutine";
    if (lua_gettop(coroutine) > 0) return NULL;
  }
  return "cannot resume dead coroutine";
}

static int l_resume(lua_State *L) {
  lua_State *coroutine = lua_tothread(L, 1);
  luaL_argexpected(L, coroutine, 1, "coroutine");
  int arguments = lua_gettop(L) - 1;
  const char *problem = unresumable(L, coroutine);
  if (!problem && !lua_checkstack(coroutine, arguments)) problem = "too many arguments to resume";
  if (problem) {
    lua_pushboolean(L, 0);
    lua_pushstring(L, problem);
    return 2;
  }
  lua_xmove(L, coroutine, arguments);
  return resume(L, coroutine, arguments, false);
}

static int l_wrapped(lua_State *L) {
  lua_State *coroutine = lua_tothread(L, lua_upvalueindex(1));
  int arguments = lua_gettop(L);
  const char *problem = unresumable(L, coroutine);
  if (!problem && !lua_checkstack(coroutine, arguments)) problem = "too many arguments to resume";
  if (problem) return luaL_error(L, "%s", problem);
  lua_xmove(L, coroutine, arguments);
  return resume(L, coroutine, arguments, true);
}

static int l_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *coroutine = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, coroutine, 1);
  lua_pushcclosure(L, l_wrapped, 1);
  return 1;
}

// coroutine.yield(…) with a hint where Lua's own message has none
static int l_yield(lua_State *L) {
  const struct kf_task *task = kf_host(L)->scheduler->current;
  if (task && task->coroutine == L)
    return luaL_error(L, "attempt to yield from outside a coroutine");
  if (!lua_isyieldable(L))
    return luaL_error(L, "attempt to yield across a C-call boundary: not possible while a module "
                         "loads, nor in a sort comparator, a gsub function, __gc or __tostring");
  return lua_yield(L, lua_gettop(L));
}

// coroutine.close(co), but not under a wait that another task has in it
static int l_close(lua_State *L) {
  lua_State *coroutine = lua_tothread(L, 1);
  if (coroutine && waits(coroutine))
    return luaL_error(L, "cannot close a coroutine that waits in another task");
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

void kf_coroutine_install(lua_State *L) {
  static const luaL_Reg replacements[] = {
      {"resume", l_resume}, {"wrap", l_wrap}, {"yield", l_yield}, {NULL, NULL}};
  lua_getglobal(L, "coroutine");
  luaL_setfuncs(L, replacements, 0);
  lua_getfield(L, -1, "close");
  lua_pushcclosure(L, l_close, 1);
  lua_setfield(L, -2, "close");
  lua_pop(L, 1);
}
