/*
 * One LMDB environment: opening with the only flags we allow, pooled read transactions, growing
 * the map, and LMDB's return codes as errors.
 *
 * Rules kept here: default sync mode (never MDB_NOSYNC, MDB_NOMETASYNC, MDB_WRITEMAP); MDB_NOTLS;
 * the map is resized only while this process has no transaction open (`gate`); dead readers of
 * other processes are cleared at open and by env_check_readers().
 * Threads: reading from any; one writer at a time (LMDB's own lock), on one thread from begin to
 * end.
 */
#pragma once

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ENV_POOL_MAX   64
#define ENV_TABLES_MAX 64

struct env {
    MDB_env *mdb;
    const char *name; /* static: "journal", "store" */
    bool is_read_only;
    size_t map_bytes;      /* guarded by gate */
    pthread_rwlock_t gate; /* shared: a read transaction is open; exclusive: resizing, reviving */
    char *path;            /* for reviving: path, flags, tables in the order they were opened */
    unsigned flags;
    const char *names[ENV_TABLES_MAX];
    size_t name_count;
    uint64_t write_txn_id; /* writer: of the newest write transaction */
    bool is_undoing;       /* writer: … whose head page failed and is still to be taken back */
    _Atomic(MDB_txn *) pool[ENV_POOL_MAX]; /* reset read transactions; NULL = none */
};

struct env_params {
    const char *name;
    const char *path; /* existing directory */
    size_t map_bytes; /* address space to reserve; halved while the system refuses */
    unsigned db_count;
    unsigned flags; /* MDB_NORDAHEAD or 0 */
    bool is_read_only;
};

WARN_UNUSED bool env_open(struct env *env, const struct env_params *params, struct err *err);
void env_close(struct env *env); /* fine on a zeroed or half-open one */

/* Open the named databases (NULL-terminated names are not needed: `count` of them, static);
 * created when missing. In a read-only environment a missing one is ERR_NOT_FOUND. */
WARN_UNUSED bool env_open_dbs(struct env *env,
                              const char *const *names,
                              size_t count,
                              MDB_dbi *ret_dbis,
                              struct err *err);

/* Short: copy out what is needed and end it on the same thread. */
WARN_UNUSED bool env_read_begin(struct env *env, MDB_txn **ret, struct err *err);
void env_read_end(struct env *env, MDB_txn *txn);

/* As mdb_txn_begin; returns an LMDB code. After ENV_FULL it first tries to go on: ENOSPC while that
 * cannot be. */
int env_begin(struct env *env, MDB_txn **ret);
WARN_UNUSED bool env_write_begin(struct env *env, MDB_txn **ret, struct err *err);

/* After MDB_MAP_FULL, no write transaction open: double the map. Waits for readers. */
WARN_UNUSED bool env_grow(struct env *env, struct err *err);

enum env_life {
    ENV_ALIVE,
    ENV_FULL, /* the next env_begin() tries to go on as if the transaction had not been; until then
                 open for reading */
    ENV_DEAD, /* for writing; open for reading only */
};

/*
 * After a failed commit, by the writer, no transaction open: when LMDB could not write its head
 * page it refuses every further transaction, and the environment must be opened again. is_full: it
 * was for want of space. Then the head page on the disk is made the one before (pages.h), however
 * much of the failed write got there; otherwise nothing is known of the disk, and writing ends.
 */
WARN_UNUSED enum env_life env_revive(struct env *env, bool is_full);

/* Clear the slots of readers whose process died. Returns how many there were. */
unsigned env_check_readers(struct env *env);

/* Turn free pages into holes of the file when there are many (env_release.c). Holds up writers for
 * about budget_ns at most; call again for the rest. False: it cannot be done here. Never while the
 * calling thread has a transaction open. */
bool env_release_pages(struct env *env, int64_t budget_ns);

/* Bytes of the data file in use (pages up to the last one). */
uint64_t env_used_bytes(struct env *env);
/* Bytes of the pages one database uses; 0 when it cannot be read. */
uint64_t env_db_bytes(struct env *env, MDB_dbi dbi);

/* Set an error from an LMDB or errno return code. Returns false. */
PRINTF_LIKE(4, 5)
bool env_fail(const struct env *env, struct err *err, int rc, const char *fmt, ...);
