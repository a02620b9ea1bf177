// TLS of the HTTP/2 server: one certificate, and "h2" as the only protocol.
#include "error.h"
#include "h2.h"

#include <openssl/err.h>
#include <openssl/pem.h>

static int no_password(char *room, int size, int writing, void *data) {
  (void)room, (void)size, (void)writing, (void)data;
  return 0;  // an encrypted key is an error, never a prompt on the terminal
}

static bool use_certificates(SSL_CTX *context, const char *text) {
  BIO *bio = BIO_new_mem_buf(text, -1);
  X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
  bool fine = certificate && SSL_CTX_use_certificate(context, certificate) == 1;
  X509_free(certificate);
  while (fine && (certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL) {
    fine = SSL_CTX_add0_chain_cert(context, certificate) == 1;
    if (!fine) X509_free(certificate);
  }
  BIO_free(bio);
  return fine;
}

static bool use_key(SSL_CTX *context, const char *text) {
  BIO *bio = BIO_new_mem_buf(text, -1);
  EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
  bool fine = key && SSL_CTX_use_PrivateKey(context, key) == 1;
  EVP_PKEY_free(key);
  BIO_free(bio);
  return fine && SSL_CTX_check_private_key(context) == 1;
}

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
  bool fine = use_certificates(context, certificate) && use_key(context, key);
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
