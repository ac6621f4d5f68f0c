/*
 * Deleting by matcher and time. Everything committed so far is sealed first and the journal's mark
 * moved behind it, so that no replay brings a deleted sample back; then the parts are rewritten one
 * by one without the samples. There are no tombstones: a part is read as before or after.
 */
#include "base/mem.h"
#include "tsdb/merge/merge.h"
#include "tsdb/parts/seal.h"
#include "tsdb/parts/window.h"
#include "tsdb/query/querier.h"
#include "tsdb/rollup/rollup.h"
#include "tsdb/upkeep/rewrite.h"

struct deletion {
    struct rewrite rewrite;
    const struct matcher *matchers;
    size_t matcher_count;
    struct idset all; /* ids of every part and of rollups */
};

static bool find_in(struct deletion *deletion,
                    const struct part *part,
                    struct idset *ret,
                    struct err *err) {
    return rewrite_find(deletion->rewrite.db, part, deletion->matchers, deletion->matcher_count,
                        ret, err);
}

static bool find_sealed(struct deletion *deletion,
                        const struct part *parts,
                        size_t count,
                        struct err *err) {
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        ok = find_in(deletion, &parts[i], &deletion->all, err);
    }
    return ok;
}

static bool delete_from(struct deletion *deletion, const struct part *part, struct err *err) {
    struct idset ids = { 0 };
    bool ok = find_in(deletion, part, &ids, err);
    if (ok && ids.count > 0) {
        deletion->rewrite.ids = &ids;
        ok = rewrite_part(&deletion->rewrite, part, err);
    }
    idset_finish(&ids);
    return ok;
}

/* Where samples are gone and rollups are left, series are found by the rollups' own postings. */
static bool find_rolled(struct deletion *deletion, struct err *err) {
    struct tsdb *db = deletion->rewrite.db;
    struct rollup_mark *marks;
    size_t count;
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = rollup_list_marks(db, txn, &marks, &count, err);
    env_read_end(&db->store.env, txn);
    for (size_t i = 0; ok && i < count; i++) {
        struct part part = { .place = rollup_place(marks[i].resolution_ms, marks[i].period) };
        ok = !rollup_reaches(marks[i].period, deletion->rewrite.t_first_ms,
                             deletion->rewrite.t_last_ms) ||
             rewrite_find(db, &part, deletion->matchers, deletion->matcher_count, &deletion->all,
                          err);
    }
    mem_free(marks);
    return ok;
}

/* The rollups first: what is found in neither of both is gone for good, what is left of the samples
 * after a failure is folded again. */
static bool delete_found(struct deletion *deletion,
                         const struct part *parts,
                         size_t count,
                         struct err *err) {
    deletion->rewrite.ids = &deletion->all;
    bool ok = rewrite_rollups(&deletion->rewrite, err);
    for (size_t i = 0; ok && i < count; i++) {
        ok = delete_from(deletion, &parts[i], err);
    }
    return ok;
}

static bool delete_locked(struct deletion *deletion, struct err *err) {
    struct tsdb *db = deletion->rewrite.db;
    struct part *parts;
    size_t count;
    MDB_txn *txn;
    if (!seal_all(db, err) || !env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = part_list(&db->store, txn, head_window(&db->head, deletion->rewrite.t_first_ms),
                        head_window(&db->head, deletion->rewrite.t_last_ms), &parts, &count, err);
    env_read_end(&db->store.env, txn);
    if (!ok) {
        return false;
    }
    ok = find_sealed(deletion, parts, count, err) && find_rolled(deletion, err);
    idset_normalize(&deletion->all);
    ok = ok && (deletion->all.count == 0 || delete_found(deletion, parts, count, err));
    mem_free(parts);
    return ok && merge_sweep(db, err);
}

bool tsdb_delete_blocking(struct tsdb *db,
                          const struct matcher *matchers,
                          size_t matcher_count,
                          int64_t t_min_ms,
                          int64_t t_max_ms,
                          struct tsdb_deleted *ret,
                          struct err *err) {
    if (!match_is_selective(matchers, matcher_count) || matcher_count == 0) {
        return err_set(err, ERR_INVALID, "match[] must contain at least one non-empty matcher");
    }
    if (db->is_read_only) {
        return err_set(err, ERR_UNAVAILABLE, "the store is open for reading only");
    }
    if (db->is_latched) {
        return tsdb_health(db, err);
    }
    if (!ready_wait(&db->ready, READY_WAIT_MS_MAX, err)) {
        return false;
    }
    struct deletion deletion = {
        .rewrite = { .db = db, .t_first_ms = t_min_ms, .t_last_ms = t_max_ms },
        .matchers = matchers,
        .matcher_count = matcher_count,
    };
    pthread_mutex_lock(&db->maintain_lock);
    bool ok = t_min_ms > t_max_ms || delete_locked(&deletion, err);
    pthread_mutex_unlock(&db->maintain_lock);
    if (ok) {
        *ret = (struct tsdb_deleted){
            .series_count = deletion.all.count,
            .sample_count = deletion.rewrite.sample_count,
        };
    }
    idset_finish(&deletion.all);
    return ok;
}
