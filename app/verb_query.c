/* tocsin query: ask a server over the Prometheus API and print the answer. */
#include <stdio.h>

#include "app/verbs.h"
#include "base/clock.h"
#include "base/duration.h"
#include "base/float.h"
#include "base/http.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/model.h"

struct query_args {
    struct str time;
    struct str start;
    struct str end;
    struct str step;
    struct str output; /* promql or json */
    struct str url;
    struct str expr;
};

static bool parse_args(int argc, char *const *argv, struct query_args *ret, struct err *err) {
    static const struct {
        const char *name;
        size_t offset;
    } flags[] = {
        { "--time", offsetof(struct query_args, time) },
        { "--start", offsetof(struct query_args, start) },
        { "--end", offsetof(struct query_args, end) },
        { "--step", offsetof(struct query_args, step) },
        { "-o", offsetof(struct query_args, output) },
        { "--format", offsetof(struct query_args, output) },
    };

    *ret = (struct query_args){ .output = STR("promql"), .step = STR("1m") };
    for (int i = 0; i < argc; i++) {
        struct str argument = str_from(argv[i]);
        if (argument.len < 2 || argument.ptr[0] != '-' || ret->url.len > 0) {
            struct str *dest = ret->url.len == 0 ? &ret->url : &ret->expr;
            if (dest->len > 0) {
                return err_set(err, ERR_INVALID, "one expression, please; got also \"%s\"",
                               argv[i]);
            }
            *dest = argument;
            continue;
        }
        struct str name;
        struct str value;
        bool has_value = str_cut(argument, '=', &name, &value);
        size_t k = 0;
        while (k < ARRAY_LEN(flags) && !str_eq_c(name, flags[k].name)) {
            k++;
        }
        if (k == ARRAY_LEN(flags) || (!has_value && i + 1 >= argc)) {
            return err_set(err, ERR_INVALID, "unknown flag or missing value: %s", argv[i]);
        }
        *(struct str *)(void *)((char *)ret + flags[k].offset) =
            has_value ? value : str_from(argv[++i]);
    }
    bool is_output_known = str_eq_c(ret->output, "promql") || str_eq_c(ret->output, "json");
    return (is_output_known && ret->url.len > 0 && ret->expr.len > 0) ||
           err_set(err, ERR_INVALID, "usage: tocsin query ... [-o promql|json] URL EXPR");
}

static void add_parameter(struct buf *body, const char *name, struct str value) {
    static const char hex[] = "0123456789ABCDEF";
    buf_printf(body, "%s%s=", body->len == 0 ? "" : "&", name);
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        bool is_plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                        (c >= 'a' && c <= 'z') || c == '.' || c == '-' || c == '_';
        if (is_plain) {
            buf_putc(body, (char)c);
        } else {
            char escaped[3] = { '%', hex[c >> 4], hex[c & 15] };
            buf_append(body, escaped, sizeof(escaped));
        }
    }
}

/* POST the form; ERR_IO when the server cannot be reached. */
static bool post_form(struct str url,
                      const char *path,
                      struct buf *form,
                      struct buf *reply,
                      struct err *err) {
    struct http_client *client = NULL;
    if (!http_client_create("tocsin-query/" TOCSIN_VERSION, &client, err)) {
        return false;
    }
    CLEANUP(buf_finish) struct buf full;
    buf_init(&full, 8192);
    while (url.len > 0 && url.ptr[url.len - 1] == '/') {
        url.len--;
    }
    buf_str(&full, url);
    buf_cstr(&full, path);
    static const char *const headers[] = { "Content-Type: application/x-www-form-urlencoded",
                                           NULL };
    struct http_request request = {
        .method = "POST",
        .url = full.ptr,
        .headers = headers,
        .body = buf_as_str(form),
        .timeout_ms = 300000,
        .response_bytes_max = reply->bytes_max,
        .accept_gzip = true,
    };
    struct http_response response;
    bool is_ok = http_perform_blocking(client, &request, &response, reply, err);
    if (is_ok && !response.is_ok) {
        *err = response.err;
        is_ok = false;
    }
    http_client_destroy(client);
    return is_ok || err_wrap(err, "%.*s", STR_FMT(url));
}

static struct labels metric_of(const struct json_value *metric, struct arena *arena) {
    struct labels_builder builder;
    labels_builder_init(&builder, arena, (struct labels){ 0 });
    for (size_t i = 0; metric != NULL && i < metric->count; i++) {
        labels_builder_set(&builder, metric->keys[i], metric->items[i].string);
    }
    return labels_builder_build(&builder);
}

static void print_point(const struct json_value *point, struct buf *out) {
    double t = 0;
    if (point->type == JSON_ARRAY && point->count == 2 && json_number(&point->items[0], &t)) {
        buf_str(out, point->items[1].string);
        buf_cstr(out, " @[");
        buf_float_json(out, t);
        buf_cstr(out, "]");
    }
}

/* promtool's form: labels => value @[time], ranges with a line per point. */
static void print_data(const struct json_value *data, struct arena *arena, struct buf *out) {
    const struct json_value *result = json_get(data, "result");
    const struct json_value *type = json_get(data, "resultType");
    if (result == NULL || type == NULL || result->type != JSON_ARRAY) {
        return;
    }
    if (str_eq_c(type->string, "scalar") || str_eq_c(type->string, "string")) {
        print_point(result, out);
        buf_putc(out, '\n');
        return;
    }
    for (size_t i = 0; i < result->count; i++) {
        const struct json_value *series = &result->items[i];
        labels_print(metric_of(json_get(series, "metric"), arena), out);
        const struct json_value *value = json_get(series, "value");
        const struct json_value *values = json_get(series, "values");
        buf_cstr(out, values != NULL ? " =>\n" : " => ");
        if (value != NULL) {
            print_point(value, out);
            buf_putc(out, '\n');
        }
        for (size_t j = 0; values != NULL && j < values->count; j++) {
            print_point(&values->items[j], out);
            buf_putc(out, '\n');
        }
    }
}

static int print_reply(struct str reply, bool is_json) {
    if (is_json) {
        printf("%.*s\n", STR_FMT(reply));
    }
    CLEANUP(arena_finish) struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct json_parser *parser = json_parser_create(reply.len + 1);
    struct json_value *root = NULL;
    struct err err = ERR_INIT;
    bool is_parsed = json_parse(parser, reply, &arena, &root, &err);
    json_parser_destroy(parser);
    if (!is_parsed || root->type != JSON_OBJECT) {
        fprintf(stderr, "tocsin: the server's reply is not JSON: %.*s\n",
                (int)(reply.len < 200 ? reply.len : 200), reply.ptr);
        return EXIT_FAILED;
    }
    const struct json_value *error = json_get(root, "error");
    if (error != NULL && error->type == JSON_STRING) {
        fprintf(stderr, "tocsin: %.*s\n", STR_FMT(error->string));
        return EXIT_FAILED;
    }
    const struct json_value *data = json_get(root, "data");
    if (!is_json && data != NULL) {
        CLEANUP(buf_finish) struct buf out;
        buf_init(&out, SIZE_MAX);
        print_data(data, &arena, &out);
        fwrite(buf_as_str(&out).ptr, 1, out.len, stdout);
    }
    return EXIT_FINE;
}

static int run_query(const struct query_args *args, const char *path, struct buf *form) {
    CLEANUP(buf_finish) struct buf reply;
    buf_init(&reply, (size_t)1 << 30);
    struct err err = ERR_INIT;
    if (!post_form(args->url, path, form, &reply, &err)) {
        fprintf(stderr, "tocsin: %s\n", err.msg);
        return err.code == ERR_INVALID ? EXIT_USAGE : EXIT_UNREACHABLE;
    }
    return print_reply(buf_as_str(&reply), str_eq_c(args->output, "json"));
}

int verb_query_instant(int argc, char *const *argv) {
    struct err err = ERR_INIT;
    struct query_args args;
    if (!parse_args(argc, argv, &args, &err)) {
        fprintf(stderr, "tocsin: %s\n", err.msg);
        return EXIT_USAGE;
    }
    CLEANUP(buf_finish) struct buf form;
    buf_init(&form, 1u << 20);
    add_parameter(&form, "query", args.expr);
    if (args.time.len > 0) {
        add_parameter(&form, "time", args.time);
    }
    return run_query(&args, "/api/v1/query", &form);
}

int verb_query_range(int argc, char *const *argv) {
    struct err err = ERR_INIT;
    struct query_args args;
    if (!parse_args(argc, argv, &args, &err)) {
        fprintf(stderr, "tocsin: %s\n", err.msg);
        return EXIT_USAGE;
    }
    char start[RFC3339_TEXT_MAX];
    char end[RFC3339_TEXT_MAX];
    int64_t now_ms = clock_wall_ms(clock_system());
    rfc3339_from_ms(now_ms - 3600000, start);
    rfc3339_from_ms(now_ms, end);
    CLEANUP(buf_finish) struct buf form;
    buf_init(&form, 1u << 20);
    add_parameter(&form, "query", args.expr);
    add_parameter(&form, "start", args.start.len > 0 ? args.start : str_from(start));
    add_parameter(&form, "end", args.end.len > 0 ? args.end : str_from(end));
    add_parameter(&form, "step", args.step);
    return run_query(&args, "/api/v1/query_range", &form);
}
