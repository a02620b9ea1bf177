// The halves of require "yaml".
#ifndef KF_YAML_YAML_H
#define KF_YAML_YAML_H

#include <lua.h>

// Lua: yaml.encode(value[, {pieces=}]) -> text, or with pieces a list of texts; yaml.encode_all(list) -> documents, each after ---
int kf_yaml_encode(lua_State *L);
int kf_yaml_encode_all(lua_State *L);

// Lua: yaml.decode(text[, options]) -> value; yaml.decode_all(text[, options]) -> list of values
int kf_yaml_decode(lua_State *L);
int kf_yaml_decode_all(lua_State *L);

// [-0, +0, m] metatables; once per state.
void kf_yaml_prepare(lua_State *L);

#endif
