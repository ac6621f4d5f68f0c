/* The transactional tables: named databases of the journal environment behind base/kv.h. */
#include <assert.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/db.h"

#define CRC_BYTES       4
#define KEY_BYTES_SHOWN 64 /* of a damaged row's key, in hex */

const char *const kv_table_names[] = {
    [KV_META] = "meta",
    [KV_ALERT_STATE] = "alert_state",
    [KV_RULE_STATE] = "rule_state",
    [KV_NOTIFY_ALERT] = "notify_alert",
    [KV_NOTIFY_GROUP] = "notify_group",
    [KV_OUTBOX] = "outbox",
    [KV_INBOX] = "inbox",
    [KV_SILENCE] = "silence",
    [KV_EVENT_STATE] = "event_state",
    [KV_EVENT_DEDUP] = "event_dedup",
    [KV_EVENT_EXPIRY] = "event_expiry",
    [KV_LEASE] = "lease",
    [KV_METADATA] = "metadata",
    [KV_PUSH_GROUP] = "push_group",
};
static_assert(ARRAY_LEN(kv_table_names) == KV_TABLE_COUNT, "one database per table");

static uint32_t row_crc(enum kv_table table, struct str key, struct str value) {
    const char *name = kv_table_names[table];
    uint32_t crc = hash_crc32c(0, name, strlen(name) + 1);
    crc = hash_crc32c(crc, key.ptr, key.len);
    return hash_crc32c(crc, value.ptr, value.len);
}

/* ---- rows ---- */

int kv_put_row(const MDB_dbi dbis[KV_TABLE_COUNT],
               MDB_txn *txn,
               enum kv_table table,
               struct str key,
               struct str value) {
    MDB_val mdb_key = { .mv_size = key.len, .mv_data = (void *)(uintptr_t)key.ptr };
    MDB_val mdb_value = { .mv_size = value.len + CRC_BYTES };
    int rc = mdb_put(txn, dbis[table], &mdb_key, &mdb_value, MDB_RESERVE);
    if (rc == 0) {
        uint8_t *row = mdb_value.mv_data;
        bytes_put_le32(row, row_crc(table, key, value));
        if (value.len > 0) {
            memcpy(row + CRC_BYTES, value.ptr, value.len);
        }
    }
    return rc;
}

int kv_del_row(const MDB_dbi dbis[KV_TABLE_COUNT],
               MDB_txn *txn,
               enum kv_table table,
               struct str key) {
    MDB_val mdb_key = { .mv_size = key.len, .mv_data = (void *)(uintptr_t)key.ptr };
    int rc = mdb_del(txn, dbis[table], &mdb_key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static const char *key_as_hex(struct str key, char ret[2 * KEY_BYTES_SHOWN + 1]) {
    static const char digits[] = "0123456789abcdef";
    size_t count = key.len < KEY_BYTES_SHOWN ? key.len : KEY_BYTES_SHOWN;
    for (size_t i = 0; i < count; i++) {
        ret[2 * i] = digits[(uint8_t)key.ptr[i] >> 4];
        ret[2 * i + 1] = digits[(uint8_t)key.ptr[i] & 15];
    }
    ret[2 * count] = '\0';
    return ret;
}

static void keep_row(struct tsdb *db, enum kv_table table, struct str key, MDB_val row) {
    char key_text[2 * KEY_BYTES_SHOWN + 1];
    char name[2 * KEY_BYTES_SHOWN + 64];
    snprintf(name, sizeof(name), "table-%s-%s", kv_table_names[table], key_as_hex(key, key_text));
    damage_keep(db, name, str_n(row.mv_data, row.mv_size));
}

bool kv_check_row(enum kv_table table, MDB_val key, MDB_val row, struct str *ret, struct err *err) {
    struct str key_str = str_n(key.mv_data, key.mv_size);
    const uint8_t *bytes = row.mv_data;
    if (row.mv_size >= CRC_BYTES) {
        *ret = str_n((const char *)bytes + CRC_BYTES, row.mv_size - CRC_BYTES);
        if (bytes_le32(bytes) == row_crc(table, key_str, *ret)) {
            return true;
        }
    }
    char key_text[2 * KEY_BYTES_SHOWN + 1];
    return err_set(err, ERR_CORRUPT, "journal: table %s: the row with key %s has a wrong checksum",
                   kv_table_names[table], key_as_hex(key_str, key_text));
}

static bool check_row(struct tsdb *db,
                      enum kv_table table,
                      MDB_val key,
                      MDB_val row,
                      struct str *ret,
                      struct err *err) {
    if (kv_check_row(table, key, row, ret, err)) {
        return true;
    }
    damage_note(db, DAMAGE_TABLE, err);
    keep_row(db, table, str_n(key.mv_data, key.mv_size), row);
    return false;
}

/* ---- the seam ---- */

static struct tsdb *db_of(struct kv_store *store) {
    return (struct tsdb *)(void *)((char *)store - offsetof(struct tsdb, kv));
}

static bool table_get(struct kv_store *store,
                      enum kv_table table,
                      struct str key,
                      struct buf *ret,
                      struct err *err) {
    struct tsdb *db = db_of(store);
    buf_reset(ret);
    MDB_txn *txn;
    if (!env_read_begin(&db->journal, &txn, err)) {
        return false;
    }
    MDB_val mdb_key = { .mv_size = key.len, .mv_data = (void *)(uintptr_t)key.ptr };
    MDB_val row;
    /* LMDB takes keys of 1 to 511 bytes; others are simply not there. */
    int rc = key.len == 0 || key.len > KV_KEY_BYTES_MAX
                 ? MDB_NOTFOUND
                 : mdb_get(txn, db->kv_dbis[table], &mdb_key, &row);
    bool is_found = rc == 0;
    if (rc == 0) {
        struct str value;
        is_found = check_row(db, table, mdb_key, row, &value, err);
        if (is_found) {
            buf_str(ret, value);
        }
    } else if (rc != MDB_NOTFOUND) {
        env_fail(&db->journal, err, rc, "reading table %s", kv_table_names[table]);
    }
    env_read_end(&db->journal, txn);
    return is_found;
}

struct scan {
    struct tsdb *db;
    enum kv_table table;
    struct str from;
    struct str prefix;
    bool (*visit)(void *ctx, struct str key, struct str value);
    void *ctx;
};

static bool scan_cursor(const struct scan *scan, MDB_cursor *cursor, struct err *err) {
    struct str start = str_cmp(scan->from, scan->prefix) > 0 ? scan->from : scan->prefix;
    MDB_val key = { .mv_size = start.len, .mv_data = (void *)(uintptr_t)start.ptr };
    MDB_val row;
    int rc = mdb_cursor_get(cursor, &key, &row, start.len == 0 ? MDB_FIRST : MDB_SET_RANGE);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT)) {
        struct str key_str = str_n(key.mv_data, key.mv_size);
        if (!str_starts_with(key_str, scan->prefix)) {
            return true;
        }
        struct str value;
        struct err damage = ERR_INIT;
        if (!check_row(scan->db, scan->table, key, row, &value, &damage)) {
            continue; /* told and kept; the others are served */
        }
        if (!scan->visit(scan->ctx, key_str, value)) {
            return true;
        }
    }
    return rc == MDB_NOTFOUND ||
           env_fail(&scan->db->journal, err, rc, "scanning table %s", kv_table_names[scan->table]);
}

static bool table_scan(struct kv_store *store,
                       enum kv_table table,
                       struct str from,
                       struct str prefix,
                       bool (*visit)(void *ctx, struct str key, struct str value),
                       void *ctx,
                       struct err *err) {
    struct scan scan = {
        .db = db_of(store),
        .table = table,
        .from = from.len > KV_KEY_BYTES_MAX ? str_n(from.ptr, KV_KEY_BYTES_MAX) : from,
        .prefix = prefix,
        .visit = visit,
        .ctx = ctx,
    };
    MDB_txn *txn;
    if (prefix.len > KV_KEY_BYTES_MAX) {
        return true;
    }
    if (!env_read_begin(&scan.db->journal, &txn, err)) {
        return false;
    }
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, scan.db->kv_dbis[table], &cursor);
    bool ok = false;
    if (rc != 0) {
        env_fail(&scan.db->journal, err, rc, "scanning table %s", kv_table_names[table]);
    } else {
        ok = scan_cursor(&scan, cursor, err);
        mdb_cursor_close(cursor);
    }
    env_read_end(&scan.db->journal, txn);
    return ok;
}

/* A batch that could not begin still has to be given out; its commit reports why. */
static struct kv_batch *table_begin(struct kv_store *store) {
    struct tsdb *db = db_of(store);
    return tsdb_batch_kv(batch_create(db, TSDB_STATE));
}

static bool table_commit_blocking(struct kv_store *store, struct kv_batch *batch, struct err *err) {
    assert(((struct tsdb_batch *)batch)->db == db_of(store));
    return tsdb_commit_blocking((struct tsdb_batch *)batch, NULL, err);
}

static void table_abandon(struct kv_store *store, struct kv_batch *batch) {
    tsdb_batch_abandon((struct tsdb_batch *)batch);
}

void kv_store_init(struct tsdb *db) {
    db->kv = (struct kv_store){
        .get = table_get,
        .scan = table_scan,
        .begin = table_begin,
        .commit_blocking = table_commit_blocking,
        .abandon = table_abandon,
    };
}

struct kv_store *tsdb_kv(struct tsdb *db) {
    return &db->kv;
}
