/* Private to base/json_*: where a text stops being JSON, which simdjson does not say. */
#pragma once

#include "base/str.h"

struct json_fault {
    size_t offset;      /* byte of the text */
    const char *reason; /* static */
};

/* Find the first fault; false when the text is well-formed JSON within `depth_max`. */
WARN_UNUSED bool json_find_fault(struct str text, size_t depth_max, struct json_fault *ret);
