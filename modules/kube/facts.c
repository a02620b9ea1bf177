#include "store.h"

#include "error.h"
#include "values.h"

#include <lauxlib.h>
#include <string.h>

static bool fail(struct kf_walk *walk, const char *problem) {
  if (!walk->problem) walk->problem = problem;
  return false;
}

static void skip_blanks(struct kf_walk *walk) {
  while (walk->at < walk->end &&
         (*walk->at == ' ' || *walk->at == '\n' || *walk->at == '\r' || *walk->at == '\t'))
    walk->at++;
}

// The first quote, backslash or control character from `at` on, or `end`.
static const char *special(const char *at, const char *end) {
  const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
  for (; end - at >= 8; at += 8) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    uint64_t found = ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | ((word - ones * 0x20) & ~word);
    if (found & highs) break;
  }
  while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20) at++;
  return at;
}

// Reads a string with its quotes.
static bool read_string(struct kf_walk *walk, struct kf_text *string) {
  const char *at = walk->at + 1;
  while ((at = special(at, walk->end)) < walk->end && *at == '\\' && walk->end - at > 2) at += 2;
  if (at >= walk->end || *at == '\\') return fail(walk, "a string without its end");
  if (*at != '"') return fail(walk, "a control character in a string");
  string->text = walk->at;
  string->length = (size_t)(at + 1 - walk->at);
  walk->at = at + 1;
  return true;
}

static bool is_name(const struct kf_text *name, const char *text) {
  size_t length = strlen(text);
  return name->text && name->length == length + 2 && memcmp(name->text + 1, text, length) == 0;
}

static bool is_plain_byte(char c) {
  return c != ',' && c != '}' && c != ']' && c != '"' && c != '{' && c != '[' && (unsigned char)c > ' ';
}

// A number, true, false or null: whatever it is, it is kept as it is.
static bool walk_word(struct kf_walk *walk) {
  const char *begin = walk->at;
  while (walk->at < walk->end && is_plain_byte(*walk->at)) walk->at++;
  if (walk->at == begin) return fail(walk, "a value was expected");
  if (walk->bytes) walk->bytes(walk, begin, (size_t)(walk->at - begin));
  return true;
}

static void say(struct kf_walk *walk, char c) {
  if (walk->bytes) walk->bytes(walk, &c, 1);
}

// Walks through a value without telling anyone.
static bool pass_over(struct kf_walk *walk) {
  struct kf_walk silent = {.at = walk->at, .end = walk->end, .depth = walk->depth};
  bool ok = kf_walk_value(&silent);
  walk->at = silent.at;
  return ok || fail(walk, silent.problem);
}

// Remembers the value of a member of metadata, which began at `begin`.
static void note(struct kf_walk *walk, const struct kf_text *name, const char *begin) {
  struct kf_facts *facts = walk->facts;
  struct kf_text value = {begin, (size_t)(walk->at - begin)};
  struct kf_text inner = {begin + 1, value.length - 2};
  bool is_string = *begin == '"';
  if (*begin == '{' && is_name(name, "labels")) facts->labels = value;
  else if (*begin == '[' && is_name(name, "ownerReferences")) facts->owners = value;
  else if (!is_string) return;
  else if (is_name(name, "name")) facts->name = inner;
  else if (is_name(name, "namespace")) facts->space = inner;
  else if (is_name(name, "uid")) facts->uid = inner;
  else if (is_name(name, "resourceVersion")) facts->version = inner;
}

static bool read_name(struct kf_walk *walk, struct kf_text *name) {
  skip_blanks(walk);
  if (walk->at >= walk->end || *walk->at != '"') return fail(walk, "a member's name was expected");
  if (!read_string(walk, name)) return false;
  skip_blanks(walk);
  if (walk->at >= walk->end || *walk->at != ':') return fail(walk, "':' was expected");
  walk->at++;
  skip_blanks(walk);
  return walk->at < walk->end || fail(walk, "a value was expected");
}

// Walks through a member; *said tells whether anything was told before, for the comma.
static bool walk_member(struct kf_walk *walk, bool *said) {
  struct kf_text name = {0};
  bool in_metadata = walk->in_metadata;
  if (!read_name(walk, &name)) return false;
  if (in_metadata && !walk->keep_managed && is_name(&name, "managedFields")) return pass_over(walk);
  if (*said) say(walk, ',');
  *said = true;
  if (walk->string && name.text) {
    if (name.text[name.length] == ':') walk->string(walk, name.text, name.length + 1);
    else walk->string(walk, name.text, name.length), say(walk, ':');
  }
  const char *begin = walk->at;
  walk->in_metadata = walk->depth == 1 && is_name(&name, "metadata");
  bool ok = kf_walk_value(walk);
  walk->in_metadata = in_metadata;
  if (ok && in_metadata && walk->facts) note(walk, &name, begin);
  return ok;
}

static bool walk_element(struct kf_walk *walk, bool *said) {
  if (*said) say(walk, ',');
  *said = true;
  walk->in_metadata = false;
  return kf_walk_value(walk);
}

// Walks through an object or array from behind its bracket on.
static bool walk_inside(struct kf_walk *walk, char close) {
  bool said = false;
  skip_blanks(walk);
  if (walk->at < walk->end && *walk->at == close) return true;
  while (close == '}' ? walk_member(walk, &said) : walk_element(walk, &said)) {
    skip_blanks(walk);
    if (walk->at < walk->end && *walk->at == close) return true;
    if (walk->at >= walk->end || *walk->at != ',') return fail(walk, "',' or a bracket was expected");
    walk->at++;
  }
  return false;
}

bool kf_walk_value(struct kf_walk *walk) {
  skip_blanks(walk);
  if (walk->at >= walk->end) return fail(walk, "a value was expected");
  char open = *walk->at;
  if (open == '"') {
    struct kf_text string = {0};
    if (!read_string(walk, &string)) return false;
    if (walk->string) walk->string(walk, string.text, string.length);
    return true;
  }
  if (open != '{' && open != '[') return walk_word(walk);
  if (++walk->depth > KF_MAX_DEPTH) return fail(walk, "more than 500 levels");
  say(walk, open);
  walk->at++;
  if (!walk_inside(walk, open == '{' ? '}' : ']')) return false;
  say(walk, *walk->at++);
  walk->depth--;
  return true;
}

bool kf_walk_over(struct kf_walk *walk) {
  skip_blanks(walk);
  return walk->at == walk->end;
}

bool kf_next_label(const char **at, const char *end, struct kf_text *key, struct kf_text *value) {
  struct kf_walk walk = {.at = *at, .end = end};
  while (walk.at < end && *walk.at != '"') walk.at++;
  if (walk.at >= end || !read_name(&walk, key) || *walk.at != '"' || !read_string(&walk, value)) return false;
  *key = (struct kf_text){key->text + 1, key->length - 2};
  *value = (struct kf_text){value->text + 1, value->length - 2};
  *at = walk.at;
  return true;
}

// --- for Lua --------------------------------------------------------------------------------------

// [-0, +1, m] pushes "namespace/name", or "name" without a namespace.
static void push_key(lua_State *L, const struct kf_facts *facts) {
  luaL_Buffer key;
  luaL_buffinit(L, &key);
  if (facts->space.text && facts->space.length > 0) {
    luaL_addlstring(&key, facts->space.text, facts->space.length);
    luaL_addchar(&key, '/');
  }
  luaL_addlstring(&key, facts->name.text ? facts->name.text : "", facts->name.length);
  luaL_pushresult(&key);
}

static void push_text(lua_State *L, struct kf_text text) {
  if (text.text) lua_pushlstring(L, text.text, text.length);
  else lua_pushnil(L);
}

// core.facts(text) -> key, uid, resource version; raises "Protocol" when the text is no object
static int l_facts(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  struct kf_facts facts = {0};
  struct kf_walk walk = {.at = text, .end = text + length, .facts = &facts};
  if (!kf_walk_value(&walk)) kf_fail(L, "Protocol", "an object that is no JSON: %s", walk.problem);
  push_key(L, &facts);
  push_text(L, facts.uid);
  push_text(L, facts.version);
  return 3;
}

const char *kf_read_event(const char *text, const char *end, struct kf_event *event) {
  struct kf_walk walk = {.at = text, .end = end};
  struct kf_text name = {0};
  *event = (struct kf_event){0};
  if (walk.at >= walk.end || *walk.at != '{') return NULL;
  do {
    walk.at++;
    if (!read_name(&walk, &name)) return NULL;
    const char *begin = walk.at;
    if (!kf_walk_value(&walk)) return NULL;
    struct kf_text value = {begin, (size_t)(walk.at - begin)};
    if (is_name(&name, "type")) event->type = value;
    if (is_name(&name, "object")) event->object = value;
    skip_blanks(&walk);
  } while (walk.at < walk.end && *walk.at == ',');
  bool complete = walk.at < walk.end && *walk.at == '}' && event->type.text && event->object.text;
  return complete && *event->type.text == '"' ? walk.at + 1 : NULL;
}

bool kf_open_event(const char *text, const char *end, struct kf_event *event) {
  struct kf_walk walk = {.at = text + 1, .end = end - 1};
  struct kf_text name = {0};
  if (!read_name(&walk, &name) || !is_name(&name, "type") || *walk.at != '"' || !read_string(&walk, &event->type))
    return false;
  skip_blanks(&walk);
  if (walk.at >= walk.end || *walk.at++ != ',' || !read_name(&walk, &name) || !is_name(&name, "object")) return false;
  while (walk.end > walk.at && walk.end[-1] != '}') walk.end--;
  event->object = (struct kf_text){walk.at, (size_t)(walk.end - walk.at)};
  return *walk.at == '{';
}

void kf_kube_add_facts(lua_State *L) {
  lua_pushcfunction(L, l_facts);
  lua_setfield(L, -2, "facts");
}
