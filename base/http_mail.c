/*
 * Mail over libcurl's SMTP. libcurl 7.88 passes line breaks in addresses through to the server, so
 * the envelope is checked here; and it only dot-stuffs lines that end in CRLF, so bare line ends,
 * which some servers take for line ends too, are made CRLF before it sees them.
 */
#include <assert.h>

#include "base/http_transfer.h"
#include "base/mem.h"

enum {
    MAIL_REPLY_BYTES_MAX = 512,
    /* How long libcurl may wait for the answer to QUIT; it blocks the thread meanwhile. */
    MAIL_QUIT_TIMEOUT_S = 1,
};

/* An address that can stand between < and > on one line. */
static bool is_address(const char *text) {
    return text[0] != '\0' && http_is_clean(text) && strpbrk(text, "<> ") == NULL;
}

/* The EHLO name is a domain or an address literal. */
static bool is_hello(const char *text) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  ".-_:[]";
    return text[0] != '\0' && strspn(text, allowed) == strlen(text);
}

static void copy_body(struct http_transfer *transfer, struct str body) {
    transfer->mail_body = mem_alloc(body.len * 2 + 1);
    size_t len = 0;
    for (size_t i = 0; i < body.len; i++) {
        char c = body.ptr[i];
        if (c != '\r' && c != '\n') {
            transfer->mail_body[len++] = c;
            continue;
        }
        transfer->mail_body[len++] = '\r';
        transfer->mail_body[len++] = '\n';
        if (c == '\r' && i + 1 < body.len && body.ptr[i + 1] == '\n') {
            i++;
        }
    }
    transfer->mail_bytes = len;
}

/*
 * libcurl asks for more of the message. The server can only have accepted it once its end was
 * sent, so that is the moment the outcome of a failure becomes unknown.
 */
static size_t read_body(char *out, size_t size, size_t count, void *ctx) {
    struct http_transfer *transfer = ctx;
    size_t left = transfer->mail_bytes - transfer->mail_bytes_read;
    size_t len = size * count < left ? size * count : left;
    memcpy(out, transfer->mail_body + transfer->mail_bytes_read, len);
    transfer->mail_bytes_read += len;
    if (transfer->mail_bytes_read == transfer->mail_bytes) {
        transfer->was_sent = true;
    }
    return len;
}

static bool prepare_envelope(struct http_transfer *transfer,
                             const struct http_request *request,
                             struct err *err) {
    if (!is_address(request->mail_from)) {
        return err_set(err, ERR_INVALID, "mail sender is not a valid address");
    }
    size_t count = 0;
    for (const char *const *to = request->mail_recipients; to != NULL && *to != NULL; to++) {
        if (!is_address(*to)) {
            return err_set(err, ERR_INVALID, "mail recipient %zu is not a valid address",
                           count + 1);
        }
        transfer->recipients = curl_slist_append(transfer->recipients, *to);
        count++;
    }
    if (count == 0) {
        return err_set(err, ERR_INVALID, "mail without a recipient");
    }
    return true;
}

static bool prepare_hello(const char *hello, CURLU *url, struct err *err) {
    if (hello == NULL) {
        return true;
    }
    if (!is_hello(hello)) {
        return err_set(err, ERR_INVALID, "EHLO name is not a host name");
    }
    struct buf path;
    buf_init(&path, 1024);
    buf_printf(&path, "/%s", hello);
    bool ok = !path.is_over && curl_url_set(url, CURLUPART_PATH, path.ptr, 0) == CURLUE_OK;
    buf_finish(&path);
    return ok ? true : err_set(err, ERR_INVALID, "EHLO name is not a host name");
}

bool http_mail_prepare(struct http_transfer *transfer,
                       const struct http_request *request,
                       CURLU *url,
                       struct err *err) {
    assert(request->mail_from != NULL);
    if (!prepare_envelope(transfer, request, err) ||
        !prepare_hello(request->mail_hello, url, err)) {
        return false;
    }
    transfer->is_mail = true;
    copy_body(transfer, request->body);
    buf_init(&transfer->body, MAIL_REPLY_BYTES_MAX);

    CURL *easy = transfer->easy;
    long use_ssl = request->mail_require_tls ? CURLUSESSL_ALL : CURLUSESSL_NONE;
    int failed = 0;
    failed |= (int)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    failed |= (int)curl_easy_setopt(easy, CURLOPT_USE_SSL, use_ssl);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_MAIL_FROM, request->mail_from);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, transfer->recipients);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_READFUNCTION, read_body);
    failed |= (int)curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
    failed |=
        (int)curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)transfer->mail_bytes);
    return failed == 0 ? true : err_set(err, ERR_INTERNAL, "libcurl refuses the mail options");
}

void http_mail_reply(struct http_transfer *transfer, struct str line) {
    if (str_starts_with(line, STR("221"))) {
        return; /* the answer to QUIT says nothing about the mail */
    }
    buf_reset(&transfer->body);
    buf_str(&transfer->body, str_trim(line));
    bool is_refusal = line.len > 0 && (line.ptr[0] == '4' || line.ptr[0] == '5');
    if (transfer->was_sent || is_refusal) { /* QUIT comes next */
        (void)curl_easy_setopt(transfer->easy, CURLOPT_SERVER_RESPONSE_TIMEOUT,
                               (long)MAIL_QUIT_TIMEOUT_S);
    }
}

bool http_mail_is_reply(CURLcode code, long status) {
    switch (code) {
    case CURLE_OK: return true;
    case CURLE_SEND_ERROR:           /* MAIL, RCPT or DATA refused */
    case CURLE_RECV_ERROR:           /* the message itself refused */
    case CURLE_LOGIN_DENIED:         /* AUTH */
    case CURLE_REMOTE_ACCESS_DENIED: /* EHLO */
    case CURLE_WEIRD_SERVER_REPLY: /* greeting */ return status >= 400 && status < 600;
    default: return false;
    }
}
