/*
 * Copies of both environments as of one moment, taken beside their writers: also from another
 * process than theirs.
 *
 * LMDB copies a snapshot into a pipe (mdb_env_copyfd2 on a thread of its own), the caller drains
 * it. The pair is exact: the journal's snapshot and the store's have no commit of the store
 * between them, so the store holds nothing the journal does not account for. That is reached
 * without a lock, by trying again when somebody committed meanwhile.
 *
 * While a copy runs its environment cannot reuse pages, so it grows by what is written meanwhile:
 * drain fast.
 */
#pragma once

#include "tsdb/env/env.h"

struct env_copy {
    MDB_txn *txn;   /* reads the very snapshot that is copied */
    uint64_t bytes; /* of the copy */
    /* private */
    struct env *env;
    uint64_t at;
    int fd_read;
    int fd_write;
    pthread_t thread;
    bool is_running;
    int rc;
};

struct env_copy_pair {
    struct env_copy journal;
    struct env_copy store;
};

/* ERR_UNAVAILABLE when commits come too close to each other for too long. */
WARN_UNUSED bool env_copy_begin(struct env *journal,
                                struct env *store,
                                struct env_copy_pair *ret,
                                struct err *err);
/* The next bytes; *ret_len 0 at the end. */
WARN_UNUSED bool env_copy_read(struct env_copy *copy,
                               void *out,
                               size_t len,
                               size_t *ret_len,
                               struct err *err);
/* Also before the end, and twice. */
void env_copy_end(struct env_copy *copy);
