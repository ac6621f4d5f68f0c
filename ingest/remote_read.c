/*
 * Reading another server's samples over Prometheus' remote read (sampled replies), slice of time by
 * slice of time. The width of a slice follows what the server and our cap on replies allow.
 * Source: prompb/remote.proto and prompb/types.proto of Prometheus.
 */
#include "base/compress.h"
#include "base/http.h"
#include "base/mem.h"
#include "base/pb.h"
#include "ingest/internal.h"

#define SLICE_MS_FIRST     INT64_C(3600000)
#define SLICE_MS_MIN       INT64_C(60000)
#define SLICE_MS_MAX       INT64_C(86400000)
#define REPLY_BYTES_MAX    ((size_t)128 << 20) /* compressed */
#define BODY_BYTES_MAX     ((size_t)512 << 20)
#define SMALL_BYTES        ((size_t)8 << 20) /* a body below it: try wider slices */
#define REQUEST_TIMEOUT_MS 300000

struct remote {
    const struct ingest_remote *from;
    struct http_client *client;
    struct buf request;
    struct buf reply;
    struct buf body;
    struct arena arena; /* labels of one series */
    int64_t *t_ms;
    size_t t_cap;
    double *values;
    size_t value_cap;
};

/* ---- request ---- */

static void put_query(const struct matcher *matchers,
                      size_t count,
                      int64_t start_ms,
                      int64_t end_ms,
                      struct buf *out) {
    struct buf query CLEANUP(buf_finish);
    struct buf part CLEANUP(buf_finish);
    buf_init(&query, 16u << 20);
    buf_init(&part, 1u << 20);
    pb_put_uint(&query, 1, (uint64_t)start_ms);
    pb_put_uint(&query, 2, (uint64_t)end_ms);
    for (size_t i = 0; i < count; i++) {
        buf_reset(&part);
        pb_put_uint(&part, 1, (uint64_t)matchers[i].type);
        pb_put_bytes(&part, 2, matchers[i].name);
        pb_put_bytes(&part, 3, matchers[i].value);
        pb_put_bytes(&query, 3, buf_as_str(&part));
    }
    pb_put_bytes(out, 1, buf_as_str(&query));
}

/* One exchange. *ret_is_too_much: the same in narrower slices may do. */
static bool exchange(struct remote *remote,
                     int64_t start_ms,
                     int64_t end_ms,
                     bool *ret_is_too_much,
                     struct err *err) {
    const struct ingest_remote *from = remote->from;
    *ret_is_too_much = false;
    buf_reset(&remote->body);
    put_query(from->matchers, from->matcher_count, start_ms, end_ms, &remote->body);
    buf_reset(&remote->request);
    snappy_block_encode(buf_as_str(&remote->body), &remote->request);
    static const char *const headers[] = { "Content-Type: application/x-protobuf",
                                           "Content-Encoding: snappy", "Accept-Encoding: snappy",
                                           "X-Prometheus-Remote-Read-Version: 0.1.0", NULL };
    struct http_request request = {
        .method = "POST",
        .url = from->url,
        .headers = headers,
        .body = buf_as_str(&remote->request),
        .timeout_ms = REQUEST_TIMEOUT_MS,
        .response_bytes_max = REPLY_BYTES_MAX,
    };
    struct http_response response;
    buf_reset(&remote->reply);
    if (!http_perform_blocking(remote->client, &request, &response, &remote->reply, err)) {
        return err_wrap(err, "%s", from->url);
    }
    if (!response.is_ok) {
        *err = response.err;
        *ret_is_too_much = err->code == ERR_LIMIT || err->code == ERR_TIMEOUT;
        return err_wrap(err, "%s", from->url);
    }
    struct str reply = buf_as_str(&remote->reply);
    if (response.status != 200) {
        /* Prometheus answers 400 beyond --storage.remote.read-sample-limit. */
        *ret_is_too_much = response.status == 400 || response.status == 422;
        reply = str_trim(reply);
        return err_set(err, response.status >= 500 ? ERR_UNAVAILABLE : ERR_EXEC,
                       "%s: status %d: %.*s", from->url, response.status,
                       (int)(reply.len < 300 ? reply.len : 300), reply.ptr);
    }
    buf_reset(&remote->body);
    if (!snappy_block_decode(reply, &remote->body, err)) {
        *ret_is_too_much = err->code == ERR_LIMIT;
        return err_wrap(err, "%s: the reply", from->url);
    }
    return true;
}

/* ---- reply ---- */

static bool malformed(const struct remote *remote,
                      const struct pb_reader *reader,
                      struct err *err) {
    return err_set(err, ERR_INVALID, "%s: malformed reply at byte %zu", remote->from->url,
                   pb_offset(reader));
}

static bool take_label(struct pb_reader reader, struct label *ret) {
    struct pb_field field;
    *ret = (struct label){ .name = STR(""), .value = STR("") };
    while (pb_next(&reader, &field)) {
        if (field.wire == PB_BYTES && field.number == 1) {
            ret->name = field.bytes;
        } else if (field.wire == PB_BYTES && field.number == 2) {
            ret->value = field.bytes;
        }
    }
    return !reader.is_bad;
}

static bool take_sample(struct pb_reader reader, double *ret_value, int64_t *ret_t_ms) {
    struct pb_field field;
    *ret_value = 0;
    *ret_t_ms = 0;
    while (pb_next(&reader, &field)) {
        if (field.wire == PB_FIXED64 && field.number == 1) {
            *ret_value = pb_double(field.value);
        } else if (field.wire == PB_VARINT && field.number == 2) {
            *ret_t_ms = (int64_t)field.value;
        }
    }
    return !reader.is_bad;
}

static bool take_series(struct remote *remote,
                        struct pb_reader reader,
                        ingest_rows_fn take,
                        void *ctx,
                        struct err *err) {
    arena_reset(&remote->arena);
    struct ingest_rows rows = { 0 };
    size_t label_cap = 0;
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        bool is_fine = true;
        if (field.number == 1 && field.wire == PB_BYTES) {
            rows.labels.items = arena_vec_grow(&remote->arena, rows.labels.items, &label_cap,
                                               rows.labels.count + 1, sizeof(struct label));
            is_fine = take_label(pb_reader_sub(&reader, field.bytes),
                                 &rows.labels.items[rows.labels.count++]);
        } else if (field.number == 2 && field.wire == PB_BYTES) {
            remote->t_ms = vec_grow(remote->t_ms, &remote->t_cap, rows.count + 1, sizeof(int64_t));
            remote->values =
                vec_grow(remote->values, &remote->value_cap, rows.count + 1, sizeof(double));
            is_fine = take_sample(pb_reader_sub(&reader, field.bytes), &remote->values[rows.count],
                                  &remote->t_ms[rows.count]);
            rows.count++;
        }
        if (!is_fine) {
            return malformed(remote, &reader, err);
        }
    }
    rows.t_ms = remote->t_ms;
    rows.values = remote->values;
    return reader.is_bad ? malformed(remote, &reader, err)
                         : rows.count == 0 || take(ctx, &rows, err);
}

static bool take_reply(struct remote *remote, ingest_rows_fn take, void *ctx, struct err *err) {
    struct pb_reader reader = pb_reader_init(buf_as_str(&remote->body));
    struct pb_field result;
    struct pb_field series;
    while (pb_next(&reader, &result)) {
        if (result.number != 1 || result.wire != PB_BYTES) {
            continue;
        }
        struct pb_reader inner = pb_reader_sub(&reader, result.bytes);
        while (pb_next(&inner, &series)) {
            if (series.number == 1 && series.wire == PB_BYTES &&
                !take_series(remote, pb_reader_sub(&inner, series.bytes), take, ctx, err)) {
                return false;
            }
        }
        if (inner.is_bad) {
            return malformed(remote, &inner, err);
        }
    }
    return !reader.is_bad || malformed(remote, &reader, err);
}

/* ---- the whole ---- */

static bool read_slices(struct remote *remote, ingest_rows_fn take, void *ctx, struct err *err) {
    int64_t width_ms = SLICE_MS_FIRST;
    int64_t end_ms = remote->from->t_max_ms;
    for (int64_t t_ms = remote->from->t_min_ms; t_ms <= end_ms;) {
        int64_t last_ms = end_ms - t_ms < width_ms ? end_ms : t_ms + width_ms - 1;
        bool is_too_much;
        if (!exchange(remote, t_ms, last_ms, &is_too_much, err)) {
            if (!is_too_much || width_ms / 2 < SLICE_MS_MIN) {
                return false;
            }
            width_ms /= 2;
            continue;
        }
        if (!take_reply(remote, take, ctx, err)) {
            return false;
        }
        if (remote->body.len < SMALL_BYTES && width_ms < SLICE_MS_MAX) {
            width_ms *= 2;
        }
        if (last_ms == end_ms) {
            break;
        }
        t_ms = last_ms + 1;
    }
    return true;
}

bool ingest_read_remote(const struct ingest_remote *from,
                        ingest_rows_fn take,
                        void *ctx,
                        struct err *err) {
    struct remote remote = { .from = from };
    buf_init(&remote.request, 16u << 20);
    buf_init(&remote.reply, REPLY_BYTES_MAX);
    buf_init(&remote.body, BODY_BYTES_MAX);
    arena_init(&remote.arena, SIZE_MAX);
    bool is_ok = http_client_create("tocsin-import/" TOCSIN_VERSION, &remote.client, err) &&
                 read_slices(&remote, take, ctx, err);
    http_client_destroy(remote.client);
    buf_finish(&remote.request);
    buf_finish(&remote.reply);
    buf_finish(&remote.body);
    arena_finish(&remote.arena);
    mem_free(remote.t_ms);
    mem_free(remote.values);
    return is_ok;
}
