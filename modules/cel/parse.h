// Reading an expression: tokens for the parser.
#ifndef KF_CEL_PARSE_H
#define KF_CEL_PARSE_H

#include "cel.h"

enum token {
  T_END, T_WORD, T_INT, T_UINT, T_DOUBLE, T_STRING, T_BYTES, T_SYMBOL
};
struct parser {
  struct kf_tree *tree;
  const struct cel_names *names;
  const char *text, *at, *end;
  enum token token;
  const char *start;  // of the token
  size_t length;
  struct cel_value value;  // of a literal
  bool quoted;             // a word in backticks
  int depth;
  struct local *locals;  // the variables of the loops around
};

// Reads the next token.
void cel_next(struct parser *p);
// Whether the token is that symbol or word; accept goes on behind it, expect raises when it is another.
bool cel_is(const struct parser *p, const char *symbol);
bool cel_accept(struct parser *p, const char *symbol);
void cel_expect(struct parser *p, const char *symbol);

// [-0, +0, v] raise code "CEL" at a place of the text, or at the token.
_Noreturn void cel_fail_at(struct parser *p, const char *at, const char *message);
_Noreturn void cel_fail_token(struct parser *p);
// [-0, +1, m] a piece of the text as a C string.
const char *cel_piece(struct parser *p, const char *text, size_t length);

#endif
