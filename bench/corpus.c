/*
 * The mixed corpus. Each class is a small random process: counters add Poisson counts whose rate
 * follows the time of day, gauges wander around a mean, histograms count latencies into buckets.
 */
#include "bench/corpus.h"

#include <assert.h>
#include <math.h>

#include "base/attr.h"
#include "model/model.h"

#define PI            3.14159265358979323846
#define STEPS_PER_DAY 5760
#define START_MS      INT64_C(1795412215000)

struct class_row {
    const char *name;
    double weight;
    void (*fill)(struct corpus *corpus, size_t count, double *ret);
};

/* ---- randomness ---- */

static uint64_t next_u64(struct corpus *corpus) {
    uint64_t a = corpus->random[0];
    uint64_t b = corpus->random[1];
    corpus->random[0] = b;
    a ^= a << 23;
    corpus->random[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
    return corpus->random[1] + b;
}

/* In [0, 1). */
static double uniform(struct corpus *corpus) {
    return (double)(next_u64(corpus) >> 11) * 0x1p-53;
}

static double normal(struct corpus *corpus) {
    double u = fmax(uniform(corpus), 1e-300);
    return sqrt(-2 * log(u)) * cos(2 * PI * uniform(corpus));
}

static double poisson(struct corpus *corpus, double mean) {
    if (mean >= 30) {
        return fmax(0, rint(mean + sqrt(mean) * normal(corpus)));
    }
    double limit = exp(-mean);
    double product = uniform(corpus);
    double count = 0;
    while (product > limit) {
        count++;
        product *= uniform(corpus);
    }
    return count;
}

static double log_normal(struct corpus *corpus, double mu, double sigma) {
    return exp(mu + sigma * normal(corpus));
}

static double exponential(struct corpus *corpus, double mean) {
    return -mean * log(fmax(uniform(corpus), 1e-300));
}

/* Factor of the time of day. */
static double daily(size_t step, double phase) {
    return 1 + 0.5 * sin(2 * PI * (double)step / STEPS_PER_DAY + phase);
}

/* ---- classes ---- */

static void fill_constant(struct corpus *corpus, size_t count, double *ret) {
    static const double choices[] = { 1, 0, 1, 67108864, 0.99, 1731234567.123, 4, 0, 65535, 1 };
    double value = choices[next_u64(corpus) % ARRAY_LEN(choices)];
    for (size_t i = 0; i < count; i++) {
        ret[i] = value;
    }
}

static void fill_idle_counter(struct corpus *corpus, size_t count, double *ret) {
    double total = floor(uniform(corpus) * 1000);
    double chance = 0.002 + 0.03 * uniform(corpus);
    for (size_t i = 0; i < count; i++) {
        if (uniform(corpus) < chance) {
            total += 1 + poisson(corpus, 0.5);
        }
        ret[i] = total;
    }
}

static void fill_slow_counter(struct corpus *corpus, size_t count, double *ret) {
    double phase = 2 * PI * uniform(corpus);
    double rate = 0.2 + 4.8 * uniform(corpus);
    double total = floor(uniform(corpus) * 1e5);
    for (size_t i = 0; i < count; i++) {
        total += poisson(corpus, rate * daily(i, phase));
        ret[i] = total;
        total = uniform(corpus) < 1e-4 ? 0 : total;
    }
}

static void fill_fast_counter(struct corpus *corpus, size_t count, double *ret) {
    double phase = 2 * PI * uniform(corpus);
    double rate = 100 * pow(50, uniform(corpus));
    double total = floor(uniform(corpus) * 1e8);
    for (size_t i = 0; i < count; i++) {
        double noise = 1 + 0.05 * normal(corpus);
        total += poisson(corpus, rate * daily(i, phase) * noise);
        ret[i] = total;
        total = uniform(corpus) < 1e-4 ? 0 : total;
    }
}

/* Sizes of `requests` bodies together; many at once by the central limit. */
static double body_bytes(struct corpus *corpus, double requests) {
    double bytes = 0;
    if (requests >= 64) {
        double spread = 1 + 1.8 / sqrt(requests) * normal(corpus);
        return fmax(0, floor(requests * exp(7.5 + 0.72) * spread));
    }
    for (double i = 0; i < requests; i++) {
        bytes += floor(log_normal(corpus, 7.5, 1.2));
    }
    return bytes;
}

static void fill_bytes_counter(struct corpus *corpus, size_t count, double *ret) {
    double phase = 2 * PI * uniform(corpus);
    double rate = 5 * pow(100, uniform(corpus));
    double total = floor(uniform(corpus) * 1e10);
    for (size_t i = 0; i < count; i++) {
        total += body_bytes(corpus, poisson(corpus, rate * daily(i, phase)));
        ret[i] = total;
    }
}

static void fill_token_counter(struct corpus *corpus, size_t count, double *ret) {
    double phase = 2 * PI * uniform(corpus);
    double rate = 0.5 * pow(40, uniform(corpus));
    double total = floor(uniform(corpus) * 1e8);
    for (size_t i = 0; i < count; i++) {
        double requests = poisson(corpus, rate * daily(i, phase));
        for (double j = 0; j < requests; j++) {
            total += floor(log_normal(corpus, 6.2, 1.0));
        }
        ret[i] = total;
    }
}

static void fill_cpu_seconds(struct corpus *corpus, size_t count, double *ret) {
    double ticks = floor(uniform(corpus) * 1e7);
    double usage = 0.01 + 0.9 * uniform(corpus);
    for (size_t i = 0; i < count; i++) {
        ticks += fmax(0, rint(1500 * usage * (1 + 0.2 * normal(corpus))));
        ret[i] = ticks / 100;
    }
}

static void fill_float_sum(struct corpus *corpus, size_t count, double *ret) {
    double total = uniform(corpus) * 1e4;
    double rate = 0.5 + 50 * uniform(corpus);
    for (size_t i = 0; i < count; i++) {
        double requests = poisson(corpus, rate);
        for (double j = 0; j < requests; j++) {
            total += floor(exponential(corpus, 0.12) * 1e9) / 1e9;
        }
        ret[i] = total;
    }
}

static void fill_paged_gauge(struct corpus *corpus, size_t count, double *ret) {
    double mean = 1e8 + 1e9 * uniform(corpus);
    double bytes = mean;
    for (size_t i = 0; i < count; i++) {
        bytes += 0.01 * (mean - bytes) + mean * 0.003 * normal(corpus);
        bool is_new = uniform(corpus) < 0.3 || i == 0;
        ret[i] = is_new ? 4096 * floor(bytes / 4096) : ret[i - 1];
    }
}

static void fill_decimal_gauge(struct corpus *corpus, size_t count, double *ret) {
    double mean = 20 + 60 * uniform(corpus);
    double unit = (next_u64(corpus) & 1) != 0 ? 100 : 1000;
    double value = mean;
    for (size_t i = 0; i < count; i++) {
        value += 0.05 * (mean - value) + mean * 0.01 * normal(corpus);
        ret[i] = rint(value * unit) / unit;
    }
}

static void fill_full_gauge(struct corpus *corpus, size_t count, double *ret) {
    double mean = uniform(corpus);
    double value = mean;
    for (size_t i = 0; i < count; i++) {
        value += 0.05 * (mean - value) + mean * 0.02 * normal(corpus);
        ret[i] = value / 3.0;
    }
}

/* Goes stale after every 200 samples, and is NaN for a third of the time. */
static void fill_stale_gauge(struct corpus *corpus, size_t count, double *ret) {
    double mean = 20 + 60 * uniform(corpus);
    double value = mean;
    for (size_t i = 0; i < count; i++) {
        value += 0.05 * (mean - value) + mean * 0.01 * normal(corpus);
        ret[i] = rint(value * 100) / 100;
        if (i / 200 % 3 == 1) {
            ret[i] = double_from_bits(NORMAL_NAN_BITS);
        }
        if (i % 200 == 199) {
            ret[i] = double_from_bits(STALE_NAN_BITS);
        }
    }
}

/* ---- histograms ---- */

static const double upper_bounds[CORPUS_BUCKETS] = {
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 5, 7.5, 10, 30, 60, (double)INFINITY,
};

/* The first `series_count` buckets of one histogram of latencies. */
static void fill_histogram(struct corpus *corpus,
                           double rate,
                           size_t series_count,
                           size_t count,
                           double *ret) {
    double totals[CORPUS_BUCKETS];
    double phase = 2 * PI * uniform(corpus);
    double mu = log(0.15 * pow(20, uniform(corpus)));
    double sigma = 0.5 + 0.4 * uniform(corpus);
    double base = floor(uniform(corpus) * 1e5);
    for (size_t b = 0; b < CORPUS_BUCKETS; b++) {
        double z = (log(upper_bounds[b]) - mu) / sigma;
        totals[b] = isinf(upper_bounds[b]) ? base : floor(base * 0.5 * erfc(-z / sqrt(2)));
    }
    for (size_t i = 0; i < count; i++) {
        double requests = poisson(corpus, rate * daily(i, phase));
        for (double j = 0; j < requests; j++) {
            double latency = log_normal(corpus, mu, sigma);
            for (size_t b = CORPUS_BUCKETS; b-- > 0 && latency <= upper_bounds[b];) {
                totals[b]++;
            }
        }
        for (size_t b = 0; b < series_count; b++) {
            ret[b * count + i] = totals[b];
        }
    }
}

/* ---- the table ---- */

static const struct class_row classes[] = {
    [CORPUS_CONSTANT] = { "constant", 22, fill_constant },
    [CORPUS_IDLE_COUNTER] = { "idle counter", 10, fill_idle_counter },
    [CORPUS_SLOW_COUNTER] = { "slow counter", 8, fill_slow_counter },
    [CORPUS_FAST_COUNTER] = { "fast counter", 6, fill_fast_counter },
    [CORPUS_BYTES_COUNTER] = { "bytes counter", 5, fill_bytes_counter },
    [CORPUS_TOKEN_COUNTER] = { "token counter", 4, fill_token_counter },
    [CORPUS_CPU_SECONDS] = { "CPU seconds", 4, fill_cpu_seconds },
    [CORPUS_FLOAT_SUM] = { "float _sum", 3, fill_float_sum },
    [CORPUS_PAGED_GAUGE] = { "gauge, 4 KiB", 5, fill_paged_gauge },
    [CORPUS_DECIMAL_GAUGE] = { "gauge, decimals", 3, fill_decimal_gauge },
    [CORPUS_FULL_GAUGE] = { "gauge, full", 2, fill_full_gauge },
    [CORPUS_STALE_GAUGE] = { "gauge, stale/NaN", 1, fill_stale_gauge },
    [CORPUS_SLOW_BUCKET] = { "bucket, slow", 17, NULL },
    [CORPUS_FAST_BUCKET] = { "bucket, fast", 10, NULL },
};

static_assert(ARRAY_LEN(classes) == CORPUS_CLASS_COUNT, "a row per class");

static const char *const jitter_names[] = {
    [CORPUS_TIMES_EXACT] = "exact",
    [CORPUS_TIMES_LATE] = "sd 3 ms",
    [CORPUS_TIMES_SPREAD] = "+-50 ms",
};

static_assert(ARRAY_LEN(jitter_names) == CORPUS_JITTER_COUNT, "a name per jitter");

void corpus_init(struct corpus *corpus, uint64_t seed) {
    corpus->random[0] = seed ^ UINT64_C(0x9e3779b97f4a7c15);
    corpus->random[1] = seed ^ UINT64_C(0xd1b54a32d192ed03);
}

const char *corpus_class_to_string(enum corpus_class class) {
    return classes[class].name;
}

double corpus_class_weight(enum corpus_class class) {
    return classes[class].weight;
}

const char *corpus_jitter_to_string(enum corpus_jitter jitter) {
    return jitter_names[jitter];
}

void corpus_fill(struct corpus *corpus,
                 enum corpus_class class,
                 size_t series_count,
                 size_t count,
                 double *ret) {
    if (classes[class].fill != NULL) {
        for (size_t i = 0; i < series_count; i++) {
            classes[class].fill(corpus, count, ret + i * count);
        }
        return;
    }
    for (size_t i = 0; i < series_count; i += CORPUS_BUCKETS) {
        double u = uniform(corpus);
        double rate = class == CORPUS_SLOW_BUCKET ? 0.1 + 0.9 * u : 5 + 60 * u;
        size_t left = series_count - i;
        size_t buckets = left < CORPUS_BUCKETS ? left : CORPUS_BUCKETS;
        fill_histogram(corpus, rate, buckets, count, ret + i * count);
    }
}

void corpus_fill_times(struct corpus *corpus,
                       enum corpus_jitter jitter,
                       size_t count,
                       int64_t *ret_t_ms) {
    int64_t start_ms = START_MS + (int64_t)(next_u64(corpus) % CORPUS_STEP_MS);
    for (size_t i = 0; i < count; i++) {
        int64_t off_ms = 0;
        if (jitter == CORPUS_TIMES_LATE) {
            off_ms = (int64_t)rint(3 * normal(corpus));
        } else if (jitter == CORPUS_TIMES_SPREAD) {
            off_ms = (int64_t)(next_u64(corpus) % 101) - 50;
        }
        ret_t_ms[i] = start_ms + (int64_t)i * CORPUS_STEP_MS + off_ms;
    }
}
