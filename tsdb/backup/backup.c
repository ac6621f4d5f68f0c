/*
 * Taking a backup: both environments as of one moment (env_copy.h) into a directory or a tar
 * stream (backup_sink.h), what they hold counted in the very snapshots that are copied, and the
 * manifest last.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "tsdb/backup/backup_sink.h"
#include "tsdb/backup/manifest.h"
#include "tsdb/env/disk.h"
#include "tsdb/env/env_copy.h"
#include "tsdb/parts/part.h"
#include "tsdb/verify/offline.h"

#define COPY_BYTES     ((size_t)1 << 20)
#define GROWTH_MIN     ((uint64_t)1 << 30)
#define VERIFIED_NAME  "verified"
#define VERIFIED_BYTES 256

struct backup {
    const struct tsdb_backup_options *options;
    struct offline source;
    struct env_copy_pair pair;
    struct backup_sink sink;
    struct tsdb_backup_info info;
    uint64_t done_bytes;
    uint64_t growth_bytes_max;
    char *buffer;
};

/* ---- counting ---- */

static bool count_entries(struct env *env,
                          MDB_txn *txn,
                          MDB_dbi dbi,
                          uint64_t *count,
                          struct err *err) {
    MDB_stat stat;
    int rc = mdb_stat(txn, dbi, &stat);
    if (rc != 0) {
        return env_fail(env, err, rc, "counting rows");
    }
    *count += stat.ms_entries;
    return true;
}

static bool count_windows(struct backup *backup, struct err *err) {
    struct store *store = &backup->source.store;
    MDB_txn *txn = backup->pair.store.txn;
    struct tsdb_backup_info *info = &backup->info;
    struct part *parts;
    size_t count;
    if (!part_list(store, txn, INT64_MIN, INT64_MAX, &parts, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        info->sample_count += parts[i].stats.sample_count;
        info->chunk_count += parts[i].stats.chunk_count;
    }
    info->window_count = count;
    mem_free(parts);
    return true;
}

static bool count_store(struct backup *backup, struct err *err) {
    struct store *store = &backup->source.store;
    MDB_txn *txn = backup->pair.store.txn;
    struct tsdb_backup_info *info = &backup->info;
    struct store_state state = { 0 };
    bool found;
    if (!store_get_state(store, txn, &state, &found, err)) {
        return false;
    }
    info->applied_lsn = state.applied_lsn;
    return count_windows(backup, err) && catalog_count(store, txn, &info->series_count, err) &&
           count_entries(&store->env, txn, store->dbis[STORE_SEGMENTS], &info->segment_count, err);
}

static bool count_journal(struct backup *backup, struct err *err) {
    struct offline *source = &backup->source;
    MDB_txn *txn = backup->pair.journal.txn;
    struct tsdb_backup_info *info = &backup->info;
    struct offline_format format;
    struct offline_log log;
    if (!offline_get_format(source, txn, &format, err) ||
        !offline_get_log(source, txn, &log, err)) {
        return false;
    }
    info->data_format = format.version;
    offline_print_id(format.directory_id, info->directory_id);
    info->lsn_first = log.lsn_first;
    info->lsn_last = log.lsn_last;
    info->last_commit_ms = log.last_commit_ms;
    for (size_t i = 0; i < KV_TABLE_COUNT; i++) {
        if (source->has_kv[i] &&
            !count_entries(&source->journal, txn, source->kv_dbis[i], &info->kv_row_count, err)) {
            return false;
        }
    }
    return true;
}

/* ---- copying ---- */

static bool check_growth(struct backup *backup, struct err *err) {
    uint64_t now = env_used_bytes(&backup->source.store.env);
    uint64_t start = backup->pair.store.bytes;
    if (now <= start || now - start <= backup->growth_bytes_max) {
        return true;
    }
    return err_set(err, ERR_LIMIT,
                   "the store grew by %" PRIu64
                   " MiB while it was copied, as it must while a copy is read slowly: given up",
                   (now - start) >> 20);
}

static void report(const struct backup *backup) {
    if (backup->options->progress != NULL) {
        backup->options->progress(backup->options->ctx, backup->done_bytes,
                                  backup->pair.journal.bytes + backup->pair.store.bytes);
    }
}

static bool copy_file(struct backup *backup,
                      enum tsdb_backup_file file,
                      struct env_copy *copy,
                      struct err *err) {
    struct backup_sink *sink = &backup->sink;
    if (!backup_sink_begin_file(sink, tsdb_backup_file_name(file), copy->bytes, err)) {
        return false;
    }
    size_t len = 1;
    while (len > 0) {
        if (!env_copy_read(copy, backup->buffer, COPY_BYTES, &len, err) ||
            !backup_sink_write(sink, backup->buffer, len, err) || !check_growth(backup, err)) {
            return false;
        }
        backup->done_bytes += len;
        report(backup);
    }
    backup->info.files[file].bytes = copy->bytes;
    env_copy_end(copy);
    return backup_sink_end_file(sink, backup->info.files[file].sha256, err);
}

static bool hash_file(const char *path, uint64_t *ret_bytes, char ret_sha256[65], struct err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set_errno(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "opening %s",
                             path);
    }
    CLEANUP(mem_freep) char *bytes = mem_alloc(COPY_BYTES);
    struct hash_sha256 hash;
    hash_sha256_init(&hash);
    uint64_t all = 0;
    ssize_t len;
    while ((len = read(fd, bytes, COPY_BYTES)) > 0 || (len < 0 && errno == EINTR)) {
        if (len > 0) {
            hash_sha256_update(&hash, bytes, (size_t)len);
            all += (uint64_t)len;
        }
    }
    int rc = len < 0 ? errno : 0;
    close(fd);
    hash_sha256_finish(&hash, ret_sha256);
    *ret_bytes = all;
    return rc == 0 || err_set_errno(err, ERR_IO, rc, "reading %s", path);
}

/* Take the journal's records out of the copy: what is sealed stays. */
static bool drop_head(struct backup *backup, struct err *err) {
    struct tsdb_backup_info *info = &backup->info;
    struct offline copy;
    if (!offline_open(&copy, backup->sink.tmp, false, err)) {
        return false;
    }
    MDB_txn *txn;
    bool ok = env_write_begin(&copy.journal, &txn, err);
    if (ok) {
        int rc = mdb_drop(txn, copy.log, 0);
        rc = rc == 0 ? mdb_txn_commit(txn) : (mdb_txn_abort(txn), rc);
        ok = rc == 0 || env_fail(&copy.journal, err, rc, "leaving out the head");
    }
    offline_close(&copy);
    if (!ok) {
        return false;
    }
    static const char *const locks[] = { "journal/lock.mdb", "store/lock.mdb" };
    for (size_t i = 0; i < ARRAY_LEN(locks); i++) {
        char path[PATH_MAX];
        if (!disk_join(path, backup->sink.tmp, locks[i], err)) {
            return false;
        }
        (void)unlink(path); /* LMDB's, of the moment */
    }
    info->is_head_skipped = true;
    info->lsn_first = 0;
    info->lsn_last = 0;
    info->last_commit_ms = 0;
    char path[PATH_MAX];
    return disk_join(path, backup->sink.tmp, tsdb_backup_file_name(TSDB_BACKUP_JOURNAL), err) &&
           hash_file(path, &info->files[TSDB_BACKUP_JOURNAL].bytes,
                     info->files[TSDB_BACKUP_JOURNAL].sha256, err);
}

static bool write_manifest(struct backup *backup, struct err *err) {
    CLEANUP(buf_finish) struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX);
    manifest_print(&backup->info, &text);
    char ignored[65];
    return backup_sink_begin_file(&backup->sink, MANIFEST_NAME, text.len, err) &&
           backup_sink_write(&backup->sink, text.ptr, text.len, err) &&
           backup_sink_end_file(&backup->sink, ignored, err);
}

static bool run(struct backup *backup, struct err *err) {
    const struct tsdb_backup_options *options = backup->options;
    const struct clock *clock = options->clock != NULL ? options->clock : clock_system();
    if (!backup_sink_open(&backup->sink, options->target, options->fd, clock_wall_ms(clock), err) ||
        !env_copy_begin(&backup->source.journal, &backup->source.store.env, &backup->pair, err)) {
        return false;
    }
    backup->info.created_ms = clock_wall_ms(clock);
    snprintf(backup->info.tool, sizeof(backup->info.tool), "tocsin %s", TOCSIN_VERSION);
    uint64_t quarter = backup->pair.store.bytes / 4;
    backup->growth_bytes_max = options->growth_bytes_max != 0 ? options->growth_bytes_max
                               : quarter > GROWTH_MIN         ? quarter
                                                              : GROWTH_MIN;
    /* The journal first: its readers stand in the way of every commit's page reuse. */
    return count_journal(backup, err) && count_store(backup, err) &&
           copy_file(backup, TSDB_BACKUP_JOURNAL, &backup->pair.journal, err) &&
           copy_file(backup, TSDB_BACKUP_STORE, &backup->pair.store, err) &&
           (!options->skip_head || drop_head(backup, err)) && write_manifest(backup, err) &&
           backup_sink_commit(&backup->sink, err);
}

bool tsdb_backup(const struct tsdb_backup_options *options,
                 struct tsdb_backup_info *ret,
                 struct err *err) {
    if (options->skip_head && options->target == NULL) {
        return err_set(err, ERR_INVALID, "a stream always holds the head");
    }
    struct backup *backup = mem_calloc(1, sizeof(*backup));
    backup->options = options;
    backup->sink.fd = -1;
    backup->sink.dir_fd = -1;
    bool ok = offline_open(&backup->source, options->path, true, err);
    if (ok) {
        backup->buffer = mem_alloc(COPY_BYTES);
        ok = run(backup, err);
        env_copy_end(&backup->pair.journal);
        env_copy_end(&backup->pair.store);
        backup_sink_close(&backup->sink);
        offline_close(&backup->source);
        mem_free(backup->buffer);
    }
    if (ok) {
        *ret = backup->info;
    } else {
        err_wrap(err, "backing up %s", options->path);
    }
    mem_free(backup);
    return ok;
}

/* ---- backups that are there ---- */

/* "<RFC 3339> <CRC of the manifest, as in it>" */
static void print_verified(struct str manifest, int64_t now_ms, struct buf *out) {
    char time[RFC3339_TEXT_MAX];
    rfc3339_from_ms(now_ms, time);
    buf_printf(out, "%s %" PRId64 " %08" PRIx32 "\n", time, now_ms,
               hash_crc32c(0, manifest.ptr, manifest.len));
}

static int64_t read_verified(const char *path, struct str manifest) {
    char file[PATH_MAX];
    struct err ignored = ERR_INIT;
    CLEANUP(buf_finish) struct buf text;
    CLEANUP(buf_finish) struct buf want;
    buf_init(&text, VERIFIED_BYTES);
    buf_init(&want, VERIFIED_BYTES);
    if (!disk_join(file, path, VERIFIED_NAME, &ignored) || !disk_read_file(file, &text, &ignored)) {
        return 0;
    }
    struct str head;
    struct str tail;
    struct str number;
    int64_t ms;
    if (!str_cut(buf_as_str(&text), ' ', &head, &tail) || !str_cut(tail, ' ', &number, &head) ||
        !str_parse_i64(number, &ms)) {
        return 0;
    }
    print_verified(manifest, ms, &want);
    return str_eq(buf_as_str(&want), buf_as_str(&text)) ? ms : 0;
}

static bool read_manifest(const char *path, struct buf *text, struct err *err) {
    char file[PATH_MAX];
    buf_init(text, MANIFEST_BYTES_MAX);
    return disk_join(file, path, MANIFEST_NAME, err) && disk_read_file(file, text, err);
}

bool tsdb_backup_read(const char *path, struct tsdb_backup_info *ret, struct err *err) {
    CLEANUP(buf_finish) struct buf text;
    if (!read_manifest(path, &text, err)) {
        return false;
    }
    if (!manifest_parse(buf_as_str(&text), ret, err)) {
        return err_wrap(err, "%s", path);
    }
    ret->verified_ms = read_verified(path, buf_as_str(&text));
    return true;
}

bool tsdb_backup_check(const char *path, struct tsdb_backup_info *ret, struct err *err) {
    struct tsdb_backup_info info;
    if (!tsdb_backup_read(path, &info, err)) {
        return false;
    }
    for (size_t i = 0; i < TSDB_BACKUP_FILE_COUNT; i++) {
        char file[PATH_MAX];
        char sha256[65];
        uint64_t bytes;
        if (!disk_join(file, path, tsdb_backup_file_name((enum tsdb_backup_file)i), err) ||
            !hash_file(file, &bytes, sha256, err)) {
            return false;
        }
        if (bytes != info.files[i].bytes) {
            return err_set(err, ERR_CORRUPT, "%s has %" PRIu64 " bytes, the manifest says %" PRIu64,
                           file, bytes, info.files[i].bytes);
        }
        if (strcmp(sha256, info.files[i].sha256) != 0) {
            return err_set(err, ERR_CORRUPT, "%s is damaged: its SHA-256 is not the manifest's",
                           file);
        }
    }
    *ret = info;
    return true;
}

bool tsdb_backup_mark_verified(const char *path, int64_t now_ms, struct err *err) {
    char file[PATH_MAX];
    CLEANUP(buf_finish) struct buf manifest;
    CLEANUP(buf_finish) struct buf text;
    buf_init(&text, VERIFIED_BYTES);
    if (!read_manifest(path, &manifest, err)) {
        return false;
    }
    print_verified(buf_as_str(&manifest), now_ms, &text);
    return disk_join(file, path, VERIFIED_NAME, err) &&
           disk_write_file(file, buf_as_str(&text), err);
}
