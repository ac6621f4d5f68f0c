/*
 * Group commit. The committer takes every batch that waits and makes them one LMDB transaction:
 *
 *   judge    verdict per sample, in order, against the newest sample of its series; what is newer
 *            moves the series' last time and value, with an undo entry; what is older goes to the
 *            side or is refused (late.h)
 *   write    one journal record with the accepted samples and the definitions of series the disk
 *            does not know yet, plus table and metadata changes; commit = fsync
 *   publish  the samples go to the head under the new LSN, then visible_lsn moves: readers see the
 *            whole group in one step; then the callbacks
 *
 * While the journal is replayed nothing can be judged: the samples go to a deferred record, and to
 * the head when the replay comes to it (defer.h).
 *
 * When the write fails the undo entries are rolled back: nothing of the group happened. Failures
 * for want of space are reported and tried again with the next group; any other failure latches the
 * store read-only, because after a failed fsync nobody knows what the disk holds.
 */
#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "tsdb/backup/ship.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/write/late.h"

#define TRIM_PARTS_MAX    1024  /* journal parts deleted per commit */
#define ACCEPTED_KEPT_MAX 16384 /* entries whose memory is kept from group to group */
#define PREFETCH_AHEAD    8     /* series structs fetched before their turn */
#define COMMITS_RECENT    8     /* moving averages of how long a commit takes */
#define COMMITS_USUAL     512
#define STRIPE_HOLD_MAX   256 /* samples appended per stripe lock */

struct group {
    struct tsdb *db;
    struct tsdb_batch **batches; /* taking part */
    size_t batch_count;
    size_t batch_cap;
    struct journal_record record;
    struct head_entry *accepted;
    size_t accepted_count;
    size_t accepted_cap;
    struct late *late;
    size_t late_noted; /* accepted samples that `late` knows of */
    size_t late_count; /* accepted late ones */
    bool is_deferred;  /* the journal is being replayed: defer.h */
    size_t deferred_count;
    int64_t now_ms;
    int64_t t_min_ms; /* bounds of what is taken */
    int64_t t_max_ms;
    struct snapshots snapshots; /* open ones, while publishing */
};

/* ---- judging ---- */

/* An older sample than the newest: it needs to know what this group accepted so far. */
static enum tsdb_outcome judge_older(struct group *group,
                                     const struct series *series,
                                     uint32_t handle,
                                     struct sample sample) {
    for (; group->late_noted < group->accepted_count; group->late_noted++) {
        const struct head_entry *accepted = &group->accepted[group->late_noted];
        late_note(group->late, accepted->handle, head_entry_sample(accepted));
    }
    return late_judge(group->late, series, handle, sample);
}

static bool is_older(const struct series *series, struct sample sample) {
    return series->has_last && sample.t_ms <= series->t_last_ms;
}

static enum tsdb_outcome judge(struct group *group,
                               const struct series *series,
                               uint32_t handle,
                               struct sample sample) {
    if (sample.t_ms < group->t_min_ms) {
        return TSDB_TOO_OLD;
    }
    if (sample.t_ms > group->t_max_ms) {
        return TSDB_TOO_NEW;
    }
    if (!is_older(series, sample)) {
        return TSDB_ACCEPTED;
    }
    if (sample.t_ms == series->t_last_ms) {
        bool is_same = double_bits(sample.value) == series_last_bits(series);
        return is_same ? TSDB_DUPLICATE : TSDB_CONFLICT;
    }
    return judge_older(group, series, handle, sample);
}

static void define_series(struct group *group, struct series *series) {
    struct head *head = &group->db->head;
    struct label items[LABELS_COUNT_MAX];
    struct labels labels = { .items = items };
    pthread_rwlock_rdlock(&head->index_lock);
    labels.count = index_labels(&head->index, series->labels, items);
    journal_add_definition(&group->record, series->id, labels);
    pthread_rwlock_unlock(&head->index_lock);
    series->is_defined = true;
}

static void accept_sample(struct group *group,
                          struct series *series,
                          uint32_t handle,
                          struct sample sample) {
    if (group->accepted_count == group->accepted_cap) {
        group->accepted = vec_grow(group->accepted, &group->accepted_cap, group->accepted_count + 1,
                                   sizeof(group->accepted[0]));
    }
    struct head_entry *entry = &group->accepted[group->accepted_count++];
    if (is_older(series, sample)) {
        head_accept_late(series, handle, sample, entry);
        journal_add_late(&group->record, series->id, sample);
        group->late_count++;
    } else {
        head_accept(&group->db->head, series, handle, sample, entry);
        journal_add_step(&group->record, series->id, sample.t_ms, entry->token, entry->token_len);
    }
    if (!series->is_defined) {
        define_series(group, series);
    }
}

/* Series of the batch that left the head come back first: pointers must hold for the group. So do
 * provisional refs, which no series has. */
static bool resolve_refs(struct group *group, struct tsdb_batch *batch) {
    struct head *head = &group->db->head;
    for (size_t i = 0; i < batch->sample_count; i++) {
        series_ref_t *ref = &batch->samples[i].ref;
        if (i + PREFETCH_AHEAD < batch->sample_count) {
            head_prefetch(head, ref_handle(batch->samples[i + PREFETCH_AHEAD].ref));
        }
        if (head_series(head, *ref) == NULL &&
            !db_revive(group->db, *ref, ref, &batch->result.err)) {
            return false;
        }
    }
    return true;
}

static void judge_batch(struct group *group, struct tsdb_batch *batch) {
    struct head *head = &group->db->head;
    memset(batch->result.counts, 0, sizeof(batch->result.counts));
    for (size_t i = 0; i < batch->sample_count; i++) {
        const struct pending_sample *pending = &batch->samples[i];
        struct series *series = head_series(head, pending->ref);
        assert(series != NULL);
        uint32_t handle = ref_handle(pending->ref);
        enum tsdb_outcome outcome = judge(group, series, handle, pending->sample);
        if (outcome == TSDB_ACCEPTED) {
            accept_sample(group, series, handle, pending->sample);
        }
        batch->outcomes[i] = (uint8_t)outcome;
        batch->result.counts[outcome]++;
    }
}

/* Time alone is known: see defer.h. */
static void defer_batch(struct group *group, struct tsdb_batch *batch) {
    memset(batch->result.counts, 0, sizeof(batch->result.counts));
    for (size_t i = 0; i < batch->sample_count; i++) {
        int64_t t_ms = batch->samples[i].sample.t_ms;
        enum tsdb_outcome outcome = t_ms < group->t_min_ms   ? TSDB_TOO_OLD
                                    : t_ms > group->t_max_ms ? TSDB_TOO_NEW
                                                             : TSDB_ACCEPTED;
        batch->outcomes[i] = (uint8_t)outcome;
        batch->result.counts[outcome]++;
    }
    defer_add(group->db, batch, &group->record);
    group->deferred_count += batch->result.counts[TSDB_ACCEPTED];
}

static void forget_accepted(struct group *group) {
    if (group->accepted_cap > ACCEPTED_KEPT_MAX) {
        mem_free(group->accepted);
        group->accepted = NULL;
        group->accepted_cap = 0;
    }
    group->accepted_count = 0;
    group->late_noted = 0;
    group->late_count = 0;
    group->deferred_count = 0;
    journal_record_reset(&group->record);
}

static void undo_all(struct group *group) {
    for (size_t i = group->accepted_count; i > 0; i--) {
        head_undo(&group->accepted[i - 1]);
    }
    defer_undo(group->db);
    forget_accepted(group);
}

/* ---- writing ---- */

static int put_kv(struct tsdb *db, MDB_txn *txn, const struct tsdb_batch *batch) {
    size_t at = 0;
    struct kv_op op;
    int rc = 0;
    while (rc == 0 && batch_next_kv_op(batch, &at, &op)) {
        rc = op.is_put ? kv_put_row(db->kv_dbis, txn, op.table, op.key, op.value)
                       : kv_del_row(db->kv_dbis, txn, op.table, op.key);
    }
    return rc;
}

static int put_all(struct group *group, MDB_txn *txn, uint64_t lsn, struct str body, bool *more) {
    struct tsdb *db = group->db;
    int rc = 0;
    if (!journal_record_is_empty(&group->record)) {
        rc = journal_put(txn, db->log, lsn, body);
    }
    for (size_t i = 0; rc == 0 && i < group->batch_count; i++) {
        rc = put_kv(db, txn, group->batches[i]);
        if (rc == 0) {
            rc = metadata_put(db, txn, group->batches[i]);
        }
    }
    if (rc == 0) {
        uint64_t lsn_newest = journal_record_is_empty(&group->record) ? lsn - 1 : lsn;
        rc = ship_put(db, txn, lsn_newest, group->now_ms, group->batches, group->batch_count);
    }
    uint64_t trim_lsn = db_trim_target(db);
    if (rc == 0 && trim_lsn > db->trimmed_lsn) {
        rc = journal_trim(txn, db->log, trim_lsn, TRIM_PARTS_MAX, more);
    }
    return rc;
}

/* One try. Returns an LMDB code. */
static int write_once(struct group *group, uint64_t lsn, struct str body) {
    struct tsdb *db = group->db;
    uint64_t trim_lsn = db_trim_target(db);
    bool has_more = false;
    MDB_txn *txn;
    int rc = env_begin(&db->journal, &txn);
    if (rc != 0) {
        return rc;
    }
    rc = put_all(group, txn, lsn, body, &has_more);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    if (rc == 0) {
        ship_committed(db);
    }
    if (rc == 0 && !has_more) {
        db->trimmed_lsn = trim_lsn;
    }
    return rc;
}

/* Turn a failed write into an error, and the store's state with it. */
static void judge_failure(struct tsdb *db, int rc, struct err *err) {
    bool is_full = rc == ENOSPC || rc == EDQUOT || rc == EFBIG || rc == MDB_MAP_FULL ||
                   (rc == EIO && db_check_space(db)); /* LMDB reports a short write as EIO */
    if (env_revive(&db->journal, is_full) == ENV_DEAD) {
        rc = EIO; /* whatever it was: the head page may be half-written */
    } else if (is_full) {
        /* The last commit stands, and the next may work. */
        err_set(err, ERR_NO_SPACE, "no space left to write in %s", db->path);
        return;
    }
    env_fail(&db->journal, err, rc, "committing in %s", db->path);
    db_latch(db, err);
}

/* The first record of the epoch that commits belong to. */
static uint64_t epoch_lsn(const struct group *group) {
    const struct tsdb *db = group->db;
    return group->is_deferred ? db->defer.lsn_before + 1 : db->head.epoch_lsn;
}

static bool write_group(struct group *group, uint64_t lsn, struct err *err) {
    struct tsdb *db = group->db;
    bool has_record = !journal_record_is_empty(&group->record);
    struct journal_facts facts = {
        .starts_epoch = has_record && lsn == epoch_lsn(group),
        .is_deferred = group->is_deferred,
        .now_ms = group->now_ms,
        .id_next = db->head.id_next,
    };
    struct str body = journal_seal_record(&group->record, &facts);
    int rc = write_once(group, lsn, body);
    while (rc == MDB_MAP_FULL && env_grow(&db->journal, err)) {
        rc = write_once(group, lsn, body);
    }
    if (rc == 0) {
        metric_inc(db->metrics.commits);
        metric_observe(db->metrics.journal_record_bytes, (double)body.len);
        db->epoch_bytes += has_record ? body.len : 0;
        return true;
    }
    metric_inc(db->metrics.commit_failures);
    judge_failure(db, rc, err);
    return false;
}

/* ---- publishing ---- */

void db_note_time(struct tsdb *db, int64_t t_min_ms, int64_t t_max_ms) {
    if (t_min_ms < db->t_min_ms) {
        db->t_min_ms = t_min_ms;
    }
    if (t_max_ms > db->t_max_ms) {
        db->t_max_ms = t_max_ms;
    }
}

static void append_accepted(struct group *group, uint64_t lsn) {
    struct head *head = &group->db->head;
    readers_snapshots(&head->readers, &group->snapshots);
    struct head_stripe *held = NULL;
    uint32_t held_count = 0;
    int64_t t_min_ms = INT64_MAX;
    int64_t t_max_ms = INT64_MIN;
    for (size_t i = 0; i < group->accepted_count; i++) {
        const struct head_entry *accepted = &group->accepted[i];
        t_min_ms = accepted->t_ms < t_min_ms ? accepted->t_ms : t_min_ms;
        t_max_ms = accepted->t_ms > t_max_ms ? accepted->t_ms : t_max_ms;
        if (accepted->is_late) {
            side_add(&group->db->side, accepted->handle, head_entry_sample(accepted), lsn);
            continue;
        }
        struct head_stripe *stripe = head_stripe(head, accepted->handle);
        if (i + PREFETCH_AHEAD < group->accepted_count) {
            __builtin_prefetch(group->accepted[i + PREFETCH_AHEAD].series, 1);
        }
        if (stripe != held || held_count == STRIPE_HOLD_MAX) {
            if (held != NULL) {
                pthread_mutex_unlock(&held->lock);
            }
            pthread_mutex_lock(&stripe->lock);
            held = stripe;
            held_count = 0;
        }
        held_count++;
        head_append_locked(head, accepted, lsn, &group->snapshots);
    }
    if (held != NULL) {
        pthread_mutex_unlock(&held->lock);
    }
    if (group->accepted_count > 0) {
        db_note_time(group->db, t_min_ms, t_max_ms);
    }
}

static void publish(struct group *group, uint64_t lsn) {
    struct tsdb *db = group->db;
    append_accepted(group, lsn);
    defer_committed(db, lsn, group->deferred_count);
    if (group->accepted_count > 0) {
        db->samples_total += group->accepted_count;
        db->visible_lsn = lsn;
        metric_add(db->metrics.samples_late, (double)group->late_count);
    }
    if (group->late_count > 0 && db->side.bytes > db->side.bytes_enough) {
        store_thread_wake(db);
    }
    for (size_t i = 0; i < group->batch_count; i++) {
        metadata_publish(db, group->batches[i]);
    }
}

/* ---- a group ---- */

void batch_finish(struct tsdb_batch *batch) {
    struct tsdb *db = batch->db;
    const struct tsdb_commit_result *result = &batch->result;
    if (result->is_durable) {
        metric_add(db->metrics.samples, (double)result->counts[TSDB_ACCEPTED]);
        for (size_t i = TSDB_ACCEPTED + 1; i < TSDB_OUTCOME_COUNT; i++) {
            if (result->counts[i] > 0) {
                metric_add(db->metrics.refused[i], (double)result->counts[i]);
            }
        }
    }
    db->pending_bytes -= batch->bytes;
    if (batch->done != NULL) {
        batch->done(batch->ctx, result);
    }
    batch_destroy(batch);
}

/* May this batch be tried now? Otherwise result.err says why. */
static bool admit(struct tsdb *db, bool is_low, struct tsdb_batch *batch) {
    struct err *err = &batch->result.err;
    if (batch->invalid.code != ERR_NONE) {
        *err = batch->invalid;
        return false;
    }
    if (db->is_latched || (is_low && batch->cls == TSDB_INGEST)) {
        return tsdb_health(db, err);
    }
    return !ready_is_replaying(&db->ready) || defer_admit(db, batch, err);
}

static void set_durable(struct group *group) {
    for (size_t i = 0; i < group->batch_count; i++) {
        struct tsdb_commit_result *result = &group->batches[i]->result;
        result->is_durable = true;
        result->outcomes = group->batches[i]->outcomes;
        result->sample_count = group->batches[i]->sample_count;
    }
}

/* Judge and write the group's batches, all or none. */
static bool try_group(struct group *group, struct err *err) {
    struct tsdb *db = group->db;
    for (size_t i = 0; i < group->batch_count; i++) {
        if (group->is_deferred) {
            defer_batch(group, group->batches[i]);
        } else {
            judge_batch(group, group->batches[i]);
        }
    }
    late_end_group(group->late);
    uint64_t lsn = (group->is_deferred ? db->defer.lsn_last : db->visible_lsn) + 1;
    if (!write_group(group, lsn, err)) {
        undo_all(group);
        return false;
    }
    publish(group, lsn);
    set_durable(group);
    return true;
}

/* Out of space: what keeps alerts alive may still fit without the samples of others. */
static void retry_state_only(struct group *group, struct err *err) {
    size_t kept = 0;
    for (size_t i = 0; i < group->batch_count; i++) {
        struct tsdb_batch *batch = group->batches[i];
        if (batch->cls == TSDB_STATE) {
            group->batches[kept++] = batch;
        } else {
            batch->result.err = *err;
        }
    }
    bool is_other = kept > 0 && kept < group->batch_count;
    group->batch_count = kept;
    if (is_other) {
        (void)try_group(group, err); /* group_run() looks at what became durable */
    }
}

static void gather(struct group *group, struct tsdb_batch *list) {
    struct tsdb *db = group->db;
    bool is_low = db_check_space(db);
    group->batch_count = 0;
    forget_accepted(group);
    group->now_ms = clock_wall_ms(db->clock);
    group->t_min_ms =
        db->retention_ms > 0 ? i64_sub_sat(group->now_ms, db->retention_ms) : INT64_MIN;
    group->t_max_ms =
        db->future_ms_max > 0 ? i64_add_sat(group->now_ms, db->future_ms_max) : INT64_MAX;
    group->is_deferred = ready_is_replaying(&db->ready); /* until apply is given back */
    for (struct tsdb_batch *batch = list; batch != NULL; batch = batch->next) {
        if (!admit(db, is_low, batch) || (!group->is_deferred && !resolve_refs(group, batch))) {
            continue;
        }
        batch->outcomes = mem_alloc(batch->sample_count);
        group->batches = vec_grow(group->batches, &group->batch_cap, group->batch_count + 1,
                                  sizeof(group->batches[0]));
        group->batches[group->batch_count++] = batch;
    }
}

static void commit_group(struct group *group) {
    struct err err = ERR_INIT;
    if (try_group(group, &err)) {
        return;
    }
    if (err.code == ERR_NO_SPACE) {
        retry_state_only(group, &err);
    }
    for (size_t i = 0; i < group->batch_count; i++) {
        struct tsdb_commit_result *result = &group->batches[i]->result;
        if (!result->is_durable) {
            result->err = err;
        }
    }
    if (group->batch_count == 0) {
        group->db->trimmed_lsn =
            db_trim_target(group->db); /* not now; the next trim takes it along */
    }
}

void group_run(struct group *group, struct tsdb_batch *list) {
    struct tsdb *db = group->db;
    int64_t start_ns = clock_mono_ns(db->clock);
    pthread_mutex_lock(&db->apply);
    gather(group, list);
    bool must_trim = list == NULL && !db->is_latched;
    if (group->batch_count > 0 || must_trim) {
        commit_group(group);
    }
    pthread_mutex_unlock(&db->apply);
    int64_t took_ns = clock_mono_ns(db->clock) - start_ns;
    metric_observe(db->metrics.commit_seconds, (double)took_ns / 1e9);
    db->commit_ns_recent += (took_ns - db->commit_ns_recent) / COMMITS_RECENT;
    db->commit_ns_usual += (took_ns - db->commit_ns_usual) / COMMITS_USUAL;
}

void group_finish(struct tsdb_batch *list) {
    while (list != NULL) {
        struct tsdb_batch *next = list->next;
        batch_finish(list);
        list = next;
    }
}

struct group *group_create(struct tsdb *db) {
    struct group *group = mem_calloc(1, sizeof(*group));
    group->db = db;
    journal_record_init(&group->record);
    group->late = late_create(db);
    return group;
}

void group_destroy(struct group *group) {
    journal_record_finish(&group->record);
    late_destroy(group->late);
    mem_free(group->batches);
    mem_free(group->accepted);
    mem_free(group);
}
