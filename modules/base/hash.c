#include "base/hash.h"

#include <string.h>

static uint32_t rotate_left(uint32_t word, int bits) {
  return word << bits | word >> (32 - bits);
}

static uint32_t rotate_right(uint32_t word, int bits) {
  return word >> bits | word << (32 - bits);
}

static uint32_t read_word(const unsigned char *bytes) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void write_word(unsigned char *bytes, uint32_t word) {
  for (int i = 0; i < 4; i++) bytes[i] = (unsigned char)(word >> (24 - 8 * i));
}

// --- SHA-256 ------------------------------------------------------------------------------------

// The first 32 bits of the fractions of the cube roots of the first 64 primes.
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static void expand_sha256(uint32_t words[64], const unsigned char block[64]) {
  for (int i = 0; i < 16; i++) words[i] = read_word(block + 4 * i);
  for (int i = 16; i < 64; i++) {
    uint32_t a = words[i - 15], b = words[i - 2];
    words[i] = words[i - 16] + (rotate_right(a, 7) ^ rotate_right(a, 18) ^ a >> 3) +
               words[i - 7] + (rotate_right(b, 17) ^ rotate_right(b, 19) ^ b >> 10);
  }
}

static void compress_sha256(uint32_t state[8], const unsigned char block[64]) {
  uint32_t words[64], v[8];
  expand_sha256(words, block);
  memcpy(v, state, sizeof v);
  for (int i = 0; i < 64; i++) {
    uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
    uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
    uint32_t first = v[7] + constants[i] + words[i] + choice +
                     (rotate_right(v[4], 6) ^ rotate_right(v[4], 11) ^ rotate_right(v[4], 25));
    uint32_t second =
        majority + (rotate_right(v[0], 2) ^ rotate_right(v[0], 13) ^ rotate_right(v[0], 22));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += first;
    v[0] = first + second;
  }
  for (int i = 0; i < 8; i++) state[i] += v[i];
}

// --- SHA-1 --------------------------------------------------------------------------------------

static uint32_t mix_sha1(int round, uint32_t b, uint32_t c, uint32_t d) {
  if (round < 20) return ((b & c) | (~b & d)) + 0x5a827999;
  if (round < 40) return (b ^ c ^ d) + 0x6ed9eba1;
  if (round < 60) return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
  return (b ^ c ^ d) + 0xca62c1d6;
}

static void compress_sha1(uint32_t state[8], const unsigned char block[64]) {
  uint32_t words[80], v[5];
  for (int i = 0; i < 16; i++) words[i] = read_word(block + 4 * i);
  for (int i = 16; i < 80; i++)
    words[i] = rotate_left(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
  memcpy(v, state, sizeof v);
  for (int i = 0; i < 80; i++) {
    uint32_t first = rotate_left(v[0], 5) + mix_sha1(i, v[1], v[2], v[3]) + v[4] + words[i];
    memmove(v + 1, v, 4 * sizeof *v);
    v[2] = rotate_left(v[2], 30);
    v[0] = first;
  }
  for (int i = 0; i < 5; i++) state[i] += v[i];
}

// --- both ---------------------------------------------------------------------------------------

void kf_hash_start_sha256(struct kf_hash *hash) {
  *hash = (struct kf_hash){
      .compress = compress_sha256,
      .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
                0x5be0cd19},
      .digest_size = KF_SHA256_SIZE,
  };
}

void kf_hash_start_sha1(struct kf_hash *hash) {
  *hash = (struct kf_hash){
      .compress = compress_sha1,
      .state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0},
      .digest_size = KF_SHA1_SIZE,
  };
}

void kf_hash_add(struct kf_hash *hash, const void *bytes, size_t length) {
  const unsigned char *at = bytes;
  size_t waiting = hash->total % 64;
  hash->total += length;
  while (waiting + length >= 64) {
    size_t taken = 64 - waiting;
    memcpy(hash->block + waiting, at, taken);
    hash->compress(hash->state, hash->block);
    at += taken;
    length -= taken;
    waiting = 0;
  }
  if (length > 0) memcpy(hash->block + waiting, at, length);
}

void kf_hash_finish(struct kf_hash *hash, unsigned char *digest) {
  static const unsigned char padding[64] = {0x80};
  uint64_t bits = hash->total * 8;
  unsigned char length[8];
  write_word(length, (uint32_t)(bits >> 32));
  write_word(length + 4, (uint32_t)bits);
  kf_hash_add(hash, padding, 1 + (119 - hash->total % 64) % 64);
  kf_hash_add(hash, length, sizeof length);
  for (size_t i = 0; i < hash->digest_size / 4; i++) write_word(digest + 4 * i, hash->state[i]);
}

void kf_sha256(const void *bytes, size_t length, unsigned char digest[KF_SHA256_SIZE]) {
  struct kf_hash hash;
  kf_hash_start_sha256(&hash);
  kf_hash_add(&hash, bytes, length);
  kf_hash_finish(&hash, digest);
}

void kf_sha1(const void *bytes, size_t length, unsigned char digest[KF_SHA1_SIZE]) {
  struct kf_hash hash;
  kf_hash_start_sha1(&hash);
  kf_hash_add(&hash, bytes, length);
  kf_hash_finish(&hash, digest);
}

uint32_t kf_crc32c(const void *bytes, size_t length) {
  static const uint32_t steps[16] = {  // of four bits each
      0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
      0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
  uint32_t sum = ~0U;
  for (const unsigned char *at = bytes, *end = at + length; at < end; at++) {
    sum ^= *at;
    sum = sum >> 4 ^ steps[sum & 15];
    sum = sum >> 4 ^ steps[sum & 15];
  }
  return ~sum;
}
