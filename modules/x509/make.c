// Making certificates.
#include "x509.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#define DAY 86400L
#define CLOCK_SKEW 300L  // a certificate is valid from five minutes before it was made

static void set_serial(lua_State *L, X509 *certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) kf_x509_fail(L, "draw a serial number");
  bytes[0] &= 0x7f;  // positive
  bytes[0] |= 0x40;  // of full length
  BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
  if (!number || !BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate))) {
    BN_free(number);
    kf_x509_fail(L, "set the serial number");
  }
  BN_free(number);
}

static void add_extension(lua_State *L, struct pieces *pieces, int kind, const char *value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, pieces->issuer ? pieces->issuer : pieces->certificate,
                 pieces->certificate, NULL, NULL, 0);
  X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
  int added = extension && X509_add_ext(pieces->certificate, extension, -1);
  X509_EXTENSION_free(extension);
  if (!added) kf_x509_fail(L, "add a certificate extension");
}

static const char *text_field(lua_State *L, int index, const char *field) {
  if (lua_getfield(L, index, field) != LUA_TSTRING)
    luaL_error(L, "bad field '%s' (string expected, got %s)", field, luaL_typename(L, -1));
  return lua_tostring(L, -1);
}

// [-0, +0, v] field as seconds since 1970.
static time_t time_field(lua_State *L, int index, const char *field, time_t otherwise) {
  lua_getfield(L, index, field);
  time_t time = (time_t)luaL_optnumber(L, -1, (lua_Number)otherwise);
  lua_pop(L, 1);
  return time;
}

// not_before and not_after, or for some days from now on.
static void set_validity(lua_State *L, int index, X509 *certificate, lua_Number otherwise) {
  time_t now = time(NULL);
  lua_getfield(L, index, "days");
  lua_Number days = luaL_optnumber(L, -1, otherwise);
  lua_pop(L, 1);
  luaL_argcheck(L, days > 0 && days < 36500, index, "days: a number from 0 to 36500 expected");
  time_t from = time_field(L, index, "not_before", now - CLOCK_SKEW);
  time_t to = time_field(L, index, "not_after", now + (time_t)(days * DAY));
  luaL_argcheck(L, from < to, index, "not_after: a time after not_before expected");
  if (!ASN1_TIME_set(X509_getm_notBefore(certificate), from) ||
      !ASN1_TIME_set(X509_getm_notAfter(certificate), to))
    kf_x509_fail(L, "set the validity");
}

static void add_name(lua_State *L, X509_NAME *subject, const char *field, const char *text) {
  if (!X509_NAME_add_entry_by_txt(subject, field, MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0))
    kf_x509_fail(L, "set the subject");
}

static void set_subject(lua_State *L, int index, X509_NAME *subject, const char *name) {
  if (lua_getfield(L, index, "organizations") == LUA_TTABLE) {
    lua_Integer count = luaL_len(L, -1);
    for (lua_Integer i = 1; i <= count; i++) {
      lua_geti(L, -1, i);
      add_name(L, subject, "O", luaL_checkstring(L, -1));
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
  add_name(L, subject, "CN", name);
}

// Starts pieces->certificate by the options at index: a fresh key, serial, validity, subject.
static void start_certificate(lua_State *L, int index, struct pieces *pieces, const char *name,
                              lua_Number days) {
  pieces->key = EVP_EC_gen("P-256");
  pieces->certificate = X509_new();
  if (!pieces->key || !pieces->certificate) kf_x509_fail(L, "make a key");
  X509 *certificate = pieces->certificate;
  X509_set_version(certificate, 2);
  set_serial(L, certificate);
  set_validity(L, index, certificate, days);
  X509_set_pubkey(certificate, pieces->key);
  X509_NAME *subject = X509_get_subject_name(certificate);
  set_subject(L, index, subject, name);
  X509_set_issuer_name(certificate, pieces->issuer ? X509_get_subject_name(pieces->issuer) : subject);
}

static void sign(lua_State *L, struct pieces *pieces) {
  EVP_PKEY *key = pieces->issuer_key ? pieces->issuer_key : pieces->key;
  if (!X509_sign(pieces->certificate, key, EVP_sha256())) kf_x509_fail(L, "sign the certificate");
}

// [-0, +1, v] pushes the PEM text that `write` put into pieces->text.
static void push_text(lua_State *L, struct pieces *pieces) {
  char *bytes;
  long length = BIO_get_mem_data(pieces->text, &bytes);
  lua_pushlstring(L, bytes, (size_t)length);
  (void)BIO_reset(pieces->text);
}

// [-0, +1, v] pushes {certificate=PEM, key=PEM}.
static void push_pair(lua_State *L, struct pieces *pieces) {
  pieces->text = BIO_new(BIO_s_mem());
  lua_createtable(L, 0, 2);
  if (!pieces->text || !PEM_write_bio_X509(pieces->text, pieces->certificate))
    kf_x509_fail(L, "write the certificate");
  push_text(L, pieces);
  lua_setfield(L, -2, "certificate");
  if (!PEM_write_bio_PKCS8PrivateKey(pieces->text, pieces->key, NULL, NULL, 0, NULL, NULL))
    kf_x509_fail(L, "write the key");
  push_text(L, pieces);
  lua_setfield(L, -2, "key");
}

// --- authorities ---------------------------------------------------------------------------------

// x509.authority{name, organizations, days} -> {certificate, key}
int kf_x509_authority(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const char *name = text_field(L, 1, "name");
  struct pieces *pieces = kf_x509_pieces(L);
  start_certificate(L, 1, pieces, name, 365);
  add_extension(L, pieces, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(L, pieces, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(L, pieces, NID_subject_key_identifier, "hash");
  sign(L, pieces);
  push_pair(L, pieces);
  return 1;
}

// --- leaves --------------------------------------------------------------------------------------

static const char *kind_of(const char *name) {
  unsigned char address[16];
  if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1) return "IP";
  return strstr(name, "://") ? "URI" : "DNS";
}

// [-0, +1, v] pushes "DNS:a,IP:b,URI:c" for the list opts.names; "" without one.
static const char *push_alternative_names(lua_State *L, int index) {
  luaL_Buffer text;
  lua_Integer count = lua_getfield(L, index, "names") == LUA_TTABLE ? luaL_len(L, -1) : 0;
  int names = lua_gettop(L);
  luaL_buffinit(L, &text);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_geti(L, names, i);
    const char *name = luaL_checkstring(L, -1);
    if (strpbrk(name, ",\n")) luaL_error(L, "names: '%s' is not a host name or an address", name);
    lua_pushfstring(L, "%s%s:%s", i > 1 ? "," : "", kind_of(name), name);
    lua_remove(L, -2);
    luaL_addvalue(&text);
  }
  luaL_pushresult(&text);
  return lua_tostring(L, -1);
}

static const char *usage_of(lua_State *L, int index) {
  static const char *const names[] = {"server", "client", "both", NULL};
  static const char *const usages[] = {"serverAuth", "clientAuth", "serverAuth,clientAuth"};
  lua_getfield(L, index, "usage");
  return usages[luaL_checkoption(L, -1, "server", names)];
}

// x509.issue(authority, {names, name, organizations, days, usage}) -> {certificate, key}
int kf_x509_issue(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  const char *issuer = text_field(L, 1, "certificate");
  const char *issuer_key = text_field(L, 1, "key");
  const char *usage = usage_of(L, 2);
  const char *names = push_alternative_names(L, 2);
  luaL_argcheck(L, *names || strcmp(usage, "clientAuth") == 0, 2, "names: list expected");
  lua_getfield(L, 2, "name");
  const char *name = luaL_optstring(L, -1, "kfhost");
  struct pieces *pieces = kf_x509_pieces(L);
  pieces->issuer = kf_x509_certificate(L, issuer);
  pieces->issuer_key = kf_x509_key(L, issuer_key);
  start_certificate(L, 2, pieces, name, 90);
  add_extension(L, pieces, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(L, pieces, NID_key_usage, "critical,digitalSignature");
  add_extension(L, pieces, NID_ext_key_usage, usage);
  if (*names) add_extension(L, pieces, NID_subject_alt_name, names);
  add_extension(L, pieces, NID_subject_key_identifier, "hash");
  add_extension(L, pieces, NID_authority_key_identifier, "keyid");
  sign(L, pieces);
  push_pair(L, pieces);
  return 1;
}
