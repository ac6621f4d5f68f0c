/*
 * Rows of the event state: protocol buffer messages under short keys. FORMAT.md draws them; the
 * field numbers below are on-disk format.
 */
#include <assert.h>
#include <math.h>

#include "base/mem.h"
#include "base/pb.h"
#include "ingest/event_state.h"

#define ROW_BYTES_MAX (1u << 20)

/* ---- keys ---- */

#define KEY_AGGREGATE 'a'
#define KEY_MARKS     'd'
#define KEY_JOB       'j'
#define KEY_WORKER    'w'

static struct str aggregate_row_key(uint64_t id, char out[9]) {
    out[0] = KEY_AGGREGATE;
    for (int i = 0; i < 8; i++) {
        out[1 + i] = (char)(unsigned char)(id >> (56 - 8 * i));
    }
    return str_n(out, 9);
}

static struct str prefixed_key(char prefix, struct str name, char out[512]) {
    assert(name.len < 500);
    out[0] = prefix;
    memcpy(out + 1, name.ptr, name.len);
    return str_n(out, name.len + 1);
}

/* ---- aggregates ---- */

enum {
    AGGREGATE_FAMILY = 1,
    AGGREGATE_APP = 2,
    AGGREGATE_LABELS = 3,
    AGGREGATE_VALUE = 4,
    AGGREGATE_SUM = 5,
    AGGREGATE_COUNTS = 6, /* packed varints */
    AGGREGATE_FAILURES = 7,
    AGGREGATE_BORN = 8,
};

static void aggregate_write(const struct aggregate *aggregate, struct kv_batch *batch) {
    struct buf row CLEANUP(buf_finish);
    struct buf part CLEANUP(buf_finish);
    buf_init(&row, ROW_BYTES_MAX);
    buf_init(&part, ROW_BYTES_MAX);
    pb_put_uint(&row, AGGREGATE_FAMILY, aggregate->family);
    pb_put_bytes(&row, AGGREGATE_APP, aggregate->app);
    labels_encode(aggregate->labels, &part);
    pb_put_bytes(&row, AGGREGATE_LABELS, buf_as_str(&part));
    if (aggregate->counts != NULL) {
        buf_reset(&part);
        for (size_t i = 0; i <= event_families[aggregate->family].bound_count; i++) {
            pb_put_varint(&part, aggregate->counts[i]);
        }
        pb_put_double(&row, AGGREGATE_SUM, aggregate->sum);
        pb_put_bytes(&row, AGGREGATE_COUNTS, buf_as_str(&part));
    } else {
        pb_put_double(&row, AGGREGATE_VALUE, aggregate->value);
    }
    if (aggregate->failures > 0) {
        pb_put_uint(&row, AGGREGATE_FAILURES, aggregate->failures);
    }
    if (aggregate->is_born) {
        pb_put_uint(&row, AGGREGATE_BORN, 1);
    }
    assert(!row.is_over);
    char key[9];
    batch->put(batch, KV_EVENT_STATE, aggregate_row_key(aggregate->id, key), buf_as_str(&row));
}

void row_delete_aggregate(const struct aggregate *aggregate, struct kv_batch *batch) {
    char key[9];
    batch->del(batch, KV_EVENT_STATE, aggregate_row_key(aggregate->id, key));
}

/* One varint off the front of a packed field. */
static bool varint_take(struct str *bytes, uint64_t *ret) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes->len && i < 10; i++) {
        uint8_t byte = (uint8_t)bytes->ptr[i];
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *bytes = str_n(bytes->ptr + i + 1, bytes->len - i - 1);
            *ret = value;
            return true;
        }
    }
    return false;
}

struct aggregate_row {
    uint64_t family;
    struct str app;
    struct str labels;
    struct str counts;
    double value;
    double sum;
    uint64_t failures;
    bool is_born;
};

static bool aggregate_row_parse(struct str bytes, struct aggregate_row *ret) {
    *ret = (struct aggregate_row){ .family = EVENT_FAMILY_COUNT };
    struct pb_reader reader = pb_reader_init(bytes);
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        switch (field.number) {
        case AGGREGATE_FAMILY: ret->family = field.value; break;
        case AGGREGATE_APP: ret->app = field.bytes; break;
        case AGGREGATE_LABELS: ret->labels = field.bytes; break;
        case AGGREGATE_VALUE: ret->value = pb_double(field.value); break;
        case AGGREGATE_SUM: ret->sum = pb_double(field.value); break;
        case AGGREGATE_COUNTS: ret->counts = field.bytes; break;
        case AGGREGATE_FAILURES: ret->failures = field.value; break;
        case AGGREGATE_BORN: ret->is_born = field.value != 0; break;
        default: break;
        }
    }
    return !reader.is_bad && ret->family < EVENT_FAMILY_COUNT && ret->app.len > 0;
}

/* Counts of a histogram whose bounds changed since cannot be kept: it starts again at zero. */
static void counts_load(struct aggregate *aggregate, const struct aggregate_row *row) {
    const struct event_family_def *def = &event_families[aggregate->family];
    struct str rest = row->counts;
    for (size_t i = 0; i <= def->bound_count; i++) {
        if (!varint_take(&rest, &aggregate->counts[i])) {
            rest = STR("?");
            break;
        }
    }
    if (rest.len > 0) {
        memset(aggregate->counts, 0, (def->bound_count + 1) * sizeof(aggregate->counts[0]));
        return;
    }
    aggregate->sum = row->sum;
}

static bool aggregate_load(struct events *events, uint64_t id, struct str bytes) {
    struct aggregate_row row;
    if (!aggregate_row_parse(bytes, &row)) {
        return false;
    }
    struct arena arena CLEANUP(arena_finish);
    arena_init(&arena, SIZE_MAX);
    struct labels labels;
    if (!labels_decode(row.labels, &arena, &labels)) {
        return false;
    }
    enum event_family family = (enum event_family)row.family;
    if (aggregate_get(events, family, row.app, labels) != NULL) {
        return false;
    }
    struct aggregate *aggregate = aggregate_create(events, id, family, row.app, labels);
    aggregate->value = row.value;
    aggregate->failures = (uint32_t)(row.failures > UINT32_MAX ? UINT32_MAX : row.failures);
    aggregate->is_born = row.is_born;
    if (aggregate->counts != NULL) {
        counts_load(aggregate, &row);
    }
    return true;
}

/* ---- workers and jobs ---- */

enum {
    LEASE_HEARD_MS = 1,
    LEASE_INTERVAL_MS = 2,
    LEASE_STATE = 3,
    LEASE_APP_BYTES = 4, /* where the key's parts end */
    LEASE_JOB_BYTES = 5,
    LEASE_VALUE_FIRST = 16, /* + enum worker_value */
};

enum {
    JOB_HEARD_MS = 1,
    JOB_STATE = 2,
    JOB_RETIRE_MS = 3,
};

static void worker_write(const struct worker *worker, struct kv_batch *batch) {
    struct buf row CLEANUP(buf_finish);
    buf_init(&row, ROW_BYTES_MAX);
    pb_put_uint(&row, LEASE_HEARD_MS, (uint64_t)worker->heard_ms);
    pb_put_uint(&row, LEASE_INTERVAL_MS, (uint64_t)worker->interval_ms);
    pb_put_uint(&row, LEASE_STATE, worker->state);
    pb_put_uint(&row, LEASE_APP_BYTES, worker->app.len);
    pb_put_uint(&row, LEASE_JOB_BYTES, worker->job.len);
    for (uint32_t i = 0; i < WORKER_VALUE_COUNT; i++) {
        if (!isnan(worker->values[i])) {
            pb_put_double(&row, LEASE_VALUE_FIRST + i, worker->values[i]);
        }
    }
    char key[512];
    batch->put(batch, KV_LEASE, prefixed_key(KEY_WORKER, str_n(worker->key, worker->key_len), key),
               buf_as_str(&row));
}

void row_delete_worker(const struct worker *worker, struct kv_batch *batch) {
    char key[512];
    batch->del(batch, KV_LEASE, prefixed_key(KEY_WORKER, str_n(worker->key, worker->key_len), key));
}

void row_write_job(const struct job *job, struct kv_batch *batch) {
    struct buf row CLEANUP(buf_finish);
    buf_init(&row, ROW_BYTES_MAX);
    pb_put_uint(&row, JOB_HEARD_MS, (uint64_t)job->heard_ms);
    pb_put_uint(&row, JOB_STATE, job->state);
    pb_put_uint(&row, JOB_RETIRE_MS, (uint64_t)job->retire_ms);
    char key[512];
    batch->put(batch, KV_LEASE, prefixed_key(KEY_JOB, str_from(job->name), key), buf_as_str(&row));
}

void row_delete_job(const struct job *job, struct kv_batch *batch) {
    char key[512];
    batch->del(batch, KV_LEASE, prefixed_key(KEY_JOB, str_from(job->name), key));
}

static bool worker_load(struct events *events, struct str name, struct str bytes) {
    uint64_t heard_ms = 0;
    uint64_t interval_ms = 0;
    uint64_t app_bytes = 0;
    uint64_t job_bytes = 0;
    uint64_t state = WORKER_STATE_COUNT;
    double values[WORKER_VALUE_COUNT];
    for (size_t i = 0; i < WORKER_VALUE_COUNT; i++) {
        values[i] = (double)NAN;
    }
    struct pb_reader reader = pb_reader_init(bytes);
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        switch (field.number) {
        case LEASE_HEARD_MS: heard_ms = field.value; break;
        case LEASE_INTERVAL_MS: interval_ms = field.value; break;
        case LEASE_STATE: state = field.value; break;
        case LEASE_APP_BYTES: app_bytes = field.value; break;
        case LEASE_JOB_BYTES: job_bytes = field.value; break;
        default:
            if (field.number >= LEASE_VALUE_FIRST &&
                field.number < LEASE_VALUE_FIRST + WORKER_VALUE_COUNT) {
                values[field.number - LEASE_VALUE_FIRST] = pb_double(field.value);
            }
            break;
        }
    }
    if (reader.is_bad || state >= WORKER_STATE_COUNT || app_bytes > name.len ||
        job_bytes > name.len || app_bytes + job_bytes + 2 > name.len) {
        return false;
    }
    struct str app = str_n(name.ptr, app_bytes);
    struct str job = str_n(name.ptr + app_bytes + 1, job_bytes);
    struct str worker_name = str_n(job.ptr + job.len + 1, name.len - app_bytes - job_bytes - 2);
    struct worker *worker = worker_create(events, app, job, worker_name);
    worker->heard_ms = (int64_t)heard_ms;
    worker->interval_ms = (int64_t)interval_ms;
    worker->written_ms = worker->heard_ms;
    worker->state = (enum worker_state)state;
    memcpy(worker->values, values, sizeof(values));
    return true;
}

static bool job_load(struct events *events, struct str name, struct str bytes) {
    uint64_t heard_ms = 0;
    uint64_t state = INGEST_JOB_EVENTS;
    uint64_t retire_ms = 0;
    struct pb_reader reader = pb_reader_init(bytes);
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        switch (field.number) {
        case JOB_HEARD_MS: heard_ms = field.value; break;
        case JOB_STATE: state = field.value; break;
        case JOB_RETIRE_MS: retire_ms = field.value; break;
        default: break;
        }
    }
    if (reader.is_bad || state >= INGEST_JOB_STATE_COUNT) {
        return false;
    }
    struct job *job = job_create(events, name);
    job->heard_ms = (int64_t)heard_ms;
    job->retire_ms = (int64_t)retire_ms;
    job->written_ms = job->heard_ms;
    job->state = (enum ingest_job_state)state;
    return true;
}

/* ---- all of it ---- */

void rows_write_dirty(struct events *events, struct kv_batch *batch) {
    for (size_t i = 0; i < events->dirty_aggregate_count; i++) {
        aggregate_write(events->dirty_aggregates[i], batch);
        events->dirty_aggregates[i]->is_dirty = false;
    }
    events->dirty_aggregate_count = 0;
    for (size_t i = 0; i < events->dirty_worker_count; i++) {
        struct worker *worker = events->dirty_workers[i];
        worker_write(worker, batch);
        worker->is_dirty = false;
        worker->written_ms = worker->heard_ms;
    }
    events->dirty_worker_count = 0;
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&events->jobs, &cursor, &key, &value)) {
        struct job *job = value;
        if (job->is_dirty) {
            row_write_job(job, batch);
            job->is_dirty = false;
            job->written_ms = job->heard_ms;
        }
    }
}

struct load {
    struct events *events;
    bool is_bad;
    char bad_key; /* first byte of the row's key */
};

static bool visit_state(void *ctx, struct str key, struct str value) {
    struct load *load = ctx;
    bool is_ok = false;
    if (key.len == 9 && key.ptr[0] == KEY_AGGREGATE) {
        uint64_t id = 0;
        for (size_t i = 1; i < 9; i++) {
            id = id << 8 | (uint8_t)key.ptr[i];
        }
        is_ok = aggregate_load(load->events, id, value);
    } else if (key.len == 1 && key.ptr[0] == KEY_MARKS) {
        is_ok = varint_take(&value, &load->events->marks.count);
    }
    if (!is_ok) {
        load->is_bad = true;
        load->bad_key = key.len > 0 ? key.ptr[0] : '?';
    }
    return is_ok;
}

static bool visit_lease(void *ctx, struct str key, struct str value) {
    struct load *load = ctx;
    bool is_ok = false;
    if (key.len > 1) {
        struct str name = str_n(key.ptr + 1, key.len - 1);
        if (key.ptr[0] == KEY_WORKER) {
            is_ok = worker_load(load->events, name, value);
        } else if (key.ptr[0] == KEY_JOB) {
            is_ok = job_load(load->events, name, value);
        }
    }
    if (!is_ok) {
        load->is_bad = true;
        load->bad_key = key.len > 0 ? key.ptr[0] : '?';
    }
    return is_ok;
}

bool rows_load(struct events *events, struct err *err) {
    struct kv_store *kv = events->ingest->kv;
    struct load load = { .events = events };
    struct str none = STR("");
    if (!kv->scan(kv, KV_EVENT_STATE, none, none, visit_state, &load, err)) {
        return false;
    }
    if (!load.is_bad && !kv->scan(kv, KV_LEASE, none, none, visit_lease, &load, err)) {
        return false;
    }
    if (load.is_bad) {
        return err_set(
            err, ERR_CORRUPT,
            "a stored row of kind '%c' cannot be read; was it written by a newer version?",
            load.bad_key);
    }
    return true;
}

void marks_write_count(struct events *events, struct kv_batch *batch) {
    struct buf row CLEANUP(buf_finish);
    buf_init(&row, 16);
    pb_put_varint(&row, events->marks.count);
    char key = KEY_MARKS;
    batch->put(batch, KV_EVENT_STATE, str_n(&key, 1), buf_as_str(&row));
}
