/*
 * The process' own metrics. Families are kept in name order, instances in creation order; both
 * live until the registry is destroyed, so updates need no lock.
 */
#include "base/metric.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"

enum {
    INSTANCES_MAX = 10000
};

struct family;

struct metric {
    /* immutable after create */
    struct family *family;
    struct metric *next;
    const char **label_pairs; /* NULL or owned, NULL-terminated; the strings live in one block */
    double (*read)(void *ctx);
    void *ctx;

    /* atomic */
    _Atomic uint64_t value_bits;     /* counter, gauge; histogram: sum */
    _Atomic uint64_t *bucket_counts; /* not cumulative, bound_count + 1; NULL unless histogram */
};

struct family {
    /* immutable after create */
    char *name;
    char *help;
    enum metric_type type;
    double *bounds;
    size_t bound_count;

    /* guarded by the registry's mutex */
    struct metric *first;
    struct metric *last;
    struct metric *overflow;
};

struct metric_registry {
    pthread_mutex_t mutex;

    /* guarded by mutex */
    struct family **families; /* ascending by name */
    size_t family_count;
    size_t family_cap;
    size_t instance_count;
    struct map instances; /* name and label pairs, each NUL-terminated -> metric */
};

static const char *const overflow_pairs[] = { "overflow", "true", NULL };

static double from_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint64_t to_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

struct metric_registry *metric_registry_create(void) {
    struct metric_registry *registry = mem_calloc(1, sizeof(*registry));
    int rc = pthread_mutex_init(&registry->mutex, NULL);
    assert(rc == 0);
    (void)rc;
    map_init(&registry->instances);
    return registry;
}

static void metric_destroy(struct metric *metric) {
    mem_free(metric->label_pairs);
    mem_free(metric->bucket_counts);
    mem_free(metric);
}

static void family_destroy(struct family *family) {
    struct metric *metric = family->first;
    while (metric != NULL) {
        struct metric *next = metric->next;
        metric_destroy(metric);
        metric = next;
    }
    mem_free(family->name);
    mem_free(family->help);
    mem_free(family->bounds);
    mem_free(family);
}

void metric_registry_destroy(struct metric_registry *registry) {
    if (registry == NULL) {
        return;
    }
    for (size_t i = 0; i < registry->family_count; i++) {
        family_destroy(registry->families[i]);
    }
    mem_free(registry->families);
    map_finish(&registry->instances, NULL);
    int rc = pthread_mutex_destroy(&registry->mutex);
    assert(rc == 0);
    (void)rc;
    mem_free(registry);
}

/* What the caller of one of the constructors asked for. */
struct wish {
    const char *name;
    const char *help;
    enum metric_type type;
    const char *const *label_pairs;
    const double *bounds;
    size_t bound_count;
    double (*read)(void *ctx);
    void *ctx;
};

static size_t pairs_length(const char *const *pairs) {
    size_t length = 0;
    while (pairs != NULL && pairs[length] != NULL) {
        length++;
    }
    assert(length % 2 == 0);
    return length;
}

/* One block: the pointers, then the strings. */
static const char **pairs_dup(const char *const *pairs) {
    size_t length = pairs_length(pairs);
    if (length == 0) {
        return NULL;
    }
    size_t bytes = (length + 1) * sizeof(pairs[0]);
    for (size_t i = 0; i < length; i++) {
        bytes += strlen(pairs[i]) + 1;
    }
    const char **copy = mem_alloc(bytes);
    char *at = (char *)(copy + length + 1);
    for (size_t i = 0; i < length; i++) {
        size_t len = strlen(pairs[i]) + 1;
        memcpy(at, pairs[i], len);
        copy[i] = at;
        at += len;
    }
    copy[length] = NULL;
    return copy;
}

static void write_key(const char *name, const char *const *pairs, struct buf *key) {
    buf_init(key, SIZE_MAX - 1);
    buf_append(key, name, strlen(name) + 1);
    for (size_t i = 0; i < pairs_length(pairs); i++) {
        buf_append(key, pairs[i], strlen(pairs[i]) + 1);
    }
}

static struct family *family_create(const struct wish *wish) {
    struct family *family = mem_calloc(1, sizeof(*family));
    family->name = mem_strdup(wish->name);
    family->help = mem_strdup(wish->help);
    family->type = wish->type;
    family->bound_count = wish->bound_count;
    if (wish->bound_count > 0) {
        family->bounds = mem_calloc(wish->bound_count, sizeof(double));
        memcpy(family->bounds, wish->bounds, wish->bound_count * sizeof(double));
    }
    for (size_t i = 1; i < family->bound_count; i++) {
        assert(family->bounds[i - 1] < family->bounds[i]);
    }
    return family;
}

static void check_same(const struct family *family, const struct wish *wish) {
    bool is_same = family->type == wish->type && family->bound_count == wish->bound_count;
    for (size_t i = 0; is_same && i < wish->bound_count; i++) {
        is_same = to_bits(family->bounds[i]) == to_bits(wish->bounds[i]);
    }
    if (!is_same) {
        BUG("metric %s is registered with two types or two sets of buckets", wish->name);
    }
}

static struct family *find_or_add_family_locked(struct metric_registry *registry,
                                                const struct wish *wish) {
    size_t low = 0;
    size_t high = registry->family_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(registry->families[middle]->name, wish->name);
        if (order == 0) {
            check_same(registry->families[middle], wish);
            return registry->families[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    registry->families = vec_grow(registry->families, &registry->family_cap,
                                  registry->family_count + 1, sizeof(struct family *));
    struct family **at = &registry->families[low];
    memmove(at + 1, at, (registry->family_count - low) * sizeof(struct family *));
    *at = family_create(wish);
    registry->family_count++;
    return *at;
}

static struct metric *add_metric_locked(struct family *family,
                                        const struct wish *wish,
                                        const char *const *pairs) {
    struct metric *metric = mem_calloc(1, sizeof(*metric));
    metric->family = family;
    metric->label_pairs = pairs_dup(pairs);
    metric->read = wish->read;
    metric->ctx = wish->ctx;
    if (family->type == METRIC_HISTOGRAM) {
        metric->bucket_counts = mem_calloc(family->bound_count + 1, sizeof(_Atomic uint64_t));
    }
    if (family->last == NULL) {
        family->first = metric;
    } else {
        family->last->next = metric;
    }
    family->last = metric;
    return metric;
}

static struct metric *find_or_add_locked(struct metric_registry *registry,
                                         const struct wish *wish) {
    struct buf key;
    write_key(wish->name, wish->label_pairs, &key);
    struct metric *metric = map_get(&registry->instances, buf_as_str(&key));
    struct family *family =
        metric == NULL ? find_or_add_family_locked(registry, wish) : metric->family;
    if (metric != NULL) {
        check_same(family, wish);
    } else if (registry->instance_count < INSTANCES_MAX) {
        metric = add_metric_locked(family, wish, wish->label_pairs);
        registry->instance_count++;
        (void)map_put(&registry->instances, buf_as_str(&key), metric);
    } else {
        if (family->overflow == NULL) {
            struct wish plain = *wish;
            plain.read = NULL;
            family->overflow = add_metric_locked(family, &plain, overflow_pairs);
        }
        metric = family->overflow;
    }
    buf_finish(&key);
    return metric;
}

static struct metric *register_metric(struct metric_registry *registry, const struct wish *wish) {
    if (registry == NULL) {
        return NULL;
    }
    int rc = pthread_mutex_lock(&registry->mutex);
    assert(rc == 0);
    struct metric *metric = find_or_add_locked(registry, wish);
    rc = pthread_mutex_unlock(&registry->mutex);
    assert(rc == 0);
    return metric;
}

struct metric *metric_counter(struct metric_registry *registry,
                              const char *name,
                              const char *help,
                              const char *const *label_pairs) {
    struct wish wish = {
        .name = name, .help = help, .type = METRIC_COUNTER, .label_pairs = label_pairs
    };
    return register_metric(registry, &wish);
}

struct metric *metric_gauge(struct metric_registry *registry,
                            const char *name,
                            const char *help,
                            const char *const *label_pairs) {
    struct wish wish = {
        .name = name, .help = help, .type = METRIC_GAUGE, .label_pairs = label_pairs
    };
    return register_metric(registry, &wish);
}

struct metric *metric_histogram(struct metric_registry *registry,
                                const char *name,
                                const char *help,
                                const char *const *label_pairs,
                                const double *bounds,
                                size_t bound_count) {
    struct wish wish = {
        .name = name,
        .help = help,
        .type = METRIC_HISTOGRAM,
        .label_pairs = label_pairs,
        .bounds = bounds,
        .bound_count = bound_count,
    };
    return register_metric(registry, &wish);
}

struct metric *metric_gauge_fn(struct metric_registry *registry,
                               const char *name,
                               const char *help,
                               const char *const *label_pairs,
                               double (*read)(void *ctx),
                               void *ctx) {
    struct wish wish = {
        .name = name,
        .help = help,
        .type = METRIC_GAUGE,
        .label_pairs = label_pairs,
        .read = read,
        .ctx = ctx,
    };
    return register_metric(registry, &wish);
}

static void add_bits(_Atomic uint64_t *bits, double value) {
    uint64_t seen = atomic_load_explicit(bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(bits, &seen, to_bits(from_bits(seen) + value),
                                                  memory_order_relaxed, memory_order_relaxed)) {
        /* `seen` holds the new value: try again from there. */
    }
}

void metric_add(struct metric *metric, double value) {
    if (metric == NULL) {
        return;
    }
    assert(metric->family->type != METRIC_HISTOGRAM);
    assert(metric->family->type != METRIC_COUNTER || value >= 0);
    add_bits(&metric->value_bits, value);
}

void metric_set(struct metric *metric, double value) {
    if (metric == NULL) {
        return;
    }
    assert(metric->family->type == METRIC_GAUGE);
    atomic_store_explicit(&metric->value_bits, to_bits(value), memory_order_relaxed);
}

void metric_observe(struct metric *metric, double value) {
    if (metric == NULL) {
        return;
    }
    const struct family *family = metric->family;
    assert(family->type == METRIC_HISTOGRAM);
    size_t bucket = 0;
    /* Written so that NaN, which is below nothing, counts as +Inf. */
    while (bucket < family->bound_count && !(value <= family->bounds[bucket])) {
        bucket++;
    }
    add_bits(&metric->value_bits, value);
    atomic_fetch_add_explicit(&metric->bucket_counts[bucket], 1, memory_order_relaxed);
}

double metric_get(const struct metric *metric) {
    if (metric == NULL) {
        return 0;
    }
    if (metric->read != NULL) {
        return metric->read(metric->ctx);
    }
    return from_bits(atomic_load_explicit(&metric->value_bits, memory_order_relaxed));
}

static void visit_metric(const struct metric *metric,
                         uint64_t *counts,
                         void (*visit)(void *ctx, const struct metric_view *view),
                         void *ctx) {
    const struct family *family = metric->family;
    struct metric_view view = {
        .name = family->name,
        .help = family->help,
        .type = family->type,
        .label_pairs = metric->label_pairs,
        .bounds = family->bounds,
        .bound_count = family->bound_count,
    };
    if (family->type == METRIC_HISTOGRAM) {
        uint64_t total = 0;
        for (size_t i = 0; i <= family->bound_count; i++) {
            total += atomic_load_explicit(&metric->bucket_counts[i], memory_order_relaxed);
            counts[i] = total;
        }
        view.bucket_counts = counts;
        view.sum = metric_get(metric);
    } else {
        view.value = metric_get(metric);
    }
    visit(ctx, &view);
}

/* A consistent list of instances; values are read after the lock is gone, because `read` and
 * `visit` are the callers' code. */
static const struct metric **snapshot(struct metric_registry *registry, size_t *ret_count) {
    int rc = pthread_mutex_lock(&registry->mutex);
    assert(rc == 0);
    size_t count = 0;
    const struct metric **metrics =
        mem_calloc(registry->instance_count + registry->family_count + 1, sizeof(metrics[0]));
    for (size_t i = 0; i < registry->family_count; i++) {
        const struct metric *metric = registry->families[i]->first;
        for (; metric != NULL; metric = metric->next) {
            metrics[count++] = metric;
        }
    }
    rc = pthread_mutex_unlock(&registry->mutex);
    assert(rc == 0);
    *ret_count = count;
    return metrics;
}

void metric_collect(struct metric_registry *registry,
                    void (*visit)(void *ctx, const struct metric_view *view),
                    void *ctx) {
    if (registry == NULL) {
        return;
    }
    size_t count;
    const struct metric **metrics = snapshot(registry, &count);
    uint64_t *counts = NULL;
    size_t counts_cap = 0;
    for (size_t i = 0; i < count; i++) {
        size_t need = metrics[i]->family->bound_count + 1;
        counts = vec_grow(counts, &counts_cap, need, sizeof(counts[0]));
        visit_metric(metrics[i], counts, visit, ctx);
    }
    mem_free(counts);
    mem_free(metrics);
}
