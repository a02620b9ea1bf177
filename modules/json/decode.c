// JSON text to Lua values (RFC 8259, strictly). Values are gathered on the Lua stack, so that each
// table is made once, in its full size.
#include "json.h"

#include "base/number.h"
#include "base/utf8.h"
#include "error.h"
#include "values.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
  BATCH = 64,       // values gathered before a table is made or filled
  SMALL_OBJECT = 16  // members whose names are compared one by one to find duplicates
};

struct decoder {
  lua_State *L;
  const char *start, *end, *at;
  bool last_wins;
  int skip;           // stack index of the names to leave out, or 0
  int array_mark;     // stack index of the metatable of arrays
  size_t depth;
  struct {
    char *data;
    size_t size;
  } scratch;  // for strings with escapes; a userdata at stack index scratch_at
  int scratch_at;
  struct kf_place places[KF_MAX_DEPTH + 1];
};

// --- errors -------------------------------------------------------------------------------------

static int fail_at(struct decoder *d, const char *at, const char *message) {
  lua_State *L = d->L;
  size_t offset = (size_t)(at - d->start), line, column;
  kf_utf8_position(d->start, offset, &line, &column);
  luaL_checkstack(L, 8, NULL);
  kf_error(L, "JSON", "%s", message);
  lua_pushinteger(L, (lua_Integer)offset);
  lua_setfield(L, -2, "offset");
  lua_pushinteger(L, (lua_Integer)line);
  lua_setfield(L, -2, "line");
  lua_pushinteger(L, (lua_Integer)column);
  lua_setfield(L, -2, "column");
  kf_push_path(L, d->places, d->depth);
  lua_setfield(L, -2, "path");
  return lua_error(L);
}

static int fail(struct decoder *d, const char *message) {
  return fail_at(d, d->at, d->at >= d->end ? "the text ends too early" : message);
}

// --- strings ------------------------------------------------------------------------------------

// Room for `size` bytes in the scratch space, whose contents are kept.
static char *scratch(struct decoder *d, size_t size) {
  if (size <= d->scratch.size) return d->scratch.data;
  size_t larger = size * 2 + 256;
  char *data = lua_newuserdatauv(d->L, larger, 0);
  if (d->scratch.size) memcpy(data, d->scratch.data, d->scratch.size);
  d->scratch.data = data;
  d->scratch.size = larger;
  lua_replace(d->L, d->scratch_at);
  return data;
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Reads the four digits of \uXXXX; d->at is on the first.
static uint32_t read_unit(struct decoder *d) {
  uint32_t unit = 0;
  for (int i = 0; i < 4; i++, d->at++) {
    int value = d->at < d->end ? hex_value(*d->at) : -1;
    if (value < 0) fail(d, "\\u needs four hexadecimal digits");
    unit = unit << 4 | (uint32_t)value;
  }
  return unit;
}

static uint32_t read_unicode(struct decoder *d) {
  const char *escape = d->at - 2;
  uint32_t unit = read_unit(d);
  if (unit >= 0xdc00 && unit < 0xe000) fail_at(d, escape, "a low surrogate without a high one");
  if (unit < 0xd800 || unit >= 0xe000) return unit;
  if (d->end - d->at < 2 || d->at[0] != '\\' || d->at[1] != 'u')
    fail_at(d, escape, "a high surrogate without a low one");
  d->at += 2;
  uint32_t low = read_unit(d);
  if (low < 0xdc00 || low >= 0xe000) fail_at(d, escape, "a high surrogate without a low one");
  return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
}

// Reads the escape whose backslash is at d->at; writes what it means and returns its length.
static size_t read_escape(struct decoder *d, char *out) {
  static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
  d->at++;
  if (d->at >= d->end) fail(d, "");
  if (*d->at == 'u') {
    d->at++;
    return kf_utf8_encode(out, read_unicode(d));
  }
  const char *found = *d->at ? strchr(names, *d->at) : NULL;
  if (!found) fail(d, "no such escape");
  d->at++;
  *out = meanings[found - names];
  return 1;
}

// Goes on with a string that is not plain: escapes are undone, UTF-8 is checked.
static const char *read_special(struct decoder *d, const char *begin, size_t *length) {
  size_t done = (size_t)(d->at - begin);
  char *out = scratch(d, done + 8);
  memcpy(out, begin, done);
  for (;;) {
    const char *run = d->at;
    size_t plain = kf_plain_run(run, (size_t)(d->end - run));
    d->at = run + plain;
    out = scratch(d, done + plain + 8);
    memcpy(out + done, run, plain);
    done += plain;
    if (d->at >= d->end) fail(d, "");
    if (*d->at == '"') break;
    if (*d->at == '\\') {
      done += read_escape(d, out + done);
    } else if ((unsigned char)*d->at < 0x20) {
      fail(d, "a control character in a string must be escaped");
    } else {
      size_t bytes = kf_utf8_length(d->at, (size_t)(d->end - d->at));
      if (bytes == 0) fail(d, "malformed UTF-8");
      memcpy(out + done, d->at, bytes);
      done += bytes;
      d->at += bytes;
    }
  }
  *length = done;
  return out;
}

// Reads the string whose opening quote is at d->at, pushes it and returns Lua's copy.
static const char *read_string(struct decoder *d, size_t *length) {
  const char *begin = ++d->at;
  const char *bytes = begin;
  *length = kf_plain_run(begin, (size_t)(d->end - begin));
  d->at = begin + *length;
  if (d->at >= d->end || *d->at != '"') bytes = read_special(d, begin, length);
  d->at++;
  return lua_pushlstring(d->L, bytes, *length);
}

// --- values -------------------------------------------------------------------------------------

static void read_value(struct decoder *d);

static void skip_space(struct decoder *d) {
  const char *at = d->at;
  while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t') at++;
  d->at = at;
}

static void enter(struct decoder *d) {
  if (d->depth >= KF_MAX_DEPTH) fail(d, "nested more than 500 deep");
  luaL_checkstack(d->L, BATCH + 8, "JSON value");
  d->depth++;
  d->at++;
  skip_space(d);
}

// Moves the top `count` values into the array below them; makes it first when it is not there.
static void flush_elements(struct decoder *d, bool made, lua_Integer first, int count) {
  lua_State *L = d->L;
  if (!made) {
    lua_createtable(L, count, 0);
    lua_pushvalue(L, d->array_mark);
    lua_setmetatable(L, -2);
    lua_insert(L, -count - 1);
  }
  for (int i = count - 1; i >= 0; i--) lua_rawseti(L, -i - 2, first + i);
}

static void read_array(struct decoder *d) {
  struct kf_place *place = &d->places[d->depth];
  lua_Integer total = 0;
  int gathered = 0;
  *place = (struct kf_place){0};
  enter(d);
  if (*d->at == ']' && d->at < d->end) {
    flush_elements(d, false, 1, 0);
  } else {
    for (;;) {
      place->index = total + gathered;
      read_value(d);
      if (++gathered == BATCH) {
        flush_elements(d, total > 0, total + 1, gathered);
        total += gathered;
        gathered = 0;
      }
      skip_space(d);
      if (*d->at != ',') break;
      d->at++;
      skip_space(d);
    }
    if (d->at >= d->end || *d->at != ']') fail(d, "',' or ']' expected");
    if (gathered > 0 || total == 0) flush_elements(d, total > 0, total + 1, gathered);
  }
  d->at++;
  d->depth--;
}

// The names of an object's members so far. Lua keeps one copy of each short string, so the same
// address is the same name; long ones are compared.
struct names {
  const char *texts[SMALL_OBJECT];
  size_t lengths[SMALL_OBJECT];
  int count;
};

static bool is_known(const struct names *names, const char *text, size_t length) {
  for (int i = 0; i < names->count; i++) {
    if (names->texts[i] == text) return true;
    if (length > 40 && names->lengths[i] == length && memcmp(names->texts[i], text, length) == 0)
      return true;
  }
  return false;
}

// Makes the object of the top `count` name-value pairs, in its full size.
static void make_object(struct decoder *d, int count) {
  lua_State *L = d->L;
  lua_createtable(L, 0, count);  // without a mark: an unmarked empty table is an object
  int table = lua_gettop(L) - 2 * count;
  lua_insert(L, table);
  if (!d->last_wins) {
    for (int i = 0; i < count; i++) lua_rawset(L, table);
    return;
  }
  for (int i = 0; i < count; i++) {  // in their order, so that the last one is set last
    lua_pushvalue(L, table + 1 + 2 * i);
    lua_pushvalue(L, table + 2 + 2 * i);
    lua_rawset(L, table);
  }
  lua_settop(L, table);
}

static bool is_skipped(struct decoder *d) {
  if (!d->skip) return false;
  lua_pushvalue(d->L, -1);
  bool skipped = lua_rawget(d->L, d->skip) != LUA_TNIL;
  lua_pop(d->L, 1);
  return skipped;
}

// Raises when the name on top, read at `at`, is in the object already: in `names` while the object
// is small, else in the table below the name.
static void check_name(struct decoder *d, struct names *names, const char *at, const char *text, size_t length) {
  lua_State *L = d->L;
  bool known;
  if (d->last_wins) return;
  if (names) {
    known = is_known(names, text, length);
    names->texts[names->count] = text;
    names->lengths[names->count++] = length;
  } else {
    lua_pushvalue(L, -1);
    known = lua_rawget(L, -3) != LUA_TNIL;
    lua_pop(L, 1);
  }
  if (!known) return;
  d->depth--;  // the place is the object
  fail_at(d, at, lua_pushfstring(L, "member '%s' is there twice", text));
}

// Reads a member: pushes its name and value; false when it is left out. `names` is NULL once the
// object is a table, below the name.
static bool read_member(struct decoder *d, struct names *names) {
  struct kf_place *place = &d->places[d->depth - 1];
  const char *at = d->at;
  if (d->at >= d->end || *d->at != '"') fail(d, "a member's name in quotes expected");
  *place = (struct kf_place){.key = ""};
  size_t length;  // a name that cannot be read stays empty in the path
  const char *name = read_string(d, &length);
  *place = (struct kf_place){.key = name, .length = length};
  check_name(d, names, at, name, length);
  skip_space(d);
  if (d->at >= d->end || *d->at != ':') fail(d, "':' expected");
  d->at++;
  skip_space(d);
  bool skipped = is_skipped(d);
  read_value(d);
  if (!skipped) return true;
  lua_pop(d->L, 2);
  if (names && !d->last_wins) names->count--;
  return false;
}

// Goes to the next member; false at the end of the object.
static bool next_member(struct decoder *d) {
  skip_space(d);
  if (*d->at != ',') return false;
  d->at++;
  skip_space(d);
  return true;
}

static void read_members(struct decoder *d) {
  struct names names = {.count = 0};
  int gathered = 0;
  bool more;
  do {
    gathered += read_member(d, &names);
    more = next_member(d);
  } while (more && gathered < SMALL_OBJECT && names.count < SMALL_OBJECT);
  make_object(d, gathered);
  while (more) {
    if (read_member(d, NULL)) lua_rawset(d->L, -3);
    more = next_member(d);
  }
}

static void read_object(struct decoder *d) {
  d->places[d->depth] = (struct kf_place){.key = ""};
  enter(d);
  if (*d->at == '}' && d->at < d->end) make_object(d, 0);
  else read_members(d);
  if (d->at >= d->end || *d->at != '}') fail(d, "',' or '}' expected");
  d->at++;
  d->depth--;
}

static void read_word(struct decoder *d, const char *word, size_t length) {
  if ((size_t)(d->end - d->at) < length || memcmp(d->at, word, length) != 0)
    fail(d, "a value expected");
  d->at += length;
}

static void read_number(struct decoder *d) {
  struct kf_number number = kf_number_read(d->at, (size_t)(d->end - d->at));
  const char *begin = d->at;
  d->at += number.length;
  if (number.kind == KF_NUMBER_BAD) fail(d, "not a number as JSON writes them");
  if (number.kind == KF_NUMBER_HUGE) fail_at(d, begin, "the number is too large for a double");
  if (number.kind == KF_NUMBER_INTEGER) lua_pushinteger(d->L, number.integer);
  else lua_pushnumber(d->L, number.number);
}

static void read_value(struct decoder *d) {
  size_t length;
  switch (*d->at) {
  case '{': read_object(d); break;
  case '[': read_array(d); break;
  case '"': read_string(d, &length); break;
  case 't': read_word(d, "true", 4), lua_pushboolean(d->L, 1); break;
  case 'f': read_word(d, "false", 5), lua_pushboolean(d->L, 0); break;
  case 'n': read_word(d, "null", 4), kf_push_null(d->L); break;
  case '-': case '0': case '1': case '2': case '3': case '4':
  case '5': case '6': case '7': case '8': case '9': read_number(d); break;
  default: fail(d, "a value expected");
  }
}

// --- the function -------------------------------------------------------------------------------

static void read_options(struct decoder *d) {
  lua_State *L = d->L;
  if (lua_isnoneornil(L, 2)) return;
  luaL_checktype(L, 2, LUA_TTABLE);
  if (lua_getfield(L, 2, "duplicates") != LUA_TNIL) {
    const char *mode = luaL_checkstring(L, -1);
    luaL_argcheck(L, strcmp(mode, "last") == 0 || strcmp(mode, "error") == 0, 2,
                  "duplicates: \"error\" or \"last\" expected");
    d->last_wins = strcmp(mode, "last") == 0;
  }
  if (lua_getfield(L, 2, "skip") != LUA_TNIL) {
    luaL_argcheck(L, lua_istable(L, -1), 2, "skip: a table {name = true} expected");
    d->skip = lua_gettop(L);
  }
}

int kf_json_decode(lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  lua_settop(L, 2);
  struct decoder decoder, *d = &decoder;  // Lua's strings end in a zero byte, which the scanners need
  memset(d, 0, offsetof(struct decoder, places));
  d->L = L;
  d->start = d->at = text;
  d->end = text + size;
  read_options(d);
  luaL_getmetatable(L, KF_ARRAY);
  d->array_mark = lua_gettop(L);
  lua_pushnil(L);
  d->scratch_at = lua_gettop(L);
  if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) fail(d, "a byte order mark is no JSON");
  skip_space(d);
  read_value(d);
  skip_space(d);
  if (d->at != d->end) fail(d, "nothing but blanks may follow the value");
  return 1;
}
