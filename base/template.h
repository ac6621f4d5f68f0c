/*
 * Go text/template: the engine shared by rule annotations and notification messages.
 *
 * Language  text, comments, trim markers, pipelines, parentheses, variables (:= and =), if / else
 *           if / else, range (with else, break, continue), with, define / template / block,
 *           fields, map keys, method-like chains, literals, comparison and logic builtins
 *           (eq ne lt le gt ge and or not len index slice print printf println html js urlquery
 *           call-free).
 * Limits    1,000,000 steps, 1 MiB of output, nesting 64.
 * Errors    ERR_INVALID on parse ("template: NAME:LINE:COL: …"), ERR_EXEC while running.
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
};

struct tmpl_map {
    struct str *keys; /* ascending for TMPL_MAP */
    struct tmpl_value *values;
    size_t count;
    const char *type_name; /* for messages */
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

/* Parse `text` and add it under `name` together with the templates it defines. */
WARN_UNUSED bool tmpl_add(struct tmpl *tmpl, const char *name, struct str text, struct err *err);
bool tmpl_has(const struct tmpl *tmpl, const char *name);

struct tmpl_run {
    const char *name;      /* which template */
    struct tmpl_value dot; /* also $ */
    void *ctx;             /* handed to the functions */
    /* Variables visible from the start ("$labels", "$value"), for rule templates. */
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

/* The functions both upstreams share, to be listed in a caller's table: toUpper toLower title
 * trimSpace join match reReplaceAll safeHtml stringSlice humanize humanize1024 humanizeDuration
 * humanizePercentage humanizeTimestamp toTime toDuration now(ctx-free ones only) parseDuration
 * stripPort stripDomain args since date tz … */
extern const struct tmpl_func tmpl_common_funcs[];
extern const size_t tmpl_common_func_count;

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
