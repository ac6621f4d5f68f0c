/*
 * The grid: at every point t = k * step_ms the live aggregates become samples, leases run out, and
 * what nobody pushes any more goes stale. Everything a point changes is in the commits that hold
 * its samples.
 */
#include <assert.h>
#include <math.h>

#include "base/mem.h"
#include "ingest/event_state.h"

#define AGGREGATES_PER_COMMIT 4000
#define GAP_STEPS             4
#define MB                    (1024.0 * 1024.0)

/* One point of the grid under way. */
struct point {
    struct events *events;
    int64_t now_ms;
    int64_t t_ms;
    struct tsdb_batch *batch;
    struct arena arena; /* labels under construction */
};

static bool batch_begin(struct point *point, struct err *err) {
    assert(point->batch == NULL);
    return tsdb_batch_begin(point->events->ingest->db, TSDB_INGEST, &point->batch, err);
}

static bool batch_commit(struct point *point, struct err *err) {
    struct tsdb_batch *batch = point->batch;
    point->batch = NULL;
    return events_commit(point->events, batch, point->now_ms, err);
}

/* ---- aggregates ---- */

static size_t series_count(const struct aggregate *aggregate) {
    const struct event_family_def *def = &event_families[aggregate->family];
    return def->type == FAMILY_HISTOGRAM ? def->bound_count + 3 : 1;
}

static bool series_find(struct point *point,
                        const struct aggregate *aggregate,
                        const char *suffix,
                        struct label extra,
                        series_ref_t *ret) {
    struct arena *arena = &point->arena;
    size_t base_count = aggregate->labels.count;
    struct label *items = arena_calloc(arena, base_count + 2, sizeof(items[0]));
    memcpy(items, aggregate->labels.items, base_count * sizeof(items[0]));
    struct labels labels = { .items = items, .count = base_count };
    items[labels.count++] = (struct label){
        .name = METRIC_NAME,
        .value = arena_printf(arena, "%.*s%s%s", STR_FMT(aggregate->app),
                              event_families[aggregate->family].suffix, suffix),
    };
    if (extra.name.len > 0) {
        items[labels.count++] = extra;
    }
    struct err err = ERR_INIT;
    if (!labels_normalize(&labels, &err)) {
        counters_refuse(&point->events->ingest->counters, DOOR_EVENTS, REFUSAL_BAD_LABELS, 1);
        return false;
    }
    if (!tsdb_series(point->events->ingest->db, labels, ret, &err)) {
        counters_refuse(&point->events->ingest->counters, DOOR_EVENTS, REFUSAL_SERIES_LIMIT, 1);
        return false;
    }
    return true;
}

/* References in the order of the values: buckets, sum, count; or the one series. */
static bool aggregate_resolve(struct point *point, struct aggregate *aggregate) {
    if (aggregate->refs != NULL) {
        return true;
    }
    arena_reset(&point->arena);
    const struct event_family_def *def = &event_families[aggregate->family];
    series_ref_t *refs = mem_calloc(series_count(aggregate), sizeof(refs[0]));
    struct label none = { 0 };
    bool is_ok = true;
    if (def->type != FAMILY_HISTOGRAM) {
        is_ok = series_find(point, aggregate, "", none, &refs[0]);
    } else {
        for (size_t i = 0; is_ok && i <= def->bound_count; i++) {
            char text[BOUND_TEXT_MAX];
            double bound = i < def->bound_count ? def->bounds[i] : (double)INFINITY;
            struct label le = { .name = STR("le"), .value = bound_to_text(bound, text) };
            is_ok = series_find(point, aggregate, "_bucket", le, &refs[i]);
        }
        is_ok = is_ok && series_find(point, aggregate, "_sum", none, &refs[def->bound_count + 1]) &&
                series_find(point, aggregate, "_count", none, &refs[def->bound_count + 2]);
    }
    if (!is_ok) {
        mem_free(refs);
        return false;
    }
    aggregate->refs = refs;
    return true;
}

static void aggregate_describe(struct point *point, const struct aggregate *aggregate) {
    const struct event_family_def *def = &event_families[aggregate->family];
    struct family_metadata metadata = { .type = def->type, .help = str_from(def->help) };
    struct str family = arena_printf(&point->arena, "%.*s%s", STR_FMT(aggregate->app), def->suffix);
    tsdb_batch_metadata(point->batch, family, &metadata);
}

static void append_all(struct point *point,
                       const struct aggregate *aggregate,
                       int64_t t_ms,
                       double value) {
    for (size_t i = 0; i < series_count(aggregate); i++) {
        tsdb_batch_append(point->batch, aggregate->refs[i], t_ms, value);
    }
}

static void aggregate_sample(struct point *point, struct aggregate *aggregate) {
    if (!aggregate_resolve(point, aggregate)) {
        return;
    }
    const struct event_family_def *def = &event_families[aggregate->family];
    if (!aggregate->is_born) {
        /* Seen at 0 one full step earlier, so that increase() knows of the first increment. */
        if (def->type != FAMILY_GAUGE) {
            append_all(point, aggregate, point->t_ms - point->events->options.step_ms, 0);
        }
        aggregate_describe(point, aggregate);
        aggregate->is_born = true;
        aggregate_touch(point->events, aggregate);
    }
    if (def->type != FAMILY_HISTOGRAM) {
        tsdb_batch_append(point->batch, aggregate->refs[0], point->t_ms, aggregate->value);
        return;
    }
    uint64_t total = 0;
    for (size_t i = 0; i <= def->bound_count; i++) {
        total += aggregate->counts[i];
        tsdb_batch_append(point->batch, aggregate->refs[i], point->t_ms, (double)total);
    }
    tsdb_batch_append(point->batch, aggregate->refs[def->bound_count + 1], point->t_ms,
                      aggregate->sum);
    tsdb_batch_append(point->batch, aggregate->refs[def->bound_count + 2], point->t_ms,
                      (double)total);
}

/* Stale markers, then gone with its row; gauges only, or all of the job's. */
static void aggregates_retire(struct point *point, struct str job, bool is_gauges_only) {
    struct events *events = point->events;
    for (size_t i = events->count; i-- > 0;) {
        struct aggregate *aggregate = events->list[i];
        bool is_gauge = event_families[aggregate->family].type == FAMILY_GAUGE;
        if ((is_gauges_only && !is_gauge) ||
            !str_eq(labels_get(aggregate->labels, STR("job")), job)) {
            continue;
        }
        if (aggregate->is_born && aggregate_resolve(point, aggregate)) {
            append_all(point, aggregate, point->t_ms, double_from_bits(STALE_NAN_BITS));
        }
        row_delete_aggregate(aggregate, tsdb_batch_kv(point->batch));
        aggregate_forget(events, i);
    }
}

/* ---- leases ---- */

/* Time in which we could not listen is not held against anybody. */
static void leases_forgive(struct events *events, int64_t now_ms) {
    int64_t gap_ms = events->last_tick_ms == 0 ? 0 : now_ms - events->last_tick_ms;
    bool is_gap = gap_ms > GAP_STEPS * events->options.step_ms || gap_ms < 0;
    events->last_tick_ms = now_ms;
    if (!is_gap) {
        return;
    }
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&events->workers, &cursor, &key, &value)) {
        struct worker *worker = value;
        int64_t forgiven_ms = gap_ms < 0 ? now_ms : worker->heard_ms + gap_ms;
        worker->heard_ms = forgiven_ms < now_ms ? forgiven_ms : now_ms;
    }
}

static void leases_expire(struct point *point) {
    struct events *events = point->events;
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&events->workers, &cursor, &key, &value)) {
        struct worker *worker = value;
        int64_t silent_ms = point->now_ms - worker->heard_ms;
        if (worker->state == WORKER_LIVE && silent_ms >= LEASE_INTERVALS * worker->interval_ms) {
            struct job *job = job_get(events, worker->job);
            assert(job != NULL && job->live_count > 0);
            worker->state = WORKER_EXPIRED;
            worker_touch(events, worker);
            job->live_count--;
            if (job->live_count == 0 && job->state == INGEST_JOB_UP) {
                job->state = INGEST_JOB_DOWN;
                job->is_dirty = true;
            }
        } else if (worker->state != WORKER_LIVE && silent_ms >= WORKER_MEMORY_MS) {
            row_delete_worker(worker, tsdb_batch_kv(point->batch));
            worker_forget(events, worker);
        }
    }
}

static void workers_forget_of(struct point *point, struct str job) {
    struct events *events = point->events;
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&events->workers, &cursor, &key, &value)) {
        struct worker *worker = value;
        if (str_eq(worker->job, job)) {
            row_delete_worker(worker, tsdb_batch_kv(point->batch));
            worker_forget(events, worker);
        }
    }
}

/* ---- jobs ---- */

static void up_end(struct point *point, const struct job *job) {
    struct label items[] = {
        { METRIC_NAME, STR("up") },
        { STR("job"), str_from(job->name) },
    };
    struct labels labels = { .items = items, .count = ARRAY_LEN(items) };
    struct err err = ERR_INIT;
    series_ref_t ref;
    if (tsdb_series(point->events->ingest->db, labels, &ref, &err)) {
        tsdb_batch_append(point->batch, ref, point->t_ms, double_from_bits(STALE_NAN_BITS));
    }
}

static bool job_is_forgotten(const struct point *point, const struct job *job) {
    return job->live_count == 0 &&
           point->now_ms - job->heard_ms >= point->events->options.forget_ms;
}

static void jobs_forget(struct point *point) {
    struct events *events = point->events;
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&events->jobs, &cursor, &key, &value)) {
        struct job *job = value;
        if (!job_is_forgotten(point, job)) {
            continue;
        }
        if (job->state != INGEST_JOB_EVENTS) {
            up_end(point, job);
        }
        aggregates_retire(point, str_from(job->name), false);
        workers_forget_of(point, str_from(job->name));
        row_delete_job(job, tsdb_batch_kv(point->batch));
        job_forget(events, job);
    }
}

static void jobs_sample(struct point *point) {
    struct events *events = point->events;
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&events->jobs, &cursor, &key, &value)) {
        struct job *job = value;
        if (job->retire_ms != 0 && point->now_ms >= job->retire_ms) {
            aggregates_retire(point, str_from(job->name), true);
            job->retire_ms = 0;
            job->is_dirty = true;
        }
        struct label items[] = { { STR("job"), str_from(job->name) } };
        struct labels common = { .items = items, .count = 1 };
        switch (job->state) {
        case INGEST_JOB_UP: sampler_put(&events->sampler, STR("up"), NULL, common, 1); break;
        case INGEST_JOB_DOWN: sampler_put(&events->sampler, STR("up"), NULL, common, 0); break;
        case INGEST_JOB_GONE:
            up_end(point, job);
            job->state = INGEST_JOB_EVENTS;
            job->is_dirty = true;
            break;
        case INGEST_JOB_EVENTS: break;
        case INGEST_JOB_STATE_COUNT: BUG("job state %d", (int)job->state);
        }
    }
}

/* ---- sums over the live workers of an app and job ---- */

static const struct {
    const char *suffix;
    enum worker_value value;
    double scale;
    bool is_max; /* else the sum */
    const char *help;
} worker_gauges[] = {
    { "_active_agents", WORKER_AGENTS, 1, false, "Agents running, over all live workers." },
    { "_memory_usage_mb", WORKER_RSS_BYTES, 1 / MB, false, "Memory in MB, over all live workers." },
    { "_open_fds", WORKER_OPEN_FDS, 1, false, "Open file descriptors, over all live workers." },
    { "_event_loop_lag_seconds", WORKER_LOOP_LAG_S, 1, true, "Worst lag of an event loop." },
};

struct worker_sum {
    struct str app;
    struct str job;
    uint64_t count;
    double totals[ARRAY_LEN(worker_gauges)]; /* NaN = nobody reported it */
};

static struct worker_sum *sum_of(struct map *sums,
                                 struct arena *arena,
                                 const struct worker *worker) {
    struct str key = str_n(worker->key, worker->app.len + 1 + worker->job.len);
    struct worker_sum *sum = map_get(sums, key);
    if (sum == NULL) {
        sum = arena_calloc(arena, 1, sizeof(*sum));
        sum->app = worker->app;
        sum->job = worker->job;
        for (size_t i = 0; i < ARRAY_LEN(worker_gauges); i++) {
            sum->totals[i] = (double)NAN;
        }
        map_put(sums, key, sum);
    }
    return sum;
}

static void sum_add(struct worker_sum *sum, const struct worker *worker) {
    sum->count++;
    for (size_t i = 0; i < ARRAY_LEN(worker_gauges); i++) {
        double value = worker->values[worker_gauges[i].value] * worker_gauges[i].scale;
        double before = sum->totals[i];
        if (isnan(value)) {
            continue;
        }
        if (isnan(before)) {
            sum->totals[i] = value;
        } else {
            sum->totals[i] = worker_gauges[i].is_max ? fmax(before, value) : before + value;
        }
    }
}

static void sum_put(struct point *point, const struct worker_sum *sum) {
    struct label items[] = { { STR("job"), sum->job } };
    struct labels common = { .items = items, .count = 1 };
    struct sampler *sampler = &point->events->sampler;
    for (size_t i = 0; i < ARRAY_LEN(worker_gauges); i++) {
        if (isnan(sum->totals[i])) {
            continue;
        }
        struct str name =
            arena_printf(&point->arena, "%.*s%s", STR_FMT(sum->app), worker_gauges[i].suffix);
        struct family_metadata metadata = {
            .type = FAMILY_GAUGE,
            .help = str_from(worker_gauges[i].help),
        };
        tsdb_batch_metadata(point->batch, name, &metadata);
        sampler_put(sampler, name, NULL, common, sum->totals[i]);
    }
    struct str name = arena_printf(&point->arena, "%.*s_workers", STR_FMT(sum->app));
    sampler_put(sampler, name, NULL, common, (double)sum->count);
}

static void workers_sample(struct point *point) {
    struct arena arena CLEANUP(arena_finish);
    arena_init(&arena, SIZE_MAX);
    struct map sums;
    map_init(&sums);
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&point->events->workers, &cursor, &key, &value)) {
        const struct worker *worker = value;
        if (worker->state == WORKER_LIVE) {
            sum_add(sum_of(&sums, &arena, worker), worker);
        }
    }
    arena_reset(&point->arena);
    cursor = 0;
    while (map_next(&sums, &cursor, &key, &value)) {
        sum_put(point, value);
    }
    map_finish(&sums, NULL);
}

/* ---- one point ---- */

static bool point_run(struct point *point, struct err *err) {
    struct events *events = point->events;
    if (!events->is_loaded && !events_load(events, point->now_ms, err)) {
        return false;
    }
    if (!batch_begin(point, err)) {
        return false;
    }
    leases_expire(point);
    jobs_forget(point);
    sampler_begin(&events->sampler, events->ingest->db, point->batch, point->t_ms);
    jobs_sample(point);
    workers_sample(point);
    sampler_end(&events->sampler);
    if (!marks_purge(events, tsdb_batch_kv(point->batch), point->now_ms, err)) {
        tsdb_batch_abandon(point->batch);
        point->batch = NULL;
        events->is_loaded = false;
        return false;
    }
    for (size_t i = 0; i < events->count; i++) {
        if (i > 0 && i % AGGREGATES_PER_COMMIT == 0 &&
            (!batch_commit(point, err) || !batch_begin(point, err))) {
            return false;
        }
        aggregate_sample(point, events->list[i]);
    }
    return batch_commit(point, err);
}

int64_t events_tick_locked(struct events *events, int64_t now_ms) {
    int64_t step_ms = events->options.step_ms;
    int64_t t_ms = now_ms - now_ms % step_ms;
    leases_forgive(events, now_ms);
    bool is_far_back = t_ms < events->last_step_ms - GAP_STEPS * step_ms;
    if (t_ms <= events->last_step_ms && !is_far_back) {
        return events->last_step_ms + step_ms;
    }
    struct point point = { .events = events, .now_ms = now_ms, .t_ms = t_ms };
    arena_init(&point.arena, SIZE_MAX);
    struct err err = ERR_INIT;
    if (!point_run(&point, &err)) {
        metric_inc(events->missed);
    }
    arena_finish(&point.arena);
    events->last_step_ms = t_ms;
    events_publish(events);
    return t_ms + step_ms;
}
