// The Lua side of tasks: the module `task.core`, which scripts/lib/task.lua completes.
#include "error.h"
#include "scheduler.h"
#include "state.h"
#include "task.h"

#include <lauxlib.h>

#define TYPE_EVENT "kfhost.event"

static struct kf_task *check_task(lua_State *L) {
  return luaL_checkudata(L, 1, KF_TYPE_TASK);
}

// task.spawn(fn, …) -> task
static int l_spawn(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  kf_task_spawn(L, lua_gettop(L) - 1);
  return 1;
}

// task.last(fn, …) -> task   one that the end of the program does not cancel, but waits for
static int l_last(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  kf_task_spawn_last(L, lua_gettop(L) - 1);
  return 1;
}

// t:cancel(): its wait, and every further one, raises "Cancelled".
static int l_cancel(lua_State *L) {
  kf_task_cancel(check_task(L));
  return 0;
}

static int joined(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  struct kf_task *task = check_task(L);
  if (!kf_gate_waited(L)) return kf_fail(L, "Timeout", "the task did not end in time");
  lua_getiuservalue(L, 1, KF_TASK_RESULT);
  kf_task_forget_failure(L, task);
  if (task->failed) return lua_error(L);
  lua_getfield(L, -1, "n");
  int count = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  luaL_checkstack(L, count, "too many results");
  for (int i = 1; i <= count; i++) lua_rawgeti(L, -i, i);
  return count;
}

// t:wait(timeout) -> what its function returned; raises what it raised, or "Timeout".
static int l_wait(lua_State *L) {
  struct kf_task *task = check_task(L);
  double deadline = kf_deadline(L, 2);
  if (task == kf_host(L)->scheduler->current) return luaL_error(L, "a task cannot wait for itself");
  lua_settop(L, 1);
  return kf_gate_wait(L, &task->end, deadline, 0, joined);
}

// t:status() -> "running" | "done" | "failed"
static int l_status(lua_State *L) {
  const struct kf_task *task = check_task(L);
  lua_pushstring(L, !task->done ? "running" : task->failed ? "failed" : "done");
  return 1;
}

// task.event() -> event, closed at first
static int l_event(lua_State *L) {
  struct kf_gate *gate = lua_newuserdatauv(L, sizeof *gate, 0);
  *gate = (struct kf_gate){0};
  luaL_setmetatable(L, TYPE_EVENT);
  return 1;
}

// event:set(): whoever waits for it goes on, now and later.
static int l_event_set(lua_State *L) {
  kf_gate_open(luaL_checkudata(L, 1, TYPE_EVENT));
  return 0;
}

// event:clear(): later waits wait again.
static int l_event_clear(lua_State *L) {
  struct kf_gate *gate = luaL_checkudata(L, 1, TYPE_EVENT);
  gate->open = false;
  return 0;
}

static int event_waited(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  lua_pushboolean(L, kf_gate_waited(L));
  return 1;
}

// event:wait(timeout) -> true when it was set, false when the time is up
static int l_event_wait(lua_State *L) {
  struct kf_gate *gate = luaL_checkudata(L, 1, TYPE_EVENT);
  double deadline = kf_deadline(L, 2);
  return kf_gate_wait(L, gate, deadline, 0, event_waited);
}

static int slept(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  kf_waited(L, lua_touserdata(L, -1));
  return 0;
}

// task.sleep(seconds)
static int l_sleep(lua_State *L) {
  luaL_checkany(L, 1);
  double deadline = kf_deadline(L, 1);
  struct kf_waiter *waiter = lua_newuserdatauv(L, sizeof *waiter, 0);
  *waiter = (struct kf_waiter){0};
  return kf_wait(L, waiter, deadline, 0, slept);
}

// task.now() -> seconds on the clock that sleeps and deadlines use
static int l_now(lua_State *L) {
  lua_pushnumber(L, kf_loop_now(kf_host(L)->loop));
  return 1;
}

// task.current() -> the running task
static int l_current(lua_State *L) {
  struct kf_task *task = kf_host(L)->scheduler->current;
  if (task) kf_task_push(L, task);
  else lua_pushnil(L);
  return 1;
}

// task.foreground(task | false | nil)   SIGINT cancels that task and nothing else; false: it waits for the
// next task in the foreground; nil: it cancels all again
static int l_foreground(lua_State *L) {
  bool is_task = lua_toboolean(L, 1);
  struct kf_task *task = is_task ? luaL_checkudata(L, 1, KF_TYPE_TASK) : NULL;
  kf_task_set_foreground(L, task && !task->done ? task : NULL);
  if (!is_task) kf_task_hold_interrupts(L, lua_isboolean(L, 1));
  return 0;
}

// task.seconds("1h30m") -> 5400.0
static int l_seconds(lua_State *L) {
  lua_pushnumber(L, kf_check_seconds(L, 1));
  return 1;
}

static const luaL_Reg methods[] = {
    {"cancel", l_cancel}, {"wait", l_wait}, {"status", l_status}, {NULL, NULL}};

static const luaL_Reg event_methods[] = {
    {"set", l_event_set}, {"clear", l_event_clear}, {"wait", l_event_wait}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"spawn", l_spawn},     {"sleep", l_sleep},     {"now", l_now},     {"event", l_event},
    {"current", l_current}, {"seconds", l_seconds}, {"foreground", l_foreground},
    {"last", l_last},       {NULL, NULL}};

static void set_methods(lua_State *L, const char *type, const luaL_Reg *list) {
  luaL_newmetatable(L, type);
  lua_newtable(L);
  luaL_setfuncs(L, list, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

int luaopen_kf_task_core(lua_State *L) {
  set_methods(L, KF_TYPE_TASK, methods);
  set_methods(L, TYPE_EVENT, event_methods);
  luaL_newlib(L, functions);
  return 1;
}
