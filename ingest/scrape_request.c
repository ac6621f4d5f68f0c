/* The HTTP request of a scrape, and what its reply means. */
#include "ingest/scrape_request.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/float.h"
#include "base/mem.h"

#define SECRET_BYTES_MAX (64u << 10)
#define HEADERS_MAX      256

/* ---- Accept ---- */

static const char *const media[] = {
    [INGEST_PROTOCOL_PROMETHEUS_PROTO] = NULL, /* not spoken */
    [INGEST_PROTOCOL_OPENMETRICS_0_0_1] = "application/openmetrics-text;version=0.0.1",
    [INGEST_PROTOCOL_OPENMETRICS_1_0_0] =
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
    [INGEST_PROTOCOL_PROMETHEUS_TEXT_0_0_4] = "text/plain;version=0.0.4",
    [INGEST_PROTOCOL_PROMETHEUS_TEXT_1_0_0] = "text/plain;version=1.0.0;escaping=allow-utf-8",
};
static_assert(ARRAY_LEN(media) == INGEST_PROTOCOL_COUNT, "every protocol has a media type");

static void accept_print(const struct ingest_scrape_protocols *wanted, struct buf *out) {
    static const struct ingest_scrape_protocols usual = {
        .items = { INGEST_PROTOCOL_OPENMETRICS_1_0_0, INGEST_PROTOCOL_OPENMETRICS_0_0_1,
                   INGEST_PROTOCOL_PROMETHEUS_TEXT_1_0_0, INGEST_PROTOCOL_PROMETHEUS_TEXT_0_0_4 },
        .count = 4,
    };
    const struct ingest_scrape_protocols *protocols = wanted->count == 0 ? &usual : wanted;
    buf_cstr(out, "Accept: ");
    unsigned weight = INGEST_PROTOCOL_COUNT + 1;
    for (size_t i = 0; i < protocols->count; i++) {
        const char *type = media[protocols->items[i]];
        if (type != NULL) {
            buf_printf(out, "%s;q=0.%u,", type, weight--);
        }
    }
    buf_printf(out, "*/*;q=0.%u", weight);
}

enum ingest_scrape_protocol scrape_reply_protocol(const struct scrape_config *config,
                                                  struct str content_type) {
    struct str type;
    struct str params;
    str_cut(content_type, ';', &type, &params);
    type = str_trim(type);
    if (str_eq_nocase(type, STR("application/openmetrics-text"))) {
        return INGEST_PROTOCOL_OPENMETRICS_1_0_0;
    }
    if (str_eq_nocase(type, STR("text/plain"))) {
        return INGEST_PROTOCOL_PROMETHEUS_TEXT_0_0_4;
    }
    return config->fallback == INGEST_PROTOCOL_COUNT ? INGEST_PROTOCOL_PROMETHEUS_TEXT_0_0_4
                                                     : config->fallback;
}

/* ---- secrets ---- */

/* The file's contents without surrounding white space. */
static bool secret_read(const char *path, struct buf *out, struct err *err) {
    buf_init(out, SECRET_BYTES_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "reading %s", path);
    }
    ssize_t got = 0;
    do {
        out->len += (size_t)got;
        char *to = buf_reserve(out, 4096);
        got = to == NULL ? -1 : read(fd, to, 4096);
    } while (got > 0);
    int failure = errno;
    close(fd);
    if (got < 0) {
        return err_set_errno(err, ERR_IO, out->is_over ? EFBIG : failure, "reading %s", path);
    }
    struct str text = str_trim(buf_as_str(out));
    struct buf trimmed;
    buf_init(&trimmed, SECRET_BYTES_MAX);
    buf_str(&trimmed, text);
    buf_putc(&trimmed, '\0');
    trimmed.len--;
    buf_finish(out);
    *out = trimmed;
    return true;
}

/* The value itself, or the contents of its file. */
static bool secret_of(const char *value,
                      const char *path,
                      struct buf *storage,
                      const char **ret,
                      struct err *err) {
    *ret = value;
    if (path == NULL) {
        return true;
    }
    if (!secret_read(path, storage, err)) {
        return false;
    }
    *ret = storage->ptr;
    return true;
}

/* ---- the request ---- */

struct header_list {
    char *items[HEADERS_MAX + 1];
    size_t count;
};

static void header_add(struct header_list *list, struct buf *text) {
    assert(list->count < HEADERS_MAX);
    buf_putc(text, '\0');
    size_t len;
    list->items[list->count++] = buf_take(text, &len);
}

static void header_list_finish(struct header_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        mem_free(list->items[i]);
    }
}

static void headers_build(const struct target *target, struct header_list *list) {
    const struct scrape_config *config = target->config;
    struct buf text;
    buf_init(&text, 1u << 20);
    accept_print(&config->protocols, &text);
    header_add(list, &text);
    buf_cstr(&text, "X-Prometheus-Scrape-Timeout-Seconds: ");
    buf_float_text(&text, (double)target->timeout_ms / 1000);
    header_add(list, &text);
    for (size_t i = 0; i < config->http.header_count; i++) {
        const struct named_strings *header = &config->http.headers[i];
        for (size_t k = 0; k < header->values.count && list->count + 2 < HEADERS_MAX; k++) {
            buf_printf(&text, "%s: %s", header->name, header->values.items[k]);
            header_add(list, &text);
        }
    }
    buf_finish(&text);
}

struct secrets {
    struct buf username;
    struct buf password;
    struct buf credentials;
};

static void secrets_finish(struct secrets *secrets) {
    buf_finish(&secrets->username);
    buf_finish(&secrets->password);
    buf_finish(&secrets->credentials);
}

static bool auth_fill(const struct scrape_http *http,
                      struct secrets *secrets,
                      struct header_list *headers,
                      struct http_request *request,
                      struct err *err) {
    if (http->has_basic_auth) {
        if (!secret_of(http->username, http->username_file, &secrets->username, &request->username,
                       err) ||
            !secret_of(http->password, http->password_file, &secrets->password, &request->password,
                       err)) {
            return false;
        }
        request->username = request->username == NULL ? "" : request->username;
        request->password = request->password == NULL ? "" : request->password;
    }
    if (!http->has_authorization) {
        return true;
    }
    const char *credentials;
    if (!secret_of(http->credentials, http->credentials_file, &secrets->credentials, &credentials,
                   err)) {
        return false;
    }
    struct buf text;
    buf_init(&text, 2 * SECRET_BYTES_MAX);
    buf_printf(&text, "Authorization: %s %s", http->auth_type == NULL ? "Bearer" : http->auth_type,
               credentials == NULL ? "" : credentials);
    header_add(headers, &text);
    return true;
}

bool scrape_submit(struct http_client *client,
                   const struct target *target,
                   http_done_fn done,
                   void *ctx,
                   struct err *err) {
    const struct scrape_config *config = target->config;
    const struct scrape_http *http = &config->http;
    struct header_list headers = { .count = 0 };
    struct secrets secrets = { 0 };
    headers_build(target, &headers);
    struct http_request request = {
        .url = target->url,
        .timeout_ms = target->timeout_ms,
        .response_bytes_max = config->body_size_limit,
        .follow_redirects = http->follow_redirects,
        .accept_gzip = config->enable_compression,
        .tls = { .ca_file = http->ca_file,
                 .cert_file = http->cert_file,
                 .key_file = http->key_file,
                 .server_name = http->server_name,
                 .insecure_skip_verify = http->insecure_skip_verify },
    };
    bool is_ok = auth_fill(http, &secrets, &headers, &request, err);
    request.headers = (const char *const *)headers.items;
    is_ok = is_ok && http_submit(client, &request, done, ctx, err);
    header_list_finish(&headers);
    secrets_finish(&secrets);
    return is_ok;
}
