/*
 * One request as a libcurl easy handle: checking what the caller gave, setting options, receiving
 * the reply, and telling the result.
 */
#include <assert.h>

#include "base/clock.h"
#include "base/http_transfer.h"
#include "base/mem.h"

enum {
    REDIRECTS_MAX = 5,
    URL_BYTES_MAX = 8192,
};

bool http_is_clean(const char *text) {
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            return false;
        }
    }
    return true;
}

bool http_url_has_scheme(CURLU *url, const char *scheme) {
    char *text = NULL;
    bool is_equal =
        curl_url_get(url, CURLUPART_SCHEME, &text, 0) == CURLUE_OK && strcmp(text, scheme) == 0;
    curl_free(text);
    return is_equal;
}

static bool is_token_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool add_header(struct http_transfer *transfer, const char *header, struct err *err) {
    const char *colon = strchr(header, ':');
    bool is_valid = colon != NULL && colon != header && http_is_clean(header);
    for (const char *c = header; is_valid && c < colon; c++) {
        is_valid = is_token_char(*c);
    }
    if (!is_valid) {
        return err_set(err, ERR_INVALID, "not a valid header line \"Name: value\"");
    }
    if (str_trim(str_from(colon + 1)).len > 0) {
        transfer->headers = curl_slist_append(transfer->headers, header);
        return true;
    }
    /* libcurl reads "Name:" as "do not send this"; it spells an empty header "Name;" */
    char *empty = mem_strndup(header, (size_t)(colon - header) + 1);
    empty[colon - header] = ';';
    transfer->headers = curl_slist_append(transfer->headers, empty);
    mem_free(empty);
    return true;
}

static bool has_header(const struct http_request *request, const char *name) {
    size_t len = strlen(name);
    for (const char *const *h = request->headers; h != NULL && *h != NULL; h++) {
        struct str start = str_n(*h, strnlen(*h, len));
        if (str_eq_nocase(start, str_n(name, len)) && (*h)[len] == ':') {
            return true;
        }
    }
    return false;
}

static bool prepare_headers(struct http_transfer *transfer,
                            const struct http_request *request,
                            struct err *err) {
    for (const char *const *h = request->headers; h != NULL && *h != NULL; h++) {
        if (!add_header(transfer, *h, err)) {
            return false;
        }
    }
    /* Take back what libcurl adds to requests with a body by itself. */
    transfer->headers = curl_slist_append(transfer->headers, "Expect:");
    if (!has_header(request, "Content-Type")) {
        transfer->headers = curl_slist_append(transfer->headers, "Content-Type:");
    }
    return true;
}

static bool is_method(const char *method) {
    for (const char *c = method; *c != '\0'; c++) {
        if (!is_token_char(*c)) {
            return false;
        }
    }
    return method[0] != '\0';
}

static int set_method(CURL *easy, const char *method, struct str body) {
    if (strcmp(method, "GET") == 0 && body.len == 0) {
        return (int)curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    if (strcmp(method, "HEAD") == 0) {
        return (int)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    int failed = 0;
    if (body.len > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
        strcmp(method, "PATCH") == 0) {
        failed |= (int)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
        failed |=
            (int)curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body.ptr == NULL ? "" : body.ptr);
    }
    if (strcmp(method, "POST") != 0) {
        failed |= (int)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    }
    return failed;
}

static bool prepare_http(struct http_transfer *transfer,
                         const struct http_request *request,
                         struct err *err) {
    const char *method = request->method == NULL ? "GET" : request->method;
    if (!is_method(method)) {
        return err_set(err, ERR_INVALID, "not a valid HTTP method");
    }
    if (request->bearer_token != NULL && !http_is_clean(request->bearer_token)) {
        return err_set(err, ERR_INVALID, "the bearer token holds a line break");
    }
    if (!prepare_headers(transfer, request, err)) {
        return false;
    }
    CURL *easy = transfer->easy;
    bool is_repeatable = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    transfer->is_following = request->follow_redirects;
    buf_init(&transfer->body, request->response_bytes_max);
    int failed = set_method(easy, method, request->body);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    failed |= (int)curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    failed |= (int)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    failed |=
        (int)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, request->follow_redirects ? 1L : 0L);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, http_on_body);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    if (request->accept_gzip) {
        failed |= (int)curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    }
    if (request->bearer_token != NULL) {
        failed |= (int)curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        failed |= (int)curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, request->bearer_token);
    } else {
        failed |= (int)curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    }
    if (!is_repeatable) {
        /* On a reused connection that turns out dead libcurl sends a request again by itself; one
         * with effects must go out once. */
        failed |= (int)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
        failed |= (int)curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    }
    return failed == 0 ? true : err_set(err, ERR_INTERNAL, "libcurl refuses the HTTP options");
}

static int set_tls(CURL *easy, const struct http_tls *tls) {
    int failed = (int)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (tls->ca_file != NULL) { /* instead of the system's store, not besides it */
        failed |= (int)curl_easy_setopt(easy, CURLOPT_CAINFO, tls->ca_file);
        failed |= (int)curl_easy_setopt(easy, CURLOPT_CAPATH, (char *)NULL);
    }
    if (tls->cert_file != NULL) {
        failed |= (int)curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->cert_file);
    }
    if (tls->key_file != NULL) {
        failed |= (int)curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->key_file);
    }
    if (tls->insecure_skip_verify) {
        failed |= (int)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        failed |= (int)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    return failed;
}

/* ---- life ---- */

/* Verify the certificate for another name than the one connected to: ask for that name and send
 * the connection to the real host. */
static bool set_server_name(struct http_transfer *transfer,
                            const struct http_request *request,
                            CURLU *url,
                            struct err *err) {
    const char *name = request->tls.server_name;
    if (name == NULL || http_url_has_scheme(url, "http")) {
        return true;
    }
    char *host = NULL;
    char *port = NULL;
    bool ok = curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
              curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
              curl_url_set(url, CURLUPART_HOST, name, 0) == CURLUE_OK;
    if (ok) {
        struct buf line;
        buf_init(&line, URL_BYTES_MAX);
        buf_printf(&line, "::%s:%s", host, port);
        transfer->connect_to = curl_slist_append(transfer->connect_to, buf_as_str(&line).ptr);
        buf_reset(&line);
        buf_printf(&line, "Host: %s:%s", host, port);
        if (request->mail_from == NULL && !has_header(request, "Host")) {
            transfer->headers = curl_slist_append(transfer->headers, buf_as_str(&line).ptr);
        }
        buf_finish(&line);
        ok = curl_easy_setopt(transfer->easy, CURLOPT_CONNECT_TO, transfer->connect_to) == CURLE_OK;
    }
    curl_free(host);
    curl_free(port);
    return ok ? true : err_set(err, ERR_INVALID, "server_name is not a valid host name");
}

static bool parse_url(const struct http_request *request, CURLU *url, struct err *err) {
    const char *text = request->url;
    bool is_mail = request->mail_from != NULL;
    if (text == NULL || strnlen(text, URL_BYTES_MAX) == URL_BYTES_MAX || !http_is_clean(text) ||
        curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK) {
        return err_set(err, ERR_INVALID, "not a valid URL");
    }
    bool is_allowed = is_mail
                          ? http_url_has_scheme(url, "smtp") || http_url_has_scheme(url, "smtps")
                          : http_url_has_scheme(url, "http") || http_url_has_scheme(url, "https");
    if (!is_allowed) {
        return err_set(err, ERR_INVALID,
                       is_mail ? "the URL must start with smtp:// or smtps://"
                               : "the URL must start with http:// or https://");
    }
    return true;
}

static bool prepare_common(struct http_transfer *transfer,
                           const char *user_agent,
                           const struct http_request *request,
                           struct err *err) {
    CURL *easy = transfer->easy;
    long response_timeout_s = (long)(request->timeout_ms / 1000 + 1);
    int failed = set_tls(easy, &request->tls);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->curl_error);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* A look-up that hangs is left behind; waiting for it would stop every other transfer. */
    failed |= (int)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_PROXY, "");
    failed |= (int)curl_easy_setopt(easy, CURLOPT_USERAGENT, user_agent);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->timeout_ms);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_SERVER_RESPONSE_TIMEOUT, response_timeout_s);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, http_on_header);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, http_on_connected);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
    if (request->username != NULL) {
        const char *password = request->password == NULL ? "" : request->password;
        if (!http_is_clean(request->username) || !http_is_clean(password)) {
            return err_set(err, ERR_INVALID, "user name or password holds a control character");
        }
        failed |= (int)curl_easy_setopt(easy, CURLOPT_USERNAME, request->username);
        failed |= (int)curl_easy_setopt(easy, CURLOPT_PASSWORD, password);
    }
    return failed == 0 ? true : err_set(err, ERR_INTERNAL, "libcurl refuses the transfer options");
}

static bool prepare(struct http_transfer *transfer,
                    const char *user_agent,
                    const struct http_request *request,
                    CURLU *url,
                    struct err *err) {
    if (!parse_url(request, url, err) || !set_server_name(transfer, request, url, err) ||
        !prepare_common(transfer, user_agent, request, err)) {
        return false;
    }
    bool ok = request->mail_from != NULL ? http_mail_prepare(transfer, request, url, err)
                                         : prepare_http(transfer, request, err);
    if (!ok) {
        return false;
    }
    char *final_url = NULL; /* after http_mail_prepare(): the path is the EHLO name */
    ok = curl_url_get(url, CURLUPART_URL, &final_url, 0) == CURLUE_OK &&
         curl_easy_setopt(transfer->easy, CURLOPT_URL, final_url) == CURLE_OK;
    curl_free(final_url);
    return ok ? true : err_set(err, ERR_INVALID, "not a valid URL");
}

bool http_transfer_create(const char *user_agent,
                          const struct http_request *request,
                          struct http_transfer **ret,
                          struct err *err) {
    assert(request->timeout_ms > 0);
    struct http_transfer *transfer = mem_calloc(1, sizeof(*transfer));
    transfer->retry_after_ms = -1;
    transfer->easy = curl_easy_init();
    CURLU *url = curl_url();
    if (transfer->easy == NULL || url == NULL) {
        BUG("out of memory in libcurl");
    }
    bool ok = prepare(transfer, user_agent, request, url, err);
    curl_url_cleanup(url);
    if (!ok) {
        http_transfer_destroy(transfer);
        return false;
    }
    *ret = transfer;
    return true;
}

void http_transfer_destroy(struct http_transfer *transfer) {
    if (transfer == NULL) {
        return;
    }
    curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->headers);
    curl_slist_free_all(transfer->recipients);
    curl_slist_free_all(transfer->connect_to);
    mem_free(transfer->mail_body);
    buf_finish(&transfer->body);
    mem_free(transfer);
}
