/* The simulation that the engine's tests run in. */
#include "tests/rules/sim.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/float.h"

enum {
    TEXT_BYTES = 1 << 16,
};

/* ---- texts handed out live until the next call of the same kind ---- */

static char *text_slot(int kind) {
    static char slots[4][TEXT_BYTES];
    return slots[kind];
}

static char *copy_str(struct str text) {
    return mem_strndup(text.ptr, text.len);
}

static char *print_labels(struct labels labels) {
    struct buf out;
    buf_init(&out, TEXT_BYTES);
    labels_print(labels, &out);
    char *text = copy_str(buf_as_str(&out));
    buf_finish(&out);
    return text;
}

/* ---- the recording sink ---- */

static char *print_annotations(struct labels labels) {
    struct buf out;
    buf_init(&out, TEXT_BYTES);
    for (size_t i = 0; i < labels.count; i++) {
        buf_printf(&out, "%s%.*s=%.*s", i == 0 ? "" : " ", STR_FMT(labels.items[i].name),
                   STR_FMT(labels.items[i].value));
    }
    char *text = copy_str(buf_as_str(&out));
    buf_finish(&out);
    return text;
}

static void free_sent(struct sim_sent *sent) {
    mem_free(sent->labels);
    mem_free(sent->annotations);
    mem_free(sent->generator_url);
}

static void *stage(void *ctx,
                   const struct alert *alerts,
                   size_t count,
                   int64_t now_ms,
                   struct kv_batch *batch) {
    struct sim *sim = ctx;
    assert_non_null(batch);
    assert_int_equal(sim->staged_count, 0);
    sim->staged = mem_calloc(count, sizeof(*sim->staged));
    sim->staged_count = count;
    for (size_t i = 0; i < count; i++) {
        sim->staged[i] = (struct sim_sent){
            .labels = print_labels(alerts[i].labels),
            .annotations = print_annotations(alerts[i].annotations),
            .generator_url = copy_str(alerts[i].generator_url),
            .now_ms = now_ms,
            .active_ms = alerts[i].active_ms,
            .starts_ms = alerts[i].starts_ms,
            .ends_ms = alerts[i].ends_ms,
            .value = alerts[i].value,
        };
    }
    return sim->staged;
}

static void settle(void *ctx, void *token, bool is_durable) {
    struct sim *sim = ctx;
    assert_ptr_equal(token, sim->staged);
    if (is_durable) {
        sim->sent =
            mem_realloc(sim->sent, (sim->sent_count + sim->staged_count) * sizeof(*sim->sent));
        memcpy(sim->sent + sim->sent_count, sim->staged, sim->staged_count * sizeof(*sim->sent));
        sim->sent_count += sim->staged_count;
    } else {
        for (size_t i = 0; i < sim->staged_count; i++) {
            free_sent(&sim->staged[i]);
        }
    }
    mem_free(sim->staged);
    sim->staged = NULL;
    sim->staged_count = 0;
}

static void on_event(void *ctx, const struct rules_event *event) {
    struct sim *sim = ctx;
    assert_true(sim->event_count < ARRAY_LEN(sim->events));
    sim->events[sim->event_count++] = (struct sim_event){
        .kind = event->kind,
        .rule = mem_strdup(event->rule),
        .message = mem_strdup(event->message),
        .count = event->count,
    };
}

size_t sim_event_count(const struct sim *sim, enum rules_event_kind kind) {
    size_t count = 0;
    for (size_t i = 0; i < sim->event_count; i++) {
        count += sim->events[i].kind == kind ? 1 : 0;
    }
    return count;
}

/* ---- life ---- */

static void open_store(struct sim *sim) {
    struct err err = ERR_INIT;
    struct tsdb_options options = {
        .path = sim->dir,
        .clock = &sim->clock.clock,
        .series_max = sim->series_max,
    };
    if (!tsdb_open(&options, &sim->db, &err) || !tsdb_wait_ready(sim->db, &err)) {
        fail_msg("opening the store: %s", err.msg);
    }
}

void sim_open_rules(struct sim *sim) {
    struct err err = ERR_INIT;
    sim->options.db = sim->db;
    sim->options.clock = &sim->clock.clock;
    sim->options.metrics = sim->metrics;
    sim->options.sink = (struct alert_sink){ .stage = stage, .settle = settle, .ctx = sim };
    sim->options.report = on_event;
    sim->options.report_ctx = sim;
    if (!rules_create(&sim->options, &sim->rules, &err)) {
        fail_msg("creating the engine: %s", err.msg);
    }
}

void sim_init(struct sim *sim) {
    *sim = (struct sim){ 0 };
    (void)snprintf(sim->dir, sizeof(sim->dir), "/tmp/tocsin-rules-XXXXXX");
    assert_non_null(mkdtemp(sim->dir));
    fake_clock_init(&sim->clock, SIM_T0);
    sim->metrics = metric_registry_create();
    open_store(sim);
    sim_open_rules(sim);
}

static void clear_events(struct sim *sim) {
    for (size_t i = 0; i < sim->event_count; i++) {
        mem_free(sim->events[i].rule);
        mem_free(sim->events[i].message);
    }
    sim->event_count = 0;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at) {
    return remove(path);
}

static void remove_dir(const char *dir) {
    assert_int_equal(nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static const struct rules_snapshot *keep_snapshot(struct rules_snapshot *snapshot) {
    static struct rules_snapshot *kept;
    rules_snapshot_unref(kept);
    kept = snapshot;
    return snapshot;
}

void sim_finish(struct sim *sim) {
    (void)keep_snapshot(NULL);
    rules_destroy(sim->rules);
    tsdb_close(sim->db);
    metric_registry_destroy(sim->metrics);
    for (size_t i = 0; i < sim->sent_count; i++) {
        free_sent(&sim->sent[i]);
    }
    mem_free(sim->sent);
    clear_events(sim);
    for (size_t i = 0; i < sim->gauge_count; i++) {
        mem_free(sim->gauges[i].name);
        for (size_t l = 0; l < ARRAY_LEN(sim->gauges[i].labels); l++) {
            mem_free(sim->gauges[i].labels[l]);
        }
    }
    remove_dir(sim->dir);
}

void sim_restart(struct sim *sim) {
    rules_destroy(sim->rules);
    tsdb_close(sim->db);
    open_store(sim);
    sim_open_rules(sim);
}

void sim_rules_file(struct sim *sim, const char *file, const char *yaml) {
    struct diag_list diags;
    struct rule_set *set = NULL;
    diag_list_init(&diags);
    if (!rules_load_text(file, str_from(yaml), &sim->load, &set, &diags)) {
        struct err err = ERR_INIT;
        (void)diag_to_err(&diags, &err);
        fail_msg("loading rules: %s", err.msg);
    }
    diag_list_finish(&diags);
    rules_apply(sim->rules, set, clock_wall_ms(&sim->clock.clock));
    sim->due_ms = rules_tick(sim->rules, clock_wall_ms(&sim->clock.clock));
}

void sim_rules(struct sim *sim, const char *yaml) {
    sim_rules_file(sim, "test.yml", yaml);
}

/* ---- samples ---- */

static bool is_gauge(const struct sim_gauge *gauge, const char *name, const char *const *labels) {
    size_t i = 0;
    if (!str_eq_c(str_from(name), gauge->name)) {
        return false;
    }
    for (; labels != NULL && labels[i] != NULL; i++) {
        if (gauge->labels[i] == NULL || !str_eq_c(str_from(labels[i]), gauge->labels[i])) {
            return false;
        }
    }
    return gauge->labels[i] == NULL;
}

static struct sim_gauge *find_gauge(struct sim *sim, const char *name, const char *const *labels) {
    for (size_t i = 0; i < sim->gauge_count; i++) {
        if (is_gauge(&sim->gauges[i], name, labels)) {
            return &sim->gauges[i];
        }
    }
    assert_true(sim->gauge_count < ARRAY_LEN(sim->gauges));
    struct sim_gauge *gauge = &sim->gauges[sim->gauge_count++];
    gauge->name = mem_strdup(name);
    for (size_t i = 0; labels != NULL && labels[i] != NULL; i++) {
        assert_true(i + 1 < ARRAY_LEN(gauge->labels));
        gauge->labels[i] = mem_strdup(labels[i]);
    }
    return gauge;
}

void sim_set(struct sim *sim, const char *name, const char *const *labels, double value) {
    struct sim_gauge *gauge = find_gauge(sim, name, labels);
    gauge->value = value;
    gauge->is_on = true;
}

void sim_off(struct sim *sim, const char *name, const char *const *labels) {
    find_gauge(sim, name, labels)->is_on = false;
}

static void write_gauge(struct sim *sim, struct tsdb_batch *batch, const struct sim_gauge *gauge) {
    struct err err = ERR_INIT;
    struct label items[8] = { { METRIC_NAME, str_from(gauge->name) } };
    struct labels labels = { .items = items, .count = 1 };
    for (size_t i = 0; gauge->labels[i] != NULL; i += 2) {
        items[labels.count++] = (struct label){
            .name = str_from(gauge->labels[i]),
            .value = str_from(gauge->labels[i + 1]),
        };
    }
    series_ref_t ref = 0;
    assert_true(labels_normalize(&labels, &err));
    if (!tsdb_series(sim->db, labels, &ref, &err)) {
        fail_msg("series: %s", err.msg);
    }
    tsdb_batch_append(batch, ref, clock_wall_ms(&sim->clock.clock), gauge->value);
}

void sim_write(struct sim *sim) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch = NULL;
    assert_true(tsdb_batch_begin(sim->db, TSDB_INGEST, &batch, &err));
    for (size_t i = 0; i < sim->gauge_count; i++) {
        if (sim->gauges[i].is_on) {
            write_gauge(sim, batch, &sim->gauges[i]);
        }
    }
    if (!tsdb_commit_blocking(batch, NULL, &err)) {
        fail_msg("writing gauges: %s", err.msg);
    }
}

/* ---- time ---- */

void sim_pass(struct sim *sim, int64_t ms) {
    fake_clock_advance(&sim->clock, ms);
}

int64_t sim_step(struct sim *sim) {
    int64_t now_ms = clock_wall_ms(&sim->clock.clock);
    assert_true(sim->due_ms != INT64_MAX);
    if (sim->due_ms > now_ms) {
        sim_pass(sim, sim->due_ms - now_ms);
    }
    now_ms = clock_wall_ms(&sim->clock.clock);
    sim_write(sim);
    sim->due_ms = rules_tick(sim->rules, now_ms);
    return now_ms;
}

int64_t sim_steps(struct sim *sim, int count) {
    int64_t slot_ms = 0;
    for (int i = 0; i < count; i++) {
        slot_ms = sim_step(sim);
    }
    return slot_ms;
}

/* ---- looking at it ---- */

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static const char *join_sorted(char **texts, size_t count, int kind) {
    char *out = text_slot(kind);
    size_t len = 0;
    out[0] = '\0';
    if (count > 0) {
        qsort(texts, count, sizeof(texts[0]), compare_texts);
    }
    for (size_t i = 0; i < count; i++) {
        int wrote = snprintf(out + len, TEXT_BYTES - len, "%s%s", i == 0 ? "" : "|", texts[i]);
        assert_true(wrote >= 0 && (size_t)wrote < TEXT_BYTES - len);
        len += (size_t)wrote;
        mem_free(texts[i]);
    }
    mem_free(texts);
    return out;
}

const char *sim_query_at(struct sim *sim, const char *query, int64_t t_ms) {
    struct err err = ERR_INIT;
    struct arena arena;
    struct promql_expr *expr = NULL;
    struct promql_result result;
    arena_init(&arena, SIZE_MAX);
    struct promql_features features = { 0 };
    struct promql_query instant = { .db = sim->db, .start_ms = t_ms, .end_ms = t_ms };
    if (!promql_parse(str_from(query), &features, &arena, &expr, NULL, &err) ||
        !promql_eval(&instant, expr, &arena, &result, &err)) {
        fail_msg("query %s: %s", query, err.msg);
    }
    char **texts = mem_calloc(result.series_count, sizeof(char *));
    for (size_t i = 0; i < result.series_count; i++) {
        struct buf out;
        buf_init(&out, TEXT_BYTES);
        labels_print(result.series[i].labels, &out);
        buf_putc(&out, ' ');
        buf_float_json(&out, result.series[i].points[0].value);
        texts[i] = copy_str(buf_as_str(&out));
        buf_finish(&out);
    }
    promql_expr_finish(expr);
    const char *text = join_sorted(texts, result.series_count, 0);
    arena_finish(&arena);
    return text;
}

const char *sim_query(struct sim *sim, const char *query) {
    return sim_query_at(sim, query, clock_wall_ms(&sim->clock.clock));
}

const struct rule_view *sim_rule(struct sim *sim, size_t index) {
    const struct rules_snapshot *snapshot = keep_snapshot(rules_snapshot(sim->rules));
    for (size_t g = 0; g < snapshot->group_count; g++) {
        if (index < snapshot->groups[g]->rule_count) {
            return &snapshot->groups[g]->rules[index];
        }
        index -= snapshot->groups[g]->rule_count;
    }
    fail_msg("no such rule");
    return NULL;
}

const struct alert_view *sim_alert(struct sim *sim, size_t rule, size_t alert) {
    const struct rule_view *view = sim_rule(sim, rule);
    assert_true(alert < view->alert_count);
    return &view->alerts[alert];
}

const char *sim_alerts(struct sim *sim) {
    struct rules_snapshot *snapshot = rules_snapshot(sim->rules);
    char **texts = NULL;
    size_t count = 0;
    for (size_t g = 0; g < snapshot->group_count; g++) {
        for (size_t r = 0; r < snapshot->groups[g]->rule_count; r++) {
            const struct rule_view *rule = &snapshot->groups[g]->rules[r];
            for (size_t a = 0; a < rule->alert_count; a++) {
                char *labels = print_labels(rule->alerts[a].labels);
                char text[4096];
                (void)snprintf(text, sizeof(text), "%s %s", labels,
                               alert_state_to_string(rule->alerts[a].state));
                texts = mem_realloc(texts, (count + 1) * sizeof(char *));
                texts[count++] = mem_strdup(text);
                mem_free(labels);
            }
        }
    }
    rules_snapshot_unref(snapshot);
    return join_sorted(texts, count, 1);
}

const char *sim_sent_text(struct sim *sim, int64_t base_ms) {
    char *out = text_slot(2);
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sim->sent_count; i++) {
        struct sim_sent *sent = &sim->sent[i];
        int wrote = snprintf(out + len, TEXT_BYTES - len, "%s%s %s@%lld", i == 0 ? "" : "|",
                             sent->ends_ms == 0 ? "F" : "R", sent->labels,
                             (long long)(sent->now_ms - base_ms) / 1000);
        assert_true(wrote >= 0 && (size_t)wrote < TEXT_BYTES - len);
        len += (size_t)wrote;
        free_sent(sent);
    }
    sim->sent_count = 0;
    return out;
}
