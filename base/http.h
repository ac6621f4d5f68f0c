/*
 * Outgoing transfers: HTTP(S) requests and SMTP(S) mail through one curl multi handle on one
 * thread. Used by the scraper and the notifier (one client each).
 *
 * Threads    submit from any thread; completions run on the client's thread: hand the result on,
 *            never block there.
 * Limits     response bytes and total time per transfer; no redirects unless asked (then same host
 *            only, never out of TLS); only http, https, smtp, smtps; HTTP/1.1; no proxy from the
 *            environment.
 * Once       only GET and HEAD reuse connections; anything else goes over a fresh one, so that
 *            libcurl never repeats it by itself.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct http_client;

struct http_tls {
    const char *ca_file; /* NULL = system store */
    const char *cert_file;
    const char *key_file;
    const char *server_name;
    bool insecure_skip_verify;
};

/* A transfer to run; every pointer is borrowed for http_submit() only (copied). */
struct http_request {
    const char *method; /* NULL = GET */
    const char *url;
    const char *const *headers; /* "Name: value", NULL-terminated; refuse CR/LF. May be NULL */
    struct str body;
    const char *username; /* basic auth, or SMTP AUTH; NULL = none */
    const char *password;
    const char *bearer_token;
    struct http_tls tls;
    int64_t timeout_ms;        /* whole transfer, > 0 */
    size_t response_bytes_max; /* decoded */
    bool follow_redirects;
    bool accept_gzip;

    /* mail: url is smtp://host:port or smtps://…, body is the RFC 5322 message */
    const char *mail_from;              /* NULL = not mail; refuse CR/LF/angle brackets */
    const char *const *mail_recipients; /* NULL-terminated */
    bool mail_require_tls;              /* STARTTLS or fail; never falls back to clear */
    const char *mail_hello;             /* EHLO name, NULL = host name */
};

struct http_response {
    bool is_ok; /* a complete reply was read, of any status; mail: the server's final word, 4xx and
                   5xx to any command included */
    struct err err;  /* why not; ERR_LIMIT for response_bytes_max, ERR_TIMEOUT */
    bool was_sent;   /* the request may have reached the peer (ambiguous when !is_ok) */
    int status;      /* HTTP status or SMTP code */
    struct str body; /* valid during the callback; mail: the server's last reply line */
    struct str content_type;
    int64_t retry_after_ms; /* -1 = absent; seconds or HTTP date resolved against wall time */
    double duration_s;
    char effective_ip[64];
};

typedef void (*http_done_fn)(void *ctx, const struct http_response *response);

WARN_UNUSED bool http_client_create(const char *user_agent,
                                    struct http_client **ret,
                                    struct err *err);
/* Cancels what is in flight (callbacks get ERR_CANCELED), joins the thread. NULL ok. */
void http_client_destroy(struct http_client *client);

/* False (nothing will be called back) for an invalid request: bad URL, CR/LF in a header. */
WARN_UNUSED bool http_submit(struct http_client *client,
                             const struct http_request *request,
                             http_done_fn done,
                             void *ctx,
                             struct err *err);
/* The same, waiting for the end. ret_body receives the body; response->body is empty. */
WARN_UNUSED bool http_perform_blocking(struct http_client *client,
                                       const struct http_request *request,
                                       struct http_response *ret_response,
                                       struct buf *ret_body,
                                       struct err *err);
