/* Copies of a running environment: see env_copy.h. */
#include "tsdb/env/env_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define BEGIN_NS_MAX  INT64_C(30000000000)
#define PIPE_BYTES    (1 << 20)
#define AHEAD_BYTES   ((uint64_t)16 << 20)
#define BEGIN_POLL_MS 60000

/* ---- one copy ---- */

static void *copy_main(void *arg) {
    struct env_copy *copy = arg;
    sigset_t pipe_signal; /* the reader going away early is an error code here */
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
    copy->rc = mdb_env_copyfd2(copy->env->mdb, copy->fd_write, 0);
    close(copy->fd_write);
    return NULL;
}

static bool start_thread(struct env_copy *copy, struct err *err) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return err_set_errno(err, ERR_IO, errno, "creating a pipe");
    }
    (void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* only faster */
    copy->fd_read = fds[0];
    copy->fd_write = fds[1];
    int rc = pthread_create(&copy->thread, NULL, copy_main, copy);
    if (rc != 0) {
        close(fds[0]);
        close(fds[1]);
        return err_set_errno(err, ERR_IO, rc, "starting a thread");
    }
    copy->is_running = true;
    return true;
}

/* LMDB writes its meta pages as soon as it has its snapshot. */
static bool wait_for_bytes(const struct env_copy *copy, struct err *err) {
    struct pollfd poller = { .fd = copy->fd_read, .events = POLLIN };
    int rc;
    do {
        rc = poll(&poller, 1, BEGIN_POLL_MS);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        return err_set_errno(err, ERR_IO, errno, "waiting for a copy of the %s", copy->env->name);
    }
    return rc > 0 ||
           err_set(err, ERR_UNAVAILABLE, "%s: a writer holds its lock for longer than a minute",
                   copy->env->name);
}

static bool is_unchanged(const struct env_copy *copy, MDB_envinfo *ret_info) {
    mdb_env_info(copy->env->mdb, ret_info);
    return ret_info->me_last_txnid == mdb_txn_id(copy->txn);
}

/* Start copying; *ret_exact when txn, begun before, reads the same snapshot. */
static bool try_copy(struct env_copy *copy, bool *ret_exact, struct err *err) {
    if (!start_thread(copy, err) || !wait_for_bytes(copy, err)) {
        return false;
    }
    MDB_envinfo info;
    MDB_stat stat;
    mdb_env_stat(copy->env->mdb, &stat);
    *ret_exact = is_unchanged(copy, &info);
    copy->bytes = (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
    return true;
}

static bool begin_txn(struct env_copy *copy, struct env *env, struct err *err) {
    *copy = (struct env_copy){ .env = env };
    return env_read_begin(env, &copy->txn, err);
}

bool env_copy_read(struct env_copy *copy, void *out, size_t len, size_t *ret_len, struct err *err) {
    uint64_t left = copy->bytes - copy->at;
    len = left < len ? (size_t)left : len;
    *ret_len = len;
    if (len == 0) {
        return true;
    }
    if (copy->at % AHEAD_BYTES == 0) {
        /* The map is advised for random access: without this a cold file comes page by page. */
        mdb_filehandle_t fd;
        mdb_env_get_fd(copy->env->mdb, &fd);
        (void)posix_fadvise(fd, (off_t)copy->at, 2 * (off_t)AHEAD_BYTES, POSIX_FADV_WILLNEED);
    }
    size_t have = 0;
    while (have < len) {
        ssize_t got = read(copy->fd_read, (char *)out + have, len - have);
        if (got < 0 && errno != EINTR) {
            return err_set_errno(err, ERR_IO, errno, "reading the copy of the %s", copy->env->name);
        }
        if (got == 0) {
            break;
        }
        have += got > 0 ? (size_t)got : 0;
    }
    copy->at += len;
    if (have < len) {
        pthread_join(copy->thread, NULL);
        close(copy->fd_read);
        copy->is_running = false;
        if (copy->rc != 0) {
            return env_fail(copy->env, err, copy->rc, "copying");
        }
        /* Pages at the end that were taken and given back before they were ever written. */
        memset((char *)out + have, 0, len - have);
    }
    return true;
}

void env_copy_end(struct env_copy *copy) {
    if (copy->is_running) {
        close(copy->fd_read);
        pthread_join(copy->thread, NULL);
        copy->is_running = false;
    }
    if (copy->txn != NULL) {
        env_read_end(copy->env, copy->txn);
        copy->txn = NULL;
    }
}

/* ---- the pair ---- */

static bool begin_journal(struct env *env,
                          struct env_copy *copy,
                          bool *ret_exact,
                          struct err *err) {
    if (!begin_txn(copy, env, err)) {
        return false;
    }
    if (!try_copy(copy, ret_exact, err)) {
        env_copy_end(copy);
        return false;
    }
    if (!*ret_exact) {
        env_copy_end(copy);
    }
    return true;
}

/* The store's reader comes first, its copy last: unchanged in between means that the journal's
 * snapshot lies within. */
static bool try_pair(struct env *journal,
                     struct env *store,
                     struct env_copy_pair *pair,
                     bool *ret_exact,
                     struct err *err) {
    if (!begin_txn(&pair->store, store, err)) {
        return false;
    }
    if (!begin_journal(journal, &pair->journal, ret_exact, err)) {
        env_copy_end(&pair->store);
        return false;
    }
    if (*ret_exact && !try_copy(&pair->store, ret_exact, err)) {
        env_copy_end(&pair->journal);
        env_copy_end(&pair->store);
        return false;
    }
    if (!*ret_exact) {
        env_copy_end(&pair->journal);
        env_copy_end(&pair->store);
    }
    return true;
}

bool env_copy_begin(struct env *journal,
                    struct env *store,
                    struct env_copy_pair *ret,
                    struct err *err) {
    *ret = (struct env_copy_pair){ 0 };
    int64_t until_ns = clock_mono_ns(clock_system()) + BEGIN_NS_MAX;
    bool is_exact = false;
    while (!is_exact) {
        if (!try_pair(journal, store, ret, &is_exact, err)) {
            return false;
        }
        if (!is_exact && clock_mono_ns(clock_system()) > until_ns) {
            return err_set(err, ERR_UNAVAILABLE,
                           "no moment without a commit to copy from was found in 30 s: try again");
        }
    }
    return true;
}
