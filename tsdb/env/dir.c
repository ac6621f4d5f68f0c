/* The data directory: creating it, refusing network file systems, the lock, free space. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "tsdb/db.h"

#define DIR_MODE  0750
#define LOCK_MODE 0640

/* From statfs(2). Memory maps and locks on these do not mean what LMDB needs them to. */
static const struct {
    uint32_t magic;
    const char *name;
} network_filesystems[] = {
    { 0x00006969, "NFS" }, { 0x0000517b, "SMB" },  { 0xff534d42, "CIFS" }, { 0xfe534d42, "SMB2" },
    { 0x5346414f, "AFS" }, { 0x73757245, "Coda" }, { 0x0000564c, "NCP" },
};

bool dir_sync(const char *path, struct err *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "opening directory %s", path);
    }
    int rc = fsync(fd);
    int saved = errno;
    close(fd);
    return rc == 0 || err_set_errno(err, ERR_IO, saved, "syncing directory %s", path);
}

/* The directory a path is in. */
static bool sync_parent(const char *path, struct err *err) {
    char *copy = mem_strdup(path);
    char *slash = strrchr(copy, '/');
    if (slash != NULL) {
        slash[slash == copy ? 1 : 0] = '\0';
    }
    bool ok = dir_sync(slash != NULL ? copy : ".", err);
    mem_free(copy);
    return ok;
}

bool dir_make(const char *path, struct err *err) {
    if (mkdir(path, DIR_MODE) == 0) {
        return sync_parent(path, err);
    }
    return errno == EEXIST || err_set_errno(err, ERR_IO, errno, "creating directory %s", path);
}

static bool make_parents(const char *path, struct err *err) {
    char *copy = mem_strdup(path);
    bool ok = true;
    for (char *slash = copy + 1; ok && *slash != '\0'; slash++) {
        if (*slash == '/') {
            *slash = '\0';
            ok = dir_make(copy, err);
            *slash = '/';
        }
    }
    mem_free(copy);
    return ok && dir_make(path, err);
}

bool dir_prepare(const char *path, bool is_read_only, struct err *err) {
    if (path == NULL || path[0] == '\0') {
        return err_set(err, ERR_INVALID, "the data directory has no name");
    }
    if (!is_read_only && !make_parents(path, err)) {
        return false;
    }
    struct stat st;
    if (stat(path, &st) != 0) {
        return err_set_errno(err, ERR_IO, errno, "data directory %s", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return err_set(err, ERR_INVALID, "data directory %s is not a directory", path);
    }
    struct statfs fs;
    if (statfs(path, &fs) != 0) {
        return err_set_errno(err, ERR_IO, errno, "data directory %s", path);
    }
    for (size_t i = 0; i < ARRAY_LEN(network_filesystems); i++) {
        if ((uint32_t)fs.f_type == network_filesystems[i].magic) {
            return err_set(err, ERR_INVALID,
                           "data directory %s is on %s: the store needs a local file system", path,
                           network_filesystems[i].name);
        }
    }
    return true;
}

/* ---- half-created environments ---- */

/* What LMDB writes, without syncing it, when it creates a file: two pages and no data. */
#define UNBORN_BYTES_MAX 8192

bool dir_has_data(const char *path) {
    char file[PATH_MAX];
    struct stat st;
    return snprintf(file, sizeof(file), "%s/data.mdb", path) < (int)sizeof(file) &&
           stat(file, &st) == 0;
}

bool dir_clear_unborn(const char *path, bool is_unborn, struct err *err) {
    char file[PATH_MAX];
    struct stat st;
    if (snprintf(file, sizeof(file), "%s/data.mdb", path) >= (int)sizeof(file)) {
        return err_set(err, ERR_INVALID, "%s: the name is too long", path);
    }
    bool is_there = stat(file, &st) == 0;
    if (!is_there && errno != ENOENT) {
        return err_set_errno(err, ERR_IO, errno, "%s", file);
    }
    if (is_there && st.st_size > UNBORN_BYTES_MAX) {
        return true;
    }
    if (!is_unborn) {
        return err_set(err, ERR_CORRUPT, "%s is %s, though the directory was in use: restore it",
                       file, is_there ? "empty" : "missing");
    }
    return !is_there || unlink(file) == 0 || err_set_errno(err, ERR_IO, errno, "removing %s", file);
}

/* ---- lock ---- */

static bool refuse_locked(int fd, const char *path, struct err *err) {
    char holder[32] = "";
    ssize_t len = pread(fd, holder, sizeof(holder) - 1, 0);
    close(fd);
    if (len > 0 && holder[len - 1] == '\n') {
        len--;
    }
    int shown = len > 0 ? (int)len : 0;
    return err_set(err, ERR_UNAVAILABLE, "data directory %s is in use by process %.*s", path,
                   shown > 0 ? shown : 1, shown > 0 ? holder : "?");
}

bool dir_lock(const char *path, int *ret_fd, struct err *err) {
    char file[PATH_MAX];
    if (snprintf(file, sizeof(file), "%s/lock", path) >= (int)sizeof(file)) {
        return err_set(err, ERR_INVALID, "data directory %s: the name is too long", path);
    }
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, LOCK_MODE);
    if (fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "opening %s", file);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            return refuse_locked(fd, path, err);
        }
        int saved = errno;
        close(fd);
        return err_set_errno(err, ERR_IO, saved, "locking %s", file);
    }
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len) {
        int saved = errno;
        close(fd);
        return err_set_errno(err, ERR_IO, saved, "writing %s", file);
    }
    *ret_fd = fd;
    return true;
}

void dir_unlock(int fd) {
    if (fd >= 0) {
        close(fd); /* gives the lock back */
    }
}

uint64_t dir_free_bytes(const char *path) {
    struct statvfs fs;
    if (statvfs(path, &fs) != 0) {
        return UINT64_MAX;
    }
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}
