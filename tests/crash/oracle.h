/*
 * What must be in a directory after batches 1 … n of a load became durable, and the comparison with
 * what an open store shows: every sample within the retention there, once, bit for bit; nothing
 * that was never written; tables and metadata exactly as of batch n.
 */
#pragma once

#include "tests/crash/load.h"

struct oracle_series {
    struct sample *samples; /* ascending */
    size_t count;
    size_t cap;
};

struct oracle_slot {
    struct oracle_series *generations;
    size_t count;
    size_t cap;
};

struct oracle {
    struct load load;
    uint64_t n;         /* batches applied */
    uint64_t deleted_n; /* … and the deletions after those up to here; others may be half done */
    struct oracle_slot slots[LOAD_SLOTS];
    uint64_t row_n[LOAD_KEYS];          /* the batch that put the row; 0 = absent */
    struct load_row rows[LOAD_KEYS];    /* what it put */
    uint64_t metadata_n[LOAD_FAMILIES]; /* 0 = none */
    struct load_batch scratch;
};

/* What a comparison found. */
struct oracle_report {
    uint64_t wrong;   /* values, samples or rows that should not be there */
    uint64_t missing; /* samples or rows that should */
    uint64_t errors;  /* reported by the store */
    uint64_t samples; /* compared and right */
    char first[400];  /* the first of them, in words */
};

void oracle_init(struct oracle *oracle, const struct load *load);
void oracle_finish(struct oracle *oracle);
/* Apply the batches up to n and the deletions after them. */
void oracle_advance(struct oracle *oracle, uint64_t n);
/* The batches alone: samples deleted after them may be there or not. */
void oracle_advance_batches(struct oracle *oracle, uint64_t n);

/* Samples before cut_ms may be there or not. Adds to the report, which starts out zeroed. */
void oracle_compare(const struct oracle *oracle,
                    struct tsdb *db,
                    int64_t cut_ms,
                    struct oracle_report *report);
/* Nothing wrong, nothing missing, no error. */
bool oracle_is_clean(const struct oracle_report *report);
