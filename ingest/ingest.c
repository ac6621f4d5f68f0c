/* The object: what is made in which order, the thread that owns time, the way out. */
#include <assert.h>

#include "base/mem.h"
#include "ingest/event_state.h"
#include "ingest/monitor.h"
#include "ingest/scrape.h"

#define POP_MS_MAX 500 /* the wall clock may jump: look at it at least this often */

static bool parts_create(struct ingest *ingest,
                         const struct ingest_options *options,
                         struct err *err) {
    int64_t now_ms = clock_wall_ms(ingest->clock);
    if (!events_create(ingest, &options->events, now_ms, &ingest->events, err)) {
        return false;
    }
    ingest->monitor = monitor_create(ingest, options);
    return scraper_create(ingest, options->user_agent, &ingest->scraper, err);
}

bool ingest_create(const struct ingest_options *options, struct ingest **ret, struct err *err) {
    assert(options->db != NULL);
    struct ingest *ingest = mem_calloc(1, sizeof(*ingest));
    ingest->db = options->db;
    ingest->kv = tsdb_kv(options->db);
    ingest->clock = options->clock == NULL ? clock_system() : options->clock;
    ingest->metrics = options->metrics;
    counters_init(&ingest->counters, options->metrics);
    pthread_mutex_init(&ingest->flight_mu, NULL);
    pthread_cond_init(&ingest->flight_cond, NULL);
    pthread_mutex_init(&ingest->bodies_mu, NULL);
    if (!parts_create(ingest, options, err)) {
        ingest_destroy(ingest);
        return false;
    }
    *ret = ingest;
    return true;
}

void ingest_flights_wait(struct ingest *ingest) {
    pthread_mutex_lock(&ingest->flight_mu);
    while (ingest->flight_count > 0) {
        pthread_cond_wait(&ingest->flight_cond, &ingest->flight_mu);
    }
    pthread_mutex_unlock(&ingest->flight_mu);
}

void ingest_destroy(struct ingest *ingest) {
    if (ingest == NULL) {
        return;
    }
    ingest_stop(ingest);
    scraper_destroy(ingest->scraper);
    ingest_flights_wait(ingest);
    monitor_destroy(ingest->monitor);
    events_destroy(ingest->events);
    ingest_bodies_finish(ingest);
    pthread_mutex_destroy(&ingest->flight_mu);
    pthread_cond_destroy(&ingest->flight_cond);
    mem_free(ingest);
}

static int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t tick(struct ingest *ingest, int64_t now_ms) {
    int64_t due_ms = events_tick(ingest->events, now_ms);
    return min_i64(due_ms, monitor_tick(ingest->monitor, now_ms));
}

int64_t ingest_tick_blocking(struct ingest *ingest, int64_t now_ms) {
    assert(!ingest->is_started);
    int64_t due_ms = tick(ingest, now_ms);
    due_ms = min_i64(due_ms, scraper_tick_blocking(ingest->scraper, now_ms));
    ingest_flights_wait(ingest);
    return due_ms;
}

static void *run(void *ctx) {
    struct ingest *ingest = ctx;
    int64_t due_ms = INT64_MIN;
    int64_t seen_ms = INT64_MIN;
    while (!atomic_load(&ingest->is_stopping)) {
        int64_t now_ms = clock_wall_ms(ingest->clock);
        bool has_jumped_back = now_ms < seen_ms;
        if (now_ms >= due_ms || has_jumped_back) {
            due_ms = tick(ingest, now_ms);
        }
        seen_ms = clock_wall_ms(ingest->clock);
        int64_t wait_ms = due_ms - seen_ms;
        wait_ms = wait_ms < 0 ? 0 : min_i64(wait_ms, POP_MS_MAX);
        events_serve(ingest->events, (int)wait_ms);
    }
    while (!events_is_idle(ingest->events)) {
        events_serve(ingest->events, 0);
    }
    return NULL;
}

bool ingest_start(struct ingest *ingest, struct err *err) {
    assert(!ingest->is_started);
    if (!scraper_start(ingest->scraper, err)) {
        return false;
    }
    atomic_store(&ingest->events->has_thread, true);
    int rc = pthread_create(&ingest->thread, NULL, run, ingest);
    if (rc != 0) {
        atomic_store(&ingest->events->has_thread, false);
        scraper_stop(ingest->scraper);
        return err_set_errno(err, ERR_INTERNAL, rc, "starting the thread of events");
    }
    ingest->is_started = true;
    return true;
}

void ingest_stop(struct ingest *ingest) {
    atomic_store(&ingest->is_stopping, true);
    if (ingest->events != NULL) {
        events_close(ingest->events);
    }
    if (!ingest->is_started) {
        return;
    }
    ingest->is_started = false;
    pthread_join(ingest->thread, NULL);
    scraper_stop(ingest->scraper);
}

void ingest_set_self_instance(struct ingest *ingest, const char *instance) {
    monitor_set_instance(ingest->monitor, instance);
}
