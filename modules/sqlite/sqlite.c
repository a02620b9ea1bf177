// require "sqlite": databases in files or memory. Calls do not wait as tasks: they are short, and
// another process that holds a lock is waited for (busy_timeout) with all tasks standing still.
#include "error.h"

#include <lauxlib.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>

#define TYPE_DATABASE "kfhost.sqlite"
#define TYPE_STATEMENT "kfhost.sqlite.statement"

struct database {
  sqlite3 *handle;  // NULL: closed
};

// User value 1 is its database.
struct statement {
  sqlite3_stmt *handle;  // NULL: closed
  struct database *database;
};

static struct database *check_database(lua_State *L) {
  struct database *database = luaL_checkudata(L, 1, TYPE_DATABASE);
  if (!database->handle) kf_fail(L, "Closed", "the database is closed");
  return database;
}

static struct statement *check_statement(lua_State *L, int index) {
  struct statement *statement = luaL_checkudata(L, index, TYPE_STATEMENT);
  if (!statement->handle || !statement->database->handle)
    kf_fail(L, "Closed", "the statement, or its database, is closed");
  return statement;
}

// --- errors -------------------------------------------------------------------------------------

// What a script may want to tell apart.
static const char *reason_of(int result) {
  switch (result & 0xff) {
  case SQLITE_CONSTRAINT: return "constraint";
  case SQLITE_BUSY:
  case SQLITE_LOCKED: return "busy";
  case SQLITE_READONLY: return "readonly";
  case SQLITE_FULL: return "full";
  case SQLITE_CORRUPT:
  case SQLITE_NOTADB: return "corrupt";
  case SQLITE_CANTOPEN: return "open";
  case SQLITE_IOERR: return "io";
  default: return "error";
  }
}

// [-0, +1, m] pushes the error; `field` names what it was about.
static void push_error(lua_State *L, sqlite3 *handle, int result, const char *field,
                       const char *value) {
  kf_error(L, "SQLite", "%s", handle ? sqlite3_errmsg(handle) : sqlite3_errstr(result));
  lua_pushstring(L, reason_of(result));
  lua_setfield(L, -2, "reason");
  lua_pushstring(L, value);
  lua_setfield(L, -2, field);
}

static int fail(lua_State *L, sqlite3 *handle, int result, const char *sql) {
  push_error(L, handle, result, "sql", sql);
  return lua_error(L);
}

// A statement that failed in the middle would hold its locks.
static int fail_statement(lua_State *L, struct statement *statement, int result) {
  push_error(L, statement->database->handle, result, "sql", sqlite3_sql(statement->handle));
  sqlite3_reset(statement->handle);
  return lua_error(L);
}

// --- values -------------------------------------------------------------------------------------

static int bind_value(lua_State *L, sqlite3_stmt *handle, int place, int index) {
  switch (lua_type(L, index)) {
  case LUA_TNIL:
  case LUA_TNONE: return sqlite3_bind_null(handle, place);
  case LUA_TBOOLEAN: return sqlite3_bind_int(handle, place, lua_toboolean(L, index));
  case LUA_TNUMBER:
    if (lua_isinteger(L, index)) return sqlite3_bind_int64(handle, place, lua_tointeger(L, index));
    return sqlite3_bind_double(handle, place, lua_tonumber(L, index));
  case LUA_TSTRING: {
    size_t length;
    const char *text = lua_tolstring(L, index, &length);
    return sqlite3_bind_text64(handle, place, text, length, SQLITE_TRANSIENT, SQLITE_UTF8);
  }
  case LUA_TLIGHTUSERDATA:
    if (!lua_touserdata(L, index)) return sqlite3_bind_null(handle, place);  // json.null
    break;
  default: break;
  }
  return luaL_error(L, "parameter %d: a %s cannot be stored", place, luaL_typename(L, index));
}

// [-0, +0, v] binds :name parameters from the table at index.
static void bind_names(lua_State *L, struct statement *statement, int index) {
  int count = sqlite3_bind_parameter_count(statement->handle);
  for (int place = 1; place <= count; place++) {
    const char *name = sqlite3_bind_parameter_name(statement->handle, place);
    if (!name) luaL_error(L, "parameter %d has no name", place);
    lua_getfield(L, index, name + 1);
    int result = bind_value(L, statement->handle, place, -1);
    lua_pop(L, 1);
    if (result != SQLITE_OK) fail_statement(L, statement, result);
  }
}

// [-0, +0, v] starts afresh with the parameters from index on: values, or one table of names.
static void bind(lua_State *L, struct statement *statement, int first) {
  int given = lua_gettop(L) - first + 1;
  int count = sqlite3_bind_parameter_count(statement->handle);
  sqlite3_reset(statement->handle);
  sqlite3_clear_bindings(statement->handle);
  if (given == 1 && lua_istable(L, first)) {
    bind_names(L, statement, first);
    return;
  }
  if (given > count) luaL_error(L, "%d parameters for %d places", given, count);
  for (int i = 0; i < given; i++) {
    int result = bind_value(L, statement->handle, i + 1, first + i);
    if (result != SQLITE_OK) fail_statement(L, statement, result);
  }
}

static void push_column(lua_State *L, sqlite3_stmt *handle, int column) {
  switch (sqlite3_column_type(handle, column)) {
  case SQLITE_INTEGER: lua_pushinteger(L, sqlite3_column_int64(handle, column)); break;
  case SQLITE_FLOAT: lua_pushnumber(L, sqlite3_column_double(handle, column)); break;
  case SQLITE_NULL: lua_pushnil(L); break;
  default: {
    const void *bytes = sqlite3_column_blob(handle, column);
    lua_pushlstring(L, bytes ? bytes : "", (size_t)sqlite3_column_bytes(handle, column));
  }
  }
}

// [-0, +1, m] pushes the row as {column = value}; NULL is absent.
static void push_row(lua_State *L, sqlite3_stmt *handle) {
  int count = sqlite3_column_count(handle);
  lua_createtable(L, 0, count);
  for (int i = 0; i < count; i++) {
    push_column(L, handle, i);
    lua_setfield(L, -2, sqlite3_column_name(handle, i));
  }
}

// --- statements ---------------------------------------------------------------------------------

// [-0, +1, v] pushes the first statement of the text; *rest is what follows it.
static struct statement *prepare(lua_State *L, int database, const char *sql, const char **rest) {
  struct database *owner = lua_touserdata(L, database);
  struct statement *statement = lua_newuserdatauv(L, sizeof *statement, 1);
  *statement = (struct statement){.database = owner};
  luaL_setmetatable(L, TYPE_STATEMENT);
  lua_pushvalue(L, database);
  lua_setiuservalue(L, -2, 1);
  int result = sqlite3_prepare_v2(owner->handle, sql, -1, &statement->handle, rest);
  if (result != SQLITE_OK) fail(L, owner->handle, result, sql);
  return statement;
}

// Runs it to its end; rows are passed over.
static void run(lua_State *L, struct statement *statement) {
  int result;
  do result = sqlite3_step(statement->handle);
  while (result == SQLITE_ROW);
  if (result != SQLITE_DONE) fail_statement(L, statement, result);
  sqlite3_reset(statement->handle);
}

// [statement …] pushes the list of all rows.
static void push_rows(lua_State *L, struct statement *statement) {
  lua_Integer count = 0;
  int result;
  lua_newtable(L);
  while ((result = sqlite3_step(statement->handle)) == SQLITE_ROW) {
    push_row(L, statement->handle);
    lua_rawseti(L, -2, ++count);
  }
  if (result != SQLITE_DONE) fail_statement(L, statement, result);
  sqlite3_reset(statement->handle);
}

// statement:run(…) -> how many rows were changed
static int l_run(lua_State *L) {
  struct statement *statement = check_statement(L, 1);
  bind(L, statement, 2);
  run(L, statement);
  lua_pushinteger(L, sqlite3_changes64(statement->database->handle));
  return 1;
}

// statement:query(…) -> list of rows
static int l_statement_query(lua_State *L) {
  struct statement *statement = check_statement(L, 1);
  bind(L, statement, 2);
  push_rows(L, statement);
  return 1;
}

static int l_next_row(lua_State *L) {
  lua_settop(L, 1);
  struct statement *statement = check_statement(L, lua_upvalueindex(1));
  int result = sqlite3_step(statement->handle);
  if (result == SQLITE_ROW) {
    push_row(L, statement->handle);
    return 1;
  }
  if (result != SQLITE_DONE) return fail_statement(L, statement, result);
  sqlite3_reset(statement->handle);
  lua_pushnil(L);
  return 1;
}

// for row in statement:rows(…) do
static int l_statement_rows(lua_State *L) {
  struct statement *statement = check_statement(L, 1);
  bind(L, statement, 2);
  lua_settop(L, 1);
  lua_pushcclosure(L, l_next_row, 1);
  return 1;
}

// statement:close()
static int l_statement_close(lua_State *L) {
  struct statement *statement = luaL_checkudata(L, 1, TYPE_STATEMENT);
  sqlite3_finalize(statement->handle);
  statement->handle = NULL;
  return 0;
}

// --- databases ----------------------------------------------------------------------------------

static void set_up(lua_State *L, struct database *database, int options) {
  lua_Integer busy = 5000;
  if (lua_istable(L, options)) {
    lua_getfield(L, options, "busy_timeout");
    busy = (lua_Integer)(luaL_optnumber(L, -1, 5) * 1000);
    lua_pop(L, 1);
  }
  sqlite3_busy_timeout(database->handle, (int)busy);
  sqlite3_extended_result_codes(database->handle, 1);
  sqlite3_db_config(database->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  int result = sqlite3_exec(database->handle, "PRAGMA foreign_keys = ON", NULL, NULL, NULL);
  if (result != SQLITE_OK) fail(L, database->handle, result, NULL);
}

// sqlite.open(path, {readonly, busy_timeout}) -> database; ":memory:" is one in memory
static int l_open(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  lua_settop(L, 2);
  bool readonly = false;
  if (!lua_isnil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_getfield(L, 2, "readonly");
    readonly = lua_toboolean(L, -1);
  }
  struct database *database = lua_newuserdatauv(L, sizeof *database, 0);
  *database = (struct database){0};
  luaL_setmetatable(L, TYPE_DATABASE);
  int flags = readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  int result = sqlite3_open_v2(path, &database->handle, flags, NULL);
  if (result != SQLITE_OK) {
    push_error(L, database->handle, result, "path", path);
    return lua_error(L);
  }
  set_up(L, database, 2);
  return 1;
}

static bool is_blank(const char *text) {
  return text[strspn(text, " \t\r\n;")] == '\0';
}

// db:exec(sql, …) -> changed rows; several statements when there are no parameters
static int l_exec(lua_State *L) {
  struct database *database = check_database(L);
  const char *sql = luaL_checkstring(L, 2);
  int given = lua_gettop(L) - 2;
  const char *rest = sql;
  sqlite3_int64 before = sqlite3_total_changes64(database->handle);
  while (!is_blank(rest)) {
    struct statement *statement = prepare(L, 1, rest, &rest);
    if (!statement->handle) break;  // a comment
    if (given > 0 && !is_blank(rest)) return luaL_error(L, "parameters are for one statement");
    lua_insert(L, 3);  // database sql statement …
    bind(L, statement, 4);
    run(L, statement);
    sqlite3_finalize(statement->handle);
    statement->handle = NULL;
    lua_remove(L, 3);
  }
  lua_pushinteger(L, sqlite3_total_changes64(database->handle) - before);
  return 1;
}

// [database sql …] pushes the one statement of the text and puts it at 1.
static struct statement *prepare_one(lua_State *L) {
  check_database(L);
  const char *rest, *sql = luaL_checkstring(L, 2);
  struct statement *statement = prepare(L, 1, sql, &rest);
  if (!statement->handle || !is_blank(rest)) luaL_argerror(L, 2, "one statement expected");
  lua_replace(L, 1);
  return statement;
}

// db:prepare(sql) -> statement
static int l_prepare(lua_State *L) {
  lua_settop(L, 2);
  prepare_one(L);
  lua_settop(L, 1);
  return 1;
}

// db:query(sql, …) -> list of rows {column = value}
static int l_query(lua_State *L) {
  struct statement *statement = prepare_one(L);
  bind(L, statement, 3);
  push_rows(L, statement);
  sqlite3_finalize(statement->handle);
  statement->handle = NULL;
  return 1;
}

// for row in db:rows(sql, …) do
static int l_rows(lua_State *L) {
  bind(L, prepare_one(L), 3);
  lua_settop(L, 1);
  lua_pushcclosure(L, l_next_row, 1);
  return 1;
}

static void command(lua_State *L, struct database *database, const char *sql) {
  int result = sqlite3_exec(database->handle, sql, NULL, NULL, NULL);
  if (result != SQLITE_OK) fail(L, database->handle, result, sql);
}

// db:transaction(fn, …) -> what fn returns: committed when it returns, rolled back when it raises.
// Within another one it is a part of that. fn cannot wait.
static int l_transaction(lua_State *L) {
  struct database *database = check_database(L);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  bool outer = sqlite3_get_autocommit(database->handle);
  command(L, database, outer ? "BEGIN IMMEDIATE" : "SAVEPOINT kfhost");
  int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
  if (!database->handle) return kf_fail(L, "Closed", "the database was closed in a transaction");
  if (status != LUA_OK) {
    sqlite3_exec(database->handle, outer ? "ROLLBACK" : "ROLLBACK TO kfhost; RELEASE kfhost", NULL, NULL,
                 NULL);
    return lua_error(L);
  }
  int result = sqlite3_exec(database->handle, outer ? "COMMIT" : "RELEASE kfhost", NULL, NULL, NULL);
  if (result != SQLITE_OK) {
    push_error(L, database->handle, result, "sql", "COMMIT");
    sqlite3_exec(database->handle, "ROLLBACK", NULL, NULL, NULL);
    return lua_error(L);
  }
  return lua_gettop(L) - 1;
}

// db:last_id() -> the rowid of the last inserted row
static int l_last_id(lua_State *L) {
  lua_pushinteger(L, sqlite3_last_insert_rowid(check_database(L)->handle));
  return 1;
}

// db:close(): also the end of a <close> variable; statements that are left end with their own
static int l_close(lua_State *L) {
  struct database *database = luaL_checkudata(L, 1, TYPE_DATABASE);
  sqlite3_close_v2(database->handle);
  database->handle = NULL;
  return 0;
}

static const luaL_Reg statement_methods[] = {{"run", l_run}, {"query", l_statement_query},
                                             {"rows", l_statement_rows},
                                             {"close", l_statement_close}, {NULL, NULL}};

static const luaL_Reg database_methods[] = {
    {"exec", l_exec}, {"prepare", l_prepare}, {"query", l_query}, {"rows", l_rows},
    {"transaction", l_transaction}, {"last_id", l_last_id}, {"close", l_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"open", l_open}, {NULL, NULL}};

static void set_methods(lua_State *L, const char *type, const luaL_Reg *methods,
                        lua_CFunction close) {
  luaL_newmetatable(L, type);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
}

int luaopen_kf_sqlite(lua_State *L);
int luaopen_kf_sqlite(lua_State *L) {
  set_methods(L, TYPE_DATABASE, database_methods, l_close);
  set_methods(L, TYPE_STATEMENT, statement_methods, l_statement_close);
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
