/* Reading RFC 3339 times. */
#include "base/clock.h"

static bool digits(struct str *text, size_t count, int *ret) {
    if (text->len < count) {
        return false;
    }
    int value = 0;
    for (size_t i = 0; i < count; i++) {
        char c = text->ptr[i];
        if (c < '0' || c > '9') {
            return false;
        }
        value = value * 10 + (c - '0');
    }
    *text = str_n(text->ptr + count, text->len - count);
    *ret = value;
    return true;
}

static bool skip(struct str *text, const char *one_of) {
    if (text->len == 0 || strchr(one_of, text->ptr[0]) == NULL) {
        return false;
    }
    *text = str_n(text->ptr + 1, text->len - 1);
    return true;
}

/* ".678" rounded to milliseconds; nothing there is 0. */
static bool fraction_ms(struct str *text, int *ret) {
    *ret = 0;
    if (!skip(text, ".")) {
        return true;
    }
    int scale = 1000;
    size_t count = 0;
    while (text->len > 0 && text->ptr[0] >= '0' && text->ptr[0] <= '9') {
        scale /= 10;
        *ret += (text->ptr[0] - '0') * scale;
        *text = str_n(text->ptr + 1, text->len - 1);
        count++;
    }
    return count > 0;
}

static bool zone_minutes(struct str *text, int *ret) {
    if (skip(text, "Zz")) {
        *ret = 0;
        return true;
    }
    if (text->len == 0) {
        return false;
    }
    int sign = text->ptr[0] == '-' ? -1 : 1;
    int hours;
    int minutes;
    if (!skip(text, "+-") || !digits(text, 2, &hours) || !skip(text, ":") ||
        !digits(text, 2, &minutes)) {
        return false;
    }
    *ret = sign * (hours * 60 + minutes);
    return true;
}

bool rfc3339_to_ms(struct str text, int64_t *ret_ms) {
    struct civil c = { 0 };
    int zone;
    bool is_ok = digits(&text, 4, &c.year) && skip(&text, "-") && digits(&text, 2, &c.month) &&
                 skip(&text, "-") && digits(&text, 2, &c.day) && skip(&text, "Tt ") &&
                 digits(&text, 2, &c.hour) && skip(&text, ":") && digits(&text, 2, &c.minute) &&
                 skip(&text, ":") && digits(&text, 2, &c.second) && fraction_ms(&text, &c.ms) &&
                 zone_minutes(&text, &zone) && text.len == 0 && c.month >= 1 && c.month <= 12 &&
                 c.day >= 1 && c.hour < 24 && c.minute < 60 && c.second < 60;
    if (!is_ok) {
        return false;
    }
    int64_t t_ms = civil_to_ms(&c);
    struct civil back = civil_from_ms(t_ms);
    if (back.day != c.day || back.month != c.month) { /* February 30 */
        return false;
    }
    *ret_ms = t_ms - (int64_t)zone * 60000;
    return true;
}
