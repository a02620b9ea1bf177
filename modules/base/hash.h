// Digests: SHA-256 and SHA-1 (FIPS 180-4). SHA-1 is for names (UUIDs), not for safety. CRC-32C.
//
// Offers: 1. digests in one call   2. digests of text that comes in pieces   3. a checksum
#ifndef KF_BASE_HASH_H
#define KF_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { KF_SHA256_SIZE = 32, KF_SHA1_SIZE = 20 };

void kf_sha256(const void *bytes, size_t length, unsigned char digest[KF_SHA256_SIZE]);
void kf_sha1(const void *bytes, size_t length, unsigned char digest[KF_SHA1_SIZE]);

// Start, add pieces, finish once; the digest is as long as the kind says.
struct kf_hash {
  void (*compress)(uint32_t state[8], const unsigned char block[64]);
  uint32_t state[8];
  uint64_t total;
  unsigned char block[64];  // what does not fill a block yet
  size_t digest_size;
};
void kf_hash_start_sha256(struct kf_hash *hash);
void kf_hash_start_sha1(struct kf_hash *hash);
void kf_hash_add(struct kf_hash *hash, const void *bytes, size_t length);
void kf_hash_finish(struct kf_hash *hash, unsigned char *digest);

uint32_t kf_crc32c(const void *bytes, size_t length);  // Castagnoli's polynomial (RFC 3720)

#endif
