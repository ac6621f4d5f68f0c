/*
 * What the parts of ingest share: the object itself, counters of refusals, collected rejections.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "ingest/ingest.h"

struct events;
struct scraper;
struct monitor;

/* ---- doors and what they count ---- */

enum door {
    DOOR_EVENTS,
    DOOR_WRITE,
    DOOR_IMPORT,
    DOOR_SCRAPE,
    DOOR_COUNT,
};

/* Why something was refused or left out; the `reason` label of the counters. */
enum refusal {
    REFUSAL_OUT_OF_ORDER, /* the first four mirror tsdb's outcomes */
    REFUSAL_CONFLICT,
    REFUSAL_TOO_OLD,
    REFUSAL_TOO_NEW,
    REFUSAL_MALFORMED,    /* the body, the line or the page does not parse */
    REFUSAL_BAD_LABELS,   /* names, values, caps, duplicates */
    REFUSAL_BAD_FIELD,    /* an event's field is missing, of the wrong type or out of range */
    REFUSAL_UNKNOWN_KIND, /* an event of no known kind */
    REFUSAL_LIMIT,        /* a named cap */
    REFUSAL_SERIES_LIMIT, /* no room for new series or aggregates */
    REFUSAL_HISTOGRAM,    /* native histograms */
    REFUSAL_EXEMPLAR,     /* left out without fault */
    REFUSAL_OVERLOAD,     /* queue full, shutting down */
    REFUSAL_STORE,        /* the store did not take the batch */
    REFUSAL_COUNT,
};

const char *refusal_to_string(enum refusal refusal);

struct counters {
    struct metric *accepted[DOOR_COUNT];
    struct metric *duplicates[DOOR_COUNT];
    struct metric *refused[DOOR_COUNT][REFUSAL_COUNT];
    struct metric *requests[DOOR_COUNT];
};

void counters_init(struct counters *counters, struct metric_registry *metrics);
void counters_refuse(struct counters *counters, enum door door, enum refusal why, uint64_t count);

/* ---- the object ---- */

#define INGEST_BODIES_KEPT     2          /* as many as are decoded at a time */
#define INGEST_BODY_KEPT_BYTES (1u << 20) /* of each at most */

struct ingest {
    /* immutable after create */
    struct tsdb *db;
    struct kv_store *kv;
    const struct clock *clock;
    struct metric_registry *metrics; /* may be NULL */
    struct counters counters;
    struct events *events;
    struct scraper *scraper;
    struct monitor *monitor;

    atomic_bool is_stopping;

    pthread_mutex_t flight_mu;
    pthread_cond_t flight_cond;
    size_t flight_count; /* guarded by flight_mu: commits whose callback has not run */

    pthread_mutex_t bodies_mu;
    struct buf bodies[INGEST_BODIES_KEPT]; /* guarded by bodies_mu: empty, with their memory */
    size_t body_count;

    pthread_t thread;
    bool is_started; /* owned by whoever starts and stops */
};

/* A commit that will call back into ingest is under way; destroy waits for it. */
void ingest_flight_begin(struct ingest *ingest);
void ingest_flight_end(struct ingest *ingest);
void ingest_flights_wait(struct ingest *ingest);

/* Memory for a decompressed body: what a body before it had, so that the kernel need not map and
 * clear it anew for each. */
struct buf ingest_body_take(struct ingest *ingest);
void ingest_body_give(struct ingest *ingest, struct buf *body);
void ingest_bodies_finish(struct ingest *ingest);

/* ---- rejections of one body ---- */

struct rejections {
    struct ingest_rejection items[INGEST_REJECTIONS_MAX];
    size_t count;
    uint64_t total;
    struct arena arena; /* holds the reasons */
};

void rejections_init(struct rejections *rejections);
void rejections_finish(struct rejections *rejections);
/* `count` elements were refused at this place for this reason. */
PRINTF_LIKE(5, 6)
void rejections_add(struct rejections *rejections,
                    uint64_t line,
                    uint64_t offset,
                    uint64_t count,
                    const char *fmt,
                    ...);

/* ---- text ---- */

/* Bucket bounds as label values, in the one form that every door uses: "0.1", "1.0", "+Inf". */
#define BOUND_TEXT_MAX 32
struct str bound_to_text(double bound, char out[BOUND_TEXT_MAX]);

/* Metadata an outsider sent is kept only within these caps and when it is UTF-8. */
bool metadata_is_storable(struct str family, const struct family_metadata *metadata);
