// YAML text to Lua values, over libyaml's events. Scalars resolve as sigs.k8s.io/yaml has it; keys
// become strings; duplicate keys are errors; aliases are copies, so that no two values share a table.
#include "scalar.h"
#include "yaml.h"

#include "base/number.h"
#include "base/utf8.h"
#include "error.h"
#include "values.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define TYPE_DECODER "kfhost.yaml.decoder"

// An alias may not multiply the document beyond reason: the rule of go-yaml.
enum { ANCHOR_SIZE = 256 };
enum { FREE_NODES = 1000, FREE_ALIAS_NODES = 100, SMALL_NODES = 400000, LARGE_NODES = 4000000 };

struct decoder {
  yaml_parser_t parser;
  yaml_event_t event;
  bool has_parser, has_event;
  const char *text;
  size_t size;
  bool last_wins, plain_booleans;
  int anchors;  // stack index of the table of anchored values
  size_t document, nodes, alias_nodes;
  size_t depth;
  struct kf_place places[KF_MAX_DEPTH + 1];
};

static int l_decoder_gc(lua_State *L) {
  struct decoder *d = luaL_checkudata(L, 1, TYPE_DECODER);
  if (d->has_event) yaml_event_delete(&d->event);
  if (d->has_parser) yaml_parser_delete(&d->parser);
  d->has_event = d->has_parser = false;
  return 0;
}

// --- errors -----------------------------------------------------------------------------------------

static void set_integer(lua_State *L, const char *field, size_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, field);
}

static int fail_at(lua_State *L, struct decoder *d, yaml_mark_t mark, const char *message) {
  luaL_checkstack(L, 8, NULL);
  kf_error(L, "YAML", "%s", message);
  set_integer(L, "line", mark.line + 1);
  set_integer(L, "column", mark.column + 1);
  set_integer(L, "offset", mark.index);
  set_integer(L, "document", d->document);
  kf_push_path(L, d->places, d->depth);
  lua_setfield(L, -2, "path");
  return lua_error(L);
}

static int fail(lua_State *L, struct decoder *d, const char *message) {
  return fail_at(L, d, d->event.start_mark, message);
}

// libyaml counts one line more at the end of a text without a last newline.
static yaml_mark_t real_mark(const struct decoder *d, yaml_mark_t mark) {
  size_t line, column;
  kf_utf8_position(d->text, d->size, &line, &column);
  if (mark.line + 1 > line) mark.line = line - 1, mark.column = column - 1;
  return mark;
}

static int fail_parser(lua_State *L, struct decoder *d) {
  const char *problem = d->parser.problem ? d->parser.problem : "not enough memory";
  if (d->parser.error == YAML_READER_ERROR) {
    size_t line, column, offset = d->parser.problem_offset < d->size ? d->parser.problem_offset : d->size;
    kf_utf8_position(d->text, offset, &line, &column);
    return fail_at(L, d, (yaml_mark_t){offset, line - 1, column - 1}, problem);
  }
  const char *context = d->parser.context ? d->parser.context : "";
  return fail_at(L, d, real_mark(d, d->parser.problem_mark), lua_pushfstring(L, "%s%s%s", problem, *context ? " " : "", context));
}

static void next_event(lua_State *L, struct decoder *d) {
  if (d->has_event) yaml_event_delete(&d->event);
  d->has_event = false;
  if (!yaml_parser_parse(&d->parser, &d->event)) fail_parser(L, d);
  d->has_event = true;
}

// --- limits and aliases -------------------------------------------------------------------------------

static void count_node(lua_State *L, struct decoder *d, size_t from_alias) {
  d->nodes++;
  d->alias_nodes += from_alias;
  if (d->nodes < FREE_NODES || d->alias_nodes < FREE_ALIAS_NODES) return;
  double allowed = 0.99;
  if (d->nodes > SMALL_NODES) {
    double over = (double)(d->nodes - SMALL_NODES) / (LARGE_NODES - SMALL_NODES);
    allowed = over >= 1 ? 0.10 : 0.99 - 0.89 * over;
  }
  if ((double)d->alias_nodes / (double)d->nodes > allowed) fail(L, d, "the document consists of too many aliases");
}

// [value] -> value: a copy of a table and all in it; anything else as it is.
static void copy_value(lua_State *L, struct decoder *d, size_t depth) {
  count_node(L, d, 1);
  if (!lua_istable(L, -1)) return;
  if (depth > KF_MAX_DEPTH) fail(L, d, "nested more than 500 deep");
  luaL_checkstack(L, 8, "YAML value");
  lua_newtable(L);
  if (lua_getmetatable(L, -2)) lua_setmetatable(L, -2);
  for (lua_pushnil(L); lua_next(L, -3); lua_pop(L, 1)) {
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    copy_value(L, d, depth + 1);
    lua_rawset(L, -5);
  }
  lua_remove(L, -2);
}

static void push_alias(lua_State *L, struct decoder *d) {
  const char *name = (const char *)d->event.data.alias.anchor;
  if (lua_getfield(L, d->anchors, name) == LUA_TNIL)
    fail(L, d, lua_pushfstring(L, "no anchor '%s' before, or it holds the alias itself", name));
  copy_value(L, d, d->depth);
}

static void note_anchor(lua_State *L, struct decoder *d, const char *anchor) {
  if (!anchor[0]) return;
  if (strlen(anchor) == ANCHOR_SIZE - 1) fail(L, d, "the name of an anchor is too long");
  lua_pushvalue(L, -1);
  lua_setfield(L, d->anchors, anchor);
}

// --- scalars ----------------------------------------------------------------------------------------

static void push_resolved(lua_State *L, struct decoder *d, const char *text, size_t size) {
  struct kf_scalar scalar = kf_scalar_resolve(text, size);
  bool is_boolean = scalar.kind == KF_SCALAR_TRUE || scalar.kind == KF_SCALAR_FALSE;
  if (d->plain_booleans && is_boolean && !strchr("tTfF", *text)) scalar.kind = KF_SCALAR_TEXT;
  switch (scalar.kind) {
  case KF_SCALAR_NULL: kf_push_null(L); return;
  case KF_SCALAR_TRUE: lua_pushboolean(L, 1); return;
  case KF_SCALAR_FALSE: lua_pushboolean(L, 0); return;
  case KF_SCALAR_INTEGER: lua_pushinteger(L, scalar.integer); return;
  case KF_SCALAR_DOUBLE: lua_pushnumber(L, scalar.number); return;
  case KF_SCALAR_NOT_FINITE: fail(L, d, "infinity and NaN cannot become JSON"); return;
  default: lua_pushlstring(L, text, size);
  }
}

static bool has_tag(const char *tag, const char *name) {
  static const char prefix[] = "tag:yaml.org,2002:";
  return strncmp(tag, prefix, sizeof prefix - 1) == 0 && strcmp(tag + sizeof prefix - 1, name) == 0;
}

static int base64_value(unsigned char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static void push_binary(lua_State *L, struct decoder *d, const char *text, size_t size) {
  luaL_Buffer bytes;
  unsigned bits = 0, held = 0;
  luaL_buffinit(L, &bytes);
  for (size_t i = 0; i < size; i++) {
    int value = base64_value((unsigned char)text[i]);
    if (value < 0) {
      if (strchr("= \n\r\t", text[i])) continue;
      fail(L, d, "!!binary is not Base64");
    }
    bits = bits << 6 | (unsigned)value;
    held += 6;
    if (held >= 8) luaL_addchar(&bytes, (char)(bits >> (held -= 8) & 0xff));
  }
  luaL_pushresult(&bytes);
}

// A scalar with a tag of its own: the tag's type, or an error when the text is none.
static void push_tagged(lua_State *L, struct decoder *d, const char *tag, const char *text, size_t size) {
  struct kf_scalar scalar = kf_scalar_resolve(text, size);
  bool number = scalar.kind == KF_SCALAR_INTEGER || scalar.kind == KF_SCALAR_DOUBLE;
  if (has_tag(tag, "binary")) push_binary(L, d, text, size);
  else if (has_tag(tag, "float") && number)
    lua_pushnumber(L, scalar.kind == KF_SCALAR_INTEGER ? (lua_Number)scalar.integer : scalar.number);
  else if (has_tag(tag, "float") || (has_tag(tag, "int") && scalar.kind != KF_SCALAR_INTEGER && !number))
    fail(L, d, lua_pushfstring(L, "'%s' is no %s", text, strrchr(tag, ':') + 1));
  else if (has_tag(tag, "bool") && scalar.kind != KF_SCALAR_TRUE && scalar.kind != KF_SCALAR_FALSE)
    fail(L, d, lua_pushfstring(L, "'%s' is no bool", text));
  else if (has_tag(tag, "null") && scalar.kind != KF_SCALAR_NULL)
    fail(L, d, lua_pushfstring(L, "'%s' is no null", text));
  else if (has_tag(tag, "null")) kf_push_null(L);
  else if (has_tag(tag, "int") || has_tag(tag, "bool")) push_resolved(L, d, text, size);
  else lua_pushlstring(L, text, size);
}

static void push_scalar(lua_State *L, struct decoder *d) {
  const char *text = (const char *)d->event.data.scalar.value;
  size_t size = d->event.data.scalar.length;
  const char *tag = (const char *)d->event.data.scalar.tag;
  if (tag && strcmp(tag, "!") != 0) push_tagged(L, d, tag, text, size);
  else if (d->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !tag) push_resolved(L, d, text, size);
  else lua_pushlstring(L, text, size);
}

// --- collections --------------------------------------------------------------------------------------

static void push_node(lua_State *L, struct decoder *d);

static void enter(lua_State *L, struct decoder *d) {
  if (d->depth >= KF_MAX_DEPTH) fail(L, d, "nested more than 500 deep");
  luaL_checkstack(L, 12, "YAML value");
  d->places[d->depth++] = (struct kf_place){0};
}

static void push_sequence(lua_State *L, struct decoder *d) {
  char anchor[ANCHOR_SIZE] = "";
  if (d->event.data.sequence_start.anchor)
    strncpy(anchor, (const char *)d->event.data.sequence_start.anchor, sizeof anchor - 1);
  enter(L, d);
  lua_newtable(L);
  luaL_setmetatable(L, KF_ARRAY);
  for (lua_Integer i = 1;; i++) {
    next_event(L, d);
    if (d->event.type == YAML_SEQUENCE_END_EVENT) break;
    d->places[d->depth - 1].index = i - 1;
    push_node(L, d);
    lua_rawseti(L, -2, i);
  }
  d->depth--;
  note_anchor(L, d, anchor);
}

// [key] -> key as a string; a collection is no key.
static void stringify_key(lua_State *L, struct decoder *d, yaml_mark_t mark) {
  char text[KF_NUMBER_SIZE];
  switch (lua_type(L, -1)) {
  case LUA_TSTRING: return;
  case LUA_TBOOLEAN: lua_pushstring(L, lua_toboolean(L, -1) ? "true" : "false"); break;
  case LUA_TNUMBER:
    if (lua_isinteger(L, -1)) lua_pushlstring(L, text, kf_number_write_integer(text, lua_tointeger(L, -1)));
    else lua_pushlstring(L, text, kf_number_write(text, lua_tonumber(L, -1)));
    break;
  case LUA_TTABLE: fail_at(L, d, mark, "a list or a mapping cannot be a key"); break;
  default: fail_at(L, d, mark, "null cannot be a key"); break;
  }
  lua_replace(L, -2);
}

// [table, source] -> table: members of the source that the table has not.
static void merge_one(lua_State *L, struct decoder *d) {
  if (!lua_istable(L, -1) || (kf_shape_of(L, -1, NULL) == KF_SHAPE_ARRAY))
    fail(L, d, "<< needs a mapping, or a list of mappings");
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    lua_pushvalue(L, -2);
    if (lua_rawget(L, -5) == LUA_TNIL) {
      lua_pushvalue(L, -3);
      lua_pushvalue(L, -3);
      copy_value(L, d, d->depth);
      lua_rawset(L, -7);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

// [table, value of <<] -> table
static void merge(lua_State *L, struct decoder *d) {
  if (!lua_istable(L, -1) || kf_shape_of(L, -1, NULL) != KF_SHAPE_ARRAY) {
    merge_one(L, d);
    return;
  }
  lua_Integer count = luaL_len(L, -1);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_pushvalue(L, -2);
    lua_rawgeti(L, -2, i);
    merge_one(L, d);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static bool is_merge_key(const struct decoder *d) {
  return d->event.type == YAML_SCALAR_EVENT && d->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
         d->event.data.scalar.length == 2 && memcmp(d->event.data.scalar.value, "<<", 2) == 0;
}

// Reads a key that is not <<: pushes it, checked; its place is set.
static void push_key(lua_State *L, struct decoder *d) {
  yaml_mark_t mark = d->event.start_mark;
  struct kf_place *place = &d->places[d->depth - 1];
  *place = (struct kf_place){.key = "?", .length = 1};
  push_node(L, d);
  stringify_key(L, d, mark);
  place->key = lua_tolstring(L, -1, &place->length);
  if (d->last_wins) return;
  lua_pushvalue(L, -1);
  if (lua_rawget(L, -3) != LUA_TNIL) {
    d->depth--;
    fail_at(L, d, mark, lua_pushfstring(L, "key '%s' is there twice", lua_tostring(L, -2)));
  }
  lua_pop(L, 1);
}

static void push_mapping(lua_State *L, struct decoder *d) {
  char anchor[ANCHOR_SIZE] = "";
  if (d->event.data.mapping_start.anchor)
    strncpy(anchor, (const char *)d->event.data.mapping_start.anchor, sizeof anchor - 1);
  enter(L, d);
  lua_newtable(L);  // mapping
  int merges = 0;
  lua_newtable(L);  // mapping, values of <<
  lua_insert(L, -2);
  for (;;) {
    next_event(L, d);
    if (d->event.type == YAML_MAPPING_END_EVENT) break;
    if (is_merge_key(d)) {
      d->places[d->depth - 1] = (struct kf_place){.key = "<<", .length = 2};
      next_event(L, d);
      push_node(L, d);
      lua_rawseti(L, -3, ++merges);
      continue;
    }
    push_key(L, d);
    next_event(L, d);
    push_node(L, d);
    lua_rawset(L, -3);
    d->places[d->depth - 1] = (struct kf_place){.key = "", .length = 0};  // the key may be gone now
  }
  for (int i = 1; i <= merges; i++) {  // after the mapping's own keys, which win
    lua_rawgeti(L, -2, i);
    merge(L, d);
  }
  lua_remove(L, -2);
  d->depth--;
  note_anchor(L, d, anchor);
}

static void push_node(lua_State *L, struct decoder *d) {
  char anchor[ANCHOR_SIZE] = "";
  count_node(L, d, 0);
  switch (d->event.type) {
  case YAML_ALIAS_EVENT: push_alias(L, d); return;
  case YAML_SEQUENCE_START_EVENT: push_sequence(L, d); return;
  case YAML_MAPPING_START_EVENT: push_mapping(L, d); return;
  case YAML_SCALAR_EVENT:
    if (d->event.data.scalar.anchor)
      strncpy(anchor, (const char *)d->event.data.scalar.anchor, sizeof anchor - 1);
    push_scalar(L, d);
    note_anchor(L, d, anchor);
    return;
  default: fail(L, d, "a value expected");
  }
}

// --- documents ----------------------------------------------------------------------------------------

static struct decoder *new_decoder(lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  lua_settop(L, 2);
  struct decoder *d = lua_newuserdatauv(L, sizeof *d, 0);
  memset(d, 0, offsetof(struct decoder, places));
  luaL_setmetatable(L, TYPE_DECODER);
  d->text = text;
  d->size = size;
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "duplicates");
    const char *mode = luaL_optstring(L, -1, "error");
    luaL_argcheck(L, strcmp(mode, "last") == 0 || strcmp(mode, "error") == 0, 2,
                  "duplicates: \"error\" or \"last\" expected");
    d->last_wins = strcmp(mode, "last") == 0;
    lua_getfield(L, 2, "plain_booleans");
    d->plain_booleans = lua_toboolean(L, -1);
    lua_pop(L, 2);
  } else if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
  }
  lua_newtable(L);
  d->anchors = lua_gettop(L);
  d->document = 1;
  size_t bad = kf_utf8_check(text, size), line, column;
  if (bad < size) {
    kf_utf8_position(text, bad, &line, &column);
    fail_at(L, d, (yaml_mark_t){bad, line - 1, column - 1}, "malformed UTF-8");
  }
  if (!yaml_parser_initialize(&d->parser)) luaL_error(L, "not enough memory");
  d->has_parser = true;
  // libyaml skips a byte order mark only when it may choose the encoding, which would not be checked.
  size_t mark = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
  yaml_parser_set_input_string(&d->parser, (const unsigned char *)text + mark, size - mark);
  yaml_parser_set_encoding(&d->parser, YAML_UTF8_ENCODING);
  return d;
}

static bool is_empty_document(const struct decoder *d) {
  return d->event.type == YAML_SCALAR_EVENT && d->event.data.scalar.length == 0 &&
         d->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !d->event.data.scalar.tag;
}

// Goes to the next document that is not empty, pushes its value and true; nothing at the end.
static bool push_document(lua_State *L, struct decoder *d) {
  for (;;) {
    next_event(L, d);
    if (d->event.type == YAML_STREAM_END_EVENT) return false;
    if (d->event.type != YAML_DOCUMENT_START_EVENT) continue;
    next_event(L, d);
    if (!is_empty_document(d)) {
      push_node(L, d);
      d->document++;
      lua_newtable(L);  // anchors end with their document
      lua_replace(L, d->anchors);
      return true;
    }
    d->document++;
  }
}

int kf_yaml_decode(lua_State *L) {
  struct decoder *d = new_decoder(L);
  if (!push_document(L, d)) {
    kf_push_null(L);
    return 1;
  }
  int value = lua_gettop(L);
  for (;;) {
    next_event(L, d);
    if (d->event.type == YAML_STREAM_END_EVENT) break;
    if (d->event.type == YAML_DOCUMENT_START_EVENT) {
      next_event(L, d);
      if (!is_empty_document(d)) fail(L, d, "there is more than one document; yaml.decode_all reads them all");
    }
  }
  lua_settop(L, value);
  return 1;
}

int kf_yaml_decode_all(lua_State *L) {
  struct decoder *d = new_decoder(L);
  lua_newtable(L);
  luaL_setmetatable(L, KF_ARRAY);
  for (lua_Integer i = 1; push_document(L, d); i++) lua_rawseti(L, -2, i);
  return 1;
}

static const luaL_Reg functions[] = {
    {"encode", kf_yaml_encode}, {"encode_all", kf_yaml_encode_all}, {"decode", kf_yaml_decode},
    {"decode_all", kf_yaml_decode_all}, {NULL, NULL},
};

int luaopen_kf_yaml(lua_State *L);
int luaopen_kf_yaml(lua_State *L) {
  luaL_newmetatable(L, TYPE_DECODER);
  lua_pushcfunction(L, l_decoder_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  kf_yaml_prepare(L);
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
