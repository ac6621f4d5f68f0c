/* The store's tests: see fixture.h. */
#include "tests/tsdb/fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tsdb/db.h"

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void remove_tree(const char *dir) {
    (void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void fixture_init(struct fixture *f) {
    memset(f, 0, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/tocsin-tsdb-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    fake_clock_init(&f->clock, FIXTURE_NOW_MS);
    f->options.path = f->dir;
    f->options.clock = &f->clock.clock;
    f->options.space_reserve_bytes = 1;
    f->options.querier_ms_max = INT64_C(1000000000000); /* tests let hours pass at once */
    arena_init(&f->arena, SIZE_MAX);
}

void fixture_open(struct fixture *f) {
    struct err err = ERR_INIT;
    if (!tsdb_open(&f->options, &f->db, &err) || !tsdb_wait_ready(f->db, &err)) {
        fail_msg("tsdb_open: %s", err.msg);
    }
}

void fixture_hold_merges(struct fixture *f, bool holds) {
    pthread_mutex_lock(&f->db->maintain_lock);
    f->db->holds_merges = holds;
    pthread_mutex_unlock(&f->db->maintain_lock);
}

void fixture_close(struct fixture *f) {
    tsdb_close(f->db);
    f->db = NULL;
}

void fixture_reopen(struct fixture *f) {
    fixture_close(f);
    fixture_open(f);
}

void fixture_finish(struct fixture *f) {
    fixture_close(f);
    arena_finish(&f->arena);
    remove_tree(f->dir);
}

struct labels make_labels(struct arena *arena, const char *name, const char *const *pairs) {
    struct labels_builder builder;
    labels_builder_init(&builder, arena, (struct labels){ 0 });
    labels_builder_set(&builder, METRIC_NAME, str_from(name));
    for (size_t i = 0; pairs != NULL && pairs[i] != NULL; i += 2) {
        labels_builder_set(&builder, str_from(pairs[i]), str_from(pairs[i + 1]));
    }
    return labels_builder_build(&builder);
}

series_ref_t make_series(struct fixture *f, const char *name, const char *const *pairs) {
    struct err err = ERR_INIT;
    series_ref_t ref = 0;
    if (!tsdb_series(f->db, make_labels(&f->arena, name, pairs), &ref, &err)) {
        fail_msg("tsdb_series: %s", err.msg);
    }
    return ref;
}

enum tsdb_outcome put_sample(struct fixture *f, series_ref_t ref, int64_t t_ms, double value) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    struct tsdb_commit_result result;
    if (!tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err)) {
        fail_msg("tsdb_batch_begin: %s", err.msg);
    }
    tsdb_batch_append(batch, ref, t_ms, value);
    if (!tsdb_commit_blocking(batch, &result, &err)) {
        fail_msg("tsdb_commit: %s", err.msg);
    }
    for (size_t i = 0; i < TSDB_OUTCOME_COUNT; i++) {
        if (result.counts[i] == 1) {
            return (enum tsdb_outcome)i;
        }
    }
    fail_msg("no outcome");
    return TSDB_OUTCOME_COUNT;
}

struct tsdb_querier *open_querier(struct fixture *f, int64_t t_min_ms, int64_t t_max_ms) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier = NULL;
    if (!tsdb_querier_open(f->db, t_min_ms, t_max_ms, NULL, &querier, &err)) {
        fail_msg("tsdb_querier_open: %s", err.msg);
    }
    return querier;
}

const char *read_all(struct fixture *f,
                     struct tsdb_querier *querier,
                     const struct matcher *matchers,
                     size_t count) {
    struct err err = ERR_INIT;
    struct tsdb_series_view *views;
    size_t view_count;
    if (!tsdb_select(querier, matchers, count, &f->arena, &views, &view_count, &err)) {
        fail_msg("tsdb_select: %s", err.msg);
    }
    struct buf out;
    buf_init(&out, SIZE_MAX);
    struct tsdb_column column = { 0 };
    for (size_t i = 0; i < view_count; i++) {
        labels_print(views[i].labels, &out);
        if (!tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err)) {
            fail_msg("tsdb_read: %s", err.msg);
        }
        for (size_t s = 0; s < column.count; s++) {
            buf_printf(&out, " %lld:%g", (long long)column.t_ms[s], column.values[s]);
        }
        buf_putc(&out, '\n');
    }
    tsdb_column_finish(&column);
    struct str text = arena_str(&f->arena, buf_as_str(&out));
    buf_finish(&out);
    return text.ptr;
}

struct matcher make_matcher(enum match_type type, const char *name, const char *value) {
    struct err err = ERR_INIT;
    struct matcher matcher;
    if (!matcher_init(&matcher, type, str_from(name), str_from(value), &err)) {
        fail_msg("matcher_init: %s", err.msg);
    }
    return matcher;
}

const char *read_name(struct fixture *f, const char *name) {
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", name);
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
    const char *text = read_all(f, querier, &matcher, 1);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
    return text;
}
