// Lua values to canonical YAML, as sigs.k8s.io/yaml writes it: sorted keys, two blanks, list items
// not indented under their key, blocks for texts of several lines, long lines not folded.
#include "scalar.h"
#include "yaml.h"

#include "base/buffer.h"
#include "base/number.h"
#include "base/utf8.h"
#include "error.h"
#include "values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// A longer key needs a mark of its own: readers look 1,024 characters ahead for the colon.
enum { LONGEST_SIMPLE_KEY = 128 };

#define TYPE_OUTPUT "kfhost.yaml.output"

// A text this long that stands as it is becomes a piece of its own, and is checked once however often it comes.
enum { LONG_TEXT = 1024 };

struct emitter {
  struct kf_buffer *out;
  int pieces;  // where the list of pieces is on the stack; 0 for one text
  lua_Integer piece_count;
  const char *plain;  // the last long text that stands as it is
  size_t depth;
  const void *ancestors[KF_MAX_DEPTH];
  struct kf_place places[KF_MAX_DEPTH];
};

static int l_output_gc(lua_State *L) {
  kf_buffer_free(luaL_checkudata(L, 1, TYPE_OUTPUT));
  return 0;
}

static int fail(lua_State *L, struct emitter *e, const char *message) {
  luaL_checkstack(L, 8, NULL);
  kf_error(L, "YAML", "%s", message);
  kf_push_path(L, e->places, e->depth);
  lua_setfield(L, -2, "path");
  return lua_error(L);
}

static void put(struct emitter *e, const char *bytes, size_t length) {
  kf_buffer_add(e->out, bytes, length);
}

static void put_blanks(struct emitter *e, size_t count) {
  for (size_t i = 0; i < count; i++) kf_buffer_add_char(e->out, ' ');
}

// --- texts --------------------------------------------------------------------------------------

// Characters that YAML does not let stand, or that some reader takes for a line's end.
static bool needs_escape(uint32_t character) {
  return character < 0x20 || (character >= 0x7f && character < 0xa0) || character == 0x2028 ||
         character == 0x2029 || character == 0xfeff || (character & 0xfffe) == 0xfffe;
}

static void put_escape(struct emitter *e, uint32_t character) {
  static const char names[] = "0......abtnvfr", digits[] = "0123456789ABCDEF";
  kf_buffer_add_char(e->out, '\\');
  if (character < sizeof names - 1 && names[character] != '.') {
    kf_buffer_add_char(e->out, names[character]);
    return;
  }
  int shift = character < 0x100 ? 4 : character < 0x10000 ? 12 : 28;
  kf_buffer_add_char(e->out, shift == 4 ? 'x' : shift == 12 ? 'u' : 'U');
  for (; shift >= 0; shift -= 4) kf_buffer_add_char(e->out, digits[character >> shift & 15]);
}

static void put_quoted(struct emitter *e, const char *text, size_t size) {
  kf_buffer_add_char(e->out, '"');
  for (size_t i = 0, length; i < size; i += length) {
    uint32_t character = kf_utf8_decode(text + i, &length);
    if (character == '"' || character == '\\') kf_buffer_add_char(e->out, '\\');
    if (needs_escape(character)) put_escape(e, character);
    else put(e, text + i, length);
  }
  kf_buffer_add_char(e->out, '"');
}

// Whether a text of several lines can stand as a block: its characters are printable, and no line
// is of blanks alone (readers differ on those).
static bool is_block(const char *text, size_t size) {
  if (!memchr(text, '\n', size) || text[0] == '\n') return false;
  bool blank = true;
  for (size_t i = 0; i < size; i++) {
    unsigned char c = (unsigned char)text[i];
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) return false;
    if (c == 0xc2 || c == 0xe2 || c == 0xef) return false;  // may be NEL, LS, PS or a mark of byte order
    if (c == '\n') {
      if (blank && i > 0 && text[i - 1] != '\n') return false;
      blank = true;
    } else if (c != ' ' && c != '\t') {
      blank = false;
    }
  }
  return !(blank && text[size - 1] != '\n');
}

static void put_block(struct emitter *e, const char *text, size_t size, size_t indent) {
  size_t newlines = 0;
  while (newlines < size && text[size - 1 - newlines] == '\n') newlines++;
  if (indent == 0) indent = 2;  // a document that is one text
  kf_buffer_add_char(e->out, '|');
  if (text[0] == ' ' || text[0] == '\t') kf_buffer_add_char(e->out, '2');
  if (newlines != 1) kf_buffer_add_char(e->out, newlines == 0 ? '-' : '+');
  for (const char *line = text, *end = text + size; line < end;) {
    const char *newline = memchr(line, '\n', (size_t)(end - line));
    size_t length = (size_t)((newline ? newline : end) - line);
    kf_buffer_add_char(e->out, '\n');
    if (length > 0) put_blanks(e, indent);
    put(e, line, length);
    line += length + 1;
  }
}

static void end_piece(lua_State *L, struct emitter *e) {
  if (e->out->failed) luaL_error(L, "not enough memory");
  lua_pushlstring(L, e->out->data, e->out->length);
  lua_rawseti(L, e->pieces, ++e->piece_count);
  e->out->length = 0;
}

// Writes the long text on top, which stands as it is.
static void put_long(lua_State *L, struct emitter *e, const char *text, size_t size) {
  e->plain = text;
  if (!e->pieces) {
    put(e, text, size);
    return;
  }
  end_piece(L, e);
  lua_pushvalue(L, -1);
  lua_rawseti(L, e->pieces, ++e->piece_count);
}

// Writes the text on top.
static void put_text(lua_State *L, struct emitter *e, const char *text, size_t size, size_t indent) {
  // The value that is written holds all its texts: the same address is the same text.
  if (e->plain == text) {
    put_long(L, e, text, size);
    return;
  }
  size_t bad = kf_utf8_check(text, size);
  if (bad < size) fail(L, e, lua_pushfstring(L, "a text has malformed UTF-8 at byte %I", (lua_Integer)bad));
  bool plain = kf_scalar_is_plain(text, size);
  if (plain && size >= LONG_TEXT) put_long(L, e, text, size);
  else if (plain) put(e, text, size);
  else if (is_block(text, size)) put_block(e, text, size, indent);
  else put_quoted(e, text, size);
}

// --- collections ----------------------------------------------------------------------------------

static void put_value(lua_State *L, struct emitter *e, size_t indent);

static void enter(lua_State *L, struct emitter *e) {
  const void *table = lua_topointer(L, -1);
  for (size_t i = 0; i < e->depth; i++)
    if (e->ancestors[i] == table) fail(L, e, "the value contains itself");
  if (e->depth >= KF_MAX_DEPTH) fail(L, e, "nested more than 500 deep");
  luaL_checkstack(L, 12, "YAML value");
  e->ancestors[e->depth] = table;
  e->places[e->depth++] = (struct kf_place){0};
}

static bool is_collection(lua_State *L) {
  if (!lua_istable(L, -1)) return false;
  lua_pushnil(L);
  if (!lua_next(L, -2)) return false;
  lua_pop(L, 2);
  return true;
}

static void put_array(lua_State *L, struct emitter *e, size_t indent) {
  lua_Integer count = (lua_Integer)lua_rawlen(L, -1), found = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    lua_Integer index = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
    if (index < 1 || index > count) fail(L, e, "an array has a hole, or a member that is no element");
    found++;
  }
  if (found != count) fail(L, e, "an array has a hole");
  enter(L, e);
  for (lua_Integer i = 1; i <= count; i++) {
    if (i > 1) {
      kf_buffer_add_char(e->out, '\n');
      put_blanks(e, indent);
    }
    put(e, "- ", 2);
    e->places[e->depth - 1].index = i - 1;
    lua_rawgeti(L, -1, i);
    put_value(L, e, indent + 2);
    lua_pop(L, 1);
  }
  e->depth--;
}

static int compare_names(const void *a, const void *b) {
  const struct kf_place *x = a, *y = b;
  size_t shorter = x->length < y->length ? x->length : y->length;
  int order = memcmp(x->key, y->key, shorter);
  return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

enum { KEPT_NAMES = 200 };

// The names of the table at index, unsorted. Unless they are many, each is on the stack, too, at its place's index.
static size_t push_names(lua_State *L, struct emitter *e, int index, struct kf_place *few, size_t most,
                         struct kf_place **names) {
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1), count++)
    if (lua_type(L, -2) != LUA_TSTRING)
      fail(L, e, lua_pushfstring(L, "an object has a %s as a member's name", luaL_typename(L, -2)));
  bool kept = count <= KEPT_NAMES;
  luaL_checkstack(L, KEPT_NAMES + 12, "YAML object");
  *names = count <= most ? few : lua_newuserdatauv(L, count * sizeof **names, 0);
  struct kf_place *name = *names;
  for (lua_pushnil(L); lua_next(L, index); name++) {
    lua_pop(L, 1);
    name->key = lua_tolstring(L, -1, &name->length);
    name->index = kept ? lua_gettop(L) : 0;
    if (kept) lua_pushvalue(L, -1);  // one stays, one is for lua_next
  }
  return count;
}

static void put_name(lua_State *L, struct emitter *e, const struct kf_place *name, size_t indent) {
  bool is_long = name->length > LONGEST_SIMPLE_KEY;
  if (is_long) put(e, "? ", 2);
  if (kf_utf8_check(name->key, name->length) < name->length)
    fail(L, e, "a member's name has malformed UTF-8");
  if (kf_scalar_is_plain(name->key, name->length)) put(e, name->key, name->length);
  else put_quoted(e, name->key, name->length);
  if (is_long) {
    kf_buffer_add_char(e->out, '\n');
    put_blanks(e, indent);
  }
  kf_buffer_add_char(e->out, ':');
}

static void put_object(lua_State *L, struct emitter *e, size_t indent) {
  struct kf_place few[12], *names;
  int table = lua_gettop(L);
  enter(L, e);
  e->depth--;  // its names are not yet members
  size_t count = push_names(L, e, table, few, sizeof few / sizeof *few, &names);
  e->depth++;
  qsort(names, count, sizeof *names, compare_names);
  for (size_t i = 0; i < count; i++) {
    e->places[e->depth - 1] = names[i];
    if (i > 0) {
      kf_buffer_add_char(e->out, '\n');
      put_blanks(e, indent);
    }
    put_name(L, e, &names[i], indent);
    if (names[i].index) lua_pushvalue(L, (int)names[i].index);
    else lua_pushlstring(L, names[i].key, names[i].length);
    lua_rawget(L, table);
    bool nested = is_collection(L);
    bool list = nested && kf_shape_of(L, -1, NULL) == KF_SHAPE_ARRAY;
    if (nested) {
      kf_buffer_add_char(e->out, '\n');
      put_blanks(e, indent + (list ? 0 : 2));
    } else {
      kf_buffer_add_char(e->out, ' ');
    }
    put_value(L, e, indent + (list ? 0 : 2));
    lua_pop(L, 1);
  }
  e->depth--;
  lua_settop(L, table);
}

// --- values -----------------------------------------------------------------------------------------

static void put_number(lua_State *L, struct emitter *e) {
  char text[KF_NUMBER_SIZE];
  if (lua_isinteger(L, -1)) {
    put(e, text, kf_number_write_integer(text, lua_tointeger(L, -1)));
    return;
  }
  lua_Number number = lua_tonumber(L, -1);
  if (!isfinite(number)) fail(L, e, "infinity and NaN cannot become JSON");
  put(e, text, kf_number_write(text, number));
}

// Writes the value on top; its first line begins where we are, further ones at `indent`.
static void put_value(lua_State *L, struct emitter *e, size_t indent) {
  size_t size;
  const char *text;
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    text = lua_tolstring(L, -1, &size);
    put_text(L, e, text, size, indent);
    return;
  case LUA_TNUMBER: put_number(L, e); return;
  case LUA_TBOOLEAN:
    if (lua_toboolean(L, -1)) put(e, "true", 4);
    else put(e, "false", 5);
    return;
  case LUA_TTABLE:
    if (!is_collection(L)) put(e, kf_shape_of(L, -1, NULL) == KF_SHAPE_ARRAY ? "[]" : "{}", 2);
    else if (kf_shape_of(L, -1, NULL) == KF_SHAPE_ARRAY) put_array(L, e, indent);
    else put_object(L, e, indent);
    return;
  default:
    if (kf_is_null(L, -1)) put(e, "null", 4);
    else fail(L, e, lua_pushfstring(L, "a %s is no YAML value", luaL_typename(L, -1)));
  }
}

static void begin(lua_State *L, struct emitter *e) {
  e->out = lua_newuserdatauv(L, sizeof *e->out, 0);
  *e->out = (struct kf_buffer){0};
  luaL_setmetatable(L, TYPE_OUTPUT);
  e->pieces = 0;
  e->piece_count = 0;
  e->plain = NULL;
  e->depth = 0;
}

static int finish(lua_State *L, struct emitter *e) {
  if (e->pieces) {
    end_piece(L, e);
    lua_settop(L, e->pieces);
  } else {
    if (e->out->failed) return luaL_error(L, "not enough memory");
    lua_pushlstring(L, e->out->data, e->out->length);
  }
  kf_buffer_free(e->out);
  return 1;
}

int kf_yaml_encode(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 2);
  bool in_pieces = false;
  if (!lua_isnil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    in_pieces = lua_getfield(L, 2, "pieces") != LUA_TNIL && lua_toboolean(L, -1);
  }
  struct emitter e;
  begin(L, &e);
  if (in_pieces) {
    lua_newtable(L);
    e.pieces = lua_gettop(L);
  }
  lua_pushvalue(L, 1);
  put_value(L, &e, 0);
  kf_buffer_add_char(e.out, '\n');
  return finish(L, &e);
}

int kf_yaml_encode_all(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  struct emitter e;
  begin(L, &e);
  lua_Integer count = luaL_len(L, 1);
  for (lua_Integer i = 1; i <= count; i++) {
    put(&e, "---\n", 4);
    lua_geti(L, 1, i);
    put_value(L, &e, 0);
    kf_buffer_add_char(e.out, '\n');
    lua_pop(L, 1);
  }
  return finish(L, &e);
}

void kf_yaml_prepare(lua_State *L) {
  luaL_newmetatable(L, TYPE_OUTPUT);
  lua_pushcfunction(L, l_output_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}
