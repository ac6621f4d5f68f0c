/*
 * A recorded corpus: lines of JSON as bench/record.py writes them, gzip'd. Series are in the file's
 * order, which puts what is alike side by side.
 */
#pragma once

#include "model/model.h"

struct recorded_series {
    struct labels labels;
    size_t count;
    int64_t *t_ms;
    double *values;
};

struct recorded {
    struct arena arena;
    struct recorded_series *series;
    size_t count;
    size_t sample_count;
};

WARN_UNUSED bool recorded_load(struct recorded *recorded, const char *path, struct err *err);
void recorded_finish(struct recorded *recorded);

/* Whether `b` is the bucket of the same histogram behind `a`. */
bool recorded_is_next_bucket(const struct recorded_series *a, const struct recorded_series *b);
