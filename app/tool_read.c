/* Reading samples of a data directory in bounded memory. */
#include <stdlib.h>

#include "app/tool.h"
#include "base/mem.h"
#include "promql/promql.h"

/* One read at most, unless the data spans more than SLICES_MAX of them. */
#define SLICE_MS   (INT64_C(7) * 86400000)
#define SLICES_MAX 256

bool tool_open(struct str dir, struct tsdb **ret, struct err *err) {
    char *path = mem_strndup(dir.ptr, dir.len);
    struct tsdb_options options = { .path = path, .is_read_only = true };
    bool is_ok = tsdb_open(&options, ret, err);
    mem_free(path);
    return is_ok;
}

struct selection {
    struct tsdb_querier *querier;
    struct arena arena;
    struct tsdb_series_view *views;
    size_t count;
};

static int compare_views(const void *a, const void *b) {
    return labels_cmp(((const struct tsdb_series_view *)a)->labels,
                      ((const struct tsdb_series_view *)b)->labels);
}

static int compare_names_first(const void *a, const void *b) {
    int order = str_cmp(labels_get(((const struct tsdb_series_view *)a)->labels, METRIC_NAME),
                        labels_get(((const struct tsdb_series_view *)b)->labels, METRIC_NAME));
    return order != 0 ? order : compare_views(a, b);
}

/* Add the series of one selector. */
static bool select_one(struct selection *selection, struct str selector, struct err *err) {
    struct matcher *matchers = NULL;
    size_t matcher_count = 0;
    if (selector.len > 0 && !promql_parse_selector(selector, &matchers, &matcher_count, err)) {
        return err_wrap(err, "--match '%.*s'", STR_FMT(selector));
    }
    struct tsdb_series_view *views = NULL;
    size_t count = 0;
    bool is_ok = tsdb_select(selection->querier, matchers, matcher_count, &selection->arena, &views,
                             &count, err);
    for (size_t i = 0; i < matcher_count; i++) {
        matcher_finish(&matchers[i]);
    }
    mem_free(matchers);
    if (is_ok && selection->count == 0) {
        selection->views = views;
        selection->count = count;
    } else if (is_ok && count > 0) {
        size_t cap = selection->count;
        selection->views = arena_vec_grow(&selection->arena, selection->views, &cap,
                                          selection->count + count, sizeof(views[0]));
        memcpy(selection->views + selection->count, views, count * sizeof(views[0]));
        selection->count += count;
    }
    return is_ok;
}

static bool select_all(struct selection *selection,
                       const struct string_list *match,
                       struct err *err) {
    if (match->count == 0) {
        return select_one(selection, STR(""), err);
    }
    for (size_t i = 0; i < match->count; i++) {
        if (!select_one(selection, str_from(match->items[i]), err)) {
            return false;
        }
    }
    if (match->count == 1 || selection->count == 0) {
        return true;
    }
    qsort(selection->views, selection->count, sizeof(selection->views[0]), compare_views);
    size_t kept = 1;
    for (size_t i = 1; i < selection->count; i++) {
        if (compare_views(&selection->views[kept - 1], &selection->views[i]) != 0) {
            selection->views[kept++] = selection->views[i];
        }
    }
    selection->count = kept;
    return true;
}

/* The width of a slice for data from t_min_ms to t_max_ms. */
static int64_t slice_width(int64_t t_min_ms, int64_t t_max_ms) {
    uint64_t span = (uint64_t)t_max_ms - (uint64_t)t_min_ms;
    return span / SLICES_MAX > SLICE_MS ? (int64_t)(span / SLICES_MAX) : SLICE_MS;
}

static bool visit_series(struct selection *selection,
                         const struct tsdb_series_view *view,
                         const struct tool_range *range,
                         struct tsdb_column *column,
                         tool_samples_fn visit,
                         void *ctx,
                         struct err *err) {
    int64_t width = slice_width(range->t_min_ms, range->t_max_ms);
    bool is_first = true;
    for (int64_t t_ms = range->t_min_ms;;) {
        bool is_last = (uint64_t)range->t_max_ms - (uint64_t)t_ms < (uint64_t)width;
        int64_t end_ms = is_last ? range->t_max_ms : t_ms + width - 1;
        if (!tsdb_read(selection->querier, view->id, t_ms, end_ms, column, err) ||
            (column->count > 0 && !visit(ctx, view->labels, is_first, column, err))) {
            return false;
        }
        is_first = is_first && column->count == 0;
        if (is_last) {
            return true;
        }
        t_ms = end_ms + 1;
    }
}

bool tool_visit(struct tsdb *db,
                const struct tool_range *range,
                tool_samples_fn visit,
                void *ctx,
                struct err *err) {
    struct tsdb_stats stats;
    tsdb_stats(db, &stats);
    struct tool_range clipped = *range;
    clipped.t_min_ms = range->t_min_ms > stats.t_min_ms ? range->t_min_ms : stats.t_min_ms;
    clipped.t_max_ms = range->t_max_ms < stats.t_max_ms ? range->t_max_ms : stats.t_max_ms;
    if (clipped.t_min_ms > clipped.t_max_ms) {
        return true;
    }
    struct selection selection = { 0 };
    arena_init(&selection.arena, SIZE_MAX);
    bool is_ok =
        tsdb_querier_open(db, clipped.t_min_ms, clipped.t_max_ms, NULL, &selection.querier, err) &&
        select_all(&selection, &range->match, err);
    if (is_ok && range->by_name && selection.count > 1) {
        qsort(selection.views, selection.count, sizeof(selection.views[0]), compare_names_first);
    }
    struct tsdb_column column = { 0 };
    for (size_t i = 0; is_ok && i < selection.count; i++) {
        is_ok = visit_series(&selection, &selection.views[i], &clipped, &column, visit, ctx, err);
    }
    tsdb_column_finish(&column);
    tsdb_querier_close(selection.querier);
    arena_finish(&selection.arena);
    return is_ok;
}

/* ---- another server ---- */

static bool read_selector(struct ingest_remote *from,
                          struct str selector,
                          ingest_rows_fn take,
                          void *ctx,
                          struct err *err) {
    struct matcher *matchers = NULL;
    size_t count = 0;
    if (!promql_parse_selector(selector, &matchers, &count, err)) {
        return err_wrap(err, "--match '%.*s'", STR_FMT(selector));
    }
    from->matchers = matchers;
    from->matcher_count = count;
    bool is_ok = ingest_read_remote(from, take, ctx, err);
    for (size_t i = 0; i < count; i++) {
        matcher_finish(&matchers[i]);
    }
    mem_free(matchers);
    return is_ok;
}

bool tool_read_remote(const char *url,
                      const struct tool_range *range,
                      ingest_rows_fn take,
                      void *ctx,
                      struct err *err) {
    struct ingest_remote from = {
        .url = url,
        .t_min_ms = range->t_min_ms,
        .t_max_ms = range->t_max_ms == INT64_MAX ? clock_wall_ms(clock_system()) : range->t_max_ms,
    };
    if (range->t_min_ms == INT64_MIN) {
        return err_set(err, ERR_INVALID, "reading another server needs --min-time");
    }
    if (range->match.count == 0) {
        return read_selector(&from, STR("{__name__!=\"\"}"), take, ctx, err);
    }
    for (size_t i = 0; i < range->match.count; i++) {
        if (!read_selector(&from, str_from(range->match.items[i]), take, ctx, err)) {
            return false;
        }
    }
    return true;
}
