/*
 * The recorder: preloaded into a process (LD_PRELOAD), it does what libc's calls would do and
 * writes each change below CRASH_ROOT to CRASH_TRACE (trace.h). Writes to files named *.ack are
 * acknowledgements: lines with a number. Call and record happen under one lock, so the order of the
 * records is the order of the changes. What is written through memory maps is not seen: the store
 * forbids itself MDB_WRITEMAP; LMDB's lock files do not matter after a crash.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/crash/trace.h"

#define FDS_MAX   4096
#define FILES_MAX 4096

struct open_file {
    uint32_t file; /* 0: not recorded */
    bool is_durable;
    bool is_ack;
    char *dir; /* of a directory: its path */
};

static struct {
    pthread_mutex_t lock;
    int trace_fd;
    char root[PATH_MAX];
    size_t root_len;
    const char *drop;
    struct open_file fds[FDS_MAX];
    ino_t inodes[FILES_MAX]; /* by file number */
    uint32_t file_count;
} shim = { .lock = PTHREAD_MUTEX_INITIALIZER, .trace_fd = -1 };

__attribute__((constructor)) static void start(void) {
    const char *file = getenv(TRACE_ENV_FILE);
    const char *root = getenv(TRACE_ENV_ROOT);
    shim.drop = getenv(TRACE_ENV_DROP);
    if (file == NULL || root == NULL || strlen(root) >= sizeof(shim.root)) {
        return;
    }
    memcpy(shim.root, root, strlen(root));
    shim.root_len = strlen(root);
    shim.file_count = 1;
    shim.trace_fd =
        (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Path below the root, NULL when it is elsewhere. */
static const char *below_root(const char *path) {
    if (shim.trace_fd < 0 || strncmp(path, shim.root, shim.root_len) != 0) {
        return NULL;
    }
    path += shim.root_len;
    if (*path != '\0' && *path != '/') {
        return NULL;
    }
    while (*path == '/') {
        path++;
    }
    return path;
}

static bool ends_with(const char *path, const char *end) {
    size_t len = strlen(path);
    return len >= strlen(end) && strcmp(path + len - strlen(end), end) == 0;
}

static bool is_dropped(const char *what) {
    return shim.drop != NULL && strcmp(shim.drop, what) == 0;
}

static void record(struct trace_record record, const void *bytes) {
    struct iovec parts[] = {
        { .iov_base = &record, .iov_len = sizeof(record) },
        { .iov_base = (void *)(uintptr_t)bytes, .iov_len = record.len },
    };
    if (syscall(SYS_writev, shim.trace_fd, parts, 2) != (long)(sizeof(record) + record.len)) {
        abort(); /* a trace with a hole would prove nothing */
    }
}

static void record_path(enum trace_kind kind, uint32_t file, const char *path) {
    record((struct trace_record){ .kind = kind, .file = file, .len = (uint32_t)strlen(path) },
           path);
}

static void record_paths(enum trace_kind kind, const char *from, const char *to) {
    char both[2 * PATH_MAX];
    int len = snprintf(both, sizeof(both), "%s%c%s", from, '\0', to);
    record((struct trace_record){ .kind = kind, .len = (uint32_t)len }, both);
}

static struct open_file *find_fd(int fd) {
    return fd >= 0 && fd < FDS_MAX ? &shim.fds[fd] : NULL;
}

/* ---- opening ---- */

static uint32_t number_of(int fd, const char *path, bool is_new) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        abort();
    }
    for (uint32_t i = 1; i < shim.file_count; i++) {
        if (shim.inodes[i] == st.st_ino) {
            return i;
        }
    }
    if (shim.file_count == FILES_MAX) {
        abort();
    }
    shim.inodes[shim.file_count] = st.st_ino;
    record_path(is_new ? TRACE_CREATE : TRACE_FILE, shim.file_count, path);
    return shim.file_count++;
}

static void note_open(int fd, const char *path, int flags, bool is_new) {
    struct open_file *at = find_fd(fd);
    if (at == NULL) {
        abort();
    }
    free(at->dir);
    *at = (struct open_file){ .is_ack = ends_with(path, ".ack") };
    struct stat st;
    if (at->is_ack || fstat(fd, &st) != 0) {
        return;
    }
    if (S_ISDIR(st.st_mode)) {
        at->dir = strdup(path);
        return;
    }
    at->file = number_of(fd, path, is_new);
    at->is_durable = (flags & O_DSYNC) != 0; /* O_SYNC contains it */
    if ((flags & O_TRUNC) != 0 && !is_new) {
        record((struct trace_record){ .kind = TRACE_TRUNCATE, .file = at->file }, NULL);
    }
}

static int open_at(int dir_fd, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    const char *below = dir_fd == AT_FDCWD || path[0] == '/' ? below_root(path) : NULL;
    below = below == NULL && shim.trace_fd >= 0 && ends_with(path, ".ack") ? path : below;
    const struct open_file *dir = below == NULL ? find_fd(dir_fd) : NULL;
    pthread_mutex_lock(&shim.lock);
    if (below == NULL && dir != NULL && dir->dir != NULL) {
        snprintf(whole, sizeof(whole), "%s/%s", dir->dir, path);
        below = whole;
    }
    struct stat st;
    bool is_new = below != NULL && (flags & O_CREAT) != 0 && fstatat(dir_fd, path, &st, 0) != 0;
    int fd = (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    int saved = errno;
    if (fd >= 0 && below != NULL) {
        note_open(fd, below, flags, is_new);
    }
    pthread_mutex_unlock(&shim.lock);
    errno = saved;
    return fd;
}

static mode_t mode_from(int flags, va_list args) {
    return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_from(flags, args);
    va_end(args);
    return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_from(flags, args);
    va_end(args);
    return open_at(AT_FDCWD, path, flags, mode);
}

int openat(int dir_fd, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_from(flags, args);
    va_end(args);
    return open_at(dir_fd, path, flags, mode);
}

int openat64(int dir_fd, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_from(flags, args);
    va_end(args);
    return open_at(dir_fd, path, flags, mode);
}

/* What programs built with _FORTIFY_SOURCE call. */
int __open_2(const char *path, int flags);

int __open_2(const char *path, int flags) {
    return open_at(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags);

int __open64_2(const char *path, int flags) {
    return open_at(AT_FDCWD, path, flags, 0);
}

int close(int fd) {
    pthread_mutex_lock(&shim.lock);
    struct open_file *at = find_fd(fd);
    if (at != NULL) {
        free(at->dir);
        *at = (struct open_file){ .file = 0 };
    }
    int rc = (int)syscall(SYS_close, fd);
    pthread_mutex_unlock(&shim.lock);
    return rc;
}

/* ---- writing ---- */

static void note_write(const struct open_file *at, uint64_t offset, const void *bytes, size_t len) {
    struct trace_record written = {
        .kind = TRACE_WRITE,
        .file = at->file,
        .offset = offset,
        .len = (uint32_t)len,
        .flags = at->is_durable && !is_dropped("dsync") ? TRACE_IS_DURABLE : 0,
    };
    if (at->is_ack) {
        char line[32] = "";
        memcpy(line, bytes, len < sizeof(line) - 1 ? len : sizeof(line) - 1);
        written = (struct trace_record){ .kind = TRACE_ACK, .offset = strtoull(line, NULL, 10) };
    }
    record(written, bytes);
}

static bool is_recorded(const struct open_file *at) {
    return at != NULL && (at->file != 0 || at->is_ack);
}

/* `offset` < 0: at the file's own, which moves. */
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t offset) {
    pthread_mutex_lock(&shim.lock);
    const struct open_file *at = find_fd(fd);
    bool is_seen = is_recorded(at);
    off_t start = offset >= 0 || !is_seen ? offset : lseek(fd, 0, SEEK_CUR);
    ssize_t done = offset >= 0 ? syscall(SYS_pwritev, fd, parts, count, offset, 0)
                               : syscall(SYS_writev, fd, parts, count);
    int saved = errno;
    size_t left = done > 0 && is_seen ? (size_t)done : 0;
    for (int i = 0; left > 0; i++) {
        size_t len = parts[i].iov_len < left ? parts[i].iov_len : left;
        note_write(at, (uint64_t)start, parts[i].iov_base, len);
        start += (off_t)len;
        left -= len;
    }
    pthread_mutex_unlock(&shim.lock);
    errno = saved;
    return done;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    struct iovec part = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
    return write_parts(fd, &part, 1, -1);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset) {
    struct iovec part = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
    return write_parts(fd, &part, 1, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t offset) {
    return pwrite(fd, bytes, len, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    return write_parts(fd, parts, count, -1);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return write_parts(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return pwritev(fd, parts, count, offset);
}

int ftruncate(int fd, off_t size) {
    pthread_mutex_lock(&shim.lock);
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    int saved = errno;
    const struct open_file *at = find_fd(fd);
    if (rc == 0 && at != NULL && at->file != 0) {
        record((struct trace_record){ .kind = TRACE_TRUNCATE,
                                      .file = at->file,
                                      .offset = (uint64_t)size },
               NULL);
    }
    pthread_mutex_unlock(&shim.lock);
    errno = saved;
    return rc;
}

int ftruncate64(int fd, off64_t size) {
    return ftruncate(fd, size);
}

/* ---- syncing ---- */

static int sync_fd(int fd, long number) {
    pthread_mutex_lock(&shim.lock);
    int rc = (int)syscall(number, fd);
    int saved = errno;
    const struct open_file *at = find_fd(fd);
    if (rc == 0 && at != NULL && at->dir != NULL && !is_dropped("dirsync")) {
        record_path(TRACE_DIR_SYNC, 0, at->dir);
    } else if (rc == 0 && at != NULL && at->file != 0 && !is_dropped("sync")) {
        record((struct trace_record){ .kind = TRACE_SYNC, .file = at->file }, NULL);
    }
    pthread_mutex_unlock(&shim.lock);
    errno = saved;
    return rc;
}

int fsync(int fd) {
    return sync_fd(fd, SYS_fsync);
}

int fdatasync(int fd) {
    return sync_fd(fd, SYS_fdatasync);
}

/* ---- names ---- */

int mkdir(const char *path, mode_t mode) {
    pthread_mutex_lock(&shim.lock);
    int rc = (int)syscall(SYS_mkdir, path, mode);
    int saved = errno;
    const char *below = below_root(path);
    if (rc == 0 && below != NULL) {
        record_path(TRACE_MKDIR, 0, below);
    }
    pthread_mutex_unlock(&shim.lock);
    errno = saved;
    return rc;
}

static int two_paths(long number, enum trace_kind kind, const char *from, const char *to) {
    pthread_mutex_lock(&shim.lock);
    int rc = (int)syscall(number, from, to);
    int saved = errno;
    const char *below_from = below_root(from);
    const char *below_to = below_root(to);
    if (rc == 0 && below_from != NULL && below_to != NULL) {
        record_paths(kind, below_from, below_to);
    }
    pthread_mutex_unlock(&shim.lock);
    errno = saved;
    return rc;
}

int rename(const char *from, const char *to) {
    return two_paths(SYS_rename, TRACE_RENAME, from, to);
}

int link(const char *from, const char *to) {
    return two_paths(SYS_link, TRACE_LINK, from, to);
}

static int remove_name(long number, const char *path) {
    pthread_mutex_lock(&shim.lock);
    struct stat st = { .st_nlink = 0 };
    (void)stat(path, &st);
    int rc = (int)syscall(number, path);
    int saved = errno;
    const char *below = below_root(path);
    if (rc == 0 && below != NULL && !ends_with(below, ".ack")) {
        for (uint32_t i = 1; st.st_nlink == 1 && i < shim.file_count; i++) {
            if (shim.inodes[i] == st.st_ino) {
                shim.inodes[i] = 0; /* the number of the inode may come again */
            }
        }
        record_path(TRACE_UNLINK, 0, below);
    }
    pthread_mutex_unlock(&shim.lock);
    errno = saved;
    return rc;
}

int unlink(const char *path) {
    return remove_name(SYS_unlink, path);
}

int rmdir(const char *path) {
    return remove_name(SYS_rmdir, path);
}
