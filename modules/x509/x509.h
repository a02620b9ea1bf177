// Certificates: make.c makes and signs them, read.c says what is in them.
#ifndef KF_X509_X509_H
#define KF_X509_X509_H

#include <lauxlib.h>
#include <lua.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

// What one call holds of OpenSSL; a userdata, so that a raise frees it.
struct pieces {
  EVP_PKEY *key;
  EVP_PKEY *issuer_key;
  X509 *certificate;
  X509 *issuer;
  BIO *text;
  X509_STORE *store;
  STACK_OF(X509) *chain;  // what follows the certificate in its text
  X509_STORE_CTX *check;
};

// [-0, +1, m]
struct pieces *kf_x509_pieces(lua_State *L);
// [-0, +0, v] raises "Certificate" with OpenSSL's reason.
int kf_x509_fail(lua_State *L, const char *action);
// [-0, +0, v] the first certificate, or the key, of a PEM text; owned by the caller.
X509 *kf_x509_certificate(lua_State *L, const char *text);
EVP_PKEY *kf_x509_key(lua_State *L, const char *text);
// The next certificate of a PEM text, or NULL at its end.
X509 *kf_x509_next(BIO *text);

int kf_x509_authority(lua_State *L);
int kf_x509_issue(lua_State *L);
int kf_x509_parse(lua_State *L);
int kf_x509_parse_all(lua_State *L);
int kf_x509_verify(lua_State *L);
int kf_x509_matches(lua_State *L);

#endif
