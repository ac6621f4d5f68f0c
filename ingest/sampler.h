/*
 * Series that somebody computes anew at every round (host, own metrics, sums over workers): finds
 * their references, and marks the ones that a round no longer has as stale.
 *
 *   sampler_begin → sampler_put … → sampler_end
 */
#pragma once

#include "base/map.h"
#include "tsdb/tsdb.h"

struct sampler {
    struct map series; /* encoded labels -> struct sampler_series */
    struct buf key;
    struct tsdb *db;          /* of the open round */
    struct tsdb_batch *batch; /* of the open round */
    int64_t t_ms;
    uint64_t round;
    uint64_t refused; /* series the store had no room for, since init */
};

void sampler_init(struct sampler *sampler);
void sampler_finish(struct sampler *sampler);

void sampler_begin(struct sampler *sampler,
                   struct tsdb *db,
                   struct tsdb_batch *batch,
                   int64_t t_ms);

/* `label_pairs` as in metric views: NULL or {"name", "value", …, NULL}. `common` is added to every
 * series; a pair of the same name becomes exported_NAME, as in a scrape. Labels in any order. */
void sampler_put(struct sampler *sampler,
                 struct str name,
                 const char *const *label_pairs,
                 struct labels common,
                 double value);
/* The same with one more label (le, quantile). */
void sampler_put_with(struct sampler *sampler,
                      struct str name,
                      const char *const *label_pairs,
                      struct labels common,
                      struct label extra,
                      double value);

/* Stale markers for series of earlier rounds that this one did not have. */
void sampler_end(struct sampler *sampler);
