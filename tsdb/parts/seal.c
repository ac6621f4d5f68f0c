/*
 * Sealing. Chunks that every open querier sees in full are copied out under their stripe lock,
 * coded anew as P3, packed into segments by window, and written in slices of one transaction each,
 * together with the rows that find them. Only after the commit they leave the head: a reader that
 * looks at the head first and the store second misses nothing. Samples that came out of order
 * follow from the side in the same way, as chunks of their own.
 */
#include "tsdb/parts/seal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/codec/p3.h"
#include "tsdb/parts/rebuild.h"
#include "tsdb/parts/window.h"
#include "tsdb/rollup/rollup.h"

#define SLICE_BYTES_MAX  ((size_t)3 << 20)
#define SLICE_CHUNKS_MAX 1024 /* each may dirty a page in five tables; LMDB keeps that memory */
#define SCAN_HANDLES     256  /* looked at per index_lock */
#define LATE_CHUNK_MAX   512  /* samples of a chunk of late ones */

/* An epoch costs an absolute token per series; a lost record, the rest of its epoch. */
#define EPOCH_BYTES ((uint64_t)32 << 20)
#define EPOCH_MS    INT64_C(300000)

struct job {
    uint32_t handle;
    uint32_t number; /* order of collection: chunks of a series ascend */
    struct series *series;
    uint64_t id;
    int64_t window;
    int64_t t_min_ms;
    int64_t t_max_ms;
    uint64_t value_last_bits;
    uint16_t count;
    bool is_late; /* from the side: bytes_at is the number of its first sample in slice.late */
    uint32_t bytes_len;
    size_t bytes_at; /* in slice.bytes, then in slice.sealed */
    struct chunk_ref ref;
};

struct slice {
    struct tsdb *db;
    struct seal_limits limits;
    uint64_t lsn_safe;  /* chunks with newer samples stay */
    uint32_t epoch_cut; /* open chunks that begin in it or before are closed */
    struct job *jobs;
    size_t count;
    size_t cap;
    struct buf bytes;        /* as the head has them */
    struct tsdb_column late; /* samples from the side */
    struct buf sealed;       /* as the store gets them */
    struct p3_encoder encoder;
    struct store_state state;
    struct store_row row;
    struct catalog_series *newcomers; /* of this transaction, for the catalog */
    size_t newcomer_count;
    size_t newcomer_cap;
    struct catalog_last *lasts;
    size_t last_count;
    size_t last_cap;
    struct arena arena; /* labels of newcomers */
    struct buf segment;
    uint64_t segment_bytes;
};

/* ---- collecting ---- */

static void add_job(struct slice *slice,
                    uint32_t handle,
                    struct series *series,
                    const struct chunk *chunk) {
    slice->jobs = vec_grow(slice->jobs, &slice->cap, slice->count + 1, sizeof(slice->jobs[0]));
    slice->jobs[slice->count] = (struct job){
        .handle = handle,
        .number = (uint32_t)slice->count,
        .series = series,
        .id = series->id,
        .window = head_window(&slice->db->head, chunk->t_first_ms),
        .t_min_ms = chunk->t_first_ms,
        .count = chunk->count,
        .bytes_len = chunk->len,
        .bytes_at = slice->bytes.len,
    };
    slice->count++;
    uint8_t bytes[CHUNK_STREAM_BYTES_MAX];
    head_copy_stream_locked(&slice->db->head, handle, chunk, bytes);
    buf_append(&slice->bytes, bytes, chunk->len);
}

/* May it be closed before it is full? */
static bool is_due(const struct slice *slice,
                   const struct series *series,
                   const struct chunk *chunk) {
    bool is_past = head_window(&slice->db->head, chunk->t_first_ms) < slice->limits.end_window;
    return chunk_is_open(chunk) && series->lsn_last <= slice->lsn_safe &&
           ((is_past && series->lsn_last <= slice->limits.lsn_idle) ||
            chunk->epoch <= slice->epoch_cut);
}

static void collect_series(struct slice *slice, uint32_t handle, struct series *series) {
    struct head *head = &slice->db->head;
    struct head_stripe *stripe = head_stripe(head, handle);
    pthread_mutex_lock(&stripe->lock);
    uint64_t visible =
        series->chunks == 0 ? 0 : head_visible(head, handle, series, slice->lsn_safe);
    for (const struct chunk *chunk = head_oldest_locked(head, handle, series); chunk != NULL;
         chunk = head_next_locked(head, handle, series, chunk)) {
        if (is_due(slice, series, chunk)) {
            head_close_chunk_locked(head, handle, series);
        }
        if (chunk_is_open(chunk) || chunk->count > visible) {
            break;
        }
        visible -= chunk->count;
        add_job(slice, handle, series, chunk);
    }
    pthread_mutex_unlock(&stripe->lock);
}

/* Collect from `handle` on until the slice is full; returns where to go on. */
static uint32_t collect(struct slice *slice, uint32_t handle) {
    struct head *head = &slice->db->head;
    slice->count = 0;
    buf_reset(&slice->bytes);
    while (handle < head->handle_end && slice->count < SLICE_CHUNKS_MAX &&
           slice->bytes.len < SLICE_BYTES_MAX) {
        pthread_rwlock_rdlock(&head->index_lock);
        for (uint32_t i = 0; i < SCAN_HANDLES && handle < head->handle_end; i++, handle++) {
            struct series *series = head_at(head, handle);
            if (series != NULL) {
                collect_series(slice, handle, series);
            }
        }
        pthread_rwlock_unlock(&head->index_lock);
    }
    return handle;
}

static int compare_jobs(const void *a, const void *b) {
    const struct job *x = a;
    const struct job *y = b;
    if (x->window != y->window) {
        return x->window < y->window ? -1 : 1;
    }
    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }
    return (x->number > y->number) - (x->number < y->number);
}

/* One run of the side: its chunks. It is sealed whole, in one slice. */
static void collect_run(struct slice *slice, const struct side_entry *entry) {
    struct head *head = &slice->db->head;
    struct tsdb_column *late = &slice->late;
    size_t first = late->count;
    side_copy(&slice->db->side, entry->handle, entry->window, slice->lsn_safe, late);
    pthread_rwlock_rdlock(&head->index_lock);
    struct series *series = head_at(head, entry->handle);
    pthread_rwlock_unlock(&head->index_lock);
    assert(series != NULL); /* what the side has cannot leave the head */
    for (size_t at = first; at < late->count; at += LATE_CHUNK_MAX) {
        size_t count = late->count - at < LATE_CHUNK_MAX ? late->count - at : LATE_CHUNK_MAX;
        slice->jobs = vec_grow(slice->jobs, &slice->cap, slice->count + 1, sizeof(slice->jobs[0]));
        slice->jobs[slice->count] = (struct job){
            .handle = entry->handle,
            .number = (uint32_t)slice->count,
            .series = series,
            .id = entry->id,
            .window = entry->window,
            .t_min_ms = late->t_ms[at],
            .t_max_ms = late->t_ms[at + count - 1],
            .count = (uint16_t)count,
            .is_late = true,
            .bytes_at = at,
        };
        slice->count++;
    }
}

static void encode_job(struct slice *slice,
                       struct job *job,
                       const int64_t *t_ms,
                       const double *values) {
    job->bytes_at = slice->sealed.len;
    p3_encode(&slice->encoder, t_ms, values, job->count, &slice->sealed);
    job->bytes_len = (uint32_t)(slice->sealed.len - job->bytes_at);
}

/* Nothing is appended any more: the smaller codec. Outside of any lock or transaction. */
static void encode_jobs(struct slice *slice) {
    int64_t t_ms[CHUNK_SAMPLES_MAX];
    double values[CHUNK_SAMPLES_MAX];
    buf_reset(&slice->sealed);
    for (size_t i = 0; i < slice->count; i++) {
        struct job *job = &slice->jobs[i];
        if (job->is_late) {
            size_t at = job->bytes_at;
            encode_job(slice, job, slice->late.t_ms + at, slice->late.values + at);
            continue;
        }
        struct chunk_view view = {
            .codec = CHUNK_STREAM,
            .bytes = (const uint8_t *)slice->bytes.ptr + job->bytes_at,
            .len = job->bytes_len,
            .count = job->count,
            .t_min_ms = job->t_min_ms,
        };
        if (!chunk_decode(&view, t_ms, values)) {
            BUG("a chunk in memory does not decode: %zu samples in %zu bytes", view.count,
                view.len);
        }
        job->t_max_ms = t_ms[job->count - 1];
        job->value_last_bits = double_bits(values[job->count - 1]);
        encode_job(slice, job, t_ms, values);
    }
}

/* ---- writing ---- */

static int flush_segment(struct slice *slice, struct store *store, MDB_txn *txn, int64_t window) {
    uint64_t bytes = 0;
    if (slice->segment.len == 0) {
        return 0;
    }
    int rc = segment_put(store, txn, window, slice->state.segment_next, buf_as_str(&slice->segment),
                         &bytes);
    slice->state.segment_next++;
    slice->segment_bytes += bytes;
    buf_reset(&slice->segment);
    return rc;
}

static int pack_segments(struct slice *slice,
                         struct store *store,
                         MDB_txn *txn,
                         size_t first,
                         size_t end) {
    int rc = 0;
    int64_t window = slice->jobs[first].window;
    for (size_t i = first; rc == 0 && i < end; i++) {
        struct job *job = &slice->jobs[i];
        struct segment_chunk chunk = {
            .id = job->id,
            .codec = CHUNK_P3,
            .count = job->count,
            .t_min_ms = job->t_min_ms,
            .t_max_ms = job->t_max_ms,
            .bytes = str_n(slice->sealed.ptr + job->bytes_at, job->bytes_len),
        };
        uint32_t offset;
        if (!segment_add(&slice->segment, &chunk, &offset)) {
            rc = flush_segment(slice, store, txn, window);
            if (!segment_add(&slice->segment, &chunk, &offset)) {
                BUG("a chunk of %u bytes does not fit an empty segment", job->bytes_len);
            }
        }
        job->ref = (struct chunk_ref){
            .segment = slice->state.segment_next,
            .offset = offset,
            .count = job->count,
            .t_min_ms = job->t_min_ms,
            .t_max_ms = job->t_max_ms,
        };
    }
    return rc == 0 ? flush_segment(slice, store, txn, window) : rc;
}

static void note_newcomer(struct slice *slice, const struct job *job) {
    if (job->series->is_stored) {
        return;
    }
    struct head *head = &slice->db->head;
    struct label items[LABELS_COUNT_MAX];
    /* The series cannot leave meanwhile: that is the store thread's work, too. */
    pthread_rwlock_rdlock(&head->index_lock);
    struct labels labels = { .items = items };
    labels.count = index_labels(&head->index, job->series->labels, items);
    slice->newcomers = vec_grow(slice->newcomers, &slice->newcomer_cap, slice->newcomer_count + 1,
                                sizeof(slice->newcomers[0]));
    slice->newcomers[slice->newcomer_count++] = (struct catalog_series){
        .id = job->id,
        .labels = labels_dup(labels, &slice->arena),
    };
    pthread_rwlock_unlock(&head->index_lock);
}

static void note_last(struct slice *slice, const struct job *job) {
    slice->lasts =
        vec_grow(slice->lasts, &slice->last_cap, slice->last_count + 1, sizeof(slice->lasts[0]));
    slice->lasts[slice->last_count++] = (struct catalog_last){ job->id, job->window };
}

/* The row as it is; a damaged one is made again, or sealing would never get past it. */
static bool get_row(struct slice *slice,
                    struct store *store,
                    MDB_txn *txn,
                    const struct job *job,
                    uint64_t floor,
                    bool *ret_found,
                    struct err *err) {
    struct err what = ERR_INIT;
    if (store_get_row(store, txn, job->window, job->id, &slice->row, ret_found, &what)) {
        return true;
    }
    if (what.code != ERR_CORRUPT) {
        *err = what;
        return false;
    }
    err_wrap(&what, "series %" PRIu64 " in window %" PRId64 ", made again from its segments",
             job->id, job->window);
    damage_note(slice->db, DAMAGE_ROW, &what);
    *ret_found = true;
    /* Its new chunks stand in segments already, from that of the first job on. */
    return rebuild_row(store, txn, job->window, job->id, floor, job->ref.segment, &slice->row, err);
}

static bool get_window(struct slice *slice,
                       struct store *store,
                       MDB_txn *txn,
                       int64_t window,
                       struct store_window *ret,
                       struct err *err) {
    struct err what = ERR_INIT;
    bool found;
    if (store_get_window(store, txn, window, ret, &found, &what)) {
        return true;
    }
    if (what.code != ERR_CORRUPT) {
        *err = what;
        return false;
    }
    err_wrap(&what, "window %" PRId64 ", counted again", window);
    damage_note(slice->db, DAMAGE_WINDOW, &what);
    return rebuild_window(store, txn, window, ret, err);
}

/* All jobs of one series and window: its row, and what goes with a new row. */
static int put_row(struct slice *slice,
                   struct store *store,
                   MDB_txn *txn,
                   size_t first,
                   size_t end,
                   struct store_window *stats) {
    const struct job *job = &slice->jobs[first];
    struct err err = ERR_INIT;
    bool found;
    if (!get_row(slice, store, txn, job, stats->segment_floor, &found, &err)) {
        return store_rc_of(&err);
    }
    /* What a merge took is no longer here; without the rest the row is as good as new. */
    store_row_drop_below(&slice->row, stats->segment_floor);
    found = found && slice->row.count > 0;
    bool had_last = slice->row.has_last;
    for (size_t i = first; i < end; i++) {
        const struct job *chunk = &slice->jobs[i];
        store_row_add(&slice->row, chunk->ref);
        stats->sample_count += chunk->count;
        stats->chunk_count++;
        if (!chunk->is_late) {
            slice->row.has_last = true;
            slice->row.t_last_ms = chunk->t_max_ms;
            slice->row.value_last_bits = chunk->value_last_bits;
        }
    }
    note_newcomer(slice, job);
    int rc = store_put_row(store, txn, job->window, job->id, &slice->row);
    if (rc == 0 && !found) {
        uint8_t key[STORE_KEY_ROW_BYTES];
        store_key_row(key, job->window, job->id);
        stats->series_count++;
        rc = store_put_empty(store, txn, STORE_PENDING, str_n((const char *)key, sizeof(key)));
    }
    if (!had_last && slice->row.has_last) {
        note_last(slice, job);
    }
    return rc;
}

static int put_window(struct slice *slice,
                      struct store *store,
                      MDB_txn *txn,
                      size_t first,
                      size_t end) {
    int64_t window = slice->jobs[first].window;
    struct store_window stats = { .t_min_ms = INT64_MAX, .t_max_ms = INT64_MIN };
    struct err err = ERR_INIT;
    if (!get_window(slice, store, txn, window, &stats, &err)) {
        return store_rc_of(&err);
    }
    uint64_t bytes_before = slice->segment_bytes;
    int rc = pack_segments(slice, store, txn, first, end);
    for (size_t at = first; rc == 0 && at < end;) {
        size_t next = at + 1;
        while (next < end && slice->jobs[next].id == slice->jobs[at].id) {
            next++;
        }
        rc = put_row(slice, store, txn, at, next, &stats);
        at = next;
    }
    for (size_t i = first; i < end; i++) {
        const struct job *job = &slice->jobs[i];
        stats.t_min_ms = job->t_min_ms < stats.t_min_ms ? job->t_min_ms : stats.t_min_ms;
        stats.t_max_ms = job->t_max_ms > stats.t_max_ms ? job->t_max_ms : stats.t_max_ms;
    }
    stats.segment_bytes += slice->segment_bytes - bytes_before;
    if (rc == 0) {
        rc = rollup_touch(slice->db, txn, stats.t_min_ms, stats.t_max_ms);
    }
    stats.changed_ms = clock_wall_ms(slice->db->clock);
    return rc == 0 ? store_put_window(store, txn, window, &stats) : rc;
}

static int put_slice(void *ctx, struct store *store, MDB_txn *txn) {
    struct slice *slice = ctx;
    struct err err = ERR_INIT;
    bool found;
    slice->segment_bytes = 0;
    buf_reset(&slice->segment);
    slice->newcomer_count = 0;
    slice->last_count = 0;
    arena_reset(&slice->arena);
    if (!store_get_state(store, txn, &slice->state, &found, &err)) {
        return store_rc_of(&err);
    }
    slice->state.id_next = slice->db->head.id_next;
    int rc = 0;
    for (size_t first = 0; rc == 0 && first < slice->count;) {
        size_t end = first + 1;
        while (end < slice->count && slice->jobs[end].window == slice->jobs[first].window) {
            end++;
        }
        rc = put_window(slice, store, txn, first, end);
        first = end;
    }
    rc = rc == 0 ? catalog_put(store, txn, slice->newcomers, slice->newcomer_count) : rc;
    rc = rc == 0 ? catalog_put_lasts(store, txn, slice->lasts, slice->last_count) : rc;
    return rc == 0 ? store_put_state(store, txn, &slice->state) : rc;
}

static void drop_sealed(struct slice *slice) {
    struct head *head = &slice->db->head;
    for (size_t i = 0; i < slice->count; i++) {
        const struct job *job = &slice->jobs[i];
        struct head_stripe *stripe = head_stripe(head, job->handle);
        job->series->is_stored = true;
        pthread_mutex_lock(&stripe->lock);
        if (!job->is_late) {
            head_drop_oldest_locked(head, job->handle, job->series);
        } else if (job->t_min_ms < job->series->t_first_ms) {
            /* Its row may be one that no window index covers. */
            RACE_STORE(&job->series->t_first_ms, job->t_min_ms);
            slice->db->has_uncovered = true;
        }
        pthread_mutex_unlock(&stripe->lock);
        if (job->is_late) {
            side_drop(&slice->db->side, job->handle, job->window, slice->lsn_safe);
        }
    }
    metric_add(slice->db->metrics.chunks_sealed, (double)slice->count);
    metric_add(slice->db->metrics.segment_bytes, (double)slice->segment_bytes);
}

static bool seal_slice(struct slice *slice, struct err *err) {
    if (slice->count == 0) {
        return true;
    }
    qsort(slice->jobs, slice->count, sizeof(slice->jobs[0]), compare_jobs);
    encode_jobs(slice);
    if (!store_write(slice->db, put_slice, slice, "sealing chunks", err)) {
        return false;
    }
    drop_sealed(slice);
    return true;
}

/* ---- the side ---- */

static int compare_entries(const void *a, const void *b) {
    const struct side_entry *x = a;
    const struct side_entry *y = b;
    if (x->window != y->window) {
        return x->window < y->window ? -1 : 1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

/* The runs that are due, window by window: a slice shall meet few windows. */
static size_t list_runs(struct slice *slice, struct side_entry **ret) {
    struct tsdb *db = slice->db;
    struct side_limits limits = {
        .is_all = db->side.bytes > SIDE_BYTES_SOFT,
        .end_window = slice->limits.end_window,
        .lsn_idle = slice->limits.lsn_idle,
        .lsn_cut = slice->limits.lsn_cut,
        .lsn_safe = slice->lsn_safe,
    };
    size_t count;
    side_list(&db->side, &limits, ret, &count);
    pthread_rwlock_rdlock(&db->head.index_lock);
    for (size_t i = 0; i < count; i++) {
        (*ret)[i].id = head_at(&db->head, (*ret)[i].handle)->id;
    }
    pthread_rwlock_unlock(&db->head.index_lock);
    if (count > 1) {
        qsort(*ret, count, sizeof((*ret)[0]), compare_entries);
    }
    return count;
}

static bool seal_side(struct slice *slice, struct err *err) {
    struct side_entry *entries;
    size_t count = list_runs(slice, &entries);
    bool ok = true;
    for (size_t at = 0; ok && at < count;) {
        slice->count = 0;
        slice->late.count = 0;
        while (at < count && slice->count < SLICE_CHUNKS_MAX &&
               slice->late.count < SLICE_BYTES_MAX / sizeof(struct sample)) {
            collect_run(slice, &entries[at++]);
        }
        ok = seal_slice(slice, err);
    }
    mem_free(entries);
    /* What an open querier holds back is not worth waking for again and again. */
    uint64_t left = 2 * slice->db->side.bytes;
    slice->db->side.bytes_enough = left > SIDE_BYTES_SOFT ? left : SIDE_BYTES_SOFT;
    side_forget_sealed(&slice->db->side, &slice->db->head);
    return ok;
}

/* ---- the journal ---- */

/* Epoch of the oldest unsealed sample, `none` when there is none. */
static uint32_t oldest_epoch(struct tsdb *db, uint32_t none) {
    struct head *head = &db->head;
    uint32_t oldest = none;
    for (uint32_t handle = 1; handle < head->handle_end;) {
        pthread_rwlock_rdlock(&head->index_lock);
        for (uint32_t i = 0; i < SCAN_HANDLES && handle < head->handle_end; i++, handle++) {
            const struct series *series = head_at(head, handle);
            if (series == NULL) {
                continue;
            }
            struct head_stripe *stripe = head_stripe(head, handle);
            pthread_mutex_lock(&stripe->lock);
            const struct chunk *chunk = head_oldest_locked(head, handle, series);
            oldest = chunk != NULL && chunk->epoch < oldest ? chunk->epoch : oldest;
            pthread_mutex_unlock(&stripe->lock);
        }
        pthread_rwlock_unlock(&head->index_lock);
    }
    uint64_t late_lsn = side_lsn_oldest(&db->side);
    if (late_lsn != UINT64_MAX) {
        uint32_t late = epochs_of(&head->epochs, late_lsn);
        oldest = late < oldest ? late : oldest;
    }
    return oldest;
}

struct applied {
    uint64_t lsn;
    uint64_t id_next;
};

static int put_applied(void *ctx, struct store *store, MDB_txn *txn) {
    const struct applied *applied = ctx;
    struct store_state state;
    struct err err = ERR_INIT;
    bool found;
    if (!store_get_state(store, txn, &state, &found, &err)) {
        return store_rc_of(&err);
    }
    state.applied_lsn = applied->lsn;
    state.id_next = applied->id_next;
    return store_put_state(store, txn, &state);
}

/* db->apply is held. */
static void begin_epoch_locked(struct tsdb *db, int64_t now_ms) {
    head_begin_epoch(&db->head, db->visible_lsn + 1);
    db->epoch_bytes = 0;
    db->epoch_start_ms = now_ms;
}

uint64_t seal_begin_epoch(struct tsdb *db) {
    pthread_mutex_lock(&db->apply);
    uint64_t lsn = db->visible_lsn;
    begin_epoch_locked(db, clock_wall_ms(db->clock));
    pthread_mutex_unlock(&db->apply);
    return lsn;
}

/* A new epoch when the newest is long enough, or when nothing needs it any more. Returns its
 * number. */
static uint32_t renew_epoch(struct tsdb *db) {
    struct head *head = &db->head;
    pthread_mutex_lock(&db->apply);
    uint64_t next_lsn = db->visible_lsn + 1;
    int64_t now_ms = clock_wall_ms(db->clock);
    bool is_empty = head->open_count + head->closed_count == 0 && side_is_empty(&db->side);
    bool is_long = db->epoch_bytes >= EPOCH_BYTES || now_ms - db->epoch_start_ms >= EPOCH_MS ||
                   now_ms < db->epoch_start_ms;
    if (next_lsn > head->epoch_lsn && (is_empty || is_long)) {
        begin_epoch_locked(db, now_ms);
    }
    uint32_t epoch = head->epoch;
    pthread_mutex_unlock(&db->apply);
    return epoch;
}

/* Epochs whose samples are all sealed: remember durably that replay need not see their records,
 * then let the committer delete them. */
static bool trim_journal(struct tsdb *db, struct err *err) {
    struct head *head = &db->head;
    uint32_t newest = renew_epoch(db);
    uint32_t epoch = oldest_epoch(db, newest);
    struct applied applied = {
        .lsn = epochs_start(&head->epochs, epoch) - 1,
        .id_next = head->id_next,
    };
    if (applied.lsn <= db->trim_lsn) {
        return true;
    }
    if (!store_write(db, put_applied, &applied, "moving the journal's mark", err)) {
        return false;
    }
    epochs_forget(&head->epochs, epoch);
    db->trim_lsn = applied.lsn;
    committer_wake(db);
    return true;
}

bool seal_chunks(struct tsdb *db, const struct seal_limits *limits, struct err *err) {
    struct slice slice = { .db = db, .limits = *limits };
    buf_init(&slice.bytes, SIZE_MAX);
    buf_init(&slice.sealed, SIZE_MAX);
    p3_encoder_init(&slice.encoder);
    buf_init(&slice.segment, SEGMENT_BYTES_MAX);
    arena_init(&slice.arena, SIZE_MAX);
    slice.lsn_safe = db_lsn_safe(db);
    slice.epoch_cut = limits->lsn_cut == 0 ? 0 : epochs_of(&db->head.epochs, limits->lsn_cut);
    bool ok = true;
    for (uint32_t handle = 1; ok && handle < db->head.handle_end;) {
        handle = collect(&slice, handle);
        ok = seal_slice(&slice, err);
    }
    ok = ok && seal_side(&slice, err);
    tsdb_column_finish(&slice.late);
    buf_finish(&slice.bytes);
    buf_finish(&slice.sealed);
    p3_encoder_finish(&slice.encoder);
    buf_finish(&slice.segment);
    store_row_finish(&slice.row);
    arena_finish(&slice.arena);
    mem_free(slice.newcomers);
    mem_free(slice.lasts);
    mem_free(slice.jobs);
    return ok && trim_journal(db, err);
}
