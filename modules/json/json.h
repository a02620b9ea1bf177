// The halves of require "json".
#ifndef KF_JSON_JSON_H
#define KF_JSON_JSON_H

#include <lua.h>

// Lua: json.decode(text[, {duplicates = "last", skip = {name = true}}]) -> value
int kf_json_decode(lua_State *L);

// Lua: json.encode(value[, {sort = true, indent = n}]) -> text
int kf_json_encode(lua_State *L);

// [-0, +0, m] makes what encoding needs; once per state, before the first call.
void kf_json_encode_prepare(lua_State *L);

#endif
