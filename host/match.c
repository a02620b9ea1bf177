#include "match.h"

#include "sandbox.h"

#include <ctype.h>
#include <lauxlib.h>
#include <limits.h>
#include <string.h>

#define STEP_LIMIT 200000000  // of one call; about a second
#define LOOK_EVERY 1024       // steps between two looks at the deadline
#define DEPTH_LIMIT 200
#define CAPTURE_LIMIT 32

enum { OPEN = -1, POSITION = -2 };  // lengths of captures that have none

struct matcher {
  lua_State *L;
  const char *text, *text_end;
  const char *pattern_end;
  long steps;  // left
  long look;   // steps until the next look
  int depth;
  int count;
  struct {
    const char *start;
    ptrdiff_t length;
  } captures[CAPTURE_LIMIT];
};

static void spend(struct matcher *m, size_t steps) {
  m->look -= (long)steps;
  if (m->look > 0) return;
  m->steps -= LOOK_EVERY - m->look;
  m->look = LOOK_EVERY;
  kf_sandbox_check(m->L);
  if (m->steps < 0) luaL_error(m->L, "pattern too complex (more than %d steps)", STEP_LIMIT);
}

static const char *match_here(struct matcher *m, const char *s, const char *p);

// --- single characters --------------------------------------------------------------------------

// The end of the item (a character, %x, [set]) that begins at p.
static const char *item_end(struct matcher *m, const char *p) {
  char first = *p++;
  if (first == '%') {
    if (p == m->pattern_end) luaL_error(m->L, "malformed pattern (ends with '%%')");
    return p + 1;
  }
  if (first != '[') return p;
  const char *start = p;
  if (p < m->pattern_end && *p == '^') p++;
  do {  // a ] that comes first stands for itself
    if (p >= m->pattern_end) luaL_error(m->L, "malformed pattern (missing ']')");
    if (*p++ == '%') p++;
  } while (p >= m->pattern_end || *p != ']');
  spend(m, (size_t)(p - start) / 8);
  return p + 1;
}

static bool in_class(int c, int class) {
  bool in;
  switch (tolower(class)) {
    case 'a': in = isalpha(c); break;
    case 'c': in = iscntrl(c); break;
    case 'd': in = isdigit(c); break;
    case 'g': in = isgraph(c); break;
    case 'l': in = islower(c); break;
    case 'p': in = ispunct(c); break;
    case 's': in = isspace(c); break;
    case 'u': in = isupper(c); break;
    case 'w': in = isalnum(c); break;
    case 'x': in = isxdigit(c); break;
    case 'z': in = c == 0; break;  // of Lua 5.1, still understood
    default: return class == c;
  }
  return isupper(class) ? !in : in;
}

// Whether c is in the set from p ("[") to last ("]").
static bool in_set(struct matcher *m, int c, const char *p, const char *last) {
  bool negated = p[1] == '^';
  if (negated) p++;
  spend(m, (size_t)(last - p) / 8);
  while (++p < last) {
    if (*p == '%') {
      p++;
      if (in_class(c, (unsigned char)*p)) return !negated;
    } else if (p[1] == '-' && p + 2 < last) {
      if ((unsigned char)*p <= c && c <= (unsigned char)p[2]) return !negated;
      p += 2;
    } else if ((unsigned char)*p == c) {
      return !negated;
    }
  }
  return negated;
}

static bool item_matches(struct matcher *m, const char *s, const char *p, const char *end) {
  if (s >= m->text_end) return false;
  int c = (unsigned char)*s;
  switch (*p) {
    case '.': return true;
    case '%': return in_class(c, (unsigned char)p[1]);
    case '[': return in_set(m, c, p, end - 1);
    default: return (unsigned char)*p == c;
  }
}

// --- repetitions --------------------------------------------------------------------------------

static const char *match_most(struct matcher *m, const char *s, const char *p, const char *end) {
  ptrdiff_t count = 0;
  while (item_matches(m, s + count, p, end)) {
    spend(m, 1);
    count++;
  }
  for (; count >= 0; count--) {
    const char *found = match_here(m, s + count, end + 1);
    if (found) return found;
  }
  return NULL;
}

static const char *match_least(struct matcher *m, const char *s, const char *p, const char *end) {
  for (;; s++) {
    const char *found = match_here(m, s, end + 1);
    if (found) return found;
    if (!item_matches(m, s, p, end)) return NULL;
  }
}

// --- captures, %b, %f, back references ------------------------------------------------------------

static const char *open_capture(struct matcher *m, const char *s, const char *p, int length) {
  if (m->count >= CAPTURE_LIMIT) luaL_error(m->L, "too many captures");
  m->captures[m->count].start = s;
  m->captures[m->count].length = length;
  m->count++;
  const char *found = match_here(m, s, p);
  if (!found) m->count--;
  return found;
}

static const char *close_capture(struct matcher *m, const char *s, const char *p) {
  int which = m->count - 1;
  while (which >= 0 && m->captures[which].length != OPEN) which--;
  if (which < 0) luaL_error(m->L, "invalid pattern capture");
  m->captures[which].length = s - m->captures[which].start;
  const char *found = match_here(m, s, p);
  if (!found) m->captures[which].length = OPEN;
  return found;
}

// %bxy, with p at x: the end of the balanced text that begins at s.
static const char *match_balance(struct matcher *m, const char *s, const char *p) {
  if (p + 1 >= m->pattern_end)
    luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
  if (s >= m->text_end || *s != p[0]) return NULL;
  ptrdiff_t nesting = 1;
  for (const char *at = s + 1; at < m->text_end; at++) {
    spend(m, 1);
    if (*at == p[1]) {
      if (--nesting == 0) return at + 1;
    } else if (*at == p[0]) {
      nesting++;
    }
  }
  return NULL;
}

// %f[set], with p at the set: whether s stands where the set begins.
static bool at_frontier(struct matcher *m, const char *s, const char *p, const char *end) {
  int before = s == m->text ? '\0' : (unsigned char)s[-1];
  int after = s == m->text_end ? '\0' : (unsigned char)*s;
  return !in_set(m, before, p, end - 1) && in_set(m, after, p, end - 1);
}

static const char *match_reference(struct matcher *m, const char *s, int digit) {
  int which = digit - '1';
  if (which < 0 || which >= m->count || m->captures[which].length == OPEN)
    luaL_error(m->L, "invalid capture index %%%d", which + 1);
  // Lua itself takes a position capture here for a text of great length, which matches nothing.
  if (m->captures[which].length < 0) return NULL;
  size_t length = (size_t)m->captures[which].length;
  if ((size_t)(m->text_end - s) < length) return NULL;
  spend(m, length / 16);
  return memcmp(m->captures[which].start, s, length) == 0 ? s + length : NULL;
}

// --- the matcher ----------------------------------------------------------------------------------

// What stands behind a % that is no class: sets *p behind it and gives the new s, NULL for no match.
static const char *match_special(struct matcher *m, const char *s, const char **p) {
  const char *at = *p + 1;
  if (*at == 'b') {
    *p = at + 3;
    return match_balance(m, s, at + 1);
  }
  if (*at == 'f') {
    if (at + 1 >= m->pattern_end || at[1] != '[')
      luaL_error(m->L, "missing '[' after '%%f' in pattern");
    *p = item_end(m, at + 1);
    return at_frontier(m, s, at + 1, *p) ? s : NULL;
  }
  *p = at + 1;
  return match_reference(m, s, (unsigned char)*at);
}

static bool is_special(const struct matcher *m, const char *p) {
  return *p == '%' && p + 1 < m->pattern_end && (p[1] == 'b' || p[1] == 'f' || isdigit((unsigned char)p[1]));
}

static const char *match_items(struct matcher *m, const char *s, const char *p) {
  while (p < m->pattern_end) {
    spend(m, 1);
    if (*p == '(') {
      bool position = p + 1 < m->pattern_end && p[1] == ')';
      return position ? open_capture(m, s, p + 2, POSITION) : open_capture(m, s, p + 1, OPEN);
    }
    if (*p == ')') return close_capture(m, s, p + 1);
    if (*p == '$' && p + 1 == m->pattern_end) return s == m->text_end ? s : NULL;
    if (is_special(m, p)) {
      s = match_special(m, s, &p);
      if (!s) return NULL;
      continue;
    }
    const char *end = item_end(m, p);
    char repeat = end < m->pattern_end ? *end : '\0';
    if (repeat == '*') return match_most(m, s, p, end);
    if (repeat == '-') return match_least(m, s, p, end);
    bool matches = item_matches(m, s, p, end);
    if (repeat == '+') return matches ? match_most(m, s + 1, p, end) : NULL;
    if (repeat == '?') {
      const char *found = matches ? match_here(m, s + 1, end + 1) : NULL;
      if (found) return found;
      p = end + 1;
      continue;
    }
    if (!matches) return NULL;
    s++;
    p = end;
  }
  return s;
}

// The end of the match of p at s, or NULL.
static const char *match_here(struct matcher *m, const char *s, const char *p) {
  if (++m->depth > DEPTH_LIMIT) luaL_error(m->L, "pattern too complex");
  const char *found = match_items(m, s, p);
  m->depth--;
  return found;
}

static void prepare(struct matcher *m, lua_State *L, const char *text, size_t text_length,
                    const char *pattern, size_t pattern_length) {
  *m = (struct matcher){.L = L, .steps = STEP_LIMIT, .look = LOOK_EVERY};
  m->text = text;
  m->text_end = text + text_length;
  m->pattern_end = pattern + pattern_length;
}

static const char *match_at(struct matcher *m, const char *s, const char *pattern) {
  m->count = 0;
  m->depth = 0;
  spend(m, 1);
  return match_here(m, s, pattern);
}

// --- results --------------------------------------------------------------------------------------

// [-0, +1, e] pushes a capture; the whole match (from s to end) where the pattern has none.
static void push_capture(struct matcher *m, int which, const char *s, const char *end) {
  if (which >= m->count) {
    if (which != 0) luaL_error(m->L, "invalid capture index %%%d", which + 1);
    lua_pushlstring(m->L, s, (size_t)(end - s));
    return;
  }
  ptrdiff_t length = m->captures[which].length;
  if (length == OPEN) luaL_error(m->L, "unfinished capture");
  if (length == POSITION) lua_pushinteger(m->L, m->captures[which].start - m->text + 1);
  else lua_pushlstring(m->L, m->captures[which].start, (size_t)length);
}

// [-0, +n, e] pushes all captures; s == NULL: without the whole match.
static int push_captures(struct matcher *m, const char *s, const char *end) {
  int count = m->count == 0 && s ? 1 : m->count;
  luaL_checkstack(m->L, count, "too many captures");
  for (int i = 0; i < count; i++) push_capture(m, i, s, end);
  return count;
}

// The offset (from 0) that the argument `init` means; more than length when it is behind the text.
static size_t start_offset(lua_State *L, int arg, size_t length) {
  lua_Integer init = luaL_optinteger(L, arg, 1);
  if (init > 0) return (size_t)init - 1;
  if (init == 0 || init < -(lua_Integer)length) return 0;
  return length + (size_t)init;
}

// --- find, match ------------------------------------------------------------------------------------

static bool is_plain(const char *pattern, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (pattern[i] == '\0' || strchr("^$*+?.([%-", pattern[i])) return pattern[i] == '\0';
  return true;
}

static int find_plain(lua_State *L, const char *text, size_t length, size_t init,
                      const char *wanted, size_t wanted_length) {
  const char *found = memmem(text + init, length - init, wanted, wanted_length);
  if (!found) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushinteger(L, found - text + 1);
  lua_pushinteger(L, found - text + (lua_Integer)wanted_length);
  return 2;
}

static int find_or_match(lua_State *L, bool find) {
  size_t length, pattern_length;
  const char *text = luaL_checklstring(L, 1, &length);
  const char *pattern = luaL_checklstring(L, 2, &pattern_length);
  size_t init = start_offset(L, 3, length);
  if (init > length) {
    lua_pushnil(L);
    return 1;
  }
  if (find && (lua_toboolean(L, 4) || is_plain(pattern, pattern_length)))
    return find_plain(L, text, length, init, pattern, pattern_length);
  bool anchored = pattern_length > 0 && *pattern == '^';
  struct matcher m;
  prepare(&m, L, text, length, pattern, pattern_length);
  for (const char *s = text + init; s <= m.text_end; s++) {
    const char *end = match_at(&m, s, pattern + anchored);
    if (end && !find) return push_captures(&m, s, end);
    if (end) {
      lua_pushinteger(L, s - text + 1);
      lua_pushinteger(L, end - text);
      return push_captures(&m, NULL, NULL) + 2;
    }
    if (anchored) break;
  }
  lua_pushnil(L);
  return 1;
}

static int l_find(lua_State *L) {
  return find_or_match(L, true);
}

static int l_match(lua_State *L) {
  return find_or_match(L, false);
}

// --- gmatch -----------------------------------------------------------------------------------------

// The iterator; upvalues: text, pattern, offset to go on at, offset where the last match ended.
static int l_next_match(lua_State *L) {
  size_t length, pattern_length;
  const char *text = lua_tolstring(L, lua_upvalueindex(1), &length);
  const char *pattern = lua_tolstring(L, lua_upvalueindex(2), &pattern_length);
  size_t offset = (size_t)lua_tointeger(L, lua_upvalueindex(3));
  lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
  struct matcher m;
  prepare(&m, L, text, length, pattern, pattern_length);
  for (; offset <= length; offset++) {
    const char *end = match_at(&m, text + offset, pattern);
    if (!end || end - text == last) continue;
    lua_pushinteger(L, end - text);
    lua_copy(L, -1, lua_upvalueindex(3));
    lua_replace(L, lua_upvalueindex(4));
    return push_captures(&m, text + offset, end);
  }
  return 0;
}

static int l_gmatch(lua_State *L) {
  size_t length;
  luaL_checklstring(L, 1, &length);
  luaL_checkstring(L, 2);
  size_t init = start_offset(L, 3, length);
  lua_settop(L, 2);
  lua_pushinteger(L, (lua_Integer)(init > length ? length + 1 : init));
  lua_pushinteger(L, -1);
  lua_pushcclosure(L, l_next_match, 4);
  return 1;
}

// --- gsub -------------------------------------------------------------------------------------------

// Adds the replacement text, with %0 to %9 and %% put in.
static void add_template(struct matcher *m, luaL_Buffer *result, const char *s, const char *end) {
  size_t length;
  const char *text = lua_tolstring(m->L, 3, &length);
  for (size_t i = 0; i < length; i++) {
    if (text[i] != '%') {
      luaL_addchar(result, text[i]);
      continue;
    }
    char c = ++i < length ? text[i] : '\0';
    if (c == '%') luaL_addchar(result, c);
    else if (c == '0') luaL_addlstring(result, s, (size_t)(end - s));
    else if (isdigit((unsigned char)c)) {
      if (c == '1' || c - '1' < m->count) push_capture(m, c - '1', s, end);
      else luaL_error(m->L, "invalid capture index %%%d in replacement string", c - '0');
      luaL_tolstring(m->L, -1, NULL);  // a position is a number
      lua_remove(m->L, -2);
      luaL_addvalue(result);
    } else {
      luaL_error(m->L, "invalid use of '%%' in replacement string");
    }
  }
  spend(m, length / 8);
}

// Adds what stands for the match; false when it stays as it is.
static bool add_replacement(struct matcher *m, luaL_Buffer *result, const char *s,
                            const char *end) {
  lua_State *L = m->L;
  int kind = lua_type(L, 3);
  if (kind == LUA_TFUNCTION) {
    lua_pushvalue(L, 3);
    lua_call(L, push_captures(m, s, end), 1);
  } else if (kind == LUA_TTABLE) {
    push_capture(m, 0, s, end);
    lua_gettable(L, 3);
  } else {
    add_template(m, result, s, end);
    return true;
  }
  if (!lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    luaL_addlstring(result, s, (size_t)(end - s));
    return false;
  }
  if (!lua_isstring(L, -1))
    luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
  luaL_addvalue(result);
  return true;
}

static int l_gsub(lua_State *L) {
  size_t length, pattern_length;
  const char *text = luaL_checklstring(L, 1, &length);
  const char *pattern = luaL_checklstring(L, 2, &pattern_length);
  int kind = lua_type(L, 3);
  luaL_argexpected(L,
                   kind == LUA_TNUMBER || kind == LUA_TSTRING || kind == LUA_TFUNCTION || kind == LUA_TTABLE,
                   3, "string/function/table");
  lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)length + 1), count = 0;
  bool anchored = pattern_length > 0 && *pattern == '^', changed = false;
  const char *s = text, *last = NULL;
  struct matcher m;
  prepare(&m, L, text, length, pattern, pattern_length);
  luaL_Buffer result;
  luaL_buffinit(L, &result);
  while (count < most) {
    const char *end = match_at(&m, s, pattern + anchored);
    if (end && end != last) {
      count++;
      changed = add_replacement(&m, &result, s, end) || changed;
      s = last = end;
    } else if (s < m.text_end) {
      luaL_addlstring(&result, s++, 1);
    } else {
      break;
    }
    if (anchored) break;
  }
  luaL_addlstring(&result, s, (size_t)(m.text_end - s));
  luaL_pushresult(&result);
  if (!changed) lua_pushvalue(L, 1);
  lua_pushinteger(L, count);
  return 2;
}

static const luaL_Reg functions[] = {
    {"find", l_find}, {"match", l_match}, {"gmatch", l_gmatch}, {"gsub", l_gsub}, {NULL, NULL}};

void kf_match_install(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
}
