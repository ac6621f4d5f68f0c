/* The store behind a script: a real one in a temporary directory. */
#include <assert.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/promql/promqltest.h"

const char *pqt_skip_to_string(enum pqt_skip skip) {
    static const char *const names[] = {
        [PQT_SKIP_NONE] = "none",
        [PQT_SKIP_HISTOGRAM_RESULT] = "native histogram in the expected result",
        [PQT_SKIP_HISTOGRAM_INPUT] = "native histogram in a series that is read",
        [PQT_SKIP_START_TIMES] = "start timestamps of a series that is read",
    };
    static_assert(ARRAY_LEN(names) == PQT_SKIP_COUNT, "every reason has a name");
    assert((unsigned)skip < PQT_SKIP_COUNT);
    return names[skip];
}

/* ---- life ---- */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

/* In memory where the system has such a place: a script opens hundreds of stores and none of them
 * has to outlive a crash. */
static bool make_directory(struct pqt_store *store, struct err *err) {
    const char *base = getenv("TMPDIR");
    if (base == NULL) {
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    }
    int len = snprintf(store->path, sizeof(store->path), "%s/promqltest.XXXXXX", base);
    if (len < 0 || (size_t)len >= sizeof(store->path)) {
        store->path[0] = '\0';
        return err_set(err, ERR_INVALID, "TMPDIR is too long: %s", base);
    }
    if (mkdtemp(store->path) == NULL) {
        err_set_errno(err, ERR_IO, errno, "creating %s", store->path);
        store->path[0] = '\0';
        return false;
    }
    return true;
}

bool pqt_store_open(struct pqt_store *ret, struct err *err) {
    *ret = (struct pqt_store){ .db = NULL };
    if (!make_directory(ret, err)) {
        return false;
    }
    arena_init(&ret->arena, SIZE_MAX);
    struct tsdb_options options = { .path = ret->path };
    if (!tsdb_open(&options, &ret->db, err) || !tsdb_wait_ready(ret->db, err)) {
        pqt_store_close(ret);
        return false;
    }
    return true;
}

void pqt_store_close(struct pqt_store *store) {
    tsdb_close(store->db);
    store->db = NULL;
    if (store->path[0] != '\0') {
        nftw(store->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        store->path[0] = '\0';
    }
    arena_finish(&store->arena);
    store->gap_count = 0;
    store->gap_cap = 0;
}

/* ---- loading ---- */

static void add_gap(struct pqt_store *store, struct labels labels, enum pqt_skip skip) {
    store->gaps = arena_vec_grow(&store->arena, store->gaps, &store->gap_cap, store->gap_count + 1,
                                 sizeof(store->gaps[0]));
    store->gaps[store->gap_count++] =
        (struct pqt_gap){ .labels = labels_dup(labels, &store->arena), .skip = skip };
}

/* load_with_nhcb also makes a native histogram of the classic one this series belongs to. */
static void add_converted(struct pqt_store *store, struct labels labels) {
    static const struct str suffixes[] = {
        { .ptr = "_bucket", .len = 7 },
        { .ptr = "_count", .len = 6 },
        { .ptr = "_sum", .len = 4 },
    };
    struct str name = labels_get(labels, METRIC_NAME);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        if (!str_ends_with(name, suffixes[i])) {
            continue;
        }
        struct labels_builder builder;
        labels_builder_init(&builder, &store->arena, labels);
        labels_builder_set(&builder, METRIC_NAME, str_n(name.ptr, name.len - suffixes[i].len));
        labels_builder_del(&builder, STR("le"));
        add_gap(store, labels_builder_build(&builder), PQT_SKIP_HISTOGRAM_INPUT);
        return;
    }
}

static bool append_series(struct pqt_store *store,
                          struct tsdb_batch *batch,
                          const struct pqt_load *load,
                          const struct pqt_series *series,
                          struct err *err) {
    series_ref_t ref;
    if (!tsdb_series(store->db, series->labels, &ref, err)) {
        return false;
    }
    for (size_t i = 0; i < series->count; i++) {
        if (series->values[i].kind == PQT_FLOAT) {
            tsdb_batch_append(batch, ref, (int64_t)i * load->gap_ms, series->values[i].number);
        }
    }
    if (series->has_histograms) {
        add_gap(store, series->labels, PQT_SKIP_HISTOGRAM_INPUT);
    }
    if (series->has_start_times) {
        add_gap(store, series->labels, PQT_SKIP_START_TIMES);
    }
    if (load->with_nhcb) {
        add_converted(store, series->labels);
    }
    return true;
}

bool pqt_store_load(struct pqt_store *store, const struct pqt_load *load, struct err *err) {
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(store->db, TSDB_INGEST, &batch, err)) {
        return false;
    }
    for (size_t i = 0; i < load->count; i++) {
        if (!append_series(store, batch, load, &load->series[i], err)) {
            tsdb_batch_abandon(batch);
            return false;
        }
    }
    struct tsdb_commit_result result;
    if (!tsdb_commit_blocking(batch, &result, err)) {
        return false;
    }
    for (size_t i = 0; i < TSDB_OUTCOME_COUNT; i++) {
        if (i != TSDB_ACCEPTED && i != TSDB_DUPLICATE && result.counts[i] > 0) {
            return err_set(err, ERR_EXEC, "store refused %zu samples: %s", result.counts[i],
                           tsdb_outcome_to_string((enum tsdb_outcome)i));
        }
    }
    return true;
}

/* ---- what is missing ---- */

struct coverage {
    const struct pqt_store *store;
    enum pqt_skip skip;
};

static void check_selector(void *ctx, const struct matcher *matchers, size_t count) {
    struct coverage *coverage = ctx;
    for (size_t i = 0; i < coverage->store->gap_count; i++) {
        const struct pqt_gap *gap = &coverage->store->gaps[i];
        if (matchers_match_labels(matchers, count, gap->labels)) {
            coverage->skip = gap->skip;
            return;
        }
    }
}

enum pqt_skip pqt_store_covers(const struct pqt_store *store, const struct promql_expr *expr) {
    struct coverage coverage = { .store = store, .skip = PQT_SKIP_NONE };
    promql_visit_selectors(expr, check_selector, &coverage);
    return coverage.skip;
}
