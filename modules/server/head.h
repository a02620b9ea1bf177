// The head of an HTTP/1.1 request, and chunked bodies (RFC 9112). Plain C; strict: what two
// parties could read differently is refused.
#ifndef KF_SERVER_HEAD_H
#define KF_SERVER_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KF_HEADERS = 100 };

struct kf_slice {
  const char *text;
  size_t length;
};

struct kf_head {
  struct kf_slice method, path, query;  // query.text is NULL without a "?"
  struct {
    struct kf_slice name, value;
    bool again;  // a name that came before
  } headers[KF_HEADERS];
  size_t count;
  uint64_t content_length;
  bool has_length, chunked;
  bool old;  // HTTP/1.0
  bool keep_alive, expects_continue;
};

// Where the head ends in `text` (after its empty line), or 0 when it is not there yet. `*from` is
// where to go on searching when more has come; it starts as 0.
size_t kf_head_end(const char *text, size_t length, size_t *from);

// Reads a whole head, which kf_head_end found. Names of headers are made lower-case in place; the
// slices point into `text`. 0, or the status that refuses it: 400, 431, 501 or 505.
int kf_head_parse(char *text, size_t length, struct kf_head *head);

// A chunked body, decoded in place piece by piece. Starts as {0}.
struct kf_chunks {
  enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER, CHUNK_DONE } state;
  uint64_t left;   // of this chunk's data
  size_t trailer;  // bytes of trailers that were skipped
};

// Decodes what is in text: moves data to the front (*data bytes) and tells how much of the text it
// used. false when it is no chunked body. CHUNK_DONE in `state` at the end.
bool kf_chunks_decode(struct kf_chunks *chunks, char *text, size_t length, size_t *data,
                      size_t *used);

#endif
