/*
 * Results of bodies: counters by door and reason, collected rejections, the JSON that clients of
 * the event door read.
 */
#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/float.h"
#include "base/json.h"
#include "ingest/internal.h"

#define REASON_BYTES_MAX 400

static const char *const door_names[] = {
    [DOOR_EVENTS] = "events",
    [DOOR_WRITE] = "write",
    [DOOR_IMPORT] = "import",
    [DOOR_SCRAPE] = "scrape",
};
static_assert(ARRAY_LEN(door_names) == DOOR_COUNT, "every door has a name");

static const char *const refusal_names[] = {
    [REFUSAL_OUT_OF_ORDER] = "out_of_order",
    [REFUSAL_CONFLICT] = "conflict",
    [REFUSAL_TOO_OLD] = "too_old",
    [REFUSAL_TOO_NEW] = "too_new",
    [REFUSAL_MALFORMED] = "malformed",
    [REFUSAL_BAD_LABELS] = "bad_labels",
    [REFUSAL_BAD_FIELD] = "bad_field",
    [REFUSAL_UNKNOWN_KIND] = "unknown_kind",
    [REFUSAL_LIMIT] = "limit",
    [REFUSAL_SERIES_LIMIT] = "series_limit",
    [REFUSAL_HISTOGRAM] = "histogram",
    [REFUSAL_EXEMPLAR] = "exemplar",
    [REFUSAL_OVERLOAD] = "overload",
    [REFUSAL_STORE] = "store",
};
static_assert(ARRAY_LEN(refusal_names) == REFUSAL_COUNT, "every refusal has a name");

const char *refusal_to_string(enum refusal refusal) {
    assert(refusal < REFUSAL_COUNT);
    return refusal_names[refusal];
}

void counters_init(struct counters *counters, struct metric_registry *metrics) {
    for (size_t door = 0; door < DOOR_COUNT; door++) {
        const char *labels[] = { "door", door_names[door], NULL };
        counters->accepted[door] = metric_counter(
            metrics, "tocsin_ingest_accepted_total",
            "Samples, or events at the events door, that became durable, by door.", labels);
        counters->duplicates[door] =
            metric_counter(metrics, "tocsin_ingest_duplicates_total",
                           "Samples or events that were stored before, by door.", labels);
        counters->requests[door] =
            metric_counter(metrics, "tocsin_ingest_bodies_total",
                           "Bodies and scraped pages received, by door.", labels);
        for (size_t why = 0; why < REFUSAL_COUNT; why++) {
            const char *pairs[] = {
                "door", door_names[door], "reason", refusal_names[why], NULL,
            };
            counters->refused[door][why] =
                metric_counter(metrics, "tocsin_ingest_refused_total",
                               "Samples, events or whole bodies refused or left out, by door and "
                               "reason.",
                               pairs);
        }
    }
}

void counters_refuse(struct counters *counters, enum door door, enum refusal why, uint64_t count) {
    if (count > 0) {
        metric_add(counters->refused[door][why], (double)count);
    }
}

void ingest_flight_begin(struct ingest *ingest) {
    pthread_mutex_lock(&ingest->flight_mu);
    ingest->flight_count++;
    pthread_mutex_unlock(&ingest->flight_mu);
}

void ingest_flight_end(struct ingest *ingest) {
    pthread_mutex_lock(&ingest->flight_mu);
    assert(ingest->flight_count > 0);
    ingest->flight_count--;
    pthread_cond_broadcast(&ingest->flight_cond);
    pthread_mutex_unlock(&ingest->flight_mu);
}

void rejections_init(struct rejections *rejections) {
    rejections->count = 0;
    rejections->total = 0;
    arena_init(&rejections->arena, INGEST_REJECTIONS_MAX * (REASON_BYTES_MAX + 32));
}

void rejections_finish(struct rejections *rejections) {
    arena_finish(&rejections->arena);
    rejections->count = 0;
}

void rejections_add(struct rejections *rejections,
                    uint64_t line,
                    uint64_t offset,
                    uint64_t count,
                    const char *fmt,
                    ...) {
    rejections->total += count;
    if (rejections->count == INGEST_REJECTIONS_MAX) {
        return;
    }
    char text[REASON_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    assert(len >= 0);
    size_t kept = (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;
    rejections->items[rejections->count++] = (struct ingest_rejection){
        .line = line,
        .offset = offset,
        .reason = arena_str(&rejections->arena, str_n(text, kept)),
    };
}

void ingest_result_to_json(const struct ingest_result *result, struct buf *out) {
    struct json_writer json;
    json_init(&json, out);
    json_object(&json);
    json_key(&json, "accepted");
    json_u64(&json, result->accepted);
    json_key(&json, "duplicate");
    json_u64(&json, result->duplicates);
    json_key(&json, "rejected");
    json_array(&json);
    for (size_t i = 0; i < result->rejection_count; i++) {
        const struct ingest_rejection *rejection = &result->rejections[i];
        json_object(&json);
        json_key(&json, rejection->line > 0 ? "line" : "offset");
        json_u64(&json, rejection->line > 0 ? rejection->line : rejection->offset);
        json_key(&json, "reason");
        json_str(&json, rejection->reason);
        json_object_end(&json);
    }
    json_array_end(&json);
    if (result->rejected > result->rejection_count) {
        json_key(&json, "rejected_count");
        json_u64(&json, result->rejected);
    }
    if (result->err.code != ERR_NONE) {
        json_key(&json, "error");
        json_cstr(&json, result->err.msg);
    }
    json_object_end(&json);
}

struct str bound_to_text(double bound, char out[BOUND_TEXT_MAX]) {
    char text[FLOAT_TEXT_MAX];
    size_t len = float_to_general(bound, text);
    /* OpenMetrics' canonical form: a float is seen to be one. */
    bool is_plain = true;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.' || text[i] == 'e' || text[i] == 'N' || text[i] == 'I') {
            is_plain = false;
        }
    }
    int written = snprintf(out, BOUND_TEXT_MAX, "%s%s", text, is_plain ? ".0" : "");
    assert(written > 0 && written < BOUND_TEXT_MAX);
    return str_n(out, (size_t)written);
}

bool metadata_is_storable(struct str family, const struct family_metadata *metadata) {
    return family.len > 0 && family.len <= LABEL_NAME_BYTES_MAX &&
           metadata->help.len <= LABEL_VALUE_BYTES_MAX &&
           metadata->unit.len <= LABEL_NAME_BYTES_MAX && str_is_utf8(family) &&
           str_is_utf8(metadata->help) && str_is_utf8(metadata->unit);
}
