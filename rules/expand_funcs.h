/* State of one expansion, as the template functions get it. */
#pragma once

#include "rules/expand.h"

struct expand_run {
    const struct expand_input *input;
    const struct tmpl *tmpl;
    const struct tmpl_run *run; /* the outermost: its variables */
    unsigned depth;             /* of nested `tmpl` calls */
};
