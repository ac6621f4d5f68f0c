/* What changes or copies the store: /api/v1/admin/tsdb, only with --web.enable-admin-api. */
#include "web/api.h"

bool api_admin_is_on(struct web_request *request) {
    if (request->web->opts.enable_admin_api) {
        return true;
    }
    web_reply_error_as(request, 500, "unavailable", "admin APIs disabled");
    return false;
}

/* Go's strconv.ParseBool. */
static bool parse_bool(struct str text, bool *ret) {
    static const char *const words[] = {
        "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (str_eq_c(text, words[i])) {
            *ret = i < ARRAY_LEN(words) / 2;
            return true;
        }
    }
    return false;
}

void api_admin_snapshot(struct web_request *request) {
    const struct web_hooks *hooks = &request->web->opts.hooks;
    if (!api_admin_is_on(request)) {
        return;
    }
    struct str text = web_param(request, "skip_head");
    bool skip_head = false;
    if (text.len > 0 && !parse_bool(text, &skip_head)) {
        CLEANUP(buf_finish) struct buf why;
        buf_init(&why, 1024);
        buf_printf(&why, "unable to parse boolean: strconv.ParseBool: parsing ");
        buf_json_str(&why, text);
        buf_cstr(&why, ": invalid syntax");
        (void)api_bad_param(request, "skip_head", why.ptr == NULL ? "" : why.ptr);
        return;
    }
    struct err err = ERR_INIT;
    CLEANUP(buf_finish) struct buf name;
    buf_init(&name, 256);
    if (hooks->snapshot == NULL) {
        err_set(&err, ERR_INTERNAL, "create snapshot: not possible here");
        web_reply_error(request, &err);
        return;
    }
    if (!hooks->snapshot(hooks->ctx, skip_head, &name, &err)) {
        err_wrap(&err, "create snapshot");
        web_reply_error_as(request, 500, "internal", err.msg);
        return;
    }
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    json_key(&json, "name");
    json_str(&json, buf_as_str(&name));
    json_object_end(&json);
    web_json_close(request, &json);
}

/* ---- deleting ---- */

static bool delete_selected(struct web_request *request,
                            const struct api_selectors *selectors,
                            int64_t start_ms,
                            int64_t end_ms,
                            struct err *err) {
    bool is_ok = true;
    for (size_t i = 0; is_ok && i < selectors->count; i++) {
        struct tsdb_deleted deleted;
        is_ok = tsdb_delete_blocking(request->web->opts.db, selectors->matchers[i],
                                     selectors->matcher_counts[i], start_ms, end_ms, &deleted, err);
    }
    return is_ok;
}

void api_admin_delete_series(struct web_request *request) {
    int64_t start_ms;
    int64_t end_ms;
    struct api_selectors selectors;
    struct err err = ERR_INIT;
    if (!api_admin_is_on(request)) {
        return;
    }
    if (web_param(request, "match[]").ptr == NULL) {
        err_set(&err, ERR_INVALID, "no match[] parameter provided");
        web_reply_error(request, &err);
        return;
    }
    if (!api_param_time(request, "start", INT64_MIN, &start_ms) ||
        !api_param_time(request, "end", INT64_MAX, &end_ms) ||
        !api_selectors_parse(request, API_MATCH_NAMED, &selectors)) {
        return;
    }
    if (delete_selected(request, &selectors, start_ms, end_ms, &err)) {
        web_reply_text(request, 204, "%s", "");
    } else {
        web_reply_error(request, &err);
    }
    api_selectors_finish(&selectors);
}

/* Deleting leaves nothing behind that would have to be cleaned; what background work would free in
 * its own time is freed now. */
void api_admin_clean_tombstones(struct web_request *request) {
    struct err err = ERR_INIT;
    if (!api_admin_is_on(request)) {
        return;
    }
    if (tsdb_compact_blocking(request->web->opts.db, &err)) {
        web_reply_text(request, 204, "%s", "");
    } else {
        web_reply_error(request, &err);
    }
}
