// Tasks: coroutines that the loop resumes. Whatever waits suspends its task with a private value,
// which our coroutine.resume and coroutine.wrap hand on, so that waiting works inside users' own
// coroutines, iterators, metamethods and under pcall.
//
// Rules: a cancelled task gets the error "Cancelled" from its wait and from every further one; its
// <close> variables run; after the grace (10 s) it is closed. An error in a task is raised again
// where it is waited for; when nobody can wait any more, the program ends with it. When the main
// task fails, the others are cancelled. Modules do not wait while they load.
//
// Offers: 1. waiting, for C modules   2. gates   3. times   4. other tasks   5. the main task
//         6. the Lua side
#ifndef KF_TASK_H
#define KF_TASK_H

#include "loop.h"

#include <lua.h>
#include <stdbool.h>

struct host;
struct kf_task;
struct kf_scheduler;
struct kf_joiner;

// --- 1. waiting --------------------------------------------------------------------------------
// A waiter is embedded in an operation's userdata, which must be on the stack of the function
// that waits (so that it lives as long as the wait). Zero-initialised, it is idle.
enum kf_wait_result { KF_IDLE, KF_WAITING, KF_WOKEN, KF_TIMEOUT, KF_CANCELLED };
struct kf_waiter {
  struct kf_task *task;
  enum kf_wait_result result;
  struct kf_timer timer;
  struct kf_loop *loop;
  // Stops the operation when `result` became KF_TIMEOUT or KF_CANCELLED; may be NULL; no Lua.
  void (*cancel)(struct kf_waiter *waiter);
};

// [-0, +?, yield] suspends the task until kf_wake, the deadline (kf_loop_now time; HUGE_VAL: none)
// or its cancellation; then calls k, whose first act is kf_waited. To be returned:
// `return kf_wait(L, &operation->waiter, deadline, context, k);`
int kf_wait(lua_State *L, struct kf_waiter *waiter, double deadline, lua_KContext context,
            lua_KFunction k);

// [-0, +0, v] after the wait: true when woken, false at the deadline; raises "Cancelled".
bool kf_waited(lua_State *L, struct kf_waiter *waiter);

// Wakes the task that waits; without one, the next kf_wait returns at once. From C callbacks.
void kf_wake(struct kf_waiter *waiter);

// --- 2. gates: what several tasks may wait for -------------------------------------------------
// A gate is embedded in a userdata that is on the stack of each function that waits at it.
// Zero-initialised, it is closed. While it is open, nobody waits.
struct kf_gate {
  struct kf_joiner *joiners, *last;  // woken in the order in which they came
  bool open;
  void (*cancelled)(struct kf_gate *gate);  // a task that waited here was cancelled; may be NULL
};
void kf_gate_open(struct kf_gate *gate);

// [-0, +?, yield] waits for the gate as kf_wait does; k finds one more value on the stack.
int kf_gate_wait(lua_State *L, struct kf_gate *gate, double deadline, lua_KContext context,
                 lua_KFunction k);
// [-1, +0, v] the first act of k: whether the gate was opened in time; raises "Cancelled".
bool kf_gate_waited(lua_State *L);

// --- 3. times ----------------------------------------------------------------------------------
// [-0, +0, v] the argument as seconds: a number, or a text such as "500ms", "30s", "1h30m", "2d".
double kf_check_seconds(lua_State *L, int arg);
// [-0, +0, v] the optional argument as a deadline of the loop's clock; HUGE_VAL when it is absent.
double kf_deadline(lua_State *L, int arg);
// [-0, +0, v] field `name` of the options table at arg as a deadline of the loop's clock; HUGE_VAL
// without it (or without a table).
double kf_deadline_field(lua_State *L, int arg, const char *name);

// --- 4. other tasks ---------------------------------------------------------------------------
// [-(arguments+1), +1, m] makes a task of the function and arguments on top; pushes its userdata,
// which whoever keeps the pointer must keep as well.
struct kf_task *kf_task_spawn(lua_State *L, int arguments);

// [-(arguments+1), +1, m] the same, but the end of the program, by a signal too, does not cancel the
// task nor those it spawns: it waits for them, as long as the grace.
struct kf_task *kf_task_spawn_last(lua_State *L, int arguments);

// Cancels a task, unless it has ended: from now on its waits raise "Cancelled".
void kf_task_cancel(struct kf_task *task);

// --- 5. the main task --------------------------------------------------------------------------
// [-(nargs+1), +1, -] runs a function as the main task and the loop until all tasks have ended.
// LUA_OK with the function's first result; else the error of the main task, or of a task that
// nobody waited for: a text with a traceback, or an error table with `traceback`.
int kf_run_main(lua_State *L, int nargs);

// [-(nargs+1), +(nresults|1), v] runs a function as the main task of a loop of its own, under
// manual time; the tasks around it stand still meanwhile. Then counts what it left behind.
struct kf_leftovers {
  size_t tasks, timers, watches;
};
int kf_run_isolated(lua_State *L, int nargs, struct kf_leftovers *left);

// From a signal handler: all tasks are to be cancelled, because of `signal`.
void kf_interrupt(int signal);
// [-0, +0, -] from now on SIGINT cancels this task and nothing else; NULL: all of them again.
void kf_task_set_foreground(lua_State *L, struct kf_task *task);
// [-0, +0, -] whether a SIGINT that finds no task in the foreground waits for the next one.
void kf_task_hold_interrupts(lua_State *L, bool hold);
// Whether a SIGINT has come that no task was told of yet.
bool kf_interrupt_pending(void);
// The signal that interrupted the program, or 0.
int kf_interrupted(void);

// The scheduler of a state's tasks; made and freed by state.c.
struct kf_scheduler *kf_scheduler_new(lua_State *L, struct host *host);
void kf_scheduler_free(struct kf_scheduler *scheduler);

// --- 6. the Lua side ---------------------------------------------------------------------------
int luaopen_kf_task_core(lua_State *L);
// [-0, +0, m] puts our resume, wrap, yield and close into the table `coroutine`.
void kf_coroutine_install(lua_State *L);
// [-0, +0, m] metatables and registry tables; once per state, before all else here.
void kf_task_prepare(lua_State *L);

#endif
