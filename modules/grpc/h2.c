#include "h2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 65536, MOST_PAIRS = 128, HEADER_LIMIT = 65536, LEAVING_SECONDS = 2 };

struct h2_connection {
  struct kf_watch watch;  // first
  struct h2_server *server;
  struct h2_connection *next, **link;
  nghttp2_session *session;
  struct h2_stream *streams;
  SSL *ssl;
  int fd, events;
  struct kf_buffer out;   // taken from the session and not written
  size_t written;
  struct kf_timer timer;  // while it is leaving
  bool leaving;           // nothing more is sent; what still comes is thrown away
  bool busy;              // within the session: it must not be entered, or freed, again
};

// --- streams ------------------------------------------------------------------------------------

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id) {
  return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *data) {
  if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  struct h2_stream *stream = calloc(1, sizeof *stream);
  if (!stream) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  stream->connection = data;
  stream->server = stream->connection->server;
  stream->id = frame->hd.stream_id;
  stream->next = stream->connection->streams;
  stream->link = &stream->connection->streams;
  if (stream->next) stream->next->link = &stream->next;
  stream->connection->streams = stream;
  nghttp2_session_set_stream_user_data(session, stream->id, stream);
  return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                     void *data) {
  (void)flags, (void)data;
  struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
  if (!stream) return 0;
  if (stream->headers.length + name_length + value_length > HEADER_LIMIT)
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  kf_buffer_add(&stream->headers, name, name_length);
  kf_buffer_add_char(&stream->headers, '\0');
  kf_buffer_add(&stream->headers, value, value_length);
  kf_buffer_add_char(&stream->headers, '\0');
  return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t length, void *data) {
  (void)flags;
  struct h2_connection *connection = data;
  struct h2_stream *stream = stream_of(session, id);
  if (!stream) return 0;
  if (stream->too_large) return 0;
  if (stream->body.length + length <= connection->server->max_body) {
    kf_buffer_add(&stream->body, bytes, length);
  } else {
    stream->too_large = true;
    kf_buffer_free(&stream->body);
  }
  return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *data) {
  (void)data;
  bool of_request = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
  if (!of_request || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
  struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
  if (!stream || stream->call) return 0;
  if (stream->headers.failed || stream->body.failed || !stream->server->start(stream))
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_INTERNAL_ERROR);
  return 0;
}

static void free_stream(struct h2_stream *stream) {
  struct h2_call *call = stream->call;
  *stream->link = stream->next;
  if (stream->next) stream->next->link = stream->link;
  if (call) {
    call->stream = NULL;
    if (call->task) kf_task_cancel(call->task);
  }
  kf_buffer_free(&stream->headers);
  kf_buffer_free(&stream->body);
  kf_buffer_free(&stream->answer);
  kf_buffer_free(&stream->trailers);
  free(stream);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *data) {
  (void)code, (void)data;
  struct h2_stream *stream = stream_of(session, id);
  if (!stream) return 0;
  nghttp2_session_set_stream_user_data(session, id, NULL);
  free_stream(stream);
  return 0;
}

// --- answers ------------------------------------------------------------------------------------

static size_t to_pairs(const struct kf_buffer *headers, nghttp2_nv *pairs) {
  size_t count = 0;
  for (size_t at = 0; at < headers->length && count < MOST_PAIRS; count++) {
    char *name = headers->data + at, *value = name + strlen(name) + 1;
    pairs[count] = (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), 0};
    at = (size_t)(value - headers->data) + strlen(value) + 1;
  }
  return count;
}

static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *room, size_t size,
                           uint32_t *flags, nghttp2_data_source *source, void *data) {
  (void)data;
  struct h2_stream *stream = source->ptr;
  size_t left = stream->answer.length - stream->sent;
  size_t count = left < size ? left : size;
  if (count) memcpy(room, stream->answer.data + stream->sent, count);
  stream->sent += count;
  if (stream->sent < stream->answer.length) return (ssize_t)count;
  *flags |= NGHTTP2_DATA_FLAG_EOF;
  if (stream->trailers.length > 0) {
    nghttp2_nv pairs[MOST_PAIRS];
    size_t pair_count = to_pairs(&stream->trailers, pairs);
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(session, id, pairs, pair_count) != 0)
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  return (ssize_t)count;
}

void kf_h2_answer(struct h2_stream *stream, const struct kf_buffer *headers) {
  struct h2_connection *connection = stream->connection;
  nghttp2_nv pairs[MOST_PAIRS];
  size_t count = to_pairs(headers, pairs);
  stream->answered = true;
  nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = read_answer};
  nghttp2_submit_response(connection->session, stream->id, pairs, count, &provider);
  kf_h2_flush(connection);
}

void kf_h2_refuse(struct h2_stream *stream, bool whole) {
  struct h2_connection *connection = stream->connection;
  stream->answered = true;
  int32_t last = stream->id > 1 ? stream->id - 2 : 0;  // streams up to this one go on
  if (whole)
    nghttp2_submit_goaway(connection->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0);
  nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE, stream->id,
                            NGHTTP2_REFUSED_STREAM);
  kf_h2_flush(connection);
}

// --- connections --------------------------------------------------------------------------------

void kf_h2_close(struct h2_connection *connection) {
  kf_watch_stop(connection->server->loop, &connection->watch);
  kf_timer_stop(connection->server->loop, &connection->timer);
  if (connection->ssl && !connection->leaving && SSL_is_init_finished(connection->ssl)) SSL_shutdown(connection->ssl);
  SSL_free(connection->ssl);
  close(connection->fd);
  *connection->link = connection->next;
  if (connection->next) connection->next->link = connection->link;
  struct h2_stream *next_stream;
  for (struct h2_stream *at = connection->streams; at; at = next_stream) {
    next_stream = at->next;
    free_stream(at);
  }
  nghttp2_session_del(connection->session);
  kf_buffer_free(&connection->out);
  free(connection);
}

void kf_h2_close_all(struct h2_server *server) {
  struct h2_connection *next;
  for (struct h2_connection *at = server->connections; at; at = next) {
    next = at->next;
    kf_h2_close(at);
  }
}

size_t kf_h2_count(const struct h2_server *server) {
  size_t count = 0;
  for (const struct h2_connection *at = server->connections; at; at = at->next) count++;
  return count;
}

static void listen_for(struct h2_connection *connection, int events) {
  if (events == connection->events) return;
  connection->events = events;
  kf_watch_start(connection->server->loop, &connection->watch, connection->fd, events);
}

// As kf_h2_read and kf_h2_write, with TLS or without.
static long receive_bytes(struct h2_connection *connection, void *room, size_t size) {
  if (connection->ssl) return kf_h2_read(connection->ssl, room, size);
  ssize_t count = recv(connection->fd, room, size, 0);
  if (count > 0) return count;
  return count < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static long send_bytes(struct h2_connection *connection, const void *bytes, size_t length) {
  if (connection->ssl) return kf_h2_write(connection->ssl, bytes, length);
  ssize_t count = send(connection->fd, bytes, length, MSG_NOSIGNAL);
  if (count >= 0) return count;
  return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

// Writes what was taken; false when the connection broke.
static bool write_out(struct h2_connection *connection) {
  struct kf_buffer *out = &connection->out;
  while (connection->written < out->length) {
    long count = send_bytes(connection, out->data + connection->written,
                            out->length - connection->written);
    if (count <= 0) return count == 0;
    connection->written += (size_t)count;
  }
  connection->written = out->length = 0;
  return true;
}

// Moves bytes from the session to the socket until one of them has had enough.
static bool pump(struct h2_connection *connection) {
  while (write_out(connection)) {
    if (connection->out.length > 0) return true;
    const uint8_t *bytes;
    ssize_t count = nghttp2_session_mem_send(connection->session, &bytes);
    if (count <= 0) return count == 0;
    kf_buffer_add(&connection->out, bytes, (size_t)count);
    if (connection->out.failed) return false;
  }
  return false;
}

static void on_time(struct kf_timer *timer) {
  kf_h2_close((struct h2_connection *)(void *)((char *)timer - offsetof(struct h2_connection, timer)));
}

// Says that nothing follows and lets the client close: to close first, with input unread, would take
// the last answers away from it.
static void leave(struct h2_connection *connection) {
  struct kf_loop *loop = connection->server->loop;
  connection->leaving = true;
  if (connection->ssl) SSL_shutdown(connection->ssl);
  shutdown(connection->fd, SHUT_WR);
  connection->timer.fire = on_time;
  kf_timer_start(loop, &connection->timer, kf_loop_now(loop) + LEAVING_SECONDS);
}

bool kf_h2_flush(struct h2_connection *connection) {
  if (connection->busy || connection->leaving) return true;  // whoever is within will
  connection->busy = true;
  bool fine = pump(connection);
  connection->busy = false;
  if (!fine) {
    kf_h2_close(connection);
    return false;
  }
  bool over = !nghttp2_session_want_read(connection->session) &&
              !nghttp2_session_want_write(connection->session) && connection->out.length == 0;
  if (over) leave(connection);
  listen_for(connection, KF_READ | (connection->out.length > 0 ? KF_WRITE : 0));
  return true;
}

// Hands what has come to the session; false when the connection broke.
static bool take_input(struct h2_connection *connection) {
  uint8_t bytes[READ_SIZE];
  do {
    long count = receive_bytes(connection, bytes, sizeof bytes);
    if (count == 0) return true;
    if (count > 0 && connection->leaving) continue;
    if (count < 0 || nghttp2_session_mem_recv(connection->session, bytes, (size_t)count) < 0)
      return false;
  } while (connection->ssl && SSL_has_pending(connection->ssl));
  return true;
}

static void on_event(struct kf_watch *watch, int events) {
  struct h2_connection *connection = (struct h2_connection *)(void *)watch;
  if (events & KF_READ) {
    connection->busy = true;
    bool fine = take_input(connection);
    connection->busy = false;
    if (!fine) {
      kf_h2_close(connection);
      return;
    }
  }
  kf_h2_flush(connection);
}

static nghttp2_session *new_session(struct h2_connection *connection) {
  nghttp2_session_callbacks *callbacks = NULL;
  nghttp2_session *session = NULL;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) return NULL;
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
  if (nghttp2_session_server_new(&session, callbacks, connection) != 0) session = NULL;
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 250},
                                       {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
  if (session) nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 2);
  return session;
}

void kf_h2_open(struct h2_server *server, int fd) {
  struct h2_connection *connection = calloc(1, sizeof *connection);
  nghttp2_session *session = connection ? new_session(connection) : NULL;
  SSL *ssl = server->tls ? SSL_new(server->tls) : NULL;
  if (!session || (server->tls && (!ssl || !SSL_set_fd(ssl, fd)))) {
    nghttp2_session_del(session);
    SSL_free(ssl);
    free(connection);
    close(fd);
    return;
  }
  if (ssl) SSL_set_accept_state(ssl);
  connection->ssl = ssl;
  connection->server = server;
  connection->session = session;
  connection->fd = fd;
  connection->watch.ready = on_event;
  connection->next = server->connections;
  connection->link = &server->connections;
  if (connection->next) connection->next->link = &connection->next;
  server->connections = connection;
  kf_h2_flush(connection);
}
