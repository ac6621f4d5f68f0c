/* Lists in the store's flags. */
#include "app/storage.h"

#include <stdlib.h>

#include "base/duration.h"

static int compare_rollups(const void *a, const void *b) {
    const struct tsdb_rollup *x = a;
    const struct tsdb_rollup *y = b;
    return (x->resolution_ms > y->resolution_ms) - (x->resolution_ms < y->resolution_ms);
}

static bool parse_rollup(struct str part, struct tsdb_rollup *ret, struct err *err) {
    struct str resolution;
    struct str retention;
    if (!str_cut(part, ':', &resolution, &retention)) {
        return err_set(err, ERR_INVALID, "expected RESOLUTION:RETENTION as in 5m:90d");
    }
    const int64_t day_ms = 24 * 60 * 60 * 1000;
    if (!duration_parse(resolution, &ret->resolution_ms, err) ||
        !duration_parse(retention, &ret->retention_ms, err)) {
        return false;
    }
    return (ret->resolution_ms >= TSDB_ROLLUP_RESOLUTION_MS_MIN &&
            day_ms % ret->resolution_ms == 0) ||
           err_set(err, ERR_INVALID, "a resolution is at least 1m and divides a day");
}

bool storage_parse_rollups(const struct string_list *texts,
                           struct tsdb_options *ret,
                           struct err *err) {
    for (size_t i = 0; i < texts->count; i++) {
        struct str rest = str_from(texts->items[i]);
        struct str part;
        bool has_more = true;
        while (has_more) {
            has_more = str_cut(rest, ',', &part, &rest);
            if (ret->rollup_count == TSDB_ROLLUPS_MAX) {
                return err_set(err, ERR_INVALID, "--storage.rollups: more than %d resolutions",
                               TSDB_ROLLUPS_MAX);
            }
            if (!parse_rollup(part, &ret->rollups[ret->rollup_count], err)) {
                return err_wrap(err, "--storage.rollups: \"%.*s\"", STR_FMT(part));
            }
            ret->rollup_count++;
        }
    }
    qsort(ret->rollups, ret->rollup_count, sizeof(ret->rollups[0]), compare_rollups);
    for (size_t i = 1; i < ret->rollup_count; i++) {
        if (ret->rollups[i].resolution_ms == ret->rollups[i - 1].resolution_ms) {
            return err_set(err, ERR_INVALID, "--storage.rollups: a resolution stands there twice");
        }
    }
    return true;
}
