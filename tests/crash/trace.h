/*
 * What the recorder (shim.c) writes and the power-loss test reads: every change a process makes
 * below a directory, in order, and its acknowledgements. A trace is a row of records, each followed
 * by `len` bytes. Paths are relative to the directory, without a leading slash.
 */
#pragma once

#include <stdint.h>

enum trace_kind {
    TRACE_CREATE,   /* file: a new number; bytes: its path */
    TRACE_FILE,     /* the same for a file that existed before */
    TRACE_WRITE,    /* file, offset; bytes: the data. TRACE_IS_DURABLE: through O_DSYNC or O_SYNC */
    TRACE_TRUNCATE, /* file, offset: the new size */
    TRACE_SYNC,     /* file: fsync or fdatasync returned */
    TRACE_DIR_SYNC, /* bytes: path of a directory that was synced */
    TRACE_MKDIR,    /* bytes: path */
    TRACE_RENAME,   /* bytes: old path, NUL, new path */
    TRACE_LINK,     /* bytes: old path, NUL, new path */
    TRACE_UNLINK,   /* bytes: path; also of rmdir */
    TRACE_ACK,      /* offset: the number acknowledged */
};

#define TRACE_IS_DURABLE 1u

struct trace_record {
    uint32_t kind;
    uint32_t file;
    uint64_t offset;
    uint32_t len;
    uint32_t flags;
};

/* Environment of the recorder. */
#define TRACE_ENV_FILE "CRASH_TRACE" /* where the trace goes */
#define TRACE_ENV_ROOT "CRASH_ROOT"  /* the directory, absolute */
/* "sync", "dsync" or "dirsync": such events are not recorded, as if the program had not done them;
 * the power-loss test must find that. */
#define TRACE_ENV_DROP "CRASH_DROP"
