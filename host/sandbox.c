#include "sandbox.h"

#include "error.h"
#include "pool.h"

#include <errno.h>
#include <lauxlib.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REARM_NANOSECONDS 2000000  // until the code is out, the hook is armed this often
#define NEVER INT64_MAX
#define PIECE 1024                 // bytes the compiler gets between two looks at the deadline
static const char no_memory[] = "not enough memory";  // Lua's own words

struct place {
  char path[LUA_IDSIZE];
  int line;  // 0 = not known
};

struct kf_sandbox {
  struct host host;  // first, so that kf_host finds the sandbox
  lua_State *L;
  size_t used, limit;
  struct kf_pool pool;
  timer_t timer;
  _Atomic int64_t due;    // when the call is over at the latest (ns of the monotonic clock), or NEVER
  _Atomic int64_t rings;  // when the timer does next; a time that is over: not at all
  struct kf_sandbox *outer;       // the sandbox whose code called this one
  volatile sig_atomic_t expired;  // the deadline is over
  bool active;
  struct place stopped, refused, raised;  // by deadline, by the limit of memory, by the code
};

static char timeout_value;  // its address is what code that is stopped "raises"
static struct kf_sandbox *volatile innermost;  // the sandbox that runs

static struct kf_sandbox *sandbox_of(lua_State *L) {
  return (struct kf_sandbox *)(void *)kf_host(L);
}

// --- where the code is ----------------------------------------------------------------------------

// The innermost Lua function of a coroutine; needs no memory.
static void find_place(lua_State *L, struct place *place) {
  lua_Debug activation;
  for (int level = 0; lua_getstack(L, level, &activation); level++) {
    lua_getinfo(L, "Sl", &activation);
    if (activation.currentline <= 0) continue;
    memcpy(place->path, activation.short_src, sizeof place->path);
    place->line = activation.currentline;
    return;
  }
}

// --- memory ---------------------------------------------------------------------------------------

// Refuses what goes beyond the limit; and single blocks above half of it, so that no function of C
// is busy with one text for long.
static void *allocate(void *data, void *block, size_t old_size, size_t size) {
  struct kf_sandbox *sandbox = data;
  if (!block) old_size = 0;  // Lua says what the block is for
  bool grows = size > old_size;
  bool too_much = size > sandbox->limit / 2 || sandbox->used + (size - old_size) > sandbox->limit;
  void *fresh = grows && too_much ? NULL : kf_pool_resize(&sandbox->pool, block, old_size, size);
  if (fresh || size == 0) sandbox->used += size - old_size;
  else if (sandbox->active) find_place(sandbox->host.running, &sandbox->refused);
  return fresh;
}

void kf_sandbox_check_size(lua_State *L, size_t size) {
  struct kf_sandbox *sandbox = sandbox_of(L);
  if (size <= sandbox->limit / 2) return;
  find_place(L, &sandbox->refused);
  lua_pushstring(L, no_memory);
  lua_error(L);
}

// --- the deadline ---------------------------------------------------------------------------------

static void stop(lua_State *L, struct kf_sandbox *sandbox) {
  if (sandbox->stopped.line == 0) find_place(L, &sandbox->stopped);
  lua_pushlightuserdata(L, &timeout_value);
  lua_error(L);
}

static void on_hook(lua_State *L, lua_Debug *activation) {
  (void)activation;
  struct kf_sandbox *sandbox = sandbox_of(L);
  if (sandbox->expired) stop(L, sandbox);
  lua_sethook(L, NULL, 0, 0);  // left over from a call that is long over
}

static void arm(lua_State *L) {
  lua_sethook(L, on_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

void kf_sandbox_check(lua_State *L) {
  struct kf_sandbox *sandbox = sandbox_of(L);
  if (!sandbox->expired) return;
  arm(L);  // where a coroutine was stopped, its caller is next
  stop(L, sandbox);
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void ring_at(struct kf_sandbox *sandbox, int64_t when) {
  struct itimerspec setting = {.it_value = {when / 1000000000, when % 1000000000}};
  sandbox->rings = when;
  timer_settime(sandbox->timer, TIMER_ABSTIME, &setting, NULL);
}

static void expire(struct kf_sandbox *found) {
  for (struct kf_sandbox *sandbox = innermost;; sandbox = sandbox->outer) {
    sandbox->expired = 1;
    arm(sandbox->host.running);
    if (sandbox == found) return;
  }
}

// A timer that was set for a call rings when that is over, too: then nothing runs, or another call whose time has not
// come. A signal may come after its timer was deleted: only sandboxes that run are touched.
static void on_deadline(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  int error = errno;
  const struct kf_sandbox *over = info->si_value.sival_ptr;
  struct kf_sandbox *found = innermost;
  while (found && found != over) found = found->outer;
  if (found && found->due != NEVER) {
    int64_t time = now();
    if (time >= found->due) expire(found);
    ring_at(found, time < found->due ? found->due : time + REARM_NANOSECONDS);
  }
  errno = error;
}

static void install_handler(void) {
  struct sigaction action = {.sa_sigaction = on_deadline, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigaction(SIGRTMIN + 1, &action, NULL);
}

static bool make_timer(struct kf_sandbox *sandbox) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, install_handler);
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 1};
  event.sigev_value.sival_ptr = sandbox;
  event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  return timer_create(CLOCK_MONOTONIC, &event, &sandbox->timer) == 0;
}

// Setting a timer costs more than most calls: one that rings before the deadline is left as it is.
static void set_deadline(struct kf_sandbox *sandbox, double seconds) {
  bool limited = seconds > 0 && seconds < 1e9;
  int64_t time = now(), due = limited ? time + (int64_t)(seconds * 1e9) : NEVER;
  sandbox->due = due;
  if (limited && (sandbox->rings <= time || sandbox->rings > due)) ring_at(sandbox, due);
}

static void enter(struct kf_sandbox *sandbox, double seconds) {
  memset(&sandbox->stopped, 0, sizeof sandbox->stopped);
  memset(&sandbox->refused, 0, sizeof sandbox->refused);
  memset(&sandbox->raised, 0, sizeof sandbox->raised);
  sandbox->expired = 0;
  sandbox->due = NEVER;
  sandbox->host.running = sandbox->L;
  sandbox->active = true;
  sandbox->outer = innermost;
  innermost = sandbox;
  set_deadline(sandbox, seconds);
}

static void leave(struct kf_sandbox *sandbox) {
  innermost = sandbox->outer;
  sandbox->active = false;
  sandbox->expired = 0;
  lua_sethook(sandbox->L, NULL, 0, 0);
}

// --- a sandbox ------------------------------------------------------------------------------------

static int open_libraries(lua_State *L) {
  kf_sandbox_open_libraries(L);
  return 0;
}

void kf_sandbox_set_limit(struct kf_sandbox *sandbox, size_t memory) {
  sandbox->limit = memory;
}

struct kf_sandbox *kf_sandbox_new(size_t memory, bool gc_stress) {
  struct kf_sandbox *sandbox = calloc(1, sizeof *sandbox);
  if (!sandbox) return NULL;
  sandbox->limit = memory;
  sandbox->host.gc_stress = gc_stress;
  if (!make_timer(sandbox)) {
    free(sandbox);
    return NULL;
  }
  sandbox->L = lua_newstate(allocate, sandbox);
  if (sandbox->L) {
    *(struct host **)lua_getextraspace(sandbox->L) = &sandbox->host;
    sandbox->host.running = sandbox->L;
    lua_pushcfunction(sandbox->L, open_libraries);
  }
  if (!sandbox->L || lua_pcall(sandbox->L, 0, 0, 0) != LUA_OK) {
    kf_sandbox_free(sandbox);
    return NULL;
  }
  if (gc_stress) lua_gc(sandbox->L, LUA_GCINC, 100, 1000, 1);
  return sandbox;
}

void kf_sandbox_free(struct kf_sandbox *sandbox) {
  if (!sandbox) return;
  if (sandbox->L) lua_close(sandbox->L);
  kf_pool_end(&sandbox->pool);
  timer_delete(sandbox->timer);
  free(sandbox);
}

lua_State *kf_sandbox_state(struct kf_sandbox *sandbox) {
  return sandbox->L;
}

// --- calls ----------------------------------------------------------------------------------------

// Message handler: notes where the error was raised.
static int note_place(lua_State *L) {
  struct kf_sandbox *sandbox = sandbox_of(L);
  memset(&sandbox->raised, 0, sizeof sandbox->raised);
  find_place(L, &sandbox->raised);
  return 1;
}

int kf_sandbox_call(struct kf_sandbox *sandbox, int nargs, int nresults, double seconds) {
  lua_State *L = sandbox->L;
  int handler = lua_gettop(L) - nargs;
  lua_pushcfunction(L, note_place);
  lua_insert(L, handler);
  enter(sandbox, seconds);
  int status = lua_pcall(L, nargs, nresults, handler);
  leave(sandbox);
  lua_remove(L, handler);
  if (status == LUA_OK && sandbox->stopped.line > 0) {  // it caught the stop with its last breath
    lua_settop(L, handler - 1);
    lua_pushlightuserdata(L, &timeout_value);
    return LUA_ERRRUN;
  }
  return status;
}

struct source {
  const char *next;
  size_t left;
};

static const char *read_piece(lua_State *L, void *data, size_t *size) {
  struct source *source = data;
  kf_sandbox_check(L);
  *size = source->left < PIECE ? source->left : PIECE;
  const char *piece = source->next;
  source->next += *size;
  source->left -= *size;
  return *size > 0 ? piece : NULL;
}

int kf_sandbox_load(struct kf_sandbox *sandbox, const char *code, size_t length, const char *name,
                    double seconds) {
  struct source source = {code, length};
  enter(sandbox, seconds);
  int status = lua_load(sandbox->L, read_piece, &source, name, "t");
  leave(sandbox);
  return status;
}

// --- errors ---------------------------------------------------------------------------------------

// [-0, +0, m] sets path and line of the error on top.
static void set_place(lua_State *L, const struct place *place) {
  if (place->line <= 0) return;
  lua_pushstring(L, place->path);
  lua_setfield(L, -2, "path");
  lua_pushinteger(L, place->line);
  lua_setfield(L, -2, "line");
}

static bool ends_with(const char *text, size_t length, const char *end) {
  size_t end_length = strlen(end);
  return length >= end_length && memcmp(text + length - end_length, end, end_length) == 0;
}

// Takes "PATH:LINE: " off the text into place, as the compiler and error() put it there.
static const char *take_place(const char *text, struct place *place) {
  const char *colon = strstr(text, ": ");
  if (!colon) return text;
  const char *digits = colon;
  while (digits > text && digits[-1] >= '0' && digits[-1] <= '9') digits--;
  if (digits == colon || digits == text || digits[-1] != ':') return text;
  size_t length = (size_t)(digits - 1 - text);
  if (length == 0 || length >= sizeof place->path) return text;
  memcpy(place->path, text, length);
  place->path[length] = '\0';
  place->line = atoi(digits);
  return colon + 2;
}

static void push_text_error(struct kf_sandbox *sandbox, const char *code, lua_State *to) {
  size_t length;
  const char *text = lua_tolstring(sandbox->L, -1, &length);
  if (ends_with(text, length, no_memory) && sandbox->refused.line > 0) {
    kf_error(to, "Memory", "the code needs more than %d KiB", (int)(sandbox->limit / 1024));
    set_place(to, &sandbox->refused);
    return;
  }
  struct place place = sandbox->raised;
  const char *message = take_place(text, &place);
  kf_error(to, code, "%s", message);
  set_place(to, &place);
}

struct copy_source {
  lua_State *from;
  int index;
};

static int copy_protected(lua_State *to) {
  const struct copy_source *source = lua_touserdata(to, 1);
  kf_sandbox_copy(to, source->from, source->index);
  return 1;
}

// [-0, +1, m] on to: an error table of the code's own, with what can be copied of it.
static void push_table_error(struct kf_sandbox *sandbox, lua_State *to) {
  lua_State *L = sandbox->L;
  struct copy_source source = {L, lua_gettop(L)};
  lua_pushcfunction(to, copy_protected);
  lua_pushlightuserdata(to, &source);
  if (lua_pcall(to, 1, 1, 0) != LUA_OK) {
    lua_pop(to, 1);
    lua_newtable(to);
  }
  luaL_setmetatable(to, KF_TYPE_ERROR);
  if (lua_getfield(to, -1, "code") != LUA_TSTRING) {
    lua_pushliteral(to, "Script");
    lua_setfield(to, -3, "code");
  }
  if (lua_getfield(to, -2, "message") != LUA_TSTRING) {
    lua_pushliteral(to, "the code raised a table");
    lua_setfield(to, -4, "message");
  }
  bool placed = lua_getfield(to, -3, "line") != LUA_TNIL;
  lua_pop(to, 3);
  if (!placed) set_place(to, &sandbox->raised);
}

void kf_sandbox_push_error(struct kf_sandbox *sandbox, int status, lua_State *to) {
  lua_State *L = sandbox->L;
  if (lua_touserdata(L, -1) == &timeout_value) {
    kf_error(to, "Timeout", "the code did not end in time and was stopped");
    set_place(to, &sandbox->stopped);
  } else if (lua_type(L, -1) == LUA_TSTRING) {
    push_text_error(sandbox, status == LUA_ERRSYNTAX ? "Syntax" : "Script", to);
  } else if (lua_istable(L, -1)) {
    push_table_error(sandbox, to);
  } else {
    kf_error(to, "Script", "the code raised a %s value", luaL_typename(L, -1));
    set_place(to, &sandbox->raised);
  }
  lua_pop(L, 1);
}
