/* Replies: the error envelope, JSON, security headers, compression, streaming. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/compress.h"
#include "base/mem.h"
#include "web/server.h"

enum {
    GZIP_BYTES_MIN = 1400, /* below one packet compression gains nothing */
    STREAM_BLOCK_BYTES = 64 << 10,
};

static const struct {
    int status;
    const char *type;
} error_table[] = {
    [ERR_NONE] = { 500, "internal" },           [ERR_INVALID] = { 400, "bad_data" },
    [ERR_LIMIT] = { 422, "execution" },         [ERR_EXEC] = { 422, "execution" },
    [ERR_NOT_FOUND] = { 404, "not_found" },     [ERR_TIMEOUT] = { 503, "timeout" },
    [ERR_UNAVAILABLE] = { 503, "unavailable" }, [ERR_THROTTLED] = { 429, "unavailable" },
    [ERR_NO_SPACE] = { 507, "unavailable" },    [ERR_CANCELED] = { 499, "canceled" },
    [ERR_CORRUPT] = { 500, "internal" },        [ERR_IO] = { 500, "internal" },
    [ERR_INTERNAL] = { 500, "internal" },
};

static_assert(ARRAY_LEN(error_table) == ERR_COUNT, "every code has its status");

int web_status_of(enum err_code code) {
    return error_table[code].status;
}

const char *web_error_type(enum err_code code) {
    return error_table[code].type;
}

void web_reply_header(struct web_request *request, const char *name, const char *value) {
    struct web_reply *reply = &request->reply;
    assert(reply->header_count < WEB_REPLY_HEADERS_MAX);
    reply->headers[reply->header_count][0] = name;
    reply->headers[reply->header_count][1] = value;
    reply->header_count++;
}

static void start_reply(struct web_request *request, int status, const char *content_type) {
    buf_reset(&request->reply.body);
    request->reply.status = status;
    request->reply.content_type = content_type;
}

void web_reply_text(struct web_request *request, int status, const char *fmt, ...) {
    start_reply(request, status, "text/plain; charset=utf-8");
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    size_t kept = (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;
    buf_append(&request->reply.body, text, kept);
}

static void add_retry_after(struct web_request *request, int status) {
    if (status == 429 || status == 503 || status == 507) {
        web_reply_header(request, "Retry-After", status == 507 ? "10" : "1");
    }
}

void web_reply_error_as(struct web_request *request,
                        int status,
                        const char *type,
                        const char *message) {
    start_reply(request, status, "application/json");
    struct json_writer json;
    json_init(&json, &request->reply.body);
    json_object(&json);
    json_key(&json, "status");
    json_cstr(&json, "error");
    json_key(&json, "errorType");
    json_cstr(&json, type);
    json_key(&json, "error");
    json_cstr(&json, message);
    json_object_end(&json);
}

void web_reply_error(struct web_request *request, const struct err *err) {
    int status = web_status_of(err->code);
    web_reply_error_as(request, status, web_error_type(err->code), err->msg);
    add_retry_after(request, status);
}

void web_reply_error_text(struct web_request *request, const struct err *err) {
    int status = web_status_of(err->code);
    web_reply_text(request, status, "%s\n", err->msg);
    add_retry_after(request, status);
}

void web_json_open(struct web_request *request, struct json_writer *json) {
    start_reply(request, 200, "application/json");
    json_init(json, &request->reply.body);
    json_object(json);
    json_key(json, "status");
    json_cstr(json, "success");
    json_key(json, "data");
}

void web_json_close(struct web_request *request, struct json_writer *json) {
    json_object_end(json);
    if (request->reply.body.is_over) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_LIMIT, "the reply is larger than %d bytes", WEB_REPLY_BYTES_MAX);
        web_reply_error(request, &err);
    }
}

/* ---- towards libmicrohttpd ---- */

/* What a stream holds between two reads; freed by libmicrohttpd's callback. */
struct web_stream {
    struct web_request *request;
    struct web_reply reply; /* moved out of the request */
    size_t sent;
    bool is_end;
    bool is_broken;
};

void web_stream_refill(struct web_request *request) {
    struct web_stream *stream = request->stream;
    struct err err = ERR_INIT;
    buf_reset(&stream->reply.body);
    stream->sent = 0;
    if (!stream->reply.stream(stream->reply.stream_ctx, &stream->reply.body, &stream->is_end,
                              &err)) {
        stream->is_broken = true;
        buf_reset(&stream->reply.body); /* whole blocks only */
    }
}

/*
 * Runs on libmicrohttpd's thread. The next block is made by a worker when the last one is on its
 * way, so memory stays at one block whatever the length of the stream, and nothing blocks here.
 */
static ssize_t read_stream(void *ctx, uint64_t pos, char *out, size_t max) {
    (void)pos;
    struct web_stream *stream = ctx;
    struct buf *body = &stream->reply.body;
    if (stream->sent == body->len) {
        if (stream->is_broken) {
            return MHD_CONTENT_READER_END_WITH_ERROR; /* the client sees a broken transfer */
        }
        if (stream->is_end) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        /* From here to the resume the stream is the worker's. */
        bool is_enqueued = web_request_enqueue(stream->request, WEB_PHASE_STREAM) == WEB_ENQUEUED;
        return is_enqueued ? 0 : MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (stream->sent == 0) {
        web_connection_enter(stream->request, WEB_CONNECTION_SENDING);
    }
    size_t len = body->len - stream->sent < max ? body->len - stream->sent : max;
    memcpy(out, body->ptr + stream->sent, len);
    stream->sent += len;
    return (ssize_t)len;
}

static void free_stream(void *ctx) {
    struct web_stream *stream = ctx;
    stream->reply.stream_finish(stream->reply.stream_ctx);
    buf_finish(&stream->reply.body);
    mem_free(stream);
}

static struct MHD_Response *make_stream(struct web_request *request) {
    struct web_stream *stream = mem_calloc(1, sizeof(*stream));
    stream->request = request;
    stream->reply = request->reply;
    request->stream = stream;
    request->reply.body = (struct buf){ 0 };
    request->reply.stream = NULL;
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, stream, free_stream);
    if (response == NULL) {
        free_stream(stream);
    }
    return response;
}

/* "gzip" or "*" among the codings, without q=0. */
static bool takes_gzip(struct str accepted) {
    bool has_more = accepted.len > 0;
    while (has_more) {
        struct str item;
        struct str coding;
        struct str weight;
        double q = 1;
        has_more = str_cut(accepted, ',', &item, &accepted);
        str_cut(item, ';', &coding, &weight);
        coding = str_trim(coding);
        weight = str_trim(weight);
        if (str_starts_with(weight, STR("q=")) &&
            !str_parse_f64(str_n(weight.ptr + 2, weight.len - 2), &q)) {
            q = 0;
        }
        if (str_eq_nocase(coding, STR("gzip")) || str_eq_c(coding, "*")) {
            return q > 0;
        }
    }
    return false;
}

void web_reply_pack(struct web_request *request) {
    struct web_reply *reply = &request->reply;
    if (reply->is_precompressed || reply->stream != NULL || reply->body.len < GZIP_BYTES_MIN ||
        !takes_gzip(web_header(request, "Accept-Encoding"))) {
        return;
    }
    struct buf packed;
    buf_init(&packed, WEB_REPLY_BYTES_MAX);
    gzip_encode(buf_as_str(&reply->body), &packed);
    if (packed.is_over) {
        buf_finish(&packed);
        return;
    }
    buf_finish(&reply->body);
    reply->body = packed;
    web_reply_header(request, "Content-Encoding", "gzip");
}

static void add_cors(const struct web_request *request, struct MHD_Response *response) {
    struct str origin = web_header(request, "Origin");
    MHD_add_response_header(response, "Vary", "Accept-Encoding, Origin");
    if (origin.len == 0 || request->web->cors == NULL ||
        !regex_matches(request->web->cors, origin)) {
        return;
    }
    MHD_add_response_header(response, "Access-Control-Allow-Origin", origin.ptr);
    MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    MHD_add_response_header(response, "Access-Control-Allow-Headers",
                            "Accept, Authorization, Content-Type, Origin");
    MHD_add_response_header(response, "Access-Control-Expose-Headers", "Date");
}

static void add_headers(const struct web_request *request, struct MHD_Response *response) {
    static const char *const security[][2] = {
        { "X-Content-Type-Options", "nosniff" },
        { "X-Frame-Options", "DENY" },
        { "X-XSS-Protection", "1; mode=block" },
        { "Referrer-Policy", "no-referrer" },
        { "Content-Security-Policy",
          "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
          "frame-ancestors 'none'; base-uri 'none'" },
        { "Cache-Control", "no-store" },
    };
    for (size_t i = 0; i < ARRAY_LEN(security); i++) {
        MHD_add_response_header(response, security[i][0], security[i][1]);
    }
    const struct web_reply *reply = &request->reply;
    if (reply->content_type != NULL) {
        MHD_add_response_header(response, "Content-Type", reply->content_type);
    }
    for (size_t i = 0; i < reply->header_count; i++) {
        MHD_add_response_header(response, reply->headers[i][0], reply->headers[i][1]);
    }
    add_cors(request, response);
}

enum MHD_Result web_reply_queue(struct web_request *request) {
    struct web_reply *reply = &request->reply;
    if (reply->status == 0) {
        BUG("%.*s left no reply", STR_FMT(request->path));
    }
    struct MHD_Response *response;
    if (reply->stream != NULL) {
        response = make_stream(request);
    } else {
        size_t len = 0;
        char *body = buf_take(&reply->body, &len);
        response = MHD_create_response_from_buffer_with_free_callback(len, body, mem_free);
        if (response == NULL) {
            mem_free(body);
        }
    }
    if (response == NULL) {
        return MHD_NO;
    }
    add_headers(request, response);
    if (request->web->is_stopping) {
        MHD_add_response_header(response, "Connection", "close");
    }
    web_connection_enter(request, WEB_CONNECTION_SENDING);
    enum MHD_Result result =
        MHD_queue_response(request->connection, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    return result;
}
