// The keeper: a process of ours between this program and a child whose descendants are all to end
// with it, also those that left its group and its session. As a subreaper it becomes their parent.
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// The parent of a process, by /proc; 0 when it is gone. Its name may hold anything: fields are
// counted from its end.
static pid_t parent_of(const char *pid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
  FILE *file = fopen(path, "re");
  if (!file) return 0;
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = '\0';
  const char *end = strrchr(text, ')');
  int parent = 0;
  if (!end || sscanf(end + 1, " %*c %d", &parent) != 1) return 0;
  return parent;
}

static void end(pid_t pid) {
  kill(pid, SIGKILL);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
  }
}

// Where the kernel does not list them (CONFIG_PROC_CHILDREN), all processes are asked.
static bool end_children_by_parent(pid_t child) {
  DIR *directory = opendir("/proc");
  if (!directory) return false;
  bool found = false;
  pid_t own = getpid();
  for (struct dirent *entry; (entry = readdir(directory));) {
    pid_t pid = (pid_t)atoi(entry->d_name);
    if (pid <= 0 || pid == child || parent_of(entry->d_name) != own) continue;
    end(pid);
    found = true;
  }
  closedir(directory);
  return found;
}

// False when there were none.
static bool end_children_but(pid_t child) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
  FILE *file = fopen(path, "re");
  if (!file) return end_children_by_parent(child);
  bool found = false;
  for (int pid; fscanf(file, "%d", &pid) == 1;) {
    if (pid == child) continue;
    end(pid);
    found = true;
  }
  fclose(file);
  return found;
}

// Reaps the others that have ended; true when the child has: its number stays its own until all that
// bears it is gone.
static bool has_ended(pid_t child) {
  for (;;) {
    siginfo_t info = {0};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return false;
    if (info.si_pid == child) return true;
    waitpid(info.si_pid, NULL, WNOHANG);
  }
}

// Ends as the child has ended.
_Noreturn static void end_like(int status) {
  if (WIFEXITED(status)) _exit(WEXITSTATUS(status));
  int number = WTERMSIG(status);
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  signal(number, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  raise(number);
  _exit(128 + number);
}

bool kf_proc_begin_keeping(pid_t parent) {
  setpgid(0, 0);
  signal(SIGCHLD, SIG_DFL);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  return getppid() == parent;
}

_Noreturn void kf_proc_keep(pid_t child) {
  syscall(SYS_close_range, 0, UINT_MAX, 0);  // who reads what the child writes must see its end
  sigset_t awaited;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGCHLD);
  sigaddset(&awaited, SIGTERM);
  while (!has_ended(child)) {
    siginfo_t info;
    if (sigwaitinfo(&awaited, &info) != SIGTERM) continue;
    kill(child, SIGKILL);  // this program is gone
  }
  kill(-child, SIGKILL);
  while (end_children_but(child)) {  // whoever is killed leaves its own children to us
  }
  int status = 0;
  waitpid(child, &status, 0);
  end_like(status);
}
