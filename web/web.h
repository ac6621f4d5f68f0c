/*
 * The HTTP server: Prometheus' query API, remote read and write, the doors of ingest, federation,
 * health, the inbox. libmicrohttpd takes connections on a few threads that never block; everything
 * that may take long is suspended, run by a bounded pool of workers, and resumed with its reply.
 *
 * Guards     absolute deadlines for header and body, caps on header, URL, body and connections
 *            (total and per address), a least pace for bodies and replies, refusal of ambiguous
 *            requests (two Content-Length, CL with TE, two Host, NUL, bare LF …), security headers
 *            on every reply.
 * Threads    create/start/stop from one thread; setters from any.
 */
#pragma once

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "ingest/ingest.h"
#include "notify/notify.h"
#include "promql/promql.h"
#include "rules/rules.h"
#include "tsdb/tsdb.h"

struct web;

/* A name and a value to show under /api/v1/status/flags. */
struct web_flag {
    const char *name;
    const char *value;
};

/* What web asks of its owner; all may be NULL. Called on worker threads. */
struct web_hooks {
    /* POST /-/reload: load everything anew. False with what was wrong; the old set goes on. */
    bool (*reload)(void *ctx, struct err *err);
    /* GET /api/v1/status/config: the effective configuration as YAML, without secrets. */
    void (*config_text)(void *ctx, struct buf *out);
    /* GET /api/v1/status/runtimeinfo: outcome and time of the last reload. */
    void (*reload_status)(void *ctx, bool *ret_is_ok, int64_t *ret_at_ms);
    /* POST /api/v1/admin/tsdb/snapshot: copy the store to snapshots/<name> in the data directory.
     * Takes as long as the copy does. */
    bool (*snapshot)(void *ctx, bool skip_head, struct buf *ret_name, struct err *err);
    void *ctx;
};

struct web_options {
    const char *listen_address; /* HOST:PORT, [V6]:PORT; port 0 = any free one */
    const char *external_url;   /* NULL = derived from the address */
    const char *route_prefix;   /* NULL = path of external_url, else "" */
    const char *cors_origin;    /* anchored regex of allowed origins; NULL = none */
    bool enable_lifecycle;
    bool enable_admin_api;
    bool enable_remote_write;
    uint32_t connections_max; /* 0 = 512 */
    uint32_t worker_count;    /* queries at the same time; 0 = 4 */
    uint32_t queue_max;       /* waiting, per pool; 0 = 32 x worker_count; beyond: 503 */

    int64_t query_timeout_ms;   /* 0 = 2 min */
    int64_t query_lookback_ms;  /* 0 = 5 min */
    uint64_t query_samples_max; /* 0 = 50,000,000 */
    struct promql_features features;

    struct tsdb *db; /* this and the next ones outlive the server */
    struct ingest *ingest;
    struct rules *rules;
    struct notify *notify;
    struct metric_registry *metrics;
    struct log *log;
    const struct clock *clock;    /* NULL = clock_system() */
    int64_t start_ms;             /* when the process started, for uptime */
    const char *storage_path;     /* for status */
    int64_t retention_ms;         /* for status */
    const struct web_flag *flags; /* borrowed for the server's life */
    size_t flag_count;
    struct web_hooks hooks;
};

/* Bind and listen (requests wait until web_start). ERR_IO names address and cause, ERR_INVALID. */
WARN_UNUSED bool web_create(const struct web_options *options, struct web **ret, struct err *err);
/* Stops first. NULL ok. */
void web_destroy(struct web *web);

WARN_UNUSED bool web_start(struct web *web, struct err *err);
/* Take no new connection and no new request, let those under way end with the last byte of their
 * reply; after grace_ms cancel queries, wait for commits, cut the rest. Joins all threads. */
void web_stop(struct web *web, int64_t grace_ms);

/* "127.0.0.1:9090": where it really listens. Valid as long as the server. */
const char *web_address(const struct web *web);

/* Labels added to what leaves by federation and remote read. Copied. */
void web_set_external_labels(struct web *web, struct labels labels);
