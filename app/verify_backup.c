/* Verifying backups: see verify_backup.h. */
#include "app/verify_backup.h"

#include <stdio.h>

#include "app/verify_child.h"
#include "base/clock.h"

static void tell(const struct tsdb_verify_visitor *visitor,
                 struct tsdb_verify_totals *totals,
                 const char *what) {
    totals->problems++;
    if (visitor->problem != NULL) {
        visitor->problem(visitor->ctx, "backup", what);
    }
}

/* Counts of the manifest that the walk counts too. */
static void compare_counts(const struct tsdb_backup_info *info,
                           const struct tsdb_verify_visitor *visitor,
                           struct tsdb_verify_totals *totals) {
    const struct {
        const char *name;
        uint64_t said;
        uint64_t found;
    } counts[] = {
        { "series", info->series_count, totals->series },
        { "windows", info->window_count, totals->windows },
        { "segments", info->segment_count, totals->segments },
    };

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        if (counts[i].said != counts[i].found) {
            char what[128];
            snprintf(what, sizeof(what), "the manifest says %llu %s, there are %llu",
                     (unsigned long long)counts[i].said, counts[i].name,
                     (unsigned long long)counts[i].found);
            tell(visitor, totals, what);
        }
    }
}

bool verify_directory(const char *dir,
                      const struct tsdb_verify_visitor *visitor,
                      struct tsdb_verify_totals *ret,
                      bool *ret_is_backup,
                      struct err *err) {
    struct tsdb_backup_info info;
    struct err fault = ERR_INIT;
    bool is_good = tsdb_backup_check(dir, &info, &fault);
    struct tsdb_backup_info ignored;
    struct err manifest = ERR_INIT;
    *ret_is_backup =
        is_good || tsdb_backup_read(dir, &ignored, &manifest) || manifest.code != ERR_NOT_FOUND;
    if (!verify_in_child(dir, visitor, ret, err)) {
        return false;
    }
    if (!*ret_is_backup) {
        return true;
    }
    if (!is_good) {
        tell(visitor, ret, fault.msg);
        return true;
    }
    compare_counts(&info, visitor, ret);
    return ret->problems != 0 || tsdb_backup_mark_verified(dir, clock_wall_ms(clock_system()), err);
}
