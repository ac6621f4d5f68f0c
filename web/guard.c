/*
 * What libmicrohttpd 0.9.75 accepts and a server behind or before a proxy must not: two lengths, a
 * length beside a transfer coding, two hosts, and everything two parsers may cut into lines in two
 * ways. Ambiguous framing ends the connection.
 */
#include "web/server.h"

/*
 * libmicrohttpd 0.9 parses a header in place: it puts NULs over the colon and the line's end and
 * hands out pointers into its buffer. So the lines are where they were, and whether each ended in
 * CR LF, and nothing was cut out of it, shows in the distance to the next one: a bare LF makes it
 * one byte short, a NUL in the middle makes it longer, a folded line has been moved elsewhere.
 * Later versions are strict by themselves. Its own refusals (a Content-Length that is no number) go
 * out with their header doubled, which is why as little as possible is left to it.
 */
bool web_guard_is_ours(void) {
    return strncmp(MHD_get_version(), "0.9.", 4) == 0;
}

struct header_scan {
    const char *next; /* where the next line must begin */
    bool is_contiguous;
    unsigned host;
    unsigned length;
    unsigned coding;
    bool has_odd_coding;
    bool has_bad_length;
    bool has_odd_name;
    bool has_odd_byte;
};

static bool is_token(struct str name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!is_alnum && strchr("!#$%&'*+-.^_`|~", c) == NULL) {
            return false;
        }
    }
    return name.len > 0;
}

/* No control character but the tab. */
static bool is_text(struct str value) {
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum MHD_Result scan_header(void *ctx,
                                   enum MHD_ValueKind kind,
                                   const char *name,
                                   size_t name_len,
                                   const char *value,
                                   size_t value_len) {
    (void)kind;
    struct header_scan *scan = ctx;
    struct str header = str_n(name, name_len);
    struct str text = value == NULL ? (struct str){ .ptr = "" } : str_n(value, value_len);
    scan->is_contiguous = scan->is_contiguous && name == scan->next;
    scan->next = text.ptr + text.len + 2;
    scan->has_odd_name = scan->has_odd_name || !is_token(header);
    scan->has_odd_byte = scan->has_odd_byte || !is_text(text);
    if (str_eq_nocase(header, STR("host"))) {
        scan->host++;
    } else if (str_eq_nocase(header, STR("content-length"))) {
        uint64_t length;
        scan->length++;
        scan->has_bad_length = scan->has_bad_length || !str_parse_u64(text, &length);
    } else if (str_eq_nocase(header, STR("transfer-encoding"))) {
        scan->coding++;
        scan->has_odd_coding = scan->has_odd_coding || !str_eq_nocase(text, STR("chunked"));
    }
    return MHD_YES;
}

/* The request line's parts follow each other with one space, the header ends with an empty line. */
static bool is_framed(const struct web_request *request,
                      const struct header_scan *scan,
                      const char *method,
                      const char *target,
                      const char *version,
                      size_t header_bytes) {
    if (!web_guard_is_ours()) {
        return true;
    }
    return method + strlen(method) + 1 == target && strchr(request->raw_url, ' ') == NULL &&
           target + strlen(request->raw_url) + 1 == version && scan->is_contiguous &&
           method + header_bytes == scan->next + 2;
}

static const char *judge(const struct header_scan *scan, bool is_http_1_0) {
    if (scan->has_odd_name || scan->has_odd_byte) {
        return "malformed header line";
    }
    if (scan->host > 1) {
        return "more than one Host header";
    }
    if (scan->host == 0 && !is_http_1_0) {
        return "no Host header";
    }
    if (scan->length > 1) {
        return "more than one Content-Length header";
    }
    if (scan->has_bad_length) {
        return "Content-Length is not a number";
    }
    if (scan->coding > 1 || scan->has_odd_coding) {
        return "Transfer-Encoding other than chunked";
    }
    if (scan->length > 0 && scan->coding > 0) {
        return "both Content-Length and Transfer-Encoding";
    }
    if (scan->coding > 0 && is_http_1_0) {
        return "Transfer-Encoding in HTTP/1.0";
    }
    return NULL;
}

bool web_guard_headers(struct web_request *request,
                       const char *method,
                       const char *target,
                       const char *version) {
    struct header_scan scan = { .next = version + strlen(version) + 2, .is_contiguous = true };
    MHD_get_connection_values_n(request->connection, MHD_HEADER_KIND, scan_header, &scan);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    size_t header_bytes = info == NULL ? 0 : info->header_size;
    const char *why = judge(&scan, strcmp(version, "HTTP/1.0") == 0);
    if (why == NULL && !is_framed(request, &scan, method, target, version, header_bytes)) {
        why = "malformed header: NUL, folded line, or a line that does not end in CR LF";
    }
    if (why != NULL) {
        web_reply_text(request, 400, "%s\n", why);
        return false;
    }
    if (header_bytes > strlen(request->raw_url) + WEB_HEADER_BYTES_MAX) {
        web_reply_text(request, 431, "the header has more than %d bytes\n", WEB_HEADER_BYTES_MAX);
        return false;
    }
    return true;
}

struct str web_header(const struct web_request *request, const char *name) {
    return str_from(MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name));
}
