// What a request shall be: the options table as options of libcurl.
#include "http.h"

#include "error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SET(transfer, option, value) \
  (transfer)->session->curl->easy_setopt((transfer)->easy, (option), (value))

// [-0, +1, v] a text of the options table, or NULL.
static const char *text_field(lua_State *L, int options, const char *field, size_t *length) {
  if (lua_getfield(L, options, field) == LUA_TNIL) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "%s: text expected", field);
  return lua_tolstring(L, -1, length);
}

static bool flag_field(lua_State *L, int options, const char *field, bool otherwise) {
  bool value = otherwise;
  if (lua_getfield(L, options, field) != LUA_TNIL) value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

// --- headers ------------------------------------------------------------------------------------

static void add_line(lua_State *L, struct transfer *transfer, const char *line) {
  struct curl_slist *lines = transfer->session->curl->slist_append(transfer->lines, line);
  if (!lines) luaL_error(L, "not enough memory");
  transfer->lines = lines;
}

// [.. name value] adds a header; libcurl wants "Name;" for an empty one.
static void add_header(lua_State *L, struct transfer *transfer) {
  if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "headers: {Name = value} expected");
  size_t name_length, value_length;
  const char *name = lua_tolstring(L, -2, &name_length);
  const char *value = luaL_tolstring(L, -1, &value_length);
  bool bad = strlen(name) != name_length || strlen(value) != value_length ||
             strpbrk(name, "\r\n: ") || strpbrk(value, "\r\n") || name_length == 0;
  if (bad) luaL_error(L, "header %s: not what can be sent", name);
  add_line(L, transfer, lua_pushfstring(L, *value ? "%s: %s" : "%s;", name, value));
  lua_pop(L, 2);
}

// [.. name value] adds a header for each value of a list, else one.
static void add_headers(lua_State *L, struct transfer *transfer) {
  if (!lua_istable(L, -1)) {
    add_header(L, transfer);
    return;
  }
  int name = lua_gettop(L) - 1, list = name + 1;
  for (lua_Integer i = 1; lua_rawgeti(L, list, i) != LUA_TNIL; i++) {  // name list value
    lua_pushvalue(L, name);
    lua_insert(L, -2);
    add_header(L, transfer);
    lua_pop(L, 2);
  }
  lua_pop(L, 1);
}

static void read_headers(lua_State *L, int options, struct transfer *transfer) {
  bool has_type = false, has_agent = false;
  if (lua_getfield(L, options, "headers") == LUA_TTABLE) {
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {  // headers name value
      add_headers(L, transfer);
      has_type = has_type || strcasecmp(lua_tostring(L, -2), "content-type") == 0;
      has_agent = has_agent || strcasecmp(lua_tostring(L, -2), "user-agent") == 0;
    }
  }
  lua_pop(L, 1);
  add_line(L, transfer, "Expect:");  // it would wait a second for a "100 Continue"
  if (!has_type) add_line(L, transfer, "Content-Type:");
  if (!has_agent) SET(transfer, CURLOPT_USERAGENT, "kfhost/" KFHOST_VERSION);
  SET(transfer, CURLOPT_HTTPHEADER, transfer->lines);
}

// --- method and body ----------------------------------------------------------------------------

static void read_method(lua_State *L, int options, struct transfer *transfer) {
  size_t length = 0;
  const char *method = text_field(L, options, "method", NULL);
  const char *body = NULL;
  lua_getfield(L, options, "upload");
  bool upload = lua_toboolean(L, -1);
  if (!upload) body = text_field(L, options, "body", &length);
  if (!method) method = body || upload ? "POST" : "GET";
  if (strpbrk(method, " \r\n")) luaL_error(L, "method: '%s' is none", method);
  if (strcmp(method, "HEAD") == 0) {
    SET(transfer, CURLOPT_NOBODY, 1L);
  } else if (upload) {
    SET(transfer, CURLOPT_UPLOAD, 1L);
    SET(transfer, CURLOPT_READFUNCTION, kf_on_upload);
    SET(transfer, CURLOPT_READDATA, transfer);
  } else if (body || strcmp(method, "POST") == 0) {
    SET(transfer, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
    SET(transfer, CURLOPT_POSTFIELDS, body ? body : "");
  }
  if (strcmp(method, "HEAD") != 0) SET(transfer, CURLOPT_CUSTOMREQUEST, method);
}

// --- security -----------------------------------------------------------------------------------

static void set_blob(lua_State *L, int options, const char *field, struct transfer *transfer,
                     CURLoption option) {
  size_t length;
  const char *text = text_field(L, options, field, &length);
  struct curl_blob blob = {(void *)text, length, CURL_BLOB_COPY};
  if (text) SET(transfer, option, &blob);
}

static void read_security(lua_State *L, int options, struct transfer *transfer) {
  SET(transfer, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  if (text_field(L, options, "ca", NULL)) {
    SET(transfer, CURLOPT_CAINFO, NULL);  // the system's authorities are not even read
    SET(transfer, CURLOPT_CAPATH, NULL);
    set_blob(L, options, "ca", transfer, CURLOPT_CAINFO_BLOB);
  }
  set_blob(L, options, "certificate", transfer, CURLOPT_SSLCERT_BLOB);
  set_blob(L, options, "key", transfer, CURLOPT_SSLKEY_BLOB);
  if (!flag_field(L, options, "insecure", false)) return;
  SET(transfer, CURLOPT_SSL_VERIFYPEER, 0L);
  SET(transfer, CURLOPT_SSL_VERIFYHOST, 0L);
}

// --- where to -----------------------------------------------------------------------------------

static char *url_part(struct transfer *transfer, CURLUPart part, unsigned flags) {
  char *text = NULL;
  transfer->session->curl->url_get(transfer->address, part, &text, flags);
  return text;
}

// The certificate is checked for another name: the request goes to a URL of that name, its
// connection to the host of the real one.
static void set_server_name(lua_State *L, struct transfer *transfer, const char *name) {
  const struct kf_curl *curl = transfer->session->curl;
  char *host = url_part(transfer, CURLUPART_HOST, 0);
  char *port = url_part(transfer, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  lua_pushfstring(L, "::%s:%s", host ? host : "", port ? port : "443");
  lua_pushfstring(L, "Host: %s:%s", host ? host : "", port ? port : "443");
  curl->free(host);
  curl->free(port);
  transfer->connect_to = curl->slist_append(NULL, lua_tostring(L, -2));
  add_line(L, transfer, lua_tostring(L, -1));
  lua_pop(L, 2);
  curl->url_set(transfer->address, CURLUPART_HOST, name, 0);
  SET(transfer, CURLOPT_CONNECT_TO, transfer->connect_to);
}

static int fail_url(lua_State *L, const char *url) {
  kf_error(L, "Protocol", "'%s' is not a URL that can be used", url);
  lua_pushstring(L, url);
  lua_setfield(L, -2, "url");
  return lua_error(L);
}

static void read_address(lua_State *L, int options, struct transfer *transfer) {
  const struct kf_curl *curl = transfer->session->curl;
  const char *url = text_field(L, options, "url", NULL);
  if (!url) luaL_error(L, "url: text expected");
  transfer->address = curl->url();
  if (!transfer->address) luaL_error(L, "not enough memory");
  if (curl->url_set(transfer->address, CURLUPART_URL, url, 0) != CURLUE_OK) fail_url(L, url);
  const char *name = text_field(L, options, "server_name", NULL);
  if (name && *name) set_server_name(L, transfer, name);
  SET(transfer, CURLOPT_CURLU, transfer->address);
}

// The environment's proxies are for other hosts than this one.
static void read_proxy(lua_State *L, int options, struct transfer *transfer) {
  const char *proxy = text_field(L, options, "proxy", NULL);
  if (proxy) {
    SET(transfer, CURLOPT_PROXY, proxy);
    SET(transfer, CURLOPT_NOPROXY, "");
  } else {
    const char *spared = getenv("no_proxy");
    if (!spared) spared = getenv("NO_PROXY");
    lua_pushfstring(L, "%s,localhost,127.0.0.1,::1", spared ? spared : "");
    SET(transfer, CURLOPT_NOPROXY, lua_tostring(L, -1));
  }
  set_blob(L, options, "proxy_ca", transfer, CURLOPT_PROXY_CAINFO_BLOB);
  if (flag_field(L, options, "tunnel", false)) SET(transfer, CURLOPT_HTTPPROXYTUNNEL, 1L);
  const char *socket = text_field(L, options, "unix_socket", NULL);
  if (socket) SET(transfer, CURLOPT_UNIX_SOCKET_PATH, socket);
}

static void read_version(lua_State *L, int options, struct transfer *transfer) {
  long version = CURL_HTTP_VERSION_2TLS;
  int type = lua_getfield(L, options, "http2");
  if (type == LUA_TSTRING && strcmp(lua_tostring(L, -1), "prior") == 0)
    version = CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
  else if (type != LUA_TNIL && !lua_toboolean(L, -1)) version = CURL_HTTP_VERSION_1_1;
  lua_pop(L, 1);
  SET(transfer, CURLOPT_HTTP_VERSION, version);
  // Requests that come while a connection is being made wait to share it. One without TLS is used
  // once only: libcurl 7.88 fails the second request on it.
  if (version == CURL_HTTP_VERSION_2TLS) SET(transfer, CURLOPT_PIPEWAIT, 1L);
  if (version != CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE) return;
  SET(transfer, CURLOPT_FRESH_CONNECT, 1L);
  SET(transfer, CURLOPT_FORBID_REUSE, 1L);
}

static void read_limits(lua_State *L, int options, struct transfer *transfer) {
  double seconds = 30;
  if (lua_getfield(L, options, "connect_timeout") != LUA_TNIL)
    seconds = kf_check_seconds(L, lua_gettop(L));
  SET(transfer, CURLOPT_CONNECTTIMEOUT_MS, (long)ceil(fmax(fmin(seconds, 86400), 1e-3) * 1e3));
  lua_getfield(L, options, "max_body");
  transfer->max_body = (size_t)luaL_optinteger(L, -1, 1 << 30);
  lua_pop(L, 2);
}

void kf_transfer_options(lua_State *L, int options, struct transfer *transfer) {
  luaL_checkstack(L, 32, NULL);
  SET(transfer, CURLOPT_PRIVATE, transfer);
  SET(transfer, CURLOPT_NOSIGNAL, 1L);
  SET(transfer, CURLOPT_ERRORBUFFER, transfer->problem);
  SET(transfer, CURLOPT_PROTOCOLS_STR, "http,https");
  SET(transfer, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  SET(transfer, CURLOPT_TCP_KEEPALIVE, 1L);
  SET(transfer, CURLOPT_BUFFERSIZE, 131072L);
  SET(transfer, CURLOPT_HEADERFUNCTION, kf_on_header);
  SET(transfer, CURLOPT_HEADERDATA, transfer);
  SET(transfer, CURLOPT_WRITEFUNCTION, kf_on_body);
  SET(transfer, CURLOPT_WRITEDATA, transfer);
  if (flag_field(L, options, "compressed", false)) SET(transfer, CURLOPT_ACCEPT_ENCODING, "");
  read_address(L, options, transfer);
  read_headers(L, options, transfer);
  read_method(L, options, transfer);
  read_security(L, options, transfer);
  read_proxy(L, options, transfer);
  read_version(L, options, transfer);
  read_limits(L, options, transfer);
}
