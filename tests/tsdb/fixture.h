/* Shared by the store's tests: a data directory of its own, short ways to write and read. */
#pragma once

#include "tests/unit.h"
#include "tsdb/tsdb.h"

struct fixture {
    char dir[64];
    struct fake_clock clock;
    struct tsdb_options options;
    struct tsdb *db;
    struct arena arena;
};

#define FIXTURE_NOW_MS INT64_C(1700000000000)
#define MINUTE_MS      INT64_C(60000)
#define HOUR_MS        (60 * MINUTE_MS)

/* A fresh directory and an open store whose clock stands at FIXTURE_NOW_MS. Set options between
 * fixture_init and fixture_open. */
void fixture_init(struct fixture *f);
void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);
void fixture_reopen(struct fixture *f);
void fixture_finish(struct fixture *f); /* closes, removes the directory */

/* Merge nothing, or again; beside the store thread. */
void fixture_hold_merges(struct fixture *f, bool holds);

void remove_tree(const char *dir);

/* Labels from "name" and pairs: {"a", "1", "b", "2", NULL}. */
struct labels make_labels(struct arena *arena, const char *name, const char *const *pairs);
series_ref_t make_series(struct fixture *f, const char *name, const char *const *pairs);
#define PAIRS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* One sample in a batch of its own; the outcome. */
enum tsdb_outcome put_sample(struct fixture *f, series_ref_t ref, int64_t t_ms, double value);

struct tsdb_querier *open_querier(struct fixture *f, int64_t t_min_ms, int64_t t_max_ms);

/* What a selector gives, as text: "name{a="1"} t:v t:v\n…" (values by %g), in the arena. */
const char *read_all(struct fixture *f,
                     struct tsdb_querier *querier,
                     const struct matcher *matchers,
                     size_t count);
/* The same by name= alone, through a querier of its own over all time. */
const char *read_name(struct fixture *f, const char *name);

struct matcher make_matcher(enum match_type type, const char *name, const char *value);
