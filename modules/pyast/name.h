// Names as Python knows them. Plain C.
#ifndef KF_PYAST_NAME_H
#define KF_PYAST_NAME_H

#include <stdbool.h>
#include <stddef.h>

// Whether Python may know a name in another spelling: it has bytes beyond ASCII.
bool kf_name_is_wide(const char *name, size_t size);

// How many bytes of memory, aligned for int32_t, kf_name_normal works in.
size_t kf_name_room(size_t size);

// Writes the name in normal form NFKC (PEP 3131) to the start of `room`; its size, 0 when it is no UTF-8.
size_t kf_name_normal(const char *name, size_t size, void *room);

#endif
