/*
 * Restoring a backup. Everything happens in "<into>.restoring.tmp":
 *
 *   1. the files are copied (or taken out of the tar stream) and their SHA-256 compared
 *   2. shipped journal records go behind the journal's own, up to the wanted moment, and table
 *      changes into their tables: as if the process had been killed at that moment
 *   3. the directory gets an id of its own: what it writes from here on is another history, and
 *      must not mix with what the first directory shipped
 *   4. the store is opened once, as at any start, and closed: what cannot be opened is not handed
 *      over
 *   5. rename
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/backup/backup_sink.h"
#include "tsdb/backup/manifest.h"
#include "tsdb/backup/replay_shipped.h"
#include "tsdb/backup/ship.h"
#include "tsdb/backup/tar.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/env/disk.h"
#include "tsdb/verify/offline.h"

#define COPY_BYTES ((size_t)1 << 20)

struct restore {
    const struct tsdb_restore_options *options;
    const struct clock *clock;
    struct tsdb_restore_result result;
    struct tsdb_backup_info found; /* sizes and checksums of what was copied */
    struct backup_sink sink;       /* sink.tmp is where it happens */
    char into[PATH_MAX];
    char target[PATH_MAX]; /* of the sink: "<into>.restoring" */
    char *buffer;
};

/* ---- reading ---- */

static bool read_all(int fd, void *out, size_t len, const char *name, struct err *err) {
    char *at = out;
    while (len > 0) {
        ssize_t got = read(fd, at, len);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_set_errno(err, ERR_IO, errno, "reading %s", name);
        }
        if (got == 0) {
            return err_set(err, ERR_CORRUPT, "%s ends early: it is incomplete", name);
        }
        at += got;
        len -= (size_t)got;
    }
    return true;
}

static bool copy_bytes(struct restore *restore,
                       int fd,
                       const char *name,
                       enum tsdb_backup_file file,
                       uint64_t bytes,
                       struct err *err) {
    struct backup_sink *sink = &restore->sink;
    if (!backup_sink_begin_file(sink, tsdb_backup_file_name(file), bytes, err)) {
        return false;
    }
    for (uint64_t left = bytes; left > 0;) {
        size_t len = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
        if (!read_all(fd, restore->buffer, len, name, err) ||
            !backup_sink_write(sink, restore->buffer, len, err)) {
            return false;
        }
        left -= len;
    }
    restore->found.files[file].bytes = bytes;
    return backup_sink_end_file(sink, restore->found.files[file].sha256, err);
}

static bool compare(const struct restore *restore, const char *from, struct err *err) {
    const struct tsdb_backup_info *want = &restore->result.info;
    for (size_t i = 0; i < TSDB_BACKUP_FILE_COUNT; i++) {
        const char *name = tsdb_backup_file_name((enum tsdb_backup_file)i);
        uint64_t bytes = restore->found.files[i].bytes;
        if (bytes != want->files[i].bytes) {
            return err_set(err, ERR_CORRUPT,
                           "%s/%s has %" PRIu64 " bytes, the manifest says %" PRIu64, from, name,
                           bytes, want->files[i].bytes);
        }
        if (strcmp(restore->found.files[i].sha256, want->files[i].sha256) != 0) {
            return err_set(err, ERR_CORRUPT, "%s/%s is damaged: its SHA-256 is not the manifest's",
                           from, name);
        }
    }
    return true;
}

/* ---- from a directory ---- */

static bool copy_file(struct restore *restore, enum tsdb_backup_file file, struct err *err) {
    const char *from = restore->options->backup;
    char path[PATH_MAX];
    if (!disk_join(path, from, tsdb_backup_file_name(file), err)) {
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set_errno(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "opening %s",
                             path);
    }
    off_t bytes = lseek(fd, 0, SEEK_END);
    bool ok = bytes >= 0 && lseek(fd, 0, SEEK_SET) == 0;
    ok = ok ? copy_bytes(restore, fd, path, file, (uint64_t)bytes, err)
            : err_set_errno(err, ERR_IO, errno, "reading %s", path);
    close(fd);
    return ok;
}

static bool copy_directory(struct restore *restore, struct err *err) {
    if (!tsdb_backup_read(restore->options->backup, &restore->result.info, err)) {
        return err->code == ERR_NOT_FOUND ? err_wrap(err, "not a whole backup") : false;
    }
    for (size_t i = 0; i < TSDB_BACKUP_FILE_COUNT; i++) {
        if (!copy_file(restore, (enum tsdb_backup_file)i, err)) {
            return false;
        }
    }
    return compare(restore, restore->options->backup, err);
}

/* ---- from a stream ---- */

static bool skip_bytes(struct restore *restore, int fd, uint64_t bytes, struct err *err) {
    while (bytes > 0) {
        size_t len = bytes < COPY_BYTES ? (size_t)bytes : COPY_BYTES;
        if (!read_all(fd, restore->buffer, len, "the stream", err)) {
            return false;
        }
        bytes -= len;
    }
    return true;
}

static bool take_manifest(struct restore *restore, int fd, uint64_t bytes, struct err *err) {
    if (bytes > COPY_BYTES) {
        return err_set(err, ERR_CORRUPT, "the stream's manifest has %" PRIu64 " bytes", bytes);
    }
    return read_all(fd, restore->buffer, (size_t)bytes, "the stream", err) &&
           manifest_parse(str_n(restore->buffer, (size_t)bytes), &restore->result.info, err);
}

static bool take_entry(struct restore *restore,
                       int fd,
                       const struct tar_entry *entry,
                       bool *is_complete,
                       struct err *err) {
    struct str name = str_from(entry->name);
    size_t padding = tar_padding(entry->bytes);
    if (entry->is_file && str_eq_c(name, MANIFEST_NAME)) {
        *is_complete = true;
        return take_manifest(restore, fd, entry->bytes, err) &&
               skip_bytes(restore, fd, padding, err);
    }
    for (size_t i = 0; entry->is_file && i < TSDB_BACKUP_FILE_COUNT; i++) {
        enum tsdb_backup_file file = (enum tsdb_backup_file)i;
        if (str_eq_c(name, tsdb_backup_file_name(file))) {
            return copy_bytes(restore, fd, "the stream", file, entry->bytes, err) &&
                   skip_bytes(restore, fd, padding, err);
        }
    }
    return skip_bytes(restore, fd, entry->bytes + padding, err);
}

static bool copy_stream(struct restore *restore, struct err *err) {
    int fd = restore->options->fd;
    bool is_complete = false;
    for (;;) {
        uint8_t block[TAR_BLOCK_BYTES];
        struct tar_entry entry;
        if (!read_all(fd, block, sizeof(block), "the stream", err) ||
            !tar_parse(block, &entry, err)) {
            return false;
        }
        if (entry.is_end) {
            break;
        }
        if (!take_entry(restore, fd, &entry, &is_complete, err)) {
            return false;
        }
    }
    if (!is_complete) {
        return err_set(err, ERR_CORRUPT, "the stream has no " MANIFEST_NAME ": it is incomplete");
    }
    return compare(restore, "the stream", err);
}

/* ---- the target ---- */

/* A directory some process has open is never moved away under it. */
static bool check_unused(const char *path, struct err *err) {
    char lock[PATH_MAX];
    if (!disk_join(lock, path, "lock", err)) {
        return false;
    }
    if (access(lock, F_OK) != 0) {
        return true;
    }
    int fd;
    if (!dir_lock(path, &fd, err)) {
        return false;
    }
    dir_unlock(fd);
    return true;
}

static bool set_names(struct restore *restore, struct err *err) {
    const char *into = restore->options->into;
    int len = (int)strlen(into);
    while (len > 1 && into[len - 1] == '/') {
        len--;
    }
    if (snprintf(restore->into, sizeof(restore->into), "%.*s", len, into) >= PATH_MAX ||
        snprintf(restore->target, sizeof(restore->target), "%.*s.restoring", len, into) >=
            PATH_MAX) {
        return err_set(err, ERR_INVALID, "%s: the name is too long", into);
    }
    return true;
}

static bool check_target(struct restore *restore, struct err *err) {
    const char *into = restore->into;
    bool is_vacant = false;
    if (!disk_is_vacant(into, &is_vacant, err)) {
        return false;
    }
    if (is_vacant) {
        return true;
    }
    if (!restore->options->is_forced) {
        return err_set(err, ERR_INVALID,
                       "%s is not empty: name another directory, or move it aside by --force",
                       into);
    }
    return check_unused(into, err);
}

static bool place(struct restore *restore, struct err *err) {
    const char *into = restore->into;
    bool is_vacant = false;
    if (!disk_is_vacant(into, &is_vacant, err)) {
        return false;
    }
    if (!is_vacant) {
        char *aside = restore->result.moved_to;
        size_t size = sizeof(restore->result.moved_to);
        int len = snprintf(aside, size, "%s.before-%" PRId64, into, clock_wall_ms(restore->clock));
        if (len >= (int)size) {
            return err_set(err, ERR_INVALID, "%s: the name is too long", into);
        }
        if (!check_unused(into, err) || !disk_rename(into, aside, err)) {
            return false;
        }
    }
    if (!disk_rename(restore->sink.tmp, into, err)) {
        return false;
    }
    restore->sink.tmp[0] = '\0';
    return true;
}

/* ---- what changes in the copy ---- */

static bool give_id(struct restore *restore, struct offline *copy, struct err *err) {
    MDB_txn *txn;
    if (!env_write_begin(&copy->journal, &txn, err)) {
        return false;
    }
    struct offline_format format;
    if (!offline_get_format(copy, txn, &format, err)) {
        mdb_txn_abort(txn);
        return false;
    }
    uint8_t row[FORMAT_ROW_BYTES];
    bytes_put_le32(row, format.version);
    random_bytes(row + 4, FORMAT_ID_BYTES);
    int rc =
        kv_put_row(copy->kv_dbis, txn, KV_META, FORMAT_KEY, str_n((const char *)row, sizeof(row)));
    MDB_dbi ship;
    if (rc == 0 && mdb_dbi_open(txn, SHIP_TABLE_NAME, 0, &ship) == 0) {
        rc = mdb_drop(txn, ship, 0); /* the first directory's business */
    }
    rc = rc == 0 ? mdb_txn_commit(txn) : (mdb_txn_abort(txn), rc);
    return rc == 0 || env_fail(&copy->journal, err, rc, "giving the copy an id");
}

static bool note_end(struct restore *restore, struct offline *copy, struct err *err) {
    MDB_txn *txn;
    struct offline_log log = { 0 };
    if (!env_read_begin(&copy->journal, &txn, err)) {
        return false;
    }
    bool ok = offline_get_log(copy, txn, &log, err);
    env_read_end(&copy->journal, txn);
    restore->result.lsn_last = log.lsn_last != 0 ? log.lsn_last : restore->result.info.applied_lsn;
    restore->result.last_commit_ms = log.last_commit_ms;
    return ok;
}

static bool add_shipped(struct restore *restore, struct offline *copy, struct err *err) {
    if (restore->options->ship_dir == NULL) {
        return true;
    }
    if (restore->result.info.is_head_skipped) {
        return err_set(err, ERR_INVALID, "a backup without the head has no journal to add to");
    }
    struct replay_shipped replay = {
        .ship_dir = restore->options->ship_dir,
        .until_ms = restore->options->until_ms,
    };
    bool ok = replay_shipped(&replay, copy, err);
    restore->result.record_count = replay.record_count;
    restore->result.change_count = replay.change_count;
    restore->result.is_at_end = replay.is_at_end;
    return ok;
}

static bool change_copy(struct restore *restore, struct err *err) {
    struct offline copy;
    if (!offline_open(&copy, restore->sink.tmp, false, err)) {
        return false;
    }
    bool ok = add_shipped(restore, &copy, err) && give_id(restore, &copy, err) &&
              note_end(restore, &copy, err);
    offline_close(&copy);
    return ok;
}

/* As at any start, but nothing is dropped for its age. */
static bool try_open(struct restore *restore, struct err *err) {
    struct tsdb_options options = {
        .path = restore->sink.tmp,
        .clock = restore->clock,
        .space_reserve_bytes = 1,
        .keeps_rollups = true,
    };
    struct tsdb *db;
    if (!tsdb_open(&options, &db, err)) {
        return err_wrap(err, "the restored directory does not open");
    }
    const struct tsdb_restore_options *wanted = restore->options;
    bool ok = tsdb_wait_ready(db, err) || err_wrap(err, "the restored journal cannot be replayed");
    ok = ok && (wanted->settle == NULL || wanted->settle(wanted->settle_ctx, tsdb_kv(db), err));
    tsdb_close(db);
    return ok;
}

/* ---- the whole ---- */

static bool check_time(const struct restore *restore, struct err *err) {
    int64_t until_ms = restore->options->until_ms;
    if (restore->result.info.created_ms <= until_ms) {
        return true;
    }
    char have[RFC3339_TEXT_MAX];
    char want[RFC3339_TEXT_MAX];
    rfc3339_from_ms(restore->result.info.created_ms, have);
    rfc3339_from_ms(until_ms, want);
    return err_set(err, ERR_INVALID, "the backup is of %s, after the wanted %s: take an older one",
                   have, want);
}

static bool run(struct restore *restore, struct err *err) {
    const struct tsdb_restore_options *options = restore->options;
    if (!set_names(restore, err) || !check_target(restore, err) ||
        !backup_sink_open(&restore->sink, restore->target, -1, 0, err)) {
        return false;
    }
    bool ok = options->backup != NULL ? copy_directory(restore, err) : copy_stream(restore, err);
    return ok && check_time(restore, err) && change_copy(restore, err) && try_open(restore, err) &&
           disk_sync_dir(restore->sink.tmp, err) && place(restore, err);
}

bool tsdb_restore(const struct tsdb_restore_options *options,
                  struct tsdb_restore_result *ret,
                  struct err *err) {
    struct restore *restore = mem_calloc(1, sizeof(*restore));
    restore->options = options;
    restore->clock = options->clock != NULL ? options->clock : clock_system();
    restore->sink.fd = -1;
    restore->sink.dir_fd = -1;
    restore->buffer = mem_alloc(COPY_BYTES);
    bool ok = run(restore, err);
    backup_sink_close(&restore->sink);
    if (ok) {
        *ret = restore->result;
    }
    mem_free(restore->buffer);
    mem_free(restore);
    return ok || err_wrap(err, "restoring into %s", options->into);
}
