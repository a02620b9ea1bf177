#include "store.h"

#include "base/buffer.h"
#include "error.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define KF_TYPE_SPLITTER "kube.splitter"

enum { ELEMENT_LIMIT = 64 << 20 };

// Reads one text that comes in pieces. With a member ("items") it is an object, and the elements of
// that array are handed out while all else is kept as the rest; without one it is a stream of
// objects, one after the other.
struct splitter {
  char member[32];          // with its quotes; empty for a stream
  const char *at, *end;     // what is left of the piece, which is user value 1
  struct kf_buffer element;  // the beginning of an element whose end has not come yet
  struct kf_buffer rest;
  uint32_t depth;           // brackets open inside the element, or inside the rest
  bool in_string, escaped;
  bool in_element, in_array;
  bool ended;               // the object of the list is complete
  struct kf_text current;   // what step() found; good until the splitter goes on
};

static struct splitter *check(lua_State *L) {
  return luaL_checkudata(L, 1, KF_TYPE_SPLITTER);
}

struct kf_text kf_splitter_object(lua_State *L, int index) {
  struct splitter *s = luaL_checkudata(L, index, KF_TYPE_SPLITTER);
  luaL_argcheck(L, s->current.text, index, "the splitter is at no object");
  return s->current;
}

static int fail(lua_State *L, const char *message) {
  return kf_fail(L, "Protocol", "%s", message);
}

// --- scanning -----------------------------------------------------------------------------------

const char *kf_json_string_end(const char *at, const char *end) {
  const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
  while (end - at >= 8) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    if ((((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & highs) break;
    at += 8;
  }
  while (at < end && *at != '"' && *at != '\\') at++;
  return at;
}

static const char *scan_string(struct splitter *s, const char *at, const char *end) {
  if (s->escaped) {
    s->escaped = false;
    return at + 1;
  }
  at = kf_json_string_end(at, end);
  if (at == end) return at;
  if (*at == '"') s->in_string = false;
  else s->escaped = true;
  return at + 1;
}

// A string from behind its quote on: the place after it, when nothing in it is escaped and it ends here.
static const char *scan_plain_string(struct splitter *s, const char *at, const char *end) {
  const char *close = kf_json_string_end(at, end);
  if (close < end && *close == '"') return close + 1;
  s->in_string = true;
  return at;
}

// Goes on through a value that began with a bracket. The place after its last one, or `end`, with
// s->depth telling which.
static const char *scan_value(struct splitter *s, const char *at, const char *end) {
  while (at < end) {
    if (s->in_string) {
      at = scan_string(s, at, end);
      continue;
    }
    char c = *at++;
    if (c == '"') at = scan_plain_string(s, at, end);
    else if (c == '{' || c == '[') s->depth++;
    else if ((c == '}' || c == ']') && --s->depth == 0) return at;
  }
  return at;
}

static bool is_blank(char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

// --- the text around the elements ----------------------------------------------------------------

static size_t back_over_blanks(const char *text, size_t length) {
  while (length > 0 && is_blank(text[length - 1])) length--;
  return length;
}

// Whether the rest ends in the name of the member and a colon.
static bool names_member(const struct splitter *s) {
  const char *text = s->rest.data;
  size_t name = strlen(s->member), length = back_over_blanks(text, s->rest.length);
  if (length == 0 || text[length - 1] != ':') return false;
  length = back_over_blanks(text, length - 1);
  if (length < name || memcmp(text + length - name, s->member, name) != 0) return false;
  length = back_over_blanks(text, length - name);
  return length > 0 && (text[length - 1] == '{' || text[length - 1] == ',');
}

// Reads what is not part of an element, up to the first element or the end of the piece.
static void scan_rest(struct splitter *s) {
  while (s->at < s->end && !s->in_array && !s->ended) {
    const char *begin = s->at;
    if (s->in_string) {
      s->at = scan_string(s, s->at, s->end);
      kf_buffer_add(&s->rest, begin, (size_t)(s->at - begin));
      continue;
    }
    char c = *s->at++;
    if (c == '"') s->in_string = true;
    else if (c == '[' && s->depth == 1 && names_member(s)) s->in_array = true;
    else if (c == '{' || c == '[') s->depth++;
    else if ((c == '}' || c == ']') && s->depth > 0 && --s->depth == 0) s->ended = true;
    kf_buffer_add_char(&s->rest, c);
  }
}

// --- elements -----------------------------------------------------------------------------------

// Finds the beginning of the next element; false at the end of the piece, or of the array.
static bool begin_element(lua_State *L, struct splitter *s) {
  while (s->at < s->end && (is_blank(*s->at) || (s->in_array && *s->at == ','))) s->at++;
  if (s->at == s->end) return false;
  if (s->in_array && *s->at == ']') {
    s->in_array = false;
    s->depth = 2;  // in the array of the object, whose bracket the rest is to have
    return false;
  }
  if (*s->at != '{') fail(L, "an object was expected in the server's answer");
  s->in_element = true;
  s->depth = 0;
  return true;
}

// Goes on with the element; true when it is complete: `found` is its text, good until the next call.
static bool go_on(lua_State *L, struct splitter *s, struct kf_text *found) {
  const char *begin = s->at;
  s->at = scan_value(s, begin, s->end);
  size_t length = (size_t)(s->at - begin);
  bool complete = s->depth == 0;
  if (!complete || s->element.length > 0) kf_buffer_add(&s->element, begin, length);
  if (s->element.failed) luaL_error(L, "not enough memory");
  if (s->element.length > ELEMENT_LIMIT) fail(L, "an object of more than 64 MiB");
  if (!complete) return false;
  s->in_element = false;
  *found = (struct kf_text){begin, length};
  if (s->element.length > 0) *found = (struct kf_text){s->element.data, s->element.length};
  s->element.length = 0;
  return true;
}

// Goes on to the end of the next element; false at the end of the piece.
static bool find_element(lua_State *L, struct splitter *s, struct kf_text *found) {
  while (s->at < s->end) {
    if (s->in_element) {
      if (go_on(L, s, found)) return true;
    } else if (!s->member[0] || s->in_array) {
      begin_element(L, s);
    } else if (s->ended) {
      if (!is_blank(*s->at++)) fail(L, "the server's answer goes on after its end");
    } else {
      scan_rest(s);
      if (s->rest.failed) luaL_error(L, "not enough memory");
    }
  }
  return false;
}

// splitter:feed(text): the next piece; what was fed before must have been read by next()
static int l_feed(lua_State *L) {
  struct splitter *s = check(L);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  lua_settop(L, 2);
  luaL_argcheck(L, s->at == s->end, 1, "the last piece is not read to its end");
  lua_setiuservalue(L, 1, 1);
  s->at = text;
  s->end = text + length;
  s->current = (struct kf_text){0};
  return 0;
}

// splitter:next() -> the next complete element, or nil: feed more
static int l_next(lua_State *L) {
  struct splitter *s = check(L);
  struct kf_text found = {0};
  if (find_element(L, s, &found)) lua_pushlstring(L, found.text, found.length);
  else lua_pushnil(L);
  return 1;
}

// splitter:step() -> the type of the next event, or true at the next element of the array; nil: feed more.
// Its object is not copied: it is what text() gives and store:take() reads, until the splitter goes on.
static int l_step(lua_State *L) {
  struct splitter *s = check(L);
  struct kf_event event = {0};
  s->current = (struct kf_text){0};
  if (!find_element(L, s, &s->current)) return lua_pushnil(L), 1;
  if (s->member[0]) return lua_pushboolean(L, 1), 1;
  const char *end = s->current.text + s->current.length;
  if (!kf_open_event(s->current.text, end, &event) && !kf_read_event(s->current.text, end, &event))
    fail(L, "a line of the watch is no event");
  s->current = event.object;
  lua_pushlstring(L, event.type.text + 1, event.type.length - 2);
  return 1;
}

// splitter:text() -> the text of the object at which step() stopped
static int l_text(lua_State *L) {
  struct kf_text object = kf_splitter_object(L, 1);
  lua_pushlstring(L, object.text, object.length);
  return 1;
}

// splitter:rest() -> the text without the elements; raises "Protocol" when the text was cut off
static int l_rest(lua_State *L) {
  struct splitter *s = check(L);
  if (s->in_element || s->in_array || (s->member[0] && !s->ended))
    fail(L, "the server's answer ends in the middle");
  lua_pushlstring(L, s->rest.data ? s->rest.data : "", s->rest.length);
  return 1;
}

// splitter:pending() -> whether an element has begun whose end has not come
static int l_pending(lua_State *L) {
  lua_pushboolean(L, check(L)->in_element);
  return 1;
}

static int l_close(lua_State *L) {
  struct splitter *s = check(L);
  kf_buffer_free(&s->element);
  kf_buffer_free(&s->rest);
  s->at = s->end = NULL;
  s->current = (struct kf_text){0};
  return 0;
}

// core.splitter([member]) -> splitter
static int l_splitter(lua_State *L) {
  const char *member = luaL_optstring(L, 1, "");
  luaL_argcheck(L, strlen(member) < sizeof ((struct splitter *)0)->member - 2, 1, "too long");
  struct splitter *s = lua_newuserdatauv(L, sizeof *s, 1);
  memset(s, 0, sizeof *s);
  if (*member) snprintf(s->member, sizeof s->member, "\"%s\"", member);
  luaL_setmetatable(L, KF_TYPE_SPLITTER);
  return 1;
}

static const luaL_Reg methods[] = {
    {"feed", l_feed}, {"next", l_next}, {"step", l_step},       {"text", l_text},
    {"rest", l_rest}, {"pending", l_pending}, {NULL, NULL},
};

void kf_kube_add_splitter(lua_State *L) {
  luaL_newmetatable(L, KF_TYPE_SPLITTER);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_pushcfunction(L, l_splitter);
  lua_setfield(L, -2, "splitter");
}
