/* The doors' tests: see fixture.h. */
#include "tests/ingest/fixture.h"

#include <stdio.h>

void door_init(struct door_fixture *f) {
    memset(f, 0, sizeof(*f));
    fixture_init(&f->store);
    pthread_mutex_init(&f->mu, NULL);
    pthread_cond_init(&f->cond, NULL);
    f->options.self_interval_ms = -1;
    f->options.host_interval_ms = -1;
}

void door_open(struct door_fixture *f) {
    struct err err = ERR_INIT;
    fixture_open(&f->store);
    f->metrics = metric_registry_create();
    f->options.db = f->store.db;
    f->options.clock = &f->store.clock.clock;
    f->options.metrics = f->metrics;
    if (!ingest_create(&f->options, &f->ingest, &err)) {
        fail_msg("ingest_create: %s", err.msg);
    }
}

void door_close(struct door_fixture *f) {
    ingest_destroy(f->ingest);
    f->ingest = NULL;
    fixture_close(&f->store);
    metric_registry_destroy(f->metrics);
    f->metrics = NULL;
}

void door_reopen(struct door_fixture *f) {
    door_close(f);
    door_open(f);
}

void door_finish(struct door_fixture *f) {
    door_close(f);
    fixture_finish(&f->store);
}

int64_t door_now_ms(struct door_fixture *f) {
    return clock_wall_ms(&f->store.clock.clock);
}

void door_advance(struct door_fixture *f, int64_t by_ms) {
    fake_clock_advance(&f->store.clock, by_ms);
}

void door_run(struct door_fixture *f, int64_t duration_ms) {
    for (int64_t passed_ms = 0; passed_ms < duration_ms; passed_ms += 1000) {
        door_advance(f, 1000);
        (void)ingest_tick_blocking(f->ingest, door_now_ms(f));
    }
}

void door_done(void *ctx, const struct ingest_result *result) {
    struct door_fixture *f = ctx;
    pthread_mutex_lock(&f->mu);
    f->err = result->err;
    f->accepted = result->accepted;
    f->duplicates = result->duplicates;
    f->rejected = result->rejected;
    struct buf json;
    buf_init(&json, sizeof(f->json) - 1);
    ingest_result_to_json(result, &json);
    snprintf(f->json, sizeof(f->json), "%.*s", (int)json.len, json.ptr);
    buf_finish(&json);
    f->done_count++;
    pthread_cond_signal(&f->cond);
    pthread_mutex_unlock(&f->mu);
}

void door_wait(struct door_fixture *f) {
    pthread_mutex_lock(&f->mu);
    while (f->done_count == 0) {
        pthread_cond_wait(&f->cond, &f->mu);
    }
    assert_int_equal(f->done_count, 1);
    f->done_count = 0;
    pthread_mutex_unlock(&f->mu);
}

void post_events_with_key(struct door_fixture *f, const char *lines, const char *key) {
    struct ingest_body body = {
        .bytes = str_from(lines),
        .encoding = STR(""),
        .content_type = STR("application/x-ndjson"),
        .idempotency_key = str_from(key),
    };
    ingest_events(f->ingest, &body, door_done, f);
    door_wait(f);
}

void post_events(struct door_fixture *f, const char *lines) {
    post_events_with_key(f, lines, "");
}

static void print_value(struct buf *out, double value) {
    if (is_stale(value)) {
        buf_cstr(out, "stale");
    } else {
        buf_printf(out, "%.12g", value);
    }
}

enum print {
    PRINT_SAMPLES,
    PRINT_VALUES,
    PRINT_NEWEST,
};

static const char *print_series(struct door_fixture *f, const char *name, enum print what) {
    struct err err = ERR_INIT;
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", name);
    struct tsdb_querier *querier = open_querier(&f->store, INT64_MIN, INT64_MAX);
    struct tsdb_series_view *views;
    size_t view_count;
    if (!tsdb_select(querier, &matcher, 1, &f->store.arena, &views, &view_count, &err)) {
        fail_msg("tsdb_select: %s", err.msg);
    }
    struct buf out;
    buf_init(&out, SIZE_MAX);
    struct tsdb_column column = { 0 };
    for (size_t i = 0; i < view_count; i++) {
        if (!tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err)) {
            fail_msg("tsdb_read: %s", err.msg);
        }
        if (column.count == 0) {
            continue;
        }
        labels_print(views[i].labels, &out);
        size_t first = what == PRINT_NEWEST ? column.count - 1 : 0;
        for (size_t s = first; s < column.count; s++) {
            buf_putc(&out, ' ');
            if (what == PRINT_SAMPLES) {
                buf_printf(&out, "%g:", (double)(column.t_ms[s] - FIXTURE_NOW_MS) / 1000);
            }
            print_value(&out, column.values[s]);
        }
        buf_putc(&out, '\n');
    }
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
    struct str text = arena_str(&f->store.arena, buf_as_str(&out));
    buf_finish(&out);
    return text.ptr;
}

const char *samples_of(struct door_fixture *f, const char *name) {
    return print_series(f, name, PRINT_SAMPLES);
}

const char *newest_of(struct door_fixture *f, const char *name) {
    return print_series(f, name, PRINT_NEWEST);
}

const char *values_of(struct door_fixture *f, const char *name) {
    return print_series(f, name, PRINT_VALUES);
}

struct own {
    const char *name;
    const char *value;
    double sum;
};

static void visit_own(void *ctx, const struct metric_view *view) {
    struct own *own = ctx;
    if (strcmp(view->name, own->name) != 0) {
        return;
    }
    bool is_wanted = own->value == NULL;
    for (size_t i = 0; view->label_pairs != NULL && view->label_pairs[i] != NULL; i++) {
        is_wanted |= own->value != NULL && strcmp(view->label_pairs[i], own->value) == 0;
    }
    own->sum += is_wanted ? view->value : 0;
}

double own_metric(struct door_fixture *f, const char *name, const char *value) {
    struct own own = { .name = name, .value = value };
    metric_collect(f->metrics, visit_own, &own);
    return own.sum;
}
