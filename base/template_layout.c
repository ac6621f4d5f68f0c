/* time.Format: Go's layouts, in which the parts of "Mon Jan 2 15:04:05 MST 2006" stand for parts of
 * the time shown. */
#include "base/clock.h"
#include "base/template.h"

static const char *const months[] = { "January",   "February", "March",    "April",
                                      "May",       "June",     "July",     "August",
                                      "September", "October",  "November", "December" };
static const char *const weekdays[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday" };

enum part {
    PART_LONG_MONTH,
    PART_MONTH,
    PART_NUM_MONTH,
    PART_ZERO_MONTH,
    PART_LONG_WEEKDAY,
    PART_WEEKDAY,
    PART_DAY,
    PART_UNDER_DAY,
    PART_ZERO_DAY,
    PART_UNDER_YEAR_DAY,
    PART_ZERO_YEAR_DAY,
    PART_HOUR,
    PART_HOUR_12,
    PART_ZERO_HOUR_12,
    PART_MINUTE,
    PART_ZERO_MINUTE,
    PART_SECOND,
    PART_ZERO_SECOND,
    PART_LONG_YEAR,
    PART_YEAR,
    PART_PM,
    PART_PM_LOWER,
    PART_ZONE_NAME,
    PART_ZONE,
};

/* Offsets from UTC: Z means "Z" for UTC. */
enum zone_flags {
    ZONE_Z = 1,
    ZONE_COLON = 2,
    ZONE_MINUTES = 4,
    ZONE_SECONDS = 8,
};

static const struct {
    const char *text;
    enum part part;
    unsigned zone;
    bool ends_word; /* no lower-case letter may follow */
} parts[] = {
    /* of several that fit the first is taken, so longer ones stand before their beginnings */
    { "January", PART_LONG_MONTH, 0, false },
    { "Jan", PART_MONTH, 0, true },
    { "Monday", PART_LONG_WEEKDAY, 0, false },
    { "Mon", PART_WEEKDAY, 0, true },
    { "MST", PART_ZONE_NAME, 0, false },
    { "002", PART_ZERO_YEAR_DAY, 0, false },
    { "01", PART_ZERO_MONTH, 0, false },
    { "02", PART_ZERO_DAY, 0, false },
    { "03", PART_ZERO_HOUR_12, 0, false },
    { "04", PART_ZERO_MINUTE, 0, false },
    { "05", PART_ZERO_SECOND, 0, false },
    { "06", PART_YEAR, 0, false },
    { "15", PART_HOUR, 0, false },
    { "1", PART_NUM_MONTH, 0, false },
    { "2006", PART_LONG_YEAR, 0, false },
    { "2", PART_DAY, 0, false },
    { "__2", PART_UNDER_YEAR_DAY, 0, false },
    { "_2", PART_UNDER_DAY, 0, false },
    { "3", PART_HOUR_12, 0, false },
    { "4", PART_MINUTE, 0, false },
    { "5", PART_SECOND, 0, false },
    { "PM", PART_PM, 0, false },
    { "pm", PART_PM_LOWER, 0, false },
    { "-07:00:00", PART_ZONE, ZONE_COLON | ZONE_MINUTES | ZONE_SECONDS, false },
    { "-070000", PART_ZONE, ZONE_MINUTES | ZONE_SECONDS, false },
    { "-07:00", PART_ZONE, ZONE_COLON | ZONE_MINUTES, false },
    { "-0700", PART_ZONE, ZONE_MINUTES, false },
    { "-07", PART_ZONE, 0, false },
    { "Z07:00:00", PART_ZONE, ZONE_Z | ZONE_COLON | ZONE_MINUTES | ZONE_SECONDS, false },
    { "Z070000", PART_ZONE, ZONE_Z | ZONE_MINUTES | ZONE_SECONDS, false },
    { "Z07:00", PART_ZONE, ZONE_Z | ZONE_COLON | ZONE_MINUTES, false },
    { "Z0700", PART_ZONE, ZONE_Z | ZONE_MINUTES, false },
    { "Z07", PART_ZONE, ZONE_Z, false },
};

struct shown {
    struct civil civil;
    int32_t offset_s;
    struct str zone;
};

static void append_zone(struct buf *out, const struct shown *shown, unsigned flags) {
    int32_t offset = shown->offset_s;
    if ((flags & ZONE_Z) != 0 && offset == 0) {
        buf_putc(out, 'Z');
        return;
    }
    const char *colon = (flags & ZONE_COLON) != 0 ? ":" : "";
    int32_t minutes = offset / 60;
    buf_putc(out, minutes < 0 ? '-' : '+');
    minutes = minutes < 0 ? -minutes : minutes;
    buf_printf(out, "%02d", minutes / 60);
    if ((flags & ZONE_MINUTES) != 0) {
        buf_printf(out, "%s%02d", colon, minutes % 60);
    }
    if ((flags & ZONE_SECONDS) != 0) {
        buf_printf(out, "%s%02d", colon, (offset < 0 ? -offset : offset) % 60);
    }
}

static void append_zone_name(struct buf *out, const struct shown *shown) {
    if (shown->zone.len > 0) {
        buf_str(out, shown->zone);
    } else if (shown->offset_s == 0) {
        buf_cstr(out, "UTC");
    } else { /* no abbreviation known: -07 or -0730 */
        append_zone(out, shown, shown->offset_s / 60 % 60 != 0 ? ZONE_MINUTES : 0);
    }
}

static void append_year(struct buf *out, int year) {
    buf_printf(out, year < 0 ? "-%04d" : "%04d", year < 0 ? -year : year);
}

static void append_part(struct buf *out, const struct shown *shown, enum part part, unsigned zone) {
    const struct civil *c = &shown->civil;
    int hour_12 = c->hour % 12 == 0 ? 12 : c->hour % 12;
    switch (part) {
    case PART_LONG_MONTH: buf_cstr(out, months[c->month - 1]); break;
    case PART_MONTH: buf_append(out, months[c->month - 1], 3); break;
    case PART_NUM_MONTH: buf_printf(out, "%d", c->month); break;
    case PART_ZERO_MONTH: buf_printf(out, "%02d", c->month); break;
    case PART_LONG_WEEKDAY: buf_cstr(out, weekdays[c->weekday]); break;
    case PART_WEEKDAY: buf_append(out, weekdays[c->weekday], 3); break;
    case PART_DAY: buf_printf(out, "%d", c->day); break;
    case PART_UNDER_DAY: buf_printf(out, "%2d", c->day); break;
    case PART_ZERO_DAY: buf_printf(out, "%02d", c->day); break;
    case PART_UNDER_YEAR_DAY: buf_printf(out, "%3d", c->year_day); break;
    case PART_ZERO_YEAR_DAY: buf_printf(out, "%03d", c->year_day); break;
    case PART_HOUR: buf_printf(out, "%02d", c->hour); break;
    case PART_HOUR_12: buf_printf(out, "%d", hour_12); break;
    case PART_ZERO_HOUR_12: buf_printf(out, "%02d", hour_12); break;
    case PART_MINUTE: buf_printf(out, "%d", c->minute); break;
    case PART_ZERO_MINUTE: buf_printf(out, "%02d", c->minute); break;
    case PART_SECOND: buf_printf(out, "%d", c->second); break;
    case PART_ZERO_SECOND: buf_printf(out, "%02d", c->second); break;
    case PART_LONG_YEAR: append_year(out, c->year); break;
    case PART_YEAR: buf_printf(out, "%02d", (c->year % 100 + 100) % 100); break;
    case PART_PM: buf_cstr(out, c->hour >= 12 ? "PM" : "AM"); break;
    case PART_PM_LOWER: buf_cstr(out, c->hour >= 12 ? "pm" : "am"); break;
    case PART_ZONE_NAME: append_zone_name(out, shown); break;
    case PART_ZONE: append_zone(out, shown, zone); break;
    }
}

/* Length of a fraction of seconds (.000, ,999) at the start of the layout, 0 = none. */
static size_t fraction_length(struct str layout) {
    if (layout.len < 2 || (layout.ptr[0] != '.' && layout.ptr[0] != ',') ||
        (layout.ptr[1] != '0' && layout.ptr[1] != '9')) {
        return 0;
    }
    size_t len = 1;
    while (len < layout.len && layout.ptr[len] == layout.ptr[1]) {
        len++;
    }
    bool is_longer_number = len < layout.len && layout.ptr[len] >= '0' && layout.ptr[len] <= '9';
    return is_longer_number ? 0 : len;
}

/* Zeros ask for that many digits, nines for at most that many without trailing zeros. */
static void append_fraction(struct buf *out, int ms, struct str layout) {
    bool trims = layout.ptr[1] == '9';
    char digits[] = { (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10) };
    size_t count = layout.len - 1;
    while (trims && count > 0 && (count > 3 || digits[count - 1] == '0')) {
        count--;
    }
    if (count == 0) {
        return;
    }
    buf_putc(out, layout.ptr[0]);
    for (size_t i = 0; i < count; i++) {
        buf_putc(out, i < 3 ? digits[i] : '0');
    }
}

/* The part the layout starts with; its length, or 0 when it starts with plain text. */
static size_t find_part(struct str layout, size_t *ret_index) {
    if (str_starts_with(layout, STR("_2006"))) {
        return 0; /* an underscore, then the year */
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct str text = str_from(parts[i].text);
        if (!str_starts_with(layout, text)) {
            continue;
        }
        char next = layout.len > text.len ? layout.ptr[text.len] : '\0';
        if (!parts[i].ends_word || next < 'a' || next > 'z') {
            *ret_index = i;
            return text.len;
        }
    }
    return 0;
}

void tmpl_time_format(struct buf *out, const struct tmpl_time *time, struct str layout) {
    struct shown shown = {
        .civil = civil_from_ms(time->t_ms + (int64_t)time->offset_s * 1000),
        .offset_s = time->offset_s,
        .zone = time->zone,
    };
    for (size_t pos = 0; pos < layout.len && !out->is_over;) {
        struct str rest = str_n(layout.ptr + pos, layout.len - pos);
        size_t fraction = fraction_length(rest);
        size_t index = 0;
        size_t len = fraction > 0 ? 0 : find_part(rest, &index);
        if (fraction > 0) {
            append_fraction(out, shown.civil.ms, str_n(rest.ptr, fraction));
            pos += fraction;
        } else if (len > 0) {
            append_part(out, &shown, parts[index].part, parts[index].zone);
            pos += len;
        } else {
            buf_putc(out, rest.ptr[0]);
            pos++;
        }
    }
}
