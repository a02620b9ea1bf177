// require "proc": child processes.
#include "proc.h"

#include "error.h"
#include "state.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TYPE_PROCESS "kfhost.process"
#define READ_SIZE 65536
#define BUFFER_LIMIT (1 << 20)  // a pipe is not read further while this much waits for the script

struct stream {
  struct kf_watch watch;
  struct process *process;
  struct kf_buffer buffer;  // read and not yet taken; of stdin: not yet written
  size_t taken;
  int fd;                   // -1 when closed
  bool close_when_written;
  bool unbounded;           // read all that comes: the script waits for the end instead
};

struct process {
  struct kf_loop *loop;
  pid_t pid;      // leads its group
  pid_t awaited;  // itself, or its keeper
  struct stream streams[STREAMS];
  struct kf_watch exit_watch;  // of the pidfd, or of SIGCHLD
  int pidfd;
  bool exited;
  int status;
  struct rusage usage;
  double started, ended;
  double grace;
  bool ends_group;  // its end is that of its group and of its streams
  int terminal;     // descriptor of the terminal that it has meanwhile; -1: none
  struct termios modes;
  struct kf_timer kill_timer;
  struct kf_gate changes;  // who waits for bytes, room or the end; all are woken by any change
  lua_State *L;            // the state's main thread, for letting go of the anchor
};

static struct process *check(lua_State *L) {
  return luaL_checkudata(L, 1, TYPE_PROCESS);
}

// --- events -------------------------------------------------------------------------------------

static void wake_all(struct process *process) {
  kf_gate_open(&process->changes);
  process->changes.open = false;  // who comes later waits for the next change
}

// A process that runs is anchored in the registry: its events need its memory.
static void let_go(const struct process *process) {
  lua_pushnil(process->L);
  lua_rawsetp(process->L, LUA_REGISTRYINDEX, process);
}

static void close_stream(struct stream *stream) {
  if (stream->fd < 0) return;
  kf_watch_stop(stream->process->loop, &stream->watch);
  close(stream->fd);
  stream->fd = -1;
}

static void on_readable(struct kf_watch *watch, int events) {
  (void)events;
  struct stream *stream = (struct stream *)(void *)watch;
  char *room = kf_buffer_reserve(&stream->buffer, READ_SIZE);
  ssize_t count = room ? read(stream->fd, room, READ_SIZE) : 0;
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count > 0) stream->buffer.length += (size_t)count;
  else close_stream(stream);
  size_t waiting = stream->buffer.length - stream->taken;
  if (stream->fd >= 0 && waiting > BUFFER_LIMIT && !stream->unbounded)
    kf_watch_stop(stream->process->loop, watch);
  wake_all(stream->process);
}

static void on_writable(struct kf_watch *watch, int events) {
  (void)events;
  struct stream *stream = (struct stream *)(void *)watch;
  size_t left = stream->buffer.length - stream->taken;
  ssize_t count = write(stream->fd, stream->buffer.data + stream->taken, left);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count < 0) {
    stream->taken = stream->buffer.length = 0;
    close_stream(stream);
  } else {
    stream->taken += (size_t)count;
    if (stream->taken == stream->buffer.length) {
      stream->taken = stream->buffer.length = 0;
      kf_watch_stop(stream->process->loop, watch);
      if (stream->close_when_written) close_stream(stream);
    }
  }
  wake_all(stream->process);
}

static void start_watching(struct stream *stream, int events) {
  if (stream->fd < 0 || stream->watch.event) return;
  stream->watch.ready = events == KF_READ ? on_readable : on_writable;
  kf_watch_start(stream->process->loop, &stream->watch, stream->fd, events);
}

// What is in the pipe still counts; whoever left the group and holds the other end does not.
static void drain_stream(struct stream *stream) {
  for (size_t total = 0; stream->fd >= 0 && total < BUFFER_LIMIT;) {
    char *room = kf_buffer_reserve(&stream->buffer, READ_SIZE);
    ssize_t count = room ? read(stream->fd, room, READ_SIZE) : 0;
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    stream->buffer.length += (size_t)count;
    total += (size_t)count;
  }
  close_stream(stream);
}

// The process has ended and is not reaped yet: until then its number still names its group.
// False: it still runs.
static bool end_group(struct process *process) {
  siginfo_t info = {0};
  int options = WEXITED | WNOHANG | WNOWAIT;
  if (waitid(P_PID, (id_t)process->awaited, &info, options) == 0 && info.si_pid == 0) return false;
  if (process->awaited == process->pid) kill(-process->pid, SIGKILL);  // a keeper has done so
  drain_stream(&process->streams[STDOUT]);
  drain_stream(&process->streams[STDERR]);
  return true;
}

static void take_terminal(struct process *process) {
  if (process->terminal >= 0) kf_proc_take_terminal(process->terminal, &process->modes);
  process->terminal = -1;
}

static void take_exit(struct process *process) {
  if (process->exited) return;
  if (process->ends_group && !end_group(process)) return;
  pid_t pid = wait4(process->awaited, &process->status, WNOHANG, &process->usage);
  if (pid == 0 || (pid < 0 && errno == EINTR)) return;
  process->exited = true;
  process->ended = kf_loop_now(process->loop);
  take_terminal(process);
  kf_watch_stop(process->loop, &process->exit_watch);
  kf_timer_stop(process->loop, &process->kill_timer);
  if (process->pidfd >= 0) close(process->pidfd);
  process->pidfd = -1;
  wake_all(process);
  let_go(process);
}

static void on_exit_event(struct kf_watch *watch, int events) {
  (void)events;
  take_exit((struct process *)(void *)((char *)watch - offsetof(struct process, exit_watch)));
}

// By a pidfd; where the kernel refuses those, by SIGCHLD.
static bool watch_exit(struct process *process) {
  process->exit_watch.ready = on_exit_event;
  bool refused = getenv("KFHOST_NO_PIDFD") != NULL;  // so that a test can take the other way
  process->pidfd = refused ? -1 : (int)syscall(SYS_pidfd_open, process->awaited, 0);
  bool watched = process->pidfd >= 0
                     ? kf_watch_start(process->loop, &process->exit_watch, process->pidfd, KF_READ)
                     : kf_watch_start(process->loop, &process->exit_watch, SIGCHLD, KF_SIGNAL);
  if (watched && process->pidfd < 0) take_exit(process);  // it may have ended before we watched
  return watched;
}

static void signal_group(struct process *process, int signal) {
  if (!process->exited) kill(-process->pid, signal);
}

static void on_kill(struct kf_timer *timer) {
  signal_group((struct process *)(void *)((char *)timer - offsetof(struct process, kill_timer)),
               SIGKILL);
}

// TERM now, KILL after the grace.
static void stop(struct process *process) {
  if (process->exited || process->kill_timer.slot) return;
  signal_group(process, SIGTERM);
  process->kill_timer.fire = on_kill;
  process->kill_timer.awaited = true;
  kf_timer_start(process->loop, &process->kill_timer, kf_loop_now(process->loop) + process->grace);
}

// A cancelled task that waits on a child stops it.
static void on_cancelled(struct kf_gate *gate) {
  stop((struct process *)(void *)((char *)gate - offsetof(struct process, changes)));
}

// --- starting -----------------------------------------------------------------------------------

static void queue_input(lua_State *L, struct process *process, const char *text, size_t length) {
  struct stream *input = &process->streams[STDIN];
  if (input->fd < 0) kf_fail(L, "Closed", "standard input of the process is closed");
  kf_buffer_add(&input->buffer, text, length);
  if (input->buffer.failed) luaL_error(L, "not enough memory");
  start_watching(input, KF_WRITE);
}

static double read_grace(lua_State *L, int options) {
  double grace = 10;
  if (lua_getfield(L, options, "grace") != LUA_TNIL) grace = kf_check_seconds(L, lua_gettop(L));
  return grace;
}

// [-0, +1, m] pushes a process that has not been started.
static struct process *new_process(lua_State *L) {
  struct process *process = lua_newuserdatauv(L, sizeof *process, 0);
  *process = (struct process){.loop = kf_host(L)->loop, .pidfd = -1, .terminal = -1, .exited = true};
  process->changes.cancelled = on_cancelled;
  for (int i = 0; i < STREAMS; i++)
    process->streams[i] = (struct stream){.process = process, .fd = -1};
  luaL_setmetatable(L, TYPE_PROCESS);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  process->L = lua_tothread(L, -1);
  lua_pop(L, 1);
  return process;
}

// [-0, +0, v] raises what kept the command from starting.
static int fail_to_start(lua_State *L, const struct command *command,
                         const struct failure *failure) {
  const char *program = command->argv[0];
  switch (failure->step) {
  case STEP_DIRECTORY: return kf_fail_errno(L, failure->number, "enter", command->directory);
  case STEP_STREAM: {
    const char *file = command->files[failure->stream];
    return kf_fail_errno(L, failure->number, "open", file ? file : "a stream of the process");
  }
  case STEP_LIMIT: return kf_fail_errno(L, failure->number, "set the limits of", program);
  case STEP_START: break;
  }
  return kf_fail_errno(L, failure->number, "start", program);
}

static void feed(lua_State *L, struct process *process, const struct command *command) {
  if (!command->input) return;
  struct stream *input = &process->streams[STDIN];
  input->close_when_written = true;
  if (command->input_length == 0) close_stream(input);
  else queue_input(L, process, command->input, command->input_length);
}

// proc.spawn{ word, … | shell=, cwd, env, clear_env, stdin, stdout, stderr, grace, rlimits,
// ends_group, ends_all, terminal } -> process
static int l_spawn(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  struct process *process = new_process(L);
  struct command command;
  kf_proc_read_command(L, 1, &command);
  process->grace = read_grace(L, 1);
  lua_getfield(L, 1, "ends_all");
  command.kept = lua_toboolean(L, -1);
  lua_getfield(L, 1, "ends_group");
  process->ends_group = command.kept || lua_toboolean(L, -1);
  lua_getfield(L, 1, "terminal");
  if (lua_toboolean(L, -1))
    process->terminal = command.terminal = kf_proc_open_terminal(&process->modes);
  lua_pop(L, 3);
  lua_pushvalue(L, 2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, process);
  int fds[STREAMS] = {-1, -1, -1};
  struct started started = {-1, -1};
  struct failure failure = kf_proc_start(&command, &started, fds);
  if (failure.number) {
    take_terminal(process);
    let_go(process);
    return fail_to_start(L, &command, &failure);
  }
  process->pid = started.pid;
  process->awaited = started.awaited;
  process->exited = false;
  process->started = kf_loop_now(process->loop);
  for (int i = 0; i < STREAMS; i++) process->streams[i].fd = fds[i];
  if (!watch_exit(process))
    return kf_fail(L, "EMFILE", "cannot watch process %d", (int)process->pid);
  start_watching(&process->streams[STDOUT], KF_READ);
  start_watching(&process->streams[STDERR], KF_READ);
  feed(L, process, &command);
  lua_settop(L, 2);
  return 1;
}

// --- methods ------------------------------------------------------------------------------------

static int check_stream(lua_State *L, int arg) {
  static const char *const names[] = {"stdin", "stdout", "stderr", NULL};
  int stream = luaL_checkoption(L, arg, "stdout", names);
  luaL_argcheck(L, stream != STDIN, arg, "\"stdout\" or \"stderr\" expected");
  return stream;
}

// The absolute deadline, kept as a number at index 3 of a waiting method's stack.
static double deadline_at_3(lua_State *L, struct process *process) {
  double deadline = HUGE_VAL;
  if (!lua_isnoneornil(L, 3)) deadline = kf_loop_now(process->loop) + kf_check_seconds(L, 3);
  lua_settop(L, 3);
  lua_pushnumber(L, deadline);
  lua_replace(L, 3);
  return deadline;
}

static void drop_taken(struct stream *stream, size_t count) {
  stream->taken += count;
  if (stream->taken < stream->buffer.length) return;
  stream->taken = stream->buffer.length = 0;
  start_watching(stream, KF_READ);
}

static int read_some(lua_State *L, int status, lua_KContext context) {
  struct process *process = check(L);
  struct stream *stream = &process->streams[context];
  if (status == LUA_YIELD && !kf_gate_waited(L))
    return kf_fail(L, "Timeout", "the process wrote nothing in time");
  size_t count = stream->buffer.length - stream->taken;
  if (count > 0) {
    lua_pushlstring(L, stream->buffer.data + stream->taken, count);
    drop_taken(stream, count);
    return 1;
  }
  if (stream->fd < 0) {
    lua_pushnil(L);
    return 1;
  }
  return kf_gate_wait(L, &process->changes, lua_tonumber(L, 3), context, read_some);
}

// p:read(stream, timeout) -> bytes, or nil at the end
static int l_read(lua_State *L) {
  struct process *process = check(L);
  int stream = check_stream(L, 2);
  deadline_at_3(L, process);
  return read_some(L, LUA_OK, stream);
}

static int read_line(lua_State *L, int status, lua_KContext context) {
  struct process *process = check(L);
  struct stream *stream = &process->streams[context];
  if (status == LUA_YIELD && !kf_gate_waited(L))
    return kf_fail(L, "Timeout", "the process wrote no line in time");
  size_t count = stream->buffer.length - stream->taken;
  const char *start = stream->buffer.data ? stream->buffer.data + stream->taken : "";
  const char *newline = count ? memchr(start, '\n', count) : NULL;
  if (newline) {
    lua_pushlstring(L, start, (size_t)(newline - start));
    drop_taken(stream, (size_t)(newline - start) + 1);
    return 1;
  }
  if (stream->fd < 0 || count > BUFFER_LIMIT) {
    if (count == 0) {
      lua_pushnil(L);
      return 1;
    }
    lua_pushlstring(L, start, count);
    drop_taken(stream, count);
    return 1;
  }
  return kf_gate_wait(L, &process->changes, lua_tonumber(L, 3), context, read_line);
}

// p:read_line(stream, timeout) -> the next line without its end, or nil
static int l_read_line(lua_State *L) {
  struct process *process = check(L);
  int stream = check_stream(L, 2);
  deadline_at_3(L, process);
  return read_line(L, LUA_OK, stream);
}

// The iterator of p:lines(): upvalues are the process and the stream's name.
static int l_next_line(lua_State *L) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, lua_upvalueindex(2));
  return l_read_line(L);
}

// for line in p:lines(stream) do
static int l_lines(lua_State *L) {
  check(L);
  check_stream(L, 2);
  lua_settop(L, 2);
  lua_pushcclosure(L, l_next_line, 2);
  return 1;
}

static int written(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct process *process = check(L);
  if (status == LUA_YIELD) kf_gate_waited(L);
  struct stream *input = &process->streams[STDIN];
  if (input->fd < 0) return kf_fail(L, "Closed", "the process closed its standard input");
  if (input->buffer.length - input->taken <= BUFFER_LIMIT) return 0;
  return kf_gate_wait(L, &process->changes, HUGE_VAL, 0, written);
}

// p:write(text): waits while too much is unwritten
static int l_write(lua_State *L) {
  struct process *process = check(L);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  if (length > 0) queue_input(L, process, text, length);
  return written(L, LUA_OK, 0);
}

// p:close_stdin(): after what was written
static int l_close_stdin(lua_State *L) {
  struct process *process = check(L);
  struct stream *input = &process->streams[STDIN];
  if (input->buffer.length > input->taken) input->close_when_written = true;
  else close_stream(input);
  return 0;
}

static void set_number(lua_State *L, const char *field, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, field);
}

static double seconds_of(struct timeval time) {
  return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

// [-0, +1, m] pushes {code | signal, seconds, cpu_seconds, max_rss}.
static void push_exit(lua_State *L, const struct process *process) {
  lua_createtable(L, 0, 5);
  bool signalled = WIFSIGNALED(process->status);
  lua_pushinteger(L, signalled ? WTERMSIG(process->status) : WEXITSTATUS(process->status));
  lua_setfield(L, -2, signalled ? "signal" : "code");
  set_number(L, "seconds", process->ended - process->started);
  set_number(L, "cpu_seconds",
             seconds_of(process->usage.ru_utime) + seconds_of(process->usage.ru_stime));
  lua_pushinteger(L, (lua_Integer)process->usage.ru_maxrss * 1024);
  lua_setfield(L, -2, "max_rss");
}

static int waited(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct process *process = check(L);
  if (status == LUA_YIELD && !kf_gate_waited(L))
    return kf_fail(L, "Timeout", "the process did not end in time");
  if (process->exited) {
    push_exit(L, process);
    return 1;
  }
  return kf_gate_wait(L, &process->changes, lua_tonumber(L, 3), 0, waited);
}

// p:wait(timeout) -> {code | signal, seconds, cpu_seconds, max_rss}
static int l_wait(lua_State *L) {
  struct process *process = check(L);
  lua_settop(L, 2);
  lua_pushnil(L);
  lua_rotate(L, 2, 1);
  deadline_at_3(L, process);
  for (int i = STDOUT; i <= STDERR; i++) {  // a full pipe would keep it from ending
    process->streams[i].unbounded = true;
    start_watching(&process->streams[i], KF_READ);
  }
  return waited(L, LUA_OK, 0);
}

// p:kill(signal): a name such as "TERM" or a number, to the process and its children
static int l_kill(lua_State *L) {
  static const struct {
    const char *name;
    int number;
  } signals[] = {{"TERM", SIGTERM}, {"KILL", SIGKILL}, {"INT", SIGINT},   {"HUP", SIGHUP},
                 {"QUIT", SIGQUIT}, {"STOP", SIGSTOP}, {"CONT", SIGCONT}, {"USR1", SIGUSR1},
                 {"USR2", SIGUSR2}};
  struct process *process = check(L);
  int number = (int)lua_tointeger(L, 2);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "TERM";
  for (size_t i = 0; number == 0 && i < sizeof signals / sizeof *signals; i++)
    if (strcmp(name, signals[i].name) == 0) number = signals[i].number;
  luaL_argcheck(L, number > 0, 2, "a signal's name or number expected");
  signal_group(process, number);
  return 0;
}

// p:stop(): TERM, and KILL after the grace
static int l_stop(lua_State *L) {
  stop(check(L));
  return 0;
}

// Its variable goes out of scope: it is stopped as by p:stop().
static int l_close(lua_State *L) {
  stop(check(L));
  return 0;
}

// The state is closed: a process that still runs is killed and reaped.
static int l_gc(lua_State *L) {
  struct process *process = check(L);
  if (!process->exited) {
    signal_group(process, SIGKILL);
    waitpid(process->awaited, NULL, 0);
    process->exited = true;
  }
  kf_watch_stop(process->loop, &process->exit_watch);
  kf_timer_stop(process->loop, &process->kill_timer);
  if (process->pidfd >= 0) close(process->pidfd);
  process->pidfd = -1;
  for (int i = 0; i < STREAMS; i++) {
    close_stream(&process->streams[i]);
    kf_buffer_free(&process->streams[i].buffer);
  }
  return 0;
}

static int l_index(lua_State *L) {
  struct process *process = check(L);
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "pid") == 0) {
    lua_pushinteger(L, process->pid);
    return 1;
  }
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  return 1;
}

static const luaL_Reg methods[] = {
    {"read", l_read},   {"read_line", l_read_line}, {"lines", l_lines},
    {"write", l_write}, {"close_stdin", l_close_stdin}, {"wait", l_wait},
    {"kill", l_kill},   {"stop", l_stop},           {NULL, NULL},
};

static bool is_program(const char *path) {
  struct stat info;
  return access(path, X_OK) == 0 && stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

// proc.which(name) -> the path that a command of that name starts, or nil
static int l_which(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const char *path = strchr(name, '/') ? NULL : getenv("PATH");
  if (!path) {
    if (strchr(name, '/') && is_program(name)) lua_settop(L, 1);
    else lua_pushnil(L);
    return 1;
  }
  while (*path) {
    size_t length = strcspn(path, ":");
    lua_pushlstring(L, path, length);
    const char *candidate = lua_pushfstring(L, "%s/%s", lua_tostring(L, -1), name);
    if (length > 0 && is_program(candidate)) return 1;
    lua_settop(L, 1);
    path += length + (path[length] == ':');
  }
  lua_pushnil(L);
  return 1;
}

static const luaL_Reg functions[] = {{"spawn", l_spawn}, {"which", l_which}, {NULL, NULL}};

int luaopen_kf_proc(lua_State *L);
int luaopen_kf_proc(lua_State *L) {
  if (luaL_newmetatable(L, TYPE_PROCESS)) {
    luaL_newlib(L, methods);
    lua_pushcclosure(L, l_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, l_close);
    lua_setfield(L, -2, "__close");
  }
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
