// Lua values to JSON text.
#include "json.h"

#include "base/number.h"
#include "base/utf8.h"
#include "error.h"
#include "values.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_OUTPUT "kfhost.json.output"

// What is written; a userdata, so that a raise frees the bytes.
struct output {
  char *bytes;
  size_t length, capacity;
};

struct encoder {
  struct output *out;
  bool sort;
  int indent;
  const void *array_mark, *object_mark;  // the metatables
  size_t depth;
  const void *ancestors[KF_MAX_DEPTH];
  struct kf_place places[KF_MAX_DEPTH];
};

static int l_output_gc(lua_State *L) {
  struct output *out = lua_touserdata(L, 1);
  free(out->bytes);
  out->bytes = NULL;
  return 0;
}

static int fail(lua_State *L, struct encoder *e, const char *message) {
  luaL_checkstack(L, 8, NULL);
  kf_error(L, "JSON", "%s", message);
  kf_push_path(L, e->places, e->depth);
  lua_setfield(L, -2, "path");
  return lua_error(L);
}

static char *reserve(lua_State *L, struct encoder *e, size_t extra) {
  struct output *out = e->out;
  if (out->capacity - out->length < extra) {
    size_t capacity = out->capacity * 2 + extra + 1024;
    char *bytes = realloc(out->bytes, capacity);
    if (!bytes) luaL_error(L, "not enough memory");
    out->bytes = bytes;
    out->capacity = capacity;
  }
  return out->bytes + out->length;
}

static void put(lua_State *L, struct encoder *e, const char *bytes, size_t length) {
  memcpy(reserve(L, e, length), bytes, length);
  e->out->length += length;
}

static void put_char(lua_State *L, struct encoder *e, char c) {
  *reserve(L, e, 1) = c;
  e->out->length++;
}

static void new_line(lua_State *L, struct encoder *e, size_t depth) {
  if (e->indent <= 0) return;
  size_t blanks = depth * (size_t)e->indent;
  char *room = reserve(L, e, blanks + 1);
  room[0] = '\n';
  memset(room + 1, ' ', blanks);
  e->out->length += blanks + 1;
}

// --- strings ------------------------------------------------------------------------------------

static void put_escape(lua_State *L, struct encoder *e, unsigned char c) {
  static const char escapes[] = "btn\0fr";  // of 8, 9, 10, 12, 13
  static const char digits[] = "0123456789abcdef";
  char *room = reserve(L, e, 6);
  room[0] = '\\';
  char name = c == '"' || c == '\\' ? (char)c : c >= 8 && c <= 13 ? escapes[c - 8] : '\0';
  if (name) {
    room[1] = name;
    e->out->length += 2;
    return;
  }
  room[1] = 'u';
  room[2] = room[3] = '0';
  room[4] = digits[c >> 4];
  room[5] = digits[c & 15];
  e->out->length += 6;
}

// Goes on with a string of which `at` bytes are written.
static void put_special(lua_State *L, struct encoder *e, const char *text, size_t size, size_t at) {
  while (at < size) {
    unsigned char c = (unsigned char)text[at];
    size_t length = c < 0x80 ? 1 : kf_utf8_length(text + at, size - at);
    if (length == 0) fail(L, e, lua_pushfstring(L, "a string has malformed UTF-8 at byte %I", (lua_Integer)at));
    if (c < 0x80) put_escape(L, e, c);
    else put(L, e, text + at, length);
    at += length;
    size_t run = kf_plain_run(text + at, size - at);
    put(L, e, text + at, run);
    at += run;
  }
}

static void put_string(lua_State *L, struct encoder *e, const char *text, size_t size) {
  char *room = reserve(L, e, size + 2);
  size_t run = kf_plain_run(text, size);
  room[0] = '"';
  memcpy(room + 1, text, run);
  e->out->length += run + 1;
  if (run < size) put_special(L, e, text, size, run);
  put_char(L, e, '"');
}

// --- tables -------------------------------------------------------------------------------------

static void put_value(lua_State *L, struct encoder *e);

static void enter(lua_State *L, struct encoder *e) {
  const void *table = lua_topointer(L, -1);
  for (size_t i = 0; i < e->depth; i++)
    if (e->ancestors[i] == table) fail(L, e, "the value contains itself");
  if (e->depth >= KF_MAX_DEPTH) fail(L, e, "nested more than 500 deep");
  luaL_checkstack(L, 12, "JSON value");
  e->ancestors[e->depth] = table;
  e->places[e->depth++] = (struct kf_place){0};
}

// Writes the table on top, whose elements are 1 … count and nothing else.
static void put_array(lua_State *L, struct encoder *e) {
  lua_Integer count = (lua_Integer)lua_rawlen(L, -1), found = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (!lua_isinteger(L, -2)) fail(L, e, "an array has a member that is no element");
    lua_Integer index = lua_tointeger(L, -2);
    if (index < 1 || index > count) fail(L, e, lua_pushfstring(L, "an array has a hole before element %I", index - 1));
    found++;
  }
  if (found != count) fail(L, e, "an array has a hole");
  enter(L, e);
  put_char(L, e, '[');
  for (lua_Integer i = 1; i <= count; i++) {
    if (i > 1) put_char(L, e, ',');
    e->places[e->depth - 1].index = i - 1;
    new_line(L, e, e->depth);
    lua_rawgeti(L, -1, i);
    put_value(L, e);
    lua_pop(L, 1);
  }
  e->depth--;
  if (count > 0) new_line(L, e, e->depth);
  put_char(L, e, ']');
}

// Raises when the member's name, below its value on top, is no string.
static void check_name(lua_State *L, struct encoder *e) {
  if (lua_type(L, -2) == LUA_TSTRING) return;
  e->depth--;  // the place is the object
  fail(L, e, lua_pushfstring(L, "an object has a %s as a member's name", luaL_typename(L, -2)));
}

// Writes the member whose name and value are on top.
static void put_member(lua_State *L, struct encoder *e, bool first) {
  size_t length;
  check_name(L, e);
  const char *name = lua_tolstring(L, -2, &length);
  struct kf_place *place = &e->places[e->depth - 1];
  place->key = name;
  place->length = length;
  if (!first) put_char(L, e, ',');
  new_line(L, e, e->depth);
  put_string(L, e, name, length);
  put_char(L, e, ':');
  if (e->indent > 0) put_char(L, e, ' ');
  put_value(L, e);
}

static int compare_names(const void *a, const void *b) {
  const struct kf_place *x = a, *y = b;
  size_t shorter = x->length < y->length ? x->length : y->length;
  int order = memcmp(x->key, y->key, shorter);
  if (order != 0) return order;
  return (x->length > y->length) - (x->length < y->length);
}

enum { FEW = 32 };  // names that need no memory of their own

// Writes the members of the table on top, whose names these are, in the order of the names' bytes.
static void put_in_order(lua_State *L, struct encoder *e, struct kf_place *names, size_t count) {
  qsort(names, count, sizeof *names, compare_names);
  for (size_t i = 0; i < count; i++) {
    lua_pushlstring(L, names[i].key, names[i].length);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    put_member(L, e, i == 0);
    lua_pop(L, 2);
  }
}

static void put_many_sorted(lua_State *L, struct encoder *e, size_t count) {
  struct kf_place *names = lua_newuserdatauv(L, count * sizeof *names, 0);
  lua_insert(L, -2);  // names table
  size_t i = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), i++)
    names[i].key = lua_tolstring(L, -2, &names[i].length);
  put_in_order(L, e, names, count);
  lua_remove(L, -2);
}

static bool put_sorted(lua_State *L, struct encoder *e, bool sure) {
  struct kf_place few[FEW];
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), count++) {
    if (sure) check_name(L, e);
    else if (lua_type(L, -2) != LUA_TSTRING) {
      lua_pop(L, 2);
      return false;
    }
    if (count < FEW) few[count].key = lua_tolstring(L, -2, &few[count].length);
  }
  if (count <= FEW) put_in_order(L, e, few, count);
  else put_many_sorted(L, e, count);
  return true;
}

static bool put_unsorted(lua_State *L, struct encoder *e, bool sure) {
  size_t begin = e->out->length;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (!sure && lua_type(L, -2) != LUA_TSTRING) {
      lua_pop(L, 2);
      return false;
    }
    put_member(L, e, e->out->length == begin);
  }
  return true;
}

// Writes the table on top; false, with nothing written, when a name is no string and `sure` is not set.
static bool put_object(lua_State *L, struct encoder *e, bool sure) {
  enter(L, e);
  size_t begin = e->out->length;
  put_char(L, e, '{');
  bool written = e->sort ? put_sorted(L, e, sure) : put_unsorted(L, e, sure);
  e->depth--;
  if (!written) {
    e->out->length = begin;
    return false;
  }
  if (e->out->length > begin + 1) new_line(L, e, e->depth);
  put_char(L, e, '}');
  return true;
}

// A table without a mark is mostly an object: it is written as one, until a name is no string.
static void put_table(lua_State *L, struct encoder *e) {
  const void *mark = NULL;
  if (lua_getmetatable(L, -1)) {
    mark = lua_topointer(L, -1);
    lua_pop(L, 1);
  }
  if (mark == e->array_mark) put_array(L, e);
  else if (mark == e->object_mark) put_object(L, e, true);
  else if (put_object(L, e, false)) return;
  else if (kf_shape_of(L, -1, NULL) == KF_SHAPE_ARRAY) put_array(L, e);
  else put_object(L, e, true);
}

static const void *mark_of(lua_State *L, const char *name) {
  luaL_getmetatable(L, name);
  const void *mark = lua_topointer(L, -1);
  lua_pop(L, 1);
  return mark;
}

// --- values -------------------------------------------------------------------------------------

static void put_number(lua_State *L, struct encoder *e) {
  char *room = reserve(L, e, KF_NUMBER_SIZE);
  if (lua_isinteger(L, -1)) {
    e->out->length += kf_number_write_integer(room, lua_tointeger(L, -1));
    return;
  }
  lua_Number number = lua_tonumber(L, -1);
  if (!isfinite(number)) fail(L, e, "JSON has no infinity and no NaN");
  e->out->length += kf_number_write(room, number);
}

static void put_value(lua_State *L, struct encoder *e) {
  size_t length;
  const char *text;
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    text = lua_tolstring(L, -1, &length);
    put_string(L, e, text, length);
    return;
  case LUA_TNUMBER: put_number(L, e); return;
  case LUA_TBOOLEAN:
    if (lua_toboolean(L, -1)) put(L, e, "true", 4);
    else put(L, e, "false", 5);
    return;
  case LUA_TTABLE:
    put_table(L, e);
    return;
  default:
    if (kf_is_null(L, -1)) put(L, e, "null", 4);
    else fail(L, e, lua_pushfstring(L, "a %s is no JSON value", luaL_typename(L, -1)));
  }
}

// Not at the first encoding: were memory to run out between the two steps, the metatable would stay
// without its __gc and every later error would lose the output.
void kf_json_encode_prepare(lua_State *L) {
  luaL_newmetatable(L, TYPE_OUTPUT);
  lua_pushcfunction(L, l_output_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}

int kf_json_encode(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 2);
  struct encoder e;  // not a userdata: most of it is never used, and would have to be allocated
  e.sort = false;
  e.indent = 0;
  e.depth = 0;
  e.array_mark = mark_of(L, KF_ARRAY);
  e.object_mark = mark_of(L, KF_OBJECT);
  e.out = lua_newuserdatauv(L, sizeof *e.out, 0);
  *e.out = (struct output){0};
  luaL_setmetatable(L, TYPE_OUTPUT);
  if (!lua_isnil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_getfield(L, 2, "sort");
    e.sort = lua_toboolean(L, -1);
    lua_getfield(L, 2, "indent");
    e.indent = (int)luaL_optinteger(L, -1, 0);
    luaL_argcheck(L, e.indent >= 0 && e.indent <= 16, 2, "indent: 0 to 16 expected");
  }
  lua_pushvalue(L, 1);
  put_value(L, &e);
  lua_pushlstring(L, e.out->bytes, e.out->length);
  free(e.out->bytes);  // now, and not when the collector comes by
  e.out->bytes = NULL;
  return 1;
}
