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

/* Matchers of the retention classes; as long as the store is open. Init with {0}. */
struct storage_classes {
    struct matcher *matchers[TSDB_RETENTION_CLASSES_MAX];
    size_t counts[TSDB_RETENTION_CLASSES_MAX];
    size_t count;
};

void storage_classes_finish(struct storage_classes *classes);

/* '{job="a"}=30d': into ret->retention_classes, in order. Errors: as above. */
WARN_UNUSED bool storage_parse_classes(const struct string_list *texts,
                                       struct storage_classes *classes,
                                       struct tsdb_options *ret,
                                       struct err *err);
