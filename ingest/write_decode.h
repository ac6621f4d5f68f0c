/*
 * Remote write 1.0 bodies, decoded in one pass without allocation per label: where every series'
 * labels stand, and the samples of all series in one column.
 * Source: prompb/remote.proto and prompb/types.proto of Prometheus.
 */
#pragma once

#include "tsdb/tsdb.h"

struct write_series {
    uint32_t offset; /* of the TimeSeries message in the body */
    uint32_t len;
    uint32_t sample_first; /* in write_request.samples */
    uint32_t sample_count;
    uint32_t histogram_count;
    uint32_t exemplar_count;
    uint32_t labels_offset; /* of the labels, and what may stand between them */
    uint32_t labels_len;
    bool has_alias; /* the labels stand together */
};

struct write_request {
    struct write_series *series;
    struct tsdb_alias *aliases; /* per series with has_alias: hash of the bytes of its labels */
    series_ref_t *refs;         /* per series; 0: the alias is not known */
    size_t series_count;
    size_t series_cap;
    struct sample *samples;
    size_t sample_count;
    size_t sample_cap;
    uint64_t element_count; /* samples and histograms */
    struct str *metadata;   /* MetricMetadata messages, structure checked */
    size_t metadata_count;
    size_t metadata_cap;
};

void write_request_finish(struct write_request *request); /* also fine on a zeroed request */

/*
 * Check the structure of the whole body and collect what it holds; nothing is stored. Labels of
 * series whose alias is known are not looked into. Errors: ERR_INVALID with message and byte
 * offset, ERR_LIMIT over `elements_max`.
 */
WARN_UNUSED bool write_decode(struct str body,
                              struct tsdb *db,
                              uint64_t elements_max,
                              struct write_request *ret,
                              struct err *err);

/* Labels of a series of a decoded body, normalized. Strings point into the body. */
WARN_UNUSED bool write_labels(struct str series_bytes,
                              struct arena *arena,
                              struct labels *ret,
                              struct err *err);

/* A metadata message of a decoded body; the family and texts point into it. */
void write_metadata(struct str bytes, struct str *ret_family, struct family_metadata *ret);
