// The Lua module `edit`: a terminal in raw mode whose keys a task waits for. libtermkey knows what the
// bytes mean; the line that is edited, and how it is drawn, is Lua's (scripts/lib/repl/line.lua).
//
// The descriptor is watched only while a task waits for a key, and the terminal is as it was found
// while a command runs. Ctrl-C is the key C-c, or stays the signal: who reads keys says which.
#include "base/buffer.h"
#include "error.h"
#include "state.h"
#include "task.h"

#include <errno.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <termkey.h>
#include <unistd.h>

#define TYPE_TERMINAL "kfhost.edit.terminal"
#define ESCAPE_WAIT 0.05  // seconds after ESC until it is the key Escape and not the start of another

enum { PASTE_START = 200, PASTE_END = 201 };

struct terminal {
  struct kf_watch input, resize;
  struct kf_waiter waiter;
  struct kf_timer escape;
  TermKey *keys;
  struct termios found;
  struct kf_loop *loop;
  double deadline;
  char bytes[256];      // read for `bytes`, which takes them as they are
  size_t count;
  struct kf_buffer paste;  // what has come of a paste that has not ended
  bool as_bytes;           // the wait is for bytes, not for keys
  bool signals;            // Ctrl-C is SIGINT in raw mode too
  bool awaited;            // a task waits
  bool raw, ended, resized, forced, pasting, open;
};

static struct terminal *check_terminal(lua_State *L) {
  struct terminal *terminal = luaL_checkudata(L, 1, TYPE_TERMINAL);
  if (!terminal->open) kf_fail(L, "Closed", "the terminal is closed");
  return terminal;
}

// The terminal, for a task that wants to wait for its input: one at a time may.
static struct terminal *check_free(lua_State *L) {
  struct terminal *terminal = check_terminal(L);
  if (terminal->awaited) kf_fail(L, "Busy", "another task waits for the keys of the terminal");
  return terminal;
}

// --- modes --------------------------------------------------------------------------------------

static void put(const char *sequence) {
  ssize_t written = write(STDOUT_FILENO, sequence, strlen(sequence));
  (void)written;  // a terminal that is gone ends the input too
}

static void set_raw(const struct terminal *terminal) {
  struct termios mode = terminal->found;
  mode.c_iflag &= ~(tcflag_t)(ICRNL | INLCR | IXON | BRKINT | ISTRIP);
  mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO | IEXTEN | (terminal->signals ? 0 : ISIG));
  mode.c_cc[VMIN] = 0;
  mode.c_cc[VTIME] = 0;
  mode.c_cc[VSUSP] = _POSIX_VDISABLE;
  mode.c_cc[VQUIT] = _POSIX_VDISABLE;
  tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
}

static void enter_raw(struct terminal *terminal) {
  if (terminal->raw || tcgetattr(STDIN_FILENO, &terminal->found) != 0) return;
  set_raw(terminal);
  terminal->raw = true;
  put("\033[?2004h");  // a paste is told from typing
}

static void leave_raw(struct terminal *terminal) {
  if (!terminal->raw) return;
  put("\033[?2004l");
  tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->found);
  terminal->raw = false;
}

// --- events ---------------------------------------------------------------------------------------

static void on_escape(struct kf_timer *timer) {
  struct terminal *terminal =
      (struct terminal *)(void *)((char *)timer - offsetof(struct terminal, escape));
  terminal->forced = true;
  kf_wake(&terminal->waiter);
}

static void on_input(struct kf_watch *watch, int events) {
  (void)events;
  struct terminal *terminal = (struct terminal *)(void *)((char *)watch - offsetof(struct terminal, input));
  if (kf_interrupt_pending()) return;  // what came before it is thrown away, what comes after it is not
  size_t room = terminal->as_bytes ? sizeof terminal->bytes : termkey_get_buffer_remaining(terminal->keys);
  if (room > sizeof terminal->bytes) room = sizeof terminal->bytes;
  ssize_t count = read(STDIN_FILENO, terminal->bytes, room);
  if (count > 0 && terminal->as_bytes) terminal->count = (size_t)count;
  else if (count > 0) termkey_push_bytes(terminal->keys, terminal->bytes, (size_t)count);
  else if (count == 0 || (errno != EAGAIN && errno != EINTR)) terminal->ended = true;
  kf_wake(&terminal->waiter);
}

static void on_resize(struct kf_watch *watch, int events) {
  (void)events;
  struct terminal *terminal = (struct terminal *)(void *)((char *)watch - offsetof(struct terminal, resize));
  terminal->resized = true;
  kf_wake(&terminal->waiter);
}

static void start_watching(struct terminal *terminal) {
  terminal->input = (struct kf_watch){.ready = on_input};
  terminal->resize = (struct kf_watch){.ready = on_resize, .quiet = true};
  kf_watch_start(terminal->loop, &terminal->input, STDIN_FILENO, KF_READ);
  kf_watch_start(terminal->loop, &terminal->resize, SIGWINCH, KF_SIGNAL);
  terminal->awaited = true;
}

static void stop_watching(struct terminal *terminal) {
  kf_watch_stop(terminal->loop, &terminal->input);
  kf_watch_stop(terminal->loop, &terminal->resize);
  kf_timer_stop(terminal->loop, &terminal->escape);
  terminal->awaited = false;
}

// [-0, +?, yield] waits for what comes next: keys or bytes.
static int wait_for_input(lua_State *L, struct terminal *terminal, bool as_bytes, lua_KFunction k) {
  terminal->as_bytes = as_bytes;
  terminal->waiter = (struct kf_waiter){0};
  start_watching(terminal);
  return kf_wait(L, &terminal->waiter, terminal->deadline, 0, k);
}

// --- keys -----------------------------------------------------------------------------------------

// The number of a sequence CSI number ~ that libtermkey has no name for; 0 for others.
static long paste_mark(struct terminal *terminal, TermKeyKey *key) {
  long numbers[4];
  size_t count = 4;
  unsigned long command;
  if (key->type != TERMKEY_TYPE_UNKNOWN_CSI) return 0;
  if (termkey_interpret_csi(terminal->keys, key, numbers, &count, &command) != TERMKEY_RES_KEY) return 0;
  return command == '~' && count == 1 ? numbers[0] : 0;
}

// [-0, +2, m] pushes what a key is called: "text" and the character, or its name and nil.
static int push_key(lua_State *L, struct terminal *terminal, TermKeyKey *key) {
  if (key->type == TERMKEY_TYPE_UNICODE && key->modifiers == 0) {
    lua_pushliteral(L, "text");
    lua_pushstring(L, key->utf8);
    return 2;
  }
  char name[64];
  termkey_strfkey(terminal->keys, name, sizeof name, key, TERMKEY_FORMAT_ALTISMETA);
  lua_pushstring(L, name);
  lua_pushnil(L);
  return 2;
}

// A key that is part of a paste: only text, ends of lines and tabs are.
static void add_pasted(struct terminal *terminal, TermKeyKey *key) {
  if (key->type == TERMKEY_TYPE_UNICODE && key->modifiers == 0) {
    kf_buffer_add_text(&terminal->paste, key->utf8);
    return;
  }
  char name[64];
  termkey_strfkey(terminal->keys, name, sizeof name, key, TERMKEY_FORMAT_ALTISMETA);
  if (strcmp(name, "Enter") == 0 || strcmp(name, "C-j") == 0) kf_buffer_add_char(&terminal->paste, '\n');
  if (strcmp(name, "Tab") == 0) kf_buffer_add_char(&terminal->paste, '\t');
}

// [-0, +2, m] pushes "paste" and all of it.
static int push_paste(lua_State *L, struct terminal *terminal) {
  lua_pushliteral(L, "paste");
  lua_pushlstring(L, terminal->paste.length ? terminal->paste.data : "", terminal->paste.length);
  kf_buffer_free(&terminal->paste);
  return 2;
}

// [-0, +2|+0, m] pushes the next key that has come, if one has.
static int next_key(lua_State *L, struct terminal *terminal) {
  TermKeyKey key;
  TermKeyResult result;
  for (;;) {
    result = terminal->forced ? termkey_getkey_force(terminal->keys, &key) : termkey_getkey(terminal->keys, &key);
    if (result != TERMKEY_RES_KEY) break;
    long mark = paste_mark(terminal, &key);
    if (mark == PASTE_END && terminal->pasting) {
      terminal->pasting = false;
      return push_paste(L, terminal);
    }
    if (mark == PASTE_START) terminal->pasting = true;
    else if (terminal->pasting) add_pasted(terminal, &key);
    else if (mark != PASTE_END) return push_key(L, terminal, &key);
  }
  terminal->forced = false;
  if (result == TERMKEY_RES_AGAIN && terminal->escape.slot == 0) {
    terminal->escape.fire = on_escape;
    kf_timer_start(terminal->loop, &terminal->escape, kf_loop_now(terminal->loop) + ESCAPE_WAIT);
  }
  return 0;
}

// terminal:forget()   what was typed and not yet taken is thrown away
static int l_forget(lua_State *L) {
  struct terminal *terminal = check_terminal(L);
  TermKeyKey key;
  while (termkey_getkey_force(terminal->keys, &key) == TERMKEY_RES_KEY) continue;
  terminal->pasting = terminal->forced = false;
  kf_buffer_free(&terminal->paste);
  return 0;
}

// [-0, +2|+0, m] pushes what there is to tell, if there is anything.
static int push_event(lua_State *L, struct terminal *terminal) {
  if (terminal->resized) {
    terminal->resized = false;
    lua_pushliteral(L, "resize");
    lua_pushnil(L);
    return 2;
  }
  int count = next_key(L, terminal);
  if (count || !terminal->ended) return count;
  lua_pushnil(L);
  lua_pushnil(L);
  return 2;
}

static int after_wait(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  struct terminal *terminal = lua_touserdata(L, 1);
  struct kf_waiter *waiter = &terminal->waiter;
  if (waiter->result == KF_CANCELLED || waiter->result == KF_TIMEOUT) stop_watching(terminal);
  if (!kf_waited(L, waiter)) {
    lua_pushliteral(L, "timeout");
    return 1;
  }
  int count = push_event(L, terminal);
  if (!count) return kf_wait(L, waiter, terminal->deadline, 0, after_wait);
  stop_watching(terminal);
  return count;
}

// terminal:key([timeout]) -> name, text   waits: "text" c, "paste" all of it, a key such as "C-a", "resize",
// "timeout"; nil when the input has ended
static int l_key(lua_State *L) {
  struct terminal *terminal = check_free(L);
  terminal->deadline = kf_deadline(L, 2);
  lua_settop(L, 1);
  enter_raw(terminal);
  int count = push_event(L, terminal);
  if (count) return count;
  return wait_for_input(L, terminal, false, after_wait);
}

// [-0, +1|+2|+0, m] pushes the bytes that have come, or nil and what else there is to tell.
static int push_bytes(lua_State *L, struct terminal *terminal) {
  if (terminal->count) {
    lua_pushlstring(L, terminal->bytes, terminal->count);
    terminal->count = 0;
    return 1;
  }
  if (!terminal->resized && !terminal->ended) return 0;
  lua_pushnil(L);
  if (terminal->resized) lua_pushliteral(L, "resize");
  else lua_pushnil(L);
  terminal->resized = false;
  return 2;
}

static int after_bytes(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  struct terminal *terminal = lua_touserdata(L, 1);
  struct kf_waiter *waiter = &terminal->waiter;
  if (waiter->result == KF_CANCELLED || waiter->result == KF_TIMEOUT) stop_watching(terminal);
  if (!kf_waited(L, waiter)) {
    lua_pushnil(L);
    lua_pushliteral(L, "timeout");
    return 2;
  }
  int count = push_bytes(L, terminal);
  if (!count) return kf_wait(L, waiter, terminal->deadline, 0, after_bytes);
  stop_watching(terminal);
  return count;
}

// terminal:bytes([timeout]) -> text | nil, "resize" | nil, "timeout" | nil   waits; raw mode, what is typed as
// it comes, for a program elsewhere that knows what to do with it
static int l_bytes(lua_State *L) {
  struct terminal *terminal = check_free(L);
  terminal->deadline = kf_deadline(L, 2);
  lua_settop(L, 1);
  enter_raw(terminal);
  int count = push_bytes(L, terminal);
  if (count) return count;
  return wait_for_input(L, terminal, true, after_bytes);
}

// --- the terminal ------------------------------------------------------------------------------------

// terminal:signals(on)   whether Ctrl-C is SIGINT while keys are read, or the key C-c
static int l_signals(lua_State *L) {
  struct terminal *terminal = check_terminal(L);
  terminal->signals = lua_toboolean(L, 2);
  if (terminal->raw) set_raw(terminal);
  return 0;
}

// terminal:suspend()   the terminal as it was found, for what runs now
static int l_suspend(lua_State *L) {
  leave_raw(check_terminal(L));
  return 0;
}

static int l_close(lua_State *L) {
  struct terminal *terminal = luaL_checkudata(L, 1, TYPE_TERMINAL);
  if (!terminal->open) return 0;
  terminal->open = false;
  stop_watching(terminal);
  leave_raw(terminal);
  termkey_destroy(terminal->keys);
  terminal->keys = NULL;
  kf_buffer_free(&terminal->paste);
  return 0;
}

// edit.open() -> terminal
static int l_open(lua_State *L) {
  struct terminal *terminal = lua_newuserdatauv(L, sizeof *terminal, 0);
  *terminal = (struct terminal){.loop = kf_host(L)->loop};
  luaL_setmetatable(L, TYPE_TERMINAL);
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
    return kf_fail(L, "ENOTTY", "standard input and output are no terminal");
  const char *name = getenv("TERM");
  terminal->keys = termkey_new_abstract(name && *name ? name : "dumb", TERMKEY_FLAG_UTF8);
  if (!terminal->keys) return luaL_error(L, "not enough memory");
  termkey_set_canonflags(terminal->keys, TERMKEY_CANON_DELBS);
  terminal->open = true;
  return 1;
}

static const luaL_Reg methods[] = {
    {"key", l_key},         {"bytes", l_bytes}, {"forget", l_forget}, {"signals", l_signals},
    {"suspend", l_suspend}, {"close", l_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"open", l_open}, {NULL, NULL}};

int luaopen_kf_edit(lua_State *L);

int luaopen_kf_edit(lua_State *L) {
  luaL_newmetatable(L, TYPE_TERMINAL);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
