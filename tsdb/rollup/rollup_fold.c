/* From samples to buckets. */
#include <math.h>

#include "base/mem.h"
#include "model/kahan.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/rollup/rollup.h"

void tsdb_buckets_finish(struct tsdb_buckets *buckets) {
    mem_free(buckets->items);
    *buckets = (struct tsdb_buckets){ 0 };
}

int64_t rollup_bucket_end(int64_t t_ms, int64_t resolution_ms) {
    return (i64_floor_div(t_ms - 1, resolution_ms) + 1) * resolution_ms;
}

int64_t rollup_period(int64_t t_ms) {
    return i64_floor_div(t_ms - 1, ROLLUP_PERIOD_MS);
}

/* NaN is an extreme only where there is nothing else; of equal ones the first stays. */
static bool is_new_extreme(double value, double extreme, bool is_less) {
    return is_less || (isnan(extreme) && !isnan(value));
}

static void start_bucket(struct tsdb_bucket *bucket, struct sample sample) {
    bucket->count = 1;
    bucket->t_first_ms = sample.t_ms;
    bucket->t_last_ms = sample.t_ms;
    bucket->first = sample.value;
    bucket->last = sample.value;
    bucket->min = sample.value;
    bucket->max = sample.value;
}

static void extend_bucket(struct tsdb_bucket *bucket, struct sample sample) {
    bucket->count++;
    if (sample.value < bucket->last) {
        bucket->lost += bucket->last;
    }
    bucket->t_last_ms = sample.t_ms;
    bucket->last = sample.value;
    if (is_new_extreme(sample.value, bucket->min, sample.value < bucket->min)) {
        bucket->min = sample.value;
    }
    if (is_new_extreme(sample.value, bucket->max, sample.value > bucket->max)) {
        bucket->max = sample.value;
    }
}

/* The samples [from, to) of one bucket. */
static struct tsdb_bucket fold_one(const struct tsdb_column *column,
                                   size_t from,
                                   size_t to,
                                   int64_t end_ms) {
    struct tsdb_bucket bucket = { .t_ms = end_ms };
    struct kahan sum = { 0 };
    for (size_t i = from; i < to; i++) {
        struct sample sample = { .t_ms = column->t_ms[i], .value = column->values[i] };
        bucket.ends_stale = is_stale(sample.value);
        if (bucket.ends_stale) {
            continue;
        }
        sum = kahan_add(sum, sample.value);
        if (bucket.count == 0) {
            start_bucket(&bucket, sample);
        } else {
            extend_bucket(&bucket, sample);
        }
    }
    bucket.sum = kahan_is_inf(sum.sum) ? sum.sum : sum.sum + sum.c;
    return bucket;
}

void rollup_fold(const struct tsdb_column *column,
                 int64_t resolution_ms,
                 struct tsdb_buckets *buckets) {
    size_t from = 0;
    while (from < column->count && column->t_ms[from] < -ROLLUP_TIME_MS_MAX) {
        from++;
    }
    while (from < column->count && column->t_ms[from] <= ROLLUP_TIME_MS_MAX) {
        int64_t end_ms = rollup_bucket_end(column->t_ms[from], resolution_ms);
        size_t to = from + 1;
        while (to < column->count && column->t_ms[to] <= end_ms) {
            to++;
        }
        buckets->items =
            vec_grow(buckets->items, &buckets->cap, buckets->count + 1, sizeof(buckets->items[0]));
        buckets->items[buckets->count++] = fold_one(column, from, to, end_ms);
        from = to;
    }
}
