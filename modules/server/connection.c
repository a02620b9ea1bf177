#include "server.h"

#include "supervise.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  READ_SIZE = 16384,
  READ_SHARE = 1 << 20,  // what one connection may read before the others have their turn
  PIPELINE = 65536,      // what is read ahead while a request is handled
  LINGER_SECONDS = 2,
};

// How long a drain waits for a request on a connection that has had some, or none yet: a client
// cannot know that it comes too late.
#define IDLE_DRAIN_SECONDS 0.2
#define NEW_DRAIN_SECONDS 5
#define LATE_SECONDS 5  // for bytes that were there in time, but that this process had no time to read

// --- time ---------------------------------------------------------------------------------------

static bool refuse(struct connection *connection, int status);
static void set_deadline(struct connection *connection, double seconds);

// Whether bytes lie there that nobody has read: closing now would reset the connection. Once, so that
// who sends a byte now and then has no more time for it.
static bool was_late(struct connection *connection) {
  char byte;
  if (connection->late || recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) return false;
  return connection->late = true;
}

static void on_time(struct kf_timer *timer) {
  struct connection *connection =
      (struct connection *)(void *)((char *)timer - offsetof(struct connection, timer));
  struct kf_loop *loop = connection->server->loop;
  if (connection->deadline == HUGE_VAL) return;
  if (kf_loop_now(loop) + 1e-6 < connection->deadline) {
    kf_timer_start(loop, timer, connection->deadline);
  } else if (was_late(connection)) {
    set_deadline(connection, LATE_SECONDS);
  } else if (connection->phase == READ_BODY || connection->started) {
    refuse(connection, 408);
  } else {
    kf_connection_close(connection, false);
  }
}

// The timer is moved only when it would come too late: deadlines change with every request.
static void set_deadline(struct connection *connection, double seconds) {
  struct kf_loop *loop = connection->server->loop;
  connection->deadline = seconds == HUGE_VAL ? HUGE_VAL : kf_loop_now(loop) + seconds;
  if (connection->deadline == HUGE_VAL) return;
  if (connection->timer.slot && connection->timer.due <= connection->deadline) return;
  kf_timer_start(loop, &connection->timer, connection->deadline);
}

// --- beginning and end --------------------------------------------------------------------------

static void on_event(struct kf_watch *watch, int events);
static void set_events(struct connection *connection);

static bool listen_for(struct connection *connection, int events) {
  if (events == connection->events) return true;
  connection->events = events;
  struct kf_loop *loop = connection->server->loop;
  if (events) return kf_watch_start(loop, &connection->watch, connection->fd, events);
  kf_watch_stop(loop, &connection->watch);
  return true;
}

static bool advance(struct connection *connection);

// A connection whose bytes are no HTTP: the request that it is has a head of ours.
static void begin_raw(struct connection *connection) {
  kf_buffer_add_text(&connection->in, "RAW / HTTP/1.1\r\nHost: raw\r\n\r\n");
  if (connection->in.failed) kf_connection_close(connection, true);
  else if (advance(connection)) set_events(connection);
}

void kf_connection_open(struct server *server, int fd) {
  struct connection *connection = calloc(1, sizeof *connection);
  SSL *ssl = server->tls ? SSL_new(server->tls) : NULL;
  if (!connection || (server->tls && (!ssl || !SSL_set_fd(ssl, fd)))) {
    SSL_free(ssl);
    free(connection);
    close(fd);
    return;
  }
  if (ssl) SSL_set_accept_state(ssl);
  connection->server = server;
  connection->ssl = ssl;
  connection->fd = fd;
  connection->peer = LUA_NOREF;
  connection->watch.ready = on_event;
  connection->timer.fire = on_time;
  connection->next = server->connections;
  connection->link = &server->connections;
  if (connection->next) connection->next->link = &connection->next;
  server->connections = connection;
  server->count++;
  if (server->shared && kf_own_slot()) kf_own_slot()->connections = (unsigned)server->count;
  set_deadline(connection, server->request_timeout);
  if (!listen_for(connection, KF_READ)) kf_connection_close(connection, true);
  else if (server->raw) begin_raw(connection);
}

void kf_connection_release(struct connection *connection) {
  if (connection->exchange) connection->server->handling--;
  connection->exchange = NULL;
}

// The exchange learns that its client has gone; a task that streams is cancelled, since it may
// wait for what will never come.
static void detach(struct connection *connection) {
  struct exchange *exchange = connection->exchange;
  kf_connection_release(connection);
  if (!exchange) return;
  exchange->connection = NULL;
  kf_gate_open(&exchange->changes);
  bool cancel = exchange->answer == ANSWER_STREAM || connection->server->fd < 0;
  if (cancel && exchange->task) kf_task_cancel(exchange->task);
}

static void unlink_connection(struct connection *connection) {
  struct server *server = connection->server;
  *connection->link = connection->next;
  if (connection->next) connection->next->link = connection->link;
  server->count--;
  if (server->shared && kf_own_slot()) kf_own_slot()->connections = (unsigned)server->count;
  if (server->count == 0 && server->fd < 0) kf_gate_open(&server->empty);
}

// A connection ends whose handshake was not finished: refused by OpenSSL, which says why, or given up.
static void note_handshake(struct connection *connection) {
  if (!connection->ssl || SSL_is_init_finished(connection->ssl)) return;
  struct refusals *refusals = &connection->server->refusals;
  kf_refusals_add(refusals, 0);
  refusals->handshake = connection->handshake ? connection->handshake : "it was not finished";
}

void kf_connection_close(struct connection *connection, bool reset) {
  struct server *server = connection->server;
  note_handshake(connection);
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  kf_watch_stop(server->loop, &connection->watch);
  kf_timer_stop(server->loop, &connection->timer);
  if (reset) setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  else if (connection->ssl && SSL_is_init_finished(connection->ssl)) SSL_shutdown(connection->ssl);
  ERR_clear_error();
  SSL_free(connection->ssl);
  close(connection->fd);
  detach(connection);
  unlink_connection(connection);
  luaL_unref(server->L, LUA_REGISTRYINDEX, connection->peer);
  kf_buffer_free(&connection->in);
  kf_buffer_free(&connection->out);
  free(connection);
}

// --- bytes --------------------------------------------------------------------------------------

enum { BLOCKED = 0, ENDED = -1, BROKEN = -2 };

static long tls_result(struct connection *connection, int result) {
  if (result > 0) return result;
  switch (SSL_get_error(connection->ssl, result)) {
  case SSL_ERROR_WANT_READ:
  case SSL_ERROR_WANT_WRITE: return BLOCKED;
  case SSL_ERROR_ZERO_RETURN: return ENDED;
  default:
    connection->handshake = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return BROKEN;
  }
}

static long plain_result(ssize_t result) {
  if (result >= 0) return result;
  return errno == EAGAIN || errno == EINTR ? BLOCKED : BROKEN;
}

// More than 0: so many bytes; else what hindered it.
static long read_bytes(struct connection *connection, char *room, size_t size) {
  if (connection->ssl) return tls_result(connection, SSL_read(connection->ssl, room, (int)size));
  long count = plain_result(recv(connection->fd, room, size, 0));
  return count == 0 && errno != EAGAIN && errno != EINTR ? ENDED : count;
}

static long write_bytes(struct connection *connection, const char *bytes, size_t length) {
  if (length > INT32_MAX) length = INT32_MAX;
  if (connection->ssl) return tls_result(connection, SSL_write(connection->ssl, bytes, (int)length));
  return plain_result(send(connection->fd, bytes, length, MSG_NOSIGNAL));
}

static void set_events(struct connection *connection) {
  bool full = connection->in.length >= PIPELINE &&
              (connection->phase == HANDLING || connection->phase == UPGRADED);
  int events = (connection->ended || full ? 0 : KF_READ) |
               (kf_connection_flushed(connection) ? 0 : KF_WRITE);
  listen_for(connection, events);
}

// Writes from a span; false when the connection broke.
static bool write_span(struct connection *connection, const char *text, size_t length, size_t *done) {
  while (*done < length) {
    long count = write_bytes(connection, text + *done, length - *done);
    if (count == BLOCKED) return true;
    if (count < 0) return false;
    *done += (size_t)count;
  }
  return true;
}

bool kf_connection_flush(struct connection *connection) {
  size_t before = connection->out.length - connection->written + connection->rest_length;
  bool fine = !connection->out.failed && write_span(connection, connection->out.data,
                                                    connection->out.length, &connection->written);
  if (fine && connection->written == connection->out.length) {
    size_t done = 0;
    fine = write_span(connection, connection->rest, connection->rest_length, &done);
    connection->rest += done;
    connection->rest_length -= done;
    connection->out.length = connection->written = 0;
    if (connection->out.capacity > PIPELINE) kf_buffer_free(&connection->out);
  }
  if (!fine) {
    kf_connection_close(connection, true);
    return false;
  }
  size_t left = connection->out.length - connection->written + connection->rest_length;
  // A client that takes nothing is given up; one that takes a little has time again.
  bool answering = connection->phase == HANDLING || connection->phase == UPGRADED;
  if (answering && (left == 0 || left < before || connection->deadline == HUGE_VAL))
    set_deadline(connection, left ? connection->server->idle_timeout : HUGE_VAL);
  set_events(connection);
  return true;
}

// Reads what is there into `in`; false when the connection has ended by that.
static bool fill(struct connection *connection) {
  size_t total = 0;
  while (total < READ_SHARE) {
    char *room = kf_buffer_reserve(&connection->in, READ_SIZE);
    errno = 0;
    long count = room ? read_bytes(connection, room, READ_SIZE) : BROKEN;
    if (count == BLOCKED) return true;
    if (count == ENDED) {
      connection->ended = true;
      return true;
    }
    if (count < 0) {
      kf_connection_close(connection, true);
      return false;
    }
    connection->in.length += (size_t)count;
    total += (size_t)count;
    bool more = connection->ssl ? SSL_has_pending(connection->ssl) : count == READ_SIZE;
    if (!more) return true;
  }
  return true;
}

// --- understanding ------------------------------------------------------------------------------
// Functions that return `alive` return false when they have ended the connection.

static void drop_front(struct connection *connection, size_t count) {
  struct kf_buffer *in = &connection->in;
  in->length -= count;
  if (in->length > 0) memmove(in->data, in->data + count, in->length);
  else if (in->capacity > PIPELINE) kf_buffer_free(in);
}

// Says that nothing follows, and waits a moment for the client to see it: closing at once, with
// input unread, would take the answer away from it.
static bool linger(struct connection *connection) {
  connection->phase = LINGERING;
  connection->in.length = 0;
  set_deadline(connection, LINGER_SECONDS);
  if (!kf_connection_flushed(connection)) {  // again when it is
    set_events(connection);
    return true;
  }
  if (connection->ended) {
    kf_connection_close(connection, false);
    return false;
  }
  if (connection->ssl) SSL_shutdown(connection->ssl);
  ERR_clear_error();
  shutdown(connection->fd, SHUT_WR);
  set_events(connection);
  return true;
}

static bool refuse(struct connection *connection, int status) {
  connection->phase = LINGERING;
  kf_response_refuse(connection, status);
  return kf_connection_flush(connection) && linger(connection);
}

// A head has come whole: what its body is.
static bool begin_request(struct connection *connection, size_t head_length) {
  struct server *server = connection->server;
  struct kf_head *head = &server->head;
  int status = head_length > server->max_header ? 431
               : kf_head_parse(connection->in.data, head_length, head);
  if (!status && head->has_length && head->content_length > server->max_body) status = 413;
  if (!status && server->handling >= server->most_requests) status = 503;
  if (status) return refuse(connection, status);
  connection->head_length = head_length;
  connection->body_length = 0;
  connection->content_length = head->content_length;
  connection->chunked = head->chunked;
  connection->chunks = (struct kf_chunks){0};
  connection->old = head->old;
  connection->keep_alive = head->keep_alive;
  connection->phase = READ_BODY;
  size_t there = connection->in.length - head_length;
  if (!head->expects_continue || there > 0 || !(head->chunked || head->content_length > 0))
    return true;
  kf_buffer_add_text(&connection->out, "HTTP/1.1 100 Continue\r\n\r\n");
  return kf_connection_flush(connection);
}

static bool read_head(struct connection *connection) {
  struct kf_buffer *in = &connection->in;
  while (in->length >= 2 && memcmp(in->data, "\r\n", 2) == 0) drop_front(connection, 2);
  if (in->length == 0) return true;
  if (!connection->started) set_deadline(connection, connection->server->request_timeout);
  connection->started = true;
  size_t head_length = kf_head_end(in->data, in->length, &connection->scanned);
  if (head_length) return begin_request(connection, head_length);
  return in->length > connection->server->max_header ? refuse(connection, 431) : true;
}

// Decodes what has come of a chunked body to where the body lies. 0, or the status that refuses.
static int decode(struct connection *connection) {
  struct kf_buffer *in = &connection->in;
  size_t start = connection->head_length + connection->body_length, data, used;
  if (!kf_chunks_decode(&connection->chunks, in->data + start, in->length - start, &data, &used))
    return 400;
  connection->body_length += data;
  memmove(in->data + start + data, in->data + start + used, in->length - start - used);
  in->length -= used - data;
  return connection->body_length > connection->server->max_body ? 413 : 0;
}

static bool start_request(struct connection *connection) {
  size_t length = connection->head_length + connection->body_length;
  // Parsed again: other heads may have been parsed while the body came.
  kf_head_parse(connection->in.data, connection->head_length, &connection->server->head);
  connection->phase = HANDLING;
  connection->served = true;
  set_deadline(connection, HUGE_VAL);
  if (!kf_request_start(connection)) {
    kf_connection_close(connection, true);
    return false;
  }
  drop_front(connection, length);
  connection->scanned = 0;
  connection->started = false;
  return true;
}

static bool read_body(struct connection *connection) {
  size_t there = connection->in.length - connection->head_length;
  if (connection->chunked) {
    int status = decode(connection);
    if (status) return refuse(connection, status);
    return connection->chunks.state == CHUNK_DONE ? start_request(connection) : true;
  }
  connection->body_length = (size_t)connection->content_length;
  return there >= connection->body_length ? start_request(connection) : true;
}

// The input has changed, or a request may begin: goes as far as it can.
static bool advance(struct connection *connection) {
  if (connection->phase == READ_HEAD && !read_head(connection)) return false;
  if (connection->phase == READ_BODY && !read_body(connection)) return false;
  bool reading = connection->phase == READ_HEAD || connection->phase == READ_BODY;
  if (!connection->ended || !reading) return true;
  kf_connection_close(connection, false);  // what was begun will never be whole
  return false;
}

void kf_connection_next(struct connection *connection) {
  kf_connection_release(connection);
  if (!connection->keep_alive || connection->server->draining) {
    linger(connection);
    return;
  }
  connection->phase = READ_HEAD;
  connection->late = false;
  set_deadline(connection, connection->server->idle_timeout);
  if (advance(connection)) set_events(connection);
}

void kf_connection_drain(struct connection *connection) {
  bool idle = connection->phase == READ_HEAD && !connection->started;
  if (idle) set_deadline(connection, connection->served ? IDLE_DRAIN_SECONDS : NEW_DRAIN_SECONDS);
}

void kf_connection_resume(struct connection *connection) {
  set_events(connection);
}

// --- events -------------------------------------------------------------------------------------

static void tell(struct exchange *exchange) {
  if (!exchange) return;
  kf_gate_open(&exchange->changes);
  exchange->changes.open = false;
}

static void on_input(struct connection *connection) {
  struct exchange *exchange = connection->exchange;
  switch (connection->phase) {
  case READ_HEAD:
  case READ_BODY: advance(connection); return;
  case LINGERING: connection->in.length = 0; break;
  case HANDLING:
  case UPGRADED: tell(exchange); break;
  }
  bool streams = exchange && exchange->answer == ANSWER_STREAM;
  if (connection->ended && (connection->phase == LINGERING || streams))
    kf_connection_close(connection, false);
  else
    set_events(connection);
}

static void on_event(struct kf_watch *watch, int events) {
  struct connection *connection = (struct connection *)(void *)watch;
  if (!kf_connection_flushed(connection)) {
    if (!kf_connection_flush(connection)) return;
    if (connection->phase == LINGERING && kf_connection_flushed(connection) && !linger(connection))
      return;
    tell(connection->exchange);
  }
  if ((events & KF_READ) && fill(connection)) on_input(connection);
}
