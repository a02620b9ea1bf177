// IP addresses, networks (CIDR) and URLs.
#include "cel.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define ONE(name) static struct cel_value name(struct cel_run *run, const struct cel_value *a, size_t count)

// --- reading --------------------------------------------------------------------------------------------

static bool read_address(const char *text, size_t length, struct cel_address *address) {
  char copy[INET6_ADDRSTRLEN + 1];
  *address = (struct cel_address){.prefix = -1};
  if (length == 0 || length >= sizeof copy || memchr(text, 0, length)) return false;
  memcpy(copy, text, length);
  copy[length] = '\0';
  if (inet_pton(AF_INET, copy, address->bytes) == 1) return address->length = 4, true;
  if (inet_pton(AF_INET6, copy, address->bytes) != 1) return false;
  static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
  address->length = 16;
  return memcmp(address->bytes, mapped, sizeof mapped) != 0;  // IPv4 in IPv6 is not allowed
}

static bool read_network(const char *text, size_t length, struct cel_address *network) {
  const char *slash = memchr(text, '/', length);
  if (!slash || !read_address(text, (size_t)(slash - text), network)) return false;
  const char *end = text + length, *at = slash + 1;
  if (at == end || end - at > 3 || (*at == '0' && end - at > 1)) return false;
  network->prefix = 0;
  for (; at < end; at++) {
    if (!isdigit((unsigned char)*at)) return false;
    network->prefix = network->prefix * 10 + (*at - '0');
  }
  return network->prefix <= network->length * 8;
}

static struct cel_value of_address(struct cel_run *run, const struct cel_address *address, enum cel_type type) {
  struct cel_address *copy = kf_tree_alloc(&run->tree, sizeof *copy);
  *copy = *address;
  if (type == CEL_IP) copy->prefix = -1;
  return (struct cel_value){.type = type, .address = copy};
}

// --- writing: RFC 5952 ----------------------------------------------------------------------------------

static unsigned group(const struct cel_address *address, int i) {
  return (unsigned)address->bytes[2 * i] << 8 | address->bytes[2 * i + 1];
}

static size_t write_six(const struct cel_address *address, char *out) {
  int best = -1, longest = 1;
  for (int i = 0; i < 8; i++) {
    int run = 0;
    while (i + run < 8 && group(address, i + run) == 0) run++;
    if (run > longest) best = i, longest = run;
  }
  size_t length = 0;
  for (int i = 0; i < 8; i++) {
    if (i == best) {
      out[length++] = ':';
      out[length++] = ':';
      i += longest - 1;
      continue;
    }
    if (i > 0 && i != best + longest) out[length++] = ':';
    if (i > 0 && best < 0 && i == longest - 1 && out[length - 1] != ':') out[length++] = ':';
    length += (size_t)snprintf(out + length, 8, "%x", group(address, i));
  }
  return length;
}

size_t cel_write_address(const struct cel_address *address, bool prefix, char out[64]) {
  const unsigned char *b = address->bytes;
  size_t length = address->length == 4 ? (size_t)snprintf(out, 64, "%d.%d.%d.%d", b[0], b[1], b[2], b[3])
                                       : write_six(address, out);
  if (prefix) length += (size_t)snprintf(out + length, 8, "/%d", address->prefix);
  return length;
}

// --- addresses ------------------------------------------------------------------------------------------

ONE(to_ip) {
  (void)count;
  struct cel_address address;
  if (a->type == CEL_IP) return *a;
  if (a->type == CEL_CIDR) return of_address(run, a->address, CEL_IP);
  if (a->type != CEL_STRING) return cel_no_overload(run);
  if (!read_address(a->text, a->length, &address)) return cel_error(run, "the text is no IP address");
  return of_address(run, &address, CEL_IP);
}

ONE(is_ip) {
  (void)count;
  struct cel_address address;
  if (a->type != CEL_STRING) return cel_no_overload(run);
  return cel_bool(read_address(a->text, a->length, &address));
}

ONE(is_canonical) {
  (void)count;
  struct cel_address address;
  char text[64];
  if (a->type != CEL_STRING) return cel_no_overload(run);
  if (!read_address(a->text, a->length, &address)) return cel_error(run, "the text is no IP address");
  size_t length = cel_write_address(&address, false, text);
  return cel_bool(length == a->length && memcmp(text, a->text, length) == 0);
}

ONE(family) {
  (void)count;
  return a->type == CEL_IP ? cel_int(a->address->length == 4 ? 4 : 6) : cel_no_overload(run);
}

static bool is_all_zero(const struct cel_address *address, int but_last) {
  for (int i = 0; i < address->length; i++)
    if (address->bytes[i] != (i == address->length - 1 ? but_last : 0)) return false;
  return true;
}

static bool unspecified(const struct cel_address *address) {
  return is_all_zero(address, 0);
}

static bool loopback(const struct cel_address *address) {
  return address->length == 4 ? address->bytes[0] == 127 : is_all_zero(address, 1);
}

static bool link_local_multicast(const struct cel_address *address) {
  const unsigned char *b = address->bytes;
  if (address->length == 4) return b[0] == 224 && b[1] == 0 && b[2] == 0;
  return b[0] == 0xff && (b[1] & 0x0f) == 2;
}

static bool link_local_unicast(const struct cel_address *address) {
  const unsigned char *b = address->bytes;
  return address->length == 4 ? b[0] == 169 && b[1] == 254 : b[0] == 0xfe && (b[1] & 0xc0) == 0x80;
}

static bool global_unicast(const struct cel_address *address) {
  const unsigned char *b = address->bytes;
  static const unsigned char broadcast[4] = {255, 255, 255, 255};
  if (address->length == 4 && memcmp(b, broadcast, 4) == 0) return false;
  bool multicast = address->length == 4 ? (b[0] & 0xf0) == 0xe0 : b[0] == 0xff;
  return !unspecified(address) && !loopback(address) && !multicast && !link_local_unicast(address);
}

#define TEST(name, test)                                                             \
  ONE(name) {                                                                        \
    (void)count;                                                                     \
    return a->type == CEL_IP ? cel_bool(test(a->address)) : cel_no_overload(run);    \
  }
TEST(is_unspecified, unspecified)
TEST(is_loopback, loopback)
TEST(is_link_local_multicast, link_local_multicast)
TEST(is_link_local_unicast, link_local_unicast)
TEST(is_global_unicast, global_unicast)

// --- networks -------------------------------------------------------------------------------------------

ONE(to_cidr) {
  (void)count;
  struct cel_address network;
  if (a->type == CEL_CIDR) return *a;
  if (a->type != CEL_STRING) return cel_no_overload(run);
  if (!read_network(a->text, a->length, &network)) return cel_error(run, "the text is no network address");
  return of_address(run, &network, CEL_CIDR);
}

ONE(is_cidr) {
  (void)count;
  struct cel_address network;
  if (a->type != CEL_STRING) return cel_no_overload(run);
  return cel_bool(read_network(a->text, a->length, &network));
}

static bool same_prefix(const struct cel_address *a, const struct cel_address *b, int bits) {
  int bytes = bits / 8, rest = bits % 8;
  if (a->length != b->length || memcmp(a->bytes, b->bytes, (size_t)bytes) != 0) return false;
  return rest == 0 || ((a->bytes[bytes] ^ b->bytes[bytes]) >> (8 - rest)) == 0;
}

ONE(contains_ip) {
  (void)count;
  struct cel_address address;
  if (a->type != CEL_CIDR || (a[1].type != CEL_IP && a[1].type != CEL_STRING)) return cel_no_overload(run);
  if (a[1].type == CEL_IP) address = *a[1].address;
  else if (!read_address(a[1].text, a[1].length, &address)) return cel_error(run, "the text is no IP address");
  return cel_bool(same_prefix(a->address, &address, a->address->prefix));
}

ONE(contains_cidr) {
  (void)count;
  struct cel_address network;
  if (a->type != CEL_CIDR || (a[1].type != CEL_CIDR && a[1].type != CEL_STRING)) return cel_no_overload(run);
  if (a[1].type == CEL_CIDR) network = *a[1].address;
  else if (!read_network(a[1].text, a[1].length, &network)) return cel_error(run, "the text is no network address");
  bool fits = a->address->prefix <= network.prefix;
  return cel_bool(fits && same_prefix(a->address, &network, a->address->prefix));
}

ONE(prefix_length) {
  (void)count;
  return a->type == CEL_CIDR ? cel_int(a->address->prefix) : cel_no_overload(run);
}

ONE(masked) {
  (void)count;
  if (a->type != CEL_CIDR) return cel_no_overload(run);
  struct cel_address network = *a->address;
  for (int i = 0; i < network.length * 8; i++)
    if (i >= network.prefix) network.bytes[i / 8] &= (unsigned char)~(0x80 >> i % 8);
  return of_address(run, &network, CEL_CIDR);
}

// --- URLs -----------------------------------------------------------------------------------------------

struct span {
  const char *at;
  size_t length;
};
struct url {
  struct span scheme, host, path, query;
};

static bool good_escapes(struct span text) {
  for (size_t i = 0; i < text.length; i++) {
    if (text.at[i] != '%') continue;
    if (text.length - i < 3 || !isxdigit((unsigned char)text.at[i + 1]) || !isxdigit((unsigned char)text.at[i + 2]))
      return false;
  }
  return true;
}

static struct span read_scheme(const char *text, const char *end) {
  const char *at = text;
  while (at < end && (isalnum((unsigned char)*at) || strchr("+-.", *at))) at++;
  bool good = at < end && at > text && *at == ':' && isalpha((unsigned char)*text);
  return (struct span){text, good ? (size_t)(at - text) : 0};
}

static bool good_host(struct span host) {
  struct span name = host;
  const char *close = host.length > 0 && *host.at == '[' ? memchr(host.at, ']', host.length) : NULL;
  if (host.length > 0 && *host.at == '[' && !close) return false;
  const char *colon = close ? close + 1 : memchr(host.at, ':', host.length);
  if (colon && colon < host.at + host.length) {
    if (*colon != ':') return false;
    for (const char *at = colon + 1; at < host.at + host.length; at++)
      if (!isdigit((unsigned char)*at)) return false;
    name.length = (size_t)(colon - host.at);
  }
  for (size_t i = 0; i < name.length; i++)
    if (strchr(" \"<>\\^`{|}", name.at[i])) return false;
  return true;
}

// A request URI as Go reads it: an absolute URL, or an absolute path.
static bool read_url(const char *text, size_t length, struct url *url) {
  const char *at = text, *end = text + length;
  *url = (struct url){{text, 0}, {text, 0}, {text, 0}, {end, 0}};
  for (size_t i = 0; i < length; i++)
    if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return false;
  if (length == 0) return false;
  if (length == 1 && *text == '*') return url->path.length = 1, true;
  url->scheme = read_scheme(text, end);
  if (url->scheme.length > 0) at += url->scheme.length + 1;
  const char *mark = memchr(at, '?', (size_t)(end - at));
  if (mark) {
    url->query = (struct span){mark + 1, (size_t)(end - mark - 1)};
    end = mark;
  }
  if (at == end || *at != '/') return url->scheme.length > 0;
  if (url->scheme.length > 0 && end - at > 1 && at[1] == '/') {
    const char *start = at + 2, *slash = memchr(start, '/', (size_t)(end - start));
    const char *stop = slash ? slash : end, *sign = memchr(start, '@', (size_t)(stop - start));
    if (sign) start = sign + 1;
    url->host = (struct span){start, (size_t)(stop - start)};
    if (!good_host(url->host)) return false;
    at = stop;
  }
  url->path = (struct span){at, (size_t)(end - at)};
  return good_escapes(url->path);
}

// What stands behind # is no part of path and query.
static void cut_fragment(struct span *text) {
  const char *hash = memchr(text->at, '#', text->length);
  if (hash) text->length = (size_t)(hash - text->at);
}

static bool parts_of(const struct cel_value *a, struct url *url) {
  if (a->type != CEL_URL || !read_url(a->text, a->length, url)) return false;
  const char *hash = memchr(a->text, '#', a->length);
  if (hash && url->query.length > 0 && hash < url->query.at) url->query.length = 0;
  cut_fragment(&url->path);
  cut_fragment(&url->query);
  return true;
}

ONE(to_url) {
  (void)count;
  struct url url;
  if (a->type == CEL_URL) return *a;
  if (a->type != CEL_STRING) return cel_no_overload(run);
  if (!read_url(a->text, a->length, &url)) return cel_error(run, "URL parse error during conversion from string");
  struct cel_value value = *a;
  value.type = CEL_URL;
  return value;
}

ONE(is_url) {
  (void)count;
  struct url url;
  return a->type == CEL_STRING ? cel_bool(read_url(a->text, a->length, &url)) : cel_no_overload(run);
}

ONE(get_scheme) {
  (void)count;
  struct url url;
  if (!parts_of(a, &url)) return cel_no_overload(run);
  struct cel_value scheme = cel_copied(run, url.scheme.at, url.scheme.length);
  for (size_t i = 0; i < scheme.length; i++) ((char *)scheme.text)[i] = (char)tolower((unsigned char)scheme.text[i]);
  return scheme;
}

ONE(get_host) {
  (void)count;
  struct url url;
  return parts_of(a, &url) ? cel_string(url.host.at, url.host.length) : cel_no_overload(run);
}

// The host's name and port: [::1]:80, example.com:80
static void split_host(struct span host, struct span *name, struct span *port) {
  const char *end = host.at + host.length, *close = memchr(host.at, ']', host.length);
  const char *colon = memchr(close ? close : host.at, ':', (size_t)(end - (close ? close : host.at)));
  *name = (struct span){host.at, (size_t)((colon ? colon : end) - host.at)};
  *port = (struct span){colon ? colon + 1 : end, colon ? (size_t)(end - colon - 1) : 0};
  if (close && name->length >= 2 && *host.at == '[') name->at++, name->length -= 2;
}

ONE(get_hostname) {
  (void)count;
  struct url url;
  struct span name, port;
  if (!parts_of(a, &url)) return cel_no_overload(run);
  split_host(url.host, &name, &port);
  return cel_string(name.at, name.length);
}

ONE(get_port) {
  (void)count;
  struct url url;
  struct span name, port;
  if (!parts_of(a, &url)) return cel_no_overload(run);
  split_host(url.host, &name, &port);
  return cel_string(port.at, port.length);
}

ONE(get_path) {
  (void)count;
  struct url url;
  static const char digits[] = "0123456789ABCDEF";
  if (!parts_of(a, &url)) return cel_no_overload(run);
  char *out = kf_tree_alloc(&run->tree, url.path.length * 3 + 1);
  size_t written = 0;
  for (size_t i = 0; i < url.path.length; i++) {
    unsigned char c = (unsigned char)url.path.at[i];
    if (c > 0x20 && c < 0x7f && !strchr("\"<>\\^`{|}", c)) {
      out[written++] = (char)c;
      continue;
    }
    out[written++] = '%';
    out[written++] = digits[c >> 4];
    out[written++] = digits[c & 15];
  }
  return cel_string(out, written);
}

static int hex(char c) {
  return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

// A piece of a query without its escapes; false when it has a bad one.
static bool unescape(struct cel_run *run, const char *at, const char *end, struct cel_value *text) {
  char *out = kf_tree_alloc(&run->tree, (size_t)(end - at) + 1);
  size_t written = 0;
  if (!good_escapes((struct span){at, (size_t)(end - at)})) return false;
  for (; at < end; at++) {
    if (*at == '%') {
      out[written++] = (char)(hex(at[1]) << 4 | hex(at[2]));
      at += 2;
    } else {
      out[written++] = *at == '+' ? ' ' : *at;
    }
  }
  *text = cel_string(out, written);
  return true;
}

static void add_pair(struct cel_run *run, struct cel_builder *keys, struct cel_builder *lists, struct cel_value key,
                     struct cel_value value) {
  struct cel_builder items = {0};
  size_t at = 0;
  while (at < keys->count && !cel_equal(run, &keys->items[at], &key)) at++;
  for (size_t i = 0; at < keys->count && i < lists->items[at].list->count; i++)
    cel_append(run, &items, lists->items[at].list->items[i]);
  cel_append(run, &items, value);
  struct cel_value list = cel_finish(run, &items);
  if (at < keys->count) {
    lists->items[at] = list;
    return;
  }
  cel_append(run, keys, key);
  cel_append(run, lists, list);
}

ONE(get_query) {
  (void)count;
  struct url url;
  struct cel_builder keys = {0}, lists = {0};
  if (!parts_of(a, &url)) return cel_no_overload(run);
  const char *end = url.query.at + url.query.length;
  for (const char *at = url.query.at; at < end;) {
    const char *stop = memchr(at, '&', (size_t)(end - at));
    if (!stop) stop = end;
    const char *equals = memchr(at, '=', (size_t)(stop - at));
    struct cel_value key, value;
    bool good = at < stop && !memchr(at, ';', (size_t)(stop - at)) &&
                unescape(run, at, equals ? equals : stop, &key) &&
                unescape(run, equals ? equals + 1 : stop, stop, &value);
    if (good) add_pair(run, &keys, &lists, key, value);
    at = stop + 1;
  }
  return cel_finish_map(run, &keys, &lists);
}

const struct cel_entry cel_address_functions[] = {
    {"ip", 'b', 1, 1, to_ip}, {"isIP", 'g', 1, 1, is_ip}, {"ip.isCanonical", 'g', 1, 1, is_canonical},
    {"family", 'm', 1, 1, family}, {"isUnspecified", 'm', 1, 1, is_unspecified},
    {"isLoopback", 'm', 1, 1, is_loopback}, {"isLinkLocalMulticast", 'm', 1, 1, is_link_local_multicast},
    {"isLinkLocalUnicast", 'm', 1, 1, is_link_local_unicast}, {"isGlobalUnicast", 'm', 1, 1, is_global_unicast},
    {"cidr", 'g', 1, 1, to_cidr}, {"isCIDR", 'g', 1, 1, is_cidr}, {"containsIP", 'm', 2, 2, contains_ip},
    {"containsCIDR", 'm', 2, 2, contains_cidr}, {"prefixLength", 'm', 1, 1, prefix_length},
    {"masked", 'm', 1, 1, masked}, {"url", 'g', 1, 1, to_url}, {"isURL", 'g', 1, 1, is_url},
    {"getScheme", 'm', 1, 1, get_scheme}, {"getHost", 'm', 1, 1, get_host}, {"getHostname", 'm', 1, 1, get_hostname},
    {"getPort", 'm', 1, 1, get_port}, {"getEscapedPath", 'm', 1, 1, get_path}, {"getQuery", 'm', 1, 1, get_query},
    {NULL, 0, 0, 0, NULL}};
