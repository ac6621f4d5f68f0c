/* Lists in the store's flags. */
#include "app/storage.h"

#include <stdlib.h>

#include "base/duration.h"
#include "base/mem.h"
#include "promql/promql.h"

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

/* ---- retention classes ---- */

void storage_classes_finish(struct storage_classes *classes) {
    for (size_t i = 0; i < classes->count; i++) {
        for (size_t k = 0; k < classes->counts[i]; k++) {
            matcher_finish(&classes->matchers[i][k]);
        }
        mem_free(classes->matchers[i]);
    }
    *classes = (struct storage_classes){ 0 };
}

static bool parse_class(struct str text,
                        struct storage_classes *classes,
                        struct tsdb_options *ret,
                        struct err *err) {
    size_t at = text.len;
    while (at > 0 && text.ptr[at - 1] != '=') {
        at--;
    }
    if (at < 2) {
        return err_set(err, ERR_INVALID, "expected SELECTOR=DURATION as in {job=\"a\"}=30d");
    }
    if (ret->retention_class_count == TSDB_RETENTION_CLASSES_MAX) {
        return err_set(err, ERR_INVALID, "more than %d classes", TSDB_RETENTION_CLASSES_MAX);
    }
    struct tsdb_retention_class *class = &ret->retention_classes[ret->retention_class_count];
    struct matcher **matchers = &classes->matchers[classes->count];
    size_t *count = &classes->counts[classes->count];
    if (!duration_parse(str_n(text.ptr + at, text.len - at), &class->retention_ms, err) ||
        !promql_parse_selector(str_n(text.ptr, at - 1), matchers, count, err)) {
        return false;
    }
    classes->count++;
    ret->retention_class_count++;
    class->matchers = *matchers;
    class->matcher_count = *count;
    return true;
}

bool storage_parse_classes(const struct string_list *texts,
                           struct storage_classes *classes,
                           struct tsdb_options *ret,
                           struct err *err) {
    for (size_t i = 0; i < texts->count; i++) {
        struct str text = str_from(texts->items[i]);
        if (!parse_class(text, classes, ret, err)) {
            return err_wrap(err, "--storage.retention-class: \"%.*s\"", STR_FMT(text));
        }
    }
    return true;
}
