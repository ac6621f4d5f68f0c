/*
 * Opening: what the disk knows becomes the head again.
 *
 *   1. the store's state: window width, next id, applied LSN
 *   2. series with rows no window index covers (table pending) enter the head, so that they are
 *      found
 *   3. the journal from the applied LSN on: definitions enter the head, samples are appended unless
 *      they are sealed already, which shows by their time: within a series time ascends, so a
 *      sample at or before the newest sealed one of its series is in the store. Those that came out
 *      of order are marked in the journal: they are looked up
 *   4. what was committed meanwhile (defer.h), the last of it while commits are held up; then the
 *      store is ready
 *
 * Idempotent: it writes nothing but the initial rows of a fresh directory. The journal's snapshot
 * is taken before the store's, so a live writer beside a read-only opening cannot hide samples
 * between the two.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/db.h"
#include "tsdb/head/idmap.h"
#include "tsdb/journal/replay.h"
#include "tsdb/parts/part.h"
#include "tsdb/parts/window.h"
#include "tsdb/write/late.h"

#define REF_GONE UINT64_MAX /* nobody knows the labels of this id */

/* Ids that may have been given out since the newest record that says so. */
#define IDS_UNKNOWN (UINT64_C(1) << 28)

/* Rounds of replaying what was committed meanwhile; what is left then is read while commits are
 * held up. */
#define CATCH_UP_ROUNDS_MAX     20
#define CATCH_UP_RECORDS_ENOUGH 8

struct recovery {
    struct tsdb *db;
    MDB_txn *store_txn;
    struct catalog_reader catalog; /* of store_txn */
    struct idmap refs;             /* id → ref, or REF_GONE */
    struct replay *replay;
    struct arena arena; /* labels of one series */
    struct store_row row;
    uint64_t lsn;      /* of the record being replayed */
    uint64_t lsn_done; /* everything up to it is */
    bool is_deferred;  /* the record is (defer.h) */
    bool is_last;      /* lap: nobody commits meanwhile */
    uint64_t id_max;
    uint64_t orphan_count; /* samples of series nobody knows the labels of */
    bool is_damaged;       /* some of the journal */
    int64_t t_min_ms;      /* retention */
    uint64_t side_bytes;   /* of late samples: when to look next which of them are sealed */
};

/* ---- series ---- */

/* Newest sealed sample of a stored series. */
static bool find_last(struct recovery *recovery, struct head_newcomer *newcomer, struct err *err) {
    struct store *store = &recovery->db->store;
    int64_t window;
    bool found;
    if (!catalog_get_last(store, recovery->store_txn, newcomer->id, &window, &found, err)) {
        return false;
    }
    if (!found || window == STORE_LAST_NONE) {
        return true;
    }
    struct sample last;
    if (!part_find_last(store, recovery->store_txn, window, newcomer->id, &last, &found, err)) {
        return false;
    }
    if (found) {
        newcomer->has_last = true;
        newcomer->t_last_ms = last.t_ms;
        newcomer->value_last_bits = double_bits(last.value);
    }
    return true;
}

/* As the catalog has it; a damaged row is as good as none. */
static bool get_series(struct recovery *recovery,
                       uint64_t id,
                       struct labels *ret,
                       bool *ret_found,
                       struct err *err) {
    struct tsdb *db = recovery->db;
    struct err what = ERR_INIT;
    if (catalog_read(&recovery->catalog, id, ret, ret_found, &what)) {
        return true;
    }
    if (what.code != ERR_CORRUPT) {
        *err = what;
        return false;
    }
    err_wrap(&what, "series %" PRIu64, id);
    damage_note(db, DAMAGE_SERIES, &what);
    *ret_found = false;
    return true;
}

/*
 * A deferred record gives every series an id of its own; 0 when the labels are not known under
 * another one. The head knows most: asking it is cheap.
 */
static bool find_known(struct recovery *recovery,
                       struct labels labels,
                       uint64_t *ret_id,
                       series_ref_t *ret_ref,
                       struct err *err) {
    struct tsdb *db = recovery->db;
    *ret_id = 0;
    *ret_ref = head_find_quiet(&db->head, labels, head_hash(&db->head, labels));
    if (*ret_ref != 0) {
        *ret_id = head_series(&db->head, *ret_ref)->id;
        return true;
    }
    struct err what = ERR_INIT;
    if (catalog_find(&db->store, recovery->store_txn, labels, ret_id, &what)) {
        return true;
    }
    if (what.code != ERR_CORRUPT) {
        *err = what;
        return false;
    }
    damage_note(db, DAMAGE_SERIES, &what);
    *ret_id = 0;
    return true;
}

/* Into the head under its id; `labels_bytes` as the journal gives them, or empty. */
static bool enter_series(struct recovery *recovery,
                         uint64_t id,
                         struct str labels_bytes,
                         series_ref_t *ret,
                         struct err *err) {
    struct tsdb *db = recovery->db;
    struct labels stored;
    bool is_stored;
    if (!get_series(recovery, id, &stored, &is_stored, err)) {
        return false;
    }
    arena_reset(&recovery->arena);
    struct head_newcomer newcomer = {
        .id = id,
        .is_defined = is_stored, /* else the next sample defines it again */
        .is_stored = is_stored,
        .t_first_ms = INT64_MAX,
    };
    if (is_stored) {
        newcomer.labels = stored;
    } else if (!labels_decode(labels_bytes, &recovery->arena, &newcomer.labels)) {
        newcomer.labels.count = 0;
    }
    if (newcomer.labels.count == 0 || newcomer.labels.count > LABELS_COUNT_MAX) {
        return err_set(err, ERR_CORRUPT, "the labels of series %" PRIu64 " are not there", id);
    }
    recovery->id_max = id > recovery->id_max ? id : recovery->id_max;
    if (!is_stored && recovery->is_deferred) {
        uint64_t known;
        if (!find_known(recovery, newcomer.labels, &known, ret, err) ||
            (known != 0 && *ret == 0 && !enter_series(recovery, known, STR(""), ret, err))) {
            return false;
        }
        if (known != 0) {
            idmap_put(&recovery->refs, id, *ret);
            return true;
        }
    }
    struct err what = ERR_INIT;
    if (is_stored && !find_last(recovery, &newcomer, &what)) {
        if (what.code != ERR_CORRUPT) {
            *err = what;
            return false;
        }
        /* What was sealed of it in that window cannot be found: nothing to skip. */
        err_wrap(&what, "series %" PRIu64, id);
        damage_note(db, DAMAGE_ROW, &what);
    }
    newcomer.hash = head_hash(&db->head, newcomer.labels);
    *ret = head_insert(&db->head, &newcomer);
    idmap_put(&recovery->refs, id, *ret);
    return true;
}

static bool find_series(struct recovery *recovery,
                        uint64_t id,
                        struct str labels_bytes,
                        series_ref_t *ret,
                        struct err *err) {
    *ret = idmap_get(&recovery->refs, id);
    return (*ret != 0 && *ret != REF_GONE) || enter_series(recovery, id, labels_bytes, ret, err);
}

/* ---- pending rows ---- */

static bool enter_pending(struct recovery *recovery, int64_t window, uint64_t id, struct err *err) {
    struct tsdb *db = recovery->db;
    bool found;
    series_ref_t ref;
    if (!find_series(recovery, id, STR(""), &ref, err) ||
        !store_get_row(&db->store, recovery->store_txn, window, id, &recovery->row, &found, err)) {
        if (err->code != ERR_CORRUPT) {
            return false;
        }
        /* One damaged row must not keep all others from being served. */
        err_wrap(err, "series %" PRIu64 " in window %" PRId64, id, window);
        damage_note(db, DAMAGE_ROW, err);
        *err = (struct err)ERR_INIT;
        return true;
    }
    if (!found || recovery->row.count == 0) {
        return true;
    }
    struct series *series = head_series(&db->head, ref);
    int64_t t_first_ms;
    int64_t t_newest_ms;
    store_row_bounds(&recovery->row, &t_first_ms, &t_newest_ms);
    series->t_first_ms = t_first_ms < series->t_first_ms ? t_first_ms : series->t_first_ms;
    return true;
}

static bool load_pending(struct recovery *recovery, struct err *err) {
    struct store *store = &recovery->db->store;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(recovery->store_txn, store->dbis[STORE_PENDING], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table pending");
    }
    MDB_val key;
    MDB_val row;
    bool ok = true;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_FIRST);
    while (ok && rc == 0) {
        if (key.mv_size != STORE_KEY_ROW_BYTES) {
            ok = err_set(err, ERR_CORRUPT, "store: a key of table pending has a wrong size");
            break;
        }
        const uint8_t *bytes = key.mv_data;
        ok = enter_pending(recovery, bytes_be64_signed(bytes), bytes_be64(bytes + 8), err);
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (ok && rc != MDB_NOTFOUND) {
        return env_fail(&store->env, err, rc, "reading table pending");
    }
    return ok;
}

/* ---- the journal ---- */

static void replay_epoch(void *ctx, uint64_t lsn) {
    struct recovery *recovery = ctx;
    replay_flush(recovery->replay); /* what came before belongs to the epoch before */
    head_begin_epoch(&recovery->db->head, lsn);
}

static bool replay_record(void *ctx,
                          uint64_t lsn,
                          const struct journal_facts *facts,
                          struct err *err) {
    struct recovery *recovery = ctx;
    struct ready *ready = &recovery->db->ready;
    if (ready->on_replay != NULL && !recovery->is_last) {
        ready->on_replay(ready->on_replay_ctx, lsn);
    }
    recovery->lsn = lsn;
    recovery->is_deferred = facts->is_deferred;
    replay_set_deferred(recovery->replay, facts->is_deferred);
    ready->lsn_now = lsn;
    return !ready->is_stopping || err_set(err, ERR_UNAVAILABLE, "the store is closing");
}

static bool replay_definition(void *ctx, uint64_t id, struct str labels, struct err *err) {
    struct recovery *recovery = ctx;
    series_ref_t ref;
    struct err what = ERR_INIT;
    if (find_series(recovery, id, labels, &ref, &what)) {
        if (recovery->is_deferred) {
            defer_note_series(recovery->db, recovery->lsn, id, ref);
        }
        return true;
    }
    err_wrap(&what, "replaying record %" PRIu64 " of the journal", recovery->lsn);
    if (what.code != ERR_CORRUPT) {
        *err = what;
        return false;
    }
    damage_note(recovery->db, DAMAGE_RECORD, &what);
    return true;
}

static bool replay_damage(void *ctx,
                          uint64_t lsn,
                          struct str raw,
                          const struct err *what,
                          struct err *err) {
    struct recovery *recovery = ctx;
    recovery->is_damaged = true;
    damage_note(recovery->db, DAMAGE_RECORD, what);
    if (raw.len > 0) {
        char name[64];
        snprintf(name, sizeof(name), "journal-record-%" PRIu64, lsn);
        damage_keep(recovery->db, name, raw);
    }
    return true;
}

/* Samples that lost their labels with a damaged record are gone: say how many. */
static void tell_orphans(struct recovery *recovery) {
    struct err what;
    if (recovery->is_damaged && recovery->orphan_count > 0) {
        err_set(&what, ERR_CORRUPT,
                "journal: %" PRIu64 " samples of other records belong to series whose labels were "
                "in a damaged one",
                recovery->orphan_count);
        damage_note(recovery->db, DAMAGE_RECORD, &what);
    }
}

/*
 * The series of a sample that shall be replayed; *ret_ref 0: it shall not be. A series without
 * definition and row is one that retention deleted while newer records kept the journal from being
 * trimmed, or one whose definition is damaged.
 */
static bool find_replayed(struct recovery *recovery,
                          uint64_t id,
                          struct sample sample,
                          series_ref_t *ret_ref,
                          struct err *err) {
    struct labels labels;
    bool is_stored;
    *ret_ref = 0;
    if (sample.t_ms < recovery->t_min_ms) {
        return true;
    }
    series_ref_t ref = idmap_get(&recovery->refs, id);
    if (ref != 0 && ref != REF_GONE) {
        *ret_ref = ref;
        return true;
    }
    bool ok = ref == REF_GONE || get_series(recovery, id, &labels, &is_stored, err);
    if (ok && ref == 0 && is_stored) {
        ok = enter_series(recovery, id, STR(""), ret_ref, err);
    }
    if (!ok) {
        return err_wrap(err, "replaying record %" PRIu64 " of the journal", recovery->lsn);
    }
    if (*ret_ref == 0) {
        idmap_put(&recovery->refs, id, REF_GONE);
        recovery->orphan_count++;
        /* Not to be given again. */
        recovery->id_max = id > recovery->id_max ? id : recovery->id_max;
    }
    return true;
}

static bool replay_sample(void *ctx, uint64_t id, struct sample sample, struct err *err) {
    struct recovery *recovery = ctx;
    series_ref_t ref;
    if (!find_replayed(recovery, id, sample, &ref, err)) {
        return false;
    }
    if (ref != 0) {
        replay_add(recovery->replay, ref, sample, recovery->lsn);
    }
    return true;
}

/* Whether it is sealed shows by looking only; that is done for many at once. */
static bool replay_late(void *ctx, uint64_t id, struct sample sample, struct err *err) {
    struct recovery *recovery = ctx;
    struct tsdb *db = recovery->db;
    series_ref_t ref;
    if (recovery->is_deferred) {
        return replay_sample(ctx, id, sample, err);
    }
    if (!find_replayed(recovery, id, sample, &ref, err)) {
        return false;
    }
    if (ref == 0) {
        return true;
    }
    side_add(&db->side, ref_handle(ref), sample, recovery->lsn);
    db_note_time(db, sample.t_ms, sample.t_ms);
    if (db->side.bytes > recovery->side_bytes) {
        late_drop_sealed(db, recovery->store_txn);
        recovery->side_bytes = 2 * db->side.bytes;
        if (recovery->side_bytes < SIDE_BYTES_SOFT) {
            recovery->side_bytes = SIDE_BYTES_SOFT;
        }
    }
    return true;
}

/* The records behind those that are done. */
static bool walk_on(struct recovery *recovery, MDB_txn *journal_txn, struct err *err) {
    struct tsdb *db = recovery->db;
    struct journal_visitor visitor = {
        .epoch = replay_epoch,
        .record = replay_record,
        .definition = replay_definition,
        .sample = replay_sample,
        .damaged = replay_damage,
        .late = replay_late,
        .ctx = recovery,
    };
    uint64_t first;
    uint64_t last;
    recovery->lsn = recovery->lsn_done;
    if (!journal_bounds(&db->journal, journal_txn, db->log, &first, &last, err) ||
        !journal_walk(&db->journal, journal_txn, db->log, recovery->lsn_done + 1, &visitor, err)) {
        return false;
    }
    /* Behind a damaged last record, too: its key is taken. */
    recovery->lsn_done = last > recovery->lsn ? last : recovery->lsn;
    return true;
}

/* Snapshots are held for `walk` only: the committer, which holds `apply`, may wait for readers. */
static bool with_snapshots(struct recovery *recovery,
                           bool (*walk)(struct recovery *, MDB_txn *journal_txn, struct err *),
                           struct err *err) {
    struct tsdb *db = recovery->db;
    MDB_txn *journal_txn;
    if (!env_read_begin(&db->journal, &journal_txn, err)) {
        return false;
    }
    bool ok = env_read_begin(&db->store.env, &recovery->store_txn, err);
    if (ok) {
        catalog_reader_init(&recovery->catalog, &db->store, recovery->store_txn);
        ok = walk(recovery, journal_txn, err);
        catalog_reader_finish(&recovery->catalog);
        env_read_end(&db->store.env, recovery->store_txn);
    }
    env_read_end(&db->journal, journal_txn);
    return ok;
}

/* What was committed since; *ret_count: that many records. */
static bool walk_newer(struct recovery *recovery, uint64_t *ret_count, struct err *err) {
    uint64_t before = recovery->lsn_done;
    bool ok = with_snapshots(recovery, walk_on, err);
    *ret_count = recovery->lsn_done - before;
    return ok;
}

/* All there is, with nobody committing: what comes now is ordinary. */
static void settle(struct recovery *recovery) {
    struct tsdb *db = recovery->db;
    replay_flush(recovery->replay);
    db->visible_lsn = recovery->lsn_done;
    head_begin_epoch(&db->head, db->visible_lsn + 1);
    db->epoch_bytes = 0;
    db->epoch_start_ms = clock_wall_ms(db->clock);
    if (recovery->id_max >= db->head.id_next) {
        db->head.id_next = recovery->id_max + 1;
    }
    db->id_floor = db->head.id_next;
    defer_settle(db);
    ready_open(&db->ready);
}

static bool catch_up(struct recovery *recovery, struct err *err) {
    struct tsdb *db = recovery->db;
    uint64_t count = db->is_read_only ? 0 : UINT64_MAX;
    for (int i = 0; i < CATCH_UP_ROUNDS_MAX && count > CATCH_UP_RECORDS_ENOUGH; i++) {
        if (!walk_newer(recovery, &count, err)) {
            return false;
        }
        replay_flush(recovery->replay);
    }
    pthread_mutex_lock(&db->apply);
    recovery->is_last = true;
    bool ok = db->is_read_only || walk_newer(recovery, &count, err);
    if (ok) {
        settle(recovery);
    }
    pthread_mutex_unlock(&db->apply);
    return ok;
}

bool recover_check(struct tsdb *db, struct err *err) {
    struct store_state state = { 0 };
    bool found;
    uint64_t first = 0;
    uint64_t last = 0;
    uint64_t id_next = 0;
    bool is_sure = true;
    MDB_txn *txn;
    /* The journal first: what is missing from it was applied before. */
    if (!env_read_begin(&db->journal, &txn, err)) {
        return false;
    }
    bool ok = journal_bounds(&db->journal, txn, db->log, &first, &last, err) &&
              journal_id_next(&db->journal, txn, db->log, &id_next, &is_sure, err);
    env_read_end(&db->journal, txn);
    if (!ok || !env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    ok = store_get_state(&db->store, txn, &state, &found, err);
    env_read_end(&db->store.env, txn);
    id_next = state.id_next > id_next ? state.id_next : id_next;
    id_next += is_sure ? 0 : IDS_UNKNOWN;
    db->head.id_next = id_next > 0 ? id_next : 1;
    uint64_t lsn_end = last > state.applied_lsn ? last : state.applied_lsn;
    db->ready.lsn_start = state.applied_lsn;
    db->ready.lsn_now = state.applied_lsn;
    db->ready.lsn_end = lsn_end;
    defer_begin(&db->defer, db->head.id_next, lsn_end);
    db->trim_lsn = state.applied_lsn; /* shipping goes by it before the replay is through */
    if (ok && first > state.applied_lsn + 1) {
        return err_set(err, ERR_CORRUPT,
                       "journal: records %" PRIu64 " to %" PRIu64
                       " are missing: journal and store do not belong together",
                       state.applied_lsn + 1, first - 1);
    }
    return ok;
}

/* ---- the whole ---- */

/* Its counts are damaged: its bounds are known all the same. */
static bool note_window(struct tsdb *db, int64_t window, struct err *what, struct err *err) {
    if (what->code != ERR_CORRUPT) {
        *err = *what;
        return false;
    }
    err_wrap(what, "window %" PRId64, window);
    damage_note(db, DAMAGE_WINDOW, what);
    int64_t start_ms = (int64_t)((uint64_t)window * (uint64_t)db->head.block_ms);
    db_note_time(db, start_ms, i64_add_sat(start_ms, db->head.block_ms - 1));
    return true;
}

static bool load_times(struct recovery *recovery, struct err *err) {
    struct tsdb *db = recovery->db;
    struct part *parts;
    size_t count;
    if (!part_list(&db->store, recovery->store_txn, INT64_MIN, INT64_MAX, &parts, &count, err)) {
        return false;
    }
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        if (parts[i].is_damaged) {
            struct err what = ERR_INIT;
            err_set(&what, ERR_CORRUPT, "store: a row of table windows or parts is damaged");
            ok = parts[i].is_merged || note_window(db, parts[i].place, &what, err);
        } else if (parts[i].stats.sample_count > 0) {
            db_note_time(db, parts[i].stats.t_min_ms, parts[i].stats.t_max_ms);
        }
    }
    mem_free(parts);
    return ok;
}

/* What was there at the opening. */
static bool run(struct recovery *recovery, MDB_txn *journal_txn, struct err *err) {
    struct tsdb *db = recovery->db;
    struct store_state state = { 0 };
    bool found;
    if (!store_get_state(&db->store, recovery->store_txn, &state, &found, err)) {
        return false;
    }
    recovery->lsn_done = state.applied_lsn;
    head_begin_epoch(&db->head, recovery->lsn_done + 1);
    if (!load_times(recovery, err) || !load_pending(recovery, err) ||
        !walk_on(recovery, journal_txn, err)) {
        return false;
    }
    replay_flush(recovery->replay);
    late_drop_sealed(db, recovery->store_txn);
    tell_orphans(recovery);
    return true;
}

bool recover(struct tsdb *db, struct err *err) {
    struct recovery recovery = {
        .db = db,
        .t_min_ms = INT64_MIN,
        .side_bytes = SIDE_BYTES_SOFT,
    };
    if (db->retention_ms > 0) {
        recovery.t_min_ms = i64_sub_sat(clock_wall_ms(db->clock), db->retention_ms);
    }
    if (!replay_begin(db, &recovery.replay, err)) {
        return false;
    }
    arena_init(&recovery.arena, SIZE_MAX);
    bool ok = with_snapshots(&recovery, run, err) && catch_up(&recovery, err);
    replay_end(recovery.replay);
    idmap_finish(&recovery.refs);
    store_row_finish(&recovery.row);
    arena_finish(&recovery.arena);
    return ok;
}

/* ---- format rows ---- */

struct format_row {
    uint32_t version; /* 0 = no row yet */
    uint8_t directory_id[FORMAT_ID_BYTES];
};

static bool read_format(struct tsdb *db, struct format_row *ret, struct err *err) {
    struct buf row;
    buf_init(&row, FORMAT_ROW_BYTES);
    struct err failure = ERR_INIT;
    bool found = db->kv.get(&db->kv, KV_META, FORMAT_KEY, &row, &failure);
    bool ok = failure.code == ERR_NONE;
    if (!ok) {
        *err = failure;
    } else if (found) {
        bool is_whole = row.len == FORMAT_ROW_BYTES;
        ret->version = is_whole ? bytes_le32((uint8_t *)row.ptr) : 0;
        if (ret->version == 0 || ret->version > FORMAT_VERSION) {
            ok = err_set(err, ERR_INVALID,
                         "the data in %s has format %u, this program knows up to %d: use the "
                         "version that wrote it or a newer one",
                         db->path, ret->version, FORMAT_VERSION);
        } else {
            memcpy(ret->directory_id, row.ptr + 4, FORMAT_ID_BYTES);
        }
    }
    buf_finish(&row);
    return ok;
}

bool recover_has_format(struct tsdb *db, bool *ret, struct err *err) {
    struct format_row format = { 0 };
    *ret = false;
    if (!read_format(db, &format, err)) {
        return false;
    }
    *ret = format.version != 0;
    return true;
}

/* This program's version, before anything is written that an older one could not read. */
static bool write_format(struct tsdb *db, const struct format_row *format, struct err *err) {
    uint8_t row[FORMAT_ROW_BYTES];
    bytes_put_le32(row, FORMAT_VERSION);
    memcpy(row + 4, format->directory_id, FORMAT_ID_BYTES);
    MDB_txn *txn;
    if (!env_write_begin(&db->journal, &txn, err)) {
        return false;
    }
    int rc =
        kv_put_row(db->kv_dbis, txn, KV_META, FORMAT_KEY, str_n((const char *)row, sizeof(row)));
    if (rc == 0) {
        rc = mdb_txn_commit(txn);
    } else {
        mdb_txn_abort(txn);
    }
    return rc == 0 || env_fail(&db->journal, err, rc, "writing the format row");
}

static int put_first_state(void *ctx, struct store *store, MDB_txn *txn) {
    return store_put_state(store, txn, ctx);
}

static bool check_state(struct tsdb *db, int64_t *block_ms, struct err *err) {
    struct store_state state = { 0 };
    bool found = false;
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = store_get_state(&db->store, txn, &state, &found, err);
    env_read_end(&db->store.env, txn);
    if (!ok || found || db->is_read_only) {
        *block_ms = found ? state.block_ms : *block_ms;
        return ok;
    }
    state = (struct store_state){ .block_ms = *block_ms, .id_next = 1, .segment_next = 1 };
    return store_write(db, put_first_state, &state, "writing the first state", err);
}

struct conversion {
    uint64_t next;
    bool has_more;
};

static int convert_slice(void *ctx, struct store *store, MDB_txn *txn) {
    struct conversion *conversion = ctx;
    uint64_t next = conversion->next; /* a slice may have to be written again */
    int rc = catalog_convert(store, txn, &next, &conversion->has_more);
    conversion->next = rc == 0 ? next : conversion->next;
    return rc;
}

bool recover_formats(struct tsdb *db, int64_t *block_ms, struct err *err) {
    struct format_row format = { 0 };
    if (!read_format(db, &format, err) || !check_state(db, block_ms, err)) {
        return false;
    }
    if (db->is_read_only) {
        return true;
    }
    if (format.version == 0) {
        random_bytes(format.directory_id, FORMAT_ID_BYTES);
    }
    if (format.version != FORMAT_VERSION && !write_format(db, &format, err)) {
        return false;
    }
    struct conversion conversion = {
        .has_more = env_db_bytes(&db->store.env, db->store.dbis[STORE_OLD_SERIES]) > 0
    };
    while (conversion.has_more) {
        if (!store_write(db, convert_slice, &conversion, "converting the table of series", err)) {
            return false;
        }
    }
    return true;
}
