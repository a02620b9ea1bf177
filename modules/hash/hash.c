// require "hash": digests, base64, compression and identifiers.
#include "base/deflate.h"
#include "base/hash.h"

#include "error.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>
#include <sys/random.h>

static const char hex_digits[] = "0123456789abcdef";

static void add_hex(luaL_Buffer *buffer, const unsigned char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    luaL_addchar(buffer, hex_digits[bytes[i] >> 4]);
    luaL_addchar(buffer, hex_digits[bytes[i] & 15]);
  }
}

static int push_hex(lua_State *L, const unsigned char *bytes, size_t size) {
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  add_hex(&buffer, bytes, size);
  luaL_pushresult(&buffer);
  return 1;
}

// hash.sha256(text) -> 64 hexadecimal digits
static int l_sha256(lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  unsigned char digest[KF_SHA256_SIZE];
  kf_sha256(text, size, digest);
  return push_hex(L, digest, sizeof digest);
}

// hash.sha1(text) -> 40 hexadecimal digits
static int l_sha1(lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  unsigned char digest[KF_SHA1_SIZE];
  kf_sha1(text, size, digest);
  return push_hex(L, digest, sizeof digest);
}

// hash.crc32c(bytes) -> integer
static int l_crc32c(lua_State *L) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 1, &size);
  lua_pushinteger(L, kf_crc32c(bytes, size));
  return 1;
}

// --- base64 (RFC 4648, section 4) ---------------------------------------------------------------

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// hash.base64(bytes) -> text, padded
static int l_base64(lua_State *L) {
  size_t size;
  const unsigned char *bytes = (const unsigned char *)luaL_checklstring(L, 1, &size);
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (size_t at = 0; at < size; at += 3) {
    size_t left = size - at;
    uint32_t group = (uint32_t)bytes[at] << 16;
    if (left > 1) group |= (uint32_t)bytes[at + 1] << 8;
    if (left > 2) group |= bytes[at + 2];
    luaL_addchar(&buffer, base64_digits[group >> 18]);
    luaL_addchar(&buffer, base64_digits[group >> 12 & 63]);
    luaL_addchar(&buffer, left > 1 ? base64_digits[group >> 6 & 63] : '=');
    luaL_addchar(&buffer, left > 2 ? base64_digits[group & 63] : '=');
  }
  luaL_pushresult(&buffer);
  return 1;
}

static int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int fail_base64(lua_State *L, size_t offset, const char *message) {
  kf_error(L, "Base64", "%s", message);
  lua_pushinteger(L, (lua_Integer)offset);
  lua_setfield(L, -2, "offset");
  return lua_error(L);
}

// hash.unbase64(text) -> bytes; blanks and line ends are passed over, all else must be exact.
static int l_unbase64(lua_State *L) {
  size_t size, digits = 0, padding = 0;
  const char *text = luaL_checklstring(L, 1, &size);
  uint32_t group = 0;
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (size_t at = 0; at < size; at++) {
    if (text[at] != '\0' && strchr(" \t\r\n", text[at])) continue;
    int value = base64_value(text[at]);
    if (text[at] == '=' && (digits + padding) % 4 >= 2) {
      padding++;
      continue;
    }
    if (value < 0 || padding > 0) return fail_base64(L, at, "no base64 digit");
    group = group << 6 | (uint32_t)value;
    // Each digit but the first of four completes a byte.
    if (digits++ % 4 != 0) luaL_addchar(&buffer, (char)(group >> (6 - 2 * ((digits - 1) % 4))));
  }
  if ((digits + padding) % 4 != 0) return fail_base64(L, size, "the base64 text ends too early");
  unsigned unused = digits % 4 == 2 ? 15 : digits % 4 == 3 ? 3 : 0;
  if (group & unused) return fail_base64(L, size, "bits that mean nothing are not zero");
  luaL_pushresult(&buffer);
  return 1;
}

// --- identifiers --------------------------------------------------------------------------------

static int push_uuid(lua_State *L, const unsigned char bytes[16]) {
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) luaL_addchar(&buffer, '-');
    add_hex(&buffer, bytes + i, 1);
  }
  luaL_pushresult(&buffer);
  return 1;
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

static void check_uuid(lua_State *L, int arg, unsigned char bytes[16]) {
  size_t size, digits = 0;
  const char *text = luaL_checklstring(L, arg, &size);
  luaL_argcheck(L, size == 36, arg, "a UUID expected");
  memset(bytes, 0, 16);
  for (size_t i = 0; i < size; i++) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      luaL_argcheck(L, text[i] == '-', arg, "a UUID expected");
      continue;
    }
    int value = hex_value(text[i]);
    luaL_argcheck(L, value >= 0, arg, "a UUID expected");
    bytes[digits / 2] = (unsigned char)(bytes[digits / 2] << 4 | value);
    digits++;
  }
}

// hash.uuid5(namespace, name) -> UUID (RFC 4122, section 4.3)
static int l_uuid5(lua_State *L) {
  unsigned char namespace[16], digest[KF_SHA1_SIZE];
  struct kf_hash hash;
  size_t size;
  check_uuid(L, 1, namespace);
  const char *name = luaL_checklstring(L, 2, &size);
  kf_hash_start_sha1(&hash);
  kf_hash_add(&hash, namespace, sizeof namespace);
  kf_hash_add(&hash, name, size);
  kf_hash_finish(&hash, digest);
  digest[6] = (unsigned char)((digest[6] & 0x0f) | 0x50);
  digest[8] = (unsigned char)((digest[8] & 0x3f) | 0x80);
  return push_uuid(L, digest);
}

// hash.random_hex(bytes) -> twice as many hexadecimal digits, from the kernel
static int l_random_hex(lua_State *L) {
  unsigned char bytes[256];
  lua_Integer count = luaL_checkinteger(L, 1);
  luaL_argcheck(L, count >= 1 && count <= (lua_Integer)sizeof bytes, 1, "1 to 256 bytes expected");
  if (getrandom(bytes, (size_t)count, 0) != count)
    return kf_fail_errno(L, errno, "get random bytes", "getrandom");
  return push_hex(L, bytes, (size_t)count);
}

// hash.deflate(bytes) -> bytes, as zlib reads them
static int l_deflate(lua_State *L) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 1, &size);
  struct kf_buffer out = {0};
  kf_deflate(&out, (const unsigned char *)bytes, size);
  char *copy = out.failed ? NULL : lua_newuserdatauv(L, out.length, 0);
  if (copy) memcpy(copy, out.data, out.length);
  size_t length = out.length;
  kf_buffer_free(&out);
  if (!copy) return luaL_error(L, "not enough memory");
  lua_pushlstring(L, copy, length);
  return 1;
}

static const luaL_Reg functions[] = {
    {"sha256", l_sha256},     {"sha1", l_sha1},   {"base64", l_base64},
    {"unbase64", l_unbase64}, {"uuid5", l_uuid5}, {"random_hex", l_random_hex},
    {"deflate", l_deflate},   {"crc32c", l_crc32c},
    {NULL, NULL},
};

int luaopen_kf_hash(lua_State *L);
int luaopen_kf_hash(lua_State *L) {
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
