/* Scheduled backups: see backup_job.h. */
#include "app/backup_job.h"

#include <inttypes.h>
#include <pthread.h>
#include <time.h>

#include "app/child.h"
#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/tsdb.h"

#define TICK_NS    INT64_C(1000000000)
#define RETRY_MS   INT64_C(60000) /* after a failure, or sooner when the interval is shorter */
#define PATH_BYTES 8192

struct backup_job {
    struct backup_job_options opts;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_stopping; /* guarded by lock */

    struct metric *success;
    struct metric *success_time;
    struct metric *verified_time;
    struct metric *seconds;
    struct metric *bytes;
    struct metric *failures;
};

/* ---- names ---- */

static void print_time(int64_t t_ms, struct buf *out) {
    struct civil c = civil_from_ms(t_ms);
    buf_printf(out, "%04d%02d%02dT%02d%02d%02dZ", c.year, c.month, c.day, c.hour, c.minute,
               c.second);
}

bool backup_snapshot(const char *data,
                     bool skip_head,
                     int64_t now_ms,
                     struct buf *ret_name,
                     struct err *err) {
    uint64_t random;
    random_bytes(&random, sizeof(random));
    print_time(now_ms, ret_name);
    buf_printf(ret_name, "-%016" PRIx64, random >> 1);
    CLEANUP(buf_finish) struct buf source;
    CLEANUP(buf_finish) struct buf target;
    buf_init(&source, PATH_BYTES);
    buf_init(&target, PATH_BYTES);
    buf_printf(&source, "--storage.path=%s", data);
    buf_printf(&target, "%s/snapshots/%s", data, ret_name->ptr);
    const char *argv[] = {
        "tocsin", "backup", "--quiet", "--background", source.ptr, target.ptr, NULL, NULL,
    };
    if (skip_head) {
        argv[6] = "--skip-head";
    }
    return child_run(argv, NULL, NULL, err);
}

/* ---- one backup ---- */

static bool is_stopping(void *ctx) {
    struct backup_job *job = ctx;
    pthread_mutex_lock(&job->lock);
    bool stopping = job->is_stopping;
    pthread_mutex_unlock(&job->lock);
    return stopping;
}

static bool make_backup(struct backup_job *job, struct buf *path, struct err *err) {
    CLEANUP(buf_finish) struct buf source;
    buf_init(&source, PATH_BYTES);
    buf_printf(&source, "--storage.path=%s", job->opts.data);
    buf_printf(path, "%s/tocsin-", job->opts.dir);
    print_time(clock_wall_ms(job->opts.clock), path);
    const char *argv[] = {
        "tocsin", "backup", "--quiet", "--background", source.ptr, path->ptr, NULL,
    };
    return child_run(argv, is_stopping, job, err);
}

static bool verify_backup(struct backup_job *job, const char *path, struct err *err) {
    const char *argv[] = { "tocsin", "verify", path, NULL };
    return child_run(argv, is_stopping, job, err) || err_wrap(err, "verifying %s", path);
}

static uint64_t bytes_of(const struct tsdb_backup_info *info) {
    return info->files[TSDB_BACKUP_JOURNAL].bytes + info->files[TSDB_BACKUP_STORE].bytes;
}

/* The oldest backup that stays decides how far back the shipped journal is of use. */
static bool expire_shipped(const struct backup_job *job,
                           const struct tsdb_backup_entry *entries,
                           const bool *is_expired,
                           size_t count,
                           struct err *err) {
    for (size_t i = 0; job->opts.ship_dir != NULL && i < count; i++) {
        const struct tsdb_backup_info *info = &entries[i].info;
        if (entries[i].is_whole && !is_expired[i]) {
            uint64_t lsn = info->lsn_last != 0 ? info->lsn_last : info->applied_lsn;
            return tsdb_ship_expire(job->opts.ship_dir, info->directory_id, lsn, err);
        }
    }
    return true;
}

static bool expire(struct backup_job *job, struct err *err) {
    struct tsdb_backup_entry *entries = NULL;
    size_t count = 0;
    if (!tsdb_backup_list(job->opts.dir, &entries, &count, err)) {
        return false;
    }
    bool *is_expired = mem_calloc(count + 1, sizeof(*is_expired));
    tsdb_backup_expire(entries, count, clock_wall_ms(job->opts.clock), job->opts.keep_ms,
                       is_expired);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        if (is_expired[i]) {
            CLEANUP(buf_finish) struct buf path;
            buf_init(&path, PATH_BYTES);
            buf_printf(&path, "%s/%s", job->opts.dir, entries[i].name);
            ok = tsdb_backup_remove(path.ptr, err);
            log_info(job->opts.log, "backup", "Removed an old backup", LOG_CSTR("path", path.ptr));
        }
    }
    ok = ok && expire_shipped(job, entries, is_expired, count, err);
    mem_free(is_expired);
    tsdb_backup_list_free(entries, count);
    return ok;
}

static bool run_once(struct backup_job *job, struct err *err) {
    CLEANUP(buf_finish) struct buf path;
    buf_init(&path, PATH_BYTES);
    int64_t start_ns = clock_mono_ns(clock_system());
    struct tsdb_backup_info info;
    if (!make_backup(job, &path, err) || !tsdb_backup_read(path.ptr, &info, err)) {
        return false;
    }
    double seconds = (double)(clock_mono_ns(clock_system()) - start_ns) / 1e9;
    metric_set(job->seconds, seconds);
    metric_set(job->bytes, (double)bytes_of(&info));
    metric_set(job->success_time, (double)info.created_ms / 1000);
    if (!verify_backup(job, path.ptr, err)) {
        return false;
    }
    metric_set(job->verified_time, (double)info.created_ms / 1000);
    log_info(job->opts.log, "backup", "Backed up and verified", LOG_CSTR("path", path.ptr),
             LOG_I64("bytes", bytes_of(&info)), LOG_F64("seconds", seconds));
    return expire(job, err);
}

/* ---- the schedule ---- */

static int64_t newest_ms(const struct backup_job *job) {
    struct tsdb_backup_entry *entries = NULL;
    size_t count = 0;
    int64_t newest = INT64_MIN;
    struct err ignored = ERR_INIT; /* a directory that is not there yet has none */
    if (tsdb_backup_list(job->opts.dir, &entries, &count, &ignored)) {
        for (size_t i = 0; i < count; i++) {
            newest = entries[i].is_whole ? entries[i].info.created_ms : newest;
        }
        tsdb_backup_list_free(entries, count);
    }
    return newest;
}

/* False: stop. */
static bool wait_until(struct backup_job *job, int64_t due_ms) {
    pthread_mutex_lock(&job->lock);
    while (!job->is_stopping && clock_wall_ms(job->opts.clock) < due_ms) {
        int64_t until_ns = clock_mono_ns(clock_system()) + TICK_NS;
        struct timespec until = {
            .tv_sec = (time_t)(until_ns / 1000000000),
            .tv_nsec = (long)(until_ns % 1000000000),
        };
        pthread_cond_timedwait(&job->cond, &job->lock, &until);
    }
    bool goes_on = !job->is_stopping;
    pthread_mutex_unlock(&job->lock);
    return goes_on;
}

static void *job_main(void *arg) {
    struct backup_job *job = arg;
    int64_t interval_ms = job->opts.interval_ms;
    int64_t retry_ms = interval_ms < RETRY_MS ? interval_ms : RETRY_MS;
    int64_t newest = newest_ms(job);
    int64_t due_ms = newest == INT64_MIN ? 0 : newest + interval_ms;
    while (wait_until(job, due_ms)) {
        int64_t start_ms = clock_wall_ms(job->opts.clock);
        struct err err = ERR_INIT;
        bool ok = run_once(job, &err);
        due_ms = start_ms + (ok ? interval_ms : retry_ms);
        metric_set(job->success, ok ? 1 : 0);
        if (!ok && !is_stopping(job)) {
            metric_inc(job->failures);
            log_error(job->opts.log, "backup", "The scheduled backup failed",
                      LOG_CSTR("error", err.msg));
        }
    }
    return NULL;
}

/* ---- life ---- */

static void init_metrics(struct backup_job *job) {
    struct metric_registry *r = job->opts.metrics;
    job->success = metric_gauge(r, "tocsin_backup_last_success",
                                "1 when the last scheduled backup was made and verified.", NULL);
    job->success_time =
        metric_gauge(r, "tocsin_backup_last_success_timestamp_seconds",
                     "The moment whose state the last scheduled backup holds.", NULL);
    job->verified_time = metric_gauge(r, "tocsin_backup_last_verified_timestamp_seconds",
                                      "The same of the last one that was verified.", NULL);
    job->seconds = metric_gauge(r, "tocsin_backup_last_duration_seconds",
                                "How long the last scheduled backup took.", NULL);
    job->bytes = metric_gauge(r, "tocsin_backup_last_size_bytes",
                              "Size of the last scheduled backup.", NULL);
    job->failures =
        metric_counter(r, "tocsin_backup_failures_total", "Scheduled backups that failed.", NULL);
}

bool backup_job_start(const struct backup_job_options *options,
                      struct backup_job **ret,
                      struct err *err) {
    struct backup_job *job = mem_calloc(1, sizeof(*job));
    job->opts = *options;
    init_metrics(job);
    pthread_mutex_init(&job->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&job->cond, &attr);
    pthread_condattr_destroy(&attr);
    int rc = pthread_create(&job->thread, NULL, job_main, job);
    if (rc != 0) {
        mem_free(job);
        return err_set_errno(err, ERR_IO, rc, "starting the backup thread");
    }
    *ret = job;
    return true;
}

void backup_job_stop(struct backup_job *job) {
    if (job == NULL) {
        return;
    }
    pthread_mutex_lock(&job->lock);
    job->is_stopping = true;
    pthread_cond_signal(&job->cond);
    pthread_mutex_unlock(&job->lock);
    pthread_join(job->thread, NULL);
    pthread_mutex_destroy(&job->lock);
    pthread_cond_destroy(&job->cond);
    mem_free(job);
}
