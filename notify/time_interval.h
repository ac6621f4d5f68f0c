/*
 * Named sets of times: "weekdays 9 to 17 in Europe/Berlin". A time is inside a set when it is
 * inside any of its spans, inside a span when every given field has it.
 */
#pragma once

#include "base/clock.h"
#include "base/yaml.h"
#include "notify/zone.h"

struct span_range {
    int begin; /* both inclusive, but for times: minutes of the day, end exclusive */
    int end;
};

struct span_ranges {
    struct span_range *items;
    size_t count;
};

struct time_span {
    struct span_ranges times;
    struct span_ranges weekdays;      /* 0 = Sunday */
    struct span_ranges days_of_month; /* negative: from the end */
    struct span_ranges months;
    struct span_ranges years;
    struct zone *zone; /* NULL = UTC */
};

struct time_interval {
    char *name;
    struct time_span *spans;
    size_t span_count;
};

/* Decode `time_intervals:` or the older `mute_time_intervals:`; appends. */
void time_intervals_decode(struct yaml_decode *ctx,
                           const struct yaml_node *node,
                           struct time_interval **items,
                           size_t *count);
void time_intervals_free(struct time_interval *items, size_t count);

bool time_interval_contains(const struct time_interval *interval, int64_t t_ms);
