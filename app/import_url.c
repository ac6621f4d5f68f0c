/* Importing into a running server: remote write 1.0 bodies, retried while it says so. */
#include <poll.h>
#include <stdio.h>

#include "app/import.h"
#include "base/compress.h"
#include "base/pb.h"

#define REQUEST_SAMPLES   20000
#define REQUEST_BYTES     (8u << 20)
#define REQUEST_BYTES_MAX (64u << 20)
#define ATTEMPTS_MAX      20
#define PAUSE_MS_MIN      500
#define PAUSE_MS_MAX      30000

/* Numbers of the fields in prompb/remote.proto and types.proto. */
enum {
    WRITE_TIMESERIES = 1,
    SERIES_LABELS = 1,
    SERIES_SAMPLES = 2,
    LABEL_NAME = 1,
    LABEL_VALUE = 2,
    SAMPLE_VALUE = 1,
    SAMPLE_TIME = 2,
};

bool importer_open_url(struct importer *importer,
                       const char *source,
                       struct str url,
                       struct err *err) {
    *importer = (struct importer){ .source = source, .url = url.ptr };
    buf_init(&importer->series, REQUEST_BYTES_MAX);
    buf_init(&importer->part, REQUEST_BYTES_MAX);
    buf_init(&importer->request, REQUEST_BYTES_MAX);
    return http_client_create("tocsin-import/" TOCSIN_VERSION, &importer->client, err);
}

/* One attempt. *ret_pause_ms >= 0: try again after that. */
static bool post(struct importer *importer,
                 struct str body,
                 int64_t *ret_pause_ms,
                 struct buf *reply,
                 struct http_response *response,
                 struct err *err) {
    CLEANUP(buf_finish) struct buf url;
    buf_init(&url, 8192);
    buf_cstr(&url, importer->url);
    while (url.len > 0 && url.ptr[url.len - 1] == '/') {
        url.ptr[--url.len] = '\0';
    }
    buf_cstr(&url, "/api/v1/write");
    static const char *const headers[] = { "Content-Type: application/x-protobuf",
                                           "Content-Encoding: snappy",
                                           "X-Prometheus-Remote-Write-Version: 0.1.0", NULL };
    struct http_request request = {
        .method = "POST",
        .url = url.ptr,
        .headers = headers,
        .body = body,
        .timeout_ms = 60000,
        .response_bytes_max = reply->bytes_max,
    };
    *ret_pause_ms = -1;
    buf_reset(reply);
    if (!http_perform_blocking(importer->client, &request, response, reply, err)) {
        return false;
    }
    bool is_passing = !response->is_ok || response->status == 429 || response->status >= 500;
    if (is_passing) {
        *ret_pause_ms = response->retry_after_ms > 0 ? response->retry_after_ms : PAUSE_MS_MIN;
    }
    return true;
}

static bool settle(struct importer *importer,
                   const struct http_response *response,
                   struct str reply,
                   struct err *err) {
    if (response->status / 100 == 2) {
        importer->accepted += importer->request_samples;
        return true;
    }
    reply = str_trim(reply);
    if (response->status != 400) {
        return err_set(err, ERR_EXEC, "%s: status %d: %.*s", importer->url, response->status,
                       (int)(reply.len < 300 ? reply.len : 300), reply.ptr);
    }
    /* Some of the body or all of it was refused for good; the server alone knows how much. */
    char detail[512];
    snprintf(detail, sizeof(detail), "lines %llu to %llu: %.*s",
             (unsigned long long)importer->line_first, (unsigned long long)importer->line_last,
             (int)(reply.len < 400 ? reply.len : 400), reply.ptr);
    importer_refuse(importer, "in requests the server refused in part or whole (400)",
                    importer->request_samples, importer->line_first, detail);
    return true;
}

static bool send_request(struct importer *importer, struct err *err) {
    CLEANUP(buf_finish) struct buf body;
    CLEANUP(buf_finish) struct buf reply;
    buf_init(&body, 2 * REQUEST_BYTES_MAX);
    buf_init(&reply, 1u << 20);
    snappy_block_encode(buf_as_str(&importer->request), &body);
    struct http_response response;
    int64_t longest_ms = PAUSE_MS_MIN;
    for (int attempt = 1;; attempt++) {
        int64_t pause_ms;
        if (!post(importer, buf_as_str(&body), &pause_ms, &reply, &response, err)) {
            return false;
        }
        if (pause_ms < 0) {
            return settle(importer, &response, buf_as_str(&reply), err);
        }
        if (attempt == ATTEMPTS_MAX) {
            return response.is_ok
                       ? err_set(err, ERR_UNAVAILABLE, "%s: status %d after %d attempts",
                                 importer->url, response.status, attempt)
                       : err_set(err, ERR_UNAVAILABLE, "%s: %s", importer->url, response.err.msg);
        }
        longest_ms = 2 * longest_ms < PAUSE_MS_MAX ? 2 * longest_ms : PAUSE_MS_MAX;
        pause_ms = pause_ms > longest_ms ? pause_ms : longest_ms;
        (void)poll(NULL, 0, (int)(pause_ms < PAUSE_MS_MAX ? pause_ms : PAUSE_MS_MAX));
    }
}

static void end_series(struct importer *importer) {
    if (importer->series.len > 0) {
        pb_put_bytes(&importer->request, WRITE_TIMESERIES, buf_as_str(&importer->series));
        buf_reset(&importer->series);
    }
}

bool importer_url_flush(struct importer *importer, struct err *err) {
    end_series(importer);
    bool is_ok = importer->request.len == 0 || send_request(importer, err);
    buf_reset(&importer->request);
    importer->request_samples = 0;
    return is_ok;
}

static void begin_series(struct importer *importer, const struct ingest_rows *rows) {
    struct buf *label = &importer->part;
    for (size_t i = 0; i < rows->labels.count; i++) {
        buf_reset(label);
        pb_put_bytes(label, LABEL_NAME, rows->labels.items[i].name);
        pb_put_bytes(label, LABEL_VALUE, rows->labels.items[i].value);
        pb_put_bytes(&importer->series, SERIES_LABELS, buf_as_str(label));
    }
}

bool importer_url_take(struct importer *importer, const struct ingest_rows *rows, struct err *err) {
    if (!rows->is_same_series) {
        end_series(importer);
    }
    for (size_t i = 0; i < rows->count; i++) {
        if (importer->series.len == 0) {
            begin_series(importer, rows);
        }
        if (importer->request_samples == 0) {
            importer->line_first = rows->line;
        }
        importer->line_last = rows->line;
        buf_reset(&importer->part);
        pb_put_double(&importer->part, SAMPLE_VALUE, rows->values[i]);
        pb_put_uint(&importer->part, SAMPLE_TIME, (uint64_t)rows->t_ms[i]);
        pb_put_bytes(&importer->series, SERIES_SAMPLES, buf_as_str(&importer->part));
        importer->request_samples++;
        bool is_full = importer->request_samples >= REQUEST_SAMPLES ||
                       importer->request.len + importer->series.len >= REQUEST_BYTES;
        if (is_full && !importer_url_flush(importer, err)) {
            return false;
        }
    }
    return true;
}
