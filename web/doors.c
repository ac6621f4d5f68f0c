/* What comes in by push: events, remote write, text. A reply waits for its commit. */
#include "base/mem.h"
#include "web/handlers.h"
#include "web/server.h"

static struct ingest_body body_of(struct web_request *request) {
    return (struct ingest_body){
        .bytes = buf_as_str(&request->body),
        .encoding = web_header(request, "Content-Encoding"),
        .content_type = web_header(request, "Content-Type"),
        .idempotency_key = web_header(request, "Idempotency-Key"),
    };
}

/* A body over a cap is 413; the other codes have one status everywhere. The request is suspended
 * while a body is ingested: `done` may run on this thread or another, and ends our hold on it. */
static int status_of(const struct err *err) {
    return err->code == ERR_LIMIT ? 413 : web_status_of(err->code);
}

/* ---- events ---- */

static void events_done(void *ctx, const struct ingest_result *result) {
    struct web_request *request = ctx;
    if (result->err.code == ERR_NONE) {
        web_reply_text(request, 202, "%s", "");
    } else {
        web_reply_error_text(request, &result->err); /* with Retry-After where it applies */
        request->reply.status = status_of(&result->err);
        buf_reset(&request->reply.body);
    }
    request->reply.content_type = "application/json";
    ingest_result_to_json(result, &request->reply.body);
    web_request_finish(request);
}

void door_events(struct web_request *request) {
    struct ingest_body body = body_of(request);
    ingest_events(request->web->opts.ingest, &body, events_done, request);
}

/* ---- samples ---- */

static void samples_done(void *ctx, const struct ingest_result *result) {
    struct web_request *request = ctx;
    if (result->err.code == ERR_NONE) {
        web_reply_text(request, 204, "%s", "");
        request->reply.content_type = NULL;
    } else {
        web_reply_error_text(request, &result->err);
        request->reply.status = status_of(&result->err);
        for (size_t i = 0; i < result->rejection_count && i < 10; i++) {
            buf_str(&request->reply.body, result->rejections[i].reason);
            buf_putc(&request->reply.body, '\n');
        }
    }
    web_request_finish(request);
}

void door_write(struct web_request *request) {
    struct err err = ERR_INIT;
    struct ingest_body body = body_of(request);
    if (!request->web->opts.enable_remote_write) {
        web_reply_text(request, 404,
                       "remote write is switched off (--web.enable-remote-write-receiver)\n");
        web_request_finish(request);
    } else if (!ingest_write_is_supported(body.content_type, body.encoding, &err)) {
        web_reply_text(request, 415, "%s\n", err.msg);
        web_request_finish(request);
    } else {
        ingest_write(request->web->opts.ingest, &body, samples_done, request);
    }
}

void door_import(struct web_request *request) {
    struct ingest_body body = body_of(request);
    ingest_import(request->web->opts.ingest, &body, samples_done, request);
}
