/*
 * What to merge. A finished window is merged once no more late samples are expected; what comes
 * later all the same makes a window part again, merged again when it has been quiet for a while.
 * Once all windows of a day (or less, when little is kept) are merged, so is the day: labels, rows
 * and postings then cost next to nothing per sample. Late parts wait until they are worth rewriting
 * the day for.
 *
 * Two levels are enough: of what a day part takes, the samples are more than 99 %.
 */
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/merge/merge.h"

#define QUIET_MS          (INT64_C(10) * 60 * 1000)
#define DAY_MS            (INT64_C(24) * 3600 * 1000)
#define RETENTION_SHARE   8  /* a part covers no more than this share of the retention */
#define LATE_BYTES_SHARE  4  /* late parts are worth a rewrite from this share of the day … */
#define LATE_PARTS_ENOUGH 12 /* … or this many */

/* Windows per wide part. */
static int64_t wide_windows(const struct tsdb *db) {
    int64_t wide_ms = DAY_MS;
    if (db->retention_ms > 0 && db->retention_ms / RETENTION_SHARE < wide_ms) {
        wide_ms = db->retention_ms / RETENTION_SHARE;
    }
    int64_t windows = wide_ms / db->head.block_ms;
    return windows > 1 ? windows : 1;
}

struct choice {
    struct tsdb *db;
    const struct merge_limits *limits;
    const struct part *parts;
    size_t count;
};

static bool is_skipped(const struct choice *choice, const struct part *part) {
    return part->is_damaged || idset_contains(&choice->db->unmergeable, (uint64_t)part->place);
}

static bool is_inside(const struct part *part, int64_t first, int64_t end) {
    return part->window_first >= first && part->window_end <= end;
}

/* Merged parts within the windows, then the window parts given. */
static void set_plan(const struct choice *choice,
                     int64_t first,
                     int64_t end,
                     struct merge_plan *ret) {
    size_t cap = 0;
    *ret = (struct merge_plan){ .window_first = first, .window_end = end };
    for (size_t i = 0; i < choice->count; i++) {
        const struct part *part = &choice->parts[i];
        if (is_inside(part, first, end) && !is_skipped(choice, part) &&
            (part->is_merged || part->stats.sample_count > 0)) {
            ret->sources =
                vec_grow(ret->sources, &cap, ret->source_count + 1, sizeof(ret->sources[0]));
            ret->sources[ret->source_count++] = *part;
        }
    }
}

static bool choose_window(const struct choice *choice, struct merge_plan *ret) {
    const struct merge_limits *limits = choice->limits;
    for (size_t i = 0; i < choice->count; i++) {
        const struct part *part = &choice->parts[i];
        bool is_quiet =
            limits->is_forced || i64_sub(limits->now_ms, part->stats.changed_ms) >= QUIET_MS;
        if (!part->is_merged && part->stats.sample_count > 0 && is_quiet &&
            part->place < limits->end_window && !is_skipped(choice, part)) {
            set_plan(choice, part->place, part->place + 1, ret);
            return true;
        }
    }
    return false;
}

/* Is it time to merge these windows into one part? */
static bool is_wide_due(const struct choice *choice, int64_t first, int64_t end) {
    uint64_t wide_bytes = 0;
    uint64_t late_bytes = 0;
    size_t late_count = 0;
    for (size_t i = 0; i < choice->count; i++) {
        const struct part *part = &choice->parts[i];
        if (!is_inside(part, first, end)) {
            continue;
        }
        if (is_skipped(choice, part) || (!part->is_merged && part->stats.sample_count > 0)) {
            return false;
        }
        if (part->is_merged && part->window_end - part->window_first == end - first) {
            wide_bytes += part->stats.segment_bytes;
        } else if (part->is_merged) {
            late_bytes += part->stats.segment_bytes;
            late_count++;
        }
    }
    if (wide_bytes == 0) {
        return late_count >= 2;
    }
    return late_count >= LATE_PARTS_ENOUGH || late_bytes >= wide_bytes / LATE_BYTES_SHARE;
}

static bool choose_wide(const struct choice *choice, struct merge_plan *ret) {
    int64_t width = wide_windows(choice->db);
    for (size_t i = 0; width > 1 && i < choice->count; i++) {
        const struct part *part = &choice->parts[i];
        if (!part->is_merged || part->is_damaged) {
            continue; /* a damaged one covers all time, as far as is known */
        }
        int64_t first = i64_floor_div(part->window_first, width) * width;
        if (part->window_end <= first + width && first + width <= choice->limits->end_window &&
            part->window_end - part->window_first < width &&
            is_wide_due(choice, first, first + width)) {
            set_plan(choice, first, first + width, ret);
            return true;
        }
    }
    return false;
}

bool merge_choose(struct tsdb *db,
                  const struct merge_limits *limits,
                  struct merge_plan *ret,
                  bool *ret_found,
                  struct err *err) {
    struct part *parts;
    size_t count;
    MDB_txn *txn;
    *ret_found = false;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = part_list(&db->store, txn, INT64_MIN, INT64_MAX, &parts, &count, err);
    env_read_end(&db->store.env, txn);
    if (!ok) {
        return false;
    }
    struct choice choice = { .db = db, .limits = limits, .parts = parts, .count = count };
    *ret_found = choose_window(&choice, ret) || choose_wide(&choice, ret);
    mem_free(parts);
    return true;
}
