// CEL, the expression language of Kubernetes: the parts that match conditions, CRD rules and KFP use.
// An expression is parsed once into nodes; evaluating gives a value. What goes wrong in an expression
// is a value too (CEL_ERROR), because || && ?: and all() may pass over it.
#ifndef KF_CEL_CEL_H
#define KF_CEL_CEL_H

#include "tree.h"

#include "base/quantity.h"

// --- values -------------------------------------------------------------------------------------------

enum cel_type {
  CEL_ERROR, CEL_NULL, CEL_BOOL, CEL_INT, CEL_UINT, CEL_DOUBLE, CEL_STRING, CEL_BYTES, CEL_LIST, CEL_MAP, CEL_TYPE,
  CEL_TIMESTAMP, CEL_DURATION, CEL_OPTIONAL, CEL_QUANTITY, CEL_URL, CEL_IP, CEL_CIDR
};

struct cel_list;
struct cel_map;
struct cel_address {
  unsigned char bytes[16];
  int length;  // 4 or 16
  int prefix;  // of a CIDR
};
struct cel_value {
  enum cel_type type;
  uint32_t offset;  // of an error: where in the expression
  union {
    bool boolean;
    int64_t integer;  // of a duration: nanoseconds; of a timestamp: seconds
    uint64_t natural;
    double number;
    size_t length;  // of texts and bytes, in bytes
  };
  union {
    const char *text;  // a string, bytes, the name of a type, a URL, the message of an error
    int32_t nanoseconds;
    const struct cel_list *list;
    const struct cel_map *map;
    const struct cel_value *inner;  // of an optional; NULL for none
    const struct kf_quantity *quantity;
    const struct cel_address *address;
  };
};
// Either values of ours, or a list or a map that came from outside and is converted as it is read.
struct cel_list {
  size_t count;
  const struct cel_value *items;
  const struct kf_node *node;
};
struct cel_map {
  size_t count;
  const struct cel_value *keys, *values;
  const struct kf_node *node;
};

// --- nodes --------------------------------------------------------------------------------------------

enum cel_kind {
  CEL_CONSTANT, CEL_NAME, CEL_SELECT, CEL_HAS, CEL_INDEX, CEL_CALL, CEL_MAKE_LIST, CEL_MAKE_MAP, CEL_CHOICE, CEL_AND,
  CEL_OR, CEL_LOOP, CEL_OPT_MAP
};
enum cel_loop { CEL_ALL, CEL_EXISTS, CEL_EXISTS_ONE, CEL_MAP_EACH, CEL_FILTER, CEL_MAP_MAP, CEL_MAP_ENTRY, CEL_SORT_BY };

struct cel_run;
typedef struct cel_value (*cel_function)(struct cel_run *run, const struct cel_value *arguments, size_t count);
struct cel_entry {
  const char *name;
  char style;  // 'g' global, 'm' member, 'b' both
  signed char least, most;  // arguments, the target of a member counts
  cel_function function;
};

struct cel_node {
  enum cel_kind kind;
  enum cel_loop loop;
  uint32_t offset;
  bool optional;  // a.?b, a[?b], [?a], {?a: b}
  const char *text;  // a name, a field
  size_t length;
  const char *second;  // the second variable of a loop, or NULL
  struct cel_value value;
  const struct cel_entry *function;
  struct cel_node **children;
  size_t count, capacity;
};

// --- parsing; all may raise code "CEL" with offset ---------------------------------------------------

struct cel_names {
  const struct kf_node *variables;  // a list of texts; NULL: any name
  const struct kf_node *functions;  // a list of texts: functions that must be asked for
};
struct cel_node *cel_parse(struct kf_tree *tree, const char *text, size_t length, const struct cel_names *names);
_Noreturn void cel_raise(lua_State *L, size_t offset, const char *message);

// The function of that name for so many arguments (a member's target included), or NULL; `known` tells
// whether the name is one at all.
const struct cel_entry *cel_find_function(const char *name, size_t length, bool member, size_t count, bool *known);

// --- types before it is run (cel/check.c) --------------------------------------------------------------

// [-0, +0, v] raises code "CEL" where the types that are known have no overload, or when the expression is known
// to give another type than `result` ("bool", "any").
void cel_check(struct kf_tree *tree, const struct cel_node *node, const char *result);

// --- evaluating ---------------------------------------------------------------------------------------

struct cel_scope {
  const struct cel_scope *outer;
  const char *name;
  size_t length;
  struct cel_value value;
};
struct cel_run {
  struct kf_tree tree;
  const struct kf_node *variables;  // a map
  const struct cel_scope *scope;
  uint64_t cost, limit;
  uint32_t offset;  // of the call under way
  int depth;
};
struct cel_value cel_evaluate(struct cel_run *run, const struct cel_node *node);
// Raises when the limit is passed.
void cel_spend(struct cel_run *run, uint64_t cost);

// --- values: making, reading, comparing -----------------------------------------------------------------

struct cel_value cel_error(struct cel_run *run, const char *format, ...);
struct cel_value cel_no_overload(struct cel_run *run);
struct cel_value cel_of_node(const struct kf_node *node, struct cel_run *run);
struct cel_value cel_string(const char *text, size_t length);
struct cel_value cel_text(const char *text);  // ends with \0
struct cel_value cel_copied(struct cel_run *run, const char *text, size_t length);
struct cel_value cel_type_named(const char *name);
const char *cel_type_name(const struct cel_value *value);

static inline struct cel_value cel_bool(bool value) {
  return (struct cel_value){.type = CEL_BOOL, .boolean = value};
}
static inline struct cel_value cel_int(int64_t value) {
  return (struct cel_value){.type = CEL_INT, .integer = value};
}
static inline struct cel_value cel_uint(uint64_t value) {
  return (struct cel_value){.type = CEL_UINT, .natural = value};
}
static inline struct cel_value cel_double(double value) {
  return (struct cel_value){.type = CEL_DOUBLE, .number = value};
}
static inline bool cel_is_true(const struct cel_value *value) {
  return value->type == CEL_BOOL && value->boolean;
}

struct cel_value cel_item(struct cel_run *run, const struct cel_list *list, size_t index);
struct cel_value cel_key(struct cel_run *run, const struct cel_map *map, size_t index);
struct cel_value cel_member(struct cel_run *run, const struct cel_map *map, size_t index);
bool cel_lookup(struct cel_run *run, const struct cel_map *map, const struct cel_value *key, struct cel_value *value);

// A list that grows; cel_finish makes the value.
struct cel_builder {
  struct cel_value *items;
  size_t count, capacity;
};
void cel_append(struct cel_run *run, struct cel_builder *builder, struct cel_value value);
struct cel_value cel_finish(struct cel_run *run, const struct cel_builder *builder);
struct cel_value cel_finish_map(struct cel_run *run, const struct cel_builder *keys, const struct cel_builder *values);
struct cel_value cel_optional(struct cel_run *run, const struct cel_value *value);  // NULL: none

bool cel_equal(struct cel_run *run, const struct cel_value *a, const struct cel_value *b);
// -1, 0, 1; 2 when they have no order (NaN), 3 when their types have none.
int cel_compare(const struct cel_value *a, const struct cel_value *b);

// --- parts that functions share -------------------------------------------------------------------------

// Times (cel/time.c)
struct cel_value cel_read_timestamp(struct cel_run *run, const char *text, size_t length);
struct cel_value cel_read_duration(struct cel_run *run, const char *text, size_t length);
size_t cel_write_timestamp(const struct cel_value *value, char out[40]);
size_t cel_write_duration(const struct cel_value *value, char out[40]);
bool cel_timestamp_is_valid(int64_t seconds);
// Addresses (cel/address.c)
size_t cel_write_address(const struct cel_address *address, bool prefix, char out[64]);
// Any value as string() and %s give it; false for what has no text.
bool cel_write(struct cel_run *run, const struct cel_value *value, struct cel_value *text);

// The tables of functions, each ends with {NULL}.
extern const struct cel_entry cel_core_functions[];
extern const struct cel_entry cel_text_functions[];
extern const struct cel_entry cel_time_functions[];
extern const struct cel_entry cel_list_functions[];
extern const struct cel_entry cel_address_functions[];
extern const struct cel_entry cel_extra_functions[];  // those that must be asked for

#endif
