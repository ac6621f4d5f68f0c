/* Private to base/template_printf.c and template_verb.c: the state of one printf. */
#pragma once

#include "base/template_format.h"

#define TMPL_PRINTF_NUMBER_MAX 1000000 /* larger widths and precisions are ignored */

struct tmpl_printer {
    struct buf *out;
    struct str format;
    const struct tmpl_value *args;
    size_t arg_count;
    size_t arg; /* the next one */
    size_t pos;
    bool is_reordered;
    bool is_index_good;
    bool is_erroring; /* inside %!v(...): no String() methods */
    /* of the verb at hand */
    bool minus, plus, sharp, space, zero; /* flags */
    bool plus_v, sharp_v;
    bool has_width, has_precision;
    size_t width;
    size_t precision;
};

/* One value by a verb with the flags of the moment. template_verb.c. */
void tmpl_print_verb(struct tmpl_printer *p,
                     const struct tmpl_value *value,
                     uint32_t verb,
                     int depth);
