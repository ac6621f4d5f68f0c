/*
 * The series a load writes: labels encoded for the wire, values to come. Targets of 500 series that
 * are sampled together, eleven labels each.
 */
#pragma once

#include "base/buf.h"

#define TARGET_SERIES 500

enum series_data {
    DATA_SIMPLE, /* a third constant, a third counters, a third gauges; values made as they go */
    DATA_MIXED,  /* the mixed corpus (corpus.h), made beforehand */
};

struct rw_series_params {
    enum series_data data;
    size_t first; /* number of the first series; a multiple of TARGET_SERIES */
    size_t count;
    uint64_t rounds; /* MIXED: samples per series that will be asked for */
    uint64_t seed;
};

struct rw_series;

struct rw_series *rw_series_create(const struct rw_series_params *params);
void rw_series_destroy(struct rw_series *set);

/* Label messages of a series as they stand in a TimeSeries; valid until it is replaced. */
struct str rw_series_labels(const struct rw_series *set, size_t index);
/* Its next sample: call once per round and series. */
double rw_series_next(struct rw_series *set, size_t index, uint64_t round);
/* The series goes, another of the same target and metric comes (a pod was replaced). */
void rw_series_replace(struct rw_series *set, size_t index);
