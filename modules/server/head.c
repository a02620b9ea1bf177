#include "head.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { BAD_REQUEST = 400, TOO_MANY_HEADERS = 431, NOT_IMPLEMENTED = 501, BAD_VERSION = 505 };

size_t kf_head_end(const char *text, size_t length, size_t *from) {
  size_t at = *from;
  while (at + 4 <= length) {
    const char *found = memchr(text + at, '\r', length - at - 3);
    if (!found) {
      at = length - 3;
      break;
    }
    at = (size_t)(found - text);
    if (memcmp(found, "\r\n\r\n", 4) == 0) return at + 4;
    at++;
  }
  *from = at;
  return 0;
}

// --- characters -------------------------------------------------------------------------------

static bool is_token(unsigned char c) {
  return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_visible(unsigned char c) {
  return c > 0x20 && c != 0x7f;
}

static bool is_value(unsigned char c) {
  return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static bool is_name(struct kf_slice slice, const char *name) {
  return slice.length == strlen(name) && strncasecmp(slice.text, name, slice.length) == 0;
}

// Whether a comma-separated list holds a word.
static bool has_word(struct kf_slice list, const char *word) {
  const char *at = list.text, *end = list.text + list.length;
  while (at < end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == ',')) at++;
    const char *start = at;
    while (at < end && *at != ',') at++;
    const char *last = at;
    while (last > start && (last[-1] == ' ' || last[-1] == '\t')) last--;
    if (is_name((struct kf_slice){start, (size_t)(last - start)}, word)) return true;
  }
  return false;
}

// --- the request line -------------------------------------------------------------------------

// "https://host/path" is the same as "/path" with a Host header.
static void strip_authority(struct kf_slice *target) {
  const char *end = target->text + target->length;
  const char *mark = target->length > 8 ? memchr(target->text, ':', 6) : NULL;
  if (!mark || end - mark < 3 || memcmp(mark, "://", 3) != 0) return;
  const char *path = memchr(mark + 3, '/', (size_t)(end - mark - 3));
  target->text = path ? path : "/";
  target->length = path ? (size_t)(end - path) : 1;
}

static int split_target(struct kf_slice target, struct kf_head *head) {
  bool connect = is_name(head->method, "CONNECT");
  if (!connect) strip_authority(&target);
  bool star = target.length == 1 && *target.text == '*';
  if (target.length == 0 || (!connect && !star && *target.text != '/')) return BAD_REQUEST;
  const char *mark = memchr(target.text, '?', target.length);
  head->path = target;
  if (!mark) return 0;
  head->path.length = (size_t)(mark - target.text);
  head->query.text = mark + 1;
  head->query.length = target.length - head->path.length - 1;
  return 0;
}

// METHOD SP TARGET SP HTTP/1.x
static int parse_line(const char *line, const char *end, struct kf_head *head) {
  const char *at = line;
  while (at < end && is_token((unsigned char)*at)) at++;
  head->method = (struct kf_slice){line, (size_t)(at - line)};
  if (at == line || at == end || *at++ != ' ') return BAD_REQUEST;
  const char *target = at;
  while (at < end && is_visible((unsigned char)*at)) at++;
  struct kf_slice target_slice = {target, (size_t)(at - target)};
  if (at == end || *at++ != ' ' || end - at != 8 || memcmp(at, "HTTP/", 5) != 0) return BAD_REQUEST;
  if (at[5] != '1' || at[6] != '.' || (at[7] != '0' && at[7] != '1')) return BAD_VERSION;
  head->old = at[7] == '0';
  head->keep_alive = !head->old;
  return split_target(target_slice, head);
}

// --- headers ------------------------------------------------------------------------------------

static bool parse_length(struct kf_slice value, uint64_t *number) {
  if (value.length == 0 || value.length > 18) return false;
  *number = 0;
  for (size_t i = 0; i < value.length; i++) {
    if (!isdigit((unsigned char)value.text[i])) return false;
    *number = *number * 10 + (uint64_t)(value.text[i] - '0');
  }
  return true;
}

static int understand_length(struct kf_slice value, struct kf_head *head) {
  uint64_t number = 0;
  if (!parse_length(value, &number)) return BAD_REQUEST;
  if (head->has_length && head->content_length != number) return BAD_REQUEST;
  head->has_length = true;
  head->content_length = number;
  return 0;
}

// What the server itself must know of a header.
static int understand(struct kf_slice name, struct kf_slice value, struct kf_head *head) {
  if (is_name(name, "content-length")) return understand_length(value, head);
  if (is_name(name, "transfer-encoding")) {
    if (head->chunked || head->old) return BAD_REQUEST;
    if (!is_name(value, "chunked")) return NOT_IMPLEMENTED;
    head->chunked = true;
  } else if (is_name(name, "connection")) {
    if (has_word(value, "close")) head->keep_alive = false;
    else if (has_word(value, "keep-alive")) head->keep_alive = true;
  } else if (is_name(name, "expect")) {
    head->expects_continue = is_name(value, "100-continue") && !head->old;
  }
  return 0;
}

static bool came_before(const struct kf_head *head, struct kf_slice name) {
  for (size_t i = 0; i < head->count; i++) {
    struct kf_slice other = head->headers[i].name;
    if (other.length == name.length && memcmp(other.text, name.text, name.length) == 0) return true;
  }
  return false;
}

// NAME ":" OWS VALUE OWS
static int parse_header(char *line, const char *end, struct kf_head *head) {
  if (head->count == KF_HEADERS) return TOO_MANY_HEADERS;
  char *at = line;
  for (; at < end && is_token((unsigned char)*at); at++) *at = (char)tolower((unsigned char)*at);
  struct kf_slice name = {line, (size_t)(at - line)};
  if (at == line || at == end || *at++ != ':') return BAD_REQUEST;
  while (at < end && (*at == ' ' || *at == '\t')) at++;
  while (end > at && (end[-1] == ' ' || end[-1] == '\t')) end--;
  struct kf_slice value = {at, (size_t)(end - at)};
  for (; at < end; at++)
    if (!is_value((unsigned char)*at)) return BAD_REQUEST;
  bool again = came_before(head, name);
  if (again && is_name(name, "host")) return BAD_REQUEST;
  head->headers[head->count].name = name;
  head->headers[head->count].value = value;
  head->headers[head->count++].again = again;
  return understand(name, value, head);
}

static int check_whole(const struct kf_head *head) {
  if (head->chunked && head->has_length) return BAD_REQUEST;  // two bodies in one: smuggling
  if (!head->old && !came_before(head, (struct kf_slice){"host", 4})) return BAD_REQUEST;
  return 0;
}

int kf_head_parse(char *text, size_t length, struct kf_head *head) {
  char *at = text, *end = text + length;
  bool first = true;
  head->query = (struct kf_slice){NULL, 0};
  head->count = 0;
  head->content_length = 0;
  head->has_length = head->chunked = head->expects_continue = false;
  while (at < end) {
    char *line_end = memchr(at, '\n', (size_t)(end - at));
    if (!line_end || line_end == at || line_end[-1] != '\r') return BAD_REQUEST;
    if (line_end - at == 1) return first ? BAD_REQUEST : check_whole(head);
    int status = first ? parse_line(at, line_end - 1, head) : parse_header(at, line_end - 1, head);
    if (status) return status;
    first = false;
    at = line_end + 1;
  }
  return BAD_REQUEST;
}

// --- chunked bodies -----------------------------------------------------------------------------

enum { LINE_LIMIT = 4096 };  // a chunk's size with its extensions; all trailers together

static bool parse_size(const char *line, const char *end, uint64_t *size) {
  const char *at = line;
  *size = 0;
  for (; at < end && isxdigit((unsigned char)*at); at++) {
    int digit = isdigit((unsigned char)*at) ? *at - '0' : tolower((unsigned char)*at) - 'a' + 10;
    *size = *size * 16 + (uint64_t)digit;
  }
  if (at == line || at - line > 15) return false;
  return at == end || *at == ';' || *at == ' ' || *at == '\t';
}

// The next line of text: its length with the end, 0 when it is not whole, -1 when it is too long.
static long next_line(const char *text, size_t length) {
  const char *newline = memchr(text, '\n', length);
  if (!newline) return length > LINE_LIMIT ? -1 : 0;
  long count = newline - text + 1;
  return count < 2 || count > LINE_LIMIT || newline[-1] != '\r' ? -1 : count;
}

static bool take_line(struct kf_chunks *chunks, const char *line, long count) {
  switch (chunks->state) {
  case CHUNK_SIZE:
    if (!parse_size(line, line + count - 2, &chunks->left)) return false;
    chunks->state = chunks->left ? CHUNK_DATA : CHUNK_TRAILER;
    return true;
  case CHUNK_DATA_END:
    chunks->state = CHUNK_SIZE;
    return count == 2;
  case CHUNK_TRAILER:
    chunks->trailer += (size_t)count;
    if (count == 2) chunks->state = CHUNK_DONE;
    return chunks->trailer <= LINE_LIMIT;
  case CHUNK_DATA:
  case CHUNK_DONE: break;
  }
  return false;
}

bool kf_chunks_decode(struct kf_chunks *chunks, char *text, size_t length, size_t *data,
                      size_t *used) {
  *data = *used = 0;
  while (chunks->state != CHUNK_DONE && *used < length) {
    if (chunks->state == CHUNK_DATA) {
      size_t count = length - *used;
      if (count > chunks->left) count = (size_t)chunks->left;
      memmove(text + *data, text + *used, count);
      *data += count;
      *used += count;
      chunks->left -= count;
      if (chunks->left == 0) chunks->state = CHUNK_DATA_END;
    } else {
      long count = next_line(text + *used, length - *used);
      if (count == 0) return true;
      if (count < 0 || !take_line(chunks, text + *used, count)) return false;
      *used += (size_t)count;
    }
  }
  return true;
}
