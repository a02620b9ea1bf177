// TLS of the HTTP/2 server: one certificate, and "h2" as the only protocol.
#include "base/tls.h"
#include "error.h"
#include "h2.h"

#include <openssl/err.h>

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_length,
                           const unsigned char *in, unsigned in_length, void *data) {
  static const unsigned char ours[] = "\x02h2";
  (void)ssl, (void)data;
  int found = SSL_select_next_proto((unsigned char **)out, out_length, ours, sizeof ours - 1, in,
                                    in_length);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

SSL_CTX *kf_h2_context(lua_State *L, const char *certificate, const char *key) {
  SSL_CTX *context = SSL_CTX_new(TLS_server_method());
  if (!context) luaL_error(L, "not enough memory");
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
  bool fine = kf_tls_use_certificates(context, certificate) && kf_tls_use_key(context, key);
  const char *reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  if (fine) return context;
  SSL_CTX_free(context);
  kf_fail(L, "Certificate", "cannot use the certificate or its key: %s", reason ? reason : "not PEM");
  return NULL;
}

// More than 0: so many bytes; 0: none now; less: the connection has ended.
static long result_of(SSL *ssl, int result) {
  if (result > 0) return result;
  int reason = SSL_get_error(ssl, result);
  ERR_clear_error();
  return reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

long kf_h2_read(SSL *ssl, void *room, size_t size) {
  return result_of(ssl, SSL_read(ssl, room, (int)size));
}

long kf_h2_write(SSL *ssl, const void *bytes, size_t length) {
  return result_of(ssl, SSL_write(ssl, bytes, (int)length));
}
