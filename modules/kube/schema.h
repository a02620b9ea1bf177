// What the Go types of Kubernetes say of each built-in kind: fields, their types, how lists are kept.
//
// A type is one line: `core.v1.Pod - FIELD FIELD …`; A instead of - : the whole is owned as one value.
// A field is NAME[!]:TYPE[/NOTE…], ! when it is required. TYPE is a letter, or [TYPE (list), {TYPE
// (map of texts), @NAME (struct): s text, b bool, i int32, l int64, f float, q quantity, t time,
// u time with microseconds, d duration, x integer or text, y bytes as Base64, a anything.
// Notes: m=KEYS list of maps with keys, s set, A owned as one value, z written by Go even when empty,
// o left out by Go when it is zero, p=STRATEGY[:KEY] of strategic patches, d=JSON default. A kind is
// `apps/v1/Deployment apps.v1.Deployment n`; c: of the cluster.
#ifndef KF_KUBE_SCHEMA_H
#define KF_KUBE_SCHEMA_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

struct kf_span {
  const char *at;
  size_t length;
};
struct kf_field {
  struct kf_span name, type;  // type without its notes
  bool required, set, atomic, written, left_out;
  struct kf_span keys, strategy, merge_key, fallback;
};

// The line of the kind's type ("v1/Pod", "apps/v1/Deployment") or of a type's name; NULL when there is none.
const char *kf_schema_kind(const char *kind, size_t length);
const char *kf_schema_type(struct kf_span name);

// The field of that name in a type's line.
bool kf_schema_field(const char *line, const char *name, size_t length, struct kf_field *field);

// Lua: kinds() -> list; kind("apps/v1/Deployment") -> type name, "namespace" | "cluster"; type(name) -> table
int kf_schema_open(lua_State *L);

#endif
