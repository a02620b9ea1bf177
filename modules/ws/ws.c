// require "ws.core": what scripts/lib/ws.lua is built from: frames, and the keys of the handshake.
#include "error.h"
#include "frame.h"

#include <lauxlib.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#define TYPE_DECODER "kfhost.ws.decoder"

int luaopen_kf_ws(lua_State *L);

static const struct {
  const char *name;
  enum kf_opcode opcode;
} kinds[] = {{"text", KF_TEXT}, {"binary", KF_BINARY}, {"close", KF_CLOSE}, {"ping", KF_PING},
             {"pong", KF_PONG}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const char *name_of(enum kf_opcode opcode) {
  for (size_t i = 0; i < KINDS; i++)
    if (kinds[i].opcode == opcode) return kinds[i].name;
  return "unknown";
}

static enum kf_opcode check_kind(lua_State *L, int arg) {
  const char *name = luaL_checkstring(L, arg);
  for (size_t i = 0; i < KINDS; i++)
    if (strcmp(kinds[i].name, name) == 0) return kinds[i].opcode;
  luaL_argerror(L, arg, "\"text\", \"binary\", \"close\", \"ping\" or \"pong\" expected");
  return KF_TEXT;
}

// --- writing ------------------------------------------------------------------------------------

// A userdata around a buffer, so that no error can lose its memory.
struct bytes {
  struct kf_buffer buffer;
};

static int l_bytes_gc(lua_State *L) {
  struct bytes *bytes = lua_touserdata(L, 1);
  kf_buffer_free(&bytes->buffer);
  return 0;
}

static const char *payload(lua_State *L, enum kf_opcode opcode, size_t *length) {
  const char *data = luaL_checklstring(L, 2, length);
  if (opcode >= KF_CLOSE && *length > 125) luaL_argerror(L, 2, "at most 125 bytes expected");
  return data;
}

// core.frame(kind, data, masked) -> the bytes of a frame
static int l_frame(lua_State *L) {
  enum kf_opcode opcode = check_kind(L, 1);
  size_t length;
  const char *data = payload(L, opcode, &length);
  bool masked = lua_toboolean(L, 3);
  unsigned char mask[4];
  if (masked && RAND_bytes(mask, sizeof mask) != 1) return luaL_error(L, "no random bytes");
  struct bytes *bytes = lua_newuserdatauv(L, sizeof *bytes, 0);
  *bytes = (struct bytes){{0}};
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setmetatable(L, -2);
  kf_frame_write(&bytes->buffer, opcode, data, length, masked ? mask : NULL);
  if (bytes->buffer.failed) return luaL_error(L, "not enough memory");
  lua_pushlstring(L, bytes->buffer.data, bytes->buffer.length);
  kf_buffer_free(&bytes->buffer);
  return 1;
}

// core.close_payload(code, reason) -> what a close frame carries
static int l_close_payload(lua_State *L) {
  lua_Integer code = luaL_checkinteger(L, 1);
  size_t length;
  const char *reason = luaL_optlstring(L, 2, "", &length);
  luaL_argcheck(L, code > 0 && code < 5000 && kf_close_code_is_valid((int)code), 1,
                "not a close code that may be sent");
  luaL_argcheck(L, length <= 123, 2, "at most 123 bytes expected");
  char bytes[2] = {(char)(code >> 8), (char)(code & 0xff)};
  lua_pushlstring(L, bytes, sizeof bytes);
  lua_pushlstring(L, reason, length);
  lua_concat(L, 2);
  return 1;
}

// --- reading ------------------------------------------------------------------------------------

static struct kf_frames *check_decoder(lua_State *L) {
  return luaL_checkudata(L, 1, TYPE_DECODER);
}

// core.decoder(masked, limit) -> decoder of what a client (masked) or a server sends
static int l_decoder(lua_State *L) {
  bool masked = lua_toboolean(L, 1);
  lua_Integer limit = luaL_checkinteger(L, 2);
  luaL_argcheck(L, limit >= 0, 2, "a number of bytes expected");
  struct kf_frames *frames = lua_newuserdatauv(L, sizeof *frames, 0);
  *frames = (struct kf_frames){.masked = masked, .limit = (size_t)limit};
  luaL_setmetatable(L, TYPE_DECODER);
  return 1;
}

// decoder:feed(bytes)
static int l_feed(lua_State *L) {
  struct kf_frames *frames = check_decoder(L);
  size_t length;
  const char *bytes = luaL_checklstring(L, 2, &length);
  if (!kf_frames_feed(frames, bytes, length)) return luaL_error(L, "not enough memory");
  return 0;
}

// decoder:next() -> kind, data[, close code] | nil; raises "Protocol" with the field close_code
static int l_next(lua_State *L) {
  struct kf_frames *frames = check_decoder(L);
  struct kf_frame frame;
  switch (kf_frames_next(frames, &frame)) {
  case KF_MORE: return 0;
  case KF_MESSAGE:
  case KF_CONTROL: break;
  case KF_BROKEN:
    kf_error(L, "Protocol", "WebSocket: %s", frames->problem);
    lua_pushinteger(L, frames->code);
    lua_setfield(L, -2, "close_code");
    return lua_error(L);
  }
  lua_pushstring(L, name_of(frame.opcode));
  lua_pushlstring(L, frame.data, frame.length);
  if (frame.opcode != KF_CLOSE) return 2;
  lua_pushinteger(L, frame.code);
  return 3;
}

static int l_decoder_gc(lua_State *L) {
  kf_frames_free(check_decoder(L));
  return 0;
}

// --- the handshake ------------------------------------------------------------------------------

static void push_base64(lua_State *L, const unsigned char *bytes, int length) {
  unsigned char text[64];
  int count = EVP_EncodeBlock(text, bytes, length);
  lua_pushlstring(L, (const char *)text, (size_t)count);
}

// core.nonce() -> a key for a handshake
static int l_nonce(lua_State *L) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return luaL_error(L, "no random bytes");
  push_base64(L, bytes, sizeof bytes);
  return 1;
}

// core.accept_key(key) -> the server's answer to it
static int l_accept_key(lua_State *L) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  luaL_checkstring(L, 1);
  lua_pushliteral(L, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  lua_concat(L, 2);
  size_t size;
  const char *text = lua_tolstring(L, -1, &size);
  if (EVP_Digest(text, size, digest, &length, EVP_sha1(), NULL) != 1)
    return luaL_error(L, "SHA-1 is not to be had");
  push_base64(L, digest, (int)length);
  return 1;
}

static const luaL_Reg decoder_methods[] = {{"feed", l_feed}, {"next", l_next}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"close_payload", l_close_payload}, {"decoder", l_decoder},
                                     {"nonce", l_nonce}, {"accept_key", l_accept_key},
                                     {"frame", NULL}, {NULL, NULL}};

int luaopen_kf_ws(lua_State *L) {
  luaL_newmetatable(L, TYPE_DECODER);
  luaL_newlib(L, decoder_methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_decoder_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  lua_newtable(L);  // core, metatable of bytes
  lua_pushcfunction(L, l_bytes_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcclosure(L, l_frame, 1);
  lua_setfield(L, -2, "frame");
  return 1;
}
