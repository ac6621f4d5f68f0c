/* Receiving the reply of a transfer: its size caps, its header fields, and what came of it. */
#include "base/clock.h"
#include "base/http_transfer.h"
#include "base/mem.h"

enum {
    HEADER_BYTES_MAX = 64 << 10,
};

#define RETRY_AFTER_S_MAX ((uint64_t)366 * 24 * 3600)

size_t http_on_body(char *bytes, size_t size, size_t count, void *ctx) {
    struct http_transfer *transfer = ctx;
    size_t len = size * count;
    buf_append(&transfer->body, bytes, len);
    if (transfer->body.is_over) {
        err_set(&transfer->fault, ERR_LIMIT, "the reply is larger than %zu bytes",
                transfer->body.bytes_max);
        return 0;
    }
    return len;
}

/* Seconds, or a date. -1 when it is neither. */
static int64_t parse_retry_after(struct str value) {
    uint64_t seconds = 0;
    if (str_parse_u64(value, &seconds)) {
        return (int64_t)(seconds < RETRY_AFTER_S_MAX ? seconds : RETRY_AFTER_S_MAX) * 1000;
    }
    char text[64];
    if (value.len >= sizeof(text)) {
        return -1;
    }
    memcpy(text, value.ptr, value.len);
    text[value.len] = '\0';
    time_t date = curl_getdate(text, NULL);
    if (date == -1) {
        return -1;
    }
    int64_t wait_ms = (int64_t)date * 1000 - clock_wall_ms(clock_system());
    int64_t max_ms = (int64_t)RETRY_AFTER_S_MAX * 1000;
    return wait_ms < 0 ? 0 : wait_ms < max_ms ? wait_ms : max_ms;
}

static bool parts_equal(CURLU *a, CURLU *b, CURLUPart part) {
    char *left = NULL;
    char *right = NULL;
    bool is_equal = curl_url_get(a, part, &left, 0) == CURLUE_OK &&
                    curl_url_get(b, part, &right, 0) == CURLUE_OK &&
                    str_eq_nocase(str_from(left), str_from(right));
    curl_free(left);
    curl_free(right);
    return is_equal;
}

/* A redirect may lead elsewhere on the same host, never to another one or out of TLS: headers and
 * credentials go with it. */
static bool is_redirect_allowed(const char *from, const char *location) {
    CURLU *base = curl_url();
    CURLU *target = curl_url();
    bool is_allowed = curl_url_set(base, CURLUPART_URL, from, 0) == CURLUE_OK &&
                      curl_url_set(target, CURLUPART_URL, from, 0) == CURLUE_OK &&
                      curl_url_set(target, CURLUPART_URL, location, 0) == CURLUE_OK &&
                      parts_equal(base, target, CURLUPART_HOST) &&
                      (!http_url_has_scheme(base, "https") || http_url_has_scheme(target, "https"));
    curl_url_cleanup(base);
    curl_url_cleanup(target);
    return is_allowed;
}

static bool check_location(struct http_transfer *transfer, struct str value) {
    const char *from = NULL;
    long status = 0;
    if (curl_easy_getinfo(transfer->easy, CURLINFO_EFFECTIVE_URL, &from) != CURLE_OK ||
        curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK ||
        from == NULL || status / 100 != 3) {
        return true;
    }
    char *location = mem_strndup(value.ptr, value.len);
    bool is_allowed = is_redirect_allowed(from, location);
    mem_free(location);
    return is_allowed ? true
                      : err_set(&transfer->fault, ERR_EXEC,
                                "the server redirects to another host, which is not followed");
}

size_t http_on_header(char *bytes, size_t size, size_t count, void *ctx) {
    struct http_transfer *transfer = ctx;
    struct str line = str_n(bytes, size * count);
    transfer->header_bytes += line.len;
    if (transfer->header_bytes > HEADER_BYTES_MAX) {
        err_set(&transfer->fault, ERR_LIMIT, "the reply's header is larger than %d bytes",
                HEADER_BYTES_MAX);
        return 0;
    }
    if (transfer->is_mail) {
        http_mail_reply(transfer, line);
        return line.len;
    }
    if (str_starts_with(line, STR("HTTP/"))) {
        transfer->retry_after_ms = -1; /* a redirect's header does not speak for the final reply */
        return line.len;
    }
    struct str name;
    struct str value;
    if (!str_cut(line, ':', &name, &value)) {
        return line.len;
    }
    if (str_eq_nocase(name, STR("retry-after"))) {
        transfer->retry_after_ms = parse_retry_after(str_trim(value));
    } else if (transfer->is_following && str_eq_nocase(name, STR("location"))) {
        return check_location(transfer, str_trim(value)) ? line.len : 0;
    }
    return line.len;
}

/* Called when the connection stands and the request is about to be written. */
int http_on_connected(void *ctx, char *peer_ip, char *own_ip, int peer_port, int own_port) {
    struct http_transfer *transfer = ctx;
    (void)peer_ip;
    (void)own_ip;
    (void)peer_port;
    (void)own_port;
    transfer->was_sent = !transfer->is_mail;
    return CURL_PREREQFUNC_OK;
}

/* ---- result ---- */

static enum err_code error_code(CURLcode code) {
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT: return ERR_TIMEOUT;
    case CURLE_TOO_MANY_REDIRECTS: return ERR_LIMIT;
    default: return ERR_IO;
    }
}

static void describe_failure(struct http_transfer *transfer, CURLcode code, struct err *err) {
    if (transfer->fault.code != ERR_NONE) {
        *err = transfer->fault;
    } else if (code == CURLE_USE_SSL_FAILED) {
        err_set(err, ERR_IO, "the mail server does not offer STARTTLS, which is required");
    } else if (transfer->curl_error[0] != '\0') {
        err_set(err, error_code(code), "%s", transfer->curl_error);
    } else {
        err_set(err, error_code(code), "%s", curl_easy_strerror(code));
    }
}

void http_transfer_result(struct http_transfer *transfer,
                          CURLcode code,
                          struct http_response *ret) {
    *ret = (struct http_response){
        .err = ERR_INIT,
        .body = buf_as_str(&transfer->body),
        .content_type = STR(""),
        .was_sent = transfer->was_sent,
        .retry_after_ms = transfer->retry_after_ms,
    };
    CURL *easy = transfer->easy;
    long status = 0;
    const char *ip = NULL;
    const char *content_type = NULL;
    curl_off_t total_us = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &ip);
    (void)curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &content_type);
    (void)curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total_us);
    ret->status = (int)status;
    ret->duration_s = (double)total_us / 1e6;
    if (content_type != NULL) {
        ret->content_type = str_from(content_type);
    }
    if (ip != NULL && strlen(ip) < sizeof(ret->effective_ip)) {
        memcpy(ret->effective_ip, ip, strlen(ip) + 1);
    }
    ret->is_ok = transfer->is_mail ? http_mail_is_reply(code, status) : code == CURLE_OK;
    if (!ret->is_ok) {
        describe_failure(transfer, code, &ret->err);
        ret->body = STR("");
    }
}
