/*
 * Giving free pages back to the file system. LMDB never shrinks its file: after a burst, a merge or
 * a deletion its free pages stay allocated until something is written over them. Here the runs of
 * free pages that LMDB itself might reuse now become holes; they are read by nobody, and writing
 * to them later fills them again.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tsdb/env/env.h"

#define EXCESS_MIN   ((uint64_t)1 << 16)
#define EXCESS_SHARE 64 /* of what is in use */

struct release {
    struct env *env;
    int fd;
    size_t page_bytes;
    uint64_t oldest; /* transaction id of the oldest snapshot somebody may read */
    size_t *pages;
    size_t count;
    size_t cap;
};

/* LMDB's list is text: "pid thread txnid", or "-" for a reader without a snapshot. */
static int note_reader(const char *line, void *ctx) {
    struct release *release = ctx;
    struct str rest = str_trim(str_from(line));
    struct str word;
    uint64_t txn_id = 0;
    while (rest.len > 0) {
        struct str tail;
        if (!str_cut(rest, ' ', &word, &tail)) {
            word = rest;
            tail = STR("");
        }
        rest = str_trim(tail);
    }
    if (str_parse_u64(word, &txn_id) && txn_id < release->oldest) {
        release->oldest = txn_id;
    }
    return 0;
}

static int compare_pages(const void *a, const void *b) {
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Table 0: transaction id → number of pages it freed, their numbers. What LMDB may reuse was freed
 * before the oldest snapshot, and before the last commit, to which a crash may go back. */
static int list_free(struct release *release, MDB_txn *txn, uint64_t *ret_free) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, 0, &cursor);
    if (rc != 0) {
        return rc;
    }
    MDB_val key;
    MDB_val value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        size_t txn_id;
        size_t count;
        if (key.mv_size != sizeof(txn_id) || value.mv_size < sizeof(count)) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(&txn_id, key.mv_data, sizeof(txn_id));
        memcpy(&count, value.mv_data, sizeof(count));
        if (count > value.mv_size / sizeof(count) - 1) {
            rc = MDB_CORRUPTED;
            break;
        }
        *ret_free += count;
        if (txn_id >= release->oldest) {
            continue;
        }
        release->pages = vec_grow(release->pages, &release->cap, release->count + count,
                                  sizeof(release->pages[0]));
        memcpy(release->pages + release->count, (const size_t *)value.mv_data + 1,
               count * sizeof(count));
        release->count += count;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static bool punch_runs(const struct release *release, int64_t until_ns) {
    bool is_supported = true;
    for (size_t first = 0; is_supported && first < release->count;) {
        size_t end = first + 1;
        while (end < release->count && release->pages[end] == release->pages[end - 1] + 1) {
            end++;
        }
        is_supported = fallocate(release->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 (off_t)(release->pages[first] * release->page_bytes),
                                 (off_t)((end - first) * release->page_bytes)) == 0;
        first = end;
        if (clock_mono_ns(clock_system()) >= until_ns) {
            break;
        }
    }
    return is_supported;
}

/* Is so much allocated beyond what is in use that it matters? */
static bool is_worth_it(const struct release *release, uint64_t free_pages) {
    struct stat st;
    MDB_envinfo info;
    if (fstat(release->fd, &st) != 0 || mdb_env_info(release->env->mdb, &info) != 0) {
        return false;
    }
    uint64_t pages = (uint64_t)info.me_last_pgno + 1;
    uint64_t used = (pages > free_pages ? pages - free_pages : 0) * release->page_bytes;
    uint64_t allocated = (uint64_t)st.st_blocks * 512;
    return allocated > used + EXCESS_MIN + used / EXCESS_SHARE;
}

/* The writer's lock is held, so that no free page is taken meanwhile. */
static bool release_locked(struct env *env, int64_t until_ns) {
    struct release release = { .env = env };
    MDB_txn *txn;
    MDB_stat stat;
    if (mdb_env_get_fd(env->mdb, &release.fd) != 0 || mdb_env_stat(env->mdb, &stat) != 0 ||
        mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn) != 0) {
        return false;
    }
    uint64_t free_pages = 0;
    release.page_bytes = stat.ms_psize;
    release.oldest = mdb_txn_id(txn);
    bool ok = mdb_reader_list(env->mdb, note_reader, &release) >= 0 &&
              list_free(&release, txn, &free_pages) == 0;
    mdb_txn_abort(txn);
    if (ok && release.count > 0 && is_worth_it(&release, free_pages)) {
        qsort(release.pages, release.count, sizeof(release.pages[0]), compare_pages);
        ok = punch_runs(&release, until_ns);
    }
    mem_free(release.pages);
    return ok;
}

bool env_release_pages(struct env *env, int64_t budget_ns) {
    MDB_txn *txn;
    /* Another thread than the writer may be here: the environment stays what it is meanwhile. */
    pthread_rwlock_rdlock(&env->gate);
    bool ok = env->mdb != NULL && !env->is_read_only && mdb_txn_begin(env->mdb, NULL, 0, &txn) == 0;
    if (ok) {
        ok = release_locked(env, clock_mono_ns(clock_system()) + budget_ns);
        mdb_txn_abort(txn);
    }
    pthread_rwlock_unlock(&env->gate);
    return ok;
}
