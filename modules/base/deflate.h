// Compression as zlib writes it (RFC 1950, 1951), with the fixed codes: what Python's zlib reads.
#ifndef KF_BASE_DEFLATE_H
#define KF_BASE_DEFLATE_H

#include "base/buffer.h"

// Appends the compressed bytes; out->failed when memory is out.
void kf_deflate(struct kf_buffer *out, const unsigned char *bytes, size_t size);

#endif
