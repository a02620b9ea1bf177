// From a handler's answer to bytes, and the task around the handler.
#include "error.h"
#include "server.h"

#include <ctype.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { HIGH_WATER = 1 << 18 };  // a stream's writer waits while more than this is unwritten
enum { COPIED = 1 << 16 };      // a body up to this goes out with its head

// --- heads --------------------------------------------------------------------------------------

static const char *reason_of(int status) {
  static const struct {
    int status;
    const char *reason;
  } reasons[] = {
      {101, "Switching Protocols"}, {200, "OK"}, {201, "Created"}, {202, "Accepted"},
      {204, "No Content"}, {206, "Partial Content"}, {301, "Moved Permanently"}, {302, "Found"},
      {303, "See Other"}, {304, "Not Modified"}, {307, "Temporary Redirect"},
      {308, "Permanent Redirect"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"},
      {404, "Not Found"}, {405, "Method Not Allowed"}, {406, "Not Acceptable"},
      {408, "Request Timeout"}, {409, "Conflict"}, {410, "Gone"}, {411, "Length Required"},
      {413, "Request Entity Too Large"}, {415, "Unsupported Media Type"},
      {422, "Unprocessable Entity"}, {426, "Upgrade Required"}, {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
      {501, "Not Implemented"}, {502, "Bad Gateway"}, {503, "Service Unavailable"},
      {504, "Gateway Timeout"}, {505, "HTTP Version Not Supported"}};
  for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
    if (reasons[i].status == status) return reasons[i].reason;
  return "Status";
}

static void add_line(struct kf_buffer *out, const char *name, const char *value) {
  kf_buffer_add_text(out, name);
  kf_buffer_add(out, ": ", 2);
  kf_buffer_add_text(out, value);
  kf_buffer_add(out, "\r\n", 2);
}

static const char *date_of(struct server *server) {
  time_t now = time(NULL);
  struct tm fields;
  if (now != server->date_second && gmtime_r(&now, &fields)) {
    strftime(server->date, sizeof server->date, "%a, %d %b %Y %H:%M:%S GMT", &fields);
    server->date_second = now;
  }
  return server->date;
}

static void add_status(struct connection *connection, int status) {
  char line[64];
  int length = snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\n", status, reason_of(status));
  kf_buffer_add(&connection->out, line, (size_t)length);
  if (status != 101) add_line(&connection->out, "Date", date_of(connection->server));
}

static void add_length(struct kf_buffer *out, size_t size) {
  char line[48];
  int length = snprintf(line, sizeof line, "Content-Length: %zu\r\n", size);
  kf_buffer_add(out, line, (size_t)length);
}

void kf_refusals_add(struct refusals *refusals, int status) {
  size_t at = 0;
  while (at < refusals->kinds && refusals->status[at] != status) at++;
  if (at == KF_REFUSALS) return;
  if (at == refusals->kinds) refusals->kinds++;
  refusals->status[at] = status;
  refusals->count[at]++;
}

void kf_response_refuse(struct connection *connection, int status) {
  kf_refusals_add(&connection->server->refusals, status);
  struct kf_buffer *out = &connection->out;
  const char *reason = reason_of(status);
  add_status(connection, status);
  add_line(out, "Content-Type", "text/plain; charset=utf-8");
  add_line(out, "Connection", "close");
  if (status == 503) add_line(out, "Retry-After", "1");
  add_length(out, strlen(reason) + 1);
  kf_buffer_add(out, "\r\n", 2);
  kf_buffer_add_text(out, reason);
  kf_buffer_add_char(out, '\n');
  connection->keep_alive = false;
}

// --- headers that a handler gave ----------------------------------------------------------------

static bool is_header_name(const char *name, size_t length) {
  if (length == 0) return false;
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)name[i];
    if (!isalnum(c) && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c))) return false;
  }
  return true;
}

static bool is_header_value(const char *value, size_t length) {
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)value[i];
    if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
  }
  return true;
}

// [.. value] adds one header line.
static void add_value(lua_State *L, struct kf_buffer *out, const char *name, size_t length) {
  size_t value_length;
  const char *value = lua_tolstring(L, -1, &value_length);
  if (!value || !is_header_value(value, value_length))
    luaL_error(L, "header %s: not a value that can be sent", name);
  kf_buffer_add(out, name, length);
  kf_buffer_add(out, ": ", 2);
  kf_buffer_add(out, value, value_length);
  kf_buffer_add(out, "\r\n", 2);
}

// The server's own business; "connection: close" is a wish that it grants.
static bool is_ours(lua_State *L, const char *name, struct connection *connection) {
  if (strcasecmp(name, "connection") == 0) {
    const char *value = lua_tostring(L, -1);
    if (value && strcasecmp(value, "close") == 0) connection->keep_alive = false;
    return true;
  }
  return strcasecmp(name, "content-length") == 0 || strcasecmp(name, "transfer-encoding") == 0;
}

// [-0, +0, v] adds the headers of field `headers` of the table at index.
static void add_headers(lua_State *L, int index, struct connection *connection) {
  if (lua_getfield(L, index, "headers") == LUA_TTABLE) {
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {  // headers name value
      size_t length;
      if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "headers: {Name = value} expected");
      const char *name = lua_tolstring(L, -2, &length);
      if (!is_header_name(name, length)) luaL_error(L, "header '%s': not a name", name);
      if (is_ours(L, name, connection)) continue;
      if (lua_type(L, -1) != LUA_TTABLE) {
        add_value(L, &connection->out, name, length);
        continue;
      }
      lua_Integer count = luaL_len(L, -1);
      for (lua_Integer i = 1; i <= count; i++) {
        lua_geti(L, -1, i);
        add_value(L, &connection->out, name, length);
        lua_pop(L, 1);
      }
    }
  }
  lua_pop(L, 1);
}

static int status_of(lua_State *L, int index) {
  int status = 200;
  if (lua_getfield(L, index, "status") != LUA_TNIL) {
    if (!lua_isinteger(L, -1)) luaL_error(L, "status: integer expected");
    status = (int)lua_tointeger(L, -1);
  }
  if (status < 101 || status > 599) luaL_error(L, "status: %d is none", status);
  lua_pop(L, 1);
  return status;
}

// Puts a body after its head: a short one as a copy, so that both leave in one piece; a long one
// stays where it is, in the string that the task holds.
static void add_body(struct connection *connection, const char *body, size_t length) {
  if (length <= COPIED) {
    kf_buffer_add(&connection->out, body, length);
  } else {
    connection->rest = body;
    connection->rest_length = length;
  }
}

static bool has_no_body(int status) {
  return status < 200 || status == 204 || status == 304;
}

// [exchange response -> body] puts a whole response, or the head of a stream, into out.
static int build(lua_State *L) {
  struct exchange *exchange = lua_touserdata(L, 1);
  struct connection *connection = exchange->connection;
  struct kf_buffer *out = &connection->out;
  luaL_checktype(L, 2, LUA_TTABLE);
  size_t length = 0;
  int status = status_of(L, 2);
  bool stream = lua_getfield(L, 2, "stream") == LUA_TFUNCTION;
  const char *body = "";
  if (lua_getfield(L, 2, "body") != LUA_TNIL) body = luaL_checklstring(L, -1, &length);
  add_status(connection, status);
  add_headers(L, 2, connection);
  exchange->chunked = stream && !connection->old && !has_no_body(status);
  if (exchange->chunked) add_line(out, "Transfer-Encoding", "chunked");
  else if (stream) connection->keep_alive = false;
  else if (!has_no_body(status)) add_length(out, length);
  if (!connection->keep_alive || connection->server->draining) add_line(out, "Connection", "close");
  else if (connection->old) add_line(out, "Connection", "keep-alive");
  kf_buffer_add(out, "\r\n", 2);
  if (!stream && !exchange->head_only && !has_no_body(status)) add_body(connection, body, length);
  if (out->failed) luaL_error(L, "not enough memory");
  exchange->answer = stream ? ANSWER_STREAM : ANSWER_WHOLE;
  return 1;
}

// --- writing ------------------------------------------------------------------------------------

static size_t unwritten(const struct connection *connection) {
  return connection->out.length - connection->written + connection->rest_length;
}

static void begin_chunk(struct kf_buffer *out, size_t length) {
  char size[24];
  int digits = snprintf(size, sizeof size, "%zx\r\n", length);
  kf_buffer_add(out, size, (size_t)digits);
}

// [-0, +0, v] the bytes of a text, or of all texts of a list, at index 2.
static size_t length_of(lua_State *L) {
  size_t length = 0;
  if (lua_type(L, 2) != LUA_TTABLE) {
    luaL_checklstring(L, 2, &length);
    return length;
  }
  lua_Integer count = luaL_len(L, 2);
  for (lua_Integer i = 1; i <= count; i++) {
    if (lua_rawgeti(L, 2, i) != LUA_TSTRING) luaL_error(L, "a list of strings expected");
    length += lua_rawlen(L, -1);
    lua_pop(L, 1);
  }
  return length;
}

// Adds what length_of has measured.
static void add_texts(lua_State *L, struct kf_buffer *out) {
  bool list = lua_type(L, 2) == LUA_TTABLE;
  lua_Integer count = list ? luaL_len(L, 2) : 1;
  for (lua_Integer i = 1; i <= count; i++) {
    size_t length;
    if (list) lua_rawgeti(L, 2, i);
    else lua_pushvalue(L, 2);
    const char *text = lua_tolstring(L, -1, &length);
    kf_buffer_add(out, text, length);
    lua_pop(L, 1);
  }
}

static int gone(lua_State *L) {
  return kf_fail(L, "Closed", "the client has gone");
}

static int has_room(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct exchange *exchange = kf_check_exchange(L, 1);
  if (status == LUA_YIELD) kf_gate_waited(L);
  if (!exchange->connection) return gone(L);
  if (unwritten(exchange->connection) <= HIGH_WATER) return 0;
  return kf_gate_wait(L, &exchange->changes, HUGE_VAL, 0, has_room);
}

// w:write(text or list of texts): waits while too much is unwritten; raises "Closed"
static int l_write(lua_State *L) {
  struct exchange *exchange = kf_check_exchange(L, 1);
  struct connection *connection = exchange->connection;
  size_t length = length_of(L);
  if (!connection || exchange->answer < ANSWER_STREAM) return gone(L);
  if (length == 0 || exchange->head_only) return 0;
  if (exchange->chunked) begin_chunk(&connection->out, length);
  add_texts(L, &connection->out);
  if (exchange->chunked) kf_buffer_add(&connection->out, "\r\n", 2);
  if (!kf_connection_flush(connection)) return gone(L);
  return has_room(L, LUA_OK, 0);
}

static int read_some(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct exchange *exchange = kf_check_exchange(L, 1);
  if (status == LUA_YIELD && !kf_gate_waited(L))
    return kf_fail(L, "Timeout", "nothing came in time");
  struct connection *connection = exchange->connection;
  if (connection && connection->in.length > 0) {
    lua_pushlstring(L, connection->in.data, connection->in.length);
    connection->in.length = 0;
    kf_connection_resume(connection);
    return 1;
  }
  if (!connection || connection->ended) {
    lua_pushnil(L);
    return 1;
  }
  return kf_gate_wait(L, &exchange->changes, lua_tonumber(L, 2), 0, read_some);
}

// c:read(timeout) -> bytes, or nil at the end
static int l_read(lua_State *L) {
  struct exchange *exchange = kf_check_exchange(L, 1);
  double deadline = kf_deadline(L, 2);
  if (exchange->connection && exchange->answer != ANSWER_UPGRADE)
    return luaL_error(L, "only an upgraded connection can be read");
  lua_settop(L, 1);
  lua_pushnumber(L, deadline);
  return read_some(L, LUA_OK, 0);
}

// c:close(): what was written still goes out, then the connection ends
static int l_close(lua_State *L) {
  struct exchange *exchange = kf_check_exchange(L, 1);
  struct connection *connection = exchange->connection;
  if (!connection) return 0;
  exchange->connection = NULL;
  connection->keep_alive = false;
  kf_connection_next(connection);
  return 0;
}

// w:reset(): ends the connection at once, so that the client sees a reset
static int l_reset(lua_State *L) {
  struct exchange *exchange = kf_check_exchange(L, 1);
  if (exchange->connection) kf_connection_close(exchange->connection, true);
  return 0;
}

const luaL_Reg kf_exchange_methods[] = {
    {"write", l_write}, {"read", l_read}, {"close", l_close}, {"reset", l_reset}, {NULL, NULL}};

// request:upgrade{status, headers} -> connection
int kf_exchange_upgrade(lua_State *L) {
  lua_settop(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "exchange");
  struct exchange *exchange = kf_check_exchange(L, 3);
  struct connection *connection = exchange->connection;
  if (!connection) return gone(L);
  if (exchange->answer != ANSWER_NONE) return luaL_error(L, "the request was answered");
  int status = 101;
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_getfield(L, 2, "status");
    status = (int)luaL_optinteger(L, -1, 101);
  }
  if (status != 0) add_status(connection, status);
  if (status == 101) add_line(&connection->out, "Connection", "Upgrade");
  if (lua_istable(L, 2)) add_headers(L, 2, connection);
  if (status != 0) kf_buffer_add(&connection->out, "\r\n", 2);
  exchange->answer = ANSWER_UPGRADE;
  connection->phase = UPGRADED;
  if (!kf_connection_flush(connection)) return gone(L);
  lua_settop(L, 3);
  return 1;
}

// --- the task of a request ----------------------------------------------------------------------

enum { EXCHANGE = 1, HANDLER, ON_ERROR, REQUEST, TRACEBACK, RESPONSE };

static int with_traceback(lua_State *L) {
  if (lua_istable(L, 1)) return 1;
  kf_error_text(L);
  luaL_traceback(L, L, lua_tostring(L, 1), 1);
  return 1;
}

// The answer is out, or the connection has ended.
static int finish(lua_State *L, struct exchange *exchange) {
  (void)L;
  struct connection *connection = exchange->connection;
  exchange->connection = NULL;
  if (connection) kf_connection_next(connection);
  return 0;
}

static int written(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct exchange *exchange = kf_check_exchange(L, EXCHANGE);
  if (status == LUA_YIELD) kf_gate_waited(L);
  struct connection *connection = exchange->connection;
  if (!connection || kf_connection_flushed(connection)) return finish(L, exchange);
  return kf_gate_wait(L, &exchange->changes, HUGE_VAL, 0, written);
}

// Sends what is in out; then the request is over.
static int send_rest(lua_State *L, struct exchange *exchange) {
  if (exchange->connection) kf_connection_flush(exchange->connection);
  return written(L, LUA_OK, 0);
}

// [.. error] tells on_error of it: fn(error, request), or standard error without one.
static void tell_error(lua_State *L) {
  lua_pushvalue(L, ON_ERROR);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    kf_error_text(L);
    lua_getfield(L, REQUEST, "path");
    fprintf(stderr, "kfhost: request %s: %s\n", lua_tostring(L, -1), lua_tostring(L, -2));
    return;
  }
  lua_insert(L, -2);
  lua_pushvalue(L, REQUEST);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) lua_pop(L, 1);
}

// [-0, +0, -] whether the error on top has that code
static bool has_code(lua_State *L, const char *wanted) {
  if (!lua_istable(L, -1)) return false;
  lua_getfield(L, -1, "code");
  const char *code = lua_tostring(L, -1);
  bool has = code && strcmp(code, wanted) == 0;
  lua_pop(L, 1);
  return has;
}

// [.. error] the handler or the response was wrong: 500, or a cut when the answer has begun.
static int failed(lua_State *L, struct exchange *exchange) {
  struct connection *connection = exchange->connection;
  bool is_end = has_code(L, "Cancelled");  // of the program: nothing is wrong with the handler
  if (!connection && (is_end || has_code(L, "Closed"))) return 0;
  if (!is_end) tell_error(L);
  if (!connection) return 0;
  if (exchange->answer != ANSWER_NONE) {
    exchange->connection = NULL;
    kf_connection_release(connection);
    kf_connection_close(connection, false);
    return 0;
  }
  exchange->answer = ANSWER_WHOLE;
  kf_response_refuse(connection, 500);
  return send_rest(L, exchange);
}

static int streamed(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct exchange *exchange = kf_check_exchange(L, EXCHANGE);
  if (status != LUA_OK && status != LUA_YIELD) return failed(L, exchange);
  if (exchange->connection && exchange->chunked && !exchange->head_only)
    kf_buffer_add_text(&exchange->connection->out, "0\r\n\r\n");
  return send_rest(L, exchange);
}

static int stream(lua_State *L, struct exchange *exchange) {
  if (!kf_connection_flush(exchange->connection)) return 0;
  lua_getfield(L, RESPONSE, "stream");
  lua_pushvalue(L, EXCHANGE);
  return streamed(L, lua_pcallk(L, 1, 0, TRACEBACK, 0, streamed), 0);
}

static int handled(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct exchange *exchange = kf_check_exchange(L, EXCHANGE);
  if (status != LUA_OK && status != LUA_YIELD) return failed(L, exchange);
  if (!exchange->connection) return 0;
  if (exchange->answer == ANSWER_UPGRADE) return l_close(L);
  size_t start = exchange->connection->out.length;
  lua_pushcfunction(L, build);
  lua_pushvalue(L, EXCHANGE);
  lua_pushvalue(L, RESPONSE);
  if (lua_pcall(L, 2, 1, 0) != LUA_OK) {
    exchange->connection->out.length = start;
    return failed(L, exchange);
  }
  if (exchange->answer == ANSWER_STREAM) return stream(L, exchange);
  return send_rest(L, exchange);
}

int kf_response_serve(lua_State *L) {
  lua_toclose(L, EXCHANGE);
  lua_pushcfunction(L, with_traceback);
  lua_pushvalue(L, HANDLER);
  lua_pushvalue(L, REQUEST);
  return handled(L, lua_pcallk(L, 1, 1, TRACEBACK, 0, handled), 0);
}
