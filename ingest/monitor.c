/* Our own metrics and the machine's, sampled on a grid of their own into one batch. */
#include "ingest/monitor.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"

#define INTERVAL_MS_DEFAULT 15000
#define PROC_BYTES_MAX      (4u << 20)
#define PROC                "/proc"

struct monitor {
    struct ingest *ingest; /* immutable after create, as are the intervals */
    int64_t self_interval_ms;
    int64_t host_interval_ms;

    /* owned by whoever ticks */
    struct sampler self;
    struct sampler machine;
    struct host host;
    int64_t self_last_ms;
    int64_t host_last_ms;

    pthread_mutex_t mu;
    char *instance; /* guarded by mu */

    pthread_mutex_t refresh_mu; /* one refresh at a time */
    struct metric *cpu_seconds;
    struct metric *resident_bytes;
    struct metric *virtual_bytes;
    struct metric *open_fds;
    struct metric *max_fds;
    struct metric *start_time;
};

/* ---- process_* ---- */

struct str proc_read(const char *proc_path, const char *name, struct buf *buf) {
    buf_reset(buf);
    struct buf path CLEANUP(buf_finish);
    buf_init(&path, 4096);
    buf_printf(&path, "%s/%s", proc_path, name);
    int fd = path.is_over ? -1 : open(path.ptr, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return STR("");
    }
    for (;;) {
        char *to = buf_reserve(buf, 16384);
        ssize_t got = to == NULL ? -1 : read(fd, to, 16384);
        if (got <= 0) {
            break;
        }
        buf->len += (size_t)got;
    }
    close(fd);
    return buf_as_str(buf);
}

/* Blank-separated field `index` (from 0) of a line. */
static struct str field_at(struct str line, size_t index) {
    for (;;) {
        struct str head;
        str_cut(line, ' ', &head, &line);
        if (index == 0 || (head.len == 0 && line.len == 0)) {
            return head;
        }
        index--;
    }
}

static double start_time_s(void) {
    struct buf file CLEANUP(buf_finish);
    buf_init(&file, PROC_BYTES_MAX);
    struct str stat = proc_read(PROC, "self/stat", &file);
    /* The command in parentheses may hold blanks: count from behind it. */
    size_t paren = stat.len;
    while (paren > 0 && stat.ptr[paren - 1] != ')') {
        paren--;
    }
    int64_t ticks;
    size_t skipped = paren + 1 < stat.len ? paren + 1 : stat.len;
    struct str rest = str_n(stat.ptr + skipped, stat.len - skipped);
    if (!str_parse_i64(field_at(rest, 19), &ticks)) {
        return 0;
    }
    struct str machine = proc_read(PROC, "stat", &file);
    size_t at = str_find(machine, STR("\nbtime "));
    int64_t boot_s;
    if (at == SIZE_MAX) {
        return 0;
    }
    struct str line;
    struct str unused;
    at += strlen("\nbtime ");
    str_cut(str_n(machine.ptr + at, machine.len - at), '\n', &line, &unused);
    if (!str_parse_i64(line, &boot_s)) {
        return 0;
    }
    return (double)boot_s + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static size_t open_fds_count(void) {
    DIR *dir = opendir(PROC "/self/fd");
    size_t count = 0;
    while (dir != NULL && readdir(dir) != NULL) {
        count++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}

static double seconds_of(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

void monitor_refresh(struct monitor *monitor) {
    pthread_mutex_lock(&monitor->refresh_mu);
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        double cpu_s = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
        double before_s = metric_get(monitor->cpu_seconds);
        metric_add(monitor->cpu_seconds, cpu_s > before_s ? cpu_s - before_s : 0);
    }
    struct buf file CLEANUP(buf_finish);
    buf_init(&file, PROC_BYTES_MAX);
    struct str statm = proc_read(PROC, "self/statm", &file);
    double page_bytes = (double)sysconf(_SC_PAGESIZE);
    uint64_t pages;
    if (str_parse_u64(field_at(statm, 0), &pages)) {
        metric_set(monitor->virtual_bytes, (double)pages * page_bytes);
    }
    if (str_parse_u64(field_at(statm, 1), &pages)) {
        metric_set(monitor->resident_bytes, (double)pages * page_bytes);
    }
    metric_set(monitor->open_fds, (double)open_fds_count());
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        metric_set(monitor->max_fds, (double)limit.rlim_cur);
    }
    pthread_mutex_unlock(&monitor->refresh_mu);
}

static void process_metrics_init(struct monitor *monitor, struct metric_registry *metrics) {
    monitor->cpu_seconds = metric_counter(metrics, "process_cpu_seconds_total",
                                          "User and system CPU time spent in seconds.", NULL);
    monitor->resident_bytes = metric_gauge(metrics, "process_resident_memory_bytes",
                                           "Resident memory size in bytes.", NULL);
    monitor->virtual_bytes = metric_gauge(metrics, "process_virtual_memory_bytes",
                                          "Virtual memory size in bytes.", NULL);
    monitor->open_fds =
        metric_gauge(metrics, "process_open_fds", "Number of open file descriptors.", NULL);
    monitor->max_fds =
        metric_gauge(metrics, "process_max_fds", "Maximum number of open file descriptors.", NULL);
    monitor->start_time =
        metric_gauge(metrics, "process_start_time_seconds",
                     "Start time of the process since unix epoch in seconds.", NULL);
    metric_set(monitor->start_time, start_time_s());
}

/* ---- life ---- */

static int64_t interval_of(int64_t option_ms) {
    return option_ms == 0 ? INTERVAL_MS_DEFAULT : option_ms;
}

struct monitor *monitor_create(struct ingest *ingest, const struct ingest_options *options) {
    struct monitor *monitor = mem_calloc(1, sizeof(*monitor));
    monitor->ingest = ingest;
    monitor->self_interval_ms = interval_of(options->self_interval_ms);
    monitor->host_interval_ms = interval_of(options->host_interval_ms);
    sampler_init(&monitor->self);
    sampler_init(&monitor->machine);
    host_init(&monitor->host, options->proc_path == NULL ? PROC : options->proc_path);
    pthread_mutex_init(&monitor->mu, NULL);
    pthread_mutex_init(&monitor->refresh_mu, NULL);
    monitor->instance =
        mem_strdup(options->self_instance == NULL ? "localhost" : options->self_instance);
    process_metrics_init(monitor, ingest->metrics);
    return monitor;
}

void monitor_destroy(struct monitor *monitor) {
    if (monitor == NULL) {
        return;
    }
    sampler_finish(&monitor->self);
    sampler_finish(&monitor->machine);
    host_finish(&monitor->host);
    pthread_mutex_destroy(&monitor->mu);
    pthread_mutex_destroy(&monitor->refresh_mu);
    mem_free(monitor->instance);
    mem_free(monitor);
}

void monitor_set_instance(struct monitor *monitor, const char *instance) {
    pthread_mutex_lock(&monitor->mu);
    mem_free(monitor->instance);
    monitor->instance = mem_strdup(instance);
    pthread_mutex_unlock(&monitor->mu);
}

/* ---- rounds ---- */

struct round {
    struct monitor *monitor;
    struct tsdb_batch *batch;
    struct labels common;
};

static void describe_own(struct round *round, const struct metric_view *view) {
    static const enum family_type types[] = {
        [METRIC_COUNTER] = FAMILY_COUNTER,
        [METRIC_GAUGE] = FAMILY_GAUGE,
        [METRIC_HISTOGRAM] = FAMILY_HISTOGRAM,
    };
    struct family_metadata metadata = {
        .type = types[view->type],
        .help = str_from(view->help),
        .unit = STR(""),
    };
    tsdb_batch_metadata(round->batch, str_from(view->name), &metadata);
}

static struct str suffixed(struct buf *buf, const char *name, const char *suffix) {
    buf_reset(buf);
    buf_cstr(buf, name);
    buf_cstr(buf, suffix);
    return buf_as_str(buf);
}

static void put_histogram(struct round *round, const struct metric_view *view) {
    struct sampler *sampler = &round->monitor->self;
    const char *const *pairs = view->label_pairs;
    struct buf name CLEANUP(buf_finish);
    buf_init(&name, 4096);
    struct str text = suffixed(&name, view->name, "_bucket");
    for (size_t i = 0; i <= view->bound_count; i++) {
        char bound_text[BOUND_TEXT_MAX];
        double bound = i < view->bound_count ? view->bounds[i] : (double)INFINITY;
        struct label le = { .name = STR("le"), .value = bound_to_text(bound, bound_text) };
        double count = (double)view->bucket_counts[i];
        sampler_put_with(sampler, text, pairs, round->common, le, count);
    }
    text = suffixed(&name, view->name, "_sum");
    sampler_put(sampler, text, pairs, round->common, view->sum);
    text = suffixed(&name, view->name, "_count");
    double total = (double)view->bucket_counts[view->bound_count];
    sampler_put(sampler, text, pairs, round->common, total);
}

static void put_own(void *ctx, const struct metric_view *view) {
    struct round *round = ctx;
    describe_own(round, view);
    if (view->type == METRIC_HISTOGRAM) {
        put_histogram(round, view);
    } else {
        sampler_put(&round->monitor->self, str_from(view->name), view->label_pairs, round->common,
                    view->value);
    }
}

static void self_sample(struct round *round, int64_t t_ms) {
    struct monitor *monitor = round->monitor;
    monitor_refresh(monitor);
    sampler_begin(&monitor->self, monitor->ingest->db, round->batch, t_ms);
    metric_collect(monitor->ingest->metrics, put_own, round);
    sampler_put(&monitor->self, STR("up"), NULL, round->common, 1);
    sampler_end(&monitor->self);
}

static void machine_sample(struct round *round, int64_t t_ms) {
    struct monitor *monitor = round->monitor;
    sampler_begin(&monitor->machine, monitor->ingest->db, round->batch, t_ms);
    host_sample(&monitor->host, &monitor->machine, round->batch, round->common);
    sampler_put(&monitor->machine, STR("up"), NULL, round->common, 1);
    sampler_end(&monitor->machine);
}

/* The newest point of the grid when it was not sampled yet, else 0; *ret_due_ms is the next one.
 * The first round is now: the point before us may have been another process'. */
static int64_t point_due(int64_t interval_ms,
                         int64_t now_ms,
                         int64_t *last_ms,
                         int64_t *ret_due_ms) {
    if (interval_ms < 0) {
        *ret_due_ms = INT64_MAX;
        return 0;
    }
    int64_t t_ms = now_ms - now_ms % interval_ms;
    *ret_due_ms = t_ms + interval_ms;
    if (t_ms == *last_ms) {
        return 0;
    }
    bool is_first = *last_ms == 0;
    *last_ms = t_ms;
    return is_first ? now_ms : t_ms;
}

static void refuse(struct monitor *monitor) {
    counters_refuse(&monitor->ingest->counters, DOOR_SCRAPE, REFUSAL_STORE, 1);
}

int64_t monitor_tick(struct monitor *monitor, int64_t now_ms) {
    bool has_self = monitor->ingest->metrics != NULL;
    int64_t self_due_ms;
    int64_t host_due_ms;
    int64_t self_ms = point_due(has_self ? monitor->self_interval_ms : -1, now_ms,
                                &monitor->self_last_ms, &self_due_ms);
    int64_t host_ms =
        point_due(monitor->host_interval_ms, now_ms, &monitor->host_last_ms, &host_due_ms);
    int64_t due_ms = self_due_ms < host_due_ms ? self_due_ms : host_due_ms;
    if (self_ms == 0 && host_ms == 0) {
        return due_ms;
    }
    struct err err = ERR_INIT;
    struct round round = { .monitor = monitor };
    if (!tsdb_batch_begin(monitor->ingest->db, TSDB_INGEST, &round.batch, &err)) {
        refuse(monitor);
        return due_ms;
    }
    pthread_mutex_lock(&monitor->mu);
    char *instance = mem_strdup(monitor->instance);
    pthread_mutex_unlock(&monitor->mu);
    struct label items[] = {
        { STR("instance"), str_from(instance) },
        { STR("job"), STR("tocsin") },
    };
    round.common = (struct labels){ .items = items, .count = ARRAY_LEN(items) };
    if (self_ms != 0) {
        self_sample(&round, self_ms);
    }
    if (host_ms != 0) {
        items[1].value = STR("node");
        machine_sample(&round, host_ms);
    }
    if (!tsdb_commit_blocking(round.batch, NULL, &err)) {
        refuse(monitor);
    }
    mem_free(instance);
    return due_ms;
}
