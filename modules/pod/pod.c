// require "pod": the parts of Linux that a pod is made of: namespaces, mounts, its first process.
// Not for policy: what is mounted where is decided in scripts/lib/lab/container.lua.
#include "error.h"
#include "network.h"
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// --- namespaces ---------------------------------------------------------------------------------

static const struct {
  const char *name;
  int flag;
} kinds[] = {{"user", CLONE_NEWUSER}, {"self", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS},
             {"pid", CLONE_NEWPID},   {"net", CLONE_NEWNET},   {"ipc", CLONE_NEWIPC},
             {"uts", CLONE_NEWUTS}};

static int flag_of(lua_State *L, int index) {
  const char *name = luaL_checkstring(L, index);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i].name, name) == 0) return kinds[i].flag;
  return luaL_argerror(L, index, "no kind of namespace");
}

static bool write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  close(fd);
  return done;
}

struct user {
  uid_t user;
  gid_t group;
};

static bool map_user(struct user inside, struct user outside) {
  char text[64];
  write_text("/proc/self/setgroups", "deny");
  snprintf(text, sizeof text, "%u %u 1", (unsigned)inside.user, (unsigned)outside.user);
  if (!write_text("/proc/self/uid_map", text)) return false;
  snprintf(text, sizeof text, "%u %u 1", (unsigned)inside.group, (unsigned)outside.group);
  return write_text("/proc/self/gid_map", text);
}

// pod.unshare(KIND…): new namespaces for this process (pid: for its children); in one of kind "user"
// this user is root, in one of kind "self" who he was
static int l_unshare(lua_State *L) {
  int flags = 0;
  struct user outside = {geteuid(), getegid()};
  struct user inside = {0, 0};
  for (int i = 1; i <= lua_gettop(L); i++) {
    flags |= flag_of(L, i);
    if (strcmp(lua_tostring(L, i), "self") == 0) inside = outside;
  }
  if (unshare(flags) != 0) return kf_fail_errno(L, errno, "make namespaces", "");
  if ((flags & CLONE_NEWUSER) && !map_user(inside, outside))
    return kf_fail_errno(L, errno, "map the user of", "/proc/self/uid_map");
  return 0;
}

// pod.enter(pid, KIND…): the namespaces of another process
static int l_enter(lua_State *L) {
  lua_Integer pid = luaL_checkinteger(L, 1);
  for (int i = 2; i <= lua_gettop(L); i++) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/ns/%s", (long long)pid, luaL_checkstring(L, i));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kf_fail_errno(L, errno, "open", path);
    int result = setns(fd, flag_of(L, i));
    int number = errno;
    close(fd);
    if (result != 0) return kf_fail_errno(L, number, "enter", path);
  }
  return 0;
}

// pod.loopback(): brings up lo
static int l_loopback(lua_State *L) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return kf_fail_errno(L, errno, "make a socket", "");
  struct ifreq request = {0};
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  int result = ioctl(fd, SIOCSIFFLAGS, &request);
  int number = errno;
  close(fd);
  return result == 0 ? 0 : kf_fail_errno(L, number, "bring up", "lo");
}

// pod.hostname(name)
static int l_hostname(lua_State *L) {
  size_t size;
  const char *name = luaL_checklstring(L, 1, &size);
  return sethostname(name, size) == 0 ? 0 : kf_fail_errno(L, errno, "name the host", name);
}

// --- mounts -------------------------------------------------------------------------------------

static const struct {
  const char *name;
  unsigned long flag;
} mount_flags[] = {{"bind", MS_BIND},     {"rec", MS_REC},         {"private", MS_PRIVATE},
                   {"slave", MS_SLAVE},   {"remount", MS_REMOUNT}, {"ro", MS_RDONLY},
                   {"nosuid", MS_NOSUID}, {"nodev", MS_NODEV},     {"noexec", MS_NOEXEC}};

static unsigned long mount_flag(lua_State *L, int index) {
  const char *name = luaL_checkstring(L, index);
  for (size_t i = 0; i < sizeof mount_flags / sizeof *mount_flags; i++)
    if (strcmp(mount_flags[i].name, name) == 0) return mount_flags[i].flag;
  luaL_argerror(L, index, "no option of a mount");
  return 0;
}

// pod.mount(source, target, type or "", data or "", FLAG…)
static int l_mount(lua_State *L) {
  const char *source = luaL_checkstring(L, 1);
  const char *target = luaL_checkstring(L, 2);
  const char *type = luaL_checkstring(L, 3);
  const char *data = luaL_checkstring(L, 4);
  unsigned long flags = 0;
  for (int i = 5; i <= lua_gettop(L); i++) flags |= mount_flag(L, i);
  if (mount(source, target, *type ? type : NULL, flags, *data ? data : NULL) != 0)
    return kf_fail_errno(L, errno, "mount", target);
  return 0;
}

// pod.pivot(root): root becomes /, and what was / is gone
static int l_pivot(lua_State *L) {
  const char *root = luaL_checkstring(L, 1);
  if (chdir(root) != 0) return kf_fail_errno(L, errno, "enter", root);
  if (syscall(SYS_pivot_root, ".", ".") != 0) return kf_fail_errno(L, errno, "pivot to", root);
  if (umount2(".", MNT_DETACH) != 0) return kf_fail_errno(L, errno, "leave the old root of", root);
  if (chdir("/") != 0) return kf_fail_errno(L, errno, "enter", "/");
  return 0;
}

// --- processes ----------------------------------------------------------------------------------

// pod.kill(pid or -group, signal number) -> whether there was such a process
static int l_kill(lua_State *L) {
  lua_Integer pid = luaL_checkinteger(L, 1);
  luaL_argcheck(L, pid > 1 || pid < -1, 1, "no process to be killed");
  lua_pushboolean(L, kill((pid_t)pid, (int)luaL_checkinteger(L, 2)) == 0);
  return 1;
}

static volatile sig_atomic_t child;

static void relay(int number) {
  if (child > 0) kill(child, number);
}

// A list of texts as a NULL-terminated array that lives as long as the table.
static const char **texts(lua_State *L, int index) {
  luaL_checktype(L, index, LUA_TTABLE);
  lua_Integer count = luaL_len(L, index);
  const char **list = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *list, 0);
  for (lua_Integer i = 0; i < count; i++) {
    lua_geti(L, index, i + 1);
    list[i] = luaL_checkstring(L, -1);  // the table holds it
    lua_pop(L, 1);
  }
  list[count] = NULL;
  return list;
}

static void reset_signals(void) {
  struct sigaction action = {.sa_handler = SIG_DFL};
  for (int number = 1; number < NSIG; number++) sigaction(number, &action, NULL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn static void become(const char **argv, const char **environment, const char *directory,
                             bool group) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (group) setpgid(0, 0);
  if (isatty(STDIN_FILENO)) {  // a terminal is this command's own: Ctrl-C is for it
    setsid();
    ioctl(STDIN_FILENO, TIOCSCTTY, 0);
  }
  mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);  // if that is allowed
  reset_signals();
  if (chdir(directory) == 0) {
    environ = (char **)environment;
    execvp(argv[0], (char *const *)argv);
  }
  int number = errno;
  fprintf(stderr, "exec: \"%s\": %s\n", argv[0], strerror(number));
  _exit(number == ENOENT ? 127 : 126);
}

// pod.pause() -> pid: the first process of this process's new pid namespace, there for the sake of
// others: it takes the ends of those whose parents are gone, until this process ends.
static int l_pause(lua_State *L) {
  pid_t pid = fork();
  if (pid < 0) return kf_fail_errno(L, errno, "start", "the first process");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    syscall(SYS_close_range, 0, ~0U, 0);
    reset_signals();
    signal(SIGCHLD, SIG_IGN);
    while (true) pause();
  }
  lua_pushinteger(L, pid);
  return 1;
}

// pod.run(argv, environment, directory, group): the first process of this process's new pid
// namespace; in one that others share (group), what it leaves behind in its group is killed.
// Signals are passed on; ends as that process ends, and never returns.
static int l_run(lua_State *L) {
  bool group = lua_toboolean(L, 4);  // before texts are pushed
  const char **argv = texts(L, 1);
  const char **environment = texts(L, 2);
  const char *directory = luaL_checkstring(L, 3);
  luaL_argcheck(L, argv[0], 1, "no command");
  static const int passed[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
  struct sigaction action = {.sa_handler = relay};
  for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) sigaction(passed[i], &action, NULL);
  pid_t pid = fork();
  if (pid < 0) return kf_fail_errno(L, errno, "start", argv[0]);
  if (pid == 0) become(argv, environment, directory, group);
  child = pid;
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) _exit(125);
  if (group) kill(-pid, SIGKILL);
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

// pod.exec(argv, directory): this process becomes that command, with the environment it has
static int l_exec(lua_State *L) {
  const char **argv = texts(L, 1);
  const char *directory = luaL_checkstring(L, 2);
  luaL_argcheck(L, argv[0], 1, "no command");
  if (chdir(directory) != 0) return kf_fail_errno(L, errno, "enter", directory);
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // new namespaces have undone it
  reset_signals();
  execvp(argv[0], (char *const *)argv);
  return kf_fail_errno(L, errno, "start", argv[0]);
}

int luaopen_kf_pod(lua_State *L);
int luaopen_kf_pod(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"unshare", l_unshare}, {"enter", l_enter}, {"loopback", l_loopback}, {"hostname", l_hostname},
      {"mount", l_mount},     {"pivot", l_pivot}, {"kill", l_kill},         {"run", l_run},
      {"pause", l_pause},
      {"exec", l_exec},       {"network", kf_pod_network},
      {"signals", kf_pod_signals},
      {NULL, NULL},
  };
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
