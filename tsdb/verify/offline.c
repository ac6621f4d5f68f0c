/* A data directory without a store over it: see offline.h. */
#include "tsdb/verify/offline.h"

#include <inttypes.h>

#include "tsdb/codec/bytes.h"
#include "tsdb/env/disk.h"

#define JOURNAL_MAP_BYTES ((size_t)1 << 36)

static bool open_table(struct env *env,
                       const char *name,
                       MDB_dbi *ret,
                       bool *ret_has,
                       struct err *err) {
    struct err failure = ERR_INIT;
    *ret_has = env_open_dbs(env, &name, 1, ret, &failure);
    if (!*ret_has && failure.code != ERR_NOT_FOUND) {
        *err = failure;
        return false;
    }
    return true;
}

static bool open_journal(struct offline *offline,
                         const char *path,
                         bool is_read_only,
                         struct err *err) {
    struct env_params params = {
        .name = "journal",
        .path = path,
        .map_bytes = JOURNAL_MAP_BYTES,
        .db_count = KV_TABLE_COUNT + 2,
        .is_read_only = is_read_only,
    };
    if (!env_open(&offline->journal, &params, err) ||
        !open_table(&offline->journal, "log", &offline->log, &offline->has_log, err)) {
        return false;
    }
    for (size_t i = 0; i < KV_TABLE_COUNT; i++) {
        if (!open_table(&offline->journal, kv_table_names[i], &offline->kv_dbis[i],
                        &offline->has_kv[i], err)) {
            return false;
        }
    }
    return true;
}

bool offline_open(struct offline *offline, const char *path, bool is_read_only, struct err *err) {
    *offline = (struct offline){ 0 };
    char journal[PATH_MAX];
    char store[PATH_MAX];
    if (!disk_join(journal, path, "journal", err) || !disk_join(store, path, "store", err)) {
        return false;
    }
    if (!open_journal(offline, journal, is_read_only, err) ||
        !store_open(&offline->store, store, is_read_only, err)) {
        offline_close(offline);
        return err_wrap(err, "%s", path);
    }
    return true;
}

void offline_close(struct offline *offline) {
    store_close(&offline->store);
    env_close(&offline->journal);
}

bool offline_get_format(struct offline *offline,
                        MDB_txn *journal_txn,
                        struct offline_format *ret,
                        struct err *err) {
    struct str name = FORMAT_KEY;
    MDB_val key = { .mv_size = name.len, .mv_data = (void *)(uintptr_t)name.ptr };
    MDB_val row;
    int rc = offline->has_kv[KV_META] ? mdb_get(journal_txn, offline->kv_dbis[KV_META], &key, &row)
                                      : MDB_NOTFOUND;
    if (rc == MDB_NOTFOUND) {
        return err_set(err, ERR_NOT_FOUND, "journal: no format row: not a data directory");
    }
    if (rc != 0) {
        return env_fail(&offline->journal, err, rc, "reading the format row");
    }
    struct str value;
    if (!kv_check_row(KV_META, key, row, &value, err)) {
        return false;
    }
    if (value.len != FORMAT_ROW_BYTES) {
        return err_set(err, ERR_CORRUPT, "journal: the format row has %zu bytes", value.len);
    }
    ret->version = bytes_le32((const uint8_t *)value.ptr);
    memcpy(ret->directory_id, value.ptr + 4, FORMAT_ID_BYTES);
    if (ret->version > FORMAT_VERSION) {
        return err_set(err, ERR_INVALID, "the data has format %u, this program knows up to %d",
                       ret->version, FORMAT_VERSION);
    }
    return true;
}

void offline_print_id(const uint8_t id[FORMAT_ID_BYTES], char out[2 * FORMAT_ID_BYTES + 1]) {
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < FORMAT_ID_BYTES; i++) {
        out[2 * i] = hex[id[i] >> 4];
        out[2 * i + 1] = hex[id[i] & 15];
    }
    out[2 * FORMAT_ID_BYTES] = '\0';
}

/* ---- the log ---- */

/* One record's time is wanted: the newest's. */
static bool take_time(void *ctx, uint64_t lsn, uint8_t version, struct str body, struct err *err) {
    return journal_body_time(version, body, ctx) ||
           err_set(err, ERR_CORRUPT, "journal: record %" PRIu64 " ends early", lsn);
}

bool offline_get_log(struct offline *offline,
                     MDB_txn *journal_txn,
                     struct offline_log *ret,
                     struct err *err) {
    *ret = (struct offline_log){ 0 };
    if (!offline->has_log) {
        return true;
    }
    if (!journal_bounds(&offline->journal, journal_txn, offline->log, &ret->lsn_first,
                        &ret->lsn_last, err)) {
        return false;
    }
    if (ret->lsn_last == 0) {
        return true;
    }
    struct journal_visitor visitor = { .body = take_time, .ctx = &ret->last_commit_ms };
    return journal_walk(&offline->journal, journal_txn, offline->log, ret->lsn_last, &visitor, err);
}
