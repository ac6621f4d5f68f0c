/*
 * The mixed corpus: synthetic series of an application with language models, in classes with
 * weights, every 15 s. The same seed gives the same samples on every machine with the same libm.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum corpus_class {
    CORPUS_CONSTANT,
    CORPUS_IDLE_COUNTER,
    CORPUS_SLOW_COUNTER,
    CORPUS_FAST_COUNTER,
    CORPUS_BYTES_COUNTER,
    CORPUS_TOKEN_COUNTER,
    CORPUS_CPU_SECONDS,
    CORPUS_FLOAT_SUM,
    CORPUS_PAGED_GAUGE,
    CORPUS_DECIMAL_GAUGE,
    CORPUS_FULL_GAUGE,
    CORPUS_STALE_GAUGE,
    CORPUS_SLOW_BUCKET,
    CORPUS_FAST_BUCKET,
    CORPUS_CLASS_COUNT,
};

enum corpus_jitter {
    CORPUS_TIMES_EXACT,
    CORPUS_TIMES_LATE,   /* normal, 3 ms */
    CORPUS_TIMES_SPREAD, /* uniform, ±50 ms */
    CORPUS_JITTER_COUNT,
};

#define CORPUS_STEP_MS 15000
#define CORPUS_BUCKETS 16 /* series a histogram has; bucket classes make them together */

struct corpus {
    uint64_t random[2];
};

void corpus_init(struct corpus *corpus, uint64_t seed);

const char *corpus_class_to_string(enum corpus_class class);
/* Percent of all series. */
double corpus_class_weight(enum corpus_class class);
const char *corpus_jitter_to_string(enum corpus_jitter jitter);

/* `series_count` series of `count` samples each, one after the other in `ret`. */
void corpus_fill(struct corpus *corpus,
                 enum corpus_class class,
                 size_t series_count,
                 size_t count,
                 double *ret);
void corpus_fill_times(struct corpus *corpus,
                       enum corpus_jitter jitter,
                       size_t count,
                       int64_t *ret_t_ms);
