/*
 * Scheduled backups of the running engine: a thread that makes one every interval, in a process of
 * its own, has it verified by another, and removes what is older than it is to be kept, shipped
 * journal included. The time of the next one follows from the newest whole backup that is there, so
 * restarts do not shift it.
 */
#pragma once

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/metric.h"

struct backup_job;

struct backup_job_options {
    const char *data; /* data directory; this and the next two outlive the job */
    const char *dir;
    const char *ship_dir; /* NULL = the journal is not shipped */
    int64_t interval_ms;
    int64_t keep_ms;
    const struct clock *clock;
    struct metric_registry *metrics;
    struct log *log;
};

WARN_UNUSED bool backup_job_start(const struct backup_job_options *options,
                                  struct backup_job **ret,
                                  struct err *err);
/* Ends a backup under way, which then leaves nothing. NULL ok. */
void backup_job_stop(struct backup_job *job);

/* One to snapshots/<name> in the data directory, as Prometheus names it. Waits for it. */
WARN_UNUSED bool backup_snapshot(const char *data,
                                 bool skip_head,
                                 int64_t now_ms,
                                 struct buf *ret_name,
                                 struct err *err);
