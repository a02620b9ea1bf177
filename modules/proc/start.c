// Starting a child: everything between fork and exec.
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

struct failure {
  int number;
  char action[32];
};

static void close_all(int fds[STREAMS][2]) {
  for (int i = 0; i < STREAMS; i++)
    for (int end = 0; end < 2; end++)
      if (fds[i][end] >= 0) close(fds[i][end]);
}

// In the child: says what failed to the parent, through the pipe that exec closes.
_Noreturn static void fail(int report, const char *action) {
  struct failure failure = {.number = errno};
  strncpy(failure.action, action, sizeof failure.action - 1);
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
                stream == STDIN ? O_RDONLY | O_CLOEXEC : O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  }
  return -1;
}

static void connect_streams(const struct command *command, int pipes[STREAMS][2], int report) {
  for (int stream = 0; stream < STREAMS; stream++) {
    int fd = open_stream(command, stream, pipes[stream][stream == STDIN ? 0 : 1]);
    if (fd < 0) fail(report, "open a stream of");
    if (fd != stream && dup2(fd, stream) < 0) fail(report, "connect a stream of");
    if (fd == stream) fcntl(fd, F_SETFD, 0);
  }
}

_Noreturn static void run_child(const struct command *command, int pipes[STREAMS][2], int report,
                                pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  signal(SIGPIPE, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  connect_streams(command, pipes, report);
  for (size_t i = 0; i < command->limit_count; i++) {
    struct rlimit limit = {command->limits[i].value, command->limits[i].value};
    if (setrlimit((__rlimit_resource_t)command->limits[i].resource, &limit) != 0)
      fail(report, "limit");
  }
  if (command->directory && chdir(command->directory) != 0) fail(report, "enter the directory of");
  execvpe(command->argv[0], (char *const *)command->argv, (char *const *)command->environment);
  fail(report, "start");
}

// Waits for exec, or for the word of what failed.
static int read_report(int report, const char **action) {
  static struct failure failure;
  ssize_t count;
  do count = read(report, &failure, sizeof failure);
  while (count < 0 && errno == EINTR);
  if (count != sizeof failure) return 0;
  *action = failure.action;
  return failure.number;
}

int kf_proc_start(const struct command *command, pid_t *pid, int fds[STREAMS], const char **action) {
  int pipes[STREAMS][2] = {{-1, -1}, {-1, -1}, {-1, -1}}, report[2];
  *action = "make pipes for";
  for (int i = 0; i < STREAMS; i++)
    if (command->connections[i] == TO_PIPE && pipe2(pipes[i], O_CLOEXEC) != 0) goto failed;
  if (pipe2(report, O_CLOEXEC) != 0) goto failed;
  pid_t parent = getpid();
  *action = "start";
  *pid = fork();
  if (*pid == 0) run_child(command, pipes, report[1], parent);
  close(report[1]);
  int number = *pid < 0 ? errno : read_report(report[0], action);
  close(report[0]);
  if (number != 0) {
    close_all(pipes);
    return number;
  }
  setpgid(*pid, *pid);  // also here: either side may come first
  for (int i = 0; i < STREAMS; i++) {
    int ours = i == STDIN ? 1 : 0;
    fds[i] = pipes[i][ours];
    if (pipes[i][!ours] >= 0) close(pipes[i][!ours]);
    if (fds[i] >= 0) fcntl(fds[i], F_SETFL, O_NONBLOCK);
  }
  return 0;
failed:
  number = errno;
  close_all(pipes);
  return number;
}
