/*
 * A store and an ingest for fuzz entries, made at the first input and removed at exit. The clock
 * stands still, every body settles before the call returns or with fuzz_settle().
 */
#pragma once

#include <assert.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ingest/ingest.h"

struct fuzz_store {
    char dir[64];
    struct fake_clock clock;
    struct tsdb *db;
    struct ingest *ingest;
    pthread_mutex_t mu;
    pthread_cond_t cond;
    size_t settled; /* guarded by mu */
};

static struct fuzz_store fuzz_store;

static int fuzz_remove(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void fuzz_store_close(void) {
    ingest_destroy(fuzz_store.ingest);
    tsdb_close(fuzz_store.db);
    (void)nftw(fuzz_store.dir, fuzz_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static void fuzz_store_open(void) {
    if (fuzz_store.db != NULL) {
        return;
    }
    struct err err = ERR_INIT;
    snprintf(fuzz_store.dir, sizeof(fuzz_store.dir), "/tmp/tocsin-fuzz-XXXXXX");
    char *made = mkdtemp(fuzz_store.dir);
    assert(made != NULL);
    (void)made;
    fake_clock_init(&fuzz_store.clock, INT64_C(1700000000000));
    struct tsdb_options options = {
        .path = fuzz_store.dir,
        .clock = &fuzz_store.clock.clock,
        .future_ms_max = 600000,
        .space_reserve_bytes = 1,
    };
    struct ingest_options ingest = {
        .clock = &fuzz_store.clock.clock,
        .self_interval_ms = -1,
        .host_interval_ms = -1,
    };
    bool is_open = tsdb_open(&options, &fuzz_store.db, &err);
    assert(is_open);
    ingest.db = fuzz_store.db;
    is_open = ingest_create(&ingest, &fuzz_store.ingest, &err);
    assert(is_open);
    (void)is_open;
    pthread_mutex_init(&fuzz_store.mu, NULL);
    pthread_cond_init(&fuzz_store.cond, NULL);
    atexit(fuzz_store_close);
}

/* An ingest_done_fn: the result must make sense whatever the body was. */
static void fuzz_done(void *ctx, const struct ingest_result *result) {
    (void)ctx;
    assert(result->rejection_count <= INGEST_REJECTIONS_MAX);
    assert(result->err.code == ERR_NONE || result->err.msg[0] != '\0');
    assert(result->rejection_count == 0 || result->rejected > 0);
    struct buf json;
    buf_init(&json, 1u << 20);
    ingest_result_to_json(result, &json);
    assert(!json.is_over);
    buf_finish(&json);
    pthread_mutex_lock(&fuzz_store.mu);
    fuzz_store.settled++;
    pthread_cond_signal(&fuzz_store.cond);
    pthread_mutex_unlock(&fuzz_store.mu);
}

static void fuzz_settle(void) {
    pthread_mutex_lock(&fuzz_store.mu);
    while (fuzz_store.settled == 0) {
        pthread_cond_wait(&fuzz_store.cond, &fuzz_store.mu);
    }
    fuzz_store.settled = 0;
    pthread_mutex_unlock(&fuzz_store.mu);
}
