/* Importing: what both ways share, and the summary. */
#include "app/import.h"

#include <stdio.h>

#include "base/mem.h"

#define PROGRESS_NS INT64_C(5000000000)

size_t importer_refuse(struct importer *importer,
                       const char *what,
                       uint64_t count,
                       uint64_t line,
                       const char *detail) {
    importer->refused += count;
    size_t i = 0;
    while (i < importer->reason_count && strcmp(importer->reasons[i].what, what) != 0) {
        i++;
    }
    if (i == IMPORT_REASONS_MAX) {
        i--; /* counted with the last one */
    }
    struct import_reason *reason = &importer->reasons[i];
    if (i == importer->reason_count) {
        importer->reason_count++;
        snprintf(reason->what, sizeof(reason->what), "%s", what);
        if (line > 0) {
            snprintf(reason->first, sizeof(reason->first), "%s:%llu: %s", importer->source,
                     (unsigned long long)line, detail);
        } else {
            snprintf(reason->first, sizeof(reason->first), "%s: %s", importer->source, detail);
        }
    }
    reason->count += count;
    return i;
}

static void tell_progress(struct importer *importer) {
    int64_t now_ns = clock_mono_ns(clock_system());
    if (importer->started_ns == 0) {
        importer->started_ns = now_ns;
        importer->told_ns = now_ns;
    }
    if (now_ns - importer->told_ns >= PROGRESS_NS) {
        importer->told_ns = now_ns;
        double seconds = (double)(now_ns - importer->started_ns) / 1e9;
        fprintf(stderr, "%s: line %llu, %llu samples, %.0f/s\n", importer->source,
                (unsigned long long)importer->line, (unsigned long long)importer->samples,
                (double)importer->samples / seconds);
    }
}

bool importer_take(void *ctx, const struct ingest_rows *rows, struct err *err) {
    struct importer *importer = ctx;
    if (importer->calls++ % 1024 == 0) {
        tell_progress(importer);
    }
    importer->line = rows->line;
    importer->samples += rows->count;
    return importer->db != NULL ? importer_dir_take(importer, rows, err)
                                : importer_url_take(importer, rows, err);
}

bool importer_finish(struct importer *importer, struct err *err) {
    return importer->db != NULL ? importer_dir_flush(importer, err)
                                : importer_url_flush(importer, err);
}

bool importer_report(const struct importer *importer) {
    fprintf(stderr, "%s: %llu samples read: %llu written, %llu there before, %llu refused\n",
            importer->source, (unsigned long long)importer->samples,
            (unsigned long long)importer->accepted, (unsigned long long)importer->duplicates,
            (unsigned long long)importer->refused);
    for (size_t i = 0; i < importer->reason_count; i++) {
        const struct import_reason *reason = &importer->reasons[i];
        fprintf(stderr, "  %llu %s; the first: %s\n", (unsigned long long)reason->count,
                reason->what, reason->first);
    }
    return importer->refused == 0;
}

void importer_close(struct importer *importer) {
    tsdb_batch_abandon(importer->batch);
    tsdb_close(importer->db);
    for (size_t i = 0; i < importer->place_count; i++) {
        mem_free(importer->places[i].series);
    }
    mem_free(importer->places);
    http_client_destroy(importer->client);
    buf_finish(&importer->series);
    buf_finish(&importer->part);
    buf_finish(&importer->request);
}
