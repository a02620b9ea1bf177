// Paths as texts: nothing here looks at the disk.
#include "path.h"

#include <string.h>

static const char *text_of(lua_State *L, int arg) {
  size_t length;
  const char *path = luaL_checklstring(L, arg, &length);
  luaL_argcheck(L, strlen(path) == length, arg, "a path without zero bytes expected");
  return path;
}

// The length of path without trailing slashes; "/" keeps its own.
static size_t trimmed(const char *path) {
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  return length;
}

// Where the last component of the first `length` bytes starts.
static size_t base_start(const char *path, size_t length) {
  size_t start = length;
  while (start > 0 && path[start - 1] != '/') start--;
  return start;
}

// fs.join(part, …): an absolute part starts anew, empty parts are left out.
int kf_fs_join(lua_State *L) {
  luaL_Buffer joined;
  int count = lua_gettop(L), first = 1;
  for (int i = 1; i <= count; i++)
    if (text_of(L, i)[0] == '/') first = i;
  luaL_buffinit(L, &joined);
  for (int i = first; i <= count; i++) {
    const char *part = lua_tostring(L, i);
    if (!*part) continue;
    size_t length = luaL_bufflen(&joined);
    if (length > 0 && luaL_buffaddr(&joined)[length - 1] != '/') luaL_addchar(&joined, '/');
    luaL_addstring(&joined, part);
  }
  luaL_pushresult(&joined);
  return 1;
}

// fs.basename("/a/b.txt") -> "b.txt"
int kf_fs_basename(lua_State *L) {
  const char *path = text_of(L, 1);
  size_t length = trimmed(path), start = base_start(path, length);
  if (length == 1 && path[0] == '/') start = 0;
  lua_pushlstring(L, path + start, length - start);
  return 1;
}

// fs.dirname("/a/b.txt") -> "/a"; of a bare name ".", of "/" itself
int kf_fs_dirname(lua_State *L) {
  const char *path = text_of(L, 1);
  size_t start = base_start(path, trimmed(path));
  while (start > 1 && path[start - 1] == '/') start--;
  if (start == 0) lua_pushliteral(L, ".");
  else lua_pushlstring(L, path, start);
  return 1;
}

// The dot that begins the extension of the last component, or its end. ".profile" has none.
static size_t extension_start(const char *path, size_t start, size_t end) {
  for (size_t i = end; i > start + 1; i--)
    if (path[i - 1] == '.') return i - 1;
  return end;
}

// fs.stem("/a/b.tar.gz") -> "b.tar"
int kf_fs_stem(lua_State *L) {
  const char *path = text_of(L, 1);
  size_t length = trimmed(path), start = base_start(path, length);
  lua_pushlstring(L, path + start, extension_start(path, start, length) - start);
  return 1;
}

// fs.extension("/a/b.tar.gz") -> ".gz"
int kf_fs_extension(lua_State *L) {
  const char *path = text_of(L, 1);
  size_t length = trimmed(path), dot = extension_start(path, base_start(path, length), length);
  lua_pushlstring(L, path + dot, length - dot);
  return 1;
}

const char *kf_fs_check_path(lua_State *L, int arg) {
  return text_of(L, arg);
}
