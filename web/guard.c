/*
 * What libmicrohttpd 0.9.75 accepts and a server behind or before a proxy must not: two lengths, a
 * length beside a transfer coding, two hosts, NUL in a header. Ambiguous framing ends the
 * connection.
 */
#include "web/server.h"

struct header_counts {
    unsigned host;
    unsigned length;
    unsigned coding;
    bool has_odd_coding;
    bool has_bad_length;
    bool has_nul;
    bool has_fold;
};

static enum MHD_Result count_header(void *ctx,
                                    enum MHD_ValueKind kind,
                                    const char *name,
                                    size_t name_len,
                                    const char *value,
                                    size_t value_len) {
    (void)kind;
    struct header_counts *counts = ctx;
    struct str header = str_n(name, name_len);
    struct str text = str_n(value, value_len);
    counts->has_nul = counts->has_nul || memchr(name, '\0', name_len) != NULL ||
                      (value_len > 0 && memchr(value, '\0', value_len) != NULL);
    counts->has_fold =
        counts->has_fold ||
        (value_len > 0 && (memchr(value, '\n', value_len) || memchr(value, '\r', value_len)));
    if (str_eq_nocase(header, STR("host"))) {
        counts->host++;
    } else if (str_eq_nocase(header, STR("content-length"))) {
        uint64_t length;
        counts->length++;
        counts->has_bad_length = counts->has_bad_length || !str_parse_u64(text, &length);
    } else if (str_eq_nocase(header, STR("transfer-encoding"))) {
        counts->coding++;
        counts->has_odd_coding = counts->has_odd_coding || !str_eq_nocase(text, STR("chunked"));
    }
    return MHD_YES;
}

bool web_guard_headers(struct web_request *request) {
    struct header_counts counts = { 0 };
    MHD_get_connection_values_n(request->connection, MHD_HEADER_KIND, count_header, &counts);
    const char *why = NULL;
    if (counts.has_nul) {
        why = "a header contains a NUL byte";
    } else if (counts.has_fold) {
        why = "a header is folded over lines";
    } else if (counts.host > 1) {
        why = "more than one Host header";
    } else if (counts.length > 1) {
        why = "more than one Content-Length header";
    } else if (counts.has_bad_length) {
        why = "Content-Length is not a number";
    } else if (counts.coding > 1 || counts.has_odd_coding) {
        why = "Transfer-Encoding other than chunked";
    } else if (counts.length > 0 && counts.coding > 0) {
        why = "both Content-Length and Transfer-Encoding";
    }
    if (why == NULL) {
        return true;
    }
    web_reply_text(request, 400, "%s\n", why);
    web_reply_header(request, "Connection", "close");
    return false;
}

struct str web_header(const struct web_request *request, const char *name) {
    return str_from(MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name));
}
