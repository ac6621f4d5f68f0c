/*
 * The load the crash tests write. What batch n (1, 2, …) holds is a function of a seed and n alone,
 * so that any process can say afterwards what must be there: samples of steady and of churning
 * series, bursts, repetitions, late samples, table rows put and deleted, metadata; and some batches
 * are followed by a deletion of samples of batches long before (load_delete). Row "n" of
 * KV_RULE_STATE carries n itself: it tells which batches became durable.
 *
 * Virtual time: batch n happens at load_now_ms(n). Windows are short, so that sealing, indexing,
 * merging, retention and trimming all happen within some dozen batches.
 */
#pragma once

#include "tsdb/tsdb.h"

#define LOAD_SLOTS         20 /* series alive at any time */
#define LOAD_SLOTS_CHURN   6  /* the first so many change their identity every LOAD_CHURN batches */
#define LOAD_SLOTS_LATE    4  /* the last so many write out of order */
#define LOAD_CHURN         12
#define LOAD_FAMILIES      4
#define LOAD_KEYS          24
#define LOAD_START_MS      INT64_C(1700000000000)
#define LOAD_IN_FLIGHT_MAX 4 /* batches a writer hands over before the first is acknowledged */
#define LOAD_STEP_MS       INT64_C(1000)
#define LOAD_BLOCK_MS      (16 * LOAD_STEP_MS)
#define LOAD_RETENTION_MS  (6 * LOAD_BLOCK_MS)

struct load {
    uint64_t seed;
};

struct load_sample {
    uint32_t slot;
    uint32_t generation;
    int64_t t_ms;
    double value;
    bool is_repeat; /* was in the batch before already */
};

struct load_row {
    uint32_t key; /* 0 … LOAD_KEYS - 1 */
    bool is_put;
    uint32_t bytes; /* of the value; its content is load_value() */
};

/* Reused from batch to batch. Init with {0}. */
struct load_batch {
    uint64_t n;
    struct load_sample *samples;
    size_t sample_count;
    size_t sample_cap; /* private */
    struct load_row rows[4];
    size_t row_count;
    bool has_metadata; /* of family n % LOAD_FAMILIES; its help is the text of n */
};

/* Samples of a slot, of all its generations, with t_first_ms <= t <= t_last_ms: all of batches that
 * are durable long before n, and none of later ones. */
struct load_deletion {
    uint32_t slot;
    int64_t t_first_ms;
    int64_t t_last_ms;
};

void load_batch_finish(struct load_batch *batch);
/* What is deleted after batch n; false: nothing. */
bool load_deletes(const struct load *load, uint64_t n, struct load_deletion *ret);
void load_make(const struct load *load, uint64_t n, struct load_batch *batch);

/* A number that depends on the seed and two more. */
uint64_t load_random(uint64_t seed, uint64_t a, uint64_t b);
/* The value batch n writes under a key. */
void load_value(const struct load *load, uint64_t n, const struct load_row *row, struct buf *ret);
void load_key(uint32_t key, char out[16]);
void load_family(uint64_t n, char out[16]);
int64_t load_now_ms(uint64_t n);

/* Options every process of a crash test opens the directory with. */
void load_options(const char *path, const struct clock *clock, struct tsdb_options *ret);

/* Hand batch n to the store; `done` as in tsdb_commit. False (err set) when it cannot begin. */
WARN_UNUSED bool load_commit(const struct load *load,
                             struct tsdb *db,
                             uint64_t n,
                             tsdb_committed_fn done,
                             void *ctx,
                             struct err *err);
/* The same, waiting; false too when a sample got another verdict than it should. */
WARN_UNUSED bool load_commit_blocking(const struct load *load,
                                      struct tsdb *db,
                                      uint64_t n,
                                      struct err *err);
/* Delete what is to be deleted after batch n, if anything is. Doing it again changes nothing. */
WARN_UNUSED bool load_delete(const struct load *load, struct tsdb *db, uint64_t n, struct err *err);
/* Whether a commit's verdicts are those batch n should get. While the journal is replayed
 * (`may_be_deferred`: it was when the batch was handed over) repetitions count as accepted. */
WARN_UNUSED bool load_verdicts(const struct load *load,
                               uint64_t n,
                               bool may_be_deferred,
                               const struct tsdb_commit_result *result,
                               struct err *err);

/* The last batch that is durable; 0 = none. */
WARN_UNUSED bool load_read_n(struct tsdb *db, uint64_t *ret, struct err *err);
