// What the client of Kubernetes does in C: it cuts an answer into objects while it arrives, and keeps
// objects as packed bytes until a script wants one.
//
// Offers: 1. the splitter   2. facts of an object   3. packing   4. the store
#ifndef KF_KUBE_STORE_H
#define KF_KUBE_STORE_H

#include "base/buffer.h"

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A part of a text; `text` is NULL when it is not there.
struct kf_text {
  const char *text;
  size_t length;
};

// --- 1. the splitter (split.c) --------------------------------------------------------------------
// [-0, +0, m] adds `splitter` to the table on top.
void kf_kube_add_splitter(lua_State *L);

// [-0, +0, e] the text of the object at which the splitter at index has stopped; raises when at none.
struct kf_text kf_splitter_object(lua_State *L, int index);

// The first quote or backslash from `at` on, or `end`.
const char *kf_json_string_end(const char *at, const char *end);

// --- 2. facts of an object (facts.c) ----------------------------------------------------------------
struct kf_facts {  // inside the object's text, without quotes
  struct kf_text name, space, uid, version;
  struct kf_text labels;  // the whole object
  struct kf_text owners;  // the whole array of owner references
};

// Where a walk through an object's text tells what it meets; blanks are left out.
struct kf_walk {
  const char *at, *end;
  const char *problem;   // why the text is no JSON, or NULL
  int depth;
  bool in_metadata;      // the object under way is the one of the member "metadata" at the top
  bool keep_managed;     // do not leave out metadata.managedFields
  struct kf_facts *facts;
  void (*string)(struct kf_walk *walk, const char *text, size_t length);  // with quotes (and colon)
  void (*bytes)(struct kf_walk *walk, const char *text, size_t length);
};

// Walks through one value; false with `problem` set when it is no JSON.
bool kf_walk_value(struct kf_walk *walk);
// Whether nothing but blanks is left.
bool kf_walk_over(struct kf_walk *walk);

// Reads the next string member of an object's text, for labels: "key":"value" pairs without blanks
// or with. false at the end.
bool kf_next_label(const char **at, const char *end, struct kf_text *key, struct kf_text *value);

// An event of a watch, inside its text.
struct kf_event {
  struct kf_text type, object;  // the type with its quotes
};
// Reads the event at `text`: the place after it, or NULL when it is none, or goes on beyond `end`.
const char *kf_read_event(const char *text, const char *end, struct kf_event *event);
// Finds type and object of a complete event that begins as API servers write it, without looking into the
// object; false when it begins otherwise.
bool kf_open_event(const char *text, const char *end, struct kf_event *event);

// [-0, +0, m] adds `facts` to the table on top.
void kf_kube_add_facts(lua_State *L);

// --- 3. packing (pack.c) ----------------------------------------------------------------------------
// Strings that came before are written as references: compact JSON has no bytes below 0x20.
struct kf_dictionary;
struct kf_dictionary *kf_dictionary_new(void);
void kf_dictionary_free(struct kf_dictionary *dictionary);
size_t kf_dictionary_size(const struct kf_dictionary *dictionary);
// Appends the string, or a reference to it.
void kf_pack_string(struct kf_dictionary *dictionary, struct kf_buffer *out, const char *text, size_t length);
// Writes the text that was packed; `out` has room for all of it. Returns its length.
size_t kf_unpack(const struct kf_dictionary *dictionary, const char *packed, size_t length, char *out);

// --- 4. the store (store.c) -------------------------------------------------------------------------
// [-0, +0, m] adds `store` to the table on top.
void kf_kube_add_store(lua_State *L);

#endif
