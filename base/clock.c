/* Clocks and civil time. The only file of the project that asks the machine what time it is. */
#include "base/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <time.h>

#include "base/attr.h"

static const int64_t ms_per_day = INT64_C(86400000);

static struct timespec read_clock(clockid_t id) {
    struct timespec now;
    if (clock_gettime(id, &now) != 0) {
        BUG("clock %d cannot be read: errno %d", (int)id, errno);
    }
    return now;
}

static int64_t system_wall_ms(void *ctx) {
    (void)ctx;
    struct timespec now = read_clock(CLOCK_REALTIME);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t system_mono_ns(void *ctx) {
    (void)ctx;
    struct timespec now = read_clock(CLOCK_MONOTONIC);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static const struct clock system_clock = { .wall_ms = system_wall_ms, .mono_ns = system_mono_ns };

const struct clock *clock_system(void) {
    return &system_clock;
}

static int64_t fake_wall_ms(void *ctx) {
    struct fake_clock *fake = ctx;
    return atomic_load(&fake->now_ms);
}

static int64_t fake_mono_ns(void *ctx) {
    struct fake_clock *fake = ctx;
    return (atomic_load(&fake->now_ms) - fake->start_ms) * 1000000;
}

void fake_clock_init(struct fake_clock *fake, int64_t start_ms) {
    fake->clock = (struct clock){ .wall_ms = fake_wall_ms, .mono_ns = fake_mono_ns, .ctx = fake };
    fake->start_ms = start_ms;
    atomic_init(&fake->now_ms, start_ms);
}

void fake_clock_advance(struct fake_clock *fake, int64_t by_ms) {
    atomic_fetch_add(&fake->now_ms, by_ms);
}

/* Days since 1970-01-01 of a proleptic Gregorian date, counting years from March so that the leap
 * day comes last (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"). */
static int64_t days_from_civil(int64_t year, int month, int day) {
    year -= month <= 2 ? 1 : 0;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

struct civil civil_from_ms(int64_t t_ms) {
    int64_t days = t_ms / ms_per_day;
    int64_t of_day = t_ms % ms_per_day;
    if (of_day < 0) {
        of_day += ms_per_day;
        days--;
    }
    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_index = (5 * day_of_year + 2) / 153; /* 0 = March */
    int month = (int)(month_index < 10 ? month_index + 3 : month_index - 9);
    int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
    return (struct civil){
        .year = (int)year,
        .month = month,
        .day = (int)(day_of_year - (153 * month_index + 2) / 5 + 1),
        .hour = (int)(of_day / 3600000),
        .minute = (int)(of_day / 60000 % 60),
        .second = (int)(of_day / 1000 % 60),
        .ms = (int)(of_day % 1000),
        .weekday = (int)((days % 7 + 11) % 7), /* 1970-01-01 was a Thursday */
        .year_day = (int)(days - days_from_civil(year, 1, 1)) + 1,
    };
}

int64_t civil_to_ms(const struct civil *civil) {
    int64_t days = days_from_civil(civil->year, civil->month, civil->day);
    int64_t of_day =
        ((civil->hour * INT64_C(60) + civil->minute) * 60 + civil->second) * 1000 + civil->ms;
    /* The first day of int64 begins before INT64_MIN: the sum fits where the product does not. */
    return (int64_t)((uint64_t)days * (uint64_t)ms_per_day + (uint64_t)of_day);
}

static char *put_number(char *at, int value, int width, char after) {
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    at[width] = after;
    return at + width + 1;
}

void rfc3339_from_ms(int64_t t_ms, char out[RFC3339_TEXT_MAX]) {
    static const int64_t year_0_ms = INT64_C(-62167219200000);
    static const int64_t year_10000_ms = INT64_C(253402300800000);
    if (t_ms < year_0_ms) {
        t_ms = year_0_ms;
    }
    if (t_ms >= year_10000_ms) {
        t_ms = year_10000_ms - 1;
    }
    struct civil civil = civil_from_ms(t_ms);
    char *at = out;
    at = put_number(at, civil.year, 4, '-');
    at = put_number(at, civil.month, 2, '-');
    at = put_number(at, civil.day, 2, 'T');
    at = put_number(at, civil.hour, 2, ':');
    at = put_number(at, civil.minute, 2, ':');
    at = put_number(at, civil.second, 2, '.');
    at = put_number(at, civil.ms, 3, 'Z');
    *at = '\0';
}
