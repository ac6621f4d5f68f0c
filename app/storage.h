/* Options of the store that are lists in one flag: parsed here, checked again by tsdb_open. */
#pragma once

#include "base/string_list.h"
#include "tsdb/tsdb.h"

/*
 * "5m:90d,1h:2y": resolution and how long its rollups are kept (0 = for ever), into ret->rollups,
 * ordered. Errors: ERR_INVALID naming the flag and the part.
 */
WARN_UNUSED bool storage_parse_rollups(const struct string_list *texts,
                                       struct tsdb_options *ret,
                                       struct err *err);
