#include "lockdown.h"

#include <errno.h>
#include <seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static bool limit(int resource, rlim_t value) {
  struct rlimit now;
  if (getrlimit(resource, &now) != 0) return false;
  if (now.rlim_max != RLIM_INFINITY && value > now.rlim_max) value = now.rlim_max;
  struct rlimit wanted = {value, value};
  return setrlimit(resource, &wanted) == 0;
}

// For sockets that are there, timers, memory, randomness and the end.
static const int allowed[] = {
    SCMP_SYS(read),          SCMP_SYS(readv),          SCMP_SYS(write),
    SCMP_SYS(writev),        SCMP_SYS(recvfrom),       SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),        SCMP_SYS(sendmsg),        SCMP_SYS(accept4),
    SCMP_SYS(accept),        SCMP_SYS(shutdown),       SCMP_SYS(close),
    SCMP_SYS(fcntl),         SCMP_SYS(fstat),          SCMP_SYS(newfstatat),
    SCMP_SYS(lseek),         SCMP_SYS(getpeername),    SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt),    SCMP_SYS(setsockopt),     SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),   SCMP_SYS(epoll_ctl),      SCMP_SYS(poll),
    SCMP_SYS(ppoll),         SCMP_SYS(timerfd_settime), SCMP_SYS(timer_create),
    SCMP_SYS(timer_settime), SCMP_SYS(timer_gettime),  SCMP_SYS(timer_delete),
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),   SCMP_SYS(time),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),    SCMP_SYS(brk),
    SCMP_SYS(munmap),        SCMP_SYS(mremap),         SCMP_SYS(madvise),
    SCMP_SYS(futex),         SCMP_SYS(getrandom),      SCMP_SYS(getpid),
    SCMP_SYS(gettid),        SCMP_SYS(getuid),         SCMP_SYS(geteuid),
    SCMP_SYS(getgid),        SCMP_SYS(getegid),        SCMP_SYS(getrusage),
    SCMP_SYS(rt_sigaction),  SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),   SCMP_SYS(restart_syscall), SCMP_SYS(sched_yield),
    SCMP_SYS(exit),          SCMP_SYS(exit_group),     SCMP_SYS(tgkill),
};

// Memory yes, but none that can be executed.
static int allow_memory(scmp_filter_ctx filter) {
  int call[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
  int problem = 0;
  for (size_t i = 0; i < 2 && !problem; i++)
    problem = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call[i], 1,
                               SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
  return problem;
}

static int install_filter(void) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  if (!filter) return -ENOMEM;
  int problem = allow_memory(filter);
  for (size_t i = 0; i < sizeof allowed / sizeof *allowed && !problem; i++)
    problem = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
  if (!problem) problem = seccomp_load(filter);
  seccomp_release(filter);
  return problem;
}

const char *kf_lock_down(size_t files, size_t memory) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return strerror(errno);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // no core with secrets in it, no tracer
#ifdef __SANITIZE_ADDRESS__
  memory = RLIM_INFINITY;  // the sanitizer's own address space is beyond every limit
#endif
  bool limited = limit(RLIMIT_NOFILE, files) && limit(RLIMIT_AS, memory) && limit(RLIMIT_CORE, 0);
  if (!limited) return strerror(errno);
  int problem = install_filter();
  return problem ? strerror(-problem) : NULL;
}
