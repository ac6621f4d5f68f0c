/*
 * Shared by the doors' tests: a store in a directory of its own, a clock that stands still, an
 * ingest without threads, short ways to post and to read what became of it.
 */
#pragma once

#include <pthread.h>

#include "ingest/ingest.h"
#include "tests/tsdb/fixture.h"
#include "tests/unit.h"

struct door_fixture {
    struct fixture store;
    struct metric_registry *metrics;
    struct ingest_options options;
    struct ingest *ingest;
    /* the last result; written on the thread that settles, read after door_wait() */
    pthread_mutex_t mu;
    pthread_cond_t cond;
    struct err err;
    uint64_t accepted;
    uint64_t duplicates;
    uint64_t rejected;
    char json[16384];
    size_t done_count;
};

/* Set options between door_init and door_open; sampling of ourselves and the host is off. */
void door_init(struct door_fixture *f);
void door_open(struct door_fixture *f);
void door_close(struct door_fixture *f);
void door_reopen(struct door_fixture *f); /* as after a restart */
void door_finish(struct door_fixture *f);

int64_t door_now_ms(struct door_fixture *f);
void door_advance(struct door_fixture *f, int64_t by_ms); /* the clock alone */
/* Let time pass in steps of one second, ticking at each. */
void door_run(struct door_fixture *f, int64_t duration_ms);

/* An ingest_done_fn that keeps the result in the fixture given as ctx. */
void door_done(void *ctx, const struct ingest_result *result);
/* Wait for one result since the last door_wait(). */
void door_wait(struct door_fixture *f);
void post_events(struct door_fixture *f, const char *lines);
void post_events_with_key(struct door_fixture *f, const char *lines, const char *key);

/*
 * Every series of that name with its samples, times in seconds since the clock's start:
 * `name{a="b"} 0:0 5:1 10:stale` and a line feed each. In the store fixture's arena.
 */
const char *samples_of(struct door_fixture *f, const char *name);
/* The same, newest sample only and without its time: `name{a="b"} 1`. */
const char *newest_of(struct door_fixture *f, const char *name);

/* The same, all samples without their times: `name{a="b"} 1 2 stale`. */
const char *values_of(struct door_fixture *f, const char *name);

/* Sum of our own counter over all instances whose label pairs contain `value` (NULL = any). */
double own_metric(struct door_fixture *f, const char *name, const char *value);
