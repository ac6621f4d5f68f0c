/* The collections behind events: aggregates, workers, jobs, the values labels have had. */
#include "ingest/event_state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

#define KEY_BYTES_MAX (64 + LABELS_COUNT_MAX * (INGEST_EVENT_LABEL_BYTES_MAX * 2))

/* ---- aggregates ---- */

static void aggregate_key(struct buf *key,
                          enum event_family family,
                          struct str app,
                          struct labels labels) {
    buf_init(key, KEY_BYTES_MAX);
    buf_putc(key, (char)family);
    buf_str(key, app);
    buf_putc(key, '\0');
    labels_encode(labels, key);
    assert(!key->is_over);
}

static void aggregate_destroy(struct aggregate *aggregate) {
    mem_free(aggregate->labels.items);
    mem_free(aggregate->counts);
    mem_free(aggregate->refs);
    mem_free(aggregate);
}

struct aggregate *aggregate_get(struct events *events,
                                enum event_family family,
                                struct str app,
                                struct labels labels) {
    struct buf key CLEANUP(buf_finish);
    aggregate_key(&key, family, app, labels);
    return map_get(&events->aggregates, buf_as_str(&key));
}

struct aggregate *aggregate_create(struct events *events,
                                   uint64_t id,
                                   enum event_family family,
                                   struct str app,
                                   struct labels labels) {
    struct str known_app = app_intern(events, app);
    struct aggregate *aggregate = mem_calloc(1, sizeof(*aggregate));
    aggregate->id = id;
    aggregate->family = family;
    aggregate->app = known_app;
    aggregate->labels = labels_dup_heap(labels);
    const struct event_family_def *def = &event_families[family];
    if (def->type == FAMILY_HISTOGRAM) {
        aggregate->counts = mem_calloc(def->bound_count + 1, sizeof(aggregate->counts[0]));
    }
    struct buf key CLEANUP(buf_finish);
    aggregate_key(&key, family, app, labels);
    void *previous = map_put(&events->aggregates, buf_as_str(&key), aggregate);
    assert(previous == NULL);
    (void)previous;
    events->list = vec_grow(events->list, &events->cap, events->count + 1, sizeof(events->list[0]));
    events->list[events->count++] = aggregate;
    if (id >= events->next_id) {
        events->next_id = id + 1;
    }
    for (size_t i = 0; i < labels.count; i++) {
        label_value_note(events, known_app, labels.items[i].name, labels.items[i].value);
    }
    return aggregate;
}

void aggregate_forget(struct events *events, size_t index) {
    assert(index < events->count);
    struct aggregate *aggregate = events->list[index];
    assert(!aggregate->is_dirty);
    struct buf key CLEANUP(buf_finish);
    aggregate_key(&key, aggregate->family, aggregate->app, aggregate->labels);
    map_del(&events->aggregates, buf_as_str(&key));
    events->list[index] = events->list[--events->count];
    aggregate_destroy(aggregate);
}

void aggregate_touch(struct events *events, struct aggregate *aggregate) {
    if (aggregate->is_dirty) {
        return;
    }
    aggregate->is_dirty = true;
    events->dirty_aggregates =
        vec_grow(events->dirty_aggregates, &events->dirty_aggregate_cap,
                 events->dirty_aggregate_count + 1, sizeof(events->dirty_aggregates[0]));
    events->dirty_aggregates[events->dirty_aggregate_count++] = aggregate;
}

/* ---- apps and label values ---- */

struct value_set {
    struct map values;
};

static void value_set_destroy(void *ptr) {
    struct value_set *set = ptr;
    map_finish(&set->values, NULL);
    mem_free(set);
}

struct str app_intern(struct events *events, struct str app) {
    char *known = map_get(&events->apps, app);
    if (known == NULL) {
        known = mem_strndup(app.ptr, app.len);
        map_put(&events->apps, app, known);
    }
    return str_n(known, app.len);
}

static struct value_set *value_set_of(struct events *events, struct str app, struct str name) {
    struct buf key CLEANUP(buf_finish);
    buf_init(&key, KEY_BYTES_MAX);
    buf_str(&key, app);
    buf_putc(&key, '\0');
    buf_str(&key, name);
    struct value_set *set = map_get(&events->label_values, buf_as_str(&key));
    if (set == NULL) {
        set = mem_alloc(sizeof(*set));
        map_init(&set->values);
        map_put(&events->label_values, buf_as_str(&key), set);
    }
    return set;
}

void label_value_note(struct events *events, struct str app, struct str name, struct str value) {
    if (!str_eq(value, STR("other"))) {
        map_put(&value_set_of(events, app, name)->values, value, events);
    }
}

struct str label_value_cap(struct events *events,
                           struct str app,
                           struct str name,
                           struct str value) {
    const struct value_set *set = value_set_of(events, app, name);
    if (map_get(&set->values, value) != NULL ||
        set->values.count < events->options.label_values_max) {
        return value;
    }
    metric_inc(events->capped);
    return STR("other");
}

/* ---- workers ---- */

static struct str worker_key(struct buf *key, struct str app, struct str job, struct str name) {
    buf_init(key, 1024);
    buf_str(key, app);
    buf_putc(key, '\0');
    buf_str(key, job);
    buf_putc(key, '\0');
    buf_str(key, name);
    return buf_as_str(key);
}

struct worker *worker_get(struct events *events, struct str app, struct str job, struct str name) {
    struct buf key CLEANUP(buf_finish);
    return map_get(&events->workers, worker_key(&key, app, job, name));
}

struct worker *worker_create(struct events *events,
                             struct str app,
                             struct str job,
                             struct str name) {
    struct buf buf CLEANUP(buf_finish);
    struct str key = worker_key(&buf, app, job, name);
    struct worker *worker = mem_calloc(1, sizeof(*worker));
    worker->key = mem_strndup(key.ptr, key.len);
    worker->key_len = key.len;
    worker->app = str_n(worker->key, app.len);
    worker->job = str_n(worker->key + app.len + 1, job.len);
    worker->name = str_n(worker->key + app.len + job.len + 2, name.len);
    for (size_t i = 0; i < WORKER_VALUE_COUNT; i++) {
        worker->values[i] = (double)NAN;
    }
    void *previous = map_put(&events->workers, key, worker);
    assert(previous == NULL);
    (void)previous;
    return worker;
}

static void worker_destroy(void *ptr) {
    struct worker *worker = ptr;
    mem_free(worker->key);
    mem_free(worker);
}

void worker_forget(struct events *events, struct worker *worker) {
    for (size_t i = 0; i < events->dirty_worker_count; i++) {
        if (events->dirty_workers[i] == worker) {
            events->dirty_workers[i] = events->dirty_workers[--events->dirty_worker_count];
            break;
        }
    }
    map_del(&events->workers, str_n(worker->key, worker->key_len));
    worker_destroy(worker);
}

void worker_touch(struct events *events, struct worker *worker) {
    if (worker->is_dirty) {
        return;
    }
    worker->is_dirty = true;
    events->dirty_workers =
        vec_grow(events->dirty_workers, &events->dirty_worker_cap, events->dirty_worker_count + 1,
                 sizeof(events->dirty_workers[0]));
    events->dirty_workers[events->dirty_worker_count++] = worker;
}

/* ---- jobs ---- */

struct job *job_get(struct events *events, struct str name) {
    return map_get(&events->jobs, name);
}

struct job *job_create(struct events *events, struct str name) {
    struct job *job = mem_calloc(1, sizeof(*job));
    job->name = mem_strndup(name.ptr, name.len);
    void *previous = map_put(&events->jobs, name, job);
    assert(previous == NULL);
    (void)previous;
    return job;
}

static void job_destroy(void *ptr) {
    struct job *job = ptr;
    mem_free(job->name);
    mem_free(job);
}

void job_forget(struct events *events, struct job *job) {
    map_del(&events->jobs, str_from(job->name));
    job_destroy(job);
}

static const char *const job_state_names[] = {
    [INGEST_JOB_EVENTS] = "events",
    [INGEST_JOB_UP] = "up",
    [INGEST_JOB_DOWN] = "down",
    [INGEST_JOB_GONE] = "gone",
};
static_assert(ARRAY_LEN(job_state_names) == INGEST_JOB_STATE_COUNT, "every state has a name");

const char *ingest_job_state_to_string(enum ingest_job_state state) {
    assert(state < INGEST_JOB_STATE_COUNT);
    return job_state_names[state];
}

/* ---- all of it ---- */

static void collections_init(struct events *events) {
    map_init(&events->aggregates);
    map_init(&events->workers);
    map_init(&events->jobs);
    map_init(&events->apps);
    map_init(&events->label_values);
    marks_init(&events->marks);
}

static void collections_finish(struct events *events) {
    for (size_t i = 0; i < events->count; i++) {
        aggregate_destroy(events->list[i]);
    }
    events->count = 0;
    events->next_id = 0;
    events->dirty_aggregate_count = 0;
    events->dirty_worker_count = 0;
    map_finish(&events->aggregates, NULL);
    map_finish(&events->workers, worker_destroy);
    map_finish(&events->jobs, job_destroy);
    map_finish(&events->apps, mem_free);
    map_finish(&events->label_values, value_set_destroy);
    marks_finish(&events->marks);
}

void events_init_state(struct events *events) {
    collections_init(events);
    sampler_init(&events->sampler);
    arena_init(&events->view_arena, SIZE_MAX);
}

void events_finish_state(struct events *events) {
    collections_finish(events);
    mem_free(events->list);
    mem_free(events->dirty_aggregates);
    mem_free(events->dirty_workers);
    sampler_finish(&events->sampler);
    arena_finish(&events->view_arena);
}

bool events_load(struct events *events, int64_t now_ms, struct err *err) {
    collections_finish(events);
    collections_init(events);
    events->is_loaded = false;
    if (!rows_load(events, err)) {
        return err_wrap(err, "loading the state of events");
    }
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&events->workers, &cursor, &key, &value)) {
        struct worker *worker = value;
        if (worker->state == WORKER_LIVE) {
            /* Nobody could be heard while we were away. */
            worker->heard_ms = now_ms;
            struct job *job = job_get(events, worker->job);
            if (job == NULL) {
                job = job_create(events, worker->job);
                job->heard_ms = now_ms;
            }
            job->live_count++;
        }
    }
    events->is_loaded = true;
    return true;
}

static int compare_jobs(const void *left, const void *right) {
    const struct ingest_job *a = left;
    const struct ingest_job *b = right;
    return str_cmp(a->job, b->job);
}

void events_publish(struct events *events) {
    pthread_mutex_lock(&events->view_mu);
    arena_reset(&events->view_arena);
    size_t count = 0;
    events->view =
        arena_calloc(&events->view_arena, events->jobs.count + 1, sizeof(events->view[0]));
    size_t cursor = 0;
    struct str key;
    void *value;
    uint64_t live_count = 0;
    while (map_next(&events->jobs, &cursor, &key, &value)) {
        const struct job *job = value;
        events->view[count++] = (struct ingest_job){
            .job = arena_str(&events->view_arena, key),
            .state = job->state,
            .worker_count = job->live_count,
            .heard_ms = job->heard_ms,
        };
        live_count += job->live_count;
    }
    qsort(events->view, count, sizeof(events->view[0]), compare_jobs);
    events->view_count = count;
    pthread_mutex_unlock(&events->view_mu);
    metric_set(events->live_workers, (double)live_count);
    metric_set(events->aggregate_gauge, (double)events->count);
}

void ingest_jobs(struct ingest *ingest,
                 struct arena *arena,
                 struct ingest_job **ret,
                 size_t *ret_count) {
    struct events *events = ingest->events;
    pthread_mutex_lock(&events->view_mu);
    struct ingest_job *jobs = arena_calloc(arena, events->view_count + 1, sizeof(jobs[0]));
    for (size_t i = 0; i < events->view_count; i++) {
        jobs[i] = events->view[i];
        jobs[i].job = arena_str(arena, jobs[i].job);
    }
    *ret = jobs;
    *ret_count = events->view_count;
    pthread_mutex_unlock(&events->view_mu);
}
