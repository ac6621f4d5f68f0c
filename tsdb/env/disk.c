/* Files that must survive a crash: see disk.h. */
#include "tsdb/env/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define READ_BYTES 65536
#define TREE_FDS   16

bool disk_join(char out[PATH_MAX], const char *dir, const char *name, struct err *err) {
    if (snprintf(out, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX) {
        return err_set(err, ERR_INVALID, "%s/%s: the name is too long", dir, name);
    }
    return true;
}

bool disk_make_dirs(const char *path, struct err *err) {
    char *copy = mem_strdup(path);
    bool ok = true;
    for (char *at = copy + 1; ok; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char saved = *at;
        *at = '\0';
        ok = mkdir(copy, DISK_DIR_MODE) == 0 || errno == EEXIST ||
             err_set_errno(err, ERR_IO, errno, "creating directory %s", copy);
        *at = saved;
        if (saved == '\0') {
            break;
        }
    }
    mem_free(copy);
    return ok;
}

bool disk_sync_dir(const char *path, struct err *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "opening %s", path);
    }
    int rc = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return rc == 0 || err_set_errno(err, ERR_IO, rc, "syncing %s", path);
}

bool disk_sync_parent(const char *path, struct err *err) {
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    while (len > 0 && path[len - 1] != '/') {
        len--;
    }
    CLEANUP(mem_freep) char *parent = mem_strndup(len == 0 ? "." : path, len == 0 ? 1 : len);
    return disk_sync_dir(parent, err);
}

bool disk_write_all(int fd, const void *bytes, size_t len, const char *path, struct err *err) {
    const char *at = bytes;
    while (len > 0) {
        ssize_t done = write(fd, at, len);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return err_set_errno(err, ERR_IO, done < 0 ? errno : EIO, "writing %s", path);
        }
        at += done;
        len -= (size_t)done;
    }
    return true;
}

bool disk_write_file(const char *path, struct str content, struct err *err) {
    char tmp[PATH_MAX];
    if (snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= PATH_MAX) {
        return err_set(err, ERR_INVALID, "%s: the name is too long", path);
    }
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, DISK_FILE_MODE);
    if (fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "creating %s", tmp);
    }
    bool ok = disk_write_all(fd, content.ptr, content.len, tmp, err);
    if (ok && fsync(fd) != 0) {
        ok = err_set_errno(err, ERR_IO, errno, "syncing %s", tmp);
    }
    close(fd);
    return ok && disk_rename(tmp, path, err);
}

bool disk_read_file(const char *path, struct buf *ret, struct err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set_errno(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "opening %s",
                             path);
    }
    char bytes[READ_BYTES];
    ssize_t len;
    while ((len = read(fd, bytes, sizeof(bytes))) > 0 || (len < 0 && errno == EINTR)) {
        if (len > 0) {
            buf_append(ret, bytes, (size_t)len);
        }
    }
    int rc = len < 0 ? errno : 0;
    close(fd);
    if (rc != 0) {
        return err_set_errno(err, ERR_IO, rc, "reading %s", path);
    }
    return !ret->is_over ||
           err_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, ret->bytes_max);
}

bool disk_rename(const char *from, const char *to, struct err *err) {
    if (rename(from, to) != 0) {
        return err_set_errno(err, ERR_IO, errno, "renaming %s to %s", from, to);
    }
    return disk_sync_parent(from, err) && disk_sync_parent(to, err);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

bool disk_remove_tree(const char *path, struct err *err) {
    if (nftw(path, remove_entry, TREE_FDS, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT) {
        return true;
    }
    return err_set_errno(err, ERR_IO, errno, "removing %s", path);
}

bool disk_is_vacant(const char *path, bool *ret, struct err *err) {
    DIR *dir = opendir(path);
    if (dir == NULL) {
        if (errno == ENOENT) {
            *ret = true;
            return true;
        }
        return err_set_errno(err, ERR_IO, errno, "looking into %s", path);
    }
    size_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        bool is_dot = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        count += is_dot ? 0 : 1;
    }
    closedir(dir);
    *ret = count == 0;
    return true;
}
