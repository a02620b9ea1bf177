// require "x509": a private certificate authority, leaf certificates, and what a certificate says.
// P-256 keys only (an RSA-2048 key takes a hundred times longer to make). PEM texts in and out;
// keys never touch a file here.
#include "x509.h"

#include "error.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#define TYPE_PIECES "kfhost.x509.pieces"

static int l_pieces_gc(lua_State *L) {
  struct pieces *pieces = luaL_checkudata(L, 1, TYPE_PIECES);
  X509_STORE_CTX_free(pieces->check);
  X509_STORE_free(pieces->store);
  sk_X509_pop_free(pieces->chain, X509_free);
  EVP_PKEY_free(pieces->key);
  EVP_PKEY_free(pieces->issuer_key);
  X509_free(pieces->certificate);
  X509_free(pieces->issuer);
  BIO_free(pieces->text);
  *pieces = (struct pieces){0};
  return 0;
}

struct pieces *kf_x509_pieces(lua_State *L) {
  struct pieces *pieces = lua_newuserdatauv(L, sizeof *pieces, 0);
  *pieces = (struct pieces){0};
  luaL_setmetatable(L, TYPE_PIECES);
  return pieces;
}

int kf_x509_fail(lua_State *L, const char *action) {
  char reason[256];
  unsigned long number = ERR_get_error();
  ERR_error_string_n(number, reason, sizeof reason);
  ERR_clear_error();
  return kf_fail(L, "Certificate", "cannot %s: %s", action, number ? reason : "out of memory");
}

static void *no_password(void) {
  return (void *)"";  // an encrypted key is an error, never a prompt on the terminal
}

X509 *kf_x509_next(BIO *text) {
  return PEM_read_bio_X509(text, NULL, NULL, no_password());
}

X509 *kf_x509_certificate(lua_State *L, const char *text) {
  BIO *bio = BIO_new_mem_buf(text, -1);
  X509 *certificate = bio ? kf_x509_next(bio) : NULL;
  BIO_free(bio);
  if (!certificate) kf_x509_fail(L, "read the certificate");
  return certificate;
}

EVP_PKEY *kf_x509_key(lua_State *L, const char *text) {
  BIO *bio = BIO_new_mem_buf(text, -1);
  EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, no_password()) : NULL;
  BIO_free(bio);
  if (!key) kf_x509_fail(L, "read the key");
  return key;
}

static const luaL_Reg functions[] = {
    {"authority", kf_x509_authority}, {"issue", kf_x509_issue},
    {"parse", kf_x509_parse},         {"parse_all", kf_x509_parse_all},
    {"verify", kf_x509_verify},       {"matches", kf_x509_matches},
    {NULL, NULL},
};

int luaopen_kf_x509(lua_State *L);
int luaopen_kf_x509(lua_State *L) {
  if (luaL_newmetatable(L, TYPE_PIECES)) {
    lua_pushcfunction(L, l_pieces_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
