/*
 * Both environments of a data directory (or of a backup, which looks the same) without a store
 * over them: for taking, checking and restoring backups. Tables that an older directory does not
 * have count as empty.
 */
#pragma once

#include "tsdb/db.h"

struct offline {
    struct env journal;
    MDB_dbi log;
    bool has_log;
    MDB_dbi kv_dbis[KV_TABLE_COUNT];
    bool has_kv[KV_TABLE_COUNT];
    struct store store;
};

WARN_UNUSED bool offline_open(struct offline *offline,
                              const char *path,
                              bool is_read_only,
                              struct err *err);
void offline_close(struct offline *offline); /* fine on a half-open one */

struct offline_format {
    uint32_t version;
    uint8_t directory_id[FORMAT_ID_BYTES];
};

WARN_UNUSED bool offline_get_format(struct offline *offline,
                                    MDB_txn *journal_txn,
                                    struct offline_format *ret,
                                    struct err *err);
void offline_print_id(const uint8_t id[FORMAT_ID_BYTES], char out[2 * FORMAT_ID_BYTES + 1]);

/* Bounds of the log and the commit time of its newest record; all 0 when it is empty. */
struct offline_log {
    uint64_t lsn_first;
    uint64_t lsn_last;
    int64_t last_commit_ms;
};

WARN_UNUSED bool offline_get_log(struct offline *offline,
                                 MDB_txn *journal_txn,
                                 struct offline_log *ret,
                                 struct err *err);
