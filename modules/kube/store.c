#include "store.h"

#include "error.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define KF_TYPE_STORE "kube.store"

enum { KEY_SIZE = 1024 };  // bytes of "namespace/name"

// Objects by key, as packed bytes, and the words by which indices find them. A word is the name of
// an index, a zero byte and a term. Indices of the object's own text (namespace, owner, a label) are
// made when they are first asked for; terms of other indices are set from outside.
struct word {
  char *text;
  size_t length;
  uint32_t hash;
  struct word *next;
  struct entry **entries;
  size_t count, capacity;
};

struct entry {
  char *key, *uid, *version, *packed;
  size_t key_length, packed_length, length;
  uint32_t hash, generation;
  struct entry *next;
  struct word **words;
  size_t word_count;
};

struct store {
  struct kf_dictionary *dictionary;
  struct entry **buckets;
  struct word **word_buckets;
  size_t bucket_count, word_bucket_count, count, word_count;
  size_t bytes;  // of packed texts
  uint32_t generation;
  bool keep_managed;
  char **indices;  // names of the indices of the object's own text that are kept
  size_t index_count;
  struct kf_buffer packed, unpacked;  // scratch
  bool again;  // a list is under way that was begun with objects in the store
};

static struct store *check(lua_State *L) {
  struct store *s = luaL_checkudata(L, 1, KF_TYPE_STORE);
  luaL_argcheck(L, s->dictionary, 1, "the store is closed");
  return s;
}

static uint32_t hash_of(const char *text, size_t length) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 16777619u;
  return hash;
}

static char *copy(const char *text, size_t length) {
  char *made = malloc(length + 1);
  if (!made) return NULL;
  memcpy(made, text, length);
  made[length] = '\0';
  return made;
}

// --- words ----------------------------------------------------------------------------------------

static struct word *find_word(struct store *s, const char *text, size_t length) {
  if (!s->word_bucket_count) return NULL;
  uint32_t hash = hash_of(text, length);
  struct word *word = s->word_buckets[hash % s->word_bucket_count];
  while (word && (word->hash != hash || word->length != length || memcmp(word->text, text, length) != 0))
    word = word->next;
  return word;
}

static bool grow_words(struct store *s) {
  size_t count = s->word_bucket_count ? s->word_bucket_count * 2 : 256;
  struct word **buckets = calloc(count, sizeof *buckets);
  if (!buckets) return s->word_bucket_count > 0;
  for (size_t i = 0; i < s->word_bucket_count; i++)
    for (struct word *word = s->word_buckets[i], *next; word; word = next) {
      next = word->next;
      word->next = buckets[word->hash % count];
      buckets[word->hash % count] = word;
    }
  free(s->word_buckets);
  s->word_buckets = buckets;
  s->word_bucket_count = count;
  return true;
}

static struct word *make_word(struct store *s, const char *text, size_t length) {
  struct word *word = find_word(s, text, length);
  if (word) return word;
  if (s->word_count >= s->word_bucket_count && !grow_words(s)) return NULL;
  word = calloc(1, sizeof *word);
  if (!word || !(word->text = copy(text, length))) {
    free(word);
    return NULL;
  }
  word->length = length;
  word->hash = hash_of(text, length);
  struct word **bucket = &s->word_buckets[word->hash % s->word_bucket_count];
  word->next = *bucket;
  *bucket = word;
  s->word_count++;
  return word;
}

static void free_word(struct store *s, struct word *word) {
  struct word **link = &s->word_buckets[word->hash % s->word_bucket_count];
  while (*link != word) link = &(*link)->next;
  *link = word->next;
  s->word_count--;
  free(word->entries);
  free(word->text);
  free(word);
}

static void leave_word(struct store *s, struct word *word, struct entry *entry) {
  size_t i = 0;
  while (i < word->count && word->entries[i] != entry) i++;
  if (i < word->count) word->entries[i] = word->entries[--word->count];
  if (word->count == 0) free_word(s, word);
}

static bool join_word(struct store *s, struct entry *entry, const char *text, size_t length) {
  struct word *word = make_word(s, text, length);
  if (!word) return false;
  if (word->count == word->capacity) {
    size_t capacity = word->capacity ? word->capacity * 2 : 2;
    struct entry **entries = realloc(word->entries, capacity * sizeof(struct entry *));
    if (!entries) return false;
    word->entries = entries;
    word->capacity = capacity;
  }
  struct word **words = realloc(entry->words, (entry->word_count + 1) * sizeof(struct word *));
  if (!words) return false;
  entry->words = words;
  entry->words[entry->word_count++] = word;
  word->entries[word->count++] = entry;
  return true;
}

static bool is_of_index(const struct word *word, const char *index) {
  size_t length = strlen(index);
  return word->length > length && memcmp(word->text, index, length) == 0 && word->text[length] == '\0';
}

// Takes the entry out of the words of an index, or of all of them.
static void leave_words(struct store *s, struct entry *entry, const char *index) {
  size_t kept = 0;
  for (size_t i = 0; i < entry->word_count; i++) {
    if (!index || is_of_index(entry->words[i], index)) leave_word(s, entry->words[i], entry);
    else entry->words[kept++] = entry->words[i];
  }
  entry->word_count = kept;
}

// --- entries ----------------------------------------------------------------------------------------

static struct entry *find(struct store *s, const char *key, size_t length) {
  if (!s->bucket_count) return NULL;
  uint32_t hash = hash_of(key, length);
  struct entry *entry = s->buckets[hash % s->bucket_count];
  while (entry && (entry->hash != hash || entry->key_length != length || memcmp(entry->key, key, length) != 0))
    entry = entry->next;
  return entry;
}

static struct entry *find_argument(lua_State *L, struct store *s) {
  size_t length;
  const char *key = luaL_checklstring(L, 2, &length);
  return find(s, key, length);
}

static bool grow(struct store *s) {
  size_t count = s->bucket_count ? s->bucket_count * 2 : 64;
  struct entry **buckets = calloc(count, sizeof *buckets);
  if (!buckets) return s->bucket_count > 0;
  for (size_t i = 0; i < s->bucket_count; i++)
    for (struct entry *entry = s->buckets[i], *next; entry; entry = next) {
      next = entry->next;
      entry->next = buckets[entry->hash % count];
      buckets[entry->hash % count] = entry;
    }
  free(s->buckets);
  s->buckets = buckets;
  s->bucket_count = count;
  return true;
}

static struct entry *make(struct store *s, const char *key, size_t length) {
  struct entry *entry = find(s, key, length);
  if (entry) return entry;
  if (s->count >= s->bucket_count && !grow(s)) return NULL;
  entry = calloc(1, sizeof *entry);
  if (!entry || !(entry->key = copy(key, length))) {
    free(entry);
    return NULL;
  }
  entry->key_length = length;
  entry->hash = hash_of(key, length);
  entry->next = s->buckets[entry->hash % s->bucket_count];
  s->buckets[entry->hash % s->bucket_count] = entry;
  s->count++;
  return entry;
}

static void free_entry(struct entry *entry) {
  free(entry->key);
  free(entry->uid);
  free(entry->version);
  free(entry->packed);
  free(entry->words);
  free(entry);
}

static void take_out(struct store *s, struct entry *entry) {
  struct entry **link = &s->buckets[entry->hash % s->bucket_count];
  while (*link != entry) link = &(*link)->next;
  *link = entry->next;
  s->count--;
  s->bytes -= entry->packed_length;
  leave_words(s, entry, NULL);
  free_entry(entry);
}

// --- the words of the object's own text --------------------------------------------------------------

static bool join_term(struct store *s, struct entry *entry, const char *index, struct kf_text term) {
  struct kf_buffer word = {0};
  kf_buffer_add_text(&word, index);
  kf_buffer_add_char(&word, '\0');
  kf_buffer_add(&word, term.text, term.length);
  bool ok = !word.failed && join_word(s, entry, word.data, word.length);
  kf_buffer_free(&word);
  return ok;
}

// The owners' uids: every member "uid" of the references.
static bool join_owners(struct store *s, struct entry *entry, struct kf_text owners) {
  static const char name[] = "\"uid\":\"";
  if (!owners.text) return true;
  const char *at = owners.text, *end = owners.text + owners.length;
  while ((at = memmem(at, (size_t)(end - at), name, sizeof name - 1))) {
    at += sizeof name - 1;
    struct kf_text uid = {at, (size_t)(kf_json_string_end(at, end) - at)};
    if (!join_term(s, entry, "owner", uid)) return false;
  }
  return true;
}

static bool join_label(struct store *s, struct entry *entry, const char *index, struct kf_text labels) {
  if (!labels.text) return true;
  const char *wanted = index + strlen("label:"), *at = labels.text, *end = labels.text + labels.length;
  struct kf_text key, value;
  while (kf_next_label(&at, end, &key, &value))
    if (key.length == strlen(wanted) && memcmp(key.text, wanted, key.length) == 0)
      return join_term(s, entry, index, value);
  return true;
}

static bool join_index(struct store *s, struct entry *entry, const char *index, const struct kf_facts *facts) {
  if (strcmp(index, "namespace") == 0)
    return !facts->space.text || join_term(s, entry, index, facts->space);
  if (strcmp(index, "owner") == 0) return join_owners(s, entry, facts->owners);
  return join_label(s, entry, index, facts->labels);
}

// --- putting --------------------------------------------------------------------------------------

struct putting {
  struct kf_walk walk;
  struct kf_facts facts;
  struct store *store;
  size_t length;
};

static void on_string(struct kf_walk *walk, const char *text, size_t length) {
  struct putting *putting = (struct putting *)(void *)walk;
  putting->length += length;
  kf_pack_string(putting->store->dictionary, &putting->store->packed, text, length);
}

static void on_bytes(struct kf_walk *walk, const char *text, size_t length) {
  struct putting *putting = (struct putting *)(void *)walk;
  putting->length += length;
  kf_buffer_add(&putting->store->packed, text, length);
}

static bool replace_text(char **field, struct kf_text text) {
  char *made = copy(text.text ? text.text : "", text.length);
  if (!made) return false;
  free(*field);
  *field = made;
  return true;
}

static size_t key_of(const struct kf_facts *facts, char *out, size_t size) {
  size_t space = facts->space.text ? facts->space.length : 0;
  if (!facts->name.text || space + facts->name.length + 2 > size) return 0;
  memcpy(out, facts->space.text ? facts->space.text : "", space);
  if (space) out[space++] = '/';
  memcpy(out + space, facts->name.text, facts->name.length);
  return space + facts->name.length;
}

// [-0, +1, m] pushes the entry's text.
static void push_entry(lua_State *L, struct store *s, const struct entry *entry) {
  s->unpacked.length = 0;
  char *out = kf_buffer_reserve(&s->unpacked, entry->length + 1);
  if (!out) luaL_error(L, "not enough memory");
  lua_pushlstring(L, out, kf_unpack(s->dictionary, entry->packed, entry->packed_length, out));
}

// Gives the entry what was read of its object; false when memory is out.
static bool fill(struct store *s, struct entry *entry, const struct putting *putting) {
  char *packed = copy(s->packed.data, s->packed.length);
  if (!packed) return false;
  s->bytes += s->packed.length - entry->packed_length;
  free(entry->packed);
  entry->packed = packed;
  entry->packed_length = s->packed.length;
  entry->length = putting->length;
  entry->generation = s->generation;
  if (!replace_text(&entry->uid, putting->facts.uid) || !replace_text(&entry->version, putting->facts.version))
    return false;
  leave_words(s, entry, NULL);
  for (size_t i = 0; i < s->index_count; i++)
    if (!join_index(s, entry, s->indices[i], &putting->facts)) return false;
  return true;
}

// Reads an object into s->packed and putting->facts; raises when it is none. The key's length.
static size_t read_object(lua_State *L, struct store *s, struct putting *putting, struct kf_text text, char *key) {
  *putting = (struct putting){.store = s};
  putting->walk = (struct kf_walk){.at = text.text, .end = text.text + text.length, .keep_managed = s->keep_managed,
                                   .facts = &putting->facts, .string = on_string, .bytes = on_bytes};
  s->packed.length = 0;
  if (!kf_walk_value(&putting->walk))
    kf_fail(L, "Protocol", "an object that is no JSON: %s", putting->walk.problem);
  if (!kf_walk_over(&putting->walk)) kf_fail(L, "Protocol", "an object that is no JSON: it goes on after its end");
  if (!putting->facts.name.text) kf_fail(L, "Protocol", "an object without a name");
  size_t length = key_of(&putting->facts, key, KEY_SIZE);
  if (!length) kf_fail(L, "Protocol", "an object's name is too long");
  if (s->packed.failed) luaL_error(L, "not enough memory");
  return length;
}

// store:put(text) -> key; the object takes the place of the one of that key
static int l_put(lua_State *L) {
  struct store *s = check(L);
  struct kf_text text;
  text.text = luaL_checklstring(L, 2, &text.length);
  struct putting putting;
  char key[KEY_SIZE];
  size_t length = read_object(L, s, &putting, text, key);
  struct entry *entry = make(s, key, length);
  if (!entry || !fill(s, entry, &putting)) return luaL_error(L, "not enough memory");
  lua_pushlstring(L, key, length);
  return 1;
}

static bool is_text(struct kf_text text, const char *other) {
  size_t length = strlen(other);
  return text.length == length && (length == 0 || memcmp(text.text, other, length) == 0);
}

// In a list of what is mostly known, packing all of it would be work for nothing.
static bool is_as_known(struct store *s, struct kf_text text) {
  struct kf_facts facts = {0};
  struct kf_walk walk = {.at = text.text, .end = text.text + text.length, .facts = &facts};
  char key[KEY_SIZE];
  if (!kf_walk_value(&walk)) return false;
  size_t length = key_of(&facts, key, sizeof key);
  struct entry *entry = length ? find(s, key, length) : NULL;
  if (!entry || !is_text(facts.uid, entry->uid) || !is_text(facts.version, entry->version)) return false;
  entry->generation = s->generation;
  return true;
}

static int push_taken(lua_State *L, const char *change, const char *key, size_t key_length, struct kf_text version) {
  lua_pushstring(L, change);
  lua_pushlstring(L, key, key_length);
  if (version.text) lua_pushlstring(L, version.text, version.length);
  else lua_pushnil(L);
  return 3;
}

// store:take(splitter[, wants_before]) -> "new", "changed", "replaced" (by another of the same name) or "same",
// key, resource version, text before; takes in the object at which the splitter is. In a list that was begun
// with objects in the store, one that is the same is "same" alone.
static int l_take(lua_State *L) {
  struct store *s = check(L);
  struct kf_text text = kf_splitter_object(L, 2);
  bool wants_before = lua_toboolean(L, 3);
  struct putting putting;
  char key[KEY_SIZE];
  if (s->again && is_as_known(s, text)) return lua_pushliteral(L, "same"), 1;
  size_t length = read_object(L, s, &putting, text, key);
  struct entry *entry = find(s, key, length);
  bool known = entry, same_uid = entry && is_text(putting.facts.uid, entry->uid);
  if (same_uid && is_text(putting.facts.version, entry->version)) {
    entry->generation = s->generation;
    return push_taken(L, "same", key, length, putting.facts.version);
  }
  const char *change = !known ? "new" : same_uid ? "changed" : "replaced";
  int count = push_taken(L, change, key, length, putting.facts.version);
  if (known && wants_before) push_entry(L, s, entry), count++;
  if (!entry) entry = make(s, key, length);
  if (!entry || !fill(s, entry, &putting)) return luaL_error(L, "not enough memory");
  return count;
}

// --- reading --------------------------------------------------------------------------------------

// store:text(key) -> the object's text, or nil
static int l_text(lua_State *L) {
  struct store *s = check(L);
  struct entry *entry = find_argument(L, s);
  if (!entry) return lua_pushnil(L), 1;
  push_entry(L, s, entry);
  return 1;
}

// store:known(key) -> uid, resource version, or nil
static int l_known(lua_State *L) {
  struct entry *entry = find_argument(L, check(L));
  if (!entry) return lua_pushnil(L), 1;
  lua_pushstring(L, entry->uid);
  lua_pushstring(L, entry->version);
  return 2;
}

// store:remove(key) -> whether it was there
static int l_remove(lua_State *L) {
  struct store *s = check(L);
  struct entry *entry = find_argument(L, s);
  if (entry) take_out(s, entry);
  lua_pushboolean(L, entry != NULL);
  return 1;
}

// store:begin(): from now on, what is neither put nor kept becomes stale
static int l_begin(lua_State *L) {
  struct store *s = check(L);
  s->generation++;
  s->again = s->count > 0;
  return 0;
}

// store:stale() -> array of keys
static int l_stale(lua_State *L) {
  struct store *s = check(L);
  s->again = false;
  lua_newtable(L);
  lua_Integer count = 0;
  for (size_t i = 0; i < s->bucket_count; i++)
    for (struct entry *entry = s->buckets[i]; entry; entry = entry->next)
      if (entry->generation != s->generation) {
        lua_pushlstring(L, entry->key, entry->key_length);
        lua_rawseti(L, -2, ++count);
      }
  return 1;
}

static bool has_index(const struct store *s, const char *name) {
  for (size_t i = 0; i < s->index_count; i++)
    if (strcmp(s->indices[i], name) == 0) return true;
  return false;
}

// Joins an entry that was there before the index.
static bool join_late(struct store *s, struct entry *entry, const char *index, char *room) {
  struct kf_facts facts = {0};
  size_t length = kf_unpack(s->dictionary, entry->packed, entry->packed_length, room);
  struct kf_walk walk = {.at = room, .end = room + length, .facts = &facts};
  return kf_walk_value(&walk) && join_index(s, entry, index, &facts);
}

static bool add_index(struct store *s, const char *name) {
  char **indices = realloc(s->indices, (s->index_count + 1) * sizeof(char *));
  if (!indices) return false;
  s->indices = indices;
  if (!(s->indices[s->index_count] = copy(name, strlen(name)))) return false;
  s->index_count++;
  bool ok = true;
  for (size_t i = 0; i < s->bucket_count; i++)
    for (struct entry *entry = s->buckets[i]; entry && ok; entry = entry->next) {
      char *room = malloc(entry->length + 1);
      ok = room && join_late(s, entry, name, room);
      free(room);
    }
  return ok;
}

// [-0, +1, m] pushes the keys of the entries under a word.
static void push_keys(lua_State *L, const struct word *word) {
  lua_createtable(L, word ? (int)word->count : 0, 0);
  for (size_t i = 0; word && i < word->count; i++) {
    lua_pushlstring(L, word->entries[i]->key, word->entries[i]->key_length);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

// store:find(index, term) -> array of keys; "namespace", "owner" and "label:NAME" are made when needed
static int l_find(lua_State *L) {
  struct store *s = check(L);
  const char *index = luaL_checkstring(L, 2);
  luaL_checkstring(L, 3);
  bool own = strcmp(index, "namespace") == 0 || strcmp(index, "owner") == 0 || strncmp(index, "label:", 6) == 0;
  if (own && !has_index(s, index) && !add_index(s, index)) return luaL_error(L, "not enough memory");
  lua_settop(L, 3);
  lua_pushlstring(L, "\0", 1);
  lua_insert(L, 3);
  lua_concat(L, 3);  // store word
  size_t length;
  const char *word = lua_tolstring(L, 2, &length);
  push_keys(L, find_word(s, word, length));
  return 1;
}

// store:terms(key, index, {term…}): what an index from outside finds the object by
static int l_terms(lua_State *L) {
  struct store *s = check(L);
  struct entry *entry = find_argument(L, s);
  const char *index = luaL_checkstring(L, 3);
  luaL_checktype(L, 4, LUA_TTABLE);
  if (!entry) return 0;
  leave_words(s, entry, index);
  for (lua_Integer i = 1; lua_rawgeti(L, 4, i) == LUA_TSTRING; i++) {
    struct kf_text term;
    term.text = lua_tolstring(L, -1, &term.length);
    if (!join_term(s, entry, index, term)) return luaL_error(L, "not enough memory");
    lua_pop(L, 1);
  }
  return 0;
}

// store:keys() -> array of all keys
static int l_keys(lua_State *L) {
  struct store *s = check(L);
  lua_createtable(L, (int)s->count, 0);
  lua_Integer count = 0;
  for (size_t i = 0; i < s->bucket_count; i++)
    for (struct entry *entry = s->buckets[i]; entry; entry = entry->next) {
      lua_pushlstring(L, entry->key, entry->key_length);
      lua_rawseti(L, -2, ++count);
    }
  return 1;
}

// store:size() -> objects, bytes that their texts take, bytes of the dictionary
static int l_size(lua_State *L) {
  struct store *s = check(L);
  lua_pushinteger(L, (lua_Integer)s->count);
  lua_pushinteger(L, (lua_Integer)s->bytes);
  lua_pushinteger(L, (lua_Integer)kf_dictionary_size(s->dictionary));
  return 3;
}

// --- the end ----------------------------------------------------------------------------------------

static void free_all(struct store *s) {
  for (size_t i = 0; i < s->bucket_count; i++)
    for (struct entry *entry = s->buckets[i], *next; entry; entry = next) {
      next = entry->next;
      free_entry(entry);
    }
  for (size_t i = 0; i < s->word_bucket_count; i++)
    for (struct word *word = s->word_buckets[i], *next; word; word = next) {
      next = word->next;
      free(word->entries);
      free(word->text);
      free(word);
    }
}

static int l_close(lua_State *L) {
  struct store *s = luaL_checkudata(L, 1, KF_TYPE_STORE);
  free_all(s);
  for (size_t i = 0; i < s->index_count; i++) free(s->indices[i]);
  free(s->indices);
  free(s->buckets);
  free(s->word_buckets);
  kf_buffer_free(&s->packed);
  kf_buffer_free(&s->unpacked);
  kf_dictionary_free(s->dictionary);
  memset(s, 0, sizeof *s);
  return 0;
}

// core.store{keep_managed_fields=} -> store
static int l_store(lua_State *L) {
  bool keep = false;
  if (lua_istable(L, 1)) {
    lua_getfield(L, 1, "keep_managed_fields");
    keep = lua_toboolean(L, -1);
  }
  struct store *s = lua_newuserdatauv(L, sizeof *s, 0);
  memset(s, 0, sizeof *s);
  luaL_setmetatable(L, KF_TYPE_STORE);
  s->keep_managed = keep;
  s->dictionary = kf_dictionary_new();
  if (!s->dictionary) return luaL_error(L, "not enough memory");
  return 1;
}

static const luaL_Reg methods[] = {
    {"put", l_put},       {"take", l_take},   {"text", l_text}, {"known", l_known},
    {"remove", l_remove}, {"begin", l_begin}, {"stale", l_stale}, {"find", l_find},
    {"terms", l_terms},   {"keys", l_keys},   {"size", l_size}, {"close", l_close},
    {NULL, NULL},
};

void kf_kube_add_store(lua_State *L) {
  luaL_newmetatable(L, KF_TYPE_STORE);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_pushcfunction(L, l_store);
  lua_setfield(L, -2, "store");
}
