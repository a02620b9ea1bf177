// Signals as something to wait for, for programs in pods that end in their own way.
#include "signals.h"

#include "state.h"
#include "task.h"

#include <lauxlib.h>
#include <math.h>
#include <signal.h>
#include <stddef.h>

#define TYPE_SIGNALS "kfhost.signals"

static const struct {
  const char *name;
  int number;
} known[] = {{"TERM", SIGTERM}, {"INT", SIGINT}};

enum { COUNT = sizeof known / sizeof *known };

struct signals {
  struct kf_loop *loop;
  struct kf_gate gate;
  struct kf_watch watches[COUNT];
  bool came[COUNT];
};

static void note(struct kf_watch *watch, int index) {
  struct signals *signals =
      (struct signals *)(void *)((char *)(watch - index) - offsetof(struct signals, watches));
  signals->came[index] = true;
  kf_gate_open(&signals->gate);
  signals->gate.open = false;
}

static void on_term(struct kf_watch *watch, int events) {
  (void)events;
  note(watch, 0);
}

static void on_int(struct kf_watch *watch, int events) {
  (void)events;
  note(watch, 1);
}

static int wait_one(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct signals *signals = luaL_checkudata(L, 1, TYPE_SIGNALS);
  if (status == LUA_YIELD && !kf_gate_waited(L)) return 0;
  for (int i = 0; i < COUNT; i++) {
    if (!signals->came[i]) continue;
    signals->came[i] = false;
    lua_pushstring(L, known[i].name);
    return 1;
  }
  return kf_gate_wait(L, &signals->gate, lua_tonumber(L, 2), 0, wait_one);
}

// signals:wait(timeout) -> "TERM" or "INT"; nothing when the time is up
static int l_wait(lua_State *L) {
  luaL_checkudata(L, 1, TYPE_SIGNALS);
  double deadline = kf_deadline(L, 2);
  lua_settop(L, 1);
  lua_pushnumber(L, deadline);
  return wait_one(L, LUA_OK, 0);
}

static int l_close(lua_State *L) {
  struct signals *signals = luaL_checkudata(L, 1, TYPE_SIGNALS);
  for (int i = 0; i < COUNT; i++) kf_watch_stop(signals->loop, &signals->watches[i]);
  return 0;
}

int kf_pod_signals(lua_State *L) {
  struct signals *signals = lua_newuserdatauv(L, sizeof *signals, 0);
  *signals = (struct signals){.loop = kf_host(L)->loop};
  if (luaL_newmetatable(L, TYPE_SIGNALS)) {
    static const luaL_Reg methods[] = {{"wait", l_wait}, {"close", l_close}, {"__gc", l_close},
                                       {"__close", l_close}, {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
  }
  lua_setmetatable(L, -2);
  signals->watches[0].ready = on_term;
  signals->watches[1].ready = on_int;
  for (int i = 0; i < COUNT; i++)
    kf_watch_start(signals->loop, &signals->watches[i], known[i].number, KF_SIGNAL);
  return 1;
}
