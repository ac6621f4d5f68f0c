/* When buckets answer for samples, and what windows of them come to. */
#include "promql/eval_rollup.h"

#include <assert.h>
#include <math.h>

#include "base/clock.h"
#include "base/duration.h"
#include "model/kahan.h"

/* ---- when ---- */

static int64_t floor_to(int64_t t_ms, int64_t unit_ms) {
    int64_t rest = t_ms % unit_ms;
    return t_ms - (rest < 0 ? rest + unit_ms : rest);
}

/* Every window of the selector consists of whole buckets, as far as it matters. */
static bool is_aligned(const struct node *node,
                       const struct steps *steps,
                       int64_t reach_ms,
                       int64_t resolution_ms) {
    bool is_fixed = steps->count == 1 || node->has_at;
    return node_reference_ms(node, steps->start_ms) % resolution_ms == 0 &&
           (is_fixed || steps->step_ms % resolution_ms == 0) &&
           (node->kind == NODE_SELECTOR || reach_ms % resolution_ms == 0);
}

int64_t rollup_leftover_ms(const struct eval *eval, int64_t t_ms) {
    size_t count;
    const struct tsdb_rollup *rollups = tsdb_rollups(eval->query->db, &count);
    if (count == 0 || t_ms >= tsdb_raw_floor_ms(eval->query->db)) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (tsdb_rolled_from_ms(eval->query->db, i) <= t_ms) {
            return rollups[i].resolution_ms;
        }
    }
    /* Older than all of them: the one that reaches furthest back. */
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        if (tsdb_rolled_from_ms(eval->query->db, i) < tsdb_rolled_from_ms(eval->query->db, best)) {
            best = i;
        }
    }
    return tsdb_rolled_from_ms(eval->query->db, best) == INT64_MAX ? 0
                                                                   : rollups[best].resolution_ms;
}

void rollup_note_leftover(struct eval *eval, const struct node *node, int64_t resolution_ms) {
    char until[RFC3339_TEXT_MAX];
    struct buf resolution;
    buf_init(&resolution, 64);
    rfc3339_from_ms(tsdb_raw_floor_ms(eval->query->db), until);
    duration_print(&resolution, resolution_ms);
    note_add(&eval->notes, NOTE_INFO, node->expr->pos_start,
             "samples before %s are gone: this selector was evaluated on their rollups of %.*s",
             until, STR_FMT(buf_as_str(&resolution)));
    buf_finish(&resolution);
}

struct rollup_use rollup_use_get(struct eval *eval,
                                 const struct node *node,
                                 const struct steps *steps,
                                 int64_t reach_ms) {
    struct rollup_use use = { 0 };
    size_t count;
    const struct tsdb_rollup *rollups = tsdb_rollups(eval->query->db, &count);
    if (count == 0 || eval->querier == NULL) {
        return use;
    }
    int64_t first_ms = node_reference_ms(node, steps->start_ms) - reach_ms + 1;
    bool is_gone = first_ms < tsdb_raw_floor_ms(eval->query->db);
    for (size_t i = count; i > 0; i--) {
        bool is_there = !is_gone || tsdb_rolled_from_ms(eval->query->db, i - 1) <= first_ms;
        if (is_there && first_ms < tsdb_rolled_until_ms(eval->query->db) &&
            is_aligned(node, steps, reach_ms, rollups[i - 1].resolution_ms)) {
            use.resolution_ms = rollups[i - 1].resolution_ms;
            return use;
        }
    }
    use.resolution_ms = rollup_leftover_ms(eval, first_ms);
    use.is_widened = use.resolution_ms != 0;
    if (use.is_widened) {
        rollup_note_leftover(eval, node, use.resolution_ms);
    }
    return use;
}

int64_t rollup_reference_ms(const struct rollup_use *use, const struct node *node, int64_t t_ms) {
    int64_t ref_ms = node_reference_ms(node, t_ms);
    return use->is_widened ? floor_to(ref_ms, use->resolution_ms) : ref_ms;
}

int64_t rollup_reach_ms(const struct rollup_use *use, int64_t reach_ms) {
    if (!use->is_widened) {
        return reach_ms;
    }
    int64_t floored = floor_to(reach_ms, use->resolution_ms);
    return floored == reach_ms ? reach_ms : floored + use->resolution_ms;
}

/* ---- windows of buckets ---- */

static bool is_extreme(double value, double extreme, bool is_better) {
    return is_better || (isnan(extreme) && !isnan(value));
}

struct tsdb_bucket rollup_sum(const struct tsdb_bucket *buckets, size_t lo, size_t hi) {
    struct tsdb_bucket all = { 0 };
    struct kahan sum = { 0 };
    for (size_t i = lo; i < hi; i++) {
        const struct tsdb_bucket *bucket = &buckets[i];
        if (bucket->count == 0) {
            continue;
        }
        sum = kahan_add(sum, bucket->sum);
        if (all.count == 0) {
            all = *bucket;
            continue;
        }
        all.lost += bucket->first < all.last ? all.last + bucket->lost : bucket->lost;
        all.count += bucket->count;
        all.t_last_ms = bucket->t_last_ms;
        all.last = bucket->last;
        if (is_extreme(bucket->min, all.min, bucket->min < all.min)) {
            all.min = bucket->min;
        }
        if (is_extreme(bucket->max, all.max, bucket->max > all.max)) {
            all.max = bucket->max;
        }
    }
    all.sum = kahan_is_inf(sum.sum) ? sum.sum : sum.sum + sum.c;
    return all;
}

bool bucket_sum(const struct bucket_window *window, double *ret) {
    *ret = window->all.sum;
    return true;
}

bool bucket_count(const struct bucket_window *window, double *ret) {
    *ret = (double)window->all.count;
    return true;
}

bool bucket_avg(const struct bucket_window *window, double *ret) {
    *ret = window->all.sum / (double)window->all.count;
    return true;
}

bool bucket_min(const struct bucket_window *window, double *ret) {
    *ret = window->all.min;
    return true;
}

bool bucket_max(const struct bucket_window *window, double *ret) {
    *ret = window->all.max;
    return true;
}

bool bucket_first(const struct bucket_window *window, double *ret) {
    *ret = window->all.first;
    return true;
}

bool bucket_last(const struct bucket_window *window, double *ret) {
    *ret = window->all.last;
    return true;
}

bool bucket_present(const struct bucket_window *window, double *ret) {
    (void)window;
    *ret = 1;
    return true;
}

bool bucket_ts_of_first(const struct bucket_window *window, double *ret) {
    *ret = (double)window->all.t_first_ms / 1000;
    return true;
}

bool bucket_ts_of_last(const struct bucket_window *window, double *ret) {
    *ret = (double)window->all.t_last_ms / 1000;
    return true;
}

/* ---- all steps ---- */

/* Buckets [lo, hi) end in (ref - reach, ref]; both only move forward from step to step. */
struct bucket_cursor {
    const struct tsdb_buckets *buckets;
    size_t lo;
    size_t hi;
};

static void move_cursor(struct bucket_cursor *cursor, int64_t ref_ms, int64_t reach_ms) {
    const struct tsdb_buckets *buckets = cursor->buckets;
    while (cursor->lo < buckets->count && buckets->items[cursor->lo].t_ms <= ref_ms - reach_ms) {
        cursor->lo++;
    }
    cursor->hi = cursor->hi < cursor->lo ? cursor->lo : cursor->hi;
    while (cursor->hi < buckets->count && buckets->items[cursor->hi].t_ms <= ref_ms) {
        cursor->hi++;
    }
}

void rollup_fill_selector(const struct eval *eval,
                          const struct rollup_use *use,
                          const struct node *node,
                          const struct steps *steps,
                          const struct tsdb_buckets *buckets,
                          bool wants_times,
                          struct step_series *series) {
    step_series_clear(series, steps);
    struct bucket_cursor cursor = { .buckets = buckets };
    int64_t lookback_ms = rollup_reach_ms(use, eval->lookback_ms);
    for (size_t i = 0; i < steps->count; i++) {
        int64_t ref_ms = rollup_reference_ms(use, node, steps_at(steps, i));
        /* Of a bucket that ends later than the lookback begins, the newest sample may still do. */
        move_cursor(&cursor, ref_ms, lookback_ms);
        if (cursor.lo == cursor.hi) {
            continue;
        }
        const struct tsdb_bucket *newest = &buckets->items[cursor.hi - 1];
        if (newest->count > 0 && !newest->ends_stale && newest->t_last_ms > ref_ms - lookback_ms) {
            step_series_set(series, i, wants_times ? (double)newest->t_last_ms : newest->last);
        }
    }
}

void rollup_fill_range(const struct rollup_use *use,
                       const struct range_call *call,
                       bucket_eval_fn *fn,
                       const struct tsdb_buckets *buckets,
                       struct window_frame *frame,
                       struct step_series *out) {
    struct bucket_cursor cursor = { .buckets = buckets };
    struct bucket_window window = {
        .range_ms = rollup_reach_ms(use, call->arg->range_ms),
        .asked_ms = call->arg->range_ms,
    };
    frame->total = 0;
    frame->largest = 0;
    for (size_t i = 0; i < call->steps->count; i++) {
        int64_t ref_ms = rollup_reference_ms(use, call->arg, steps_at(call->steps, i));
        move_cursor(&cursor, ref_ms, window.range_ms);
        window.all = rollup_sum(buckets->items, cursor.lo, cursor.hi);
        window.all.t_ms = ref_ms;
        size_t count = window.all.count;
        frame->total += count;
        frame->largest = count > frame->largest ? count : frame->largest;
        frame->last = count;
        double value;
        if (count > 0 && fn(&window, &value)) {
            step_series_set(out, i, value);
        }
    }
}

/* ---- samples in place of samples ---- */

bool rollup_prepend(struct eval *eval,
                    uint64_t view_id,
                    int64_t resolution_ms,
                    int64_t first_ms,
                    struct tsdb_column *column,
                    struct err *err) {
    struct tsdb_buckets buckets = { 0 };
    int64_t from_ms = floor_to(first_ms, resolution_ms) + resolution_ms;
    int64_t to_ms = floor_to(tsdb_raw_floor_ms(eval->query->db), resolution_ms);
    bool ok = from_ms > to_ms || tsdb_read_buckets(eval->querier, view_id, resolution_ms, from_ms,
                                                   to_ms, &buckets, err);
    size_t kept = 0;
    for (size_t i = 0; ok && i < buckets.count; i++) {
        if (buckets.items[i].count > 0 &&
            (column->count == 0 || buckets.items[i].t_last_ms < column->t_ms[0])) {
            buckets.items[kept++] = buckets.items[i];
        }
    }
    if (ok && kept > 0) {
        tsdb_column_reserve(column, kept);
        memmove(column->t_ms + kept, column->t_ms, column->count * sizeof(column->t_ms[0]));
        memmove(column->values + kept, column->values, column->count * sizeof(column->values[0]));
        for (size_t i = 0; i < kept; i++) {
            column->t_ms[i] = buckets.items[i].t_last_ms;
            column->values[i] = buckets.items[i].last;
        }
        column->count += kept;
    }
    tsdb_buckets_finish(&buckets);
    return ok;
}
