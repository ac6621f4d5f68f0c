/*
 * A time zone from the system's database (TZif files), without libc's process-wide state.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct zone;

/* "Europe/Berlin", "UTC". ERR_NOT_FOUND, ERR_INVALID, ERR_IO. */
WARN_UNUSED bool zone_load(struct str name, struct zone **ret, struct err *err);
void zone_destroy(struct zone *zone); /* NULL ok */

struct zone_offset {
    int32_t offset_s; /* east of UTC */
    const char *name; /* "CEST"; lives as long as the zone */
};

/* What holds at that moment. */
struct zone_offset zone_at(const struct zone *zone, int64_t t_ms);
