// require "fs": files, folders and paths. Errors are error tables whose code is the errno's name.
#include "path.h"

#include "error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(lua_State *L, const char *action, const char *path) {
  return kf_fail_errno(L, errno, action, path);
}

// A descriptor that a raise closes: [-0, +1, v] pushes its guard; *guard is -1 when closed.
#define TYPE_GUARD "kfhost.fs.guard"

static int *push_guard(lua_State *L) {
  int *fd = lua_newuserdatauv(L, sizeof *fd, 0);
  *fd = -1;
  luaL_setmetatable(L, TYPE_GUARD);
  return fd;
}

static int l_guard_close(lua_State *L) {
  int *fd = luaL_checkudata(L, 1, TYPE_GUARD);
  if (*fd >= 0) close(*fd);
  *fd = -1;
  return 0;
}

// --- reading ------------------------------------------------------------------------------------

// fs.read(path) -> its bytes
static int l_read(lua_State *L) {
  const char *path = kf_fs_check_path(L, 1);
  struct stat info;
  luaL_Buffer bytes;
  int *fd = push_guard(L);
  *fd = open(path, O_RDONLY | O_CLOEXEC);
  if (*fd < 0 || fstat(*fd, &info) != 0) return fail(L, "read", path);
  size_t chunk = info.st_size > 0 ? (size_t)info.st_size + 1 : 65536;
  luaL_buffinit(L, &bytes);
  for (;;) {
    char *room = luaL_prepbuffsize(&bytes, chunk);
    ssize_t count = read(*fd, room, chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(L, "read", path);
    if (count == 0) break;
    luaL_addsize(&bytes, (size_t)count);
    chunk = 65536;
  }
  luaL_pushresult(&bytes);
  close(*fd);
  *fd = -1;
  return 1;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_entry(const struct dirent *entry) {
  return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static void free_entries(struct dirent **entries, int count) {
  for (int i = 0; i < count; i++) free(entries[i]);
  free(entries);
}

static int push_names(lua_State *L) {
  struct dirent **entries = lua_touserdata(L, 1);
  int count = (int)lua_tointeger(L, 2);
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    lua_pushstring(L, entries[i]->d_name);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

// fs.list(dir) -> sorted names
static int l_list(lua_State *L) {
  const char *path = kf_fs_check_path(L, 1);
  struct dirent **entries;
  int count = scandir(path, &entries, is_entry, by_name);
  if (count < 0) return fail(L, "list", path);
  lua_pushcfunction(L, push_names);  // protected: the entries are not Lua's
  lua_pushlightuserdata(L, entries);
  lua_pushinteger(L, count);
  int status = lua_pcall(L, 2, 1, 0);
  free_entries(entries, count);
  return status == LUA_OK ? 1 : lua_error(L);
}

static const char *type_name(mode_t mode) {
  if (S_ISREG(mode)) return "file";
  if (S_ISDIR(mode)) return "directory";
  if (S_ISLNK(mode)) return "link";
  return "other";
}

// fs.stat(path[, {follow = false}]) -> {type, size, mtime, mode}, or nil when there is nothing
static int l_stat(lua_State *L) {
  const char *path = kf_fs_check_path(L, 1);
  struct stat info;
  bool follow = true;
  if (lua_istable(L, 2)) follow = lua_getfield(L, 2, "follow") == LUA_TNIL || lua_toboolean(L, -1);
  if ((follow ? stat(path, &info) : lstat(path, &info)) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) return fail(L, "look at", path);
    lua_pushnil(L);
    return 1;
  }
  lua_createtable(L, 0, 4);
  lua_pushstring(L, type_name(info.st_mode));
  lua_setfield(L, -2, "type");
  lua_pushinteger(L, (lua_Integer)info.st_size);
  lua_setfield(L, -2, "size");
  lua_pushnumber(L, (double)info.st_mtim.tv_sec + (double)info.st_mtim.tv_nsec / 1e9);
  lua_setfield(L, -2, "mtime");
  lua_pushinteger(L, (lua_Integer)(info.st_mode & 07777));
  lua_setfield(L, -2, "mode");
  return 1;
}

// fs.exists(path) -> whether there is anything
static int l_exists(lua_State *L) {
  lua_pushboolean(L, access(kf_fs_check_path(L, 1), F_OK) == 0);
  return 1;
}

static int push_path(lua_State *L, char *found, const char *action, const char *path) {
  if (!found) return fail(L, action, path);
  lua_pushstring(L, found);
  return 1;
}

// fs.realpath(path) -> absolute, without links
static int l_realpath(lua_State *L) {
  char buffer[PATH_MAX];
  const char *path = kf_fs_check_path(L, 1);
  return push_path(L, realpath(path, buffer), "resolve", path);
}

// fs.readlink(path) -> where a link points
static int l_readlink(lua_State *L) {
  char buffer[PATH_MAX];
  const char *path = kf_fs_check_path(L, 1);
  ssize_t length = readlink(path, buffer, sizeof buffer - 1);
  if (length < 0) return fail(L, "read the link", path);
  lua_pushlstring(L, buffer, (size_t)length);
  return 1;
}

// fs.cwd() -> the working directory
static int l_cwd(lua_State *L) {
  char buffer[PATH_MAX];
  return push_path(L, getcwd(buffer, sizeof buffer), "find", "the working directory");
}

// --- writing ------------------------------------------------------------------------------------

static bool write_all(int fd, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t count = write(fd, bytes, length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes += count;
    length -= (size_t)count;
  }
  return true;
}

// The bytes at index 2: a text, or a list of texts that stand one after the other.
static void check_bytes(lua_State *L) {
  if (!lua_istable(L, 2)) {
    luaL_checkstring(L, 2);
    return;
  }
  for (lua_Integer i = 1, count = (lua_Integer)lua_rawlen(L, 2); i <= count; i++) {
    luaL_argcheck(L, lua_rawgeti(L, 2, i) == LUA_TSTRING, 2, "texts expected");
    lua_pop(L, 1);
  }
}

// Writes the bytes that check_bytes has seen; raises nothing.
static bool write_bytes(lua_State *L, int fd) {
  size_t length;
  const char *bytes = lua_tolstring(L, 2, &length);
  if (bytes) return write_all(fd, bytes, length);
  bool written = true;
  for (lua_Integer i = 1, count = (lua_Integer)lua_rawlen(L, 2); written && i <= count; i++) {
    lua_rawgeti(L, 2, i);
    bytes = lua_tolstring(L, -1, &length);
    written = write_all(fd, bytes, length);
    lua_pop(L, 1);
  }
  return written;
}

static mode_t mode_option(lua_State *L, int options, mode_t otherwise) {
  if (!lua_istable(L, options)) return otherwise;
  lua_getfield(L, options, "mode");
  return (mode_t)luaL_optinteger(L, -1, otherwise);
}

static bool flag_option(lua_State *L, int options, const char *name) {
  if (!lua_istable(L, options)) return false;
  lua_getfield(L, options, name);
  return lua_toboolean(L, -1);
}

// The mode of the file that is replaced, else 0644.
static mode_t kept_mode(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 ? info.st_mode & 07777 : 0644;
}

// Fills the temporary file; on failure errno says why.
static bool fill(lua_State *L, int fd, mode_t mode, bool sync) {
  return fchmod(fd, mode) == 0 && write_bytes(L, fd) && (!sync || fsync(fd) == 0);
}

// fs.write(path, bytes or list of bytes[, {mode, sync}]): all or nothing, by a temporary file beside it. A link is
// followed, so that the file it names is replaced and the link stays.
static int l_write(lua_State *L) {
  char target[PATH_MAX], temporary[PATH_MAX];
  const char *path = kf_fs_check_path(L, 1);
  check_bytes(L);
  if (!realpath(path, target) && snprintf(target, sizeof target, "%s", path) >= PATH_MAX)
    return kf_fail_errno(L, ENAMETOOLONG, "write", path);
  mode_t mode = mode_option(L, 3, kept_mode(target));
  bool sync = flag_option(L, 3, "sync");
  if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", target) >= PATH_MAX)
    return kf_fail_errno(L, ENAMETOOLONG, "write", path);
  struct stat info;
  if (stat(target, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
    int *device = push_guard(L);  // /dev/stdout and the like cannot be replaced
    *device = open(target, O_WRONLY | O_CLOEXEC);
    if (*device < 0 || !write_bytes(L, *device)) return fail(L, "write", path);
    return 0;
  }
  int fd = mkostemp(temporary, O_CLOEXEC);
  if (fd < 0) return fail(L, "write", path);
  bool filled = fill(L, fd, mode, sync);
  int number = errno;
  if (close(fd) != 0 && filled) filled = false, number = errno;
  if (filled && rename(temporary, target) == 0) return 0;
  if (filled) number = errno;
  unlink(temporary);
  return kf_fail_errno(L, number, "write", path);
}

// fs.append(path, bytes)
static int l_append(lua_State *L) {
  const char *path = kf_fs_check_path(L, 1);
  size_t length;
  const char *bytes = luaL_checklstring(L, 2, &length);
  int *fd = push_guard(L);
  *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (*fd < 0 || !write_all(*fd, bytes, length)) return fail(L, "append to", path);
  int closed = close(*fd);
  *fd = -1;
  return closed == 0 ? 0 : fail(L, "append to", path);
}

static bool is_directory(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int make_parents(char *path, mode_t mode) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    int made = mkdir(path, mode);
    if (made != 0 && !(errno == EEXIST && is_directory(path))) return -1;
    *slash = '/';
  }
  return mkdir(path, mode) == 0 || (errno == EEXIST && is_directory(path)) ? 0 : -1;
}

// fs.mkdir(path[, {parents, mode}]); with parents, one that is there already is no error
static int l_mkdir(lua_State *L) {
  char copy[PATH_MAX];
  const char *path = kf_fs_check_path(L, 1);
  mode_t mode = mode_option(L, 2, 0777);
  if (!flag_option(L, 2, "parents")) return mkdir(path, mode) == 0 ? 0 : fail(L, "make", path);
  if (snprintf(copy, sizeof copy, "%s", path) >= PATH_MAX)
    return kf_fail_errno(L, ENAMETOOLONG, "make", path);
  return make_parents(copy, mode) == 0 ? 0 : fail(L, "make", path);
}

// Removes what name in the folder is; never follows a link. errno says why not.
static bool remove_tree(int folder, const char *name) {
  if (unlinkat(folder, name, 0) == 0) return true;
  if (errno != EISDIR && errno != EPERM) return false;
  int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
  if (!entries) {
    if (fd >= 0) close(fd);
    return false;
  }
  bool removed = true;
  for (struct dirent *entry; removed && (entry = readdir(entries));)
    if (is_entry(entry)) removed = remove_tree(fd, entry->d_name);
  int number = errno;
  closedir(entries);
  errno = number;
  return removed && unlinkat(folder, name, AT_REMOVEDIR) == 0;
}

// fs.remove(path[, {recursive}]) -> whether there was anything
static int l_remove(lua_State *L) {
  const char *path = kf_fs_check_path(L, 1);
  bool removed = flag_option(L, 2, "recursive") ? remove_tree(AT_FDCWD, path) : remove(path) == 0;
  if (!removed && errno != ENOENT) return fail(L, "remove", path);
  lua_pushboolean(L, removed);
  return 1;
}

// fs.rename(from, to)
static int l_rename(lua_State *L) {
  const char *from = kf_fs_check_path(L, 1), *to = kf_fs_check_path(L, 2);
  return rename(from, to) == 0 ? 0 : fail(L, "rename", from);
}

// fs.symlink(target, path): replaces a link that is there, nothing else
static int l_symlink(lua_State *L) {
  const char *target = kf_fs_check_path(L, 1), *path = kf_fs_check_path(L, 2);
  char temporary[PATH_MAX];
  struct stat info;
  if (lstat(path, &info) != 0) return symlink(target, path) == 0 ? 0 : fail(L, "link", path);
  if (!S_ISLNK(info.st_mode)) return kf_fail_errno(L, EEXIST, "link", path);
  if (snprintf(temporary, sizeof temporary, "%s.%d", path, (int)getpid()) >= PATH_MAX)
    return kf_fail_errno(L, ENAMETOOLONG, "link", path);
  if (symlink(target, temporary) != 0 || rename(temporary, path) != 0) return fail(L, "link", path);
  return 0;
}

// fs.copy(from, to): a file, with its mode
static int l_copy(lua_State *L) {
  const char *from = kf_fs_check_path(L, 1), *to = kf_fs_check_path(L, 2);
  struct stat info;
  if (stat(from, &info) != 0) return fail(L, "copy", from);
  lua_settop(L, 2);
  lua_pushcfunction(L, l_read);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  lua_pushcfunction(L, l_write);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_createtable(L, 0, 1);
  lua_pushinteger(L, (lua_Integer)(info.st_mode & 07777));
  lua_setfield(L, -2, "mode");
  lua_call(L, 3, 0);
  (void)to;
  return 0;
}

// fs.tmpdir([prefix]) -> a new folder of our own below TMPDIR
static int l_tmpdir(lua_State *L) {
  const char *base = getenv("TMPDIR"), *prefix = luaL_optstring(L, 1, "kfhost");
  char path[PATH_MAX];
  if (!base || base[0] != '/') base = "/tmp";
  if (snprintf(path, sizeof path, "%s/%s.XXXXXX", base, prefix) >= PATH_MAX || !mkdtemp(path))
    return fail(L, "make a folder in", base);
  lua_pushstring(L, path);
  return 1;
}

static const luaL_Reg functions[] = {
    {"read", l_read},         {"write", l_write},         {"append", l_append},
    {"mkdir", l_mkdir},       {"remove", l_remove},       {"list", l_list},
    {"stat", l_stat},         {"exists", l_exists},       {"rename", l_rename},
    {"symlink", l_symlink},   {"readlink", l_readlink},   {"realpath", l_realpath},
    {"copy", l_copy},         {"tmpdir", l_tmpdir},       {"cwd", l_cwd},
    {"join", kf_fs_join},     {"dirname", kf_fs_dirname}, {"basename", kf_fs_basename},
    {"stem", kf_fs_stem},     {"extension", kf_fs_extension}, {NULL, NULL},
};

int luaopen_kf_fs(lua_State *L);
int luaopen_kf_fs(lua_State *L) {
  if (luaL_newmetatable(L, TYPE_GUARD)) {
    lua_pushcfunction(L, l_guard_close);
    lua_setfield(L, -2, "__gc");
  }
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
