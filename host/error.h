// Errors as Lua values. Two classes only:
//   misuse      wrong argument types: luaL_argerror / luaL_error, a string with a position
//   the world   everything else, wrong input text included: an error table
//               {code, message, cause, path, line, column, offset, …} that prints well
//
// Offers: 1. raising error tables from C   2. the Lua module `errors`   3. the `try` wrapper
#ifndef KF_ERROR_H
#define KF_ERROR_H

#include <lua.h>
#include <lauxlib.h>

#define KF_TYPE_ERROR "kfhost.error"

// [-0, +1, m] pushes {code=code, message=format(fmt, …)}; formats as lua_pushfstring does.
void kf_error(lua_State *L, const char *code, const char *fmt, ...);

// [-0, +0, v] raises the error table that kf_error would push.
int kf_fail(lua_State *L, const char *code, const char *fmt, ...);

// [-0, +0, v] raises an error for errno: code is the errno's name ("ENOENT"), path the object.
int kf_fail_errno(lua_State *L, int number, const char *action, const char *path);

// [-0, +0, m] gives the module table at index M.try: M.try.f(…) returns what M.f(…) returns, or
// nil and the error table. Misuse still raises.
void kf_add_try(lua_State *L, int index);

// [-1, +1, m] replaces any value by a text that says it for people (error tables: message, place
// and causes; a value with __tostring: that; others: type and value).
void kf_error_text(lua_State *L);

int luaopen_kf_errors(lua_State *L);

#endif
