/*
 * The only place that reads clocks. Everything below app/ gets its time as an argument or through
 * this seam, so that a test can run a day in a second.
 */
#pragma once

#include "base/str.h"

struct clock {
    int64_t (*wall_ms)(void *ctx); /* Unix epoch, milliseconds; may jump */
    int64_t (*mono_ns)(void *ctx); /* monotonic, nanoseconds */
    void *ctx;
};

static inline int64_t clock_wall_ms(const struct clock *clock) {
    return clock->wall_ms(clock->ctx);
}

static inline int64_t clock_mono_ns(const struct clock *clock) {
    return clock->mono_ns(clock->ctx);
}

/* The machine's clocks. Static lifetime. */
const struct clock *clock_system(void);

/* A clock for tests: both times advance only by fake_clock_advance(). Thread-safe. */
struct fake_clock {
    struct clock clock;
    _Atomic int64_t now_ms;
    int64_t start_ms;
};

void fake_clock_init(struct fake_clock *fake, int64_t start_ms);
void fake_clock_advance(struct fake_clock *fake, int64_t by_ms);

/* Civil time, UTC, without libc's time zone state. `ms` part is carried through. */
struct civil {
    int year, month, day; /* month 1..12 */
    int hour, minute, second, ms;
    int weekday;  /* 0 = Sunday */
    int year_day; /* 1..366 */
};
struct civil civil_from_ms(int64_t t_ms);
int64_t civil_to_ms(const struct civil *civil);

/* RFC 3339 with milliseconds: "2026-01-02T03:04:05.678Z" (24 chars + NUL; years 0..9999). */
#define RFC3339_TEXT_MAX 32
void rfc3339_from_ms(int64_t t_ms, char out[RFC3339_TEXT_MAX]);

/* The other way round; any offset, fractions cut to milliseconds. False (ret untouched) when the
 * text is not a time, or not of this calendar. */
WARN_UNUSED bool rfc3339_to_ms(struct str text, int64_t *ret_ms);
