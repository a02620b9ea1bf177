// What certificates say, and whether they are to be believed.
#include "x509.h"

#include "error.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

// --- reading ------------------------------------------------------------------------------------

static lua_Integer seconds_of(const ASN1_TIME *time) {
  struct tm fields;
  if (!ASN1_TIME_to_tm(time, &fields)) return 0;
  return (lua_Integer)timegm(&fields);
}

// [-0, +1, v] pushes the names and addresses the certificate is valid for, as a list.
static void push_names(lua_State *L, X509 *certificate) {
  lua_newtable(L);
  GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
    char address[INET6_ADDRSTRLEN] = "";
    if (name->type == GEN_DNS || name->type == GEN_URI) {  // both are an IA5String
      lua_pushlstring(L, (const char *)ASN1_STRING_get0_data(name->d.ia5),
                      (size_t)ASN1_STRING_length(name->d.ia5));
    } else if (name->type == GEN_IPADD) {
      int family = ASN1_STRING_length(name->d.iPAddress) == 4 ? AF_INET : AF_INET6;
      inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), address, sizeof address);
      lua_pushstring(L, address);
    } else {
      continue;
    }
    lua_rawseti(L, -2, luaL_len(L, -2) + 1);
  }
  GENERAL_NAMES_free(names);
}

static void set_name(lua_State *L, const char *field, X509_NAME *name) {
  char text[256] = "";
  X509_NAME_get_text_by_NID(name, NID_commonName, text, sizeof text);
  lua_pushstring(L, text);
  lua_setfield(L, -2, field);
}

static void set_organizations(lua_State *L, X509_NAME *name) {
  lua_newtable(L);
  for (int at = -1; (at = X509_NAME_get_index_by_NID(name, NID_organizationName, at)) >= 0;) {
    unsigned char *text = NULL;
    int length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    lua_pushlstring(L, text ? (const char *)text : "", length > 0 ? (size_t)length : 0);
    OPENSSL_free(text);
    lua_rawseti(L, -2, luaL_len(L, -2) + 1);
  }
  lua_setfield(L, -2, "organizations");
}

static void set_hex(lua_State *L, const char *field, const unsigned char *bytes, size_t length) {
  static const char digits[] = "0123456789abcdef";
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  for (size_t i = 0; i < length; i++) {
    luaL_addchar(&text, digits[bytes[i] >> 4]);
    luaL_addchar(&text, digits[bytes[i] & 15]);
  }
  luaL_pushresult(&text);
  lua_setfield(L, -2, field);
}

static void set_identity(lua_State *L, X509 *certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
  set_hex(L, "serial", ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
  X509_digest(certificate, EVP_sha256(), digest, &length);
  set_hex(L, "fingerprint", digest, length);
}

static void set_time(lua_State *L, const char *field, const ASN1_TIME *time) {
  lua_pushinteger(L, seconds_of(time));
  lua_setfield(L, -2, field);
}

static void set_flag(lua_State *L, const char *field, int value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, field);
}

// [-0, +1, v]
static void push_certificate(lua_State *L, X509 *certificate) {
  lua_createtable(L, 0, 11);
  set_name(L, "subject", X509_get_subject_name(certificate));
  set_organizations(L, X509_get_subject_name(certificate));
  set_name(L, "issuer", X509_get_issuer_name(certificate));
  set_time(L, "not_before", X509_get0_notBefore(certificate));
  set_time(L, "not_after", X509_get0_notAfter(certificate));
  push_names(L, certificate);
  lua_setfield(L, -2, "names");
  set_identity(L, certificate);
  set_flag(L, "authority", X509_check_ca(certificate) == 1);
  set_flag(L, "server", X509_check_purpose(certificate, X509_PURPOSE_SSL_SERVER, 0) == 1);
  set_flag(L, "client", X509_check_purpose(certificate, X509_PURPOSE_SSL_CLIENT, 0) == 1);
  ERR_clear_error();
}

// x509.parse(pem) -> what the first certificate says; times in seconds since 1970
int kf_x509_parse(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  struct pieces *pieces = kf_x509_pieces(L);
  pieces->certificate = kf_x509_certificate(L, text);
  push_certificate(L, pieces->certificate);
  return 1;
}

// x509.parse_all(pem) -> list of what each certificate says
int kf_x509_parse_all(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  struct pieces *pieces = kf_x509_pieces(L);
  pieces->text = BIO_new_mem_buf(text, -1);
  lua_newtable(L);
  lua_Integer count = 0;
  while (pieces->text && (pieces->certificate = kf_x509_next(pieces->text)) != NULL) {
    push_certificate(L, pieces->certificate);
    lua_rawseti(L, -2, ++count);
    X509_free(pieces->certificate);
    pieces->certificate = NULL;
  }
  if (count == 0) return kf_x509_fail(L, "read the certificates");
  ERR_clear_error();  // the end of the text
  return 1;
}

// --- checking -----------------------------------------------------------------------------------

// x509.matches(certificate, key) -> whether the key is the certificate's
int kf_x509_matches(lua_State *L) {
  const char *certificate = luaL_checkstring(L, 1);
  const char *key = luaL_checkstring(L, 2);
  struct pieces *pieces = kf_x509_pieces(L);
  pieces->certificate = kf_x509_certificate(L, certificate);
  pieces->key = kf_x509_key(L, key);
  lua_pushboolean(L, X509_check_private_key(pieces->certificate, pieces->key) == 1);
  ERR_clear_error();
  return 1;
}

static void trust(lua_State *L, struct pieces *pieces, const char *text) {
  int count = 0;
  pieces->store = X509_STORE_new();
  pieces->text = BIO_new_mem_buf(text, -1);
  while (pieces->store && pieces->text && (pieces->issuer = kf_x509_next(pieces->text)) != NULL) {
    X509_STORE_add_cert(pieces->store, pieces->issuer);
    X509_free(pieces->issuer);
    pieces->issuer = NULL;
    count++;
  }
  if (count == 0) kf_x509_fail(L, "read the authorities");
  ERR_clear_error();
}

// The certificates after the first one, which a server sends along.
static void follow(lua_State *L, struct pieces *pieces, const char *text) {
  BIO_free(pieces->text);
  pieces->text = BIO_new_mem_buf(text, -1);
  pieces->chain = sk_X509_new_null();
  if (!pieces->text || !pieces->chain) kf_x509_fail(L, "read the chain");
  X509_free(kf_x509_next(pieces->text));
  while ((pieces->issuer = kf_x509_next(pieces->text)) != NULL) {
    if (!sk_X509_push(pieces->chain, pieces->issuer)) kf_x509_fail(L, "read the chain");
    pieces->issuer = NULL;
  }
  ERR_clear_error();
}

// What the certificate must be good for: options name, usage, at.
static void demand(lua_State *L, int options, X509_VERIFY_PARAM *wanted) {
  unsigned char address[16];
  if (!lua_istable(L, options)) return;
  lua_getfield(L, options, "name");
  const char *name = luaL_optstring(L, -1, NULL);
  bool is_address =
      name && (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1);
  if (is_address) X509_VERIFY_PARAM_set1_ip_asc(wanted, name);
  else if (name) X509_VERIFY_PARAM_set1_host(wanted, name, 0);
  lua_getfield(L, options, "usage");
  const char *usage = luaL_optstring(L, -1, "");
  if (strcmp(usage, "server") == 0) X509_VERIFY_PARAM_set_purpose(wanted, X509_PURPOSE_SSL_SERVER);
  if (strcmp(usage, "client") == 0) X509_VERIFY_PARAM_set_purpose(wanted, X509_PURPOSE_SSL_CLIENT);
  if (lua_getfield(L, options, "at") != LUA_TNIL)
    X509_VERIFY_PARAM_set_time(wanted, (time_t)luaL_checknumber(L, -1));
}

// x509.verify(certificate, authorities, {name, usage, at}) -> true | false, reason
int kf_x509_verify(lua_State *L) {
  const char *certificate = luaL_checkstring(L, 1);
  const char *authorities = luaL_checkstring(L, 2);
  lua_settop(L, 3);
  struct pieces *pieces = kf_x509_pieces(L);
  pieces->certificate = kf_x509_certificate(L, certificate);
  trust(L, pieces, authorities);
  follow(L, pieces, certificate);
  pieces->check = X509_STORE_CTX_new();
  if (!pieces->check ||
      !X509_STORE_CTX_init(pieces->check, pieces->store, pieces->certificate, pieces->chain))
    return kf_x509_fail(L, "check the certificate");
  // As Go's verifier, which the API server uses: any certificate of the bundle is trusted, root or not.
  X509_VERIFY_PARAM *wanted = X509_STORE_CTX_get0_param(pieces->check);
  X509_VERIFY_PARAM_set_flags(wanted, X509_V_FLAG_PARTIAL_CHAIN);
  demand(L, 3, wanted);
  bool good = X509_verify_cert(pieces->check) == 1;
  int reason = X509_STORE_CTX_get_error(pieces->check);
  ERR_clear_error();
  lua_pushboolean(L, good);
  if (good) return 1;
  lua_pushstring(L, X509_verify_cert_error_string(reason));
  return 2;
}
