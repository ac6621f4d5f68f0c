/*
 * Go text/template: the engine shared by rule annotations and notification messages.
 *
 * Language  text, comments, trim markers, pipelines, parentheses, variables (:= and =), if / else
 *           if / else, range (with else, break, continue), with, define / template / block,
 *           fields, map keys, method-like chains, literals, comparison and logic builtins
 *           (eq ne lt le gt ge and or not len index slice print printf println html js urlquery
 *           call-free).
 * Limits    1,000,000 steps, 1 MiB of output, 16 MiB of values, nesting 64 (ERR_LIMIT).
 * Errors    ERR_INVALID on parse ("template: NAME:LINE:COL: …", both from 1, in bytes), ERR_EXEC
 *           while running ("template: NAME:LINE:COL: executing …" with Go's columns, from 0). A
 *           caller's function may fail with another code, which is kept.
 * Source    Go's text/template (1.26), missingkey=zero; html/template's escaping in plain text and
 *           attributes, with its filter against javascript: links.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum tmpl_type {
    TMPL_NIL,
    TMPL_BOOL,
    TMPL_INT,
    TMPL_FLOAT,
    TMPL_STRING,
    TMPL_LIST,
    TMPL_MAP,    /* ordered by key when ranged over */
    TMPL_OBJECT, /* like a Go struct: unknown fields are errors, map keys are not */
    TMPL_TYPE_COUNT,
};

struct tmpl_value {
    enum tmpl_type type;
    bool is_html; /* a string that is HTML already and is not escaped in is_html runs */

    union {
        bool boolean;
        int64_t integer;
        double number;
        struct str string;
        struct tmpl_list *list;
        struct tmpl_map *map;
    };
};

/* A function of the caller bound to values of one kind: {{ .Alerts.Firing }}, and with arguments
 * {{ .CommonLabels.Remove .GroupLabels.Names }}. `self` and args are borrowed. */
struct tmpl_method {
    const char *name;
    bool (*call)(const struct tmpl_value *self,
                 const struct tmpl_value *args,
                 size_t arg_count,
                 struct arena *arena,
                 struct tmpl_value *ret,
                 struct err *err);
    uint8_t args_min;
    uint8_t args_max;
};

struct tmpl_list {
    struct tmpl_value *items;
    size_t count;
    const struct tmpl_method *methods; /* looked up where a field is named; may be NULL */
    size_t method_count;
    const char *type_name; /* for messages; NULL = []interface {} */
};

#define TMPL_ANY_MAP "map[string]interface {}"

struct tmpl_map {
    struct str *keys; /* ascending for TMPL_MAP */
    struct tmpl_value *values;
    size_t count;
    /* For messages; NULL = map[string]string. A missing key of a map reads as an empty string, of
     * one named TMPL_ANY_MAP as nil (Go's zero values). */
    const char *type_name;
    const struct tmpl_method *methods; /* looked up before the keys; may be NULL */
    size_t method_count;
    /* How the value prints with {{ . }} (e.g. a label set); NULL = Go's map[k:v]. */
    void (*print)(const struct tmpl_map *map, struct buf *out);
};

/* A function of the caller. args are borrowed; the result lives in `arena`. */
typedef bool (*tmpl_call_fn)(void *ctx,
                             const struct tmpl_value *args,
                             size_t arg_count,
                             struct arena *arena,
                             struct tmpl_value *ret,
                             struct err *err);

struct tmpl_func {
    const char *name;
    tmpl_call_fn call;
    uint8_t args_min;
    uint8_t args_max; /* 255 = any number */
};

struct tmpl;

/* An empty set of templates; `funcs` must outlive it. */
struct tmpl *tmpl_create(const struct tmpl_func *funcs, size_t func_count);
void tmpl_destroy(struct tmpl *tmpl); /* NULL ok */

/* Names of variables ("$labels") that texts added from now on may use outside of their definitions;
 * each run gives their values. `names` must outlive the set. Without this only $ exists. */
void tmpl_declare_vars(struct tmpl *tmpl, const char *const *names, size_t count);

/* Parse `text` and add it under `name` together with the templates it defines; later definitions
 * replace those of earlier texts unless they are empty. Nothing is added on failure. */
WARN_UNUSED bool tmpl_add(struct tmpl *tmpl, const char *name, struct str text, struct err *err);
bool tmpl_has(const struct tmpl *tmpl, const char *name);

struct tmpl_run {
    const char *name;      /* which template */
    struct tmpl_value dot; /* also $ */
    void *ctx;             /* handed to the functions */
    /* Values of declared variables. */
    const char *const *var_names;
    const struct tmpl_value *var_values;
    size_t var_count;
    bool is_html; /* escape interpolated values for HTML text and attributes */
};

/* Thread-safe on a template set that is no longer changed. `out` gets what was written. */
WARN_UNUSED bool tmpl_execute(const struct tmpl *tmpl,
                              const struct tmpl_run *run,
                              struct arena *arena,
                              struct buf *out,
                              struct err *err);

/*
 * The functions both upstreams share and those that need nothing but their arguments, to be listed
 * in a caller's table:
 *   text     toUpper toLower title trimSpace join match reReplaceAll stringSlice safeHtml safeUrl
 *            urlUnescape base64encode base64decode toJson
 *   lists    args list append dict first label value strvalue sortByLabel
 *   numbers  humanize humanize1024 humanizeDuration humanizePercentage humanizeTimestamp
 *   time     toTime toDuration parseDuration date
 *   hosts    stripPort stripDomain
 * now, since and tz need a clock or time zones and are the caller's. `title` leaves the rest of a
 * word alone, as in Prometheus; tmpl_call_title_lower lowers it, as in Alertmanager.
 */
extern const struct tmpl_func tmpl_common_funcs[];
extern const size_t tmpl_common_func_count;

bool tmpl_call_title_lower(void *ctx,
                           const struct tmpl_value *args,
                           size_t arg_count,
                           struct arena *arena,
                           struct tmpl_value *ret,
                           struct err *err);

/* Sets the error Go gives for an argument of the wrong type; returns false. */
bool tmpl_wrong_type(const struct tmpl_value *value, const char *expected, struct err *err);

/*
 * Times and durations as values: objects that print as Go's time.Time and time.Duration do and have
 * their methods (Format, Unix, Year, Sub, IsZero ...; Seconds, Round, String ...).
 */
struct tmpl_time {
    int64_t t_ms;     /* Unix epoch, milliseconds */
    int32_t offset_s; /* of the zone it is shown in, east of UTC */
    struct str zone;  /* its abbreviation; empty = UTC */
};

#define TMPL_TIME_ZERO_MS INT64_C(-62135596800000) /* 0001-01-01T00:00:00Z, Go's zero time */

struct tmpl_value tmpl_time(struct arena *arena, struct tmpl_time time);
bool tmpl_get_time(const struct tmpl_value *value, struct tmpl_time *ret); /* false: not a time */
struct tmpl_value tmpl_duration(struct arena *arena, int64_t duration_ns);
bool tmpl_get_duration(const struct tmpl_value *value, int64_t *ret_ns);

/* Go's time.Format with its reference-time layouts. */
void tmpl_time_format(struct buf *out, const struct tmpl_time *time, struct str layout);

/* Helpers to build values. */
static inline struct tmpl_value tmpl_string(struct str s) {
    return (struct tmpl_value){ .type = TMPL_STRING, .string = s };
}

static inline struct tmpl_value tmpl_float(double number) {
    return (struct tmpl_value){ .type = TMPL_FLOAT, .number = number };
}

static inline struct tmpl_value tmpl_int(int64_t integer) {
    return (struct tmpl_value){ .type = TMPL_INT, .integer = integer };
}

static inline struct tmpl_value tmpl_bool(bool boolean) {
    return (struct tmpl_value){ .type = TMPL_BOOL, .boolean = boolean };
}
