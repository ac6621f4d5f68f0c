/*
 * One event into the state: what it adds to which aggregate, what it says about a provider, and
 * whose lease it renews. Either all of it or, refused, nothing.
 */
#include <assert.h>
#include <math.h>

#include "ingest/event_state.h"

#define OUTPUT_LABELS_MAX (1 + EVENT_OUTPUT_LABELS_MAX + 1 + EVENT_EXTRA_LABELS_MAX)

struct label_list {
    struct label items[OUTPUT_LABELS_MAX];
    size_t count;
};

/* Insert by name; a name that is there already keeps its value. */
static void label_list_add(struct label_list *list, struct str name, struct str value) {
    size_t at = 0;
    while (at < list->count && str_cmp(list->items[at].name, name) < 0) {
        at++;
    }
    if (at < list->count && str_eq(list->items[at].name, name)) {
        return;
    }
    assert(list->count < OUTPUT_LABELS_MAX);
    memmove(&list->items[at + 1], &list->items[at], (list->count - at) * sizeof(list->items[0]));
    list->items[at] = (struct label){ .name = name, .value = value };
    list->count++;
}

static struct labels label_list_labels(struct label_list *list) {
    return (struct labels){ .items = list->items, .count = list->count };
}

static bool output_is_produced(const struct event_output *output, const struct event *event) {
    if (output->kind != event->kind ||
        (output->only_of != NULL && !str_eq_c(event->texts[EVENT_OF], output->only_of))) {
        return false;
    }
    if (output->value != EVENT_VALUE_WEIGHT && isnan(event->numbers[output->value])) {
        return false;
    }
    for (size_t i = 0; i < EVENT_OUTPUT_LABELS_MAX && output->labels[i].name != NULL; i++) {
        if (event->texts[output->labels[i].text].len == 0) {
            return false;
        }
    }
    return true;
}

static void output_labels(struct events *events,
                          const struct event *event,
                          const struct event_output *output,
                          struct label_list *ret) {
    ret->count = 0;
    label_list_add(ret, STR("job"), event->job);
    for (size_t i = 0; i < EVENT_OUTPUT_LABELS_MAX && output->labels[i].name != NULL; i++) {
        struct str name = str_from(output->labels[i].name);
        struct str value = event->texts[output->labels[i].text];
        label_list_add(ret, name, label_value_cap(events, event->app, name, value));
    }
    if (output->fixed_name != NULL) {
        label_list_add(ret, str_from(output->fixed_name), str_from(output->fixed_value));
    }
    if (event_families[output->family].type != FAMILY_GAUGE) {
        for (size_t i = 0; i < event->extra_count; i++) {
            struct str name = event->extra[i].name;
            struct str value = label_value_cap(events, event->app, name, event->extra[i].value);
            label_list_add(ret, name, value);
        }
    }
}

static struct aggregate *aggregate_of(struct events *events,
                                      enum event_family family,
                                      struct str app,
                                      struct label_list *list) {
    struct labels labels = label_list_labels(list);
    struct aggregate *aggregate = aggregate_get(events, family, app, labels);
    if (aggregate == NULL) {
        aggregate = aggregate_create(events, events->next_id, family, app, labels);
        if (family == FAMILY_LLM_AVAILABLE) {
            aggregate->value = 1;
        }
    }
    aggregate_touch(events, aggregate);
    return aggregate;
}

static void aggregate_add(struct aggregate *aggregate,
                          double value,
                          uint64_t weight,
                          bool is_weight) {
    const struct event_family_def *def = &event_families[aggregate->family];
    switch (def->type) {
    case FAMILY_COUNTER:
        aggregate->value += is_weight ? (double)weight : value * (double)weight;
        return;
    case FAMILY_GAUGE: aggregate->value = value; return;
    case FAMILY_HISTOGRAM: {
        size_t bucket = 0;
        while (bucket < def->bound_count && value > def->bounds[bucket]) {
            bucket++;
        }
        aggregate->counts[bucket] += weight;
        aggregate->sum += value * (double)weight;
        return;
    }
    default: BUG("event family %d of type %d", (int)aggregate->family, (int)def->type);
    }
}

/* ---- providers ---- */

enum verdict {
    VERDICT_NONE, /* says nothing about the provider */
    VERDICT_ANSWERED,
    VERDICT_FAILED,
};

static enum verdict provider_verdict(const struct event *event) {
    struct str outcome = event->texts[EVENT_OUTCOME];
    if (event->numbers[EVENT_CACHE_HIT] == 1) {
        return VERDICT_NONE;
    }
    if (str_eq_c(event->texts[EVENT_ERROR_TYPE], "parse")) {
        return VERDICT_ANSWERED; /* with something unusable */
    }
    static const char *const answered[] = { "ok", "parse_error", "abstained" };
    static const char *const failed[] = { "error", "timeout", "rate_limit", "defaulted" };
    for (size_t i = 0; i < ARRAY_LEN(answered); i++) {
        if (str_eq_c(outcome, answered[i])) {
            return VERDICT_ANSWERED;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(failed); i++) {
        if (str_eq_c(outcome, failed[i])) {
            return VERDICT_FAILED;
        }
    }
    return VERDICT_NONE;
}

static void provider_apply(struct events *events, const struct event *event) {
    enum verdict verdict = provider_verdict(event);
    if (verdict == VERDICT_NONE) {
        return;
    }
    struct str provider = event->texts[EVENT_PROVIDER];
    struct label_list list = { .count = 0 };
    label_list_add(&list, STR("job"), event->job);
    label_list_add(&list, STR("provider"),
                   label_value_cap(events, event->app, STR("provider"), provider));
    struct aggregate *aggregate = aggregate_of(events, FAMILY_LLM_AVAILABLE, event->app, &list);
    if (verdict == VERDICT_ANSWERED) {
        aggregate->failures = 0;
        aggregate->value = 1;
        return;
    }
    uint64_t failures = aggregate->failures + event->weight;
    aggregate->failures = (uint32_t)(failures > UINT32_MAX ? UINT32_MAX : failures);
    if (aggregate->failures >= FAILURES_UNTIL_DOWN) {
        aggregate->value = 0;
    }
}

/* ---- workers ---- */

static void worker_renew(struct events *events,
                         struct job *job,
                         struct worker *worker,
                         int64_t now_ms) {
    worker->heard_ms = now_ms;
    if (worker->state != WORKER_LIVE) {
        worker->state = WORKER_LIVE;
        job->live_count++;
        worker_touch(events, worker);
    }
    if (job->state != INGEST_JOB_UP || job->retire_ms != 0) {
        job->state = INGEST_JOB_UP;
        job->retire_ms = 0;
        job->is_dirty = true;
    }
    if (now_ms - worker->written_ms >= HEARD_WRITE_MS) {
        worker_touch(events, worker);
    }
}

static void worker_goodbye(struct events *events,
                           struct job *job,
                           struct worker *worker,
                           int64_t now_ms) {
    int64_t interval_ms = worker == NULL ? events->options.beat_ms : worker->interval_ms;
    if (worker != NULL) {
        if (worker->state == WORKER_LIVE) {
            assert(job->live_count > 0);
            job->live_count--;
        }
        worker->state = WORKER_GONE;
        worker_touch(events, worker);
    }
    bool had_lease = job->state == INGEST_JOB_UP || job->state == INGEST_JOB_DOWN;
    if (job->live_count == 0 && had_lease) {
        job->state = INGEST_JOB_GONE;
        job->retire_ms = now_ms + LEASE_INTERVALS * interval_ms;
        job->is_dirty = true;
    }
}

/* CPU time of a process only grows; a smaller figure is another process under the same name. */
static void cpu_apply(struct events *events, const struct event *event, struct worker *worker) {
    double now_s = event->numbers[EVENT_CPU_SECONDS];
    double before_s = worker->values[WORKER_CPU_SECONDS];
    double delta_s = isnan(before_s) || now_s < before_s ? now_s : now_s - before_s;
    struct label_list list = { .count = 0 };
    label_list_add(&list, STR("job"), event->job);
    struct aggregate *aggregate = aggregate_of(events, FAMILY_CPU, event->app, &list);
    aggregate_add(aggregate, delta_s, 1, false);
    worker->values[WORKER_CPU_SECONDS] = now_s;
}

static void resource_apply(struct events *events,
                           const struct event *event,
                           struct worker *worker) {
    static const struct {
        enum event_number from;
        enum worker_value to;
    } plain[] = {
        { EVENT_ACTIVE_AGENTS, WORKER_AGENTS },
        { EVENT_RSS_BYTES, WORKER_RSS_BYTES },
        { EVENT_OPEN_FDS, WORKER_OPEN_FDS },
        { EVENT_LOOP_LAG_S, WORKER_LOOP_LAG_S },
    };

    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        if (!isnan(event->numbers[plain[i].from])) {
            worker->values[plain[i].to] = event->numbers[plain[i].from];
        }
    }
    if (!isnan(event->numbers[EVENT_CPU_SECONDS])) {
        cpu_apply(events, event, worker);
    }
    worker_touch(events, worker);
}

static void state_apply(struct events *events,
                        const struct event *event,
                        struct job *job,
                        int64_t now_ms) {
    struct worker *worker = worker_get(events, event->app, event->job, event->worker);
    if (event->kind == EVENT_BEAT && event->numbers[EVENT_GOODBYE] == 1) {
        worker_goodbye(events, job, worker, now_ms);
        return;
    }
    if (worker == NULL) {
        worker = worker_create(events, event->app, event->job, event->worker);
        worker->interval_ms = events->options.beat_ms;
    }
    if (!isnan(event->numbers[EVENT_INTERVAL_S])) {
        int64_t interval_ms = (int64_t)(event->numbers[EVENT_INTERVAL_S] * 1000);
        interval_ms = interval_ms < 1 ? 1 : interval_ms;
        if (interval_ms != worker->interval_ms) {
            worker->interval_ms = interval_ms;
            worker_touch(events, worker);
        }
    }
    if (event->kind == EVENT_RESOURCE) {
        resource_apply(events, event, worker);
    }
    if (event->kind == EVENT_BEAT || worker->state != WORKER_GONE) {
        worker_renew(events, job, worker, now_ms);
    }
}

/* ---- caps ---- */

static size_t outputs_missing(struct events *events, const struct event *event) {
    size_t missing = 2; /* availability and the time of the last event */
    for (size_t i = 0; i < event_output_count; i++) {
        if (output_is_produced(&event_outputs[i], event)) {
            struct label_list list;
            output_labels(events, event, &event_outputs[i], &list);
            struct labels labels = label_list_labels(&list);
            enum event_family family = event_outputs[i].family;
            missing += aggregate_get(events, family, event->app, labels) == NULL;
        }
    }
    return missing;
}

static bool caps_check(struct events *events, const struct event *event, struct err *err) {
    const struct ingest_event_options *options = &events->options;
    if (events->apps.count >= options->apps_max && map_get(&events->apps, event->app) == NULL) {
        return err_set(err, ERR_LIMIT, "there are %llu apps already (events.apps_max)",
                       (unsigned long long)options->apps_max);
    }
    if (events->jobs.count >= JOBS_MAX && job_get(events, event->job) == NULL) {
        return err_set(err, ERR_LIMIT, "there are %d jobs already", JOBS_MAX);
    }
    if (!event_is_counting(event) && events->workers.count >= WORKERS_MAX &&
        worker_get(events, event->app, event->job, event->worker) == NULL) {
        return err_set(err, ERR_LIMIT, "there are %d workers already", WORKERS_MAX);
    }
    if (events->count + EVENT_OUTPUTS_MAX > options->aggregates_max &&
        events->count + outputs_missing(events, event) > options->aggregates_max) {
        return err_set(err, ERR_LIMIT,
                       "no room for new series: there are %zu aggregates (events.aggregates_max)",
                       events->count);
    }
    return true;
}

/* ---- one event ---- */

static void heard(struct events *events,
                  const struct event *event,
                  struct job *job,
                  int64_t now_ms) {
    if (now_ms > job->heard_ms) {
        job->heard_ms = now_ms;
        job->is_dirty |= now_ms - job->written_ms >= HEARD_WRITE_MS;
    }
    struct label_list list = { .count = 0 };
    label_list_add(&list, STR("job"), event->job);
    struct aggregate *last = aggregate_of(events, FAMILY_LAST_EVENT, event->app, &list);
    last->value = (double)now_ms / 1000;
}

bool event_apply(struct events *events,
                 const struct event *event,
                 int64_t now_ms,
                 enum refusal *ret_why,
                 struct err *err) {
    if (!caps_check(events, event, err)) {
        *ret_why = REFUSAL_SERIES_LIMIT;
        return false;
    }
    struct job *job = job_get(events, event->job);
    if (job == NULL) {
        job = job_create(events, event->job);
        job->is_dirty = true;
    }
    heard(events, event, job, now_ms);
    for (size_t i = 0; i < event_output_count; i++) {
        const struct event_output *output = &event_outputs[i];
        if (!output_is_produced(output, event)) {
            continue;
        }
        struct label_list list;
        output_labels(events, event, output, &list);
        struct aggregate *aggregate = aggregate_of(events, output->family, event->app, &list);
        bool is_weight = output->value == EVENT_VALUE_WEIGHT;
        double value = is_weight ? 0 : event->numbers[output->value];
        aggregate_add(aggregate, value, event->weight, is_weight);
    }
    if (event->kind == EVENT_LLM) {
        provider_apply(events, event);
    }
    if (!event_is_counting(event)) {
        state_apply(events, event, job, now_ms);
    } else if (event->worker.len > 0) {
        struct worker *worker = worker_get(events, event->app, event->job, event->worker);
        if (worker != NULL && worker->state != WORKER_GONE) {
            worker_renew(events, job, worker, now_ms);
        }
    }
    return true;
}
