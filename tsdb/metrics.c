/* The store's own metrics, tocsin_tsdb_*. */
#include "tsdb/db.h"

static const double commit_bounds[] = {
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
};
static const double record_bounds[] = { 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304 };

static const char *const reasons[TSDB_OUTCOME_COUNT] = {
    [TSDB_DUPLICATE] = "duplicate",       [TSDB_CONFLICT] = "conflict",
    [TSDB_OUT_OF_ORDER] = "out_of_order", [TSDB_TOO_OLD] = "too_old",
    [TSDB_TOO_NEW] = "too_new",
};

static void init_counters(struct tsdb_metrics *m, struct metric_registry *r) {
    m->samples = metric_counter(r, "tocsin_tsdb_samples_appended_total",
                                "Samples accepted and durable.", NULL);
    m->samples_late =
        metric_counter(r, "tocsin_tsdb_samples_out_of_order_total",
                       "Samples accepted although their series had a newer one.", NULL);
    m->samples_deferred = metric_counter(r, "tocsin_tsdb_samples_deferred_total",
                                         "Samples accepted while the journal was replayed.", NULL);
    m->deferred_conflicts =
        metric_counter(r, "tocsin_tsdb_samples_deferred_conflicts_total",
                       "Of those, samples not kept: their time had another value.", NULL);
    for (size_t i = TSDB_ACCEPTED + 1; i < TSDB_OUTCOME_COUNT; i++) {
        const char *labels[] = { "reason", reasons[i], NULL };
        m->refused[i] =
            metric_counter(r, "tocsin_tsdb_samples_refused_total",
                           "Samples not stored, by reason; duplicates are harmless.", labels);
    }
    m->commits = metric_counter(r, "tocsin_tsdb_commits_total",
                                "Durable journal transactions, one fsync each.", NULL);
    m->commit_failures = metric_counter(r, "tocsin_tsdb_commit_failures_total",
                                        "Journal transactions that failed.", NULL);
    m->throttled =
        metric_counter(r, "tocsin_tsdb_batches_throttled_total",
                       "Writes refused because too many bytes waited for the disk.", NULL);
    m->series_created = metric_counter(r, "tocsin_tsdb_series_created_total",
                                       "Series that entered the head.", NULL);
    const char *help = "New series refused at a limit of active series, by limit.";
    m->series_refused = metric_counter(r, "tocsin_tsdb_series_refused_total", help,
                                       (const char *[]){ "reason", "series_max", NULL });
    m->series_metric_refused =
        metric_counter(r, "tocsin_tsdb_series_refused_total", help,
                       (const char *[]){ "reason", "series_per_metric_max", NULL });
    m->series_evicted = metric_counter(r, "tocsin_tsdb_series_evicted_total",
                                       "Idle series that left the head.", NULL);
    m->chunks_sealed =
        metric_counter(r, "tocsin_tsdb_chunks_sealed_total", "Chunks written to the store.", NULL);
    m->segment_bytes = metric_counter(r, "tocsin_tsdb_segment_bytes_total",
                                      "Bytes of segments written to the store.", NULL);
    m->maintenance_failures = metric_counter(r, "tocsin_tsdb_maintenance_failures_total",
                                             "Sealing or retention runs that failed.", NULL);
    m->merges = metric_counter(r, "tocsin_tsdb_merges_total", "Merges of parts finished.", NULL);
    m->merge_bytes = metric_counter(r, "tocsin_tsdb_merge_bytes_total",
                                    "Bytes of segments written by merges.", NULL);
    m->merge_seconds = metric_counter(r, "tocsin_tsdb_merge_seconds_total",
                                      "Time finished merges took, pauses included.", NULL);
    m->windows_deleted = metric_counter(r, "tocsin_tsdb_windows_deleted_total",
                                        "Windows deleted by retention.", NULL);
    m->stale_readers = metric_counter(
        r, "tocsin_tsdb_stale_readers_total",
        "Readers of other processes that died and held back pages; cleared every 10 s.", NULL);
    m->rollup_rows = metric_counter(r, "tocsin_tsdb_rollup_rows_total",
                                    "Days of series written as rollups.", NULL);
    m->scrub_bytes = metric_counter(r, "tocsin_tsdb_scrub_bytes_total",
                                    "Bytes of rows read again to find damage.", NULL);
    m->scrub_passes = metric_counter(r, "tocsin_tsdb_scrub_passes_total",
                                     "Times all of the store was read again.", NULL);
}

static void init_gauges(struct tsdb_metrics *m, struct metric_registry *r) {
    m->series = metric_gauge(r, "tocsin_tsdb_head_series", "Series in the head.", NULL);
    m->chunks_open = metric_gauge(r, "tocsin_tsdb_head_chunks_open",
                                  "Chunks of the head that take samples.", NULL);
    m->chunks_closed = metric_gauge(r, "tocsin_tsdb_head_chunks_closed",
                                    "Chunks of the head that wait for sealing.", NULL);
    m->side_samples = metric_gauge(r, "tocsin_tsdb_side_samples",
                                   "Out-of-order samples that wait for sealing.", NULL);
    m->side_bytes = metric_gauge(r, "tocsin_tsdb_side_bytes", "Memory they take.", NULL);
    m->journal_bytes =
        metric_gauge(r, "tocsin_tsdb_journal_bytes", "Size of the journal environment.", NULL);
    m->store_bytes =
        metric_gauge(r, "tocsin_tsdb_store_bytes", "Size of the store environment.", NULL);
    m->pending_bytes = metric_gauge(r, "tocsin_tsdb_pending_bytes",
                                    "Bytes of batches waiting for their commit.", NULL);
    m->free_bytes = metric_gauge(r, "tocsin_tsdb_free_bytes",
                                 "Free bytes of the file system of the data.", NULL);
    m->is_read_only = metric_gauge(r, "tocsin_tsdb_read_only",
                                   "1 while the store cannot take writes, else 0.", NULL);
    m->queries_open =
        metric_gauge(r, "tocsin_tsdb_queriers_open", "Queriers open at the moment.", NULL);
}

void metrics_init(struct tsdb_metrics *m, struct metric_registry *r) {
    init_counters(m, r);
    init_gauges(m, r);
    m->commit_seconds = metric_histogram(r, "tocsin_tsdb_commit_duration_seconds",
                                         "Time of one group commit, judging to publishing.", NULL,
                                         commit_bounds, ARRAY_LEN(commit_bounds));
    m->journal_record_bytes =
        metric_histogram(r, "tocsin_tsdb_journal_record_bytes", "Size of the journal records.",
                         NULL, record_bounds, ARRAY_LEN(record_bounds));
}

void metrics_refresh(struct tsdb *db) {
    struct tsdb_stats stats;
    tsdb_stats(db, &stats);
    metric_set(db->metrics.series, (double)stats.series_count);
    metric_set(db->metrics.chunks_open, (double)stats.chunk_count);
    metric_set(db->metrics.chunks_closed, (double)db->head.closed_count);
    metric_set(db->metrics.side_samples, (double)db->side.sample_count);
    metric_set(db->metrics.side_bytes, (double)db->side.bytes);
    metric_set(db->metrics.journal_bytes, (double)stats.journal_bytes);
    metric_set(db->metrics.store_bytes, (double)stats.store_bytes);
    metric_set(db->metrics.pending_bytes, (double)stats.pending_bytes);
    metric_set(db->metrics.free_bytes, (double)dir_free_bytes(db->path));
    metric_set(db->metrics.is_read_only, db->is_latched || db->is_no_space ? 1 : 0);
    metric_set(db->metrics.queries_open, (double)readers_count(&db->head.readers));
}
