/*
 * Small files and directories that must survive a crash: whole-file writes by rename, syncing of
 * directories, removal of trees. Errors name the path. Threads: any.
 */
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

#define DISK_DIR_MODE  0750
#define DISK_FILE_MODE 0640

WARN_UNUSED bool disk_join(char out[PATH_MAX], const char *dir, const char *name, struct err *err);

/* Every missing directory of the path too. */
WARN_UNUSED bool disk_make_dirs(const char *path, struct err *err);

/* fsync a directory, or the one that holds `path`. */
WARN_UNUSED bool disk_sync_dir(const char *path, struct err *err);
WARN_UNUSED bool disk_sync_parent(const char *path, struct err *err);

/* The whole content or the old file, whatever happens: written beside it, synced, renamed. */
WARN_UNUSED bool disk_write_file(const char *path, struct str content, struct err *err);
/* Appended to ret. ERR_NOT_FOUND; ERR_LIMIT beyond the cap of ret. */
WARN_UNUSED bool disk_read_file(const char *path, struct buf *ret, struct err *err);

WARN_UNUSED bool disk_write_all(int fd,
                                const void *bytes,
                                size_t len,
                                const char *path,
                                struct err *err);

/* Durable: both parents are synced. */
WARN_UNUSED bool disk_rename(const char *from, const char *to, struct err *err);

/* Nothing there is fine. */
WARN_UNUSED bool disk_remove_tree(const char *path, struct err *err);

/* True when it does not exist or is a directory with nothing in it. */
WARN_UNUSED bool disk_is_vacant(const char *path, bool *ret, struct err *err);
