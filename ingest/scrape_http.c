/* The part of a scrape configuration that says how to talk to a target. */
#include <assert.h>
#include <stddef.h>

#include "base/mem.h"
#include "ingest/scrape_config.h"

#define AT(member) offsetof(struct scrape_http, member)

static const char one_of_bearer[] =
    "at most one of bearer_token, bearer_token_file and authorization may be set";

/* Decoders of nested mappings get a pointer to one member of the struct; this is the struct. */
static struct scrape_http *http_of(void *dest, size_t offset) {
    return (struct scrape_http *)(void *)((char *)dest - offset);
}

static void basic_auth_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    static const struct yaml_field fields[] = {
        { "username", YAML_STRING, AT(username), false, NULL },
        { "username_file", YAML_CUSTOM, AT(username_file), false, path_decode },
        { "password", YAML_STRING, AT(password), false, NULL },
        { "password_file", YAML_CUSTOM, AT(password_file), false, path_decode },
    };
    struct scrape_http *http = http_of(dest, AT(has_basic_auth));
    http->has_basic_auth = true;
    if (!yaml_decode_mapping(ctx, node, fields, ARRAY_LEN(fields), http)) {
        return;
    }
    if (http->password != NULL && http->password_file != NULL) {
        yaml_error(ctx, node, DIAG_ERROR, "password and password_file exclude each other");
    }
    if (http->username != NULL && http->username_file != NULL) {
        yaml_error(ctx, node, DIAG_ERROR, "username and username_file exclude each other");
    }
}

static void authorization_decode(struct yaml_decode *ctx,
                                 const struct yaml_node *node,
                                 void *dest) {
    static const struct yaml_field fields[] = {
        { "type", YAML_STRING, AT(auth_type), false, NULL },
        { "credentials", YAML_STRING, AT(credentials), false, NULL },
        { "credentials_file", YAML_CUSTOM, AT(credentials_file), false, path_decode },
    };
    struct scrape_http *http = http_of(dest, AT(has_authorization));
    if (http->has_authorization) {
        yaml_error(ctx, node, DIAG_ERROR, "%s", one_of_bearer);
        return;
    }
    http->has_authorization = true;
    if (!yaml_decode_mapping(ctx, node, fields, ARRAY_LEN(fields), http)) {
        return;
    }
    if (http->credentials != NULL && http->credentials_file != NULL) {
        yaml_error(ctx, node, DIAG_ERROR, "credentials and credentials_file exclude each other");
    }
    if (http->auth_type != NULL && str_eq_nocase(str_from(http->auth_type), STR("basic"))) {
        yaml_error(ctx, node, DIAG_ERROR, "authorization type cannot be \"basic\", use basic_auth");
    }
}

static void bearer_token(struct yaml_decode *ctx,
                         const struct yaml_node *node,
                         struct scrape_http *http,
                         bool is_file) {
    if (yaml_is_null(node)) {
        return;
    }
    if (http->has_authorization) {
        yaml_error(ctx, node, DIAG_ERROR,
                   "at most one of bearer_token, bearer_token_file and authorization may be set");
        return;
    }
    http->has_authorization = true;
    if (is_file) {
        path_decode(ctx, node, &http->credentials_file);
    } else {
        yaml_decode_scalar(ctx, node, YAML_STRING, &http->credentials);
    }
}

static void bearer_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    bearer_token(ctx, node, http_of(dest, AT(credentials)), false);
}

static void bearer_file_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    bearer_token(ctx, node, http_of(dest, AT(credentials_file)), true);
}

static void tls_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    static const struct yaml_field fields[] = {
        { "ca_file", YAML_CUSTOM, AT(ca_file), false, path_decode },
        { "cert_file", YAML_CUSTOM, AT(cert_file), false, path_decode },
        { "key_file", YAML_CUSTOM, AT(key_file), false, path_decode },
        { "server_name", YAML_STRING, AT(server_name), false, NULL },
        { "insecure_skip_verify", YAML_BOOL, AT(insecure_skip_verify), false, NULL },
        { "ca", YAML_IGNORED, 0, false, NULL },
        { "cert", YAML_IGNORED, 0, false, NULL },
        { "key", YAML_IGNORED, 0, false, NULL },
        { "ca_ref", YAML_IGNORED, 0, false, NULL },
        { "cert_ref", YAML_IGNORED, 0, false, NULL },
        { "key_ref", YAML_IGNORED, 0, false, NULL },
        { "min_version", YAML_IGNORED, 0, false, NULL },
        { "max_version", YAML_IGNORED, 0, false, NULL },
    };
    struct scrape_http *http = http_of(dest, AT(ca_file));
    if (yaml_decode_mapping(ctx, node, fields, ARRAY_LEN(fields), http) &&
        (http->cert_file == NULL) != (http->key_file == NULL)) {
        yaml_error(ctx, node, DIAG_ERROR, "cert_file and key_file must be set together");
    }
}

static bool is_header_text(struct str text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\r' || text.ptr[i] == '\n') {
            return false;
        }
    }
    return true;
}

static bool is_token(struct str name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_alnum && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL)) {
            return false;
        }
    }
    return name.len > 0;
}

struct header_values {
    struct string_list values;
};

static void header_decode(struct yaml_decode *ctx,
                          const struct yaml_pair *pair,
                          struct named_strings *ret) {
    static const struct yaml_field fields[] = {
        { "values", YAML_CUSTOM, offsetof(struct header_values, values), false,
          string_list_decode },
        { "secrets", YAML_CUSTOM, offsetof(struct header_values, values), false,
          string_list_decode },
        { "files", YAML_IGNORED, 0, false, NULL },
    };
    struct header_values values = { .values = { .count = 0 } };
    yaml_decode_mapping(ctx, pair->value, fields, ARRAY_LEN(fields), &values);
    *ret = (struct named_strings){
        .name = mem_strndup(pair->key->scalar.ptr, pair->key->scalar.len),
        .values = values.values,
    };
    if (!is_token(pair->key->scalar)) {
        yaml_error(ctx, pair->key, DIAG_ERROR, "not a header name");
    }
    for (size_t i = 0; i < ret->values.count; i++) {
        if (!is_header_text(str_from(ret->values.items[i]))) {
            yaml_error(ctx, pair->value, DIAG_ERROR, "a header's value must be one line");
        }
    }
}

static void headers_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    static const char *const reserved[] = {
        "Accept",
        "Accept-Encoding",
        "Authorization",
        "Content-Length",
        "Host",
        "User-Agent",
        "X-Prometheus-Scrape-Timeout-Seconds",
    };
    struct scrape_http *http = http_of(dest, AT(headers));
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_MAPPING) {
        yaml_error(ctx, node, DIAG_ERROR, "http_headers must be a mapping of header names");
        return;
    }
    http->headers = mem_calloc(node->count + 1, sizeof(http->headers[0]));
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        header_decode(ctx, pair, &http->headers[http->header_count++]);
        for (size_t k = 0; k < ARRAY_LEN(reserved); k++) {
            if (str_eq_nocase(pair->key->scalar, str_from(reserved[k]))) {
                yaml_error(ctx, pair->key, DIAG_ERROR, "this header is set by the scraper");
            }
        }
    }
}

/* Valid upstream and without effect here: we speak HTTP/1.1. */
static void accepted_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)dest;
    bool value;
    if (!yaml_is_null(node)) {
        yaml_decode_scalar(ctx, node, YAML_BOOL, &value);
    }
}

const struct yaml_field scrape_http_fields[] = {
    { "basic_auth", YAML_CUSTOM, AT(has_basic_auth), false, basic_auth_decode },
    { "authorization", YAML_CUSTOM, AT(has_authorization), false, authorization_decode },
    { "bearer_token", YAML_CUSTOM, AT(credentials), false, bearer_decode },
    { "bearer_token_file", YAML_CUSTOM, AT(credentials_file), false, bearer_file_decode },
    { "tls_config", YAML_CUSTOM, AT(ca_file), false, tls_decode },
    { "follow_redirects", YAML_BOOL, AT(follow_redirects), false, NULL },
    { "http_headers", YAML_CUSTOM, AT(headers), false, headers_decode },
    { "enable_http2", YAML_CUSTOM, 0, false, accepted_decode },
    { "oauth2", YAML_IGNORED, 0, false, NULL },
    { "proxy_url", YAML_IGNORED, 0, false, NULL },
    { "no_proxy", YAML_IGNORED, 0, false, NULL },
    { "proxy_from_environment", YAML_IGNORED, 0, false, NULL },
    { "proxy_connect_header", YAML_IGNORED, 0, false, NULL },
};
const size_t scrape_http_field_count = ARRAY_LEN(scrape_http_fields);

void scrape_http_check(struct yaml_decode *ctx,
                       const struct yaml_node *node,
                       struct scrape_http *http) {
    if (http->has_basic_auth && http->has_authorization) {
        yaml_error(ctx, node, DIAG_ERROR, "at most one of basic_auth and authorization may be set");
    }
}

void scrape_http_finish(struct scrape_http *http) {
    mem_free(http->username);
    mem_free(http->username_file);
    mem_free(http->password);
    mem_free(http->password_file);
    mem_free(http->auth_type);
    mem_free(http->credentials);
    mem_free(http->credentials_file);
    mem_free(http->ca_file);
    mem_free(http->cert_file);
    mem_free(http->key_file);
    mem_free(http->server_name);
    named_strings_finish(http->headers, http->header_count);
}
