// Bare connections: libcurl makes them (proxies and TLS included), the bytes are the script's.
#include "http.h"

#include "error.h"

#include <math.h>
#include <stddef.h>

enum { READ_SIZE = 65536 };

static void watch(struct transfer *transfer, int events) {
  if (events == transfer->events) return;
  transfer->events = events;
  if (events) kf_watch_start(transfer->session->loop, &transfer->watch, transfer->fd, events);
  else kf_watch_stop(transfer->session->loop, &transfer->watch);
}

// Sends what is queued as far as it goes.
static void flush(struct transfer *transfer) {
  struct kf_buffer *queue = &transfer->upload;
  while (transfer->fd >= 0 && transfer->sent < queue->length) {
    size_t count = 0;
    CURLcode result = transfer->session->curl->easy_send(
        transfer->easy, queue->data + transfer->sent, queue->length - transfer->sent, &count);
    if (result == CURLE_AGAIN) {
      watch(transfer, transfer->events | KF_WRITE);
      return;
    }
    if (result != CURLE_OK) {
      kf_transfer_stop(transfer);
      transfer->result = result;
      return;
    }
    transfer->sent += count;
    transfer->sent_total += count;
  }
  transfer->sent = queue->length = 0;
  if (transfer->fd >= 0) watch(transfer, transfer->events & ~KF_WRITE);
}

static void on_ready(struct kf_watch *ready, int events) {
  struct transfer *transfer =
      (struct transfer *)(void *)((char *)ready - offsetof(struct transfer, watch));
  if (events & KF_READ) watch(transfer, transfer->events & ~KF_READ);  // again when somebody waits
  if (events & KF_WRITE) flush(transfer);
  kf_transfer_tell(transfer);
}

// [session options transfer deadline]
static int connected(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct transfer *transfer = kf_check_transfer(L, 3);
  if (status == LUA_YIELD && !kf_gate_waited(L))
    return kf_transfer_time_out(L, transfer, 3, "the connection was not made in time");
  if (!transfer->done)
    return kf_gate_wait(L, &transfer->changes, lua_tonumber(L, 4), 0, connected);
  if (transfer->result != CURLE_OK) return kf_transfer_fail(L, transfer, 3);
  curl_socket_t fd = CURL_SOCKET_BAD;
  transfer->session->curl->easy_getinfo(transfer->easy, CURLINFO_ACTIVESOCKET, &fd);
  transfer->fd = fd;
  transfer->watch.ready = on_ready;
  lua_settop(L, 3);
  return 1;
}

// session:connect(options) -> transfer, to be used by send and receive
int kf_session_connect(lua_State *L) {
  lua_settop(L, 2);
  double deadline = kf_deadline_field(L, 2, "timeout");
  kf_transfer_start(L, false, true);
  lua_pushnumber(L, deadline);
  return connected(L, LUA_OK, 0);
}

// [transfer text] context: what sent_total must reach; totals may wrap around.
static int sent(lua_State *L, int status, lua_KContext context) {
  struct transfer *transfer = kf_check_transfer(L, 1);
  if (status == LUA_YIELD) kf_gate_waited(L);
  if ((ptrdiff_t)(transfer->sent_total - (size_t)context) >= 0) return 0;
  if (transfer->fd < 0) return kf_transfer_fail(L, transfer, 1);
  return kf_gate_wait(L, &transfer->changes, HUGE_VAL, context, sent);
}

// t:send(text): waits until all is sent; texts of several tasks do not mix
int kf_transfer_send(lua_State *L) {
  struct transfer *transfer = kf_check_transfer(L, 1);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  lua_settop(L, 2);
  if (transfer->fd < 0) return kf_fail(L, "Closed", "the connection is closed");
  kf_buffer_add(&transfer->upload, text, length);
  if (transfer->upload.failed) return luaL_error(L, "not enough memory");
  transfer->queued_total += length;
  size_t mark = transfer->queued_total;
  flush(transfer);
  return sent(L, LUA_OK, (lua_KContext)mark);
}

static int broken(lua_State *L, struct transfer *transfer, CURLcode result) {
  kf_transfer_stop(transfer);
  transfer->result = result;
  return kf_transfer_fail(L, transfer, 1);
}

static int receive_some(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct transfer *transfer = kf_check_transfer(L, 1);
  if (status == LUA_YIELD && !kf_gate_waited(L))
    return kf_fail(L, "Timeout", "nothing came in time");
  char bytes[READ_SIZE];
  size_t count = 0;
  CURLcode result = CURLE_OK;
  if (transfer->fd >= 0)
    result = transfer->session->curl->easy_recv(transfer->easy, bytes, sizeof bytes, &count);
  if (result == CURLE_AGAIN) {
    watch(transfer, transfer->events | KF_READ);
    return kf_gate_wait(L, &transfer->changes, lua_tonumber(L, 2), 0, receive_some);
  }
  if (result != CURLE_OK) return broken(L, transfer, result);
  if (count > 0) lua_pushlstring(L, bytes, count);
  else lua_pushnil(L);
  return 1;
}

// t:receive(timeout) -> bytes, or nil at the end
int kf_transfer_receive(lua_State *L) {
  kf_check_transfer(L, 1);
  double deadline = kf_deadline(L, 2);
  lua_settop(L, 1);
  lua_pushnumber(L, deadline);
  return receive_some(L, LUA_OK, 0);
}
