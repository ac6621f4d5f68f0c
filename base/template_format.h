/* Private to base/template*: values as text, after Go's fmt and strconv; the builtin functions. */
#pragma once

#include "base/template.h"

/* strconv.Quote. NUL-terminated. */
struct str tmpl_quote(struct str text, struct arena *arena);
void tmpl_append_quoted(struct buf *out, struct str text, bool ascii_only);

/* Go's name of the value's type: "float64", "map[string]string". */
const char *tmpl_type_name(const struct tmpl_value *value);

/* %v */
void tmpl_append_value(struct buf *out, const struct tmpl_value *value);
struct str tmpl_value_text(const struct tmpl_value *value, struct arena *arena);

/* fmt.Sprint, fmt.Sprintln, fmt.Sprintf */
void tmpl_sprint(struct buf *out, const struct tmpl_value *args, size_t count);
void tmpl_sprintln(struct buf *out, const struct tmpl_value *args, size_t count);
void tmpl_sprintf(struct buf *out, struct str format, const struct tmpl_value *args, size_t count);

/* One value by a verb without flags or with a precision (-1 = none), such as %.4g. */
void tmpl_append_float(struct buf *out, double value, char verb, int precision);

/* HTMLEscapeString, and html/template's variant for text and attribute values. */
void tmpl_append_html(struct buf *out, struct str text);
void tmpl_append_html_strict(struct buf *out, struct str text);
void tmpl_append_js(struct buf *out, struct str text);
void tmpl_append_query(struct buf *out, struct str text); /* url.QueryEscape */

/* Is the value true for if, with, and, or, not? */
bool tmpl_is_true(const struct tmpl_value *value);

/* The value of a key, NULL when absent. */
const struct tmpl_value *tmpl_map_find(const struct tmpl_map *map, struct str key);

/* What a missing key reads as. */
struct tmpl_value tmpl_map_zero(const struct tmpl_map *map);

/* Functions every set has; and, or are evaluated by the interpreter. */
extern const struct tmpl_func tmpl_builtins[];
extern const size_t tmpl_builtin_count;
bool tmpl_call_eq(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err);
bool tmpl_call_ne(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err);
bool tmpl_call_lt(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err);
bool tmpl_call_le(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err);
bool tmpl_call_gt(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err);
bool tmpl_call_ge(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err);
