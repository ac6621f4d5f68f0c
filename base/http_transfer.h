/* Private to base/http*.c: one transfer from submission to completion. */
#pragma once

#include <curl/curl.h>

#include "base/http.h"

struct http_transfer {
    struct http_transfer *next; /* in the list of submitted, then of active transfers */
    struct http_transfer *prev;
    http_done_fn done;
    void *ctx;

    CURL *easy;
    struct curl_slist *headers;
    struct curl_slist *recipients;
    struct curl_slist *connect_to;
    char curl_error[CURL_ERROR_SIZE];
    bool is_mail;
    bool is_following; /* redirects */
    char *mail_body;   /* with CRLF line ends */
    size_t mail_bytes;
    size_t mail_bytes_read;

    /* owned by the client's thread once submitted */
    struct buf body;  /* of the reply; mail: the server's last reply line */
    struct err fault; /* why a callback stopped the transfer; ERR_NONE = it did not */
    size_t header_bytes;
    bool was_sent;
    int64_t retry_after_ms; /* -1 = absent */
};

/* A transfer ready to run, everything copied. False for an invalid request. http_request.c. */
WARN_UNUSED bool http_transfer_create(const char *user_agent,
                                      const struct http_request *request,
                                      struct http_transfer **ret,
                                      struct err *err);
void http_transfer_destroy(struct http_transfer *transfer); /* NULL ok */

/* libcurl's callbacks; ctx is the transfer. http_reply.c. */
size_t http_on_body(char *bytes, size_t size, size_t count, void *ctx);
size_t http_on_header(char *bytes, size_t size, size_t count, void *ctx);
int http_on_connected(void *ctx, char *peer_ip, char *own_ip, int peer_port, int own_port);

/* Fill the response of a transfer that ended with `code`; it borrows from the transfer. */
void http_transfer_result(struct http_transfer *transfer, CURLcode code, struct http_response *ret);

bool http_url_has_scheme(CURLU *url, const char *scheme);

/* True if the text is free of CR, LF, NUL and other control characters. */
bool http_is_clean(const char *text);

/* The mail part of a request: envelope, body, STARTTLS. http_mail.c. */
WARN_UNUSED bool http_mail_prepare(struct http_transfer *transfer,
                                   const struct http_request *request,
                                   CURLU *url,
                                   struct err *err);

/* A reply line of the mail server has arrived. */
void http_mail_reply(struct http_transfer *transfer, struct str line);

/* True if the mail server's final word was `code`'s cause (as opposed to a broken connection). */
bool http_mail_is_reply(CURLcode code, long status);
