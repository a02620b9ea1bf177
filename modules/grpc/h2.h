// A server of HTTP/2, without TLS (h2c, prior knowledge) or with it, for gRPC: requests and answers
// are whole, answers may have trailers. h2.c is the protocol, tls.c its TLS, grpc.c the Lua side.
#ifndef KF_GRPC_H2_H
#define KF_GRPC_H2_H

#include "base/buffer.h"
#include "task.h"

#include <lauxlib.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <stdbool.h>

struct h2_connection;
struct h2_stream;

struct h2_server {
  struct kf_loop *loop;
  lua_State *L;  // a thread of its own, for protected calls from events
  int fd, port;
  char *path;    // of the unix socket, to be removed
  size_t max_body;
  bool (*start)(struct h2_stream *stream);  // a request is whole: makes its task; false when memory is out
  SSL_CTX *tls;  // NULL: none
  struct kf_watch accepting;
  struct kf_hold hold;
  struct h2_connection *connections;
};

// A request and its answer; freed when the stream closes.
struct h2_stream {
  struct h2_server *server;
  struct h2_connection *connection;
  struct h2_stream *next, **link;  // all of the connection
  int32_t id;
  bool answered;
  bool too_large;             // the body was longer than max_body, and is thrown away
  struct kf_buffer headers;   // name '\0' value '\0' …
  struct kf_buffer body;
  struct kf_buffer answer;    // the body of the answer
  size_t sent;
  struct kf_buffer trailers;  // as headers
  struct h2_call *call;
};

// The userdata of a request, which its task holds.
struct h2_call {
  struct h2_stream *stream;  // NULL: over
  struct kf_task *task;      // anchored as user value 1
};

// --- h2.c ---------------------------------------------------------------------------------------

// Takes over a descriptor.
void kf_h2_open(struct h2_server *server, int fd);
void kf_h2_close(struct h2_connection *connection);
void kf_h2_close_all(struct h2_server *server);
size_t kf_h2_count(const struct h2_server *server);  // of open connections
// Sends what is to be sent; false when the connection has ended by that.
bool kf_h2_flush(struct h2_connection *connection);
// Answers with the pairs of `headers` (":status" first), the stream's answer and trailers.
void kf_h2_answer(struct h2_stream *stream, const struct kf_buffer *headers);
// Says that the request was not begun: by a reset of its stream, or by the end of the connection.
void kf_h2_refuse(struct h2_stream *stream, bool connection);

// --- tls.c --------------------------------------------------------------------------------------

// [-0, +0, v] raises "Certificate".
SSL_CTX *kf_h2_context(lua_State *L, const char *certificate, const char *key);
// More than 0: so many bytes; 0: none now; less: the connection has ended.
long kf_h2_read(SSL *ssl, void *room, size_t size);
long kf_h2_write(SSL *ssl, const void *bytes, size_t length);

#endif
