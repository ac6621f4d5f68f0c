/* LMDB environments; the rules are in env.h. */
#include "tsdb/env/env.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tsdb/env/pages.h"
#include "tsdb/sync.h"

#define MAP_BYTES_MIN ((size_t)1 << 30)
#define READERS_MAX   254 /* at once; the lock file has room for each */
#define FILE_MODE     0640

/* LMDB's header and 64 bytes per reader. */
#define LOCK_FILE_BYTES (4096 + READERS_MAX * 64)

bool env_fail(const struct env *env, struct err *err, int rc, const char *fmt, ...) {
    char what[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    switch (rc) {
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_BAD_TXN:
        return err_set(err, ERR_CORRUPT, "%s: %s: the file is damaged: %s", env->name, what,
                       mdb_strerror(rc));
    case MDB_VERSION_MISMATCH:
        return err_set(err, ERR_INVALID, "%s: %s: %s", env->name, what, mdb_strerror(rc));
    case MDB_READERS_FULL:
        return err_set(err, ERR_UNAVAILABLE, "%s: %s: too many readers", env->name, what);
    case MDB_MAP_FULL:
        return err_set(err, ERR_NO_SPACE, "%s: %s: the map is full", env->name, what);
    default:
        if (rc < 0) {
            return err_set(err, ERR_IO, "%s: %s: %s", env->name, what, mdb_strerror(rc));
        }
        return err_set_errno(err, ERR_IO, rc, "%s: %s", env->name, what);
    }
}

static int open_once(struct env *env, const struct env_params *params, size_t map_bytes) {
    int rc = mdb_env_create(&env->mdb);
    if (rc != 0) {
        env->mdb = NULL;
        return rc;
    }
    rc = mdb_env_set_mapsize(env->mdb, map_bytes);
    if (rc == 0) {
        rc = mdb_env_set_maxdbs(env->mdb, params->db_count);
    }
    if (rc == 0) {
        rc = mdb_env_set_maxreaders(env->mdb, READERS_MAX);
    }
    if (rc == 0) {
        unsigned flags = MDB_NOTLS | params->flags | (params->is_read_only ? MDB_RDONLY : 0);
        rc = mdb_env_open(env->mdb, params->path, flags, FILE_MODE);
    }
    if (rc != 0) {
        mdb_env_close(env->mdb);
        env->mdb = NULL;
    }
    return rc;
}

/*
 * Give LMDB's lock file its blocks before it is mapped: touching a hole in it on a full disk would
 * be a SIGBUS. Only here, before LMDB has it open: closing any descriptor of it drops LMDB's locks.
 */
static bool reserve_lock_file(const struct env_params *params, struct err *err) {
    char file[PATH_MAX];
    if (snprintf(file, sizeof(file), "%s/lock.mdb", params->path) >= (int)sizeof(file)) {
        return err_set(err, ERR_INVALID, "%s: the name is too long", params->path);
    }
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "opening %s", file);
    }
    int rc = posix_fallocate(fd, 0, LOCK_FILE_BYTES);
    close(fd);
    return rc == 0 || err_set_errno(err, ERR_IO, rc, "reserving %s", file);
}

static bool has_data_file(const struct env_params *params) {
    char file[PATH_MAX];
    return snprintf(file, sizeof(file), "%s/data.mdb", params->path) < (int)sizeof(file) &&
           access(file, F_OK) == 0;
}

bool env_open(struct env *env, const struct env_params *params, struct err *err) {
    *env = (struct env){ .name = params->name, .is_read_only = params->is_read_only };
    env->path = mem_strdup(params->path);
    env->flags = params->flags;
    rwlock_init(&env->gate);
    if (!params->is_read_only && !reserve_lock_file(params, err)) {
        env_close(env);
        return false;
    }
    bool is_new = !params->is_read_only && !has_data_file(params);
    size_t map_bytes = params->map_bytes;
    int rc = open_once(env, params, map_bytes);
    while (rc == ENOMEM && map_bytes > MAP_BYTES_MIN) {
        map_bytes /= 2;
        rc = open_once(env, params, map_bytes);
    }
    if (rc == 0 && is_new) {
        rc = mdb_env_sync(env->mdb, 1); /* LMDB does not, and its first commit relies on it */
    }
    if (rc != 0) {
        env_fail(env, err, rc, "opening %s", params->path);
        env_close(env);
        return false;
    }
    MDB_envinfo info;
    mdb_env_info(env->mdb, &info);
    env->map_bytes = info.me_mapsize;
    (void)env_check_readers(env);
    return true;
}

/* Words instead of a lock: a reader stopped here would hold up those who bring series in. */
static MDB_txn *take_pooled(struct env *env) {
    for (size_t i = 0; i < ENV_POOL_MAX; i++) {
        if (atomic_load_explicit(&env->pool[i], memory_order_relaxed) != NULL) {
            MDB_txn *txn = atomic_exchange(&env->pool[i], NULL);
            if (txn != NULL) {
                return txn;
            }
        }
    }
    return NULL;
}

static void put_pooled(struct env *env, MDB_txn *txn) {
    for (size_t i = 0; i < ENV_POOL_MAX; i++) {
        MDB_txn *none = NULL;
        if (atomic_load_explicit(&env->pool[i], memory_order_relaxed) == NULL &&
            atomic_compare_exchange_strong(&env->pool[i], &none, txn)) {
            return;
        }
    }
    mdb_txn_abort(txn);
}

static void close_mdb(struct env *env) {
    for (MDB_txn *txn = take_pooled(env); txn != NULL; txn = take_pooled(env)) {
        mdb_txn_abort(txn);
    }
    if (env->mdb != NULL) {
        mdb_env_close(env->mdb);
        env->mdb = NULL;
    }
}

void env_close(struct env *env) {
    if (env->name == NULL) {
        return;
    }
    close_mdb(env);
    mem_free(env->path);
    pthread_rwlock_destroy(&env->gate);
    env->name = NULL;
}

bool env_open_dbs(struct env *env,
                  const char *const *names,
                  size_t count,
                  MDB_dbi *ret_dbis,
                  struct err *err) {
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->mdb, NULL, env->is_read_only ? MDB_RDONLY : 0, &txn);
    if (rc != 0) {
        return env_fail(env, err, rc, "opening the tables");
    }
    for (size_t i = 0; i < count; i++) {
        rc = mdb_dbi_open(txn, names[i], env->is_read_only ? 0 : MDB_CREATE, &ret_dbis[i]);
        if (rc == MDB_NOTFOUND) {
            mdb_txn_abort(txn);
            return err_set(err, ERR_NOT_FOUND, "%s: has no table %s", env->name, names[i]);
        }
        if (rc != 0) {
            mdb_txn_abort(txn);
            return env_fail(env, err, rc, "opening table %s", names[i]);
        }
    }
    rc = mdb_txn_commit(txn);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        assert(env->name_count < ENV_TABLES_MAX);
        env->names[env->name_count++] = names[i];
    }
    return rc == 0 || env_fail(env, err, rc, "creating the tables");
}

/* ---- reviving ---- */

/* The tables get the handles they had: LMDB counts them up as they are opened. */
static int reopen_mdb(struct env *env, bool is_read_only) {
    struct env_params params = {
        .name = env->name,
        .path = env->path,
        .db_count = (unsigned)env->name_count,
        .flags = env->flags,
        .is_read_only = is_read_only,
    };
    MDB_txn *txn;
    int rc = open_once(env, &params, env->map_bytes);
    if (rc == 0) {
        rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);
    }
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < env->name_count; i++) {
        MDB_dbi ignored;
        rc = mdb_dbi_open(txn, env->names[i], 0, &ignored);
    }
    if (rc == 0) {
        return mdb_txn_commit(txn);
    }
    mdb_txn_abort(txn);
    return rc;
}

static int reopen(struct env *env, bool is_read_only) {
    close_mdb(env);
    int rc = reopen_mdb(env, is_read_only);
    if (rc != 0) {
        close_mdb(env); /* reads now fail, too: begin_read() */
    }
    env->is_read_only = is_read_only || rc != 0;
    return rc;
}

static int undo_head(const struct env *env) {
    char file[PATH_MAX];
    if (snprintf(file, sizeof(file), "%s/data.mdb", env->path) >= (int)sizeof(file)) {
        return ENAMETOOLONG;
    }
    return pages_undo_head(file, env->write_txn_id);
}

enum env_life env_revive(struct env *env, bool is_full) {
    enum env_life life = ENV_ALIVE;
    pthread_rwlock_wrlock(&env->gate);
    MDB_txn *txn;
    int rc = env->mdb == NULL ? MDB_PANIC : mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);
    if (rc == 0) {
        mdb_txn_abort(txn);
    }
    if (rc == MDB_PANIC && !env->is_read_only) {
        int undone = is_full ? undo_head(env) : EIO;
        env->is_undoing = undone == ENOSPC;
        life = undone == 0 || undone == ENOSPC ? ENV_FULL : ENV_DEAD;
        rc = reopen(env, undone != 0);
        life = rc == 0 ? life : ENV_DEAD;
    }
    pthread_rwlock_unlock(&env->gate);
    return life;
}

/* The disk was full: is it still? */
static int try_undoing(struct env *env) {
    pthread_rwlock_wrlock(&env->gate);
    int rc = undo_head(env);
    if (rc == 0) {
        rc = reopen(env, false);
    }
    env->is_undoing = rc == ENOSPC;
    pthread_rwlock_unlock(&env->gate);
    return rc;
}

/* ---- transactions ---- */

static int begin_read(struct env *env, MDB_txn **ret) {
    if (env->mdb == NULL) {
        return MDB_PANIC;
    }
    MDB_txn *txn = take_pooled(env);
    if (txn == NULL) {
        return mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, ret);
    }
    int rc = mdb_txn_renew(txn);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    *ret = txn;
    return 0;
}

bool env_read_begin(struct env *env, MDB_txn **ret, struct err *err) {
    pthread_rwlock_rdlock(&env->gate);
    int rc = begin_read(env, ret);
    if (rc == MDB_MAP_RESIZED) {
        /* Only when another process writes: adopt its size. */
        pthread_rwlock_unlock(&env->gate);
        pthread_rwlock_wrlock(&env->gate);
        rc = mdb_env_set_mapsize(env->mdb, 0);
        pthread_rwlock_unlock(&env->gate);
        pthread_rwlock_rdlock(&env->gate);
        rc = rc == 0 ? begin_read(env, ret) : rc;
    }
    if (rc != 0) {
        pthread_rwlock_unlock(&env->gate);
        return env_fail(env, err, rc, "starting to read");
    }
    return true;
}

void env_read_end(struct env *env, MDB_txn *txn) {
    mdb_txn_reset(txn);
    put_pooled(env, txn);
    pthread_rwlock_unlock(&env->gate);
}

int env_begin(struct env *env, MDB_txn **ret) {
    int rc = env->is_undoing ? try_undoing(env) : 0;
    if (rc == 0) {
        rc = env->is_read_only ? EROFS : mdb_txn_begin(env->mdb, NULL, 0, ret);
    }
    if (rc == 0) {
        env->write_txn_id = mdb_txn_id(*ret);
    }
    return rc;
}

bool env_write_begin(struct env *env, MDB_txn **ret, struct err *err) {
    int rc = env_begin(env, ret);
    if (rc == EROFS) {
        return err_set(err, ERR_IO, "%s: is open for reading only", env->name);
    }
    return rc == 0 || env_fail(env, err, rc, "starting to write");
}

bool env_grow(struct env *env, struct err *err) {
    pthread_rwlock_wrlock(&env->gate);
    size_t bytes = env->map_bytes * 2;
    int rc = bytes < env->map_bytes ? ENOMEM : mdb_env_set_mapsize(env->mdb, bytes);
    if (rc == 0) {
        env->map_bytes = bytes;
    }
    pthread_rwlock_unlock(&env->gate);
    return rc == 0 || env_fail(env, err, rc, "growing the map to %zu bytes", bytes);
}

unsigned env_check_readers(struct env *env) {
    int dead = 0;
    pthread_rwlock_rdlock(&env->gate);
    if (env->mdb != NULL) {
        /* Its only failure is a lock file gone bad, which the next transaction reports. */
        (void)mdb_reader_check(env->mdb, &dead);
    }
    pthread_rwlock_unlock(&env->gate);
    return dead > 0 ? (unsigned)dead : 0;
}

uint64_t env_used_bytes(struct env *env) {
    pthread_rwlock_rdlock(&env->gate);
    MDB_envinfo info = { .me_last_pgno = 0 };
    MDB_stat stat = { .ms_psize = 0 };
    if (env->mdb != NULL) {
        mdb_env_info(env->mdb, &info);
        mdb_env_stat(env->mdb, &stat);
    }
    pthread_rwlock_unlock(&env->gate);
    return (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
}

uint64_t env_db_bytes(struct env *env, MDB_dbi dbi) {
    struct err ignored;
    MDB_txn *txn;
    MDB_stat stat;
    if (!env_read_begin(env, &txn, &ignored)) {
        return 0;
    }
    bool ok = mdb_stat(txn, dbi, &stat) == 0;
    env_read_end(env, txn);
    return ok ? (uint64_t)(stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) *
                    stat.ms_psize
              : 0;
}
