// Timestamps and durations: their texts (RFC 3339, Go's durations) and their parts.
#include "cel.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE(name) static struct cel_value name(struct cel_run *run, const struct cel_value *a, size_t count)

enum { SECOND = 1000000000, DAY = 86400 };
#define FIRST_SECOND (-62135596800LL)  // 0001-01-01
#define LAST_SECOND 253402300799LL     // 9999-12-31

bool cel_timestamp_is_valid(int64_t seconds) {
  return seconds >= FIRST_SECOND && seconds <= LAST_SECOND;
}

// --- the calendar ---------------------------------------------------------------------------------------

struct calendar {
  int64_t year;
  int month, day, hour, minute, second, week_day, year_day;
};

static int64_t days_before(int64_t year, int month, int day) {
  year -= month <= 2;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t of_era = year - era * 400, of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static struct calendar calendar_of(int64_t seconds) {
  struct calendar c = {0};
  int64_t days = seconds / DAY, rest = seconds % DAY;
  if (rest < 0) days--, rest += DAY;
  c.hour = (int)(rest / 3600);
  c.minute = (int)(rest / 60 % 60);
  c.second = (int)(rest % 60);
  c.week_day = (int)(((days + 4) % 7 + 7) % 7);
  int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, of_era = z - era * 146097;
  int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t day = of_era - (365 * year + year / 4 - year / 100), month = (5 * day + 2) / 153;
  c.day = (int)(day - (153 * month + 2) / 5 + 1);
  c.month = (int)(month < 10 ? month + 3 : month - 9);
  c.year = year + era * 400 + (c.month <= 2);
  c.year_day = (int)(days - days_before(c.year, 1, 1));
  return c;
}

static int month_length(int64_t year, int month) {
  static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return month == 2 && leap ? 29 : lengths[month - 1];
}

// --- texts of timestamps --------------------------------------------------------------------------------

struct reader {
  const char *at, *end;
  bool bad;
};

static int read_digits(struct reader *r, int count) {
  int value = 0;
  for (; count > 0; count--) {
    if (r->at == r->end || !isdigit((unsigned char)*r->at)) return r->bad = true, 0;
    value = value * 10 + (*r->at++ - '0');
  }
  return value;
}

static void read_char(struct reader *r, const char *accepted) {
  if (r->at < r->end && *r->at && strchr(accepted, *r->at)) r->at++;
  else r->bad = true;
}

static int32_t read_fraction(struct reader *r) {
  int32_t value = 0;
  int digits = 0;
  if (r->at == r->end || *r->at != '.') return 0;
  r->at++;
  if (r->at == r->end || !isdigit((unsigned char)*r->at)) r->bad = true;
  for (; r->at < r->end && isdigit((unsigned char)*r->at); r->at++)
    if (digits < 9) value = value * 10 + (*r->at - '0'), digits++;
  for (; digits < 9; digits++) value *= 10;
  return value;
}

// Z or ±hh:mm, in seconds
static int read_zone(struct reader *r) {
  if (r->at < r->end && *r->at == 'Z') return r->at++, 0;
  int sign = r->at < r->end && *r->at == '-' ? -1 : 1;
  read_char(r, "+-");
  int hours = read_digits(r, 2);
  read_char(r, ":");
  int minutes = read_digits(r, 2);
  if (hours > 23 || minutes > 59) r->bad = true;
  return sign * (hours * 3600 + minutes * 60);
}

struct cel_value cel_read_timestamp(struct cel_run *run, const char *text, size_t length) {
  struct reader r = {text, text + length, false};
  int year = read_digits(&r, 4);
  read_char(&r, "-");
  int month = read_digits(&r, 2);
  read_char(&r, "-");
  int day = read_digits(&r, 2);
  read_char(&r, "T");
  int hour = read_digits(&r, 2);
  read_char(&r, ":");
  int minute = read_digits(&r, 2);
  read_char(&r, ":");
  int second = read_digits(&r, 2);
  int32_t fraction = read_fraction(&r);
  int zone = read_zone(&r);
  bool good = !r.bad && r.at == r.end && month >= 1 && month <= 12 && day >= 1 && hour < 24 && minute < 60 && second < 60;
  if (!good || day > month_length(year, month)) return cel_error(run, "invalid timestamp");
  int64_t seconds = days_before(year, month, day) * DAY + hour * 3600 + minute * 60 + second - zone;
  if (!cel_timestamp_is_valid(seconds)) return cel_error(run, "timestamp overflow");
  return (struct cel_value){.type = CEL_TIMESTAMP, .integer = seconds, .nanoseconds = fraction};
}

// .5 of 500000000, nothing of 0
static size_t write_fraction(int32_t nanoseconds, char *out) {
  if (nanoseconds == 0) return 0;
  size_t length = (size_t)snprintf(out, 12, ".%09d", nanoseconds);
  while (out[length - 1] == '0') length--;
  return length;
}

size_t cel_write_timestamp(const struct cel_value *value, char out[40]) {
  struct calendar c = calendar_of(value->integer);
  size_t length = (size_t)snprintf(out, 40, "%04d-%02d-%02dT%02d:%02d:%02d", (int)(c.year % 10000), c.month % 100,
                                   c.day % 100, c.hour % 100, c.minute % 100, c.second % 100);
  length += write_fraction(value->nanoseconds, out + length);
  out[length++] = 'Z';
  return length;
}

// --- texts of durations ---------------------------------------------------------------------------------

static int64_t read_unit(struct reader *r) {
  static const struct {
    const char *name;
    int64_t size;
  } units[] = {{"ns", 1}, {"us", 1000}, {"\xc2\xb5s", 1000}, {"\xce\xbcs", 1000}, {"ms", 1000000}, {"s", SECOND},
               {"m", 60LL * SECOND}, {"h", 3600LL * SECOND}};
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    size_t length = strlen(units[i].name);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, units[i].name, length) != 0) continue;
    r->at += length;
    return units[i].size;
  }
  r->bad = true;
  return 0;
}

// One piece of 1h2.5m3s, in nanoseconds.
static __int128 read_piece(struct reader *r) {
  __int128 whole = 0, fraction = 0, scale = 1;
  const char *start = r->at;
  for (; r->at < r->end && isdigit((unsigned char)*r->at); r->at++) {
    whole = whole * 10 + (*r->at - '0');
    if (whole > INT64_MAX) return r->bad = true, 0;
  }
  size_t digits = (size_t)(r->at - start);
  if (r->at < r->end && *r->at == '.') {
    r->at++;
    for (; r->at < r->end && isdigit((unsigned char)*r->at); r->at++, digits++) {
      if (scale > SECOND * (__int128)SECOND) continue;
      fraction = fraction * 10 + (*r->at - '0');
      scale *= 10;
    }
  }
  if (digits == 0) return r->bad = true, 0;
  int64_t unit = read_unit(r);
  return whole * unit + fraction * unit / scale;
}

struct cel_value cel_read_duration(struct cel_run *run, const char *text, size_t length) {
  struct reader r = {text, text + length, false};
  bool negative = length > 0 && *text == '-';
  __int128 total = 0;
  if (length > 0 && (*text == '-' || *text == '+')) r.at++;
  bool zero = r.end - r.at == 1 && *r.at == '0';
  if (r.at == r.end) r.bad = true;
  while (!zero && r.at < r.end && !r.bad) {
    total += read_piece(&r);
    if (total > (__int128)INT64_MAX + negative) r.bad = true;
  }
  if (r.bad) return cel_error(run, "invalid duration");
  return (struct cel_value){.type = CEL_DURATION, .integer = (int64_t)(negative ? -total : total)};
}

size_t cel_write_duration(const struct cel_value *value, char out[40]) {
  uint64_t rest = value->integer < 0 ? 0 - (uint64_t)value->integer : (uint64_t)value->integer;
  size_t length = (size_t)snprintf(out, 40, "%s%llu", value->integer < 0 ? "-" : "", (unsigned long long)(rest / SECOND));
  length += write_fraction((int32_t)(rest % SECOND), out + length);
  out[length++] = 's';
  return length;
}

// --- parts ----------------------------------------------------------------------------------------------

// The offset of a zone: UTC, or ±hh:mm; others would need a data base of time zones.
static bool zone_offset(const struct cel_value *zone, int *seconds) {
  struct reader r = {zone->text, zone->text + zone->length, false};
  *seconds = 0;
  if ((zone->length == 3 && memcmp(zone->text, "UTC", 3) == 0) || zone->length == 0) return true;
  int sign = *r.at == '-' ? -1 : 1;
  if (*r.at == '-' || *r.at == '+') r.at++;
  int hours = read_digits(&r, 2);
  read_char(&r, ":");
  int minutes = read_digits(&r, 2);
  *seconds = sign * (hours * 3600 + minutes * 60);
  return !r.bad && r.at == r.end && hours < 24 && minutes < 60;
}

enum part { YEAR, MONTH, DATE, DAY_OF_MONTH, DAY_OF_WEEK, DAY_OF_YEAR, HOURS, MINUTES, SECONDS, MILLISECONDS };

static struct cel_value duration_part(struct cel_run *run, int64_t nanoseconds, enum part part) {
  switch (part) {
  case HOURS: return cel_int(nanoseconds / (3600LL * SECOND));
  case MINUTES: return cel_int(nanoseconds / (60LL * SECOND));
  case SECONDS: return cel_int(nanoseconds / SECOND);
  case MILLISECONDS: return cel_int(nanoseconds / 1000000);  // all of them, as cel-go has it
  default: return cel_no_overload(run);
  }
}

static struct cel_value part_of(struct cel_run *run, const struct cel_value *a, size_t count, enum part part) {
  int zone = 0;
  if (a->type == CEL_DURATION && count == 1) return duration_part(run, a->integer, part);
  if (a->type != CEL_TIMESTAMP || (count == 2 && a[1].type != CEL_STRING)) return cel_no_overload(run);
  if (count == 2 && !zone_offset(&a[1], &zone)) return cel_error(run, "unknown time zone");
  struct calendar c = calendar_of(a->integer + zone);
  int64_t parts[] = {c.year, c.month - 1, c.day, c.day - 1, c.week_day, c.year_day, c.hour, c.minute, c.second,
                     a->nanoseconds / 1000000};
  return cel_int(parts[part]);
}

#define PART(name, part) \
  ONE(name) {            \
    return part_of(run, a, count, part); \
  }
PART(get_year, YEAR)
PART(get_month, MONTH)
PART(get_date, DATE)
PART(get_day_of_month, DAY_OF_MONTH)
PART(get_day_of_week, DAY_OF_WEEK)
PART(get_day_of_year, DAY_OF_YEAR)
PART(get_hours, HOURS)
PART(get_minutes, MINUTES)
PART(get_seconds, SECONDS)
PART(get_milliseconds, MILLISECONDS)

const struct cel_entry cel_time_functions[] = {
    {"getFullYear", 'm', 1, 2, get_year}, {"getMonth", 'm', 1, 2, get_month}, {"getDate", 'm', 1, 2, get_date},
    {"getDayOfMonth", 'm', 1, 2, get_day_of_month}, {"getDayOfWeek", 'm', 1, 2, get_day_of_week},
    {"getDayOfYear", 'm', 1, 2, get_day_of_year}, {"getHours", 'm', 1, 2, get_hours},
    {"getMinutes", 'm', 1, 2, get_minutes}, {"getSeconds", 'm', 1, 2, get_seconds},
    {"getMilliseconds", 'm', 1, 2, get_milliseconds}, {NULL, 0, 0, 0, NULL}};
