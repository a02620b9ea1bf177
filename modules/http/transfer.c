// One request and what comes back.
#include "http.h"

#include "error.h"
#include "state.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  HIGH_WATER = 1 << 20,     // a stream is not read further while this much waits for the script
  UPLOAD_WATER = 1 << 18,   // nor taken from the script while this much waits to be sent
  HEADER_LIMIT = 1 << 18,
};

struct transfer *kf_check_transfer(lua_State *L, int index) {
  return luaL_checkudata(L, index, KF_TYPE_TRANSFER);
}

static size_t untaken(const struct transfer *transfer) {
  return transfer->body.length - transfer->taken;
}

void kf_transfer_tell(struct transfer *transfer) {
  kf_gate_open(&transfer->changes);
  transfer->changes.open = false;
}

// --- callbacks of libcurl -----------------------------------------------------------------------

static void add_header(struct kf_buffer *headers, const char *line, size_t length) {
  const char *colon = memchr(line, ':', length);
  if (!colon) return;
  const char *value = colon + 1, *end = line + length;
  while (value < end && isspace((unsigned char)*value)) value++;
  while (end > value && isspace((unsigned char)end[-1])) end--;
  for (const char *at = line; at < colon; at++)
    kf_buffer_add_char(headers, (char)tolower((unsigned char)*at));
  kf_buffer_add_char(headers, '\0');
  kf_buffer_add(headers, value, (size_t)(end - value));
  kf_buffer_add_char(headers, '\0');
}

size_t kf_on_header(char *line, size_t size, size_t count, void *data) {
  struct transfer *transfer = data;
  size_t length = size * count;
  if (length > 5 && memcmp(line, "HTTP/", 5) == 0) {
    const char *space = memchr(line, ' ', length);
    transfer->status = space ? strtol(space, NULL, 10) : 0;
    snprintf(transfer->version, sizeof transfer->version, "%.*s",
             space ? (int)(space - line - 5) : 0, line + 5);
    transfer->headers.length = 0;
  } else if (length > 2) {
    add_header(transfer->has_headers ? &transfer->trailers : &transfer->headers, line, length);
  } else if (!transfer->has_headers && (transfer->status >= 200 || transfer->status == 101)) {
    transfer->has_headers = true;
    kf_transfer_tell(transfer);
  }
  bool failed = transfer->headers.failed || transfer->trailers.failed;
  size_t total = transfer->headers.length + transfer->trailers.length;
  return failed || total > HEADER_LIMIT ? 0 : length;
}

size_t kf_on_body(char *bytes, size_t size, size_t count, void *data) {
  struct transfer *transfer = data;
  size_t length = size * count;
  if (!transfer->whole && untaken(transfer) >= HIGH_WATER) {
    transfer->read_paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  if (transfer->taken == transfer->body.length) transfer->taken = transfer->body.length = 0;
  kf_buffer_add(&transfer->body, bytes, length);
  transfer->too_large = transfer->body.length > transfer->max_body;
  if (transfer->body.failed || (transfer->whole && transfer->too_large)) return 0;
  if (!transfer->whole) kf_transfer_tell(transfer);
  return length;
}

size_t kf_on_upload(char *room, size_t size, size_t count, void *data) {
  struct transfer *transfer = data;
  size_t length = transfer->upload.length - transfer->sent, most = size * count;
  if (length == 0 && transfer->upload_ended) return 0;
  if (length == 0) {
    transfer->write_paused = true;
    return CURL_READFUNC_PAUSE;
  }
  if (length > most) length = most;
  memcpy(room, transfer->upload.data + transfer->sent, length);
  transfer->sent += length;
  if (transfer->sent == transfer->upload.length) transfer->sent = transfer->upload.length = 0;
  kf_transfer_tell(transfer);
  return length;
}

// --- beginning and end --------------------------------------------------------------------------

static void release(struct transfer *transfer) {
  struct session *session = transfer->session;
  const struct kf_curl *curl = session->curl;
  if (!transfer->easy) return;
  kf_hold_stop(session->loop, &transfer->hold);
  kf_watch_stop(session->loop, &transfer->watch);
  if (transfer->added && session->multi) curl->multi_remove_handle(session->multi, transfer->easy);
  transfer->added = false;
  if (transfer->link) {
    *transfer->link = transfer->next;
    if (transfer->next) transfer->next->link = transfer->link;
    transfer->link = NULL;
  }
  kf_session_return(session, transfer->easy);
  transfer->easy = NULL;
  transfer->fd = -1;
  curl->slist_free_all(transfer->lines);
  curl->slist_free_all(transfer->connect_to);
  if (transfer->address) curl->url_cleanup(transfer->address);
  transfer->lines = transfer->connect_to = NULL;
  transfer->address = NULL;
}

void kf_transfer_done(struct transfer *transfer, CURLcode result) {
  transfer->result = result;
  transfer->done = true;
  if (!transfer->bare || result != CURLE_OK) release(transfer);  // else the connection goes on
  kf_transfer_tell(transfer);
}

void kf_transfer_stop(struct transfer *transfer) {
  release(transfer);
  if (!transfer->done) transfer->result = CURLE_ABORTED_BY_CALLBACK;
  transfer->done = true;
  kf_transfer_tell(transfer);
}

static void on_cancelled(struct kf_gate *gate) {
  kf_transfer_stop((struct transfer *)(void *)((char *)gate - offsetof(struct transfer, changes)));
}

static void free_buffers(struct transfer *transfer) {
  kf_buffer_free(&transfer->headers);
  kf_buffer_free(&transfer->trailers);
  kf_buffer_free(&transfer->body);
  kf_buffer_free(&transfer->upload);
  transfer->taken = transfer->sent = 0;
}

// [-0, +1, v] pushes a transfer of the session at 1 that is set up by the options at 2.
struct transfer *kf_transfer_start(lua_State *L, bool whole, bool bare) {
  struct session *session = kf_check_session(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  if (!session->multi) kf_fail(L, "Closed", "the session is closed");
  struct transfer *transfer = lua_newuserdatauv(L, sizeof *transfer, KF_TRANSFER_VALUES);
  int index = lua_gettop(L);
  *transfer = (struct transfer){.session = session, .whole = whole, .bare = bare, .fd = -1};
  transfer->changes.cancelled = on_cancelled;
  luaL_setmetatable(L, KF_TYPE_TRANSFER);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, index, KF_TRANSFER_SESSION);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, index, KF_TRANSFER_OPTIONS);
  transfer->easy = kf_session_handle(session);
  if (!transfer->easy) luaL_error(L, "not enough memory");
  kf_transfer_options(L, 2, transfer);
  if (bare) {
    session->curl->easy_setopt(transfer->easy, CURLOPT_CONNECT_ONLY, 1L);
    session->curl->easy_setopt(transfer->easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
    session->curl->easy_setopt(transfer->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  }
  lua_settop(L, index);
  transfer->next = session->transfers;
  transfer->link = &session->transfers;
  if (transfer->next) transfer->next->link = &transfer->next;
  session->transfers = transfer;
  kf_hold_start(session->loop, &transfer->hold);
  transfer->added = true;
  session->curl->multi_add_handle(session->multi, transfer->easy);
  return transfer;
}

// --- failures -----------------------------------------------------------------------------------

static const char *class_of(CURLcode result) {
  switch (result) {
  case CURLE_OPERATION_TIMEDOUT: return "Timeout";
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_SSL_ENGINE_NOTFOUND:
  case CURLE_SSL_ENGINE_SETFAILED:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
  case CURLE_SSL_INVALIDCERTSTATUS:
  case CURLE_SSL_CLIENTCERT: return "TLS";
  case CURLE_UNSUPPORTED_PROTOCOL:
  case CURLE_URL_MALFORMAT:
  case CURLE_WEIRD_SERVER_REPLY:
  case CURLE_BAD_CONTENT_ENCODING:
  case CURLE_WRITE_ERROR: return "Protocol";
  default: return "Connection";
  }
}

// [error] adds the URL of the transfer at index.
static void add_url(lua_State *L, int index) {
  lua_getiuservalue(L, index, KF_TRANSFER_OPTIONS);
  lua_getfield(L, -1, "url");
  lua_setfield(L, -3, "url");
  lua_pop(L, 1);
}

int kf_transfer_fail(lua_State *L, struct transfer *transfer, int index) {
  CURLcode result = transfer->result;
  const char *problem = transfer->problem;
  if (!*problem) problem = transfer->session->curl->easy_strerror(result);
  if (transfer->too_large) problem = "the body is larger than max_body";
  if (result == CURLE_ABORTED_BY_CALLBACK) kf_error(L, "Closed", "the transfer was closed");
  else kf_error(L, class_of(result), "%s", problem);
  add_url(L, index);
  // Of such a request the server has not begun anything, or has said so.
  bool refused = result == CURLE_HTTP2 || result == CURLE_HTTP2_STREAM;
  if (refused && !transfer->has_headers) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "may_repeat");
  }
  return lua_error(L);
}

int kf_transfer_time_out(lua_State *L, struct transfer *transfer, int index, const char *what) {
  kf_transfer_stop(transfer);
  kf_error(L, "Timeout", "%s", what);
  add_url(L, index);
  return lua_error(L);
}

// --- what comes back ----------------------------------------------------------------------------

// [.. table, name] a name that came before: its values are joined.
static void add_again(lua_State *L, const char *name, const char *value) {
  const char *between = strcmp(name, "set-cookie") == 0 ? "\n" : ", ";
  lua_pushfstring(L, "%s%s%s", lua_tostring(L, -1), between, value);
  lua_replace(L, -2);
}

static void push_headers(lua_State *L, const struct kf_buffer *headers) {
  lua_newtable(L);
  for (size_t at = 0; at < headers->length;) {
    const char *name = headers->data + at;
    const char *value = name + strlen(name) + 1;
    at = (size_t)(value - headers->data) + strlen(value) + 1;
    if (lua_getfield(L, -1, name) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_pushstring(L, value);
    } else {
      add_again(L, name, value);
    }
    lua_setfield(L, -2, name);
  }
}

// [-0, +1, m] pushes {status, headers, version}.
static void push_head(lua_State *L, const struct transfer *transfer) {
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, transfer->status);
  lua_setfield(L, -2, "status");
  push_headers(L, &transfer->headers);
  lua_setfield(L, -2, "headers");
  lua_pushstring(L, transfer->version);
  lua_setfield(L, -2, "version");
}

// session:start(options) -> transfer
int kf_session_start(lua_State *L) {
  lua_settop(L, 2);
  kf_transfer_start(L, false, false);
  return 1;
}

// [session options transfer deadline]
static int whole(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct transfer *transfer = kf_check_transfer(L, 3);
  if (status == LUA_YIELD && !kf_gate_waited(L))
    return kf_transfer_time_out(L, transfer, 3, "no whole answer came in time");
  if (!transfer->done)
    return kf_gate_wait(L, &transfer->changes, lua_tonumber(L, 4), 0, whole);
  if (transfer->result != CURLE_OK) return kf_transfer_fail(L, transfer, 3);
  push_head(L, transfer);
  lua_pushlstring(L, transfer->body.data ? transfer->body.data : "", transfer->body.length);
  lua_setfield(L, -2, "body");
  if (transfer->trailers.length > 0) {
    push_headers(L, &transfer->trailers);
    lua_setfield(L, -2, "trailers");
  }
  free_buffers(transfer);
  return 1;
}

// session:request(options) -> {status, headers, version, body}
int kf_session_request(lua_State *L) {
  lua_settop(L, 2);
  double deadline = kf_deadline_field(L, 2, "timeout");
  kf_transfer_start(L, true, false);
  lua_pushnumber(L, deadline);
  return whole(L, LUA_OK, 0);
}

// --- streams ------------------------------------------------------------------------------------

static int headed(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct transfer *transfer = kf_check_transfer(L, 1);
  if (status == LUA_YIELD && !kf_gate_waited(L))
    return kf_transfer_time_out(L, transfer, 1, "no answer came in time");
  if (transfer->has_headers) {
    push_head(L, transfer);
    return 1;
  }
  if (transfer->done) return kf_transfer_fail(L, transfer, 1);
  return kf_gate_wait(L, &transfer->changes, lua_tonumber(L, 2), 0, headed);
}

// t:head(timeout) -> {status, headers, version}
static int l_head(lua_State *L) {
  kf_check_transfer(L, 1);
  double deadline = kf_deadline(L, 2);
  lua_settop(L, 1);
  lua_pushnumber(L, deadline);
  return headed(L, LUA_OK, 0);
}

// [-0, +1, m] pushes all that has come and was not taken.
static void push_body(lua_State *L, struct transfer *transfer) {
  lua_pushlstring(L, transfer->body.data + transfer->taken, untaken(transfer));
  transfer->taken = transfer->body.length = 0;
  if (!transfer->read_paused) return;
  transfer->read_paused = false;
  if (transfer->easy) transfer->session->curl->easy_pause(transfer->easy, CURLPAUSE_CONT);
}

static int read_some(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct transfer *transfer = kf_check_transfer(L, 1);
  if (status == LUA_YIELD && !kf_gate_waited(L)) {
    kf_error(L, "Timeout", "nothing came in time");
    add_url(L, 1);
    return lua_error(L);
  }
  if (untaken(transfer) > 0) {
    push_body(L, transfer);
    return 1;
  }
  if (transfer->done && transfer->result != CURLE_OK) return kf_transfer_fail(L, transfer, 1);
  if (transfer->done) {
    lua_pushnil(L);
    return 1;
  }
  return kf_gate_wait(L, &transfer->changes, lua_tonumber(L, 2), 0, read_some);
}

// t:read(timeout) -> bytes, or nil at the end; the transfer goes on after a "Timeout"
static int l_read(lua_State *L) {
  kf_check_transfer(L, 1);
  double deadline = kf_deadline(L, 2);
  lua_settop(L, 1);
  lua_pushnumber(L, deadline);
  return read_some(L, LUA_OK, 0);
}

static void unpause_upload(struct transfer *transfer) {
  if (!transfer->write_paused || !transfer->easy) return;
  transfer->write_paused = false;
  transfer->session->curl->easy_pause(transfer->easy, CURLPAUSE_CONT);
}

static int has_room(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct transfer *transfer = kf_check_transfer(L, 1);
  if (status == LUA_YIELD) kf_gate_waited(L);
  if (transfer->done) return kf_fail(L, "Closed", "the transfer has ended");
  if (transfer->upload.length - transfer->sent <= UPLOAD_WATER) return 0;
  return kf_gate_wait(L, &transfer->changes, HUGE_VAL, 0, has_room);
}

// t:write(text): more of the body, with the option upload = true
static int l_write(lua_State *L) {
  struct transfer *transfer = kf_check_transfer(L, 1);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  if (transfer->done) return kf_fail(L, "Closed", "the transfer has ended");
  kf_buffer_add(&transfer->upload, text, length);
  if (transfer->upload.failed) return luaL_error(L, "not enough memory");
  if (length > 0) unpause_upload(transfer);
  return has_room(L, LUA_OK, 0);
}

// t:finish(): the body is whole
static int l_finish(lua_State *L) {
  struct transfer *transfer = kf_check_transfer(L, 1);
  transfer->upload_ended = true;
  unpause_upload(transfer);
  return 0;
}

// t:close(): also the end of a <close> variable
int kf_transfer_close(lua_State *L) {
  struct transfer *transfer = kf_check_transfer(L, 1);
  if (transfer->session) kf_transfer_stop(transfer);
  free_buffers(transfer);
  transfer->has_headers = false;
  return 0;
}

const luaL_Reg kf_transfer_methods[] = {
    {"head", l_head},   {"read", l_read},   {"write", l_write}, {"finish", l_finish},
    {"close", kf_transfer_close}, {"send", kf_transfer_send}, {"receive", kf_transfer_receive},
    {NULL, NULL}};
