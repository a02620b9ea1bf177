#include "task.h"

#include "error.h"
#include "scheduler.h"
#include "state.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE 100  // waits that a cancelled task may try at full speed
#define PAUSE 0.01    // seconds that each further one takes

char kf_wait_mark;

// Someone who waits at a gate; a userdata on the waiting function's stack.
struct kf_joiner {
  struct kf_waiter waiter;
  struct kf_joiner *next;
  struct kf_gate *gate;
};

// --- waiting -----------------------------------------------------------------------------------

static int raise_cancelled(lua_State *L) {
  int signal = kf_interrupted();
  if (signal) return kf_fail(L, "Cancelled", "interrupted by signal %d", signal);
  return kf_fail(L, "Cancelled", "the task was cancelled");
}

static void stop_operation(struct kf_waiter *waiter, enum kf_wait_result result) {
  waiter->result = result;
  if (waiter->cancel) waiter->cancel(waiter);
}

static struct kf_waiter *waiter_of(struct kf_timer *timer) {
  return (struct kf_waiter *)(void *)((char *)timer - offsetof(struct kf_waiter, timer));
}

static void on_deadline(struct kf_timer *timer) {
  struct kf_waiter *waiter = waiter_of(timer);
  stop_operation(waiter, KF_TIMEOUT);
  kf_task_ready(waiter->task);
}

void kf_wait_abandon(struct kf_waiter *waiter, enum kf_wait_result result) {
  kf_timer_stop(waiter->loop, &waiter->timer);
  if (waiter->result == KF_WAITING) stop_operation(waiter, result);
}

void kf_wake(struct kf_waiter *waiter) {
  if (waiter->result == KF_WAITING) {
    kf_timer_stop(waiter->loop, &waiter->timer);
    waiter->result = KF_WOKEN;
    kf_task_ready(waiter->task);
  } else if (waiter->result == KF_IDLE) {
    waiter->result = KF_WOKEN;
  }
}

// [-0, +0, v] raises when the running function cannot wait.
static void check_can_wait(lua_State *L, struct kf_waiter *waiter) {
  if (kf_host(L)->scheduler->current && lua_isyieldable(L)) return;
  stop_operation(waiter, KF_CANCELLED);
  waiter->result = KF_IDLE;
  luaL_error(L, "cannot wait here: not while a module loads, nor in a sort comparator, a gsub "
                "function, __gc, __tostring or another callback of C");
}

static void on_refusal(struct kf_timer *timer) {
  kf_task_ready(waiter_of(timer)->task);
}

// Begins a wait that is over at the next turn of the loop: a cancelled task must not keep the loop
// (and with it the timer of its own grace) from turning, whatever it does with the error. One that
// only waits on and on is slowed down as well.
static void begin_cancelled(struct kf_waiter *waiter) {
  stop_operation(waiter, KF_CANCELLED);
  waiter->timer.fire = on_refusal;
  if (++waiter->task->refusals > PATIENCE &&
      kf_timer_start(waiter->loop, &waiter->timer, kf_loop_now(waiter->loop) + PAUSE))
    return;
  kf_task_ready(waiter->task);
}

static void begin(lua_State *L, struct kf_waiter *waiter, double deadline) {
  waiter->result = KF_WAITING;
  waiter->timer.fire = on_deadline;
  if (deadline == HUGE_VAL || kf_timer_start(waiter->loop, &waiter->timer, deadline)) return;
  stop_operation(waiter, KF_CANCELLED);
  waiter->result = KF_IDLE;
  luaL_error(L, "not enough memory");
}

int kf_wait(lua_State *L, struct kf_waiter *waiter, double deadline, lua_KContext context,
            lua_KFunction k) {
  struct kf_task *task = kf_host(L)->scheduler->current;
  check_can_wait(L, waiter);
  luaL_checkstack(L, 1, NULL);
  if (waiter->result == KF_WOKEN && !task->cancelled) return k(L, LUA_OK, context);
  waiter->task = task;
  waiter->loop = kf_host(L)->loop;
  if (task->cancelled) begin_cancelled(waiter);
  else begin(L, waiter, deadline);
  task->waiter = waiter;
  task->innermost = L;
  lua_pushlightuserdata(L, &kf_wait_mark);
  return lua_yieldk(L, 1, context, k);
}

bool kf_waited(lua_State *L, struct kf_waiter *waiter) {
  enum kf_wait_result result = waiter->result;
  if (waiter->task && waiter->task->waiter == waiter) waiter->task->waiter = NULL;
  waiter->task = NULL;
  waiter->result = KF_IDLE;
  if (result == KF_CANCELLED) raise_cancelled(L);
  return result == KF_WOKEN;
}

// --- gates -------------------------------------------------------------------------------------

void kf_gate_open(struct kf_gate *gate) {
  gate->open = true;
  for (struct kf_joiner *joiner = gate->joiners; joiner; joiner = joiner->next)
    kf_wake(&joiner->waiter);
}

static void join(struct kf_gate *gate, struct kf_joiner *joiner) {
  if (gate->last) gate->last->next = joiner;
  else gate->joiners = joiner;
  gate->last = joiner;
}

static void leave(struct kf_joiner *joiner) {
  struct kf_gate *gate = joiner->gate;
  struct kf_joiner *previous = NULL, *at = gate->joiners;
  for (; at && at != joiner; at = at->next) previous = at;
  if (!at) return;
  if (previous) previous->next = joiner->next;
  else gate->joiners = joiner->next;
  if (gate->last == joiner) gate->last = previous;
}

static void give_up(struct kf_waiter *waiter) {
  struct kf_joiner *joiner = (struct kf_joiner *)(void *)waiter;
  leave(joiner);
  if (waiter->result == KF_CANCELLED && joiner->gate->cancelled)
    joiner->gate->cancelled(joiner->gate);
}

int kf_gate_wait(lua_State *L, struct kf_gate *gate, double deadline, lua_KContext context,
                 lua_KFunction k) {
  struct kf_joiner *joiner = lua_newuserdatauv(L, sizeof *joiner, 0);
  *joiner = (struct kf_joiner){.gate = gate};
  joiner->waiter.cancel = give_up;
  join(gate, joiner);
  if (gate->open) kf_wake(&joiner->waiter);
  return kf_wait(L, &joiner->waiter, deadline, context, k);
}

bool kf_gate_waited(lua_State *L) {
  struct kf_joiner *joiner = lua_touserdata(L, -1);
  leave(joiner);
  bool opened = kf_waited(L, &joiner->waiter);
  lua_pop(L, 1);
  return opened;
}

// --- times -------------------------------------------------------------------------------------

// Reads "1h30m" and the like; -1 when it is no duration.
static double parse_duration(const char *text) {
  static const struct {
    const char *unit;
    double seconds;
  } units[] = {{"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
  double total = 0;
  if (!*text) return -1;
  while (*text) {
    char *end;
    if (*text < '0' || *text > '9') return -1;
    double number = strtod(text, &end);
    size_t unit = 0, count = sizeof units / sizeof *units;
    while (unit < count && strncmp(end, units[unit].unit, strlen(units[unit].unit)) != 0) unit++;
    if (unit == count) return -1;
    total += number * units[unit].seconds;
    text = end + strlen(units[unit].unit);
  }
  return total;
}

// [-0, +0, v] the value at index as seconds; false when it is no duration.
static bool to_seconds(lua_State *L, int index, double *seconds) {
  if (lua_type(L, index) == LUA_TNUMBER) *seconds = lua_tonumber(L, index);
  else if (lua_type(L, index) == LUA_TSTRING) *seconds = parse_duration(lua_tostring(L, index));
  else return false;
  return *seconds >= 0;  // not for a NaN
}

static const char expectation[] = "a duration such as 1.5, \"500ms\" or \"1h30m\" expected, got %s";

double kf_check_seconds(lua_State *L, int arg) {
  double seconds = 0;
  if (!to_seconds(L, arg, &seconds))
    luaL_argerror(L, arg, lua_pushfstring(L, expectation, luaL_tolstring(L, arg, NULL)));
  return seconds;
}

double kf_deadline(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) return HUGE_VAL;
  return kf_loop_now(kf_host(L)->loop) + kf_check_seconds(L, arg);
}

double kf_deadline_field(lua_State *L, int arg, const char *name) {
  if (!lua_istable(L, arg)) return HUGE_VAL;
  double seconds = HUGE_VAL;
  if (lua_getfield(L, arg, name) != LUA_TNIL && !to_seconds(L, -1, &seconds)) {
    const char *text = lua_pushfstring(L, expectation, luaL_tolstring(L, -1, NULL));
    luaL_argerror(L, arg, lua_pushfstring(L, "%s: %s", name, text));
  }
  lua_pop(L, 1);
  return kf_loop_now(kf_host(L)->loop) + seconds;
}
