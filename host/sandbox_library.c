// The libraries of a sandbox: Lua's own where a call is short, and ours where it could be long, could
// hide from the deadline, or could reach out.
#include "sandbox.h"

#include "match.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#define RANGE_LIMIT 1000000  // values that a call may take from or put on the stack

// --- base: pcall may stay, its caller is Lua and has the hook ----------------------------------------

// setmetatable(table, metatable): finalizers would run where no hook does.
static int l_setmetatable(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (lua_istable(L, 2)) {
    lua_pushliteral(L, "__gc");
    if (lua_rawget(L, 2) != LUA_TNIL) return luaL_error(L, "a sandbox has no finalizers (__gc)");
    lua_pop(L, 1);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

// The message handler of xpcall; upvalue: the code's own handler. When the deadline stops the code,
// that one would run inside the hook, where no further hook comes: it is passed over.
static int handle_message(lua_State *L) {
  if (lua_islightuserdata(L, 1)) return 1;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

static int all_results(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  return lua_gettop(L);
}

// xpcall(f, handler, …); upvalue: Lua's own
static int l_xpcall(lua_State *L) {
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, handle_message, 1);
  lua_replace(L, 2);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, all_results);
  return lua_gettop(L);
}

// --- load: text only, in small pieces, with a look at the deadline before each ---------------------

#define PIECE 1024

struct source {
  const char *next;  // of the present text
  size_t left;
  bool is_function;  // argument 1 gives the texts
};

// The reader of load; slot 5 of the stack keeps the text that is being read.
static const char *read_piece(lua_State *L, void *data, size_t *size) {
  struct source *source = data;
  kf_sandbox_check(L);
  if (source->left == 0 && source->is_function) {
    luaL_checkstack(L, 2, "too many nested functions");
    lua_pushvalue(L, 1);
    lua_call(L, 0, 1);
    if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "reader function must return a string");
    lua_replace(L, 5);
    source->next = lua_tolstring(L, 5, &source->left);
    if (!source->next) source->left = 0;
  }
  *size = source->left < PIECE ? source->left : PIECE;
  const char *piece = source->next;
  if (*size == 0) return NULL;
  source->next += *size;
  source->left -= *size;
  return piece;
}

// load(chunk, name, mode, env)
static int l_load(lua_State *L) {
  struct source source = {0};
  bool has_env = lua_gettop(L) >= 4;
  source.is_function = lua_isfunction(L, 1);
  if (!source.is_function) source.next = luaL_checklstring(L, 1, &source.left);
  const char *name = luaL_optstring(L, 2, source.is_function ? "=(load)" : source.next);
  lua_settop(L, 5);
  if (lua_load(L, read_piece, &source, name, "t") != LUA_OK) {
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
  }
  if (has_env) {
    lua_pushvalue(L, 4);
    if (!lua_setupvalue(L, -2, 1)) lua_pop(L, 1);
  }
  return 1;
}

// collectgarbage(what): tells, and does nothing
static int l_collectgarbage(lua_State *L) {
  if (strcmp(luaL_optstring(L, 1, "collect"), "count") == 0) lua_pushnumber(L, lua_gc(L, LUA_GCCOUNT));
  else lua_pushinteger(L, 0);
  return 1;
}

// [name, loaded] compiles and runs the source that the host gave for the module, and keeps its value.
static int require_source(lua_State *L) {
  const char *name = lua_tostring(L, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, KF_SANDBOX_SOURCES);
  if (lua_getfield(L, -1, name) != LUA_TTABLE)
    return luaL_error(L, "module '%s' is not available in a sandbox", name);
  lua_rawgeti(L, -1, 1);
  lua_rawgeti(L, -2, 2);  // … source text chunk name
  struct source source = {0};
  source.next = lua_tolstring(L, -2, &source.left);
  if (lua_load(L, read_piece, &source, lua_tostring(L, -1), "t") != LUA_OK) return lua_error(L);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  if (lua_isnil(L, -1)) lua_pushboolean(L, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, 2, name);
  return 1;
}

// require(name): what the host has put into the registry's tables of loaded modules and of sources
static int l_require(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lua_settop(L, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, 2, name) != LUA_TNIL) return 1;
  lua_pop(L, 1);
  return require_source(L);
}

// --- coroutines: the sandbox knows which one runs ----------------------------------------------------

// Resumes with `count` arguments that lie on L; gives what lua_resume gave.
static int resume(lua_State *L, lua_State *coroutine, int count, int *results) {
  struct host *host = kf_host(L);
  luaL_checkstack(coroutine, count, "too many arguments to resume");
  lua_xmove(L, coroutine, count);
  host->running = coroutine;
  int status = lua_resume(coroutine, L, count, results);
  host->running = L;
  kf_sandbox_check(L);
  return status;
}

static lua_State *check_coroutine(lua_State *L, int index) {
  lua_State *coroutine = lua_tothread(L, index);
  luaL_argexpected(L, coroutine, 1, "coroutine");
  return coroutine;
}

// Why a coroutine cannot be resumed, or NULL.
static const char *unresumable(lua_State *L, lua_State *coroutine) {
  lua_Debug activation;
  if (L == coroutine) return "cannot resume non-suspended coroutine";
  if (lua_status(coroutine) == LUA_YIELD) return NULL;
  if (lua_status(coroutine) != LUA_OK) return "cannot resume dead coroutine";
  if (lua_getstack(coroutine, 0, &activation)) return "cannot resume non-suspended coroutine";
  return lua_gettop(coroutine) == 0 ? "cannot resume dead coroutine" : NULL;
}

static int l_resume(lua_State *L) {
  lua_State *coroutine = check_coroutine(L, 1);
  const char *problem = unresumable(L, coroutine);
  if (problem) {
    lua_pushboolean(L, 0);
    lua_pushstring(L, problem);
    return 2;
  }
  int results = 0;
  int status = resume(L, coroutine, lua_gettop(L) - 1, &results);
  bool ok = status == LUA_OK || status == LUA_YIELD;
  if (!ok) results = 1;
  luaL_checkstack(L, results + 1, "too many results to resume");
  lua_pushboolean(L, ok);
  lua_xmove(coroutine, L, results);
  return results + 1;
}

// Closes a coroutine: its <close> variables run as code that can be stopped.
static int close_coroutine(lua_State *L, lua_State *coroutine) {
  struct host *host = kf_host(L);
  host->running = coroutine;
  int status = lua_resetthread(coroutine);
  host->running = L;
  kf_sandbox_check(L);
  return status;
}

static int l_wrapped(lua_State *L) {
  lua_State *coroutine = lua_tothread(L, lua_upvalueindex(1));
  const char *problem = unresumable(L, coroutine);
  if (problem) return luaL_error(L, "%s", problem);
  int results = 0;
  int status = resume(L, coroutine, lua_gettop(L), &results);
  if (status == LUA_OK || status == LUA_YIELD) {
    luaL_checkstack(L, results, "too many results to resume");
    lua_xmove(coroutine, L, results);
    return results;
  }
  close_coroutine(L, coroutine);
  lua_xmove(coroutine, L, 1);
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int l_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *coroutine = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, coroutine, 1);
  lua_pushcclosure(L, l_wrapped, 1);
  return 1;
}

static int l_close(lua_State *L) {
  lua_State *coroutine = check_coroutine(L, 1);
  lua_Debug activation;
  bool idle = lua_status(coroutine) != LUA_OK || !lua_getstack(coroutine, 0, &activation);
  if (L == coroutine || !idle) return luaL_error(L, "cannot close a running coroutine");
  if (close_coroutine(L, coroutine) == LUA_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushboolean(L, 0);
  lua_xmove(coroutine, L, 1);
  return 2;
}

// --- strings: sizes are known before the work begins --------------------------------------------------

// string.rep(text, count, separator)
static int l_rep(lua_State *L) {
  size_t length, separator_length;
  const char *text = luaL_checklstring(L, 1, &length);
  lua_Integer count = luaL_checkinteger(L, 2);
  const char *separator = luaL_optlstring(L, 3, "", &separator_length);
  size_t unit = length + separator_length;
  if (count <= 0 || unit == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  if ((size_t)count > (size_t)PTRDIFF_MAX / unit) kf_sandbox_check_size(L, PTRDIFF_MAX);
  size_t total = unit * (size_t)count;
  kf_sandbox_check_size(L, total);
  luaL_Buffer buffer;
  char *to = luaL_buffinitsize(L, &buffer, total);
  memcpy(to, text, length);
  memcpy(to + length, separator, separator_length);
  for (size_t done = unit; done < total;) {  // what is there is doubled
    size_t more = done < total - done ? done : total - done;
    memcpy(to + done, to, more);
    done += more;
  }
  luaL_pushresultsize(&buffer, total - separator_length);
  return 1;
}

// string.format(format, …): Lua's own, when its texts are small; upvalue: Lua's own
static int l_format(lua_State *L) {
  size_t total = 0;
  int count = lua_gettop(L);
  for (int i = 1; i <= count; i++)
    if (lua_type(L, i) == LUA_TSTRING) total += lua_rawlen(L, i);
  // %q makes up to four bytes of one, and is slow: a text for it must be smaller still.
  size_t length;
  const char *format = luaL_checklstring(L, 1, &length);
  bool quotes = memchr(format, 'q', length) != NULL;
  kf_sandbox_check_size(L, total * (quotes ? 64 : 1));
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, count, 1);
  return 1;
}

// --- tables: each loop looks at the deadline, for what a metamethod says may be endless ----------------

static lua_Integer length_of(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  return luaL_len(L, 1);
}

// table.insert(list, [position,] value)
static int l_insert(lua_State *L) {
  lua_Integer position, end = (lua_Integer)((lua_Unsigned)length_of(L) + 1);
  switch (lua_gettop(L)) {
    case 2: position = end; break;
    case 3:
      position = luaL_checkinteger(L, 2);
      luaL_argcheck(L, (lua_Unsigned)position - 1u < (lua_Unsigned)end, 2, "position out of bounds");
      for (lua_Integer i = end; i > position; i--) {
        kf_sandbox_check(L);
        lua_geti(L, 1, i - 1);
        lua_seti(L, 1, i);
      }
      break;
    default: return luaL_error(L, "wrong number of arguments to 'insert'");
  }
  lua_seti(L, 1, position);
  return 0;
}

// table.remove(list, position)
static int l_remove(lua_State *L) {
  lua_Integer size = length_of(L);
  lua_Integer position = luaL_optinteger(L, 2, size);
  if (position != size)
    luaL_argcheck(L, (lua_Unsigned)position - 1u <= (lua_Unsigned)size, 2, "position out of bounds");
  lua_geti(L, 1, position);
  for (; position < size; position++) {
    kf_sandbox_check(L);
    lua_geti(L, 1, position + 1);
    lua_seti(L, 1, position);
  }
  lua_pushnil(L);
  lua_seti(L, 1, position);
  return 1;
}

// table.move(from, first, last, target, to)
static int l_move(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3);
  lua_Integer target = luaL_checkinteger(L, 4);
  int to = lua_isnoneornil(L, 5) ? 1 : 5;
  luaL_checktype(L, to, LUA_TTABLE);
  lua_settop(L, 5);
  if (last >= first) {
    luaL_argcheck(L, first > 0 || last < LUA_MAXINTEGER + first, 3, "too many elements to move");
    luaL_argcheck(L, target <= LUA_MAXINTEGER - (last - first), 4, "destination wrap around");
    bool upwards = target > last || target <= first || to == 5;
    for (lua_Integer i = 0; i <= last - first; i++) {
      lua_Integer offset = upwards ? i : last - first - i;
      kf_sandbox_check(L);
      lua_geti(L, 1, first + offset);
      lua_seti(L, to, target + offset);
    }
  }
  lua_pushvalue(L, to);
  return 1;
}

// table.concat(list, separator, first, last)
static int l_concat(lua_State *L) {
  lua_Integer size = length_of(L);
  size_t separator_length;
  const char *separator = luaL_optlstring(L, 2, "", &separator_length);
  lua_Integer first = luaL_optinteger(L, 3, 1), last = luaL_optinteger(L, 4, size);
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  size_t total = 0;
  for (lua_Integer i = first; i <= last; i++) {
    kf_sandbox_check(L);
    lua_geti(L, 1, i);
    if (!lua_isstring(L, -1))
      return luaL_error(L, "invalid value (at index %I) in table for 'concat'", (LUAI_UACINT)i);
    total += lua_type(L, -1) == LUA_TSTRING ? lua_rawlen(L, -1) + separator_length : separator_length;
    kf_sandbox_check_size(L, total);
    luaL_addvalue(&buffer);
    if (i == last) break;  // last may be the greatest integer
    luaL_addlstring(&buffer, separator, separator_length);
  }
  luaL_pushresult(&buffer);
  return 1;
}

// table.unpack(list, first, last)
static int l_unpack(lua_State *L) {
  lua_Integer first = luaL_optinteger(L, 2, 1);
  lua_Integer last = lua_isnoneornil(L, 3) ? luaL_len(L, 1) : luaL_checkinteger(L, 3);
  if (first > last) return 0;
  lua_Unsigned count = (lua_Unsigned)last - (lua_Unsigned)first;
  if (count >= RANGE_LIMIT || !lua_checkstack(L, (int)++count))
    return luaL_error(L, "too many results to unpack");
  for (lua_Unsigned i = 0; i < count; i++) {
    kf_sandbox_check(L);
    lua_geti(L, 1, (lua_Integer)((lua_Unsigned)first + i));
  }
  return (int)count;
}

// The comparison of sort; upvalue: the code's own, or nil.
static int compare(lua_State *L) {
  kf_sandbox_check(L);
  lua_settop(L, 2);
  if (lua_isnil(L, lua_upvalueindex(1))) {
    lua_pushboolean(L, lua_compare(L, 1, 2, LUA_OPLT));
    return 1;
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 2, 1);
  return 1;
}

// table.sort(list, comparison); upvalue: Lua's own
static int l_sort(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  lua_pushcclosure(L, compare, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 2, 0);
  return 0;
}

// --- opening -------------------------------------------------------------------------------------------

static const luaL_Reg base_functions[] = {
    {"load", l_load}, {"collectgarbage", l_collectgarbage}, {"require", l_require}, {NULL, NULL}};

static const luaL_Reg table_functions[] = {
    {"insert", l_insert}, {"remove", l_remove}, {"move", l_move},
    {"concat", l_concat}, {"unpack", l_unpack}, {NULL, NULL}};

static const luaL_Reg coroutine_functions[] = {
    {"resume", l_resume}, {"wrap", l_wrap}, {"close", l_close}, {NULL, NULL}};

// [-0, +0, m] puts a function with Lua's own of that name as upvalue into the table on top.
static void guard(lua_State *L, const char *name, lua_CFunction function) {
  lua_getfield(L, -1, name);
  lua_pushcclosure(L, function, 1);
  lua_setfield(L, -2, name);
}

static void remove_fields(lua_State *L, const char *const *names) {
  for (; *names; names++) {
    lua_pushnil(L);
    lua_setfield(L, -2, *names);
  }
}

static void open_base(lua_State *L) {
  static const char *const removed[] = {"dofile", "loadfile", "print", "warn", NULL};
  luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
  remove_fields(L, removed);
  luaL_setfuncs(L, base_functions, 0);
  guard(L, "setmetatable", l_setmetatable);
  guard(L, "xpcall", l_xpcall);
  lua_pop(L, 1);
}

// [-0, +1, m] pushes a copy of the table on top.
static void push_copy(lua_State *L) {
  lua_newtable(L);
  lua_pushnil(L);
  while (lua_next(L, -3)) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -4);
  }
}

// What strings find as their methods is a copy that no code can reach, so none can change it.
static void open_string(lua_State *L) {
  static const char *const removed[] = {"dump", NULL};
  luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
  remove_fields(L, removed);
  kf_match_install(L);
  lua_pushcfunction(L, l_rep);
  lua_setfield(L, -2, "rep");
  guard(L, "format", l_format);
  lua_pushliteral(L, "");
  lua_getmetatable(L, -1);  // string "" metatable
  lua_pushvalue(L, -3);
  push_copy(L);
  lua_setfield(L, -3, "__index");
  lua_pop(L, 1);
  lua_pushliteral(L, "string");
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 3);
}

static void open_table(lua_State *L) {
  luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
  luaL_setfuncs(L, table_functions, 0);
  guard(L, "sort", l_sort);
  lua_pop(L, 1);
}

static void open_coroutine(lua_State *L) {
  luaL_requiref(L, LUA_COLIBNAME, luaopen_coroutine, 1);
  luaL_setfuncs(L, coroutine_functions, 0);
  lua_pop(L, 1);
}

// [-0, +0, m] makes the global and module `library` of these of Lua's functions only.
static void open_part(lua_State *L, const char *library, lua_CFunction open,
                      const char *const *names) {
  luaL_requiref(L, library, open, 0);
  lua_newtable(L);
  for (; *names; names++) {
    lua_getfield(L, -2, *names);
    lua_setfield(L, -2, *names);
  }
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, library);
  lua_pop(L, 1);
  lua_setglobal(L, library);
  lua_pop(L, 1);
}

void kf_sandbox_open_libraries(lua_State *L) {
  static const char *const debug_names[] = {"traceback", NULL};
  static const char *const os_names[] = {"time", "clock", "difftime", NULL};
  open_base(L);
  open_string(L);
  open_table(L);
  open_coroutine(L);
  luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
  luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 1);
  lua_pop(L, 2);
  open_part(L, LUA_DBLIBNAME, luaopen_debug, debug_names);
  open_part(L, LUA_OSLIBNAME, luaopen_os, os_names);
}
