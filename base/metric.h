/*
 * The process' own metrics: a registry of families whose instances are plain atomics, so that any
 * module counts without locks. ingest/ turns the registry into /metrics and self-scraped samples.
 *
 * Threads: creating takes the registry's lock; updating is one relaxed atomic; reading is a walk.
 * Lifetime: instances live as long as the registry. Creating the same name and labels again
 * returns the same instance. Cap: 10,000 instances (beyond: a shared overflow instance).
 */
#pragma once

#include "base/str.h"

enum metric_type {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM, /* classic */
    METRIC_TYPE_COUNT,
};

struct metric_registry;
struct metric;

struct metric_registry *metric_registry_create(void);
void metric_registry_destroy(struct metric_registry *registry);

/* label_pairs: NULL or {"name", "value", …, NULL}. Names and help follow Prometheus' rules
 * (counters end in _total; help ends with a full stop). A NULL registry gives NULL: a metric
 * on which every update is a no-op and which reads as 0. */
struct metric *metric_counter(struct metric_registry *registry,
                              const char *name,
                              const char *help,
                              const char *const *label_pairs);
struct metric *metric_gauge(struct metric_registry *registry,
                            const char *name,
                            const char *help,
                            const char *const *label_pairs);
/* bounds: ascending upper bounds without +Inf. */
struct metric *metric_histogram(struct metric_registry *registry,
                                const char *name,
                                const char *help,
                                const char *const *label_pairs,
                                const double *bounds,
                                size_t bound_count);

void metric_add(struct metric *metric, double value);     /* counter (value >= 0) or gauge */
void metric_set(struct metric *metric, double value);     /* gauge */
void metric_observe(struct metric *metric, double value); /* histogram */
double metric_get(const struct metric *metric);

static inline void metric_inc(struct metric *metric) {
    metric_add(metric, 1);
}

/* A gauge read at collection time. */
struct metric *metric_gauge_fn(struct metric_registry *registry,
                               const char *name,
                               const char *help,
                               const char *const *label_pairs,
                               double (*read)(void *ctx),
                               void *ctx);

/* One instance as seen by a collector. */
struct metric_view {
    const char *name;
    const char *help;
    enum metric_type type;
    const char *const *label_pairs;
    double value; /* counter, gauge */
    const double *bounds;
    const uint64_t *bucket_counts; /* cumulative, bound_count + 1 entries, last is +Inf */
    size_t bound_count;
    double sum;
};

/* Calls visit for every instance, families together, in name order. */
void metric_collect(struct metric_registry *registry,
                    void (*visit)(void *ctx, const struct metric_view *view),
                    void *ctx);
