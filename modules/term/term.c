// The Lua module `term`: what the terminal is, how wide a text is, and colours.
// Its parts table and progress are written in Lua (scripts/lib/term/) and come when first used.
#include "base/utf8.h"
#include "error.h"
#include "term/width.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char PLAIN_KEY = 0;  // registry: true when term.plain(true) was called

static const char *const stream_names[] = {"stdin", "stdout", "stderr", NULL};

// --- the terminal -----------------------------------------------------------------------------

// term.is_terminal([stream]) -> bool
static int l_is_terminal(lua_State *L) {
  lua_pushboolean(L, isatty(luaL_checkoption(L, 1, "stdout", stream_names)));
  return 1;
}

// A size from the environment, as shells and Python's shutil take it; 0 when there is none.
static long environment_size(const char *name) {
  const char *text = getenv(name);
  long value = text ? strtol(text, NULL, 10) : 0;
  return value > 0 && value < 10000 ? value : 0;
}

// term.size() -> columns, rows
static int l_size(lua_State *L) {
  long columns = environment_size("COLUMNS"), rows = environment_size("LINES");
  struct winsize size = {0};
  static const int streams[] = {STDOUT_FILENO, STDERR_FILENO, STDIN_FILENO};
  for (size_t i = 0; i < 3 && size.ws_col == 0; i++) ioctl(streams[i], TIOCGWINSZ, &size);
  lua_pushinteger(L, columns ? columns : size.ws_col ? size.ws_col : 80);
  lua_pushinteger(L, rows ? rows : size.ws_row ? size.ws_row : 24);
  return 2;
}

// --- texts ------------------------------------------------------------------------------------

// term.width(text) -> columns
static int l_width(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  lua_pushinteger(L, (lua_Integer)kf_text_width(text, length));
  return 1;
}

// Adds the escape sequences of what was cut off, so that a colour still ends where it should.
static void add_escapes(luaL_Buffer *buffer, const char *text, const char *end) {
  while ((text = memchr(text, 0x1B, (size_t)(end - text)))) {
    const char *start = text++;
    if (text == end || *text != '[') continue;
    for (text++; text < end && !(*text >= 0x40 && *text <= 0x7E);) text++;
    if (text < end) luaL_addlstring(buffer, start, (size_t)(++text - start));
  }
}

// term.cut(text, columns) -> text of at most that many columns, with … where something is missing
static int l_cut(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  lua_Integer columns = luaL_checkinteger(L, 2);
  luaL_argcheck(L, columns >= 0, 2, "columns: a number from 0 on expected");
  lua_settop(L, 1);
  if (kf_text_width(text, length) <= (size_t)columns) return 1;
  size_t keep = columns > 0 ? kf_text_cut(text, length, (size_t)columns - 1) : 0;
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  luaL_addlstring(&buffer, text, keep);
  if (columns > 0) luaL_addstring(&buffer, "…");
  add_escapes(&buffer, text + keep, text + length);
  luaL_pushresult(&buffer);
  return 1;
}

// term.fit(text, columns) -> bytes of the text that so many columns hold
static int l_fit(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  lua_Integer columns = luaL_checkinteger(L, 2);
  lua_pushinteger(L, columns > 0 ? (lua_Integer)kf_text_cut(text, length, (size_t)columns) : 0);
  return 1;
}

// --- texts of others --------------------------------------------------------------------------

// The length of a sequence that only changes colours, "ESC [ 1 ; 31 m"; 0 for all else.
static size_t colour_length(const char *text, const char *end) {
  const char *at = text + 1;
  if (at == end || *at++ != '[') return 0;
  while (at < end && ((*at >= '0' && *at <= '9') || *at == ';')) at++;
  return at < end && *at == 'm' ? (size_t)(at + 1 - text) : 0;
}

// Whether a terminal would take the character for a command, or write from right to left after it.
static bool is_command(uint32_t code) {
  return (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7F && code < 0xA0) ||
         code == 0x200E || code == 0x200F || (code >= 0x202A && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069);
}

static void add_command(luaL_Buffer *buffer, uint32_t code) {
  char shown[16];
  if (code < 0x80) snprintf(shown, sizeof shown, "^%c", (char)(code ^ 0x40));
  else snprintf(shown, sizeof shown, "<%02x>", (unsigned)code);
  luaL_addstring(buffer, shown);
}

// Adds one character as it may be shown and gives its length; *coloured: whether a colour is left on.
static size_t add_safely(luaL_Buffer *buffer, const char *text, const char *end, bool *coloured) {
  size_t colour = *text == 0x1B ? colour_length(text, end) : 0;
  if (colour) {
    *coloured = colour > 3 && memcmp(text + 2, "0m", 2) != 0;
    luaL_addlstring(buffer, text, colour);
    return colour;
  }
  if (*text == '\r' && text + 1 < end && text[1] == '\n') return 1;
  size_t size = kf_utf8_length(text, (size_t)(end - text));
  if (!size) {
    luaL_addstring(buffer, "\xEF\xBF\xBD");
    return 1;
  }
  uint32_t code = kf_utf8_decode(text, &size);
  if (is_command(code)) add_command(buffer, code);
  else luaL_addlstring(buffer, text, size);
  return size;
}

// term.safe(text) -> text that may be written to a terminal whoever wrote it
static int l_safe(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length), *end = text + length;
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  bool coloured = false;
  for (const char *at = text; at < end;) {
    const char *plain = at;
    while (at < end && (*at == '\n' || (*at >= 0x20 && *at < 0x7F))) at++;
    luaL_addlstring(&buffer, plain, (size_t)(at - plain));
    if (at < end) at += add_safely(&buffer, at, end, &coloured);
  }
  if (coloured) luaL_addstring(&buffer, "\033[0m");
  luaL_pushresult(&buffer);
  return 1;
}

// --- colours ----------------------------------------------------------------------------------

static const struct {
  const char *name;
  const char *code;
} styles[] = {
    {"bold", "1"},   {"dim", "2"},   {"italic", "3"},  {"underline", "4"}, {"reverse", "7"},
    {"black", "30"}, {"red", "31"},  {"green", "32"},  {"yellow", "33"},   {"blue", "34"},
    {"magenta", "35"}, {"cyan", "36"}, {"white", "37"}, {"gray", "90"},
};

static const char *find_style(const char *word, size_t length) {
  for (size_t i = 0; i < sizeof styles / sizeof *styles; i++)
    if (strlen(styles[i].name) == length && memcmp(styles[i].name, word, length) == 0)
      return styles[i].code;
  return NULL;
}

// Whether anything but plain text may go to the stream (1 output, 2 errors).
static bool is_plain(lua_State *L, int stream) {
  const char *no_color = getenv("NO_COLOR"), *kind = getenv("TERM");
  if ((no_color && *no_color) || (kind && strcmp(kind, "dumb") == 0)) return true;
  bool asked = lua_rawgetp(L, LUA_REGISTRYINDEX, &PLAIN_KEY) != LUA_TNIL;
  lua_pop(L, 1);
  return asked || !isatty(stream);
}

// term.style(text, "bold red"[, stream]) -> text, coloured if the stream shows colours
static int l_style(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  const char *words = luaL_checkstring(L, 2);
  int stream = luaL_checkoption(L, 3, "stdout", stream_names);
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (const char *separator = "\033["; *(words += strspn(words, " ")); separator = ";") {
    size_t size = strcspn(words, " ");
    const char *code = find_style(words, size);
    if (!code) return luaL_argerror(L, 2, "no such style");
    luaL_addstring(&buffer, separator);
    luaL_addstring(&buffer, code);
    words += size;
  }
  luaL_addchar(&buffer, 'm');
  luaL_addlstring(&buffer, text, length);
  luaL_addstring(&buffer, "\033[0m");
  luaL_pushresult(&buffer);
  if (is_plain(L, stream)) lua_pushvalue(L, 1);
  return 1;
}

// term.plain([bool]) -> whether standard output gets plain text; plain(true) asks for it
static int l_plain(lua_State *L) {
  if (!lua_isnoneornil(L, 1)) {
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    if (lua_toboolean(L, 1)) lua_pushboolean(L, 1);
    else lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &PLAIN_KEY);
  }
  lua_pushboolean(L, is_plain(L, STDOUT_FILENO));
  return 1;
}

// term.shows(stream) -> whether lines on that stream may be coloured and redrawn
static int l_shows(lua_State *L) {
  lua_pushboolean(L, !is_plain(L, luaL_checkoption(L, 1, "stdout", stream_names)));
  return 1;
}

// --- the parts in Lua ---------------------------------------------------------------------------

// __index: term.table and term.progress are the modules term.table and term.progress.
static int l_part(lua_State *L) {
  static const char *const parts[] = {"table", "progress", NULL};
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  for (size_t i = 0; parts[i]; i++) {
    if (strcmp(parts[i], name) != 0) continue;
    lua_getglobal(L, "require");
    lua_pushfstring(L, "term.%s", name);
    lua_call(L, 1, 1);     // term name part
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);  // term name part name part
    lua_rawset(L, 1);
    return 1;
  }
  return 0;
}

static const luaL_Reg functions[] = {
    {"is_terminal", l_is_terminal},
    {"size", l_size},
    {"width", l_width},
    {"cut", l_cut},
    {"fit", l_fit},
    {"safe", l_safe},
    {"style", l_style},
    {"plain", l_plain},
    {"shows", l_shows},
    {NULL, NULL},
};

int luaopen_kf_term(lua_State *L);

int luaopen_kf_term(lua_State *L) {
  luaL_newlib(L, functions);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_part);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  return 1;
}
