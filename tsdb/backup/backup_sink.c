/* Where a backup goes: see backup_sink.h. */
#include "tsdb/backup/backup_sink.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tsdb/backup/tar.h"
#include "tsdb/env/disk.h"

/* Written back as it comes: gigabytes of dirty pages would stand before the journal's next sync. */
#define WRITE_BACK_BYTES ((uint64_t)1 << 20)

/* ---- the directory ---- */

static bool check_target(const char *target, struct err *err) {
    bool is_vacant = false;
    if (!disk_is_vacant(target, &is_vacant, err)) {
        return false;
    }
    return is_vacant || err_set(err, ERR_INVALID, "%s exists already and is not empty", target);
}

/* What an interrupted backup left there is not worth keeping. */
static bool open_tmp(struct backup_sink *sink, struct err *err) {
    if (!disk_make_dirs(sink->tmp, err)) {
        return false;
    }
    sink->dir_fd = open(sink->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sink->dir_fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "opening %s", sink->tmp);
    }
    if (flock(sink->dir_fd, LOCK_EX | LOCK_NB) != 0) {
        int rc = errno;
        close(sink->dir_fd);
        sink->dir_fd = -1; /* not ours to remove */
        return rc == EWOULDBLOCK
                   ? err_set(err, ERR_UNAVAILABLE, "another process is writing %s", sink->tmp)
                   : err_set_errno(err, ERR_IO, rc, "locking %s", sink->tmp);
    }
    static const char *const subs[] = { "journal", "store" };
    for (size_t i = 0; i < ARRAY_LEN(subs); i++) {
        char path[PATH_MAX];
        if (!disk_join(path, sink->tmp, subs[i], err) || !disk_remove_tree(path, err) ||
            !disk_make_dirs(path, err)) {
            return false;
        }
    }
    return true;
}

bool backup_sink_open(struct backup_sink *sink,
                      const char *target,
                      int fd,
                      int64_t now_ms,
                      struct err *err) {
    *sink = (struct backup_sink){
        .target = target,
        .fd = target == NULL ? fd : -1,
        .dir_fd = -1,
        .mtime_s = now_ms / 1000,
    };
    if (target == NULL) {
        return true;
    }
    int len = (int)strlen(target);
    while (len > 1 && target[len - 1] == '/') {
        len--;
    }
    if (snprintf(sink->tmp, sizeof(sink->tmp), "%.*s.tmp", len, target) >= PATH_MAX) {
        return err_set(err, ERR_INVALID, "%s: the name is too long", target);
    }
    return check_target(target, err) && open_tmp(sink, err);
}

/* ---- files ---- */

bool backup_sink_begin_file(struct backup_sink *sink,
                            const char *name,
                            uint64_t bytes,
                            struct err *err) {
    sink->bytes = bytes;
    sink->at = 0;
    sink->synced = 0;
    hash_sha256_init(&sink->hash);
    if (sink->target == NULL) {
        uint8_t header[TAR_BLOCK_BYTES];
        snprintf(sink->name, sizeof(sink->name), "the stream, at %s", name);
        tar_header(name, bytes, sink->mtime_s, header);
        return disk_write_all(sink->fd, header, sizeof(header), sink->name, err);
    }
    if (!disk_join(sink->name, sink->tmp, name, err)) {
        return false;
    }
    sink->fd = open(sink->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, DISK_FILE_MODE);
    return sink->fd >= 0 || err_set_errno(err, ERR_IO, errno, "creating %s", sink->name);
}

/* The server's commits wait behind what is written here: a little at a time, then as long a rest as
 * that took. */
static void rest(int64_t ns) {
    struct timespec time = {
        .tv_sec = (time_t)(ns / 1000000000),
        .tv_nsec = (long)(ns % 1000000000),
    };
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static void write_back(struct backup_sink *sink) {
    uint64_t fresh = sink->at - sink->synced;
    if (sink->target == NULL || fresh < WRITE_BACK_BYTES) {
        return;
    }
    int64_t start_ns = clock_mono_ns(clock_system());
    /* The sync at the end is what counts: failures show there. */
    (void)sync_file_range(sink->fd, (off_t)sink->synced, (off_t)fresh,
                          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                              SYNC_FILE_RANGE_WAIT_AFTER);
    (void)posix_fadvise(sink->fd, (off_t)sink->synced, (off_t)fresh, POSIX_FADV_DONTNEED);
    sink->synced = sink->at;
    rest(clock_mono_ns(clock_system()) - start_ns);
}

bool backup_sink_write(struct backup_sink *sink, const void *bytes, size_t len, struct err *err) {
    assert(sink->at + len <= sink->bytes);
    hash_sha256_update(&sink->hash, bytes, len);
    if (!disk_write_all(sink->fd, bytes, len, sink->name, err)) {
        return false;
    }
    sink->at += len;
    write_back(sink);
    return true;
}

bool backup_sink_end_file(struct backup_sink *sink, char ret_sha256[65], struct err *err) {
    assert(sink->at == sink->bytes);
    hash_sha256_finish(&sink->hash, ret_sha256);
    if (sink->target == NULL) {
        static const uint8_t zeros[TAR_BLOCK_BYTES];
        return disk_write_all(sink->fd, zeros, tar_padding(sink->bytes), sink->name, err);
    }
    bool ok = fsync(sink->fd) == 0 || err_set_errno(err, ERR_IO, errno, "syncing %s", sink->name);
    close(sink->fd);
    sink->fd = -1;
    return ok && disk_sync_parent(sink->name, err);
}

bool backup_sink_commit(struct backup_sink *sink, struct err *err) {
    if (sink->target == NULL) {
        static const uint8_t zeros[2 * TAR_BLOCK_BYTES];
        return disk_write_all(sink->fd, zeros, sizeof(zeros), "the stream", err);
    }
    if (!disk_sync_dir(sink->tmp, err) || !disk_rename(sink->tmp, sink->target, err)) {
        return false;
    }
    sink->tmp[0] = '\0';
    return true;
}

void backup_sink_close(struct backup_sink *sink) {
    if (sink->hash.state != NULL) {
        char ignored[65];
        hash_sha256_finish(&sink->hash, ignored);
    }
    if (sink->target != NULL && sink->fd >= 0) {
        close(sink->fd);
    }
    sink->fd = -1;
    if (sink->dir_fd >= 0) {
        struct err ignored = ERR_INIT;
        if (sink->tmp[0] != '\0') {
            /* At worst it stays, without a manifest, and the next backup clears it. */
            bool is_gone = disk_remove_tree(sink->tmp, &ignored);
            (void)is_gone;
        }
        close(sink->dir_fd);
        sink->dir_fd = -1;
    }
}
