/*
 * One NDJSON line into a checked event. The fields of every kind are a table; unknown fields are
 * left alone, so that a sender may be newer than we are.
 */
#include <assert.h>
#include <math.h>

#include "ingest/event.h"

#define APP_BYTES_MAX  64
#define JOB_BYTES_MAX  INGEST_ID_BYTES_MAX
#define WEIGHT_MAX     1000000
#define INTERVAL_S_MAX (7.0 * 86400)
#define NUMBER_MAX     1e15

static const char *const kind_names[] = {
    [EVENT_REQUEST] = "request", [EVENT_LLM] = "llm",           [EVENT_DEPENDENCY] = "dependency",
    [EVENT_BEGIN] = "begin",     [EVENT_RESOURCE] = "resource", [EVENT_BEAT] = "beat",
};
static_assert(ARRAY_LEN(kind_names) == EVENT_KIND_COUNT, "every kind has a name");

const char *event_kind_to_string(enum event_kind kind) {
    assert(kind < EVENT_KIND_COUNT);
    return kind_names[kind];
}

enum field_type {
    FIELD_TEXT,    /* a label value; whole numbers are taken as their digits */
    FIELD_METHOD,  /* upper case; unknown ones become OTHER */
    FIELD_STATUS,  /* 100..599 */
    FIELD_MS,      /* stored as seconds */
    FIELD_SECONDS, /* an interval, 0 < s <= a week */
    FIELD_NUMBER,  /* finite, >= 0 */
    FIELD_BOOL,
};

struct field {
    enum event_kind kind;
    const char *name;
    const char *alias; /* another name senders use, or NULL */
    enum field_type type;
    uint8_t slot; /* enum event_text or enum event_number */
    bool is_required;
    const char *fallback; /* FIELD_TEXT: value when absent */
};

static const struct field fields[] = {
    { EVENT_REQUEST, "method", NULL, FIELD_METHOD, EVENT_METHOD, true, NULL },
    { EVENT_REQUEST, "route", "endpoint", FIELD_TEXT, EVENT_ENDPOINT, true, NULL },
    { EVENT_REQUEST, "status", NULL, FIELD_STATUS, EVENT_STATUS, true, NULL },
    { EVENT_REQUEST, "outcome", NULL, FIELD_TEXT, EVENT_OUTCOME, false, NULL },
    { EVENT_REQUEST, "duration_ms", NULL, FIELD_MS, EVENT_DURATION_S, false, NULL },
    { EVENT_REQUEST, "ttfb_ms", NULL, FIELD_MS, EVENT_TTFB_S, false, NULL },
    { EVENT_REQUEST, "bytes", NULL, FIELD_NUMBER, EVENT_BYTES, false, NULL },

    { EVENT_LLM, "provider", NULL, FIELD_TEXT, EVENT_PROVIDER, true, NULL },
    { EVENT_LLM, "model", NULL, FIELD_TEXT, EVENT_MODEL, true, NULL },
    { EVENT_LLM, "outcome", NULL, FIELD_TEXT, EVENT_OUTCOME, false, "ok" },
    { EVENT_LLM, "error_type", NULL, FIELD_TEXT, EVENT_ERROR_TYPE, false, NULL },
    { EVENT_LLM, "fallback_from", NULL, FIELD_TEXT, EVENT_FALLBACK_FROM, false, NULL },
    { EVENT_LLM, "duration_ms", NULL, FIELD_MS, EVENT_DURATION_S, false, NULL },
    { EVENT_LLM, "ttft_ms", NULL, FIELD_MS, EVENT_TTFT_S, false, NULL },
    { EVENT_LLM, "attempts", NULL, FIELD_NUMBER, EVENT_ATTEMPTS, false, NULL },
    { EVENT_LLM, "tokens_in", NULL, FIELD_NUMBER, EVENT_TOKENS_IN, false, NULL },
    { EVENT_LLM, "tokens_out", NULL, FIELD_NUMBER, EVENT_TOKENS_OUT, false, NULL },
    { EVENT_LLM, "tokens_cache_read", NULL, FIELD_NUMBER, EVENT_TOKENS_CACHE_READ, false, NULL },
    { EVENT_LLM, "tokens_cache_write", NULL, FIELD_NUMBER, EVENT_TOKENS_CACHE_WRITE, false, NULL },
    { EVENT_LLM, "tokens_reasoning", NULL, FIELD_NUMBER, EVENT_TOKENS_REASONING, false, NULL },
    { EVENT_LLM, "cost_usd", NULL, FIELD_NUMBER, EVENT_COST_USD, false, NULL },
    { EVENT_LLM, "cache_hit", NULL, FIELD_BOOL, EVENT_CACHE_HIT, false, NULL },
    { EVENT_LLM, "ratelimit_limit", NULL, FIELD_NUMBER, EVENT_RATELIMIT_LIMIT, false, NULL },
    { EVENT_LLM, "ratelimit_remaining", NULL, FIELD_NUMBER, EVENT_RATELIMIT_REMAINING, false,
      NULL },

    { EVENT_DEPENDENCY, "name", "dependency", FIELD_TEXT, EVENT_DEPENDENCY_NAME, true, NULL },
    { EVENT_DEPENDENCY, "outcome", NULL, FIELD_TEXT, EVENT_OUTCOME, false, "ok" },
    { EVENT_DEPENDENCY, "duration_ms", NULL, FIELD_MS, EVENT_DURATION_S, false, NULL },

    { EVENT_BEGIN, "of", NULL, FIELD_TEXT, EVENT_OF, true, NULL },
    { EVENT_BEGIN, "method", NULL, FIELD_METHOD, EVENT_METHOD, false, NULL },
    { EVENT_BEGIN, "route", "endpoint", FIELD_TEXT, EVENT_ENDPOINT, false, NULL },
    { EVENT_BEGIN, "provider", NULL, FIELD_TEXT, EVENT_PROVIDER, false, NULL },
    { EVENT_BEGIN, "model", NULL, FIELD_TEXT, EVENT_MODEL, false, NULL },
    { EVENT_BEGIN, "name", "dependency", FIELD_TEXT, EVENT_DEPENDENCY_NAME, false, NULL },

    { EVENT_RESOURCE, "active_agents", NULL, FIELD_NUMBER, EVENT_ACTIVE_AGENTS, false, NULL },
    { EVENT_RESOURCE, "rss_bytes", NULL, FIELD_NUMBER, EVENT_RSS_BYTES, false, NULL },
    { EVENT_RESOURCE, "cpu_seconds", NULL, FIELD_NUMBER, EVENT_CPU_SECONDS, false, NULL },
    { EVENT_RESOURCE, "open_fds", NULL, FIELD_NUMBER, EVENT_OPEN_FDS, false, NULL },
    { EVENT_RESOURCE, "loop_lag_ms", NULL, FIELD_MS, EVENT_LOOP_LAG_S, false, NULL },
    { EVENT_RESOURCE, "interval_s", NULL, FIELD_SECONDS, EVENT_INTERVAL_S, false, NULL },

    { EVENT_BEAT, "interval_s", NULL, FIELD_SECONDS, EVENT_INTERVAL_S, false, NULL },
    { EVENT_BEAT, "goodbye", NULL, FIELD_BOOL, EVENT_GOODBYE, false, NULL },
};

static const char *json_type_to_string(const struct json_value *value) {
    static const char *const names[] = {
        [JSON_NULL] = "null",    [JSON_BOOL] = "a boolean",   [JSON_I64] = "a number",
        [JSON_U64] = "a number", [JSON_F64] = "a number",     [JSON_STRING] = "a string",
        [JSON_ARRAY] = "a list", [JSON_OBJECT] = "an object",
    };
    return names[value->type];
}

/* The member called `name`, NULL when absent or null. */
static const struct json_value *member(const struct json_value *object, const char *name) {
    const struct json_value *value = json_get(object, name);
    return value != NULL && value->type == JSON_NULL ? NULL : value;
}

/* A string, or a whole number as its digits, of at most bytes_max bytes; copied into `arena`. */
static bool text_of(const char *name,
                    const struct json_value *value,
                    size_t bytes_max,
                    struct arena *arena,
                    struct str *ret,
                    struct err *err) {
    if (value->type == JSON_I64) {
        *ret = arena_printf(arena, "%lld", (long long)value->i64);
        return true;
    }
    if (value->type != JSON_STRING) {
        return err_set(err, ERR_INVALID, "%s must be a string, not %s", name,
                       json_type_to_string(value));
    }
    if (value->string.len > bytes_max) {
        return err_set(err, ERR_INVALID, "%s is %zu bytes long, at most %zu are taken", name,
                       value->string.len, bytes_max);
    }
    if (value->string.len > 0 && memchr(value->string.ptr, '\0', value->string.len) != NULL) {
        return err_set(err, ERR_INVALID, "%s contains a NUL character", name);
    }
    *ret = arena_str(arena, value->string);
    return true;
}

static bool number_of(const char *name,
                      const struct json_value *value,
                      double *ret,
                      struct err *err) {
    double number;
    if (!json_number(value, &number)) {
        return err_set(err, ERR_INVALID, "%s must be a number, not %s", name,
                       json_type_to_string(value));
    }
    if (!isfinite(number) || number < 0 || number > NUMBER_MAX) {
        return err_set(err, ERR_INVALID, "%s must be between 0 and 1e15", name);
    }
    *ret = number;
    return true;
}

static bool bool_of(const char *name,
                    const struct json_value *value,
                    double *ret,
                    struct err *err) {
    if (value->type != JSON_BOOL) {
        return err_set(err, ERR_INVALID, "%s must be true or false, not %s", name,
                       json_type_to_string(value));
    }
    *ret = value->boolean ? 1 : 0;
    return true;
}

/* Methods are a closed set; anything else would let a scanner mint label values. */
static struct str method_of(struct str text) {
    static const char *const methods[] = { "GET",  "POST",    "PUT",     "DELETE", "PATCH",
                                           "HEAD", "OPTIONS", "CONNECT", "TRACE" };
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (str_eq_nocase(text, str_from(methods[i]))) {
            return str_from(methods[i]);
        }
    }
    return STR("OTHER");
}

static bool status_of(const struct json_value *value,
                      struct arena *arena,
                      struct str *ret,
                      struct err *err) {
    int64_t status = 0;
    bool is_number = value->type == JSON_I64;
    if (is_number) {
        status = value->i64;
    } else if (value->type == JSON_STRING) {
        is_number = str_parse_i64(value->string, &status);
    }
    if (!is_number || status < 100 || status > 599) {
        return err_set(err, ERR_INVALID, "status must be an HTTP status between 100 and 599");
    }
    *ret = arena_printf(arena, "%d", (int)status);
    return true;
}

static bool field_decode(const struct field *field,
                         const struct json_value *value,
                         struct arena *arena,
                         struct event *event,
                         struct err *err) {
    double number = 0;
    struct str text;
    switch (field->type) {
    case FIELD_TEXT:
        return text_of(field->name, value, INGEST_EVENT_LABEL_BYTES_MAX, arena,
                       &event->texts[field->slot], err);
    case FIELD_METHOD:
        if (!text_of(field->name, value, INGEST_EVENT_LABEL_BYTES_MAX, arena, &text, err)) {
            return false;
        }
        event->texts[field->slot] = text.len == 0 ? text : method_of(text);
        return true;
    case FIELD_STATUS: return status_of(value, arena, &event->texts[field->slot], err);
    case FIELD_BOOL: return bool_of(field->name, value, &event->numbers[field->slot], err);
    case FIELD_NUMBER: return number_of(field->name, value, &event->numbers[field->slot], err);
    case FIELD_MS:
        if (!number_of(field->name, value, &number, err)) {
            return false;
        }
        event->numbers[field->slot] = number / 1000;
        return true;
    case FIELD_SECONDS:
        if (!number_of(field->name, value, &number, err)) {
            return false;
        }
        if (number <= 0 || number > INTERVAL_S_MAX) {
            return err_set(err, ERR_INVALID, "%s must be more than 0 and at most a week",
                           field->name);
        }
        event->numbers[field->slot] = number;
        return true;
    }
    BUG("field type %d", (int)field->type);
}

static bool is_text_field(const struct field *field) {
    return field->type == FIELD_TEXT || field->type == FIELD_METHOD || field->type == FIELD_STATUS;
}

static bool fields_decode(const struct json_value *object,
                          struct arena *arena,
                          struct event *event,
                          struct err *err) {
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct field *field = &fields[i];
        if (field->kind != event->kind) {
            continue;
        }
        const struct json_value *value = member(object, field->name);
        if (value == NULL && field->alias != NULL) {
            value = member(object, field->alias);
        }
        if (value != NULL && !field_decode(field, value, arena, event, err)) {
            return false;
        }
        if (is_text_field(field) && event->texts[field->slot].len == 0) {
            if (field->is_required) {
                return err_set(err, ERR_INVALID, "a %s event needs %s",
                               event_kind_to_string(event->kind), field->name);
            }
            if (field->fallback != NULL) {
                event->texts[field->slot] = str_from(field->fallback);
            }
        }
    }
    return true;
}

/* What begins decides which fields a begin line needs. */
static bool begin_check(const struct event *event, struct err *err) {
    struct str of = event->texts[EVENT_OF];
    if (str_eq_c(of, "request")) {
        return (event->texts[EVENT_METHOD].len > 0 && event->texts[EVENT_ENDPOINT].len > 0) ||
               err_set(err, ERR_INVALID, "the begin of a request needs method and route");
    }
    if (str_eq_c(of, "llm")) {
        return (event->texts[EVENT_PROVIDER].len > 0 && event->texts[EVENT_MODEL].len > 0) ||
               err_set(err, ERR_INVALID, "the begin of an llm call needs provider and model");
    }
    if (str_eq_c(of, "dependency")) {
        return event->texts[EVENT_DEPENDENCY_NAME].len > 0 ||
               err_set(err, ERR_INVALID, "the begin of a dependency call needs name");
    }
    return err_set(err, ERR_INVALID, "of must be request, llm or dependency");
}

/* ---- what every kind has ---- */

static bool names_decode(const struct json_value *object,
                         struct arena *arena,
                         struct event *event,
                         struct err *err) {
    const struct json_value *app = member(object, "app");
    if (app == NULL) {
        return err_set(err, ERR_INVALID, "an event needs app");
    }
    if (!text_of("app", app, APP_BYTES_MAX, arena, &event->app, err)) {
        return false;
    }
    if (!label_name_is_valid_legacy(event->app)) {
        return err_set(err, ERR_INVALID,
                       "app must be letters, digits and underscores, not starting with a digit: it "
                       "begins the names of the metrics");
    }
    event->job = event->app;
    const struct json_value *job = member(object, "job");
    if (job != NULL && !text_of("job", job, JOB_BYTES_MAX, arena, &event->job, err)) {
        return false;
    }
    if (event->job.len == 0) {
        event->job = event->app;
    }
    const struct json_value *worker = member(object, "worker");
    if (worker != NULL &&
        !text_of("worker", worker, INGEST_ID_BYTES_MAX, arena, &event->worker, err)) {
        return false;
    }
    const struct json_value *id = member(object, "id");
    return id == NULL || text_of("id", id, INGEST_ID_BYTES_MAX, arena, &event->id, err);
}

static bool kind_decode(const struct json_value *object, struct event *event, struct err *err) {
    const struct json_value *kind = member(object, "kind");
    if (kind == NULL || kind->type != JSON_STRING) {
        return err_set(err, ERR_INVALID, "an event needs kind");
    }
    for (size_t i = 0; i < EVENT_KIND_COUNT; i++) {
        if (str_eq_c(kind->string, kind_names[i])) {
            event->kind = (enum event_kind)i;
            return true;
        }
    }
    const char *nearest = str_nearest(kind->string, kind_names, EVENT_KIND_COUNT);
    size_t shown = kind->string.len < 64 ? kind->string.len : 64;
    return err_set(err, ERR_INVALID, "unknown kind \"%.*s\"%s%s%s", (int)shown, kind->string.ptr,
                   nearest == NULL ? "" : ", did you mean \"", nearest == NULL ? "" : nearest,
                   nearest == NULL ? "" : "\"?");
}

static bool time_check(const struct event_parser *parser,
                       const struct json_value *object,
                       int64_t now_ms,
                       enum refusal *ret_why,
                       struct err *err) {
    const struct json_value *ts = member(object, "ts");
    if (ts == NULL) {
        return true;
    }
    double t_ms;
    if (!json_number(ts, &t_ms) || !isfinite(t_ms)) {
        return err_set(err, ERR_INVALID, "ts must be Unix time in milliseconds");
    }
    double ahead_ms = t_ms - (double)now_ms;
    if (ahead_ms > (double)parser->future_ms_max) {
        *ret_why = REFUSAL_TOO_NEW;
        return err_set(err, ERR_INVALID,
                       "ts is %.0f s ahead of the server's clock, at most %lld s are taken",
                       ahead_ms / 1000, (long long)(parser->future_ms_max / 1000));
    }
    if (-ahead_ms > (double)parser->late_ms_max) {
        *ret_why = REFUSAL_TOO_OLD;
        return err_set(err, ERR_INVALID, "ts is %.0f s in the past, at most %lld s are taken%s",
                       -ahead_ms / 1000, (long long)(parser->late_ms_max / 1000),
                       t_ms < 1e11 ? " (ts is in milliseconds)" : "");
    }
    return true;
}

static bool weight_decode(const struct json_value *object, struct event *event, struct err *err) {
    static const char *const names[] = { "n", "sample" };
    event->weight = 1;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct json_value *value = member(object, names[i]);
        if (value == NULL) {
            continue;
        }
        double number;
        if (!json_number(value, &number) || !(number >= 1 && number <= WEIGHT_MAX) ||
            number != floor(number)) {
            return err_set(err, ERR_INVALID, "%s must be a whole number between 1 and %d", names[i],
                           WEIGHT_MAX);
        }
        event->weight *= (uint64_t)number;
    }
    return true;
}

static bool is_extra_allowed(const struct event_parser *parser, struct str name) {
    for (size_t i = 0; i < parser->extra_label_count; i++) {
        if (str_eq_c(name, parser->extra_labels[i])) {
            return true;
        }
    }
    return false;
}

/* Insert by name into EVENT_EXTRA_LABELS_MAX places; a name that repeats keeps its last value. */
static void extra_insert(struct event *event, struct str name, struct str value) {
    size_t at = 0;
    while (at < event->extra_count && str_cmp(event->extra[at].name, name) < 0) {
        at++;
    }
    if (at < event->extra_count && str_eq(event->extra[at].name, name)) {
        event->extra[at].value = value;
        return;
    }
    assert(event->extra_count < EVENT_EXTRA_LABELS_MAX);
    memmove(&event->extra[at + 1], &event->extra[at],
            (event->extra_count - at) * sizeof(event->extra[0]));
    event->extra[at] = (struct label){ .name = name, .value = value };
    event->extra_count++;
}

static bool extra_decode(struct event_parser *parser,
                         const struct json_value *object,
                         struct arena *arena,
                         struct event *event,
                         struct err *err) {
    const struct json_value *labels = member(object, "labels");
    if (labels == NULL) {
        return true;
    }
    if (labels->type != JSON_OBJECT) {
        return err_set(err, ERR_INVALID, "labels must be an object, not %s",
                       json_type_to_string(labels));
    }
    for (size_t i = 0; i < labels->count; i++) {
        if (labels->items[i].type == JSON_NULL) {
            continue;
        }
        if (!is_extra_allowed(parser, labels->keys[i])) {
            parser->labels_dropped++;
            continue;
        }
        struct str value;
        if (!text_of("a label's value", &labels->items[i], INGEST_EVENT_LABEL_BYTES_MAX, arena,
                     &value, err)) {
            return false;
        }
        if (value.len > 0) {
            if (event->extra == NULL) {
                event->extra = arena_calloc(arena, EVENT_EXTRA_LABELS_MAX, sizeof(struct label));
            }
            extra_insert(event, arena_str(arena, labels->keys[i]), value);
        }
    }
    return true;
}

bool event_parse(struct event_parser *parser,
                 struct str line,
                 int64_t now_ms,
                 struct arena *arena,
                 struct event *ret,
                 enum refusal *ret_why,
                 struct err *err) {
    if (line.len > INGEST_EVENT_LINE_BYTES_MAX) {
        *ret_why = REFUSAL_LIMIT;
        return err_set(err, ERR_LIMIT, "the line is %zu bytes long, at most %u are taken", line.len,
                       INGEST_EVENT_LINE_BYTES_MAX);
    }
    arena_reset(&parser->scratch);
    struct json_value *object;
    *ret_why = REFUSAL_MALFORMED;
    if (!json_parse(parser->json, line, &parser->scratch, &object, err)) {
        return false;
    }
    if (object->type != JSON_OBJECT) {
        return err_set(err, ERR_INVALID, "a line must be one JSON object, not %s",
                       json_type_to_string(object));
    }
    struct event event = { 0 };
    for (size_t i = 0; i < EVENT_NUMBER_COUNT; i++) {
        event.numbers[i] = (double)NAN;
    }
    *ret_why = REFUSAL_UNKNOWN_KIND;
    if (!kind_decode(object, &event, err)) {
        return false;
    }
    *ret_why = REFUSAL_BAD_FIELD;
    if (!names_decode(object, arena, &event, err) || !weight_decode(object, &event, err) ||
        !fields_decode(object, arena, &event, err) ||
        !extra_decode(parser, object, arena, &event, err) ||
        !time_check(parser, object, now_ms, ret_why, err)) {
        return false;
    }
    event.has_time = member(object, "ts") != NULL;
    if (event.kind == EVENT_BEGIN && !begin_check(&event, err)) {
        return false;
    }
    *ret = event;
    return true;
}
