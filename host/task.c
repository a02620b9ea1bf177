#include "task.h"

#include "error.h"
#include "scheduler.h"
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GRACE 10.0  // seconds between a task's cancellation and its end by force
#define SETTLING 100  // turns that tasks have after the main task of a loop of its own

static char failures_key;  // registry: errors that nobody has been told, by task address
static char tasks_key;     // registry: live tasks, by address

// --- the ready queue ---------------------------------------------------------------------------

void kf_task_ready(struct kf_task *task) {
  if (task->queued || task->done) return;
  struct kf_scheduler *scheduler = task->scheduler;
  task->queued = true;
  task->next_ready = NULL;
  if (scheduler->ready_last) scheduler->ready_last->next_ready = task;
  else scheduler->ready_first = task;
  scheduler->ready_last = task;
}

static struct kf_task *take_ready(struct kf_scheduler *scheduler) {
  struct kf_task *task = scheduler->ready_first;
  if (!task) return NULL;
  scheduler->ready_first = task->next_ready;
  if (!scheduler->ready_first) scheduler->ready_last = NULL;
  task->queued = false;
  return task;
}

// --- a task's life -----------------------------------------------------------------------------

void kf_task_push(lua_State *L, struct kf_task *task) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tasks_key);
  lua_rawgetp(L, -1, task);
  lua_remove(L, -2);
}

// Message handler of a task's function: keeps the traceback with the task.
static int keep_traceback(lua_State *L) {
  struct kf_task *task = kf_host(L)->scheduler->current;
  luaL_traceback(L, L, NULL, 1);
  if (task) {
    kf_task_push(L, task);
    lua_pushvalue(L, -2);
    lua_setiuservalue(L, -2, KF_TASK_TRACEBACK);
  }
  lua_settop(L, 1);
  return 1;
}

// [handler, ok | error …]: what the function returned, after true; or false and the error.
static int end_of_body(lua_State *L, int status, lua_KContext context) {
  (void)context;
  lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
  lua_replace(L, 1);
  return lua_gettop(L);
}

// The bottom of each coroutine: f, arguments -> true, results | false, error. A protected call
// here and not lua_resume's own status, so that <close> variables can wait while an error unwinds.
static int body(lua_State *L) {
  lua_pushcfunction(L, keep_traceback);
  lua_insert(L, 1);
  int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, end_of_body);
  return end_of_body(L, status, 0);
}

struct kf_task *kf_task_spawn(lua_State *L, int arguments) {
  struct kf_scheduler *scheduler = kf_host(L)->scheduler;
  luaL_checkstack(L, 4, NULL);
  struct kf_task *task = lua_newuserdatauv(L, sizeof *task, KF_TASK_VALUES);
  *task = (struct kf_task){.scheduler = scheduler, .arguments = arguments + 1, .done = true};
  luaL_setmetatable(L, KF_TYPE_TASK);
  lua_State *coroutine = lua_newthread(L);
  lua_setiuservalue(L, -2, KF_TASK_COROUTINE);
  lua_insert(L, -arguments - 2);  // task f arguments
  luaL_checkstack(coroutine, arguments + 2, "too many arguments");
  lua_pushcfunction(coroutine, body);
  lua_xmove(L, coroutine, arguments + 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tasks_key);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, task);
  lua_pop(L, 1);
  task->done = false;
  task->last = scheduler->current && scheduler->current->last;
  task->coroutine = task->innermost = coroutine;
  task->next = scheduler->live;
  if (task->next) task->next->previous = task;
  scheduler->live = task;
  kf_task_ready(task);
  return task;
}

static void unlink_task(struct kf_task *task) {
  if (task->previous) task->previous->next = task->next;
  else task->scheduler->live = task->next;
  if (task->next) task->next->previous = task->previous;
}

// --- its end -----------------------------------------------------------------------------------

static bool is_cancellation(lua_State *L, int index) {
  if (!lua_istable(L, index)) return false;
  lua_pushliteral(L, "code");
  lua_rawget(L, index - 1);
  bool is = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "Cancelled") == 0;
  lua_pop(L, 1);
  return is;
}

// [-0, +1, m] pushes the error on top, told with the traceback of its task at index `task`: an
// error table as it is (it carries one), anything else as a text.
static void push_told_error(lua_State *L, int task) {
  lua_pushvalue(L, -1);
  if (lua_istable(L, -1)) return;
  kf_error_text(L);
  if (lua_getiuservalue(L, task, KF_TASK_TRACEBACK) == LUA_TSTRING) {
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
  } else {
    lua_pop(L, 1);
  }
}

// [-0, +0, m] the error on top, of the task below it, is one that somebody must be told.
static void keep_failure(lua_State *L, struct kf_task *task) {
  push_told_error(L, lua_gettop(L) - 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &failures_key);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, task);
  lua_pop(L, 1);
  // When no variable holds the task, nobody will ever wait for it: the collector says so now.
  if (!task->end.joiners) task->scheduler->collect = true;
}

// [-2, +0, m] ends a task with the table of its results, or its error, on top of its userdata.
static void end_task(lua_State *L, struct kf_task *task, bool failed) {
  kf_timer_stop(task->scheduler->host->loop, &task->grace);
  task->done = true;
  task->failed = failed;
  task->waiter = NULL;
  if (task->scheduler->foreground == task) task->scheduler->foreground = NULL;
  unlink_task(task);
  if (failed && task->cancelled && is_cancellation(L, -1)) task->seen = true;
  if (failed && !task->seen && task != task->scheduler->main) keep_failure(L, task);
  lua_setiuservalue(L, -2, KF_TASK_RESULT);
  lua_pushnil(L);
  lua_setiuservalue(L, -2, KF_TASK_COROUTINE);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tasks_key);
  lua_pushnil(L);
  lua_rawsetp(L, -2, task);
  lua_pop(L, 2);
  task->coroutine = task->innermost = NULL;
  kf_gate_open(&task->end);
}

// [task error] gives an error table of ours the task's traceback, unless it has one.
static void add_traceback(lua_State *L) {
  if (!lua_istable(L, -1) || luaL_getmetafield(L, -1, "__name") == LUA_TNIL) return;
  lua_pop(L, 1);
  lua_pushliteral(L, "traceback");
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_getiuservalue(L, -3, KF_TASK_TRACEBACK);
    lua_setfield(L, -3, "traceback");
  }
  lua_pop(L, 1);
}

// Takes what `body` returned (count values on the coroutine) as the end of the task.
static void take_results(lua_State *L, struct kf_task *task, int count) {
  lua_State *coroutine = task->coroutine;
  bool failed = !lua_toboolean(coroutine, -count);
  kf_task_push(L, task);
  if (failed) {
    lua_xmove(coroutine, L, 1);
    add_traceback(L);
  } else {
    lua_createtable(L, count - 1, 1);
    for (int i = count - 1; i >= 1; i--) {
      lua_xmove(coroutine, L, 1);
      lua_rawseti(L, -2, i);
    }
    lua_pushinteger(L, count - 1);
    lua_setfield(L, -2, "n");
  }
  end_task(L, task, failed);
}

static void resume_task(struct kf_scheduler *scheduler, struct kf_task *task) {
  lua_State *L = scheduler->L, *coroutine = task->coroutine;
  int arguments = task->started ? 0 : task->arguments;
  int count = 0;
  if (task->started) lua_pop(coroutine, 1);  // the mark
  task->started = true;
  task->waiter = NULL;
  task->innermost = coroutine;
  scheduler->current = task;
  scheduler->host->running = coroutine;
  int status = lua_resume(coroutine, L, arguments, &count);
  scheduler->host->running = NULL;
  scheduler->current = NULL;
  if (status == LUA_YIELD) return;
  if (status == LUA_OK) {
    take_results(L, task, count);
  } else {  // only an error in the handler itself, or no memory
    kf_task_push(L, task);
    lua_xmove(coroutine, L, 1);
    end_task(L, task, true);
  }
}

// Ends a task where it stands: its wait, then its <close> variables, which cannot wait any more.
static void close_task(struct kf_task *task) {
  lua_State *L = task->scheduler->L;
  task->cancelled = true;
  if (task->waiter) kf_wait_abandon(task->waiter, KF_CANCELLED);
  if (task->innermost != task->coroutine) lua_resetthread(task->innermost);
  lua_resetthread(task->coroutine);
  kf_task_push(L, task);
  kf_error(L, "Cancelled", "the task was cancelled and did not end within %d s", (int)GRACE);
  end_task(L, task, true);
}

static void on_grace(struct kf_timer *timer) {
  close_task((struct kf_task *)(void *)((char *)timer - offsetof(struct kf_task, grace)));
}

void kf_task_cancel(struct kf_task *task) {
  if (task->done || task->cancelled) return;
  struct kf_loop *loop = task->scheduler->host->loop;
  task->cancelled = true;
  task->grace.fire = on_grace;
  kf_timer_start(loop, &task->grace, kf_loop_now(loop) + GRACE);
  struct kf_waiter *waiter = task->waiter;
  if (waiter && waiter->result == KF_WAITING) {
    kf_wait_abandon(waiter, KF_CANCELLED);
    kf_task_ready(task);
  }
}

struct kf_task *kf_task_spawn_last(lua_State *L, int arguments) {
  struct kf_task *task = kf_task_spawn(L, arguments);
  task->last = true;
  return task;
}

static void begin_grace(struct kf_task *task) {
  if (task->ending || task->cancelled) return;
  struct kf_loop *loop = task->scheduler->host->loop;
  task->ending = true;
  task->grace.fire = on_grace;
  kf_timer_start(loop, &task->grace, kf_loop_now(loop) + GRACE);
}

static void cancel_all(struct kf_scheduler *scheduler) {
  for (struct kf_task *task = scheduler->live; task; task = task->next) {
    if (task->last) begin_grace(task);
    else kf_task_cancel(task);
  }
}

// [-0, +0, -] forgets the failures that have not been told.
static void forget_failures(lua_State *L) {
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &failures_key);
}

void kf_task_forget_failure(lua_State *L, struct kf_task *task) {
  task->seen = true;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &failures_key);
  lua_pushnil(L);
  lua_rawsetp(L, -2, task);
  lua_pop(L, 1);
}

// --- signals -----------------------------------------------------------------------------------

static volatile sig_atomic_t interrupted;
static volatile sig_atomic_t foreground_interrupted;
enum { SAME_PRESS = 400 };  // milliseconds
static struct host *interrupted_host;  // signals carry no argument
static int wake_pipe[2] = {-1, -1};

// What runs when the signal comes, gets the error that its next wait would get.
static void interrupt_hook(lua_State *L, lua_Debug *activation) {
  (void)activation;
  lua_sethook(L, NULL, 0, 0);
  struct kf_scheduler *scheduler = interrupted_host->scheduler;
  if (foreground_interrupted && scheduler->foreground) {
    foreground_interrupted = 0;
    kf_task_cancel(scheduler->foreground);
  }
  kf_fail(L, "Cancelled", "interrupted by signal %d", (int)(interrupted ? interrupted : SIGINT));
}

// [-0, +0, -] a signal handler's part: the Lua code that runs gets the error as soon as it can.
static void interrupt_running(void) {
  if (interrupted_host && interrupted_host->running)
    lua_sethook(interrupted_host->running, interrupt_hook,
                LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

// Whether the signal is for the task in the foreground alone.
static bool interrupt_foreground(int signal) {
  struct kf_scheduler *scheduler = interrupted_host ? interrupted_host->scheduler : NULL;
  if (signal != SIGINT || !scheduler || !(scheduler->foreground || scheduler->holds_interrupts)) return false;
  foreground_interrupted = 1;
  if (scheduler->foreground && scheduler->current == scheduler->foreground) interrupt_running();
  return true;
}

// Whether a signal is one with that before it: a press may come twice, to the program and to its group, as by
// timeout(1).
static bool is_echo(int signal) {
  static int64_t first;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  int64_t at = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
  if (signal == interrupted && at - first < SAME_PRESS) return true;
  first = at;
  return false;
}

void kf_interrupt(int signal) {
  int saved = errno;
  if (!interrupt_foreground(signal)) {
    bool comes_twice = is_echo(signal);
    errno = saved;
    if (comes_twice) return;
    if (interrupted) _exit(128 + signal);  // the second time: at once
    interrupted = signal;
    interrupt_running();
  }
  if (write(wake_pipe[1], "!", 1) < 0) errno = saved;
  errno = saved;
}

void kf_task_set_foreground(lua_State *L, struct kf_task *task) {
  kf_host(L)->scheduler->foreground = task;
}

void kf_task_hold_interrupts(lua_State *L, bool hold) {
  kf_host(L)->scheduler->holds_interrupts = hold;
}

// A SIGINT that came for a task in the foreground cancels it; one that came as it ended, nobody.
static void pass_interrupt(struct kf_scheduler *scheduler) {
  if (!foreground_interrupted || (!scheduler->foreground && scheduler->holds_interrupts)) return;
  foreground_interrupted = 0;
  if (scheduler->foreground) kf_task_cancel(scheduler->foreground);
}

bool kf_interrupt_pending(void) {
  return foreground_interrupted;
}

int kf_interrupted(void) {
  return interrupted;
}

static void on_wake(struct kf_watch *watch, int events) {
  (void)watch, (void)events;
  char bytes[16];
  while (read(wake_pipe[0], bytes, sizeof bytes) > 0) {
  }
}

static void close_wake_pipe(void) {
  for (int i = 0; i < 2; i++) {
    if (wake_pipe[i] >= 0) close(wake_pipe[i]);
    wake_pipe[i] = -1;
  }
}

// --- the main task -----------------------------------------------------------------------------

// [-0, +1, -] pushes an error nobody has been told; false and nothing when there is none.
static bool push_failure(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &failures_key);
  lua_pushnil(L);
  if (!lua_next(L, -2)) {
    lua_pop(L, 1);
    return false;
  }
  lua_replace(L, -3);
  lua_pop(L, 1);
  return true;
}

static void run_ready(struct kf_scheduler *scheduler) {
  // Only what is ready now: a task that is ready all the time must not keep the loop from turning.
  struct kf_task *last = scheduler->ready_last;
  for (struct kf_task *task = NULL; task != last;) {
    task = take_ready(scheduler);
    if (!task->done) resume_task(scheduler, task);
  }
  if (!scheduler->collect) return;
  scheduler->collect = false;
  lua_gc(scheduler->L, LUA_GCCOLLECT);
}

static bool must_cancel(const struct kf_scheduler *scheduler) {
  return interrupted || scheduler->host->orphaned_failure ||
         (scheduler->main->done && scheduler->main->failed);
}

// Runs tasks until `only_main` has ended, or all have. false when all wait for each other.
static bool run_tasks(struct kf_scheduler *scheduler, bool only_main) {
  struct kf_loop *loop = scheduler->host->loop;
  for (;;) {
    run_ready(scheduler);
    pass_interrupt(scheduler);
    if (must_cancel(scheduler)) cancel_all(scheduler);
    bool over = only_main ? scheduler->main->done : !scheduler->live;
    if (over && (only_main || !kf_loop_awaited(loop))) return true;
    bool idle = !scheduler->ready_first;
    if (!kf_loop_once(loop, idle) && idle && !scheduler->ready_first) return false;
  }
}

// Without a pipe, a signal is noticed a little later.
static void watch_signals(struct kf_scheduler *scheduler, struct kf_watch *watch) {
  interrupted_host = scheduler->host;
  if (wake_pipe[0] < 0 && pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return;
  *watch = (struct kf_watch){.quiet = true, .ready = on_wake};
  kf_watch_start(scheduler->host->loop, watch, wake_pipe[0], KF_READ);
}

static const char deadlock[] =
    "every task waits for another one, or for time that a test must move";

int kf_run_main(lua_State *L, int nargs) {
  struct kf_scheduler *scheduler = kf_host(L)->scheduler;
  struct kf_watch watch = {0};
  scheduler->L = L;
  scheduler->main = kf_task_spawn(L, nargs);
  int task = lua_gettop(L);
  watch_signals(scheduler, &watch);
  bool ended = run_tasks(scheduler, false);
  interrupted_host = NULL;
  kf_watch_stop(scheduler->host->loop, &watch);
  close_wake_pipe();
  if (!ended) {
    kf_error(L, "Deadlock", deadlock);
    return LUA_ERRRUN;
  }
  // A main task that was only cancelled is not the reason.
  bool main_failed = scheduler->main->failed;
  if (!(main_failed && !scheduler->main->seen) && push_failure(L)) return LUA_ERRRUN;
  lua_getiuservalue(L, task, KF_TASK_RESULT);
  if (main_failed) push_told_error(L, task);
  else lua_rawgeti(L, -1, 1);
  return main_failed ? LUA_ERRRUN : LUA_OK;
}

// --- a loop of its own -------------------------------------------------------------------------

// What stands still while an isolated function runs.
struct surroundings {
  struct kf_loop *loop;
  struct kf_scheduler *scheduler;
  lua_State *running;
};

static void close_tasks(struct kf_scheduler *scheduler) {
  while (scheduler->live) close_task(scheduler->live);
}

// Tasks that were cancelled or woken as the last thing have their turn before they are counted.
static void settle(struct kf_scheduler *scheduler) {
  for (int turns = 0; scheduler->ready_first && turns < SETTLING; turns++) run_ready(scheduler);
}

// [-0, +1, m] runs the main task and pushes its results' table, its error or another's.
static int run_alone(lua_State *L, struct kf_scheduler *scheduler, struct kf_leftovers *left) {
  struct kf_loop *loop = scheduler->host->loop;
  int task = lua_gettop(L);
  bool ended = run_tasks(scheduler, true);
  settle(scheduler);
  for (struct kf_task *live = scheduler->live; live; live = live->next) left->tasks++;
  left->timers = kf_loop_timers(loop);
  left->watches = kf_loop_watches(loop) + kf_loop_holds(loop);
  struct kf_task *main = scheduler->main;
  close_tasks(scheduler);
  if (!ended) {
    kf_error(L, "Deadlock", deadlock);
    return LUA_ERRRUN;
  }
  if (!(main->failed && !main->seen) && push_failure(L)) return LUA_ERRRUN;
  lua_getiuservalue(L, task, KF_TASK_RESULT);
  return main->failed ? LUA_ERRRUN : LUA_OK;
}

int kf_run_isolated(lua_State *L, int nargs, struct kf_leftovers *left) {
  struct host *host = kf_host(L);
  struct surroundings around = {host->loop, host->scheduler, host->running};
  struct kf_loop *loop = kf_loop_new();
  struct kf_scheduler *scheduler = loop ? kf_scheduler_new(L, host) : NULL;
  if (!scheduler) {
    kf_loop_free(loop);
    return luaL_error(L, "not enough memory");
  }
  *left = (struct kf_leftovers){0};
  kf_loop_set_manual_time(loop, true);
  host->loop = loop;
  host->scheduler = scheduler;
  scheduler->main = kf_task_spawn(L, nargs);
  struct kf_watch watch = {0};
  watch_signals(scheduler, &watch);
  int status = run_alone(L, scheduler, left);
  kf_watch_stop(loop, &watch);
  forget_failures(L);
  host->orphaned_failure = false;
  kf_scheduler_free(scheduler);
  kf_loop_free(loop);
  host->loop = around.loop;
  host->scheduler = around.scheduler;
  host->running = around.running;
  return status;
}

// --- the scheduler -----------------------------------------------------------------------------

struct kf_scheduler *kf_scheduler_new(lua_State *L, struct host *host) {
  struct kf_scheduler *scheduler = calloc(1, sizeof *scheduler);
  if (!scheduler) return NULL;
  scheduler->L = L;
  scheduler->host = host;
  return scheduler;
}

void kf_scheduler_free(struct kf_scheduler *scheduler) {
  free(scheduler);
}

static int l_task_gc(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &failures_key);
  if (lua_rawgetp(L, -1, luaL_checkudata(L, 1, KF_TYPE_TASK)) != LUA_TNIL)
    kf_host(L)->orphaned_failure = true;
  return 0;
}

void kf_task_prepare(lua_State *L) {
  luaL_newmetatable(L, KF_TYPE_TASK);
  lua_pushcfunction(L, l_task_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &tasks_key);
  forget_failures(L);
}
