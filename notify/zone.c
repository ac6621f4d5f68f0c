/*
 * TZif files (RFC 8536): the table of transitions, then the POSIX rule in the footer for the time
 * after the last one.
 */
#include "notify/zone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

enum {
    ZONE_FILE_BYTES_MAX = 256 * 1024,
    ZONE_NAME_BYTES_MAX = 100,
    HEADER_BYTES = 44,
    DAY_S = 86400,
    ABBREVIATION_BYTES_MAX = 16,
};

/* One end of daylight saving: Mm.w.d/time, Jn/time or n/time. */
struct rule {
    char kind; /* 'M', 'J' or 'N' */
    int month;
    int week;
    int day;
    int32_t time_s;
};

struct zone {
    int64_t *transitions_s;
    uint8_t *types;
    size_t transition_count;
    int32_t *offsets_s; /* by type */
    uint8_t *name_at;   /* by type: into names */
    size_t type_count;
    char *names; /* NUL-terminated texts, and a NUL after the last */
    bool has_rule;
    int32_t standard_s;
    int32_t daylight_s;
    bool has_daylight;
    char standard_name[ABBREVIATION_BYTES_MAX];
    char daylight_name[ABBREVIATION_BYTES_MAX];
    struct rule start;
    struct rule end;
};

void zone_destroy(struct zone *zone) {
    if (zone == NULL) {
        return;
    }
    mem_free(zone->transitions_s);
    mem_free(zone->types);
    mem_free(zone->offsets_s);
    mem_free(zone->name_at);
    mem_free(zone->names);
    mem_free(zone);
}

/* ---- the POSIX rule: "CET-1CEST,M3.5.0,M10.5.0/3" ---- */

static bool take(struct str *text, char c) {
    if (text->len == 0 || text->ptr[0] != c) {
        return false;
    }
    *text = str_n(text->ptr + 1, text->len - 1);
    return true;
}

static bool take_number(struct str *text, int *ret) {
    int value = 0;
    size_t n = 0;
    while (n < text->len && n < 4 && text->ptr[n] >= '0' && text->ptr[n] <= '9') {
        value = value * 10 + (text->ptr[n] - '0');
        n++;
    }
    *text = str_n(text->ptr + n, text->len - n);
    *ret = value;
    return n > 0;
}

/* "CET" or "<+03>" */
static bool take_abbreviation(struct str *text, char ret[ABBREVIATION_BYTES_MAX]) {
    struct str name = *text;
    if (take(text, '<')) {
        if (!str_cut(*text, '>', &name, text)) {
            return false;
        }
    } else {
        name.len = 0;
        while (name.len < text->len && (text->ptr[name.len] | 0x20) >= 'a' &&
               (text->ptr[name.len] | 0x20) <= 'z') {
            name.len++;
        }
        *text = str_n(text->ptr + name.len, text->len - name.len);
    }
    if (name.len < 3 || name.len >= ABBREVIATION_BYTES_MAX) {
        return false;
    }
    memcpy(ret, name.ptr, name.len);
    ret[name.len] = '\0';
    return true;
}

/* [+-]hh[:mm[:ss]] */
static bool take_time(struct str *text, int32_t *ret_s) {
    bool is_negative = take(text, '-');
    if (!is_negative) {
        (void)take(text, '+');
    }
    int hours = 0;
    int minutes = 0;
    int seconds = 0;
    if (!take_number(text, &hours)) {
        return false;
    }
    if (take(text, ':') && take_number(text, &minutes) && take(text, ':')) {
        (void)take_number(text, &seconds);
    }
    int32_t value = hours * 3600 + minutes * 60 + seconds;
    *ret_s = is_negative ? -value : value;
    return true;
}

static bool take_rule(struct str *text, struct rule *ret) {
    ret->time_s = 2 * 3600;
    if (take(text, 'M')) {
        ret->kind = 'M';
        if (!take_number(text, &ret->month) || !take(text, '.') || !take_number(text, &ret->week) ||
            !take(text, '.') || !take_number(text, &ret->day) || ret->month < 1 ||
            ret->month > 12 || ret->week < 1 || ret->week > 5 || ret->day > 6) {
            return false;
        }
    } else {
        ret->kind = take(text, 'J') ? 'J' : 'N';
        if (!take_number(text, &ret->day) || ret->day > 366) {
            return false;
        }
    }
    return !take(text, '/') || take_time(text, &ret->time_s);
}

static bool parse_rule(struct zone *zone, struct str text) {
    if (!take_abbreviation(&text, zone->standard_name) || !take_time(&text, &zone->standard_s)) {
        return false;
    }
    zone->standard_s = -zone->standard_s; /* POSIX counts west of Greenwich */
    zone->has_rule = true;
    if (text.len == 0) {
        return true;
    }
    zone->daylight_s = zone->standard_s + 3600;
    if (!take_abbreviation(&text, zone->daylight_name)) {
        return false;
    }
    if (text.len > 0 && text.ptr[0] != ',') {
        if (!take_time(&text, &zone->daylight_s)) {
            return false;
        }
        zone->daylight_s = -zone->daylight_s;
    }
    zone->has_daylight = true;
    return take(&text, ',') && take_rule(&text, &zone->start) && take(&text, ',') &&
           take_rule(&text, &zone->end) && text.len == 0;
}

static bool is_leap(int year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Seconds since the epoch when the rule strikes in `year`, `offset_s` holding before. */
static int64_t rule_at_s(const struct rule *rule, int year, int32_t offset_s) {
    struct civil first = { .year = year, .month = rule->kind == 'M' ? rule->month : 1, .day = 1 };
    int64_t start_s = civil_to_ms(&first) / 1000;
    int64_t day = 0;
    if (rule->kind == 'M') {
        int weekday = civil_from_ms(start_s * 1000).weekday;
        day = (rule->day - weekday + 7) % 7 + (rule->week - 1) * 7;
        struct civil next = first;
        next.year += rule->month == 12 ? 1 : 0;
        next.month = rule->month == 12 ? 1 : rule->month + 1;
        int64_t month_days = (civil_to_ms(&next) / 1000 - start_s) / DAY_S;
        while (day >= month_days) {
            day -= 7; /* week 5 is the last one */
        }
    } else if (rule->kind == 'J') {
        day = rule->day - 1 + (rule->day >= 60 && is_leap(year) ? 1 : 0);
    } else {
        day = rule->day;
    }
    return start_s + day * DAY_S + rule->time_s - offset_s;
}

static struct zone_offset rule_at(const struct zone *zone, int64_t t_s) {
    bool is_daylight = false;
    if (zone->has_daylight) {
        int year = civil_from_ms((t_s + zone->standard_s) * 1000).year;
        int64_t start_s = rule_at_s(&zone->start, year, zone->standard_s);
        int64_t end_s = rule_at_s(&zone->end, year, zone->daylight_s);
        is_daylight =
            start_s < end_s ? t_s >= start_s && t_s < end_s : t_s >= start_s || t_s < end_s;
    }
    return is_daylight ? (struct zone_offset){ zone->daylight_s, zone->daylight_name }
                       : (struct zone_offset){ zone->standard_s, zone->standard_name };
}

/* ---- the file ---- */

static uint32_t be32(const char *at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        value = value << 8 | (unsigned char)at[i];
    }
    return value;
}

static int64_t be64(const char *at) {
    return (int64_t)((uint64_t)be32(at) << 32 | be32(at + 4));
}

struct header {
    size_t isut_count, isstd_count, leap_count, time_count, type_count, char_count;
};

static bool read_header(struct str text, struct header *ret) {
    if (text.len < HEADER_BYTES || memcmp(text.ptr, "TZif", 4) != 0) {
        return false;
    }
    const char *at = text.ptr + 20;
    *ret = (struct header){ be32(at),      be32(at + 4),  be32(at + 8),
                            be32(at + 12), be32(at + 16), be32(at + 20) };
    return ret->time_count < 5000 && ret->type_count >= 1 && ret->type_count <= 256 &&
           ret->leap_count < 5000 && ret->char_count < 5000 && ret->isut_count <= 256 &&
           ret->isstd_count <= 256;
}

static size_t body_bytes(const struct header *h, size_t time_bytes) {
    return h->time_count * (time_bytes + 1) + h->type_count * 6 + h->char_count +
           h->leap_count * (time_bytes + 4) + h->isstd_count + h->isut_count;
}

static bool parse_file(struct zone *zone, struct str text) {
    struct header h;
    if (!read_header(text, &h) || text.len < HEADER_BYTES + body_bytes(&h, 4)) {
        return false;
    }
    size_t time_bytes = 4;
    if (text.ptr[4] >= '2') { /* the 64-bit block follows the old one */
        size_t skip = HEADER_BYTES + body_bytes(&h, 4);
        text = str_n(text.ptr + skip, text.len - skip);
        time_bytes = 8;
        if (!read_header(text, &h) || text.len < HEADER_BYTES + body_bytes(&h, 8)) {
            return false;
        }
    }
    const char *at = text.ptr + HEADER_BYTES;
    zone->transition_count = h.time_count;
    zone->type_count = h.type_count;
    zone->transitions_s = mem_calloc(h.time_count + 1, sizeof(zone->transitions_s[0]));
    zone->types = mem_calloc(h.time_count + 1, 1);
    zone->offsets_s = mem_calloc(h.type_count, sizeof(zone->offsets_s[0]));
    zone->name_at = mem_calloc(h.type_count, 1);
    zone->names = mem_calloc(h.char_count + 1, 1);
    for (size_t i = 0; i < h.time_count; i++) {
        const char *time = at + i * time_bytes;
        zone->transitions_s[i] = time_bytes == 8 ? be64(time) : (int32_t)be32(time);
        zone->types[i] = (uint8_t)at[h.time_count * time_bytes + i];
        if (zone->types[i] >= h.type_count ||
            (i > 0 && zone->transitions_s[i] <= zone->transitions_s[i - 1])) {
            return false;
        }
    }
    at += h.time_count * (time_bytes + 1);
    for (size_t i = 0; i < h.type_count; i++) {
        zone->offsets_s[i] = (int32_t)be32(at + i * 6);
        zone->name_at[i] = (uint8_t)at[i * 6 + 5];
        if (zone->name_at[i] > h.char_count) {
            return false;
        }
    }
    memcpy(zone->names, at + h.type_count * 6, h.char_count);
    size_t used = HEADER_BYTES + body_bytes(&h, time_bytes);
    struct str footer = str_trim(str_n(text.ptr + used, text.len - used));
    return time_bytes == 4 || footer.len == 0 || parse_rule(zone, footer);
}

static bool name_is_safe(struct str name) {
    bool is_ok = name.len > 0 && name.len <= ZONE_NAME_BYTES_MAX && name.ptr[0] != '/' &&
                 str_find(name, STR("..")) == SIZE_MAX;
    for (size_t i = 0; is_ok && i < name.len; i++) {
        char c = name.ptr[i];
        is_ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '_' || c == '-' || c == '+' || c == '/';
    }
    return is_ok;
}

static bool read_file(struct str name, struct buf *out, struct err *err) {
    struct buf path;
    buf_init(&path, 256);
    buf_printf(&path, "/usr/share/zoneinfo/%.*s", STR_FMT(name));
    int fd = open(buf_as_str(&path).ptr, O_RDONLY | O_CLOEXEC);
    int errnum = errno;
    buf_finish(&path);
    if (fd < 0) {
        return err_set_errno(err, errnum == ENOENT ? ERR_NOT_FOUND : ERR_IO, errnum,
                             "time zone \"%.*s\"", STR_FMT(name));
    }
    ssize_t n = 0;
    do {
        char *at = buf_reserve(out, 4096);
        n = at == NULL ? -1 : read(fd, at, 4096);
        out->len += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    close(fd);
    return n == 0 || err_set(err, ERR_IO, "cannot read the time zone \"%.*s\"", STR_FMT(name));
}

bool zone_load(struct str name, struct zone **ret, struct err *err) {
    if (!name_is_safe(name)) {
        return err_set(err, ERR_INVALID, "not a time zone name: \"%.*s\"", STR_FMT(name));
    }
    struct zone *zone = mem_calloc(1, sizeof(*zone));
    if (str_eq(name, STR("UTC"))) {
        zone->has_rule = true;
        memcpy(zone->standard_name, "UTC", 4);
        *ret = zone;
        return true;
    }
    struct buf text;
    buf_init(&text, ZONE_FILE_BYTES_MAX);
    bool is_ok = read_file(name, &text, err);
    if (is_ok && !parse_file(zone, buf_as_str(&text))) {
        is_ok =
            err_set(err, ERR_INVALID, "the time zone file of \"%.*s\" is malformed", STR_FMT(name));
    }
    buf_finish(&text);
    if (!is_ok) {
        zone_destroy(zone);
        return false;
    }
    *ret = zone;
    return true;
}

static struct zone_offset type_at(const struct zone *zone, size_t type) {
    return (struct zone_offset){ zone->offsets_s[type], zone->names + zone->name_at[type] };
}

struct zone_offset zone_at(const struct zone *zone, int64_t t_ms) {
    int64_t t_s = t_ms >= 0 ? t_ms / 1000 : -((-t_ms + 999) / 1000);
    size_t n = zone->transition_count;
    if (n == 0 || t_s >= zone->transitions_s[n - 1]) {
        if (zone->has_rule) {
            return rule_at(zone, t_s);
        }
        return type_at(zone, n == 0 ? 0 : zone->types[n - 1]);
    }
    size_t low = 0; /* first transition after t_s */
    size_t high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (zone->transitions_s[mid] <= t_s) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return type_at(zone, low == 0 ? 0 : zone->types[low - 1]);
}
