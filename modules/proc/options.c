// What proc.spawn is told.
#include "proc.h"

#include <lauxlib.h>
#include <string.h>

extern char **environ;

static enum connection read_connection(lua_State *L, int options, const char *field,
                                       enum connection otherwise, const char **file) {
  static const char *const names[] = {"pipe", "inherit", "null", "stdout"};
  static const enum connection values[] = {TO_PIPE, TO_INHERIT, TO_NULL, TO_STDOUT};
  int type = lua_getfield(L, options, field);
  if (type == LUA_TNIL) return otherwise;
  if (type == LUA_TTABLE) {
    if (lua_getfield(L, -1, "file") != LUA_TSTRING)
      luaL_error(L, "%s: {file = path} expected", field);
    *file = lua_tostring(L, -1);
    return TO_FILE;
  }
  const char *name = luaL_checkstring(L, -1);
  for (size_t i = 0; i < 4; i++)
    if (strcmp(name, names[i]) == 0) return values[i];
  luaL_error(L, "%s: \"pipe\", \"inherit\", \"null\", \"stdout\" or {file = path} expected", field);
  return otherwise;
}

// [-0, +1, v] an array of count + 1 pointers, NULL-terminated, as a userdata.
static const char **new_list(lua_State *L, size_t count) {
  const char **list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
  list[count] = NULL;
  return list;
}

// [-0, +?, v] the words for the shell line on top.
static const char *const *read_shell(lua_State *L, int options, size_t words) {
  luaL_argcheck(L, words == 0, options, "either words or shell expected, not both");
  const char *line = luaL_checkstring(L, -1);
  const char **list = new_list(L, 3);
  list[0] = "/bin/sh";
  list[1] = "-c";
  list[2] = line;
  return list;
}

// [-0, +?, v] the words options[1…], kept alive by the options table.
static const char *const *read_words(lua_State *L, int options) {
  size_t count = (size_t)luaL_len(L, options);
  if (lua_getfield(L, options, "shell") != LUA_TNIL) return read_shell(L, options, count);
  luaL_argcheck(L, count > 0, options, "a command expected");
  const char **words = new_list(L, count);
  for (size_t i = 0; i < count; i++) {
    lua_geti(L, options, (lua_Integer)i + 1);
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "word %d of the command: string expected", (int)i + 1);
    words[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  return words;
}

// [-0, +?, v] our environment (unless options.clear_env) with options.env over it.
static const char *const *read_environment(lua_State *L, int options) {
  size_t count = 0;
  lua_newtable(L);  // name -> "name=value"
  int merged = lua_gettop(L);
  lua_getfield(L, options, "clear_env");
  for (char **entry = lua_toboolean(L, -1) ? NULL : environ; entry && *entry; entry++) {
    lua_pushlstring(L, *entry, strcspn(*entry, "="));
    lua_pushstring(L, *entry);
    lua_rawset(L, merged);
  }
  if (lua_getfield(L, options, "env") == LUA_TTABLE) {
    int added = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, added); lua_settop(L, added + 1)) {  // … name value
      if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "env: names are strings");
      // env = {NAME = false} takes a name away.
      bool taken_away = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
      const char *value = luaL_tolstring(L, -1, NULL);  // … name value text
      lua_pushvalue(L, -3);
      if (taken_away) lua_pushnil(L);
      else lua_pushfstring(L, "%s=%s", lua_tostring(L, -1), value);  // … text name entry
      lua_rawset(L, merged);
    }
  }
  for (lua_pushnil(L); lua_next(L, merged); lua_pop(L, 1)) count++;
  const char **list = new_list(L, count);
  size_t i = 0;
  for (lua_pushnil(L); lua_next(L, merged); lua_pop(L, 1)) list[i++] = lua_tostring(L, -1);
  return list;
}

static const struct {
  const char *name;
  int resource;
} limit_names[] = {{"cpu", RLIMIT_CPU},       {"memory", RLIMIT_AS},  {"files", RLIMIT_NOFILE},
                   {"file_size", RLIMIT_FSIZE}, {"core", RLIMIT_CORE}, {"stack", RLIMIT_STACK}};
_Static_assert(sizeof limit_names / sizeof *limit_names == LIMITS, "one place for each limit");

static int find_limit(lua_State *L, const char *name) {
  for (int i = 0; i < LIMITS; i++)
    if (strcmp(name, limit_names[i].name) == 0) return limit_names[i].resource;
  return luaL_error(L, "rlimits: unknown limit '%s'", name);
}

static size_t read_limits(lua_State *L, int options, struct limit *limits) {
  size_t count = 0;
  if (lua_getfield(L, options, "rlimits") != LUA_TTABLE) return 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {  // limits name value
    if (lua_type(L, -2) != LUA_TSTRING || !lua_isinteger(L, -1) || lua_tointeger(L, -1) < 0)
      luaL_error(L, "rlimits: {name = integer} expected");
    int resource = find_limit(L, lua_tostring(L, -2));
    limits[count++] = (struct limit){resource, (rlim_t)lua_tointeger(L, -1)};
  }
  return count;
}

// [-0, +?, v] standard input: a way to connect it, or a text that is its content.
static void read_input(lua_State *L, int options, struct command *command) {
  static const char *const ways[] = {"pipe", "inherit", "null"};
  bool is_text = lua_getfield(L, options, "stdin") == LUA_TSTRING;
  for (size_t i = 0; i < 3 && is_text; i++) is_text = strcmp(lua_tostring(L, -1), ways[i]) != 0;
  if (is_text) {
    command->input = lua_tolstring(L, -1, &command->input_length);
    command->connections[STDIN] = TO_PIPE;
  } else {
    command->connections[STDIN] =
        read_connection(L, options, "stdin", TO_NULL, &command->files[STDIN]);
  }
}

void kf_proc_read_command(lua_State *L, int options, struct command *command) {
  luaL_checkstack(L, 32, NULL);
  *command = (struct command){.terminal = -1};
  command->argv = read_words(L, options);
  command->environment = read_environment(L, options);
  lua_getfield(L, options, "cwd");
  command->directory = luaL_optstring(L, -1, NULL);
  read_input(L, options, command);
  command->connections[STDOUT] =
      read_connection(L, options, "stdout", TO_PIPE, &command->files[STDOUT]);
  command->connections[STDERR] =
      read_connection(L, options, "stderr", TO_INHERIT, &command->files[STDERR]);
  command->limit_count = read_limits(L, options, command->limits);
}
