/*
 * Where a backup goes: a directory, built under "<target>.tmp" and renamed at the end, or one tar
 * stream (ustar) on a descriptor. Files are written one after the other, each with its size known
 * before. Threads: one.
 */
#pragma once

#include <limits.h>

#include "base/err.h"
#include "base/hash.h"

struct backup_sink {
    const char *target; /* NULL = stream */
    char tmp[PATH_MAX];
    int dir_fd; /* locks tmp */
    int fd;     /* the stream, or the file under way */
    char name[PATH_MAX];
    uint64_t bytes; /* of the file under way */
    uint64_t at;
    uint64_t synced;
    int64_t mtime_s;
    struct hash_sha256 hash;
};

/* `target` NULL: tar to `fd`, which stays the caller's. ERR_INVALID when the target exists,
 * ERR_UNAVAILABLE when another backup is writing there. */
WARN_UNUSED bool backup_sink_open(struct backup_sink *sink,
                                  const char *target,
                                  int fd,
                                  int64_t now_ms,
                                  struct err *err);
/* `name` is relative: "journal/data.mdb". */
WARN_UNUSED bool backup_sink_begin_file(struct backup_sink *sink,
                                        const char *name,
                                        uint64_t bytes,
                                        struct err *err);
WARN_UNUSED bool backup_sink_write(struct backup_sink *sink,
                                   const void *bytes,
                                   size_t len,
                                   struct err *err);
/* After exactly the announced number of bytes. Synced. */
WARN_UNUSED bool backup_sink_end_file(struct backup_sink *sink,
                                      char ret_sha256[65],
                                      struct err *err);
/* Nothing more comes: the directory gets its name. */
WARN_UNUSED bool backup_sink_commit(struct backup_sink *sink, struct err *err);
/* After any failure, or commit. What was not committed goes away. */
void backup_sink_close(struct backup_sink *sink);
