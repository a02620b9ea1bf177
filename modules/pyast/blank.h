// What must not reach the parser as it is, found without parsing: IPython's magics and shell lines,
// and joints of lines that the grammar takes for the end of a block.
#ifndef KF_PYAST_BLANK_H
#define KF_PYAST_BLANK_H

#include <stdbool.h>
#include <stddef.h>

enum kf_magic_kind { KF_LINE_MAGIC, KF_CELL_MAGIC, KF_SHELL, KF_HELP, KF_ASSIGNED_MAGIC, KF_ASSIGNED_SHELL };
extern const char *const kf_magic_names[];  // by kind

struct kf_magic {
  enum kf_magic_kind kind;
  size_t line;         // from 1
  size_t first, end;   // what is blanked: byte offsets, end exclusive
  size_t target_end;   // of an assigned one: where the name before `=` ends; else first
};

// Calls `found` for each magic of the source, in order.
void kf_magics_find(const char *source, size_t size, void (*found)(void *data, const struct kf_magic *magic),
                    void *data);

// Calls `found` for what joins two lines in brackets (the newline, comments, blank lines, indentation),
// where the second begins further left than its statement: offsets, end exclusive. Blanks mean the same.
void kf_joints_find(const char *source, size_t size, void (*found)(void *data, size_t first, size_t end),
                    void *data);

#endif
