// What a task and the scheduler are made of; only host/{task,wait,coroutine,tasklib}.c look inside.
//
// A task is a userdata, kept in the registry while it lives, so that its coroutine and all that
// the coroutine's stack holds (the operation it waits for above all) stay alive until the event
// fires. The task's coroutine may have resumed others; the innermost one is what waits.
#ifndef KF_SCHEDULER_H
#define KF_SCHEDULER_H

#include "task.h"

#define KF_TYPE_TASK "kfhost.task"

// User values of a task: its coroutine, its results (a table with n) or error, the traceback.
enum {
  KF_TASK_COROUTINE = 1,
  KF_TASK_RESULT,
  KF_TASK_TRACEBACK,
  KF_TASK_VALUES = KF_TASK_TRACEBACK
};

struct kf_task {
  struct kf_scheduler *scheduler;
  lua_State *coroutine;
  lua_State *innermost;             // the coroutine that waits; the task's own or one inside it
  struct kf_task *next_ready;
  struct kf_task *next, *previous;  // all live tasks
  struct kf_waiter *waiter;         // what it waits for, or NULL
  struct kf_gate end;
  struct kf_timer grace;
  int arguments;  // function and arguments on the coroutine before the start
  int refusals;   // waits since it was cancelled
  bool queued, started, done, failed, cancelled;
  bool seen;  // someone has been told of its failure
  bool last;    // the end of the program leaves it the grace instead of cancelling it
  bool ending;  // that grace has begun
};

struct kf_scheduler {
  lua_State *L;
  struct host *host;
  struct kf_task *current;  // the task that runs now
  struct kf_task *main;
  struct kf_task *foreground;  // what SIGINT cancels instead of everything, or NULL
  bool holds_interrupts;       // a SIGINT waits for the next task in the foreground
  struct kf_task *ready_first, *ready_last;
  struct kf_task *live;
  bool collect;  // a task failed unheard: see whether anyone can still wait for it
};

// Its address is what a waiting coroutine yields; it stays on top of the coroutine's stack until
// the scheduler resumes it, so that nobody else takes the coroutine for one that can be resumed.
extern char kf_wait_mark;

// Puts a task into the queue of those that run next.
void kf_task_ready(struct kf_task *task);

// Ends a wait that will not be resumed by its own event, and stops its operation if it goes on.
void kf_wait_abandon(struct kf_waiter *waiter, enum kf_wait_result result);

// [-0, +1, -] pushes the userdata of a live task.
void kf_task_push(lua_State *L, struct kf_task *task);

// [-0, +0, -] the failure of a task was told to someone.
void kf_task_forget_failure(lua_State *L, struct kf_task *task);

#endif
