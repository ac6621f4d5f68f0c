/* The shipping thread and the committer's side of it: see ship.h. */
#include "tsdb/backup/ship.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/backup/ship_file.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/verify/offline.h"

#define PASS_NS       INT64_C(1000000000)
#define PASS_BYTES    ((size_t)16 << 20)
#define TRIM_ROWS_MAX 1024
#define ROW_HEADER    20 /* CRC, LSN, time */
#define SEQ_PER_MS    1000
#define OP_HEADER     10

struct ship {
    struct tsdb *db;
    MDB_dbi table;
    /* committer */
    uint64_t seq_last;
    uint64_t seq_trimmed;
    bool has_put;
    /* thread */
    struct ship_writer writer;
    struct ship_position shipped;
    struct ship_position added; /* shipped, and what waits in the writer */
    bool is_open;               /* writer and positions are good */
    bool has_gap;
    struct ship_position behind_gap; /* where it ends */
    int64_t caught_up_ms;
    _Atomic uint64_t shipped_seq;

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_stopping; /* guarded by lock, as the next one */
    struct err failure;

    struct metric *is_shipping;
    struct metric *caught_up;
    struct metric *failures;
    struct metric *gaps;
    struct metric *bytes;
};

/* ---- rows of the table ---- */

static uint32_t row_crc(const void *key, const uint8_t *row, size_t len) {
    uint32_t crc = hash_crc32c(0, key, SHIP_ROW_KEY_BYTES);
    return hash_crc32c(crc, row + 4, len - 4);
}

bool ship_row_parse(MDB_val key, MDB_val row, struct ship_row *ret, struct err *err) {
    const uint8_t *bytes = row.mv_data;
    if (key.mv_size != SHIP_ROW_KEY_BYTES || row.mv_size < ROW_HEADER ||
        bytes_le32(bytes) != row_crc(key.mv_data, bytes, row.mv_size)) {
        return err_set(err, ERR_CORRUPT,
                       "journal: a row of table " SHIP_TABLE_NAME " has a wrong checksum");
    }
    *ret = (struct ship_row){
        .seq = bytes_be64(key.mv_data),
        .lsn = bytes_le64(bytes + 4),
        .now_ms = (int64_t)bytes_le64(bytes + 12),
        .ops = str_n((const char *)bytes + ROW_HEADER, row.mv_size - ROW_HEADER),
    };
    return true;
}

bool ship_next_op(struct str *ops, struct kv_op *ret, bool *ret_bad) {
    *ret_bad = false;
    if (ops->len == 0) {
        return false;
    }
    struct reader reader = reader_init(ops->ptr, ops->len);
    uint8_t kind = reader_u8(&reader);
    uint8_t table = reader_u8(&reader);
    uint32_t key_len = reader_le32(&reader);
    uint32_t value_len = reader_le32(&reader);
    const char *key = (const char *)reader_bytes(&reader, key_len);
    const char *value = (const char *)reader_bytes(&reader, value_len);
    if (reader.is_bad || kind > 1 || table >= KV_TABLE_COUNT || key_len == 0 ||
        key_len > KV_KEY_BYTES_MAX) {
        *ret_bad = true;
        return false;
    }
    *ret = (struct kv_op){
        .is_put = kind == 1,
        .table = (enum kv_table)table,
        .key = str_n(key, key_len),
        .value = str_n(value, value_len),
    };
    size_t len = OP_HEADER + (size_t)key_len + value_len;
    *ops = str_n(ops->ptr + len, ops->len - len);
    return true;
}

static int put_row(const struct ship *ship,
                   MDB_txn *txn,
                   uint64_t lsn,
                   int64_t now_ms,
                   struct tsdb_batch *const *batches,
                   size_t count) {
    size_t len = ROW_HEADER;
    for (size_t i = 0; i < count; i++) {
        len += batches[i]->kv_ops.len;
    }
    uint8_t key[SHIP_ROW_KEY_BYTES];
    bytes_put_be64(key, ship->seq_last + 1);
    MDB_val mdb_key = { .mv_size = sizeof(key), .mv_data = key };
    MDB_val value = { .mv_size = len };
    int rc = mdb_put(txn, ship->table, &mdb_key, &value, MDB_APPEND | MDB_RESERVE);
    if (rc != 0) {
        return rc;
    }
    uint8_t *row = value.mv_data;
    bytes_put_le64(row + 4, lsn);
    bytes_put_le64(row + 12, (uint64_t)now_ms);
    uint8_t *at = row + ROW_HEADER;
    for (size_t i = 0; i < count; i++) {
        const struct buf *ops = &batches[i]->kv_ops;
        if (ops->len > 0) {
            memcpy(at, ops->ptr, ops->len);
        }
        at += ops->len;
    }
    bytes_put_le32(row, row_crc(key, row, len));
    return 0;
}

/* ---- the committer's side ---- */

/* All shipped rows but the newest. */
static int trim_rows(struct ship *ship, MDB_txn *txn) {
    uint64_t until = ship->shipped_seq < ship->seq_last ? ship->shipped_seq : ship->seq_last - 1;
    if (until <= ship->seq_trimmed) {
        return 0;
    }
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, ship->table, &cursor);
    if (rc != 0) {
        return rc;
    }
    MDB_val key;
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_FIRST);
    size_t count = 0;
    for (; rc == 0 && bytes_be64(key.mv_data) <= until && count < TRIM_ROWS_MAX; count++) {
        rc = mdb_cursor_del(cursor, 0);
        rc = rc == 0 ? mdb_cursor_get(cursor, &key, &row, MDB_FIRST) : rc;
    }
    mdb_cursor_close(cursor);
    if (count < TRIM_ROWS_MAX) {
        ship->seq_trimmed = until; /* what an aborted transaction leaves goes with the next */
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int ship_put(struct tsdb *db,
             MDB_txn *txn,
             uint64_t lsn,
             int64_t now_ms,
             struct tsdb_batch *const *batches,
             size_t count) {
    struct ship *ship = db->ship;
    if (ship == NULL) {
        return 0;
    }
    bool has_ops = false;
    for (size_t i = 0; i < count; i++) {
        has_ops = has_ops || batches[i]->kv_ops.len > 0;
    }
    ship->has_put = has_ops;
    int rc = has_ops ? put_row(ship, txn, lsn, now_ms, batches, count) : 0;
    return rc == 0 ? trim_rows(ship, txn) : rc;
}

void ship_committed(struct tsdb *db) {
    struct ship *ship = db->ship;
    if (ship != NULL && ship->has_put) {
        ship->seq_last++;
        ship->has_put = false;
    }
}

/* ---- positions ---- */

/* What the journal still has: the first of what can be shipped, the last there is. */
struct extent {
    uint64_t lsn_first; /* of the log; lsn_last + 1 when it is empty */
    uint64_t lsn_last;
    uint64_t seq_first;
    uint64_t seq_last;
};

static bool get_extent(struct ship *ship, MDB_txn *txn, struct extent *ret, struct err *err) {
    struct tsdb *db = ship->db;
    uint64_t first;
    uint64_t last;
    if (!journal_bounds(&db->journal, txn, db->log, &first, &last, err)) {
        return false;
    }
    ret->lsn_last = last != 0 ? last : db->trim_lsn;
    ret->lsn_first = last != 0 ? first : ret->lsn_last + 1;
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val row;
    int rc = mdb_cursor_open(txn, ship->table, &cursor);
    if (rc != 0) {
        return env_fail(&db->journal, err, rc, "reading table " SHIP_TABLE_NAME);
    }
    rc = mdb_cursor_get(cursor, &key, &row, MDB_FIRST);
    ret->seq_first = rc == 0 ? bytes_be64(key.mv_data) : 1;
    rc = rc == 0 ? mdb_cursor_get(cursor, &key, &row, MDB_LAST) : rc;
    ret->seq_last = rc == 0 ? bytes_be64(key.mv_data) : 0;
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ||
           env_fail(&db->journal, err, rc, "reading table " SHIP_TABLE_NAME);
}

static void set_shipped(struct ship *ship, struct ship_position position) {
    ship->shipped = position;
    ship->added = position;
    ship->shipped_seq = position.seq;
    ship->db->ship_floor = position.lsn;
}

static void note_gap(struct ship *ship) {
    metric_inc(ship->gaps);
    if (ship->writer.fd >= 0) {
        close(ship->writer.fd); /* the next file's name tells the gap */
        ship->writer.fd = -1;
    }
}

static bool open_writer(struct ship *ship, MDB_txn *txn, struct err *err) {
    struct extent extent = { 0 };
    struct ship_position position = { 0 };
    bool found = false;
    if (!get_extent(ship, txn, &extent, err) ||
        !ship_writer_resume(&ship->writer, &position, &found, err)) {
        return false;
    }
    if (!found) {
        position = (struct ship_position){ extent.lsn_first - 1, extent.seq_first - 1 };
    }
    if (position.lsn > extent.lsn_last || position.seq > extent.seq_last) {
        return err_set(err, ERR_INVALID,
                       "%s goes to record %" PRIu64 ", the journal only to %" PRIu64
                       ": the data directory was put back without tocsin restore; move the "
                       "shipped files away",
                       ship->writer.dir, position.lsn, extent.lsn_last);
    }
    set_shipped(ship, position);
    ship->is_open = true;
    return true;
}

/* ---- a pass ---- */

/* Nothing more is added before it is skipped. */
static bool meet_gap(struct ship *ship, uint64_t lsn, uint64_t seq) {
    ship->has_gap = true;
    ship->behind_gap = (struct ship_position){ .lsn = lsn, .seq = seq };
    return false;
}

static bool add_row(struct ship *ship, const struct ship_row *row) {
    if (row->seq != ship->added.seq + 1) {
        return meet_gap(ship, ship->added.lsn, row->seq - 1);
    }
    struct ship_entry entry = {
        .kind = SHIP_TABLES,
        .lsn = row->lsn,
        .seq = row->seq,
        .now_ms = row->now_ms,
        .body = row->ops,
    };
    ship_writer_add(&ship->writer, &entry);
    ship->added.seq = row->seq;
    return true;
}

struct pass {
    struct ship *ship;
    MDB_cursor *rows;
    MDB_val key; /* where the cursor stands */
    MDB_val row;
    int rc;
};

static bool has_room(const struct ship *ship) {
    return ship->writer.pending.len < PASS_BYTES;
}

/* Table changes of before record `lsn`. False: stop here. */
static bool add_rows(struct pass *pass, uint64_t lsn, struct err *err) {
    struct ship *ship = pass->ship;
    while (pass->rc == 0) {
        struct ship_row row;
        if (!ship_row_parse(pass->key, pass->row, &row, err)) {
            return false;
        }
        if (row.lsn >= lsn) {
            return true;
        }
        if (row.seq > ship->added.seq && (!has_room(ship) || !add_row(ship, &row))) {
            return false;
        }
        pass->rc = mdb_cursor_get(pass->rows, &pass->key, &pass->row, MDB_NEXT);
    }
    return true;
}

static bool add_record(void *ctx, uint64_t lsn, uint8_t version, struct str body, struct err *err) {
    struct pass *pass = ctx;
    struct ship *ship = pass->ship;
    if (!add_rows(pass, lsn, err) || !has_room(ship)) {
        return false;
    }
    if (lsn != ship->added.lsn + 1) {
        return meet_gap(ship, lsn - 1, ship->added.seq);
    }
    struct ship_entry entry = {
        .kind = SHIP_RECORD,
        .version = version,
        .lsn = lsn,
        .body = body,
    };
    if (!journal_body_time(version, body, &entry.now_ms)) {
        return err_set(err, ERR_CORRUPT, "journal: record %" PRIu64 " ends early", lsn);
    }
    if (pass->rc == 0) {
        struct ship_row row; /* the first one of after record lsn - 1 */
        if (!ship_row_parse(pass->key, pass->row, &row, err)) {
            return false;
        }
        entry.has_tables = row.lsn == lsn && row.now_ms == entry.now_ms;
    }
    ship_writer_add(&ship->writer, &entry);
    ship->added.lsn = lsn;
    return true;
}

/* Into the writer's memory. *ret_all: nothing is left. */
static bool collect(struct ship *ship, MDB_txn *txn, bool *ret_all, struct err *err) {
    struct tsdb *db = ship->db;
    struct pass pass = { .ship = ship };
    int rc = mdb_cursor_open(txn, ship->table, &pass.rows);
    if (rc != 0) {
        return env_fail(&db->journal, err, rc, "reading table " SHIP_TABLE_NAME);
    }
    uint8_t from[SHIP_ROW_KEY_BYTES];
    bytes_put_be64(from, ship->added.seq + 1);
    pass.key = (MDB_val){ .mv_size = sizeof(from), .mv_data = from };
    pass.rc = mdb_cursor_get(pass.rows, &pass.key, &pass.row, MDB_SET_RANGE);
    struct journal_visitor visitor = { .body = add_record, .ctx = &pass };
    *ret_all = journal_walk(&db->journal, txn, db->log, ship->added.lsn + 1, &visitor, err) &&
               add_rows(&pass, UINT64_MAX, err);
    mdb_cursor_close(pass.rows);
    return err->code == ERR_NONE;
}

/* After numbers that do not follow each other: go on behind the gap, wherever it was. */
static void skip_gap(struct ship *ship) {
    note_gap(ship);
    set_shipped(ship, ship->behind_gap);
    ship->has_gap = false;
}

static bool run_pass(struct ship *ship, bool *ret_all, struct err *err) {
    struct tsdb *db = ship->db;
    MDB_txn *txn;
    if (!env_read_begin(&db->journal, &txn, err)) {
        return false;
    }
    bool ok = ship->is_open || open_writer(ship, txn, err);
    if (ok && ship->has_gap) {
        skip_gap(ship);
    }
    ok = ok && collect(ship, txn, ret_all, err);
    env_read_end(&db->journal, txn);
    size_t bytes = ship->writer.pending.len;
    struct ship_position first = { ship->shipped.lsn + 1, ship->shipped.seq + 1 };
    if (!ok || !ship_writer_sync(&ship->writer, first, clock_wall_ms(db->clock), err)) {
        return false;
    }
    metric_add(ship->bytes, (double)bytes);
    if (bytes > 0) {
        set_shipped(ship, ship->added);
        committer_wake(db);
    }
    return true;
}

/* ---- the thread ---- */

static void close_writer(struct ship *ship) {
    char dir[PATH_MAX];
    uint8_t id[FORMAT_ID_BYTES];
    memcpy(dir, ship->writer.dir, sizeof(dir));
    memcpy(id, ship->writer.id, sizeof(id));
    ship_writer_finish(&ship->writer);
    ship_writer_init(&ship->writer, dir, id);
    ship->is_open = false;
    ship->has_gap = false;
}

static void note_result(struct ship *ship, bool ok, const struct err *err) {
    struct tsdb *db = ship->db;
    pthread_mutex_lock(&ship->lock);
    ship->failure = ok ? (struct err)ERR_INIT : *err;
    pthread_mutex_unlock(&ship->lock);
    metric_set(ship->is_shipping, ok ? 1 : 0);
    metric_set(ship->caught_up, (double)ship->caught_up_ms / 1000);
    if (ok) {
        return;
    }
    metric_inc(ship->failures);
    close_writer(ship);
    uint64_t waiting =
        env_db_bytes(&db->journal, db->log) + env_db_bytes(&db->journal, ship->table);
    if (waiting > db->ship_retained_bytes) {
        db->ship_floor = UINT64_MAX; /* the gap shows when shipping goes on */
        ship->shipped_seq = UINT64_MAX;
        committer_wake(db);
    }
}

/* Until nothing is left or it fails. */
static void ship_all(struct ship *ship) {
    bool is_all = false;
    bool ok = true;
    while (ok && !is_all) {
        struct err err = ERR_INIT;
        int64_t now_ms = clock_wall_ms(ship->db->clock);
        ok = run_pass(ship, &is_all, &err);
        ship->caught_up_ms = ok && is_all ? now_ms : ship->caught_up_ms;
        note_result(ship, ok, &err);
    }
}

static bool wait_for_pass(struct ship *ship) {
    int64_t until_ns = clock_mono_ns(clock_system()) + PASS_NS;
    struct timespec until = {
        .tv_sec = (time_t)(until_ns / 1000000000),
        .tv_nsec = (long)(until_ns % 1000000000),
    };
    pthread_mutex_lock(&ship->lock);
    int rc = 0;
    while (!ship->is_stopping && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&ship->cond, &ship->lock, &until);
    }
    bool goes_on = !ship->is_stopping;
    pthread_mutex_unlock(&ship->lock);
    return goes_on;
}

static void *ship_main(void *arg) {
    struct ship *ship = arg;
    do {
        ship_all(ship);
    } while (wait_for_pass(ship));
    ship_all(ship); /* the committer has ended: what it did last */
    return NULL;
}

/* ---- life ---- */

static void init_metrics(struct ship *ship, struct metric_registry *r) {
    ship->is_shipping = metric_gauge(r, "tocsin_tsdb_ship_up",
                                     "1 while the journal is shipped, 0 after a failure.", NULL);
    ship->caught_up =
        metric_gauge(r, "tocsin_tsdb_ship_caught_up_timestamp_seconds",
                     "When everything committed was last in the shipping directory.", NULL);
    ship->failures = metric_counter(r, "tocsin_tsdb_ship_failures_total",
                                    "Attempts to ship the journal that failed.", NULL);
    ship->gaps = metric_counter(r, "tocsin_tsdb_ship_gaps_total",
                                "Gaps in the shipped journal: only a backup of after it helps "
                                "beyond.",
                                NULL);
    ship->bytes =
        metric_counter(r, "tocsin_tsdb_ship_bytes_total", "Bytes of the journal shipped.", NULL);
}

static int find_last_seq(MDB_txn *txn, MDB_dbi table, uint64_t *ret) {
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val row;
    int rc = mdb_cursor_open(txn, table, &cursor);
    if (rc != 0) {
        return rc;
    }
    rc = mdb_cursor_get(cursor, &key, &row, MDB_LAST);
    *ret = rc == 0 && key.mv_size == SHIP_ROW_KEY_BYTES ? bytes_be64(key.mv_data) : 0;
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* The table always has a row. A first one is numbered by the clock: beyond every number used
 * before, and not next to one. */
static bool prepare_table(struct ship *ship, struct err *err) {
    struct tsdb *db = ship->db;
    const char *name = SHIP_TABLE_NAME;
    MDB_txn *txn;
    if (!env_open_dbs(&db->journal, &name, 1, &ship->table, err) ||
        !env_write_begin(&db->journal, &txn, err)) {
        return false;
    }
    int rc = find_last_seq(txn, ship->table, &ship->seq_last);
    if (rc == 0 && ship->seq_last == 0) {
        int64_t now_ms = clock_wall_ms(db->clock);
        ship->seq_last = (uint64_t)(now_ms > 0 ? now_ms : 0) * SEQ_PER_MS;
        rc = put_row(ship, txn, db->ready.lsn_end, now_ms, NULL, 0);
        ship->seq_last++;
    }
    rc = rc == 0 ? mdb_txn_commit(txn) : (mdb_txn_abort(txn), rc);
    return rc == 0 || env_fail(&db->journal, err, rc, "preparing table " SHIP_TABLE_NAME);
}

static bool drop_rows(struct tsdb *db, struct err *err) {
    MDB_txn *txn;
    MDB_dbi table;
    if (!env_write_begin(&db->journal, &txn, err)) {
        return false;
    }
    int rc = mdb_dbi_open(txn, SHIP_TABLE_NAME, 0, &table);
    rc = rc == 0 ? mdb_drop(txn, table, 0) : rc;
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc == MDB_NOTFOUND ||
               env_fail(&db->journal, err, rc, "emptying table " SHIP_TABLE_NAME);
    }
    rc = mdb_txn_commit(txn);
    return rc == 0 || env_fail(&db->journal, err, rc, "emptying table " SHIP_TABLE_NAME);
}

static bool set_directory(struct ship *ship, const char *dir, struct err *err) {
    struct tsdb *db = ship->db;
    CLEANUP(buf_finish) struct buf row;
    buf_init(&row, FORMAT_ROW_BYTES);
    char name[2 * FORMAT_ID_BYTES + 1];
    char path[PATH_MAX];
    if (!db->kv.get(&db->kv, KV_META, FORMAT_KEY, &row, err) || row.len != FORMAT_ROW_BYTES) {
        return err->code != ERR_NONE ? false : err_set(err, ERR_CORRUPT, "journal: no format row");
    }
    const uint8_t *id = (const uint8_t *)row.ptr + 4;
    offline_print_id(id, name);
    if (!disk_join(path, dir, name, err)) {
        return false;
    }
    ship_writer_init(&ship->writer, path, id);
    return true;
}

bool ship_start(struct tsdb *db, const char *dir, struct err *err) {
    db->ship_floor = UINT64_MAX;
    if (dir == NULL) {
        return drop_rows(db, err);
    }
    struct ship *ship = mem_calloc(1, sizeof(*ship));
    ship->db = db;
    ship->writer.fd = -1;
    pthread_mutex_init(&ship->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ship->cond, &attr);
    pthread_condattr_destroy(&attr);
    db->ship = ship;
    db->ship_floor = 0; /* nothing goes until it is known what was shipped */
    ship->caught_up_ms = clock_wall_ms(db->clock);
    init_metrics(ship, db->registry);
    if (!set_directory(ship, dir, err) || !prepare_table(ship, err)) {
        return false;
    }
    int rc = pthread_create(&ship->thread, NULL, ship_main, ship);
    ship->has_thread = rc == 0;
    return rc == 0 || err_set_errno(err, ERR_IO, rc, "starting the shipping thread");
}

void ship_stop(struct tsdb *db) {
    struct ship *ship = db->ship;
    if (ship == NULL) {
        return;
    }
    pthread_mutex_lock(&ship->lock);
    ship->is_stopping = true;
    pthread_cond_signal(&ship->cond);
    pthread_mutex_unlock(&ship->lock);
    if (ship->has_thread) {
        pthread_join(ship->thread, NULL);
    }
    ship_writer_finish(&ship->writer);
    pthread_mutex_destroy(&ship->lock);
    pthread_cond_destroy(&ship->cond);
    mem_free(ship);
    db->ship = NULL;
}

bool tsdb_ship_health(struct tsdb *db, struct err *err) {
    struct ship *ship = db->ship;
    if (ship == NULL) {
        return true;
    }
    pthread_mutex_lock(&ship->lock);
    bool ok = ship->failure.code == ERR_NONE;
    if (!ok) {
        *err = ship->failure;
    }
    pthread_mutex_unlock(&ship->lock);
    return ok;
}
