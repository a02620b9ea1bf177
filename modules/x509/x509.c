// require "x509": a private certificate authority, leaf certificates, and what a certificate says.
// P-256 keys only (an RSA-2048 key takes a hundred times longer to make). PEM texts in and out;
// keys never touch a file here.
#include "error.h"

#include <arpa/inet.h>
#include <lauxlib.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#define TYPE_PIECES "kfhost.x509.pieces"
#define DAY 86400L
#define CLOCK_SKEW 300L  // a certificate is valid from five minutes before it was made

// What one call holds of OpenSSL; a userdata, so that a raise frees it.
struct pieces {
  EVP_PKEY *key;
  EVP_PKEY *issuer_key;
  X509 *certificate;
  X509 *issuer;
  BIO *text;
};

static int l_pieces_gc(lua_State *L) {
  struct pieces *pieces = luaL_checkudata(L, 1, TYPE_PIECES);
  EVP_PKEY_free(pieces->key);
  EVP_PKEY_free(pieces->issuer_key);
  X509_free(pieces->certificate);
  X509_free(pieces->issuer);
  BIO_free(pieces->text);
  *pieces = (struct pieces){0};
  return 0;
}

// [-0, +1, m]
static struct pieces *new_pieces(lua_State *L) {
  struct pieces *pieces = lua_newuserdatauv(L, sizeof *pieces, 0);
  *pieces = (struct pieces){0};
  luaL_setmetatable(L, TYPE_PIECES);
  return pieces;
}

static int fail(lua_State *L, const char *action) {
  char reason[256];
  unsigned long number = ERR_get_error();
  ERR_error_string_n(number, reason, sizeof reason);
  ERR_clear_error();
  return kf_fail(L, "Certificate", "cannot %s: %s", action, number ? reason : "out of memory");
}

// --- making -----------------------------------------------------------------------------------

static void set_serial(lua_State *L, X509 *certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) fail(L, "draw a serial number");
  bytes[0] &= 0x7f;  // positive
  bytes[0] |= 0x40;  // of full length
  BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
  if (!number || !BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate))) {
    BN_free(number);
    fail(L, "set the serial number");
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
  if (!added) fail(L, "add a certificate extension");
}

// Starts pieces->certificate with a fresh key, a serial, its validity and its subject.
static void start_certificate(lua_State *L, struct pieces *pieces, const char *name,
                              lua_Number days) {
  luaL_argcheck(L, days > 0 && days < 36500, 1, "days: a number from 0 to 36500 expected");
  pieces->key = EVP_EC_gen("P-256");
  pieces->certificate = X509_new();
  if (!pieces->key || !pieces->certificate) fail(L, "make a key");
  X509 *certificate = pieces->certificate;
  X509_set_version(certificate, 2);
  set_serial(L, certificate);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -CLOCK_SKEW);
  X509_gmtime_adj(X509_getm_notAfter(certificate), (long)(days * DAY));
  X509_set_pubkey(certificate, pieces->key);
  X509_NAME *subject = X509_get_subject_name(certificate);
  if (!X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0))
    fail(L, "set the subject");
  X509_set_issuer_name(certificate, pieces->issuer ? X509_get_subject_name(pieces->issuer) : subject);
}

static void sign(lua_State *L, struct pieces *pieces) {
  EVP_PKEY *key = pieces->issuer_key ? pieces->issuer_key : pieces->key;
  if (!X509_sign(pieces->certificate, key, EVP_sha256())) fail(L, "sign the certificate");
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
    fail(L, "write the certificate");
  push_text(L, pieces);
  lua_setfield(L, -2, "certificate");
  if (!PEM_write_bio_PKCS8PrivateKey(pieces->text, pieces->key, NULL, NULL, 0, NULL, NULL))
    fail(L, "write the key");
  push_text(L, pieces);
  lua_setfield(L, -2, "key");
}

static const char *text_field(lua_State *L, int index, const char *field) {
  if (lua_getfield(L, index, field) != LUA_TSTRING)
    luaL_error(L, "bad field '%s' (string expected, got %s)", field, luaL_typename(L, -1));
  return lua_tostring(L, -1);
}

static lua_Number days_field(lua_State *L, int index, lua_Number otherwise) {
  lua_getfield(L, index, "days");
  return luaL_optnumber(L, -1, otherwise);
}

// x509.authority{name, days} -> {certificate, key}
static int l_authority(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const char *name = text_field(L, 1, "name");
  lua_Number days = days_field(L, 1, 365);
  struct pieces *pieces = new_pieces(L);
  start_certificate(L, pieces, name, days);
  add_extension(L, pieces, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(L, pieces, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(L, pieces, NID_subject_key_identifier, "hash");
  sign(L, pieces);
  push_pair(L, pieces);
  return 1;
}

static void *no_password(void) {
  return (void *)"";  // an encrypted key is an error, never a prompt on the terminal
}

static X509 *read_certificate(lua_State *L, const char *text) {
  BIO *bio = BIO_new_mem_buf(text, -1);
  X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, no_password()) : NULL;
  BIO_free(bio);
  if (!certificate) fail(L, "read the certificate");
  return certificate;
}

static EVP_PKEY *read_key(lua_State *L, const char *text) {
  BIO *bio = BIO_new_mem_buf(text, -1);
  EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, no_password()) : NULL;
  BIO_free(bio);
  if (!key) fail(L, "read the key");
  return key;
}

// [-0, +1, e] pushes "DNS:a,IP:b" for the list opts.names; a name that is an address gets IP:.
static const char *push_alternative_names(lua_State *L, int index) {
  luaL_Buffer text;
  luaL_argcheck(L, lua_getfield(L, index, "names") == LUA_TTABLE, index, "names: list expected");
  int names = lua_gettop(L);
  lua_Integer count = luaL_len(L, names);
  luaL_buffinit(L, &text);
  for (lua_Integer i = 1; i <= count; i++) {
    unsigned char address[16];
    lua_geti(L, names, i);
    const char *name = luaL_checkstring(L, -1);
    int is_address = inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
    if (strpbrk(name, ",\n")) luaL_error(L, "names: '%s' is not a host name or an address", name);
    lua_pushfstring(L, "%s%s%s", i > 1 ? "," : "", is_address ? "IP:" : "DNS:", name);
    lua_remove(L, -2);
    luaL_addvalue(&text);
  }
  luaL_pushresult(&text);
  return lua_tostring(L, -1);
}

// x509.issue(authority, {names, name, days, usage = "server" | "client"}) -> {certificate, key}
static int l_issue(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  const char *issuer = text_field(L, 1, "certificate");
  const char *issuer_key = text_field(L, 1, "key");
  lua_Number days = days_field(L, 2, 90);
  lua_getfield(L, 2, "usage");
  int client = strcmp(luaL_optstring(L, -1, "server"), "client") == 0;
  const char *names = client ? "" : push_alternative_names(L, 2);
  lua_getfield(L, 2, "name");
  const char *name = luaL_optstring(L, -1, "kfhost");
  struct pieces *pieces = new_pieces(L);
  pieces->issuer = read_certificate(L, issuer);
  pieces->issuer_key = read_key(L, issuer_key);
  start_certificate(L, pieces, name, days);
  add_extension(L, pieces, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(L, pieces, NID_key_usage, "critical,digitalSignature");
  add_extension(L, pieces, NID_ext_key_usage, client ? "clientAuth" : "serverAuth");
  if (*names) add_extension(L, pieces, NID_subject_alt_name, names);
  add_extension(L, pieces, NID_subject_key_identifier, "hash");
  add_extension(L, pieces, NID_authority_key_identifier, "keyid");
  sign(L, pieces);
  push_pair(L, pieces);
  return 1;
}

// --- reading ----------------------------------------------------------------------------------

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
    if (name->type == GEN_DNS) {
      lua_pushlstring(L, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
                      (size_t)ASN1_STRING_length(name->d.dNSName));
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

// x509.parse(pem) -> {subject, issuer, not_before, not_after, names, authority}; times in seconds
static int l_parse(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  struct pieces *pieces = new_pieces(L);
  pieces->certificate = read_certificate(L, text);
  lua_createtable(L, 0, 6);
  set_name(L, "subject", X509_get_subject_name(pieces->certificate));
  set_name(L, "issuer", X509_get_issuer_name(pieces->certificate));
  lua_pushinteger(L, seconds_of(X509_get0_notBefore(pieces->certificate)));
  lua_setfield(L, -2, "not_before");
  lua_pushinteger(L, seconds_of(X509_get0_notAfter(pieces->certificate)));
  lua_setfield(L, -2, "not_after");
  push_names(L, pieces->certificate);
  lua_setfield(L, -2, "names");
  lua_pushboolean(L, X509_check_ca(pieces->certificate) == 1);
  lua_setfield(L, -2, "authority");
  return 1;
}

static const luaL_Reg functions[] = {
    {"authority", l_authority}, {"issue", l_issue}, {"parse", l_parse}, {NULL, NULL},
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
