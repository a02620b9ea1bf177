// require "pyast": Python sources as data. Parsing never starts Python.
#include "blank.h"
#include "name.h"
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

// A place in a text, from which the next one is not far: places are mostly asked for in order.
struct cursor {
  const char *text;
  size_t offset, line, column;
};

static struct cursor begin_of(const char *text) {
  return (struct cursor){.text = text, .line = 1, .column = 1};
}

static void move_to(struct cursor *c, size_t offset) {
  if (offset < c->offset) *c = begin_of(c->text);
  for (; c->offset < offset; c->offset++) {
    if (c->text[c->offset] == '\n') {
      c->line++;
      c->column = 1;
    } else if (((unsigned char)c->text[c->offset] & 0xc0) != 0x80) {
      c->column++;
    }
  }
}

static void push_error_at(lua_State *L, const struct kf_tree *tree, uint32_t node, struct cursor *c) {
  move_to(c, tree->first[node]);
  lua_createtable(L, 0, 5);
  set_integer(L, "line", c->line);
  set_integer(L, "column", c->column);
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
  struct cursor cursor = begin_of(tree->source);
  lua_newtable(L);
  for (uint32_t node = 0; node < tree->count;) {
    if (!(tree->flags[node] & (KF_NODE_ERROR | KF_NODE_MISSING))) {
      node++;
      continue;
    }
    push_error_at(L, tree, node, &cursor);
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
  lua_createtable(L, (int)tree->count, 0);
  for (uint32_t i = 0; i < tree->count; i++) {
    lua_pushboolean(L, tree->flags[i] & KF_NODE_NAMED);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, 3, "named");
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

static const char cursor_key;

// [-0, +1, m] pushes the cursor of pyast.position; its user value is the text, which so stays where it is.
static struct cursor *push_cursor(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &cursor_key) == LUA_TUSERDATA) return lua_touserdata(L, -1);
  lua_pop(L, 1);
  struct cursor *c = lua_newuserdatauv(L, sizeof *c, 1);
  *c = begin_of("");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &cursor_key);
  return c;
}

// pyast.position(source, offset) -> line, column; the offset counts from 1
static int l_position(lua_State *L) {
  size_t size;
  const char *source = luaL_checklstring(L, 1, &size);
  lua_Integer offset = luaL_checkinteger(L, 2);
  luaL_argcheck(L, offset >= 1 && (size_t)offset <= size + 1, 2, "an offset in the source expected");
  struct cursor *c = push_cursor(L);
  if (c->text != source) {
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    *c = begin_of(source);
  }
  move_to(c, (size_t)offset - 1);
  lua_pushinteger(L, (lua_Integer)c->line);
  lua_pushinteger(L, (lua_Integer)c->column);
  return 2;
}

// pyast.identifier(name) -> the name as Python knows it
static int l_identifier(lua_State *L) {
  enum { LONGEST = 4096 };
  size_t size;
  const char *name = luaL_checklstring(L, 1, &size);
  lua_settop(L, 1);
  if (size > LONGEST || !kf_name_is_wide(name, size)) return 1;
  void *room = lua_newuserdatauv(L, kf_name_room(size), 0);
  size_t length = kf_name_normal(name, size, room);
  if (length) lua_pushlstring(L, room, length);
  else lua_pushvalue(L, 1);
  return 1;
}

// --- scopes ---------------------------------------------------------------------------------------

static const char *const scope_kinds[] = {"module", "function", "class", "lambda", "comprehension",
                                          "type parameters"};
static const char *const contexts[] = {"load", "store", "delete", "update", "parameter", "import",
                                       "definition", "global", "nonlocal", "annotation"};
static const char *const mutations[] = {NULL, "store", "delete", "call"};
static const char *const name_scopes[] = {"unknown", "local", "cell", "free", "global implicit",
                                          "global explicit"};

static void push_text(lua_State *L, const struct kf_scopes *s, uint32_t text) {
  lua_pushlstring(L, s->texts[text].data, s->texts[text].size);
}

static void set_flag(lua_State *L, const char *name, bool set) {
  if (!set) return;
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, name);
}

// [-0, +1, m] pushes what symtable says of a name.
static void push_flags(lua_State *L, const struct kf_name *name) {
  unsigned flags = name->flags, where = name->where;
  bool module_bound = name->scope == 0 && flags & KF_HAS_BINDING;
  lua_createtable(L, 0, 4);
  lua_pushstring(L, name_scopes[where]);
  lua_setfield(L, -2, "scope");
  set_flag(L, "local", where == KF_LOCAL || where == KF_CELL || module_bound);
  set_flag(L, "global", where == KF_GLOBAL_EXPLICIT || where == KF_GLOBAL_IMPLICIT || module_bound);
  set_flag(L, "declared_global", where == KF_GLOBAL_EXPLICIT);
  set_flag(L, "nonlocal", flags & KF_HAS_NONLOCAL);
  set_flag(L, "free", where == KF_FREE);
  set_flag(L, "cell", where == KF_CELL);
  set_flag(L, "parameter", flags & KF_HAS_PARAMETER);
  set_flag(L, "imported", flags & KF_HAS_IMPORT);
  set_flag(L, "assigned", flags & KF_HAS_LOCAL);
  set_flag(L, "annotated", flags & KF_HAS_ANNOTATION);
  set_flag(L, "referenced", flags & KF_HAS_USE);
}

static void push_scope(lua_State *L, const struct kf_tree *tree, const struct kf_scopes *s,
                       const struct kf_scope *scope, struct cursor *c) {
  move_to(c, tree->first[scope->node]);
  lua_createtable(L, 0, 6);
  lua_pushstring(L, scope_kinds[scope->kind]);
  lua_setfield(L, -2, "kind");
  push_text(L, s, scope->name);
  lua_setfield(L, -2, "name");
  set_integer(L, "node", scope->node + 1);
  set_integer(L, "line", c->line);
  set_integer(L, "parent", scope->parent == KF_NONE ? 0 : scope->parent + 1);
  lua_newtable(L);
  for (uint32_t i = scope->first_name; i != KF_NONE; i = s->names[i].next) {
    push_text(L, s, s->names[i].text);
    push_flags(L, &s->names[i]);
    lua_rawset(L, -3);
  }
  lua_setfield(L, -2, "names");
}

// The number for Lua of the scope that holds the variable; 0 for globals and builtins.
static lua_Integer resolved_scope(const struct kf_name *name) {
  if (name->where == KF_FREE) return (lua_Integer)name->owner + 1;
  bool local = name->where == KF_LOCAL || name->where == KF_CELL;
  return local && name->scope ? (lua_Integer)name->scope + 1 : 0;
}

// [-0, +1, m] pushes {count, node, name, scope, context, resolved, conditional, mutation}.
static void push_occurrences(lua_State *L, const struct kf_scopes *s) {
  static const char *const lists[] = {"node", "name", "scope", "context", "resolved", "conditional", "mutation"};
  enum { LISTS = sizeof lists / sizeof *lists };
  lua_createtable(L, 0, LISTS + 1);
  int first = lua_gettop(L) + 1;
  luaL_checkstack(L, LISTS + 4, NULL);
  for (int i = 0; i < LISTS; i++) lua_createtable(L, (int)s->occurrence_count, 0);
  for (uint32_t i = 0; i < s->occurrence_count; i++) {
    const struct kf_occurrence *occurrence = &s->occurrences[i];
    const struct kf_name *name = &s->names[occurrence->name];
    lua_pushinteger(L, (lua_Integer)occurrence->node + 1);
    lua_rawseti(L, first, (lua_Integer)i + 1);
    push_text(L, s, name->text);
    lua_rawseti(L, first + 1, (lua_Integer)i + 1);
    lua_pushinteger(L, (lua_Integer)name->scope + 1);
    lua_rawseti(L, first + 2, (lua_Integer)i + 1);
    lua_pushstring(L, contexts[occurrence->context]);
    lua_rawseti(L, first + 3, (lua_Integer)i + 1);
    lua_pushinteger(L, resolved_scope(name));
    lua_rawseti(L, first + 4, (lua_Integer)i + 1);
    lua_pushboolean(L, occurrence->conditional);
    lua_rawseti(L, first + 5, (lua_Integer)i + 1);
    if (occurrence->mutation) lua_pushstring(L, mutations[occurrence->mutation]);
    else lua_pushboolean(L, 0);
    lua_rawseti(L, first + 6, (lua_Integer)i + 1);
  }
  for (int i = LISTS - 1; i >= 0; i--) lua_setfield(L, first - 1, lists[i]);
  set_integer(L, "count", s->occurrence_count);
}

// pyast.scopes(tree | source) -> scopes, occurrences
static int l_scopes(lua_State *L) {
  lua_settop(L, 1);
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
  if (!s->scope_count && !kf_scopes_resolve(s, &handle->tree)) {
    kf_scopes_free(s);
    luaL_error(L, "not enough memory");
  }
  struct cursor cursor = begin_of(handle->tree.source);
  lua_createtable(L, (int)s->scope_count, 0);
  for (uint32_t i = 0; i < s->scope_count; i++) {
    push_scope(L, &handle->tree, s, &s->scopes[i], &cursor);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  push_occurrences(L, s);
  return 2;
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
  size_t first = magic->first;
  bool assigned = magic->target_end > magic->first;
  if (assigned) {  // the value becomes 0, so that the assignment stays one
    const char *equals = memchr(b->source + magic->target_end, '=', magic->end - magic->target_end);
    first = equals ? (size_t)(equals - b->source) + 1 : magic->target_end;
    while (first + 1 < magic->end && (b->source[first] == ' ' || b->source[first] == '\t')) first++;
  }
  lua_createtable(L, 0, 6);
  set_integer(L, "line", magic->line);
  set_integer(L, "first", first + 1);
  set_integer(L, "last", magic->end);
  lua_pushstring(L, kf_magic_names[magic->kind]);
  lua_setfield(L, -2, "kind");
  lua_pushlstring(L, b->source + first, magic->end - first);
  lua_setfield(L, -2, "text");
  if (assigned) {
    lua_pushlstring(L, b->source + magic->first, magic->target_end - magic->first);
    lua_setfield(L, -2, "name");
  }
  lua_rawseti(L, b->list, (lua_Integer)lua_rawlen(L, b->list) + 1);
  for (size_t i = first; i < magic->end; i++)
    if (b->text[i] != '\n' && b->text[i] != '\r') b->text[i] = ' ';
  if (assigned) b->text[first] = '0';
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
    {"parse", l_parse}, {"position", l_position}, {"scopes", l_scopes}, {"blank", l_blank},
    {"identifier", l_identifier}, {NULL, NULL},
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
