// require "pyast": Python sources as data. Parsing never starts Python.
#include "blank.h"
#include "scope.h"
#include "tree.h"

#include "base/utf8.h"
#include "error.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_TREE "kfhost.pyast.tree"
enum { MAX_SOURCE = 64 << 20 };

// What a parse keeps in C, for scopes(); the source is its user value.
struct handle {
  struct kf_tree tree;
  struct kf_scopes scopes;
};

static int l_handle_gc(lua_State *L) {
  struct handle *handle = luaL_checkudata(L, 1, TYPE_TREE);
  kf_scopes_free(&handle->scopes);
  kf_tree_free(&handle->tree);
  return 0;
}

static const char *check_source(lua_State *L, int arg, size_t *size) {
  const char *source = luaL_checklstring(L, arg, size);
  size_t bad = kf_utf8_check(source, *size), line, column;
  const char *message = bad < *size ? "malformed UTF-8" : NULL;
  if (!message && *size > MAX_SOURCE) message = "a source of more than 64 MiB", bad = 0;
  const char *zero = message ? NULL : memchr(source, 0, *size);
  if (zero) message = "a zero byte", bad = (size_t)(zero - source);
  if (!message) return source;
  kf_utf8_position(source, bad, &line, &column);
  kf_error(L, "PYAST", "%s in a Python source", message);
  lua_pushinteger(L, (lua_Integer)line);
  lua_setfield(L, -2, "line");
  lua_pushinteger(L, (lua_Integer)column);
  lua_setfield(L, -2, "column");
  lua_error(L);
  return NULL;
}

// --- parse ----------------------------------------------------------------------------------------

static void set_integer(lua_State *L, const char *field, size_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, field);
}

// [-0, +1, m] pushes the list of texts of all kinds or fields, by number; made once per state.
static void push_texts(lua_State *L, const char *key, unsigned count, const char *(*text)(uint16_t)) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, (int)count, 0);
  for (unsigned i = 0; i < count; i++) {
    lua_pushstring(L, text((uint16_t)i));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, key);
}

// [table, …] table[name] = the list of texts[number[i] + 1], or false for number 0 without a text.
static void set_texts(lua_State *L, int table, const char *name, int texts, const uint16_t *numbers,
                      uint32_t count) {
  lua_createtable(L, (int)count, 0);
  for (uint32_t i = 0; i < count; i++) {
    if (lua_rawgeti(L, texts, (lua_Integer)numbers[i] + 1) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_pushboolean(L, 0);
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, table, name);
}

static void set_numbers(lua_State *L, int table, const char *name, const uint32_t *numbers,
                        uint32_t count, lua_Integer add) {
  lua_createtable(L, (int)count, 0);
  for (uint32_t i = 0; i < count; i++) {
    lua_pushinteger(L, (lua_Integer)numbers[i] + add);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, table, name);
}

static void push_error_at(lua_State *L, const struct kf_tree *tree, uint32_t node) {
  size_t line, column;
  kf_utf8_position(tree->source, tree->first[node], &line, &column);
  lua_createtable(L, 0, 5);
  set_integer(L, "line", line);
  set_integer(L, "column", column);
  set_integer(L, "first", tree->first[node] + 1);
  set_integer(L, "last", tree->end[node]);
  if (tree->flags[node] & KF_NODE_MISSING)
    lua_pushfstring(L, "%s is missing", kf_tree_kind_name(tree->kind[node]));
  else lua_pushliteral(L, "this is no Python");
  lua_setfield(L, -2, "message");
}

// [-0, +1, m] pushes the errors; one inside another is left out.
static void push_errors(lua_State *L, const struct kf_tree *tree) {
  lua_Integer count = 0;
  lua_newtable(L);
  for (uint32_t node = 0; node < tree->count;) {
    if (!(tree->flags[node] & (KF_NODE_ERROR | KF_NODE_MISSING))) {
      node++;
      continue;
    }
    push_error_at(L, tree, node);
    lua_rawseti(L, -2, ++count);
    node = tree->next[node];
  }
}

// [source] -> handle, below it its source as user value.
static struct handle *parse(lua_State *L, const char *source, size_t size) {
  struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 1);
  *handle = (struct handle){0};
  luaL_setmetatable(L, TYPE_TREE);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (!kf_tree_parse(&handle->tree, source, size)) luaL_error(L, "not enough memory");
  return handle;
}

// pyast.parse(source) -> tree
static int l_parse(lua_State *L) {
  size_t size;
  const char *source = check_source(L, 1, &size);
  lua_settop(L, 1);
  struct handle *handle = parse(L, source, size);
  struct kf_tree *tree = &handle->tree;
  lua_createtable(L, 0, 12);  // source handle tree
  push_texts(L, "pyast.kinds", kf_tree_kinds(), kf_tree_kind_name);
  push_texts(L, "pyast.fields", kf_tree_fields() + 1, kf_tree_field_name);
  set_texts(L, 3, "kind", 4, tree->kind, tree->count);
  set_texts(L, 3, "field", 5, tree->field, tree->count);
  set_numbers(L, 3, "parent", tree->parent, tree->count, 1);
  set_numbers(L, 3, "next", tree->next, tree->count, 1);
  set_numbers(L, 3, "first", tree->first, tree->count, 1);
  set_numbers(L, 3, "last", tree->end, tree->count, 0);
  push_errors(L, tree);
  lua_setfield(L, 3, "errors");
  lua_settop(L, 3);
  set_integer(L, "count", tree->count);
  lua_pushvalue(L, 1);
  lua_setfield(L, 3, "source");
  lua_pushvalue(L, 2);
  lua_setfield(L, 3, "handle");
  lua_pushinteger(L, 0);  // the module has no parent
  lua_getfield(L, 3, "parent");
  lua_insert(L, -2);
  lua_rawseti(L, -2, 1);
  lua_settop(L, 3);
  return 1;
}

// pyast.position(source, offset) -> line, column; the offset counts from 1
static int l_position(lua_State *L) {
  size_t size, line, column;
  const char *source = luaL_checklstring(L, 1, &size);
  lua_Integer offset = luaL_checkinteger(L, 2);
  luaL_argcheck(L, offset >= 1 && (size_t)offset <= size + 1, 2, "an offset in the source expected");
  kf_utf8_position(source, (size_t)offset - 1, &line, &column);
  lua_pushinteger(L, (lua_Integer)line);
  lua_pushinteger(L, (lua_Integer)column);
  return 2;
}

// --- scopes ---------------------------------------------------------------------------------------

static const char *const scope_kinds[] = {"module", "function", "class", "lambda", "listcomp",
                                          "setcomp", "dictcomp", "genexpr", "type parameters"};
static const char *const contexts[] = {"load",       "store",  "delete",   "parameter", "import", "definition",
                                       "global", "nonlocal", "walrus",    "augment"};

static void push_name(lua_State *L, const struct kf_scopes *s, uint32_t name) {
  lua_pushlstring(L, s->names[name].text, s->names[name].length);
}

static void set_flag(lua_State *L, const char *name, bool set) {
  if (!set) return;
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, name);
}

// [-0, +1, m] pushes what symtable says of a name.
static void push_symbol(lua_State *L, const struct kf_symbol *symbol) {
  unsigned flags = symbol->flags;
  int resolution = symbol->resolution;
  bool module_bound = symbol->scope == 0 && flags & KF_BOUND;
  lua_createtable(L, 0, 4);
  set_flag(L, "local", resolution == KF_LOCAL || resolution == KF_CELL || module_bound);
  set_flag(L, "global", resolution == KF_GLOBAL_EXPLICIT || resolution == KF_GLOBAL_IMPLICIT || module_bound);
  set_flag(L, "declared_global", resolution == KF_GLOBAL_EXPLICIT);
  set_flag(L, "nonlocal", flags & KF_NONLOCAL);
  set_flag(L, "free", resolution == KF_FREE);
  set_flag(L, "cell", resolution == KF_CELL);
  set_flag(L, "parameter", flags & KF_PARAMETER);
  set_flag(L, "imported", flags & KF_IMPORTED);
  set_flag(L, "assigned", flags & KF_ASSIGNED);
  set_flag(L, "annotated", flags & KF_ANNOTATED);
  set_flag(L, "referenced", flags & KF_REFERENCED);
}

static void push_scope(lua_State *L, const struct kf_scopes *s, const struct kf_scope *scope, bool names) {
  size_t line, column;
  kf_utf8_position(s->tree->source, s->tree->first[scope->node], &line, &column);
  lua_createtable(L, 0, 7);
  lua_pushstring(L, scope_kinds[scope->kind]);
  lua_setfield(L, -2, "kind");
  if (scope->name != KF_NO_SCOPE) push_name(L, s, scope->name);
  else lua_pushstring(L, scope->kind == KF_SCOPE_MODULE ? "top" : scope_kinds[scope->kind]);
  lua_setfield(L, -2, "name");
  set_integer(L, "node", scope->node + 1);
  set_integer(L, "line", line);
  set_integer(L, "parent", scope->parent == KF_NO_SCOPE ? 0 : scope->parent + 1);
  set_flag(L, "star_import", scope->star_import);
  if (!names) return;
  lua_newtable(L);
  for (uint32_t i = scope->symbols; i != KF_NO_SCOPE; i = s->symbols[i].sibling) {
    push_name(L, s, s->symbols[i].name);
    push_symbol(L, &s->symbols[i]);
    lua_rawset(L, -3);
  }
  lua_setfield(L, -2, "names");
}

// [result] fills result.node, name, scope, context and home, one element per occurrence.
static void set_occurrences(lua_State *L, const struct kf_scopes *s) {
  static const char *const lists[] = {"node", "name", "scope", "context", "home"};
  int first = lua_gettop(L) + 1, count = (int)s->occurrence_count;
  for (int i = 0; i < 5; i++) lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    const struct kf_occurrence *occurrence = &s->occurrences[i];
    const struct kf_symbol *symbol = &s->symbols[occurrence->symbol];
    lua_pushinteger(L, (lua_Integer)occurrence->node + 1);
    lua_rawseti(L, first, i + 1);
    push_name(L, s, symbol->name);
    lua_rawseti(L, first + 1, i + 1);
    lua_pushinteger(L, (lua_Integer)symbol->scope + 1);
    lua_rawseti(L, first + 2, i + 1);
    lua_pushstring(L, contexts[occurrence->context]);
    lua_rawseti(L, first + 3, i + 1);
    lua_pushinteger(L, (lua_Integer)symbol->home + 1);
    lua_rawseti(L, first + 4, i + 1);
  }
  for (int i = 4; i >= 0; i--) lua_setfield(L, first - 1, lists[i]);
  set_integer(L, "count", s->occurrence_count);
}

// pyast.scopes(tree | source[, {names = true}]) -> scopes and occurrences
static int l_scopes(lua_State *L) {
  lua_settop(L, 2);
  bool names = false;
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "names");
    names = lua_toboolean(L, -1);
  }
  struct handle *handle;
  if (lua_istable(L, 1)) {
    lua_getfield(L, 1, "handle");
    handle = luaL_checkudata(L, -1, TYPE_TREE);
  } else {
    size_t size;
    const char *source = check_source(L, 1, &size);
    handle = parse(L, source, size);
  }
  struct kf_scopes *s = &handle->scopes;
  if (!s->tree && !kf_scopes_find(s, &handle->tree)) luaL_error(L, "not enough memory");
  lua_createtable(L, 0, 8);
  lua_createtable(L, (int)s->scope_count, 0);
  for (uint32_t i = 0; i < s->scope_count; i++) {
    push_scope(L, s, &s->scopes[i], names);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "scopes");
  set_occurrences(L, s);
  return 1;
}

// --- blank ----------------------------------------------------------------------------------------

struct blanking {
  lua_State *L;
  const char *source;
  char *text;  // the blanked copy
  int list;    // stack index of the list of magics
};

static void on_magic(void *data, const struct kf_magic *magic) {
  struct blanking *b = data;
  lua_State *L = b->L;
  lua_createtable(L, 0, 6);
  set_integer(L, "line", magic->line);
  set_integer(L, "first", magic->first + 1);
  set_integer(L, "last", magic->end);
  lua_pushstring(L, kf_magic_names[magic->kind]);
  lua_setfield(L, -2, "kind");
  lua_pushlstring(L, b->source + magic->first, magic->end - magic->first);
  lua_setfield(L, -2, "text");
  if (magic->target_end > magic->first) {
    lua_pushlstring(L, b->source + magic->first, magic->target_end - magic->first);
    lua_setfield(L, -2, "target");
  }
  lua_rawseti(L, b->list, (lua_Integer)lua_rawlen(L, b->list) + 1);
  for (size_t i = magic->first; i < magic->end; i++)
    if (b->text[i] != '\n') b->text[i] = ' ';
}

// pyast.blank(source) -> source with magics as blanks, list of magics
static int l_blank(lua_State *L) {
  size_t size;
  const char *source = check_source(L, 1, &size);
  lua_settop(L, 1);
  lua_newtable(L);
  struct blanking b = {.L = L, .source = source, .list = 2};
  b.text = lua_newuserdatauv(L, size + 1, 0);
  memcpy(b.text, source, size);
  kf_magics_find(source, size, on_magic, &b);
  lua_pushlstring(L, b.text, size);
  lua_pushvalue(L, 2);
  return 2;
}

static const luaL_Reg functions[] = {
    {"parse", l_parse}, {"position", l_position}, {"scopes", l_scopes}, {"blank", l_blank}, {NULL, NULL},
};

int luaopen_kf_pyast(lua_State *L);
int luaopen_kf_pyast(lua_State *L) {
  if (luaL_newmetatable(L, TYPE_TREE)) {
    lua_pushcfunction(L, l_handle_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
