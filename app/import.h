/*
 * Where imported samples go: a data directory nobody serves, or a running server by remote write.
 *
 *   importer_open_dir | importer_open_url → importer_take … → importer_finish → importer_report
 *
 * Importing the same again is fine: what is there already counts as a duplicate. Samples and series
 * that are refused are counted by reason, each reason with its first offender; the rest goes on.
 */
#pragma once

#include "app/tool.h"
#include "base/http.h"

#define IMPORT_REASONS_MAX 16

struct import_reason {
    char what[64];
    uint64_t count;
    char first[600]; /* file:line: the first offender */
};

struct import_place {
    size_t sample_first; /* in the batch */
    uint64_t line;
    char *series; /* as text; NULL = that of the place before */
};

struct importer {
    /* private */
    const char *source; /* file name or URL, for messages */
    struct tsdb *db;
    struct tsdb_batch *batch;
    series_ref_t ref;      /* of the series in hand */
    bool is_refused;       /* … it has none, */
    size_t refused_reason; /* for this reason */
    uint64_t since_seal;   /* samples */
    struct import_place *places;
    size_t place_count;
    size_t place_cap;

    struct http_client *client;
    const char *url;
    struct buf series;  /* protobuf of the TimeSeries in hand */
    struct buf part;    /* a label or sample of it */
    struct buf request; /* WriteRequest under construction */
    size_t request_samples;
    uint64_t line_first; /* of the request */
    uint64_t line_last;

    uint64_t calls;
    int64_t started_ns;
    int64_t told_ns;
    uint64_t line;
    uint64_t samples;
    uint64_t accepted;
    uint64_t duplicates;
    uint64_t refused;
    struct import_reason reasons[IMPORT_REASONS_MAX];
    size_t reason_count;
};

/* Takes the directory's lock; refused, naming the process, while a server runs on it. */
WARN_UNUSED bool importer_open_dir(struct importer *importer,
                                   const char *source,
                                   struct str dir,
                                   struct err *err);
WARN_UNUSED bool importer_open_url(struct importer *importer,
                                   const char *source,
                                   struct str url,
                                   struct err *err);
/* An ingest_rows_fn. */
bool importer_take(void *ctx, const struct ingest_rows *rows, struct err *err);
/* Make the rest durable. */
WARN_UNUSED bool importer_finish(struct importer *importer, struct err *err);
/* The summary on stderr; true when nothing was refused. */
bool importer_report(const struct importer *importer);
void importer_close(struct importer *importer);

/* ---- shared by the two ways ---- */

/* Returns the reason's number. */
size_t importer_refuse(struct importer *importer,
                       const char *what,
                       uint64_t count,
                       uint64_t line,
                       const char *detail);
bool importer_dir_take(struct importer *importer, const struct ingest_rows *rows, struct err *err);
WARN_UNUSED bool importer_dir_flush(struct importer *importer, struct err *err);
bool importer_url_take(struct importer *importer, const struct ingest_rows *rows, struct err *err);
WARN_UNUSED bool importer_url_flush(struct importer *importer, struct err *err);
