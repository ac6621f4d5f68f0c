/*
 * First phase of a merge: series by series in metric order, samples of all sources become one run.
 * Which series a metric has tell the sources' indexes, so that only the labels of one metric, or of
 * a group of its series, are in memory at a time.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/merge/merge_steps.h"
#include "tsdb/query/querier.h"

/* ---- what there is ---- */

static void add_name(void *ctx, struct str name) {
    struct merge *merge = ctx;
    merge->names =
        vec_grow(merge->names, &merge->name_cap, merge->name_count + 1, sizeof(merge->names[0]));
    merge->names[merge->name_count++] = arena_str(&merge->name_arena, name);
}

static int compare_names(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static void unite_names(struct merge *merge) {
    if (merge->name_count > 1) {
        qsort(merge->names, merge->name_count, sizeof(merge->names[0]), compare_names);
    }
    size_t kept = 0;
    for (size_t i = 0; i < merge->name_count; i++) {
        if (kept == 0 || !str_eq(merge->names[i], merge->names[kept - 1])) {
            merge->names[kept++] = merge->names[i];
        }
    }
    merge->name_count = kept;
}

bool merge_load(struct merge *merge, struct err *err) {
    struct store *store = &merge->db->store;
    MDB_txn *txn;
    if (!env_read_begin(&store->env, &txn, err)) {
        return false;
    }
    bool ok = true;
    for (size_t i = 0; ok && i < merge->plan.source_count; i++) {
        int64_t place = merge->plan.sources[i].place;
        ok = window_visit(store, NULL, txn, place, METRIC_NAME, add_name, merge, err) &&
             part_ids(store, txn, place, &merge->ids, err);
    }
    env_read_end(&store->env, txn);
    idset_normalize(&merge->ids);
    unite_names(merge);
    return ok;
}

/* ---- order ---- */

static size_t skip_le(struct labels labels, size_t at) {
    return at < labels.count && str_eq(labels.items[at].name, STR("le")) ? at + 1 : at;
}

/* Metric names are equal here, or there are none. */
static int compare_series(const void *a, const void *b) {
    const struct merge_series *x = a;
    const struct merge_series *y = b;
    size_t i = skip_le(x->labels, 0);
    size_t j = skip_le(y->labels, 0);
    while (i < x->labels.count && j < y->labels.count) {
        int order = str_cmp(x->labels.items[i].name, y->labels.items[j].name);
        if (order == 0) {
            order = str_cmp(x->labels.items[i].value, y->labels.items[j].value);
        }
        if (order != 0) {
            return order;
        }
        i = skip_le(x->labels, i + 1);
        j = skip_le(y->labels, j + 1);
    }
    if ((i < x->labels.count) != (j < y->labels.count)) {
        return i < x->labels.count ? 1 : -1;
    }
    bool x_is_number = !isnan(x->upper_bound);
    bool y_is_number = !isnan(y->upper_bound);
    if (x_is_number != y_is_number) {
        return x_is_number ? 1 : -1;
    }
    if (x_is_number && x->upper_bound != y->upper_bound) {
        return x->upper_bound < y->upper_bound ? -1 : 1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

static bool add_series(struct merge *merge,
                       struct catalog_reader *catalog,
                       uint64_t id,
                       struct err *err) {
    bool found;
    struct labels labels;
    if (!catalog_read(catalog, id, &labels, &found, err)) {
        return false;
    }
    if (!found) {
        return true; /* retention took it: nobody can ask for it any more */
    }
    struct merge_series series = { .id = id, .labels = labels_dup(labels, &merge->arena) };
    if (!str_parse_f64(labels_get(series.labels, STR("le")), &series.upper_bound)) {
        series.upper_bound = (double)NAN;
    }
    merge->series = vec_grow(merge->series, &merge->series_cap, merge->series_count + 1,
                             sizeof(merge->series[0]));
    merge->series[merge->series_count++] = series;
    return true;
}

/* The ids of the next metric; after the last one those that no metric's index lists. */
static bool next_metric(struct merge *merge, MDB_txn *txn, struct err *err) {
    struct idset *ids = &merge->metric_ids;
    bool ok = true;
    ids->count = 0;
    merge->metric_next = 0;
    if (merge->name_next < merge->name_count) {
        struct str name = merge->names[merge->name_next];
        for (size_t i = 0; ok && i < merge->plan.source_count; i++) {
            struct posting_walk walk = {
                .store = &merge->db->store,
                .txn = txn,
                .window = merge->plan.sources[i].place,
            };
            ok = posting_collect(&walk, METRIC_NAME, name, ids, err);
        }
        idset_normalize(ids);
        for (size_t i = 0; ok && i < ids->count; i++) {
            idset_add(&merge->taken, ids->ids[i]);
        }
    } else {
        idset_normalize(&merge->taken);
        idset_finish(ids);
        *ids = merge->ids;
        merge->ids = (struct idset){ 0 };
        idset_subtract(ids, &merge->taken);
    }
    merge->name_next++;
    return ok;
}

/* Series of one metric in order, so many that their labels do not take much memory: those of a
 * larger metric come in several groups by age, which keeps the series of a target together. */
static bool load_group(struct merge *merge, MDB_txn *txn, struct err *err) {
    arena_reset(&merge->arena);
    merge->series_count = 0;
    merge->series_next = 0;
    merge->written = NULL;
    if (merge->metric_next == merge->metric_ids.count && !next_metric(merge, txn, err)) {
        return false;
    }
    size_t left = merge->metric_ids.count - merge->metric_next;
    size_t count = left < MERGE_GROUP_SERIES ? left : MERGE_GROUP_SERIES;
    struct catalog_reader catalog;
    catalog_reader_init(&catalog, &merge->db->store, txn);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        ok = add_series(merge, &catalog, merge->metric_ids.ids[merge->metric_next++], err);
    }
    catalog_reader_finish(&catalog);
    if (ok && merge->series_count > 1) {
        qsort(merge->series, merge->series_count, sizeof(merge->series[0]), compare_series);
    }
    return ok;
}

/* ---- samples ---- */

static void widen(struct store_row *row, int64_t t_ms, uint64_t value_bits) {
    if (!row->has_last || t_ms > row->t_last_ms) {
        row->has_last = true;
        row->t_last_ms = t_ms;
        row->value_last_bits = value_bits;
    }
}

/* Read one source, and keep track of the newest sample that came in order: see part_last(). */
static bool read_source(struct merge *merge,
                        MDB_txn *txn,
                        const struct part *part,
                        uint64_t id,
                        struct store_row *last,
                        struct err *err) {
    struct store *store = &merge->db->store;
    struct tsdb_column *column = &merge->column;
    size_t count = column->count;
    struct part_read read = {
        .store = store,
        .txn = txn,
        .part = part,
        .id = id,
        .t_min_ms = INT64_MIN,
        .t_max_ms = INT64_MAX,
        .cache = &merge->cache,
    };
    if (!part_read(&read, column, err)) {
        return false;
    }
    struct store_row row = { 0 };
    bool has_row;
    if (!store_get_row(store, txn, part->place, id, &row, &has_row, err)) {
        store_row_finish(&row);
        return false;
    }
    if (has_row && row.has_last) {
        widen(last, row.t_last_ms, row.value_last_bits);
    } else if (!has_row && column->count > count) {
        size_t newest = column->count - 1;
        widen(last, column->t_ms[newest], double_bits(column->values[newest]));
    }
    store_row_finish(&row);
    return true;
}

static void note_last(struct merge *merge, uint64_t id, const struct store_row *last) {
    const struct tsdb_column *column = &merge->column;
    if (column->count > 0 && last->has_last && column->t_ms[column->count - 1] == last->t_last_ms) {
        return;
    }
    merge->lasts =
        vec_grow(merge->lasts, &merge->last_cap, merge->last_count + 1, sizeof(merge->lasts[0]));
    merge->lasts[merge->last_count++] = (struct merge_last){ .id = id, .row = *last };
}

/* Buckets of one histogram follow one another. */
static bool is_next_bucket(const struct merge_series *before, const struct merge_series *series) {
    if (isnan(before->upper_bound) || isnan(series->upper_bound) ||
        before->labels.count != series->labels.count) {
        return false;
    }
    for (size_t i = 0; i < series->labels.count; i++) {
        const struct label *x = &before->labels.items[i];
        const struct label *y = &series->labels.items[i];
        if (!str_eq(x->name, y->name) ||
            (!str_eq(x->value, y->value) && !str_eq(x->name, STR("le")))) {
            return false;
        }
    }
    return true;
}

static void write_series(struct merge *merge, const struct merge_series *series) {
    const struct tsdb_column *column = &merge->column;
    struct directory_entry entry = { .id = series->id };
    struct store_window *stats = &merge->target.stats;
    size_t cut_count;
    run_cut_times(column->t_ms, column->count, merge->db->head.block_ms, &merge->cuts,
                  &merge->cut_cap, &cut_count);
    struct run_series run = {
        .id = series->id,
        .column = column,
        .cuts = merge->cuts,
        .cut_count = cut_count,
        .is_next_bucket = merge->written != NULL && is_next_bucket(merge->written, series),
    };
    run_writer_add(&merge->writer, &run, &entry.segment, &entry.offset);
    merge->written = series;
    merge->entries = vec_grow(merge->entries, &merge->entry_cap, merge->entry_count + 1,
                              sizeof(merge->entries[0]));
    merge->entries[merge->entry_count++] = entry;
    int64_t t_min_ms = column->t_ms[0];
    int64_t t_max_ms = column->t_ms[column->count - 1];
    stats->t_min_ms = t_min_ms < stats->t_min_ms ? t_min_ms : stats->t_min_ms;
    stats->t_max_ms = t_max_ms > stats->t_max_ms ? t_max_ms : stats->t_max_ms;
    stats->series_count++;
    stats->sample_count += column->count;
    stats->chunk_count += cut_count;
}

static bool merge_one(struct merge *merge,
                      MDB_txn *txn,
                      const struct merge_series *series,
                      struct err *err) {
    struct store_row last = { 0 };
    merge->column.count = 0;
    for (size_t i = 0; i < merge->plan.source_count; i++) {
        if (!read_source(merge, txn, &merge->plan.sources[i], series->id, &last, err)) {
            return false;
        }
    }
    column_sort(&merge->column, 0);
    merge->slice_samples += merge->column.count;
    if (merge->plan.filter != NULL) {
        merge->plan.filter(merge->plan.filter_ctx, series->id, series->labels, &merge->column);
    }
    note_last(merge, series->id, &last);
    if (merge->column.count > 0) {
        write_series(merge, series);
    }
    return true;
}

/* ---- slices ---- */

static bool is_over(const struct merge *merge) {
    return merge->series_next == merge->series_count &&
           merge->metric_next == merge->metric_ids.count && merge->name_next > merge->name_count;
}

static bool fill_slice(struct merge *merge, struct err *err) {
    struct env *env = &merge->db->store.env;
    MDB_txn *txn;
    if (!env_read_begin(env, &txn, err)) {
        return false;
    }
    bool ok = true;
    merge->slice_samples = 0;
    while (ok && !is_over(merge) && merge->slice_samples < MERGE_SLICE_SAMPLES &&
           run_writer_bytes(&merge->writer) < MERGE_SLICE_BYTES) {
        if (merge->series_next == merge->series_count) {
            ok = load_group(merge, txn, err);
            continue;
        }
        ok = merge_one(merge, txn, &merge->series[merge->series_next], err);
        merge->series_next++;
    }
    env_read_end(env, txn);
    return ok;
}

static int put_segments(void *ctx, struct store *store, MDB_txn *txn) {
    const struct merge *merge = ctx;
    const struct run_writer *writer = &merge->writer;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < writer->segment_count; i++) {
        const struct run_segment *segment = &writer->segments[i];
        uint64_t ignored;
        rc = segment_put(store, txn, merge->target.place, segment->number,
                         str_n(writer->bytes.ptr + segment->at, segment->len), &ignored);
    }
    return rc;
}

bool merge_chunks(struct merge *merge, struct err *err) {
    if (!fill_slice(merge, err)) {
        return false;
    }
    if (is_over(merge)) {
        run_writer_end(&merge->writer);
        merge->phase = MERGE_DIRECTORY;
    }
    struct run_writer *writer = &merge->writer;
    if (writer->segment_count == 0) {
        return true;
    }
    if (!store_write(merge->db, put_segments, merge, "merging chunks", err)) {
        return false;
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < writer->segment_count; i++) {
        bytes += segment_disk_bytes(writer->segments[i].len);
    }
    merge->target.stats.segment_bytes += bytes;
    metric_add(merge->db->metrics.merge_bytes, (double)bytes);
    run_writer_taken(writer);
    return true;
}
