/* Series for load generators: see rw_series.h. */
#include "bench/rw_series.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/pb.h"
#include "bench/corpus.h"

#define SIMPLE_KINDS 12

struct series {
    size_t offset; /* of its encoded labels */
    uint32_t len;
    uint32_t kind;       /* SIMPLE: metric; MIXED: enum corpus_class */
    uint32_t within;     /* of the target, or of the class in it */
    uint32_t generation; /* how often it was replaced */
    double value;        /* SIMPLE */
};

struct rw_series {
    struct rw_series_params params;
    struct series *series;
    struct buf labels; /* encoded Label messages of all series */
    struct buf scratch;
    double *values; /* MIXED: rounds per series, one after the other */
    uint64_t state; /* random */
};

static uint64_t next_random(struct rw_series *set) {
    set->state ^= set->state << 13;
    set->state ^= set->state >> 7;
    set->state ^= set->state << 17;
    return set->state;
}

/* ---- labels ---- */

static void add_label(struct buf *out, const char *name, const char *value) {
    struct buf label;
    buf_init(&label, 1024);
    pb_put_bytes(&label, 1, str_from(name));
    pb_put_bytes(&label, 2, str_from(value));
    pb_put_bytes(out, 1, buf_as_str(&label));
    buf_finish(&label);
}

PRINTF_LIKE(3, 4)

static void add_labelf(struct buf *out, const char *name, const char *fmt, ...) {
    char text[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    add_label(out, name, text);
}

static const char *const simple_names[SIMPLE_KINDS] = {
    "http_requests_total",       "http_request_duration_seconds_bucket",
    "llm_tokens_total",          "llm_request_latency_seconds_bucket",
    "process_cpu_seconds_total", "container_memory_working_set_bytes",
    "grpc_server_handled_total", "queue_depth",
    "gpu_utilization_ratio",     "kv_cache_usage_ratio",
    "db_connections_open",       "rpc_duration_seconds_sum",
};

static const char *const mixed_names[CORPUS_CLASS_COUNT] = {
    [CORPUS_CONSTANT] = "app_build_limits",
    [CORPUS_IDLE_COUNTER] = "app_errors_total",
    [CORPUS_SLOW_COUNTER] = "app_jobs_total",
    [CORPUS_FAST_COUNTER] = "http_requests_total",
    [CORPUS_BYTES_COUNTER] = "http_response_bytes_total",
    [CORPUS_TOKEN_COUNTER] = "llm_tokens_total",
    [CORPUS_CPU_SECONDS] = "process_cpu_seconds_total",
    [CORPUS_FLOAT_SUM] = "http_request_duration_seconds_sum",
    [CORPUS_PAGED_GAUGE] = "process_resident_memory_bytes",
    [CORPUS_DECIMAL_GAUGE] = "queue_wait_seconds",
    [CORPUS_FULL_GAUGE] = "gpu_utilization_ratio",
    [CORPUS_STALE_GAUGE] = "worker_load",
    [CORPUS_SLOW_BUCKET] = "llm_request_duration_seconds_bucket",
    [CORPUS_FAST_BUCKET] = "http_request_duration_seconds_bucket",
};

static const char *const bounds[CORPUS_BUCKETS] = {
    "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "0.75", "1",
    "1.5",  "2.5",   "5",    "7.5", "10",   "30",  "60",   "+Inf",
};

/* Eleven labels, sorted by name. The length does not depend on the generation. */
static void encode_labels(const struct rw_series *set, size_t index, struct buf *out) {
    const struct series *series = &set->series[index];
    unsigned target = (unsigned)((set->params.first + index) / TARGET_SERIES);
    bool is_simple = set->params.data == DATA_SIMPLE;
    unsigned group = is_simple ? series->within / 144 : series->within / CORPUS_BUCKETS;
    unsigned bucket = is_simple ? series->within % 12 : series->within % CORPUS_BUCKETS;
    add_label(out, "__name__", is_simple ? simple_names[series->kind] : mixed_names[series->kind]);
    add_labelf(out, "cluster", "prod-eu-west-%u", target % 3);
    add_labelf(out, "container", "app-%u", target % 5);
    add_labelf(out, "handler", "/v1/resource/%u", group);
    add_labelf(out, "instance", "10.%u.%u.%u:9090", target >> 16 & 255, target >> 8 & 255,
               target & 255);
    add_labelf(out, "job", "kubernetes-pods-%u", target % 20);
    add_label(out, "le", bounds[bucket]);
    add_labelf(out, "namespace", "team-%u", target % 30);
    add_labelf(out, "node", "ip-10-%u-%u.eu-west-1.compute.internal", target / 20 >> 6,
               target / 20 & 63);
    add_labelf(out, "pod", "app-%08x-%05x", target * 2654435761U,
               (target * 40503U + series->generation * 7919U) & 0xfffffU);
    add_labelf(out, "tenant", "t%u", is_simple ? series->within / 7 % 50 : group % 50);
}

struct str rw_series_labels(const struct rw_series *set, size_t index) {
    const struct series *series = &set->series[index];
    return str_n(set->labels.ptr + series->offset, series->len);
}

void rw_series_replace(struct rw_series *set, size_t index) {
    struct series *series = &set->series[index];
    series->generation++;
    buf_reset(&set->scratch);
    encode_labels(set, index, &set->scratch);
    if (set->scratch.len != series->len) {
        BUG("labels of %zu bytes became %zu", (size_t)series->len, set->scratch.len);
    }
    memcpy(set->labels.ptr + series->offset, set->scratch.ptr, series->len);
}

/* ---- what they are ---- */

static void make_simple(struct rw_series *set) {
    for (size_t i = 0; i < set->params.count; i++) {
        unsigned within = (unsigned)((set->params.first + i) % TARGET_SERIES);
        set->series[i].within = within;
        set->series[i].kind = within / 12 % SIMPLE_KINDS;
        set->series[i].value = (double)(next_random(set) % 100000);
    }
}

/* How many of the first `targets` targets' series are of a class: whole histograms, and the weights
 * hold over all targets. */
static size_t class_count(enum corpus_class class, size_t targets) {
    size_t unit = class == CORPUS_SLOW_BUCKET || class == CORPUS_FAST_BUCKET ? CORPUS_BUCKETS : 1;
    double share = corpus_class_weight(class) / 100 * (double)(targets * TARGET_SERIES);
    return (size_t)(share / (double)unit) * unit;
}

static void make_mixed(struct rw_series *set) {
    size_t targets = set->params.count / TARGET_SERIES;
    struct corpus corpus;
    corpus_init(&corpus, set->params.seed + set->params.first);
    set->values = mem_alloc(set->params.count * set->params.rounds * sizeof(set->values[0]));
    size_t index = 0;
    for (size_t target = 0; target < targets; target++) {
        size_t end = (target + 1) * TARGET_SERIES;
        for (enum corpus_class class = 0; class < CORPUS_CLASS_COUNT; class ++) {
            size_t count = class_count(class, target + 1) - class_count(class, target);
            count = count > end - index ? end - index : count;
            corpus_fill(&corpus, class, count, set->params.rounds,
                        set->values + index * set->params.rounds);
            for (size_t i = 0; i < count; i++, index++) {
                set->series[index].kind = class;
                set->series[index].within = (uint32_t)i;
            }
        }
        /* What rounding left over is constants. */
        for (uint32_t i = 10000; index < end; i++, index++) {
            corpus_fill(&corpus, CORPUS_CONSTANT, 1, set->params.rounds,
                        set->values + index * set->params.rounds);
            set->series[index].kind = CORPUS_CONSTANT;
            set->series[index].within = i;
        }
    }
}

/* ---- life ---- */

struct rw_series *rw_series_create(const struct rw_series_params *params) {
    struct rw_series *set = mem_calloc(1, sizeof(*set));
    set->params = *params;
    set->state = (params->seed + params->first) * 2654435761U + 88172645463325252U;
    set->series = mem_calloc(params->count, sizeof(set->series[0]));
    buf_init(&set->labels, SIZE_MAX / 2);
    buf_init(&set->scratch, 65536);
    if (params->data == DATA_MIXED) {
        make_mixed(set);
    } else {
        make_simple(set);
    }
    for (size_t i = 0; i < params->count; i++) {
        set->series[i].offset = set->labels.len;
        encode_labels(set, i, &set->labels);
        set->series[i].len = (uint32_t)(set->labels.len - set->series[i].offset);
    }
    return set;
}

void rw_series_destroy(struct rw_series *set) {
    if (set == NULL) {
        return;
    }
    buf_finish(&set->labels);
    buf_finish(&set->scratch);
    mem_free(set->series);
    mem_free(set->values);
    mem_free(set);
}

double rw_series_next(struct rw_series *set, size_t index, uint64_t round) {
    if (set->params.data == DATA_MIXED) {
        return set->values[index * set->params.rounds + round];
    }
    struct series *series = &set->series[index];
    uint64_t random = next_random(set);
    if (series->kind % 3 == 1) {
        series->value += (double)(random % 50);
    } else if (series->kind % 3 == 2) {
        series->value += ((double)(random % 201) - 100) / 100;
    }
    return series->value;
}
