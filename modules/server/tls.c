#include "base/tls.h"
#include "error.h"
#include "server.h"

#include <lauxlib.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

// [-0, +0, v] frees the context and raises what OpenSSL has to say.
static int fail(lua_State *L, SSL_CTX *context, const char *what) {
  const char *reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  SSL_CTX_free(context);
  return kf_fail(L, "Certificate", "cannot use the %s: %s", what, reason ? reason : "not PEM");
}

static bool trust_clients_of(SSL_CTX *context, const char *text) {
  BIO *bio = BIO_new_mem_buf(text, -1);
  X509_STORE *store = SSL_CTX_get_cert_store(context);
  int count = 0;
  for (X509 *authority; bio && (authority = PEM_read_bio_X509(bio, NULL, kf_tls_no_password, NULL)) != NULL;
       count++) {
    X509_STORE_add_cert(store, authority);
    SSL_CTX_add_client_CA(context, authority);
    X509_free(authority);
  }
  BIO_free(bio);
  if (count > 0) ERR_clear_error();
  return count > 0;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_length,
                           const unsigned char *in, unsigned in_length, void *data) {
  static const unsigned char ours[] = "\x08http/1.1";
  (void)ssl, (void)data;
  int found = SSL_select_next_proto((unsigned char **)out, out_length, ours, sizeof ours - 1, in,
                                    in_length);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

SSL_CTX *kf_tls_context(lua_State *L, const char *certificate, const char *key,
                        const char *client_ca, bool required) {
  SSL_CTX *context = SSL_CTX_new(TLS_server_method());
  if (!context) luaL_error(L, "not enough memory");
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set1_groups_list(context, "P-256:X25519");
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                   SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_num_tickets(context, 1);
  SSL_CTX_set_session_id_context(context, (const unsigned char *)"kfhost", 6);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
  if (!kf_tls_use_certificates(context, certificate)) fail(L, context, "certificate");
  if (!kf_tls_use_key(context, key)) fail(L, context, "key");
  if (client_ca) {
    if (!trust_clients_of(context, client_ca)) fail(L, context, "certificates of client_ca");
    int mode = SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    SSL_CTX_set_verify(context, mode, NULL);
  }
  return context;
}

// [-0, +1, m] pushes a part of a name as UTF-8.
static void push_entry(lua_State *L, X509_NAME *name, int index) {
  unsigned char *text = NULL;
  int length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index)));
  lua_pushlstring(L, text ? (const char *)text : "", length > 0 ? (size_t)length : 0);
  OPENSSL_free(text);
}

void kf_tls_add_peer(lua_State *L, SSL *ssl) {
  X509 *certificate = ssl ? SSL_get0_peer_certificate(ssl) : NULL;
  if (!certificate) return;
  X509_NAME *name = X509_get_subject_name(certificate);
  int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (at >= 0) {
    push_entry(L, name, at);
    lua_setfield(L, -2, "common_name");
  }
  lua_newtable(L);
  lua_Integer count = 0;
  for (at = -1; (at = X509_NAME_get_index_by_NID(name, NID_organizationName, at)) >= 0;) {
    push_entry(L, name, at);
    lua_rawseti(L, -2, ++count);
  }
  lua_setfield(L, -2, "organizations");
}
