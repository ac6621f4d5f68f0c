/* A shipped journal into a restored copy: see replay_shipped.h. */
#include "tsdb/backup/replay_shipped.h"

#include <inttypes.h>

#include "tsdb/backup/ship.h"
#include "tsdb/backup/ship_file.h"
#include "tsdb/codec/bytes.h"

#define TXN_BYTES ((size_t)8 << 20)

struct run {
    struct replay_shipped *replay;
    struct offline *copy;
    struct ship_position at; /* the copy has everything up to here */
    const char *path;        /* of the file under way */
    struct ship_entry held;  /* a record that waits for the table changes of its commit */
    struct buf held_body;
    bool is_holding;
    MDB_txn *txn;
    size_t txn_bytes;
    struct err *err;
    bool is_failed;
    bool is_done; /* the wanted moment was passed */
};

/* ---- where the copy ends ---- */

static bool find_lsn(struct offline *copy, MDB_txn *txn, uint64_t *ret, struct err *err) {
    struct offline_log log;
    struct store_state state = { 0 };
    MDB_txn *store_txn;
    bool found;
    if (!offline_get_log(copy, txn, &log, err)) {
        return false;
    }
    *ret = log.lsn_last;
    if (log.lsn_last != 0) {
        return true;
    }
    if (!env_read_begin(&copy->store.env, &store_txn, err)) {
        return false;
    }
    bool ok = store_get_state(&copy->store, store_txn, &state, &found, err);
    env_read_end(&copy->store.env, store_txn);
    *ret = state.applied_lsn;
    return ok;
}

static bool find_seq(struct offline *copy, MDB_txn *txn, uint64_t *ret, struct err *err) {
    MDB_dbi table;
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;
    struct ship_row row;
    int rc = mdb_dbi_open(txn, SHIP_TABLE_NAME, 0, &table);
    rc = rc == 0 ? mdb_cursor_open(txn, table, &cursor) : rc;
    if (rc == 0) {
        rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
        mdb_cursor_close(cursor);
    }
    if (rc == MDB_NOTFOUND) {
        return err_set(err, ERR_INVALID,
                       "the backup was taken while its journal was not shipped: nothing can be "
                       "added to it");
    }
    if (rc != 0) {
        return env_fail(&copy->journal, err, rc, "reading table " SHIP_TABLE_NAME);
    }
    if (!ship_row_parse(key, value, &row, err)) {
        return false;
    }
    *ret = row.seq;
    return true;
}

static bool find_end(struct run *run, struct offline_format *ret_format, struct err *err) {
    struct offline *copy = run->copy;
    MDB_txn *txn;
    if (!env_write_begin(&copy->journal, &txn, err)) { /* opening a table needs one */
        return false;
    }
    bool ok = offline_get_format(copy, txn, ret_format, err) &&
              find_lsn(copy, txn, &run->at.lsn, err) && find_seq(copy, txn, &run->at.seq, err);
    mdb_txn_abort(txn);
    return ok;
}

/* ---- entries ---- */

static bool fail_rc(struct run *run, int rc) {
    run->is_failed = true;
    return env_fail(&run->copy->journal, run->err, rc, "adding shipped records");
}

static bool fail_gap(struct run *run, const char *what, uint64_t first, uint64_t last) {
    run->is_failed = true;
    return err_set(run->err, ERR_NOT_FOUND,
                   "%s: shipped %s %" PRIu64 " to %" PRIu64
                   " are missing before it: only a backup of after them can go on from here",
                   run->path, what, first, last);
}

static bool commit(struct run *run) {
    if (run->txn == NULL) {
        return true;
    }
    int rc = mdb_txn_commit(run->txn);
    run->txn = NULL;
    run->txn_bytes = 0;
    return rc == 0 || fail_rc(run, rc);
}

static bool begin(struct run *run, const struct ship_entry *entry) {
    if (run->txn_bytes > TXN_BYTES && !commit(run)) {
        return false;
    }
    run->txn_bytes += entry->body.len + sizeof(*entry);
    if (run->txn == NULL && !env_write_begin(&run->copy->journal, &run->txn, run->err)) {
        run->is_failed = true;
        return false;
    }
    return true;
}

static bool apply_changes(struct run *run, const struct ship_entry *entry) {
    struct str ops = entry->body;
    struct kv_op op;
    bool is_bad;
    while (ship_next_op(&ops, &op, &is_bad)) {
        const MDB_dbi *dbis = run->copy->kv_dbis;
        int rc = op.is_put ? kv_put_row(dbis, run->txn, op.table, op.key, op.value)
                           : kv_del_row(dbis, run->txn, op.table, op.key);
        if (rc != 0) {
            return fail_rc(run, rc);
        }
        run->replay->change_count++;
    }
    if (is_bad) {
        run->is_failed = true;
        return err_set(run->err, ERR_CORRUPT, "%s: table change %" PRIu64 " is not readable",
                       run->path, entry->seq);
    }
    return true;
}

static bool is_past(struct run *run, const struct ship_entry *entry) {
    run->is_done = entry->now_ms > run->replay->until_ms;
    return run->is_done;
}

static bool put_record(struct run *run, const struct ship_entry *entry) {
    if (!begin(run, entry)) {
        return false;
    }
    int rc = journal_put_version(run->txn, run->copy->log, entry->lsn, entry->version, entry->body);
    if (rc != 0) {
        return fail_rc(run, rc);
    }
    run->replay->record_count++;
    return true;
}

/* All or nothing of a commit: its record goes in with its table changes, or not at all. */
static bool release(struct run *run) {
    if (!run->is_holding) {
        return true;
    }
    run->is_holding = false;
    run->held.body = buf_as_str(&run->held_body);
    return put_record(run, &run->held);
}

static bool take_record(struct run *run, const struct ship_entry *entry) {
    if (entry->lsn <= run->at.lsn) {
        return true;
    }
    if (entry->lsn != run->at.lsn + 1) {
        return fail_gap(run, "records", run->at.lsn + 1, entry->lsn - 1);
    }
    if (!release(run) || is_past(run, entry)) {
        return false;
    }
    run->at.lsn = entry->lsn;
    if (!entry->has_tables) {
        return put_record(run, entry);
    }
    run->held = *entry;
    run->is_holding = true;
    buf_reset(&run->held_body);
    buf_str(&run->held_body, entry->body);
    return true;
}

static bool take_changes(struct run *run, const struct ship_entry *entry) {
    if (entry->seq <= run->at.seq) {
        return true;
    }
    if (entry->seq != run->at.seq + 1) {
        return fail_gap(run, "table changes", run->at.seq + 1, entry->seq - 1);
    }
    if (!release(run) || is_past(run, entry) || !begin(run, entry) || !apply_changes(run, entry)) {
        return false;
    }
    run->at.seq = entry->seq;
    return true;
}

static bool take_entry(void *ctx, const struct ship_entry *entry) {
    struct run *run = ctx;
    return entry->kind == SHIP_RECORD ? take_record(run, entry) : take_changes(run, entry);
}

/* ---- files ---- */

static bool is_behind(struct ship_position first, struct ship_position at) {
    return first.lsn <= at.lsn + 1 && first.seq <= at.seq + 1;
}

static bool read_files(struct run *run,
                       const char *dir,
                       const struct offline_format *format,
                       const struct ship_listing *listing,
                       struct err *err) {
    size_t first = 0;
    while (first + 1 < listing->count && is_behind(listing->files[first + 1].first, run->at)) {
        first++;
    }
    for (size_t i = first; !run->is_done && i < listing->count; i++) {
        char path[PATH_MAX];
        if (!disk_join(path, dir, listing->files[i].name, err)) {
            return false;
        }
        run->path = path;
        struct ship_read read = {
            .path = path,
            .id = format->directory_id,
            .may_be_torn = i + 1 == listing->count,
            .visit = take_entry,
            .ctx = run,
        };
        uint64_t end;
        if (!ship_read_file(&read, &end, err) || run->is_failed) {
            return false;
        }
    }
    return commit(run);
}

bool replay_shipped(struct replay_shipped *replay, struct offline *copy, struct err *err) {
    struct run run = { .replay = replay, .copy = copy, .err = err };
    buf_init(&run.held_body, SIZE_MAX);
    struct offline_format format;
    char id[2 * FORMAT_ID_BYTES + 1];
    char dir[PATH_MAX];
    replay->record_count = 0;
    replay->change_count = 0;
    if (!find_end(&run, &format, err)) {
        buf_finish(&run.held_body);
        return false;
    }
    offline_print_id(format.directory_id, id);
    struct ship_listing listing = { 0 };
    bool ok = disk_join(dir, replay->ship_dir, id, err) && ship_list(dir, &listing, err);
    if (ok && listing.count == 0) {
        ok = err_set(err, ERR_NOT_FOUND, "%s holds no shipped journal", dir);
    }
    ok = ok && read_files(&run, dir, &format, &listing, err);
    if (run.txn != NULL) {
        mdb_txn_abort(run.txn);
    }
    ship_listing_finish(&listing);
    buf_finish(&run.held_body);
    replay->is_at_end = !run.is_done;
    return ok;
}
