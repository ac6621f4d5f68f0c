/* Counting, telling and keeping what is damaged; see damage.h. */
#include "tsdb/journal/damage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "tsdb/db.h"

#define TOLD_MAX  4096 /* places remembered; beyond them every meeting is only counted */
#define FILE_MODE 0640

static const char *const kind_names[DAMAGE_KIND_COUNT] = {
    [DAMAGE_RECORD] = "journal_record", [DAMAGE_TABLE] = "table_row",   [DAMAGE_STATE] = "state",
    [DAMAGE_SERIES] = "series",         [DAMAGE_WINDOW] = "window",     [DAMAGE_ROW] = "row",
    [DAMAGE_SEGMENT] = "segment",       [DAMAGE_POSTINGS] = "postings", [DAMAGE_ROLLUP] = "rollup",
    [DAMAGE_PAGES] = "pages",
};

const char *damage_kind_to_string(enum damage_kind kind) {
    return kind_names[kind];
}

void damage_init(struct damage *damage, struct metric_registry *registry) {
    pthread_mutex_init(&damage->lock, NULL);
    u64map_init(&damage->told);
    for (size_t i = 0; i < DAMAGE_KIND_COUNT; i++) {
        const char *labels[] = { "kind", kind_names[i], NULL };
        damage->metrics[i] =
            metric_counter(registry, "tocsin_tsdb_corruptions_total",
                           "Damaged rows met on disk, by kind; each was left out.", labels);
    }
}

void damage_finish(struct damage *damage) {
    u64map_finish(&damage->told);
    pthread_mutex_destroy(&damage->lock);
}

uint64_t damage_count(struct damage *damage) {
    pthread_mutex_lock(&damage->lock);
    uint64_t count = damage->count;
    pthread_mutex_unlock(&damage->lock);
    return count;
}

void damage_note(struct tsdb *db, enum damage_kind kind, const struct err *what) {
    struct damage *damage = &db->damage;
    metric_inc(damage->metrics[kind]);
    uint64_t hash = hash_bytes(str_from(what->msg)) | 1;
    uint64_t ignored;
    pthread_mutex_lock(&damage->lock);
    damage->count++;
    bool is_new = damage->told.count < TOLD_MAX && !u64map_get(&damage->told, hash, &ignored);
    if (is_new) {
        u64map_put(&damage->told, hash, 1);
    }
    pthread_mutex_unlock(&damage->lock);
    if (is_new && damage->report != NULL) {
        damage->report(damage->ctx, what->msg);
    }
}

/* ---- quarantine ---- */

static uint64_t folder_bytes(const char *path) {
    uint64_t bytes = 0;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return 0;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        struct stat st;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode)) {
            bytes += (uint64_t)st.st_size;
        }
    }
    closedir(dir);
    return bytes;
}

static bool write_file(const char *path, struct str bytes, struct err *err) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (fd < 0) {
        return errno == EEXIST || err_set_errno(err, ERR_IO, errno, "creating %s", path);
    }
    bool ok = true;
    for (size_t at = 0; ok && at < bytes.len;) {
        ssize_t written = write(fd, bytes.ptr + at, bytes.len - at);
        ok = written > 0 || err_set_errno(err, ERR_IO, errno, "writing %s", path);
        at += ok ? (size_t)written : 0;
    }
    close(fd);
    if (!ok) {
        (void)unlink(path);
    }
    return ok;
}

void damage_keep(struct tsdb *db, const char *name, struct str bytes) {
    char folder[PATH_MAX];
    char path[PATH_MAX];
    struct err err = ERR_INIT;
    if (db->is_read_only ||
        snprintf(folder, sizeof(folder), "%s/quarantine", db->path) >= (int)sizeof(folder) ||
        snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path)) {
        return;
    }
    bool ok = dir_make(folder, &err);
    if (ok && folder_bytes(folder) + bytes.len > QUARANTINE_BYTES_MAX) {
        ok = err_set(&err, ERR_LIMIT, "%s holds %llu MiB already", folder,
                     (unsigned long long)(QUARANTINE_BYTES_MAX >> 20));
    }
    if ((!ok || !write_file(path, bytes, &err)) && db->damage.report != NULL) {
        err_wrap(&err, "a damaged row is not kept in quarantine");
        db->damage.report(db->damage.ctx, err.msg);
    }
}
