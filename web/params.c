/* URL decoding, query strings and urlencoded forms (libmicrohttpd's own parser is not used). */
#include "web/request.h"

static int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool web_url_decode(struct arena *arena, struct str text, bool plus_is_space, struct str *ret) {
    char *out = arena_alloc(arena, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%') {
            bool is_whole = i + 2 < text.len;
            int high = is_whole ? hex_value(text.ptr[i + 1]) : -1;
            int low = is_whole ? hex_value(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == '\0') {
            return false;
        }
        out[len++] = c;
    }
    out[len] = '\0';
    *ret = str_n(out, len);
    return true;
}

bool web_params_add(struct web_request *request, struct str text, struct err *err) {
    bool has_more = text.len > 0;
    while (has_more) {
        struct str pair;
        has_more = str_cut(text, '&', &pair, &text);
        if (pair.len == 0) {
            continue;
        }
        struct str raw_name;
        struct str raw_value;
        str_cut(pair, '=', &raw_name, &raw_value);
        struct web_param param;
        if (!web_url_decode(&request->arena, raw_name, true, &param.name) ||
            !web_url_decode(&request->arena, raw_value, true, &param.value)) {
            return err_set(err, ERR_INVALID, "malformed escape in parameter \"%.*s\"",
                           (int)(raw_name.len < 64 ? raw_name.len : 64), raw_name.ptr);
        }
        if (request->param_count == WEB_PARAMS_MAX) {
            return err_set(err, ERR_LIMIT, "more than %d parameters", WEB_PARAMS_MAX);
        }
        request->params = arena_vec_grow(&request->arena, request->params, &request->param_cap,
                                         request->param_count + 1, sizeof(request->params[0]));
        request->params[request->param_count++] = param;
    }
    return true;
}

bool web_params_add_form(struct web_request *request, struct str text, struct err *err) {
    struct web_param *from_query = request->params;
    size_t from_query_count = request->param_count;
    request->params = NULL;
    request->param_count = 0;
    request->param_cap = 0;
    bool is_ok = web_params_add(request, text, err);
    if (is_ok && request->param_count + from_query_count > WEB_PARAMS_MAX) {
        is_ok = err_set(err, ERR_LIMIT, "more than %d parameters", WEB_PARAMS_MAX);
    }
    if (is_ok && from_query_count > 0) {
        request->params =
            arena_vec_grow(&request->arena, request->params, &request->param_cap,
                           request->param_count + from_query_count, sizeof(request->params[0]));
        memcpy(request->params + request->param_count, from_query,
               from_query_count * sizeof(request->params[0]));
        request->param_count += from_query_count;
    }
    return is_ok;
}

struct str web_param(const struct web_request *request, const char *name) {
    for (size_t i = 0; i < request->param_count; i++) {
        if (str_eq_c(request->params[i].name, name)) {
            return request->params[i].value;
        }
    }
    return (struct str){ 0 };
}
