/* Making and unmaking the event door: options with their defaults, metrics, the first load. */
#include <assert.h>

#include "base/mem.h"
#include "base/queue.h"
#include "ingest/event_state.h"

#define QUEUE_MAX 4096

static void default_i64(int64_t *value, int64_t fallback) {
    if (*value == 0) {
        *value = fallback;
    }
}

static void default_u64(uint64_t *value, uint64_t fallback) {
    if (*value == 0) {
        *value = fallback;
    }
}

static void options_fill(struct ingest_event_options *options) {
    const int64_t second_ms = 1000;
    default_i64(&options->step_ms, 5 * second_ms);
    default_i64(&options->dedup_window_ms, 24 * 3600 * second_ms);
    default_u64(&options->dedup_marks_max, 2000000);
    int64_t window_ms = options->dedup_window_ms;
    default_i64(&options->late_ms_max, window_ms < 3600 * second_ms ? window_ms : 3600 * second_ms);
    default_i64(&options->future_ms_max, 600 * second_ms);
    default_i64(&options->beat_ms, 15 * second_ms);
    default_i64(&options->forget_ms, 7 * 24 * 3600 * second_ms);
    default_u64(&options->label_values_max, 200);
    default_u64(&options->aggregates_max, 100000);
    default_u64(&options->apps_max, 100);
}

/* Labels that the mapping itself sets. */
static bool is_own_label(struct str name) {
    if (str_eq_c(name, "job") || str_eq_c(name, "le") || str_eq_c(name, "type") ||
        str_eq_c(name, "instance")) {
        return true;
    }
    for (size_t i = 0; i < event_output_count; i++) {
        for (size_t k = 0; k < EVENT_OUTPUT_LABELS_MAX; k++) {
            const char *own = event_outputs[i].labels[k].name;
            if (own != NULL && str_eq_c(name, own)) {
                return true;
            }
        }
    }
    return false;
}

static bool options_check(const struct ingest_event_options *options, struct err *err) {
    if (options->step_ms < 0 || options->dedup_window_ms < 0 || options->late_ms_max < 0 ||
        options->future_ms_max < 0 || options->beat_ms < 0 || options->forget_ms < 0) {
        return err_set(err, ERR_INVALID, "events: durations must not be negative");
    }
    if (options->late_ms_max > options->dedup_window_ms) {
        return err_set(err, ERR_INVALID,
                       "events: a lateness of %lld s is longer than ids are remembered (%lld s)",
                       (long long)(options->late_ms_max / 1000),
                       (long long)(options->dedup_window_ms / 1000));
    }
    size_t count = 0;
    for (; options->extra_labels != NULL && options->extra_labels[count] != NULL; count++) {
        struct str name = str_from(options->extra_labels[count]);
        if (!label_name_is_valid_legacy(name) || str_starts_with(name, STR("__"))) {
            return err_set(err, ERR_INVALID, "events: \"%.*s\" is not a label name", STR_FMT(name));
        }
        if (is_own_label(name)) {
            return err_set(err, ERR_INVALID, "events: the label \"%.*s\" is set already",
                           STR_FMT(name));
        }
        if (name.len > INGEST_EVENT_LABEL_BYTES_MAX) {
            return err_set(err, ERR_INVALID, "events: a label name is too long");
        }
    }
    if (count > EVENT_EXTRA_LABELS_MAX) {
        return err_set(err, ERR_INVALID, "events: %zu labels are configured, at most %d are taken",
                       count, EVENT_EXTRA_LABELS_MAX);
    }
    return true;
}

static void extra_labels_copy(struct events *events) {
    const char *const *names = events->options.extra_labels;
    size_t count = 0;
    while (names != NULL && names[count] != NULL) {
        count++;
    }
    events->extra_names = mem_calloc(count + 1, sizeof(events->extra_names[0]));
    for (size_t i = 0; i < count; i++) {
        events->extra_names[i] = mem_strdup(names[i]);
    }
    events->options.extra_labels = (const char *const *)events->extra_names;
    events->extra_label_count = count;
}

static void metrics_init(struct events *events, struct metric_registry *metrics) {
    events->capped = metric_counter(metrics, "tocsin_ingest_event_label_values_capped_total",
                                    "Label values of events counted as \"other\".", NULL);
    events->dropped = metric_counter(metrics, "tocsin_ingest_event_labels_dropped_total",
                                     "Labels of events that are not on the list.", NULL);
    events->evicted = metric_counter(metrics, "tocsin_ingest_event_ids_evicted_total",
                                     "Event ids forgotten before their window ended.", NULL);
    events->missed = metric_counter(metrics, "tocsin_ingest_event_steps_missed_total",
                                    "Points of the sampling grid that could not be stored.", NULL);
    events->live_workers = metric_gauge(metrics, "tocsin_ingest_event_workers",
                                        "Pushing workers that hold a lease.", NULL);
    events->aggregate_gauge =
        metric_gauge(metrics, "tocsin_ingest_event_aggregates",
                     "Counters, histograms and gauges kept from events.", NULL);
}

bool events_create(struct ingest *ingest,
                   const struct ingest_event_options *options,
                   int64_t now_ms,
                   struct events **ret,
                   struct err *err) {
    struct ingest_event_options filled = *options;
    options_fill(&filled);
    if (!options_check(&filled, err)) {
        return false;
    }
    struct events *events = mem_calloc(1, sizeof(*events));
    events->ingest = ingest;
    events->options = filled;
    extra_labels_copy(events);
    pthread_mutex_init(&events->mu, NULL);
    pthread_mutex_init(&events->view_mu, NULL);
    pthread_mutex_init(&events->parsers_mu, NULL);
    events->queue = queue_create(QUEUE_MAX);
    metrics_init(events, ingest->metrics);
    events_init_state(events);
    if (!events_load(events, now_ms, err)) {
        events_destroy(events);
        return false;
    }
    /* The point before us may have been sampled by the process that ran then. */
    events->last_step_ms = now_ms - now_ms % filled.step_ms;
    events_publish(events);
    *ret = events;
    return true;
}

void events_destroy(struct events *events) {
    if (events == NULL) {
        return;
    }
    assert(events_is_idle(events));
    events_finish_state(events);
    for (size_t i = 0; i < events->parser_count; i++) {
        json_parser_destroy(events->parsers[i]->json);
        arena_finish(&events->parsers[i]->scratch);
        mem_free(events->parsers[i]);
    }
    for (size_t i = 0; i < events->extra_label_count; i++) {
        mem_free(events->extra_names[i]);
    }
    mem_free(events->extra_names);
    queue_destroy(events->queue);
    pthread_mutex_destroy(&events->mu);
    pthread_mutex_destroy(&events->view_mu);
    pthread_mutex_destroy(&events->parsers_mu);
    mem_free(events);
}
