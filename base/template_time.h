/* Private to base/template_time.c and template_duration.c. */
#pragma once

#include "base/template.h"

#define NS_PER_MS     INT64_C(1000000)
#define NS_PER_SECOND INT64_C(1000000000)

/* An object whose fields have no name a template could spell. */
struct tmpl_map *tmpl_hidden_object(struct arena *arena, size_t field_count);

/* An argument that is a duration or a number of nanoseconds. */
bool tmpl_want_duration(const struct tmpl_value *arg, int64_t *ret_ns, struct err *err);

/* What a print function writes, as text in the arena. */
struct str tmpl_printed(const struct tmpl_map *map,
                        void (*print)(const struct tmpl_map *map, struct buf *out),
                        struct arena *arena);
