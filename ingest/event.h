/*
 * One event as a checked value, and the tables that say which fields a kind has and which series
 * they become. Adding a field or a series is a line in event_fields.c or event_families.c.
 */
#pragma once

#include "base/json.h"
#include "ingest/internal.h"

/* ---- events ---- */

enum event_kind {
    EVENT_REQUEST,
    EVENT_LLM,
    EVENT_DEPENDENCY,
    EVENT_BEGIN,
    EVENT_RESOURCE, /* a state: applied whenever it is heard */
    EVENT_BEAT,     /* a state */
    EVENT_KIND_COUNT,
};

const char *event_kind_to_string(enum event_kind kind);

/* Texts an event may carry; most become label values. */
enum event_text {
    EVENT_METHOD,
    EVENT_ENDPOINT,
    EVENT_STATUS,
    EVENT_OUTCOME,
    EVENT_PROVIDER,
    EVENT_MODEL,
    EVENT_ERROR_TYPE,
    EVENT_FALLBACK_FROM,
    EVENT_DEPENDENCY_NAME,
    EVENT_OF,
    EVENT_TEXT_COUNT,
};

/* Numbers an event may carry; absent ones are NaN. Durations are seconds here. */
enum event_number {
    EVENT_DURATION_S,
    EVENT_TTFB_S,
    EVENT_TTFT_S,
    EVENT_BYTES,
    EVENT_ATTEMPTS,
    EVENT_TOKENS_IN,
    EVENT_TOKENS_OUT,
    EVENT_TOKENS_CACHE_READ,
    EVENT_TOKENS_CACHE_WRITE,
    EVENT_TOKENS_REASONING,
    EVENT_COST_USD,
    EVENT_CACHE_HIT, /* 1 or 0 */
    EVENT_RATELIMIT_LIMIT,
    EVENT_RATELIMIT_REMAINING,
    EVENT_ACTIVE_AGENTS,
    EVENT_RSS_BYTES,
    EVENT_CPU_SECONDS,
    EVENT_OPEN_FDS,
    EVENT_LOOP_LAG_S,
    EVENT_INTERVAL_S,
    EVENT_GOODBYE, /* 1 or 0 */
    EVENT_NUMBER_COUNT,
};

#define EVENT_EXTRA_LABELS_MAX 16

struct event {
    enum event_kind kind;
    uint64_t line;   /* in the body, 1-based */
    uint64_t offset; /* of the line */
    struct str app;
    struct str job;
    struct str worker; /* empty = not stated */
    struct str id;     /* empty = none */
    bool has_time;     /* the sender stated `ts` */
    uint64_t weight;   /* how many things this line stands for */
    struct str texts[EVENT_TEXT_COUNT];
    double numbers[EVENT_NUMBER_COUNT];
    struct label *extra; /* allowed ones, sorted by name */
    size_t extra_count;
};

/* True for kinds whose lines are counted, and therefore remembered by id. */
static inline bool event_is_counting(const struct event *event) {
    return event->kind < EVENT_RESOURCE;
}

struct event_parser {
    struct json_parser *json;
    struct arena scratch; /* one line's JSON tree */
    const char *const *extra_labels;
    size_t extra_label_count;
    int64_t late_ms_max;
    int64_t future_ms_max;
    uint64_t labels_dropped; /* entries of "labels" that are not on the list */
};

/*
 * Check one line. What *ret points to lives in `arena`.
 * False: *ret_why is set and err has words for the sender.
 */
WARN_UNUSED bool event_parse(struct event_parser *parser,
                             struct str line,
                             int64_t now_ms,
                             struct arena *arena,
                             struct event *ret,
                             enum refusal *ret_why,
                             struct err *err);

/* ---- families ---- */

/* Ids are on-disk format: append only. */
enum event_family {
    FAMILY_REQUESTS,
    FAMILY_REQUEST_DURATION,
    FAMILY_REQUEST_TTFB,
    FAMILY_REQUEST_OUTCOMES,
    FAMILY_RESPONSE_BYTES,
    FAMILY_LLM_CALLS,
    FAMILY_LLM_DURATION,
    FAMILY_LLM_TTFT,
    FAMILY_LLM_OUTCOMES,
    FAMILY_LLM_ERRORS,
    FAMILY_LLM_ATTEMPTS,
    FAMILY_LLM_TOKENS,
    FAMILY_LLM_COST,
    FAMILY_LLM_CACHE_HITS,
    FAMILY_LLM_FALLBACKS,
    FAMILY_LLM_RATELIMIT_LIMIT,
    FAMILY_LLM_RATELIMIT_REMAINING,
    FAMILY_LLM_AVAILABLE,
    FAMILY_DEPENDENCY_CALLS,
    FAMILY_DEPENDENCY_DURATION,
    FAMILY_REQUESTS_STARTED,
    FAMILY_LLM_STARTED,
    FAMILY_DEPENDENCY_STARTED,
    FAMILY_CPU,
    FAMILY_LAST_EVENT,
    EVENT_FAMILY_COUNT,
};

struct event_family_def {
    const char *suffix; /* after the app's name */
    enum family_type type;
    const char *help;
    const double *bounds; /* histograms: ascending, without +Inf */
    size_t bound_count;
};
extern const struct event_family_def event_families[EVENT_FAMILY_COUNT];

/* ---- outputs: what one event adds to which family ---- */

#define EVENT_OUTPUT_LABELS_MAX 3
#define EVENT_OUTPUTS_MAX       24 /* outputs of one event and what the state adds to them */
#define EVENT_VALUE_WEIGHT      EVENT_NUMBER_COUNT /* adds the weight itself */

struct event_output {
    enum event_kind kind;
    enum event_family family;
    enum event_number value; /* or EVENT_VALUE_WEIGHT; the output is skipped when it is absent */

    struct {
        const char *name;
        enum event_text text; /* the output is skipped when it is absent */
    } labels[EVENT_OUTPUT_LABELS_MAX];

    const char *fixed_name; /* a constant label, or NULL */
    const char *fixed_value;
    const char *only_of; /* EVENT_BEGIN: what begins; NULL = any */
};
extern const struct event_output event_outputs[];
extern const size_t event_output_count;
