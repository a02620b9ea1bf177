// How many columns of a terminal a text takes. Plain C; knows UTF-8 and SGR escapes, no locale.
//
// Offers: 1. kf_text_width   2. kf_text_cut
#ifndef KF_TERM_WIDTH_H
#define KF_TERM_WIDTH_H

#include <stddef.h>

// The columns that the text takes. Escape sequences and control characters take none; a sequence
// of emoji joined by U+200D takes what its first takes; a byte that is no UTF-8 takes one.
size_t kf_text_width(const char *text, size_t length);

// How many bytes of the text fit into the given columns, never splitting what belongs together.
size_t kf_text_cut(const char *text, size_t length, size_t columns);

#endif
