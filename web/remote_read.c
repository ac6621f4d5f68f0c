/*
 * POST /api/v1/read: remote read, sampled (one snappy protobuf) and streamed (a frame per run of
 * chunks). Source: Prometheus' prompb/remote.proto and storage/remote/chunked.go.
 */
#include "base/compress.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/pb.h"
#include "web/api.h"
#include "web/xor_chunk.h"

enum {
    QUERIES_MAX = 100,
    MATCHERS_MAX = 1000,
    SAMPLES_MAX = 50000000,
    BODY_BYTES_MAX = 32 << 20,
    FRAME_BYTES = 1 << 20,
    READS_MAX = 10, /* at the same time, streams included; upstream's figure */
    QUERIER_AGE_MAX_S = 30,
    STREAM_ARENA_BYTES = 1 << 30,
    CHUNK_ENCODING_XOR = 1,
};

enum response_type {
    RESPONSE_SAMPLES = 0,
    RESPONSE_STREAMED = 1,
};

struct read_query {
    int64_t start_ms;
    int64_t end_ms;
    struct matcher *matchers; /* vec_grow */
    size_t matcher_count;
    size_t matcher_cap;
};

struct read_request {
    struct read_query *queries; /* vec_grow */
    size_t query_count;
    size_t query_cap;
    enum response_type type;
};

static void request_finish(struct read_request *read) {
    for (size_t i = 0; i < read->query_count; i++) {
        for (size_t j = 0; j < read->queries[i].matcher_count; j++) {
            matcher_finish(&read->queries[i].matchers[j]);
        }
        mem_free(read->queries[i].matchers);
    }
    mem_free(read->queries);
}

/* ---- decoding the request ---- */

static bool bad_message(const struct pb_reader *reader, const char *what, struct err *err) {
    return err_set(err, ERR_INVALID, "malformed %s at byte %zu", what, pb_offset(reader));
}

static bool decode_matcher(struct pb_reader reader,
                           struct labels external,
                           struct read_query *query,
                           struct err *err) {
    uint64_t type = 0;
    struct str name = { 0 };
    struct str value = { 0 };
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == PB_VARINT) {
            type = field.value;
        } else if (field.number == 2 && field.wire == PB_BYTES) {
            name = field.bytes;
        } else if (field.number == 3 && field.wire == PB_BYTES) {
            value = field.bytes;
        }
    }
    if (reader.is_bad || type >= MATCH_TYPE_COUNT || name.len == 0) {
        return bad_message(&reader, "matcher", err);
    }
    if (query->matcher_count == MATCHERS_MAX) {
        return err_set(err, ERR_LIMIT, "more than %d matchers", MATCHERS_MAX);
    }
    /* An external label is on no stored series: asking for it by its value is asking for none. */
    struct str label = labels_get(external, name);
    if (type == MATCH_EQ && label.len > 0 && str_eq(label, value)) {
        value = (struct str){ .ptr = "" };
    }
    query->matchers = vec_grow(query->matchers, &query->matcher_cap, query->matcher_count + 1,
                               sizeof(query->matchers[0]));
    if (!matcher_init(&query->matchers[query->matcher_count], (enum match_type)type, name, value,
                      err)) {
        return false;
    }
    query->matcher_count++;
    return true;
}

static bool decode_query(struct pb_reader reader,
                         struct labels external,
                         struct read_query *query,
                         struct err *err) {
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == PB_VARINT) {
            query->start_ms = (int64_t)field.value;
        } else if (field.number == 2 && field.wire == PB_VARINT) {
            query->end_ms = (int64_t)field.value;
        } else if (field.number == 3 && field.wire == PB_BYTES &&
                   !decode_matcher(pb_reader_sub(&reader, field.bytes), external, query, err)) {
            return false;
        }
    }
    return !reader.is_bad || bad_message(&reader, "query", err);
}

/* accepted_response_types: the first one we have; none named is SAMPLES. */
static void take_type(struct read_request *read, uint64_t type, bool *has_type) {
    if (!*has_type && (type == RESPONSE_SAMPLES || type == RESPONSE_STREAMED)) {
        read->type = (enum response_type)type;
        *has_type = true;
    }
}

/* Of the known types none has more than one byte. */
static void take_packed_types(struct read_request *read, struct str packed, bool *has_type) {
    bool is_inside = false; /* a longer varint */
    for (size_t i = 0; i < packed.len; i++) {
        uint8_t byte = (uint8_t)packed.ptr[i];
        if (!is_inside && byte < 0x80) {
            take_type(read, byte, has_type);
        }
        is_inside = byte >= 0x80;
    }
}

static bool decode_request(struct str body,
                           struct labels external,
                           struct read_request *read,
                           struct err *err) {
    struct pb_reader reader = pb_reader_init(body);
    struct pb_field field;
    bool has_type = false;
    bool was_asked = false;
    while (pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == PB_BYTES) {
            if (read->query_count == QUERIES_MAX) {
                return err_set(err, ERR_LIMIT, "more than %d queries", QUERIES_MAX);
            }
            read->queries = vec_grow(read->queries, &read->query_cap, read->query_count + 1,
                                     sizeof(read->queries[0]));
            struct read_query *query = &read->queries[read->query_count++];
            *query = (struct read_query){ 0 };
            if (!decode_query(pb_reader_sub(&reader, field.bytes), external, query, err)) {
                return false;
            }
        } else if (field.number == 2 && field.wire == PB_VARINT) {
            was_asked = true;
            take_type(read, field.value, &has_type);
        } else if (field.number == 2 && field.wire == PB_BYTES) { /* packed */
            was_asked = true;
            take_packed_types(read, field.bytes, &has_type);
        }
    }
    if (reader.is_bad) {
        return bad_message(&reader, "ReadRequest", err);
    }
    return !was_asked || has_type ||
           err_set(err, ERR_INVALID, "none of the accepted response types is supported");
}

/* ---- series on the wire ---- */

/* Labels with the external ones added where absent. */
static struct labels with_external(struct labels labels,
                                   struct labels external,
                                   struct arena *arena) {
    if (external.count == 0) {
        return labels;
    }
    struct labels_builder builder;
    labels_builder_init(&builder, arena, labels);
    for (size_t i = 0; i < external.count; i++) {
        if (labels_get(labels, external.items[i].name).len == 0) {
            labels_builder_set(&builder, external.items[i].name, external.items[i].value);
        }
    }
    return labels_builder_build(&builder);
}

static void put_labels(struct buf *out, struct labels labels) {
    struct buf pair;
    buf_init(&pair, 1u << 16);
    for (size_t i = 0; i < labels.count; i++) {
        buf_reset(&pair);
        pb_put_bytes(&pair, 1, labels.items[i].name);
        pb_put_bytes(&pair, 2, labels.items[i].value);
        pb_put_bytes(out, 1, buf_as_str(&pair));
    }
    buf_finish(&pair);
}

/* ---- sampled ---- */

struct sampled {
    struct web_request *request;
    struct labels external;
    struct buf response; /* ReadResponse */
    struct buf series;   /* TimeSeries being built */
    struct tsdb_column column;
    struct arena scratch; /* labels of the present series */
};

static void put_timeseries(struct sampled *s, struct labels labels) {
    buf_reset(&s->series);
    put_labels(&s->series, labels);
    struct buf sample;
    buf_init(&sample, 64);
    for (size_t i = 0; i < s->column.count; i++) {
        buf_reset(&sample);
        pb_put_double(&sample, 1, s->column.values[i]);
        pb_put_uint(&sample, 2, (uint64_t)s->column.t_ms[i]);
        pb_put_bytes(&s->series, 2, buf_as_str(&sample));
    }
    buf_finish(&sample);
    pb_put_bytes(&s->response, 1, buf_as_str(&s->series));
}

static bool run_sampled_query(struct sampled *s, const struct read_query *query, struct err *err) {
    struct tsdb_querier *querier = NULL;
    struct tsdb_series_view *views = NULL;
    size_t count = 0;
    uint64_t sample_count = 0;
    if (!tsdb_querier_open(s->request->web->opts.db, query->start_ms, query->end_ms, NULL, &querier,
                           err)) {
        return false;
    }
    bool is_ok = api_select_one(querier, query->matchers, query->matcher_count, &s->request->arena,
                                &views, &count, err);
    for (size_t i = 0; is_ok && i < count; i++) {
        is_ok = tsdb_read(querier, views[i].id, query->start_ms, query->end_ms, &s->column, err);
        if (is_ok && s->request->is_canceled) {
            is_ok = err_set(err, ERR_CANCELED, "the client went away");
        }
        if (!is_ok || s->column.count == 0) {
            continue;
        }
        sample_count += s->column.count;
        if (sample_count > SAMPLES_MAX) {
            is_ok =
                err_set(err, ERR_INVALID,
                        "exceeded sample limit (%d); ask for streamed chunks or a shorter range",
                        SAMPLES_MAX);
            continue;
        }
        arena_reset(&s->scratch);
        put_timeseries(s, with_external(views[i].labels, s->external, &s->scratch));
    }
    tsdb_querier_close(querier);
    return is_ok;
}

/*
 * One QueryResult, made in place: its length is known only at the end, so room for a varint of a
 * fixed width is kept before it (a reader takes padded varints as it takes short ones).
 */
static bool put_query_result(struct sampled *s, const struct read_query *query, struct err *err) {
    static const char head[] = { 1 << 3 | PB_BYTES, 0, 0, 0, 0, 0 };
    buf_append(&s->response, head, sizeof(head));
    size_t start = s->response.len;
    if (!run_sampled_query(s, query, err)) {
        return false;
    }
    if (s->response.is_over || s->series.is_over) {
        return err_set(err, ERR_LIMIT, "the reply is larger than %d bytes", WEB_REPLY_BYTES_MAX);
    }
    size_t len = s->response.len - start;
    for (size_t i = 0; i < 5; i++) {
        s->response.ptr[start - 5 + i] = (char)((len >> (7 * i) & 0x7f) | (i < 4 ? 0x80 : 0));
    }
    return true;
}

static void reply_sampled(struct web_request *request,
                          const struct read_request *read,
                          struct labels external) {
    struct sampled s = { .request = request, .external = external };
    buf_init(&s.response, WEB_REPLY_BYTES_MAX);
    buf_init(&s.series, WEB_REPLY_BYTES_MAX);
    arena_init(&s.scratch, WEB_REPLY_BYTES_MAX);
    struct err err = ERR_INIT;
    bool is_ok = true;
    for (size_t i = 0; is_ok && i < read->query_count; i++) {
        is_ok = put_query_result(&s, &read->queries[i], &err);
    }
    if (is_ok) {
        web_reply_text(request, 200, "%s", "");
        request->reply.content_type = "application/x-protobuf";
        snappy_block_encode(buf_as_str(&s.response), &request->reply.body);
        request->reply.is_precompressed = true;
        web_reply_header(request, "Content-Encoding", "snappy");
    } else {
        web_reply_error_text(request, &err);
    }
    tsdb_column_finish(&s.column);
    arena_finish(&s.scratch);
    buf_finish(&s.series);
    buf_finish(&s.response);
}

/* ---- streamed ---- */

/* Where a stream stands: query, series, sample. Lives until the reply has ended. */
struct streamed {
    struct web *web;
    struct web_request *request;
    struct read_request read;
    struct labels external;
    struct arena arena;   /* views of the present query */
    struct arena scratch; /* labels of the present frame */
    struct tsdb_querier *querier;
    int64_t querier_mono_ns; /* when it was opened */
    struct tsdb_series_view *views;
    size_t view_count;
    size_t query_index;
    size_t view_index;
    /* What the open querier has read of the present series, and the next sample of it. */
    bool has_column;
    size_t sample_index;
    struct tsdb_column column;
    /* After a querier was given back in mid-query: where to go on. Heap; count 0 = at its start. */
    struct labels resume_labels;
    int64_t resume_ms; /* first time of that series still to be sent */
    struct buf series; /* ChunkedSeries being built */
    struct buf chunk;
    struct buf message;
};

static void close_querier(struct streamed *s) {
    tsdb_querier_close(s->querier);
    s->querier = NULL;
    s->views = NULL;
    s->view_count = 0;
    s->view_index = 0;
    s->has_column = false;
    arena_reset(&s->arena);
}

static void forget_place(struct streamed *s) {
    mem_free(s->resume_labels.items);
    s->resume_labels = (struct labels){ 0 };
}

/*
 * An old snapshot keeps what the store would like to let go, and a slow client decides how long a
 * stream takes: give the querier back after a while and remember the place. Series are sorted by
 * labels, samples by time; what a later snapshot has more of in the range is new and goes along.
 */
static void give_back_old_querier(struct streamed *s) {
    int64_t age_ns = clock_mono_ns(s->web->clock) - s->querier_mono_ns;
    if (s->querier == NULL || s->view_index == s->view_count ||
        age_ns < (int64_t)QUERIER_AGE_MAX_S * 1000000000) {
        return;
    }
    forget_place(s);
    s->resume_labels = labels_dup_heap(s->views[s->view_index].labels);
    s->resume_ms = s->has_column && s->sample_index > 0 ? s->column.t_ms[s->sample_index]
                                                        : s->read.queries[s->query_index].start_ms;
    close_querier(s);
}

/* The first view that is not before the remembered place. */
static void find_place(struct streamed *s) {
    size_t low = 0;
    size_t high = s->view_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (labels_cmp(s->views[middle].labels, s->resume_labels) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    s->view_index = low;
    if (low == s->view_count || !labels_equal(s->views[low].labels, s->resume_labels)) {
        forget_place(s); /* that series is gone; the next one starts at its start */
    }
}

static bool open_querier(struct streamed *s, struct err *err) {
    const struct read_query *query = &s->read.queries[s->query_index];
    if (!tsdb_querier_open(s->web->opts.db, query->start_ms, query->end_ms, NULL, &s->querier,
                           err) ||
        !api_select_one(s->querier, query->matchers, query->matcher_count, &s->arena, &s->views,
                        &s->view_count, err)) {
        return false;
    }
    s->querier_mono_ns = clock_mono_ns(s->web->clock);
    if (s->resume_labels.count > 0) {
        find_place(s);
    }
    return true;
}

/* Open queries until one has series left; false with *ret_is_end at the end, or with err. */
static bool next_query(struct streamed *s, bool *ret_is_end, struct err *err) {
    while (s->querier == NULL || s->view_index == s->view_count) {
        if (s->querier != NULL) {
            close_querier(s);
            s->query_index++;
        }
        if (s->query_index == s->read.query_count) {
            *ret_is_end = true;
            return false;
        }
        if (!open_querier(s, err)) {
            return false;
        }
    }
    return true;
}

/* One Chunk message of up to XOR_CHUNK_SAMPLES samples. */
static void put_chunk(struct streamed *s) {
    size_t left = s->column.count - s->sample_index;
    size_t count = left < XOR_CHUNK_SAMPLES ? left : XOR_CHUNK_SAMPLES;
    const int64_t *t_ms = s->column.t_ms + s->sample_index;
    struct buf data;
    buf_init(&data, 1u << 16);
    xor_chunk_encode(t_ms, s->column.values + s->sample_index, count, &data);
    buf_reset(&s->chunk);
    pb_put_uint(&s->chunk, 1, (uint64_t)t_ms[0]);
    pb_put_uint(&s->chunk, 2, (uint64_t)t_ms[count - 1]);
    pb_put_uint(&s->chunk, 3, CHUNK_ENCODING_XOR);
    pb_put_bytes(&s->chunk, 4, buf_as_str(&data));
    pb_put_bytes(&s->series, 2, buf_as_str(&s->chunk));
    buf_finish(&data);
    s->sample_index += count;
}

/* uvarint length, big-endian CRC-32C, ChunkedReadResponse. */
static void put_frame(struct streamed *s, struct buf *out) {
    buf_reset(&s->message);
    pb_put_bytes(&s->message, 1, buf_as_str(&s->series));
    pb_put_uint(&s->message, 2, s->query_index);
    uint32_t crc = hash_crc32c(0, s->message.ptr, s->message.len);
    char crc_bytes[4] = { (char)(crc >> 24), (char)(crc >> 16), (char)(crc >> 8), (char)crc };
    pb_put_varint(out, s->message.len);
    buf_append(out, crc_bytes, sizeof(crc_bytes));
    buf_str(out, buf_as_str(&s->message));
}

static bool read_series(struct streamed *s, struct err *err) {
    const struct read_query *query = &s->read.queries[s->query_index];
    int64_t start_ms = s->resume_labels.count > 0 ? s->resume_ms : query->start_ms;
    forget_place(s);
    s->has_column =
        tsdb_read(s->querier, s->views[s->view_index].id, start_ms, query->end_ms, &s->column, err);
    s->sample_index = 0;
    return s->has_column;
}

/* The next frame of the present series; a series longer than a frame goes on in the next one. */
static bool stream_frame(struct streamed *s, struct buf *out, struct err *err) {
    const struct tsdb_series_view *view = &s->views[s->view_index];
    if (!s->has_column && !read_series(s, err)) {
        return false;
    }
    if (s->sample_index < s->column.count) {
        buf_reset(&s->series);
        arena_reset(&s->scratch);
        put_labels(&s->series, with_external(view->labels, s->external, &s->scratch));
        while (s->sample_index < s->column.count && s->series.len < FRAME_BYTES) {
            put_chunk(s);
        }
        put_frame(s, out);
    }
    if (s->sample_index == s->column.count) {
        s->has_column = false;
        s->view_index++;
    }
    return true;
}

static bool stream_more(void *ctx, struct buf *out, bool *ret_is_end, struct err *err) {
    struct streamed *s = ctx;
    *ret_is_end = false;
    give_back_old_querier(s);
    while (out->len < FRAME_BYTES) {
        if (s->request->is_canceled) {
            return err_set(err, ERR_CANCELED, "the client went away");
        }
        if (!next_query(s, ret_is_end, err)) {
            return *ret_is_end;
        }
        if (!stream_frame(s, out, err)) {
            return false;
        }
    }
    return true;
}

static void stream_finish(void *ctx) {
    struct streamed *s = ctx;
    tsdb_querier_close(s->querier);
    tsdb_column_finish(&s->column);
    forget_place(s);
    s->web->read_count--;
    buf_finish(&s->series);
    buf_finish(&s->chunk);
    buf_finish(&s->message);
    arena_finish(&s->arena);
    arena_finish(&s->scratch);
    request_finish(&s->read);
    mem_free(s->external.items);
    mem_free(s);
}

/* Takes what `read` holds, and the slot. The first block is made here, so that early errors have a
 * status. */
static void reply_streamed(struct web_request *request,
                           struct read_request *read,
                           struct labels external) {
    struct streamed *s = mem_calloc(1, sizeof(*s));
    s->web = request->web;
    s->request = request;
    s->read = *read;
    *read = (struct read_request){ 0 };
    s->external = labels_dup_heap(external);
    arena_init(&s->arena, STREAM_ARENA_BYTES);
    arena_init(&s->scratch, STREAM_ARENA_BYTES);
    buf_init(&s->series, 4 * FRAME_BYTES);
    buf_init(&s->chunk, FRAME_BYTES);
    buf_init(&s->message, 8 * FRAME_BYTES);
    struct err err = ERR_INIT;
    bool is_end = false;
    web_reply_text(request, 200, "%s", "");
    if (!stream_more(s, &request->reply.body, &is_end, &err)) {
        stream_finish(s);
        web_reply_error_text(request, &err);
        return;
    }
    request->reply.content_type =
        "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    request->reply.is_precompressed = true; /* clients refuse any Content-Encoding here */
    if (is_end) {
        stream_finish(s);
        return;
    }
    request->reply.stream = stream_more;
    request->reply.stream_finish = stream_finish;
    request->reply.stream_ctx = s;
}

/* True when the slot of this read now belongs to a stream. */
static bool read_remotely(struct web_request *request) {
    struct buf body;
    buf_init(&body, BODY_BYTES_MAX);
    struct err err = ERR_INIT;
    struct read_request read = { 0 };
    struct labels external = web_external_labels(request->web, &request->arena);
    bool is_streamed = false;
    if (!snappy_block_decode(buf_as_str(&request->body), &body, &err) ||
        !decode_request(buf_as_str(&body), external, &read, &err)) {
        err.code = ERR_INVALID;
        web_reply_error_text(request, &err);
    } else if (read.type == RESPONSE_STREAMED) {
        is_streamed = true;
        reply_streamed(request, &read, external);
    } else {
        reply_sampled(request, &read, external);
    }
    request_finish(&read);
    buf_finish(&body);
    return is_streamed;
}

void door_read(struct web_request *request) {
    struct web *web = request->web;
    if (web->read_count++ >= READS_MAX) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_UNAVAILABLE, "%d remote reads are running, try again", READS_MAX);
        web_reply_error_text(request, &err);
        web->read_count--;
    } else if (!read_remotely(request)) {
        web->read_count--;
    }
}
