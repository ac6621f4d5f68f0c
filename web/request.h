/*
 * Private to web/: one request from its first byte to its reply, and what a handler sees of it.
 *
 * Life    NEW ──header──▶ BODY ──all read──▶ [QUEUED ──finish──▶] DONE ──▶ replied [⇄ STREAM]
 *          └──refused──▶ DRAIN ──all read──────────────────────────▲
 *         A connection that waits for a worker, or for a commit, is suspended in libmicrohttpd;
 *         web_request_finish() is the only place that resumes it.
 * Owner   The request belongs to the connection; a worker or a commit holds it only while the
 *         connection is suspended, when libmicrohttpd cannot end it.
 */
#pragma once

#include <microhttpd.h>
#include <pthread.h>

#include "base/arena.h"
#include "base/json.h"
#include "web/web.h"

enum {
    WEB_URL_BYTES_MAX = 128 << 10,
    WEB_PARAMS_MAX = 10000,
    WEB_REPLY_BYTES_MAX = 1 << 30,
    WEB_REPLY_HEADERS_MAX = 8,
    WEB_HEADER_BYTES_MAX = 32 << 10,  /* without the target */
    WEB_DRAIN_BYTES_MAX = 64 << 20,   /* of a refused body; more of it closes the connection */
    WEB_BODIES_BYTES_MAX = 256 << 20, /* of all requests at the same time */
};

struct web_request;

struct web_param {
    struct str name;
    struct str value;
};

struct web_reply {
    int status; /* 0 until decided */
    const char *content_type;
    struct buf body;
    const char *headers[WEB_REPLY_HEADERS_MAX][2]; /* name, value; static or in the arena */
    size_t header_count;
    bool is_precompressed; /* body already has the Content-Encoding among the headers */
    /* Streaming, after `body`: fills out with more bytes; false with *ret_is_end = true at the
     * end, or with err when the stream must break off. Runs on workers. finish is always called. */
    bool (*stream)(void *ctx, struct buf *out, bool *ret_is_end, struct err *err);
    void (*stream_finish)(void *ctx);
    void *stream_ctx;
};

enum web_method {
    WEB_GET = 1,
    WEB_HEAD = 2,
    WEB_POST = 4,
    WEB_PUT = 8,
    WEB_DELETE = 16,
    WEB_OPTIONS = 32,
};

/* Where a handler runs. */
enum web_place {
    WEB_INLINE,  /* on libmicrohttpd's thread: must not block, allocate much or touch the disk */
    WEB_QUERY,   /* on a worker of the query pool: evaluation and bulk reads */
    WEB_SERVICE, /* on a worker of the service pool: everything that must not wait for queries */
    WEB_ASYNC, /* starts on a service worker; calls web_request_finish() itself, from any thread */
};

typedef void (*web_handler_fn)(struct web_request *request);

struct web_route {
    const char *path; /* "/api/v1/query"; a "{name}" segment matches anything but '/' */
    unsigned methods; /* enum web_method, or-ed; HEAD and OPTIONS are added by the router */
    enum web_place place;
    web_handler_fn handle;
    size_t body_bytes_max; /* 0 = no body */
    bool is_form;          /* parse an urlencoded body into params */
};

extern const struct web_route web_routes[];
extern const size_t web_route_count;

enum web_phase {
    WEB_PHASE_NEW,
    WEB_PHASE_BODY,
    WEB_PHASE_DRAIN,  /* the reply is decided; the rest of the body is read and dropped */
    WEB_PHASE_QUEUED, /* suspended: waits for a worker, runs, or waits for a commit */
    WEB_PHASE_STREAM, /* suspended: a worker makes the next block of the reply */
    WEB_PHASE_DONE,
};

struct web_request {
    struct web *web;
    struct MHD_Connection *connection;
    enum web_phase phase;
    const struct web_route *route;
    enum web_method method;
    struct arena arena;
    struct str path;       /* still encoded, without the route prefix */
    struct str path_value; /* of the route's "{name}" segment, decoded */
    struct web_param *params;
    size_t param_count;
    size_t param_cap;
    struct buf body;
    size_t body_bytes;    /* of `body`, as counted against WEB_BODIES_BYTES_MAX */
    size_t drained_bytes; /* of a refused body */
    struct web_reply reply;
    struct web_stream *stream; /* owned by the response */
    int64_t start_mono_ns;
    int fd;                   /* the connection's socket, to notice that the client went away */
    _Atomic bool is_canceled; /* client gone, or the server stops */
    struct web_request *next_running; /* guarded by web's running_mu */
    char *raw_url;
};

/* ---- what handlers use ---- */

/* First value of a parameter (form, then query string); empty str with ptr NULL when absent. */
struct str web_param(const struct web_request *request, const char *name);
/* Header value, empty when absent. */
struct str web_header(const struct web_request *request, const char *name);

void web_reply_header(struct web_request *request, const char *name, const char *value);

/* Plain text reply. */
PRINTF_LIKE(3, 4)
void web_reply_text(struct web_request *request, int status, const char *fmt, ...);

/* Prometheus' error envelope with the status of the code; Retry-After where it applies. */
void web_reply_error(struct web_request *request, const struct err *err);
/* Where upstream answers with another status than its error type has here. */
void web_reply_error_as(struct web_request *request,
                        int status,
                        const char *type,
                        const char *message);
/* The same as plain text, for doors whose clients expect that. */
void web_reply_error_text(struct web_request *request, const struct err *err);

/* {"status":"success","data": … } : open, write data with the writer, close. */
void web_json_open(struct web_request *request, struct json_writer *json);
void web_json_close(struct web_request *request, struct json_writer *json);

/* The only mapping from an error to HTTP. */
int web_status_of(enum err_code code);
const char *web_error_type(enum err_code code); /* "bad_data" … */

/* For WEB_ASYNC handlers: the reply is complete. Any thread, exactly once. */
void web_request_finish(struct web_request *request);

/* Deadline of a query by the `timeout` parameter, capped by the server's. */
WARN_UNUSED bool web_query_deadline(struct web_request *request,
                                    int64_t *ret_mono_ns,
                                    struct err *err);

/* ---- inside: request.c, reply.c, guard.c, params.c ---- */

/* Decode %XX and (in queries) '+' into the arena. False for a malformed escape or a NUL byte. */
WARN_UNUSED bool web_url_decode(struct arena *arena,
                                struct str text,
                                bool plus_is_space,
                                struct str *ret);
/* Add the pairs of a query string. */
WARN_UNUSED bool web_params_add(struct web_request *request, struct str text, struct err *err);
/* Add the pairs of a form, before those of the query string. */
WARN_UNUSED bool web_params_add_form(struct web_request *request, struct str text, struct err *err);

/* Take the raw target apart and find the route: sets path, params, route, method. False with a
 * reply (400, 404, 405, or the answer to OPTIONS). */
bool web_route_find(struct web_request *request, const char *method);

/* True when libmicrohttpd is the lenient one and strictness is ours. */
bool web_guard_is_ours(void);
/* Refuses what libmicrohttpd lets pass: CL with TE, two CL, two Host, odd TE, NUL, bare LF, folded
 * lines, long headers. `method`, `target` and `version` are the very pointers libmicrohttpd handed
 * out. False with a status and text in the reply, after which the connection must close. */
bool web_guard_headers(struct web_request *request,
                       const char *method,
                       const char *target,
                       const char *version);

enum web_enqueued {
    WEB_ENQUEUED, /* suspended; the request belongs to a worker */
    WEB_QUEUE_FULL,
    WEB_STOPPING,
};

/* Suspend the connection and give the request to the workers; otherwise nothing has changed. */
WARN_UNUSED enum web_enqueued web_request_enqueue(struct web_request *request,
                                                  enum web_phase phase);
/* On a worker: the next block of a streamed reply. */
void web_stream_refill(struct web_request *request);

/* Compress the reply if it is worth it and the client takes it. Where the handler ran: this takes
 * its time. */
void web_reply_pack(struct web_request *request);
/* Hand the finished reply to libmicrohttpd. */
enum MHD_Result web_reply_queue(struct web_request *request);
