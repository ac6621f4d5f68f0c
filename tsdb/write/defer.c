/* Provisional refs and deferred records; see defer.h. */
#include "tsdb/write/defer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "tsdb/db.h"

#define SLOTS_FIRST        1024
#define CONFLICTS_TOLD_MAX 10 /* by name; all are counted */
#define ENTRY_BYTES        (sizeof(struct defer_entry) + 2 * sizeof(series_ref_t))

/* What a sample can take where it takes most: out of order, on the side. */
#define SAMPLE_BYTES sizeof(struct side_sample)

void defer_init(struct defer *defer) {
    pthread_mutex_init(&defer->lock, NULL);
    arena_init(&defer->labels, SIZE_MAX);
    buf_init(&defer->encoded, SIZE_MAX);
    defer->bytes_max = DEFER_BYTES_MAX;
    defer->is_over = true;
}

void defer_finish(struct defer *defer) {
    pthread_mutex_destroy(&defer->lock);
    arena_finish(&defer->labels);
    buf_finish(&defer->encoded);
    mem_free(defer->entries);
    mem_free(defer->slots);
    mem_free(defer->refs);
    mem_free(defer->lefts);
    mem_free(defer->defining);
}

void defer_begin(struct defer *defer, uint64_t id_first, uint64_t lsn_last) {
    defer->is_over = false;
    defer->id_first = id_first;
    defer->lsn_last = lsn_last;
    defer->lsn_before = lsn_last;
}

static uint32_t ref_number(series_ref_t ref) {
    assert(defer_is_ref(ref) && ref != 0);
    return (uint32_t)(ref >> 32) - 1;
}

static series_ref_t ref_of(uint32_t number) {
    return (series_ref_t)(number + 1) << 32;
}

/* ---- finding ---- */

static uint32_t *find_slot(const struct defer *defer, uint64_t hash, struct str labels) {
    for (uint64_t at = hash;; at++) {
        uint32_t *slot = &defer->slots[at & (defer->slot_count - 1)];
        if (*slot == 0) {
            return slot;
        }
        const struct defer_entry *entry = &defer->entries[*slot - 1];
        if (entry->hash == hash && str_eq(entry->labels, labels)) {
            return slot;
        }
    }
}

static void grow_slots(struct defer *defer) {
    if (2 * (defer->count + 1) <= defer->slot_count) {
        return;
    }
    mem_free(defer->slots);
    defer->slot_count = defer->slot_count == 0 ? SLOTS_FIRST : 2 * defer->slot_count;
    defer->slots = mem_calloc(defer->slot_count, sizeof(defer->slots[0]));
    for (size_t i = 0; i < defer->count; i++) {
        uint64_t at = defer->entries[i].hash;
        while (defer->slots[at & (defer->slot_count - 1)] != 0) {
            at++;
        }
        defer->slots[at & (defer->slot_count - 1)] = (uint32_t)i + 1;
    }
}

/* The number of a series not met before. Ids are given out here alone while the replay runs. */
static uint32_t add_entry(struct tsdb *db, uint64_t hash, struct str labels) {
    struct defer *defer = &db->defer;
    size_t need = defer->count + 1;
    defer->entries = vec_grow(defer->entries, &defer->entry_cap, need, sizeof(defer->entries[0]));
    defer->refs = vec_grow(defer->refs, &defer->ref_cap, need, sizeof(defer->refs[0]));
    defer->entries[defer->count] = (struct defer_entry){
        .hash = hash,
        .labels = arena_str(&defer->labels, labels),
    };
    defer->refs[defer->count] = 0;
    defer->bytes += labels.len + ENTRY_BYTES;
    db->head.id_next++;
    return (uint32_t)defer->count++;
}

static bool refuse(struct tsdb *db, struct err *err) {
    metric_inc(db->metrics.throttled);
    return ready_refuse(&db->ready, err);
}

bool defer_series(struct tsdb *db,
                  struct labels labels,
                  uint64_t hash,
                  series_ref_t *ret,
                  struct err *err) {
    struct defer *defer = &db->defer;
    bool ok = true;
    *ret = 0;
    pthread_mutex_lock(&defer->lock);
    if (!defer->is_over) {
        grow_slots(defer);
        buf_reset(&defer->encoded);
        labels_encode(labels, &defer->encoded);
        struct str encoded = buf_as_str(&defer->encoded);
        uint32_t *slot = find_slot(defer, hash, encoded);
        ok = *slot != 0 || defer->bytes < defer->bytes_max;
        if (ok && *slot == 0) {
            *slot = add_entry(db, hash, encoded) + 1;
        }
        *ret = ok ? ref_of(*slot - 1) : 0;
    }
    pthread_mutex_unlock(&defer->lock);
    return ok || refuse(db, err);
}

series_ref_t defer_ref(struct tsdb *db, series_ref_t provisional) {
    return db->defer.refs[ref_number(provisional)];
}

/* ---- the committer ---- */

bool defer_admit(struct tsdb *db, const struct tsdb_batch *batch, struct err *err) {
    bool has_room = db->defer.bytes < db->defer.bytes_max || batch->cls == TSDB_STATE;
    return batch->sample_count == 0 || has_room || refuse(db, err);
}

static void define(struct defer *defer, uint32_t number, struct journal_record *record) {
    struct defer_entry *entry = &defer->entries[number];
    journal_add_encoded(record, defer->id_first + number, entry->labels);
    entry->is_defined = true;
    defer->defining = vec_grow(defer->defining, &defer->defining_cap, defer->defining_count + 1,
                               sizeof(defer->defining[0]));
    defer->defining[defer->defining_count++] = number;
}

void defer_add(struct tsdb *db, const struct tsdb_batch *batch, struct journal_record *record) {
    struct defer *defer = &db->defer;
    pthread_mutex_lock(&defer->lock);
    for (size_t i = 0; i < batch->sample_count; i++) {
        if (batch->outcomes[i] != TSDB_ACCEPTED) {
            continue;
        }
        uint32_t number = ref_number(batch->samples[i].ref);
        if (!defer->entries[number].is_defined) {
            define(defer, number, record);
        }
        journal_add_late(record, defer->id_first + number, batch->samples[i].sample);
    }
    pthread_mutex_unlock(&defer->lock);
}

void defer_committed(struct tsdb *db, uint64_t lsn, size_t sample_count) {
    struct defer *defer = &db->defer;
    defer->defining_count = 0;
    if (sample_count > 0) {
        defer->lsn_last = lsn;
        defer->bytes += sample_count * SAMPLE_BYTES;
        db->samples_total += sample_count;
        metric_add(db->metrics.samples_deferred, (double)sample_count);
    }
}

void defer_undo(struct tsdb *db) {
    struct defer *defer = &db->defer;
    pthread_mutex_lock(&defer->lock);
    for (size_t i = 0; i < defer->defining_count; i++) {
        defer->entries[defer->defining[i]].is_defined = false;
    }
    defer->defining_count = 0;
    pthread_mutex_unlock(&defer->lock);
}

static struct str left_labels(const struct defer *defer, uint32_t number) {
    size_t from = 0;
    size_t to = defer->left_count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (defer->lefts[middle].number < number) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    assert(from < defer->left_count && defer->lefts[from].number == number);
    return defer->lefts[from].labels;
}

bool defer_resolve(struct tsdb *db, series_ref_t provisional, series_ref_t *ret, struct err *err) {
    struct defer *defer = &db->defer;
    uint32_t number = ref_number(provisional);
    struct labels labels;
    struct arena arena;
    *ret = defer->refs[number];
    if (*ret != 0) {
        return true;
    }
    arena_init(&arena, SIZE_MAX);
    if (!labels_decode(left_labels(defer, number), &arena, &labels)) {
        BUG("the labels of a provisional ref do not decode");
    }
    uint64_t hash = head_hash(&db->head, labels);
    *ret = head_find(&db->head, labels, hash);
    bool ok = *ret != 0 || db_find_or_load_series(db, labels, hash, false, ret, err);
    if (ok) {
        defer->refs[number] = *ret;
    }
    arena_finish(&arena);
    return ok;
}

/* ---- the replay ---- */

void defer_note_series(struct tsdb *db, uint64_t lsn, uint64_t id, series_ref_t ref) {
    struct defer *defer = &db->defer;
    if (lsn <= defer->lsn_before) {
        return;
    }
    pthread_mutex_lock(&defer->lock);
    assert(id >= defer->id_first && id - defer->id_first < defer->count);
    defer->refs[id - defer->id_first] = ref;
    pthread_mutex_unlock(&defer->lock);
}

static void tell_conflict(struct tsdb *db, uint32_t handle, struct sample sample) {
    struct label items[LABELS_COUNT_MAX];
    struct labels labels = { .items = items };
    struct buf text;
    buf_init(&text, 4096);
    pthread_rwlock_rdlock(&db->head.index_lock);
    labels.count = index_labels(&db->head.index, head_at(&db->head, handle)->labels, items);
    labels_print(labels, &text);
    pthread_rwlock_unlock(&db->head.index_lock);
    char what[512];
    snprintf(what, sizeof(what),
             "a sample of %s at %" PRId64 " ms was accepted while the journal was replayed, but "
             "that time had another value already, which stays",
             text.ptr, sample.t_ms);
    db->on_conflict(db->on_conflict_ctx, what);
    buf_finish(&text);
}

void defer_note_conflict(struct tsdb *db, uint64_t lsn, uint32_t handle, struct sample sample) {
    if (lsn <= db->defer.lsn_before) {
        return; /* counted by the process that wrote it */
    }
    metric_inc(db->metrics.deferred_conflicts);
    if (db->defer.conflict_count++ < CONFLICTS_TOLD_MAX && db->on_conflict != NULL) {
        tell_conflict(db, handle, sample);
    }
}

void defer_settle(struct tsdb *db) {
    struct defer *defer = &db->defer;
    struct arena labels;
    size_t cap = 0;
    arena_init(&labels, SIZE_MAX);
    pthread_mutex_lock(&defer->lock);
    defer->is_over = true;
    for (size_t i = 0; i < defer->count; i++) {
        if (defer->refs[i] == 0) {
            defer->lefts =
                vec_grow(defer->lefts, &cap, defer->left_count + 1, sizeof(defer->lefts[0]));
            defer->lefts[defer->left_count++] = (struct defer_left){
                .number = (uint32_t)i,
                .labels = arena_str(&labels, defer->entries[i].labels),
            };
        }
    }
    arena_finish(&defer->labels);
    defer->labels = labels;
    mem_free(defer->entries);
    defer->entries = NULL;
    mem_free(defer->slots);
    defer->slots = NULL;
    buf_finish(&defer->encoded);
    pthread_mutex_unlock(&defer->lock);
}
