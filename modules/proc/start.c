// Starting a child: everything between vfork and exec.
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// --- in the child: only what is safe after vfork -----------------------------------------------

// Says what failed to the parent, through the pipe that exec closes.
_Noreturn static void fail(int report, int step, int stream) {
  struct failure failure = {.number = errno, .step = step, .stream = stream};
  if (write(report, &failure, sizeof failure) < 0) _exit(126);
  _exit(127);
}

static int open_stream(const struct command *command, int stream, int pipe_end) {
  switch (command->connections[stream]) {
  case TO_PIPE: return pipe_end;
  case TO_INHERIT: return stream;
  case TO_STDOUT: return STDOUT_FILENO;
  case TO_NULL: return open("/dev/null", O_RDWR | O_CLOEXEC);
  case TO_FILE:
    return open(command->files[stream],
                stream == STDIN ? O_RDONLY | O_CLOEXEC : O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                0666);
  }
  return -1;
}

static void connect_streams(const struct command *command, int pipes[STREAMS][2], int report) {
  for (int stream = 0; stream < STREAMS; stream++) {
    int fd = open_stream(command, stream, pipes[stream][stream == STDIN ? 0 : 1]);
    if (fd < 0 || (fd != stream && dup2(fd, stream) < 0)) fail(report, STEP_STREAM, stream);
    if (fd == stream) fcntl(fd, F_SETFD, 0);
  }
}

// Who has the terminal is not stopped by Ctrl-Z: nobody would continue it.
static void reset_signals(bool has_terminal) {
  struct sigaction action = {.sa_handler = SIG_DFL};
  for (int number = 1; number < NSIG; number++) sigaction(number, &action, NULL);
  if (has_terminal) signal(SIGTSTP, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn static void run_child(const struct command *command, int pipes[STREAMS][2], int report,
                                pid_t parent) {
  setpgid(0, 0);
  if (command->terminal >= 0) kf_proc_give_terminal(command->terminal, getpid());
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  connect_streams(command, pipes, report);
  for (size_t i = 0; i < command->limit_count; i++) {
    struct rlimit limit = {command->limits[i].value, command->limits[i].value};
    if (setrlimit((__rlimit_resource_t)command->limits[i].resource, &limit) != 0)
      fail(report, STEP_LIMIT, 0);
  }
  if (command->directory && chdir(command->directory) != 0) fail(report, STEP_DIRECTORY, 0);
  // Ours are all close-on-exec; this is for those that we have inherited ourselves.
  syscall(SYS_close_range, 3, UINT_MAX, 4 /* CLOSE_RANGE_CLOEXEC */);
  reset_signals(command->terminal >= 0);
  execvpe(command->argv[0], (char *const *)command->argv, (char *const *)command->environment);
  fail(report, STEP_START, 0);
}

// --- in the parent -----------------------------------------------------------------------------

// A pipe beside the standard streams, even when one of ours was closed: the child replaces those.
static bool make_pipe(int ends[2]) {
  int low[2];
  if (pipe2(low, O_CLOEXEC) != 0) return false;
  for (int i = 0; i < 2; i++) {
    ends[i] = low[i] > STDERR_FILENO ? low[i] : fcntl(low[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (ends[i] != low[i]) close(low[i]);
  }
  return ends[0] >= 0 && ends[1] >= 0;
}

static void close_all(int pipes[STREAMS][2]) {
  for (int i = 0; i < STREAMS; i++)
    for (int end = 0; end < 2; end++)
      if (pipes[i][end] >= 0) close(pipes[i][end]);
}

// Copies no page of ours, which would cost more than the rest: until it execs, the child lives in our
// memory while we stand still.
static pid_t start_directly(const struct command *command, int pipes[STREAMS][2], int report) {
  pid_t parent = getpid();
  // NOLINTBEGIN(clang-analyzer-*): run_child changes nothing of ours, and does not return
  pid_t pid = vfork();
  if (pid == 0) run_child(command, pipes, report, parent);
  // NOLINTEND(clang-analyzer-*)
  return pid;
}

// The keeper: says the child's number after it has begun, unless that has said what failed.
_Noreturn static void run_keeper(const struct command *command, int pipes[STREAMS][2], int report,
                                 pid_t parent) {
  if (!kf_proc_begin_keeping(parent)) _exit(127);
  pid_t pid = start_directly(command, pipes, report);
  if (pid < 0) fail(report, STEP_START, 0);
  struct failure none = {.pid = pid};
  if (write(report, &none, sizeof none) < 0) _exit(127);
  kf_proc_keep(pid);
}

static pid_t start_keeper(const struct command *command, int pipes[STREAMS][2], int report) {
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid == 0) run_keeper(command, pipes, report, parent);
  return pid;
}

// All signals are blocked: no handler of ours may run in the child.
static pid_t start_child(const struct command *command, int pipes[STREAMS][2], int report) {
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  pid_t pid = (command->kept ? start_keeper : start_directly)(command, pipes, report);
  int number = errno;
  sigprocmask(SIG_SETMASK, &before, NULL);
  errno = number;
  return pid;
}

// Waits for exec, or for the word of what failed; then the child is reaped.
static struct failure read_report(int report, const struct command *command,
                                  struct started *started) {
  struct failure said;
  ssize_t count;
  do count = read(report, &said, sizeof said);
  while (count < 0 && errno == EINTR);
  bool complete = count == (ssize_t)sizeof said;
  started->pid = complete ? said.pid : started->awaited;
  if (complete && said.number == 0) return said;
  if (!complete && !command->kept) return (struct failure){0};
  while (waitpid(started->awaited, NULL, 0) < 0 && errno == EINTR) {
  }
  return complete ? said : (struct failure){.number = ECHILD};  // the keeper is gone
}

static void keep_our_ends(int pipes[STREAMS][2], int fds[STREAMS]) {
  for (int i = 0; i < STREAMS; i++) {
    int ours = i == STDIN ? 1 : 0;
    fds[i] = pipes[i][ours];
    if (pipes[i][!ours] >= 0) close(pipes[i][!ours]);
    if (fds[i] >= 0) fcntl(fds[i], F_SETFL, O_NONBLOCK);
  }
}

struct failure kf_proc_start(const struct command *command, struct started *started,
                             int fds[STREAMS]) {
  int pipes[STREAMS][2] = {{-1, -1}, {-1, -1}, {-1, -1}}, report[2] = {-1, -1};
  struct failure failure = {0};
  bool made = make_pipe(report);
  for (int i = 0; i < STREAMS && made; i++)
    if (command->connections[i] == TO_PIPE) made = make_pipe(pipes[i]);
  started->awaited = made ? start_child(command, pipes, report[1]) : -1;
  if (started->awaited < 0) failure.number = errno;
  if (report[1] >= 0) close(report[1]);
  if (started->awaited > 0) failure = read_report(report[0], command, started);
  if (report[0] >= 0) close(report[0]);
  if (failure.number) {
    close_all(pipes);
    return failure;
  }
  if (!command->kept) setpgid(started->pid, started->pid);  // also here: either side may come first
  keep_our_ends(pipes, fds);
  return failure;
}
