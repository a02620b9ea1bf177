// require "cel": compiles expressions and evaluates them with Lua values.
#include "cel.h"

#include "error.h"
#include "values.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_PROGRAM "kfhost.cel.program"
enum { USUAL_LIMIT = 1000000 };  // what Kubernetes allows one expression

// Its memory is in uservalue 1, the text in 2, the list of variables in 3.
struct program {
  struct cel_node *root;
  lua_Integer limit;
};

// --- functions ------------------------------------------------------------------------------------------

static const struct cel_entry *const tables[] = {cel_core_functions, cel_text_functions, cel_time_functions,
                                                 cel_list_functions, cel_address_functions};

const struct cel_entry *cel_find_function(const char *name, size_t length, bool member, size_t count, bool *known) {
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    for (const struct cel_entry *entry = tables[i]; entry->name; entry++) {
      if (strlen(entry->name) != length || memcmp(entry->name, name, length) != 0) continue;
      if (entry->style != 'b' && (entry->style == 'm') != member) continue;
      *known = true;
      if ((int)count >= entry->least && (int)count <= entry->most) return entry;
    }
  }
  return NULL;
}

// parseJson of KFP: the value of a JSON text.
static struct cel_value parse_json(struct cel_run *run, const struct cel_value *a, size_t count) {
  (void)count;
  lua_State *L = run->tree.L;
  if (a->type != CEL_STRING) return cel_no_overload(run);
  luaL_checkstack(L, 8, "CEL");
  lua_getglobal(L, "require");
  lua_pushliteral(L, "json");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "decode");
  lua_remove(L, -2);
  lua_pushlstring(L, a->text, a->length);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    lua_pop(L, 1);
    return cel_error(run, "parseJson: the text is not JSON");
  }
  struct kf_node *node = kf_tree_read(&run->tree, -1);
  // The texts in the tree are Lua's: the value has to live as long as the tree.
  lua_rawsetp(L, run->tree.blocks, node);
  return cel_of_node(node, run);
}

const struct cel_entry cel_extra_functions[] = {{"parseJson", 'g', 1, 1, parse_json}, {NULL, 0, 0, 0, NULL}};

// --- results --------------------------------------------------------------------------------------------

static void push_value(struct cel_run *run, const struct cel_value *value);

static void push_list(struct cel_run *run, const struct cel_list *list) {
  lua_State *L = run->tree.L;
  lua_createtable(L, (int)list->count, 0);
  luaL_setmetatable(L, KF_ARRAY);
  for (size_t i = 0; i < list->count; i++) {
    struct cel_value item = cel_item(run, list, i);
    push_value(run, &item);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void push_map(struct cel_run *run, const struct cel_map *map) {
  lua_State *L = run->tree.L;
  lua_createtable(L, 0, (int)map->count);
  luaL_setmetatable(L, KF_OBJECT);
  for (size_t i = 0; i < map->count; i++) {
    struct cel_value key = cel_key(run, map, i), text, value = cel_member(run, map, i);
    if (!cel_write(run, &key, &text)) text = cel_text("");
    lua_pushlstring(L, text.text, text.length);
    push_value(run, &value);
    lua_rawset(L, -3);
  }
}

// [-0, +1, m] texts for what JSON has no value for: times, addresses, types.
static void push_value(struct cel_run *run, const struct cel_value *value) {
  lua_State *L = run->tree.L;
  struct cel_value text;
  luaL_checkstack(L, 8, "CEL value");
  switch (value->type) {
  case CEL_NULL: kf_push_null(L); return;
  case CEL_BOOL: lua_pushboolean(L, value->boolean); return;
  case CEL_INT: lua_pushinteger(L, value->integer); return;
  case CEL_UINT:
    if (value->natural <= INT64_MAX) lua_pushinteger(L, (lua_Integer)value->natural);
    else lua_pushnumber(L, (lua_Number)value->natural);
    return;
  case CEL_DOUBLE: lua_pushnumber(L, value->number); return;
  case CEL_STRING:
  case CEL_BYTES: lua_pushlstring(L, value->text, value->length); return;
  case CEL_LIST: push_list(run, value->list); return;
  case CEL_MAP: push_map(run, value->map); return;
  case CEL_OPTIONAL:
    if (value->inner) push_value(run, value->inner);
    else kf_push_null(L);
    return;
  default:
    cel_write(run, value, &text);
    lua_pushlstring(L, text.text, text.length);
  }
}

// --- programs -------------------------------------------------------------------------------------------

// program:eval(variables) -> value, the name of its type
static int l_eval(lua_State *L) {
  const struct program *program = luaL_checkudata(L, 1, TYPE_PROGRAM);
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) {
    lua_newtable(L);
    lua_replace(L, 2);
  }
  luaL_checktype(L, 2, LUA_TTABLE);
  struct cel_run run = {.limit = (uint64_t)program->limit};
  kf_tree_open(L, &run.tree, "CEL");
  run.variables = kf_tree_read(&run.tree, 2);
  if (run.variables->kind != KF_MAP) return luaL_argerror(L, 2, "variables by name expected");
  struct cel_value value = cel_evaluate(&run, program->root);
  if (value.type == CEL_ERROR) {
    lua_pushlstring(L, value.text, value.length);
    cel_raise(L, value.offset, lua_tostring(L, -1));
  }
  push_value(&run, &value);
  lua_pushstring(L, cel_type_name(&value));
  return 2;
}

static int l_text(lua_State *L) {
  luaL_checkudata(L, 1, TYPE_PROGRAM);
  lua_getiuservalue(L, 1, 2);
  return 1;
}

// [-0, +1, e] the list of texts in a field of the options, or nil.
static const struct kf_node *names_field(lua_State *L, struct kf_tree *tree, const char *field) {
  if (lua_type(L, 2) != LUA_TTABLE || lua_getfield(L, 2, field) == LUA_TNIL) {
    if (lua_type(L, 2) != LUA_TTABLE) lua_pushnil(L);
    return NULL;
  }
  luaL_checktype(L, -1, LUA_TTABLE);
  const struct kf_node *names = kf_tree_read(tree, -1);
  static const struct kf_node none = {.kind = KF_LIST};
  return names->kind == KF_LIST ? names : &none;
}

// cel.compile(text[, {variables = {…}, functions = {…}, cost = n, result = type}]) -> program
static int l_compile(lua_State *L) {
  size_t length;
  struct kf_tree tree;
  const char *text = luaL_checklstring(L, 1, &length);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) luaL_checktype(L, 2, LUA_TTABLE);
  struct program *program = lua_newuserdatauv(L, sizeof *program, 3);
  *program = (struct program){.limit = USUAL_LIMIT};
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "cost");
    program->limit = luaL_optinteger(L, -1, USUAL_LIMIT);
    luaL_argcheck(L, program->limit > 0, 2, "cost: a number above 0 expected");
    lua_pop(L, 1);
  }
  kf_tree_open(L, &tree, "CEL");
  struct cel_names names = {0};
  names.variables = names_field(L, &tree, "variables");
  names.functions = names_field(L, &tree, "functions");
  program->root = cel_parse(&tree, text, length, &names);
  if (lua_istable(L, 2) && lua_getfield(L, 2, "result") != LUA_TNIL) cel_check(&tree, program->root, luaL_checkstring(L, -1));
  lua_pushvalue(L, tree.blocks);
  lua_setiuservalue(L, 3, 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, 2);
  luaL_getmetatable(L, TYPE_PROGRAM);
  lua_setmetatable(L, 3);
  lua_settop(L, 3);
  return 1;
}

static const luaL_Reg functions[] = {{"compile", l_compile}, {NULL, NULL}};
static const luaL_Reg methods[] = {{"eval", l_eval}, {"text", l_text}, {NULL, NULL}};

int luaopen_kf_cel(lua_State *L);
int luaopen_kf_cel(lua_State *L) {
  luaL_newmetatable(L, TYPE_PROGRAM);
  lua_pushcfunction(L, l_text);
  lua_setfield(L, -2, "__tostring");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "program");
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
