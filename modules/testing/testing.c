// What the test runner needs of the system and no script has a use for: a guard against hangs,
// the working directory, directories that vanish with their test. Times are whole seconds.
#include "error.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int luaopen_kf_testing(lua_State *L);

// testing.guard(seconds): SIGALRM ends the process after that time; 0 takes the guard away.
// Nothing weaker helps against a loop in C or a lock that nobody opens.
static int l_guard(lua_State *L) {
  lua_Integer seconds = luaL_checkinteger(L, 1);
  luaL_argcheck(L, seconds >= 0 && seconds < INT_MAX, 1, "seconds out of range");
  alarm((unsigned)seconds);
  return 0;
}

// testing.directory() -> the working directory
static int l_directory(lua_State *L) {
  char path[PATH_MAX];
  if (!getcwd(path, sizeof path)) return kf_fail_errno(L, errno, "find", "working directory");
  lua_pushstring(L, path);
  return 1;
}

// testing.enter(path) makes path the working directory.
static int l_enter(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  if (chdir(path) != 0) return kf_fail_errno(L, errno, "enter", path);
  return 0;
}

// testing.make_directory() -> the path of a new, empty directory that only this user may enter
static int l_make_directory(lua_State *L) {
  const char *base = getenv("TMPDIR");
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/kfhost-test-XXXXXX", base && base[0] == '/' ? base : "/tmp");
  if (!mkdtemp(path)) return kf_fail_errno(L, errno, "make", path);
  lua_pushstring(L, path);
  return 1;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk) {
  (void)status, (void)walk;
  return kind == FTW_DP ? rmdir(path) : unlink(path);
}

// testing.make_parent(path) makes the last directory before the file's name, if it is not there.
static int l_make_parent(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  const char *slash = strrchr(path, '/');
  const char *parent = slash ? lua_pushlstring(L, path, (size_t)(slash - path)) : ".";
  if (mkdir(parent, 0777) != 0 && errno != EEXIST) return kf_fail_errno(L, errno, "make", parent);
  return 0;
}

// testing.remove_directory(path) removes it with all that is in it; links are not followed.
static int l_remove_directory(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
    return kf_fail_errno(L, errno, "remove", path);
  return 0;
}

static const luaL_Reg functions[] = {
    {"guard", l_guard},
    {"directory", l_directory},
    {"enter", l_enter},
    {"make_directory", l_make_directory},
    {"make_parent", l_make_parent},
    {"remove_directory", l_remove_directory},
    {NULL, NULL},
};

int luaopen_kf_testing(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
