// A tool of the build: parses the bundled scripts, so that the program need not at every start.
//
// precompile ROOT OUT NAME… writes the bytecode of ROOT/NAME to OUT/0, OUT/1, …, in the order of the
// names. Lines and names of variables stay in it: a traceback is the same as that of the text.
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *open_file(lua_State *L, const char *path, const char *mode) {
  FILE *file = fopen(path, mode);
  if (!file) luaL_error(L, "%s: %s", path, strerror(errno));
  return file;
}

static int write_piece(lua_State *L, const void *piece, size_t size, void *file) {
  (void)L;
  return fwrite(piece, 1, size, file) != size;
}

// [-0, +1, e] pushes the text of a file
static const char *push_file(lua_State *L, const char *path, size_t *length) {
  FILE *file = open_file(L, path, "rb");
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  for (size_t size = 1; size > 0;) {
    size = fread(luaL_prepbuffer(&text), 1, LUAL_BUFFERSIZE, file);
    luaL_addsize(&text, size);
  }
  fclose(file);
  luaL_pushresult(&text);
  return lua_tolstring(L, -1, length);
}

static void precompile(lua_State *L, const char *path, const char *chunk_name, const char *target) {
  size_t length = 0;
  const char *text = push_file(L, path, &length);
  if (luaL_loadbufferx(L, text, length, chunk_name, "t") != LUA_OK) lua_error(L);
  FILE *file = open_file(L, target, "wb");
  int failed = lua_dump(L, write_piece, file, 0);
  if (fclose(file) || failed) luaL_error(L, "%s: cannot be written", target);
}

// precompile_all(ROOT, OUT, NAME…)
static int precompile_all(lua_State *L) {
  const char *root = luaL_checkstring(L, 1), *out = luaL_checkstring(L, 2);
  for (int i = 3, last = lua_gettop(L); i <= last; i++) {
    const char *name = luaL_checkstring(L, i);
    const char *path = lua_pushfstring(L, "%s/%s", root, name);
    const char *chunk_name = lua_pushfstring(L, "@kfhost/%s", name);
    precompile(L, path, chunk_name, lua_pushfstring(L, "%s/%d", out, i - 3));
    lua_settop(L, last);
  }
  return 0;
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  if (!L || !lua_checkstack(L, argc + LUA_MINSTACK)) return EXIT_FAILURE;
  lua_pushcfunction(L, precompile_all);
  for (int i = 1; i < argc; i++) lua_pushstring(L, argv[i]);
  int status = lua_pcall(L, argc - 1, 0, 0);
  if (status != LUA_OK) fprintf(stderr, "precompile: %s\n", lua_tostring(L, -1));
  lua_close(L);
  return status == LUA_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
