#include "task.h"

#include "error.h"
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TYPE_TASK "kfhost.task"
#define TYPE_EVENT "kfhost.event"
#define GRACE 10.0  // seconds between a task's cancellation and its end by force

static char private_value;  // its address is what a waiting coroutine yields
static char failures_key;   // registry: errors that nobody has seen, by task address
static char tasks_key;      // registry: live tasks, by address

// User values of a task: its coroutine, its results or error, the traceback of the error.
enum { UV_COROUTINE = 1, UV_RESULT, UV_TRACEBACK, UV_COUNT = UV_TRACEBACK };

// Something that opens once; whoever waits for it then goes on. The end of a task is one.
struct gate {
  struct joiner *joiners;
  bool open;
};

struct joiner {
  struct kf_waiter waiter;
  struct joiner *next;
  struct gate *gate;
};

struct kf_task {
  struct kf_scheduler *scheduler;
  lua_State *coroutine;
  struct kf_task *next_ready;
  struct kf_task *next, *previous;  // all live tasks
  struct kf_waiter *waiter;         // what it waits for, or NULL
  struct gate end;
  struct kf_timer grace;
  int arguments;
  bool queued, started, done, failed, cancelled, seen;
};

struct kf_scheduler {
  lua_State *L;
  struct host *host;
  struct kf_task *current, *main;
  struct kf_task *ready_first, *ready_last;
  struct kf_task *live;
  bool orphaned;  // a failed task's last handle is gone
};

static struct kf_scheduler *scheduler_of(lua_State *L) {
  return kf_host(L)->scheduler;
}

// --- the ready queue ----------------------------------------------------------------------------

static void make_ready(struct kf_task *task) {
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

// --- waiting ------------------------------------------------------------------------------------

static int raise_cancelled(lua_State *L) {
  int signal = kf_interrupted();
  if (signal) return kf_fail(L, "Cancelled", "interrupted by signal %d", signal);
  return kf_fail(L, "Cancelled", "the task was cancelled");
}

static void on_deadline(struct kf_timer *timer) {
  struct kf_waiter *waiter =
      (struct kf_waiter *)(void *)((char *)timer - offsetof(struct kf_waiter, timer));
  waiter->result = KF_TIMEOUT;
  if (waiter->cancel) waiter->cancel(waiter);
  make_ready(waiter->task);
}

// Ends a wait that will not be resumed by its own event.
static void abandon(struct kf_waiter *waiter, enum kf_wait_result result) {
  kf_timer_stop(waiter->loop, &waiter->timer);
  waiter->result = result;
  if (waiter->cancel) waiter->cancel(waiter);
}

void kf_wake(struct kf_waiter *waiter) {
  if (waiter->result == KF_WAITING) {
    kf_timer_stop(waiter->loop, &waiter->timer);
    waiter->result = KF_WOKEN;
    make_ready(waiter->task);
  } else if (waiter->result == KF_IDLE) {
    waiter->result = KF_WOKEN;
  }
}

int kf_wait(lua_State *L, struct kf_waiter *waiter, double deadline, lua_KContext context,
            lua_KFunction k) {
  struct kf_task *task = scheduler_of(L)->current;
  if (!task || !lua_isyieldable(L))
    return luaL_error(L, "cannot wait here: not while a module loads, nor in a sort comparator, a "
                         "gsub function, __gc, __tostring or another callback of C");
  if (task->cancelled) {
    if (waiter->cancel) waiter->cancel(waiter);
    waiter->result = KF_CANCELLED;
    return k(L, LUA_OK, context);
  }
  if (waiter->result == KF_WOKEN) return k(L, LUA_OK, context);
  waiter->task = task;
  waiter->loop = kf_host(L)->loop;
  waiter->result = KF_WAITING;
  waiter->timer.fire = on_deadline;
  if (deadline < HUGE_VAL && !kf_timer_start(waiter->loop, &waiter->timer, deadline))
    return luaL_error(L, "not enough memory");
  task->waiter = waiter;
  lua_pushlightuserdata(L, &private_value);
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

// --- gates ----------------------------------------------------------------------------------------

static void open_gate(struct gate *gate) {
  gate->open = true;
  for (struct joiner *joiner = gate->joiners; joiner; joiner = joiner->next)
    kf_wake(&joiner->waiter);
}

static void leave_gate(struct kf_waiter *waiter) {
  struct joiner *joiner = (struct joiner *)(void *)waiter;
  for (struct joiner **link = &joiner->gate->joiners; *link; link = &(*link)->next) {
    if (*link != joiner) continue;
    *link = joiner->next;
    return;
  }
}

// [-0, +?, yield] waits at a gate, with k as kf_wait has it; the joiner stays on top of the stack.
static int wait_at_gate(lua_State *L, struct gate *gate, double deadline, lua_KFunction k) {
  struct joiner *joiner = lua_newuserdatauv(L, sizeof *joiner, 0);
  *joiner = (struct joiner){.gate = gate, .next = gate->joiners};
  joiner->waiter.cancel = leave_gate;
  gate->joiners = joiner;
  if (gate->open) kf_wake(&joiner->waiter);
  return kf_wait(L, &joiner->waiter, deadline, 0, k);
}

// [-0, +0, v] the first act of k: whether the gate opened in time. The joiner is on top.
static bool waited_at_gate(lua_State *L) {
  struct joiner *joiner = lua_touserdata(L, -1);
  leave_gate(&joiner->waiter);
  return kf_waited(L, &joiner->waiter);
}

// --- times --------------------------------------------------------------------------------------

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

double kf_check_seconds(lua_State *L, int arg) {
  double seconds;
  if (lua_type(L, arg) == LUA_TNUMBER) {
    seconds = lua_tonumber(L, arg);
  } else {
    const char *text = luaL_checkstring(L, arg);
    seconds = parse_duration(text);
    if (seconds < 0)
      luaL_argerror(L, arg, lua_pushfstring(L, "'%s' is no duration such as 1.5, \"500ms\" or \"1h30m\"", text));
  }
  luaL_argcheck(L, seconds >= 0, arg, "a duration of at least 0 expected");
  return seconds;
}

double kf_deadline_field(lua_State *L, int arg, const char *name) {
  if (!lua_istable(L, arg)) return HUGE_VAL;
  double deadline = HUGE_VAL;
  if (lua_getfield(L, arg, name) != LUA_TNIL)
    deadline = kf_loop_now(kf_host(L)->loop) + kf_check_seconds(L, lua_gettop(L));
  lua_pop(L, 1);
  return deadline;
}

// --- a task's life ------------------------------------------------------------------------------

// [-0, +1, -] pushes the userdata of a live task.
static void push_task(lua_State *L, struct kf_task *task) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tasks_key);
  lua_rawgetp(L, -1, task);
  lua_remove(L, -2);
}

// Message handler of a task's function: keeps the traceback with the task.
static int keep_traceback(lua_State *L) {
  struct kf_task *task = scheduler_of(L)->current;
  luaL_traceback(L, L, NULL, 1);
  if (task) {
    push_task(L, task);
    lua_pushvalue(L, -2);
    lua_setiuservalue(L, -2, UV_TRACEBACK);
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

static void unlink_task(struct kf_task *task) {
  if (task->previous) task->previous->next = task->next;
  else task->scheduler->live = task->next;
  if (task->next) task->next->previous = task->previous;
}

static bool is_cancellation(lua_State *L, int index) {
  if (!lua_istable(L, index)) return false;
  lua_getfield(L, index, "code");
  bool is = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "Cancelled") == 0;
  lua_pop(L, 1);
  return is;
}

// [-0, +1, m] pushes the error that stands above its task at index `task`, told with its traceback:
// an error table as it is (it carries one), anything else as a text.
static void push_told_error(lua_State *L, int task) {
  lua_pushvalue(L, task + 1);
  if (lua_istable(L, -1)) return;
  kf_error_text(L);
  if (lua_getiuservalue(L, task, UV_TRACEBACK) == LUA_TSTRING) {
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
  } else {
    lua_pop(L, 1);
  }
}

// [-2, +0, m] ends a task with the table of its results, or its error, on top of its userdata.
static void end_task(lua_State *L, struct kf_task *task, bool failed) {
  struct kf_scheduler *scheduler = task->scheduler;
  kf_timer_stop(scheduler->host->loop, &task->grace);
  task->done = true;
  task->failed = failed;
  task->waiter = NULL;
  unlink_task(task);
  if (failed && task->cancelled && is_cancellation(L, -1)) task->seen = true;
  if (failed && !task->seen && task != scheduler->main) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &failures_key);
    push_told_error(L, lua_gettop(L) - 2);
    lua_rawsetp(L, -2, task);
    lua_pop(L, 1);
  }
  lua_setiuservalue(L, -2, UV_RESULT);
  lua_pushnil(L);
  lua_setiuservalue(L, -2, UV_COROUTINE);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tasks_key);
  lua_pushnil(L);
  lua_rawsetp(L, -2, task);
  lua_pop(L, 2);
  task->coroutine = NULL;
  open_gate(&task->end);
}

// Takes what `body` returned (count values on the coroutine) as the end of the task.
static void take_results(lua_State *L, struct kf_task *task, int count) {
  lua_State *coroutine = task->coroutine;
  bool failed = !lua_toboolean(coroutine, -count);
  push_task(L, task);
  if (failed) {
    lua_xmove(coroutine, L, 1);
    if (lua_istable(L, -1)) {
      if (lua_getfield(L, -1, "traceback") == LUA_TNIL && luaL_getmetafield(L, -2, "__name")) {
        lua_pop(L, 1);
        lua_getiuservalue(L, -3, UV_TRACEBACK);
        lua_setfield(L, -3, "traceback");
      }
      lua_pop(L, 1);
    }
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
  task->started = true;
  task->waiter = NULL;
  scheduler->current = task;
  scheduler->host->running = coroutine;
  int status = lua_resume(coroutine, L, arguments, &count);
  scheduler->host->running = L;
  scheduler->current = NULL;
  if (status == LUA_YIELD) {
    lua_pop(coroutine, count);
  } else if (status == LUA_OK) {
    take_results(L, task, count);
  } else {  // only an error in the handler itself, or no memory
    push_task(L, task);
    lua_xmove(coroutine, L, 1);
    end_task(L, task, true);
  }
}

// The grace is over: the coroutine is closed where it stands.
static void on_grace(struct kf_timer *timer) {
  struct kf_task *task =
      (struct kf_task *)(void *)((char *)timer - offsetof(struct kf_task, grace));
  lua_State *L = task->scheduler->L;
  if (task->waiter) abandon(task->waiter, KF_CANCELLED);
  lua_resetthread(task->coroutine);
  push_task(L, task);
  kf_error(L, "Cancelled", "the task was cancelled and did not end within %d s", (int)GRACE);
  end_task(L, task, true);
}

static void cancel(struct kf_task *task) {
  if (task->done || task->cancelled) return;
  task->cancelled = true;
  task->grace.fire = on_grace;
  kf_timer_start(task->scheduler->host->loop, &task->grace,
                 kf_loop_now(task->scheduler->host->loop) + GRACE);
  struct kf_waiter *waiter = task->waiter;
  if (waiter && waiter->result == KF_WAITING) {
    abandon(waiter, KF_CANCELLED);
    make_ready(task);
  }
}

static void cancel_all(struct kf_scheduler *scheduler) {
  for (struct kf_task *task = scheduler->live; task; task = task->next) cancel(task);
}

// [-(arguments+1), +1, m] makes a task of the function and arguments on top; pushes its userdata.
static struct kf_task *spawn(lua_State *L, int arguments) {
  struct kf_scheduler *scheduler = scheduler_of(L);
  struct kf_task *task = lua_newuserdatauv(L, sizeof *task, UV_COUNT);
  *task = (struct kf_task){.scheduler = scheduler, .arguments = arguments + 1, .done = true};
  luaL_setmetatable(L, TYPE_TASK);
  lua_State *coroutine = lua_newthread(L);
  lua_setiuservalue(L, -2, UV_COROUTINE);
  lua_insert(L, -arguments - 2);  // task f arguments
  luaL_checkstack(coroutine, arguments + 2, "too many arguments");
  lua_pushcfunction(coroutine, body);
  lua_xmove(L, coroutine, arguments + 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tasks_key);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, task);
  lua_pop(L, 1);
  task->done = false;
  task->coroutine = coroutine;
  task->next = scheduler->live;
  if (task->next) task->next->previous = task;
  scheduler->live = task;
  make_ready(task);
  return task;
}

// --- signals ------------------------------------------------------------------------------------

static volatile sig_atomic_t interrupted;
static struct host *interrupted_host;  // signals carry no argument
static int wake_pipe[2] = {-1, -1};

static void interrupt_hook(lua_State *L, lua_Debug *activation) {
  (void)activation;
  lua_sethook(L, NULL, 0, 0);
  raise_cancelled(L);
}

void kf_interrupt(int signal) {
  int saved = errno;
  if (interrupted) _exit(128 + signal);  // the second time: at once
  interrupted = signal;
  if (interrupted_host && interrupted_host->running)
    lua_sethook(interrupted_host->running, interrupt_hook,
                LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
  if (write(wake_pipe[1], "!", 1) < 0) errno = saved;
  errno = saved;
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

// --- the main task ------------------------------------------------------------------------------

// [-0, +1, -] pushes an error nobody has seen; false and nothing when there is none.
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

// Runs tasks until none is left. false when all wait for each other.
static bool run_tasks(struct kf_scheduler *scheduler) {
  struct kf_task *main = scheduler->main;
  while (scheduler->live) {
    for (struct kf_task *task; (task = take_ready(scheduler));)
      if (!task->done) resume_task(scheduler, task);
    if (interrupted || scheduler->orphaned || (main->done && main->failed)) cancel_all(scheduler);
    if (!scheduler->live) break;
    if (!kf_loop_once(scheduler->host->loop, scheduler->ready_first == NULL) &&
        !scheduler->ready_first)
      return false;
  }
  return true;
}

static void watch_signals(struct kf_scheduler *scheduler, struct kf_watch *watch) {
  interrupted_host = scheduler->host;
  if (pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return;
  *watch = (struct kf_watch){.quiet = true, .ready = on_wake};
  kf_watch_start(scheduler->host->loop, watch, wake_pipe[0], KF_READ);
}

int kf_run_main(lua_State *L, int nargs) {
  struct kf_scheduler *scheduler = scheduler_of(L);
  struct kf_watch watch = {0};
  scheduler->L = L;
  scheduler->main = spawn(L, nargs);
  int task = lua_gettop(L);
  watch_signals(scheduler, &watch);  // without a pipe, a signal is noticed a little later
  bool ended = run_tasks(scheduler);
  interrupted_host = NULL;
  kf_watch_stop(scheduler->host->loop, &watch);
  close_wake_pipe();
  if (!ended) {
    kf_error(L, "Deadlock", "every task waits for another one, or for time that a test must move");
    return LUA_ERRRUN;
  }
  if (scheduler->main->failed) {
    lua_getiuservalue(L, task, UV_RESULT);
    push_told_error(L, task);
    return LUA_ERRRUN;
  }
  if (push_failure(L)) return LUA_ERRRUN;
  lua_getiuservalue(L, task, UV_RESULT);
  lua_rawgeti(L, -1, 1);
  return LUA_OK;
}

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

static int resume_again(lua_State *L, int status, lua_KContext wrap);

// Resumes with `arguments` values that are on the coroutine already. A wait inside it is handed on
// to our own caller, until the task's loop has it.
static int resume(lua_State *L, lua_State *coroutine, int arguments, bool wrap) {
  struct host *host = kf_host(L);
  int count = 0;
  host->running = coroutine;
  int status = lua_resume(coroutine, L, arguments, &count);
  host->running = L;
  bool waits = status == LUA_YIELD && count == 1 && lua_touserdata(coroutine, -1) == &private_value;
  if (!waits) return finish_resume(L, coroutine, status, count, wrap);
  lua_pop(coroutine, 1);
  if (!lua_isyieldable(L)) {
    struct kf_task *task = host->scheduler->current;
    if (task && task->waiter) abandon(task->waiter, KF_CANCELLED);
    return luaL_error(L, "cannot wait here: the coroutine was resumed by a callback of C");
  }
  lua_pushlightuserdata(L, &private_value);
  return lua_yieldk(L, 1, wrap, resume_again);
}

static int resume_again(lua_State *L, int status, lua_KContext wrap) {
  (void)status;
  return resume(L, lua_tothread(L, wrap ? lua_upvalueindex(1) : 1), 0, wrap);
}

// Why a coroutine cannot be resumed, or NULL.
static const char *unresumable(lua_State *L, lua_State *coroutine) {
  if (L == coroutine) return "cannot resume non-suspended coroutine";
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

static int l_yield(lua_State *L) {
  struct kf_task *task = scheduler_of(L)->current;
  if (task && task->coroutine == L) return luaL_error(L, "attempt to yield from outside a coroutine");
  return lua_yield(L, lua_gettop(L));
}

void kf_task_install(lua_State *L) {
  static const luaL_Reg replacements[] = {
      {"resume", l_resume}, {"wrap", l_wrap}, {"yield", l_yield}, {NULL, NULL}};
  lua_getglobal(L, "coroutine");
  luaL_setfuncs(L, replacements, 0);
  lua_pop(L, 1);
}

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

// --- Lua ----------------------------------------------------------------------------------------

static struct kf_task *check_task(lua_State *L) {
  return luaL_checkudata(L, 1, TYPE_TASK);
}

// task.spawn(fn, …) -> task
static int l_spawn(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  spawn(L, lua_gettop(L) - 1);
  return 1;
}

// t:cancel(): its wait, and every further one, raises "Cancelled".
static int l_cancel(lua_State *L) {
  cancel(check_task(L));
  return 0;
}

static void forget_failure(lua_State *L, struct kf_task *task) {
  task->seen = true;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &failures_key);
  lua_pushnil(L);
  lua_rawsetp(L, -2, task);
  lua_pop(L, 1);
}

static int joined(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  struct kf_task *task = check_task(L);
  if (!waited_at_gate(L)) return kf_fail(L, "Timeout", "the task did not end in time");
  lua_getiuservalue(L, 1, UV_RESULT);
  forget_failure(L, task);
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
  double deadline = HUGE_VAL;
  if (!lua_isnoneornil(L, 2)) deadline = kf_loop_now(kf_host(L)->loop) + kf_check_seconds(L, 2);
  if (task == scheduler_of(L)->current) return luaL_error(L, "a task cannot wait for itself");
  lua_settop(L, 1);
  return wait_at_gate(L, &task->end, deadline, joined);
}

// t:status() -> "running" | "done" | "failed"
static int l_status(lua_State *L) {
  const struct kf_task *task = check_task(L);
  lua_pushstring(L, !task->done ? "running" : task->failed ? "failed" : "done");
  return 1;
}

static int l_task_gc(lua_State *L) {
  struct kf_task *task = check_task(L);
  if (task->done && task->failed && !task->seen) task->scheduler->orphaned = true;
  return 0;
}

// task.event() -> event, closed at first
static int l_event(lua_State *L) {
  struct gate *gate = lua_newuserdatauv(L, sizeof *gate, 0);
  *gate = (struct gate){0};
  luaL_setmetatable(L, TYPE_EVENT);
  return 1;
}

// event:set(): whoever waits for it goes on, now and later.
static int l_event_set(lua_State *L) {
  open_gate(luaL_checkudata(L, 1, TYPE_EVENT));
  return 0;
}

// event:clear(): later waits wait again.
static int l_event_clear(lua_State *L) {
  struct gate *gate = luaL_checkudata(L, 1, TYPE_EVENT);
  gate->open = false;
  return 0;
}

static int event_waited(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  lua_pushboolean(L, waited_at_gate(L));
  return 1;
}

// event:wait(timeout) -> true when it was set, false when the time is up
static int l_event_wait(lua_State *L) {
  struct gate *gate = luaL_checkudata(L, 1, TYPE_EVENT);
  double deadline = HUGE_VAL;
  if (!lua_isnoneornil(L, 2)) deadline = kf_loop_now(kf_host(L)->loop) + kf_check_seconds(L, 2);
  return wait_at_gate(L, gate, deadline, event_waited);
}

static int slept(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  kf_waited(L, lua_touserdata(L, -1));
  return 0;
}

// task.sleep(seconds)
static int l_sleep(lua_State *L) {
  double deadline = kf_loop_now(kf_host(L)->loop) + kf_check_seconds(L, 1);
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
  struct kf_task *task = scheduler_of(L)->current;
  if (task) push_task(L, task);
  else lua_pushnil(L);
  return 1;
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
    {"current", l_current}, {"seconds", l_seconds}, {NULL, NULL}};

int luaopen_kf_task_core(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}

// [-0, +0, m] the metatable and the registry tables; once per state.
void kf_task_prepare(lua_State *L) {
  luaL_newmetatable(L, TYPE_TASK);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_task_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newmetatable(L, TYPE_EVENT);
  luaL_newlib(L, event_methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 2);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &tasks_key);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &failures_key);
}
