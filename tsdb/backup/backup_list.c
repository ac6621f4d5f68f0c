/* A directory of backups: listing, which may go, removing. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tsdb/backup/manifest.h"
#include "tsdb/env/disk.h"

/* Anything with a manifest or with one of the files a backup has; a data directory, which a process
 * had open, is none. */
static bool look_at(const char *dir,
                    const char *name,
                    struct tsdb_backup_entry *ret,
                    bool *ret_is_backup,
                    struct err *err) {
    char path[PATH_MAX];
    char file[PATH_MAX];
    char lock[PATH_MAX];
    *ret = (struct tsdb_backup_entry){ .fault = ERR_INIT };
    if (!disk_join(path, dir, name, err) || !disk_join(lock, path, "lock", err) ||
        !disk_join(file, path, tsdb_backup_file_name(TSDB_BACKUP_STORE), err)) {
        return false;
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return true;
    }
    ret->is_whole = tsdb_backup_read(path, &ret->info, &ret->fault);
    *ret_is_backup = ret->is_whole || ret->fault.code != ERR_NOT_FOUND ||
                     (access(file, F_OK) == 0 && access(lock, F_OK) != 0);
    /* Its name comes last of all. */
    ret->is_whole = ret->is_whole && !str_ends_with(str_from(name), STR(".tmp"));
    if (!ret->is_whole && (ret->fault.code == ERR_NOT_FOUND || ret->fault.code == ERR_NONE)) {
        err_set(&ret->fault, ERR_CORRUPT, "it was interrupted");
    }
    return true;
}

static int by_time(const void *a, const void *b) {
    const struct tsdb_backup_entry *one = a;
    const struct tsdb_backup_entry *other = b;
    if (one->info.created_ms != other->info.created_ms) {
        return one->info.created_ms < other->info.created_ms ? -1 : 1;
    }
    return strcmp(one->name, other->name);
}

bool tsdb_backup_list(const char *path,
                      struct tsdb_backup_entry **ret,
                      size_t *ret_count,
                      struct err *err) {
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return err_set_errno(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "listing %s",
                             path);
    }
    struct tsdb_backup_entry *entries = NULL;
    size_t count = 0;
    size_t cap = 0;
    bool ok = true;
    const struct dirent *item;
    while (ok && (item = readdir(dir)) != NULL) {
        struct tsdb_backup_entry entry;
        bool is_backup = false;
        if (item->d_name[0] == '.') {
            continue;
        }
        ok = look_at(path, item->d_name, &entry, &is_backup, err);
        if (ok && is_backup) {
            entry.name = mem_strdup(item->d_name);
            entries = vec_grow(entries, &cap, count + 1, sizeof(entries[0]));
            entries[count++] = entry;
        }
    }
    closedir(dir);
    if (!ok) {
        tsdb_backup_list_free(entries, count);
        return false;
    }
    if (count > 0) {
        qsort(entries, count, sizeof(entries[0]), by_time);
    }
    *ret = entries;
    *ret_count = count;
    return true;
}

void tsdb_backup_list_free(struct tsdb_backup_entry *entries, size_t count) {
    for (size_t i = 0; i < count; i++) {
        mem_free(entries[i].name);
    }
    mem_free(entries);
}

void tsdb_backup_expire(const struct tsdb_backup_entry *entries,
                        size_t count,
                        int64_t now_ms,
                        int64_t keep_ms,
                        bool *ret_is_expired) {
    bool has_whole = false;
    bool has_verified = false;
    for (size_t i = count; i > 0; i--) {
        const struct tsdb_backup_entry *entry = &entries[i - 1];
        bool is_verified = entry->is_whole && entry->info.verified_ms != 0;
        bool is_last = (entry->is_whole && !has_whole) || (is_verified && !has_verified);
        has_whole = has_whole || entry->is_whole;
        has_verified = has_verified || is_verified;
        ret_is_expired[i - 1] =
            entry->is_whole && !is_last && entry->info.created_ms < now_ms - keep_ms;
    }
}

bool tsdb_backup_remove(const char *path, struct err *err) {
    char file[PATH_MAX];
    if (!disk_join(file, path, MANIFEST_NAME, err)) {
        return false;
    }
    if (unlink(file) != 0 && errno != ENOENT) {
        return err_set_errno(err, ERR_IO, errno, "removing %s", file);
    }
    return disk_sync_dir(path, err) && disk_remove_tree(path, err);
}
