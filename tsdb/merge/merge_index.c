/* Second phase of a merge: the directory, then the postings of all sources united. */
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/merge/merge_steps.h"

#define BLOCKS_PER_SLICE (MERGE_SLICE_BYTES / 4096)
#define LASTS_PER_SLICE  4096

/* ---- the directory ---- */

static int compare_entries(const void *a, const void *b) {
    const struct directory_entry *x = a;
    const struct directory_entry *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

struct directory_slice {
    const struct merge *merge;
    size_t entry_next;
    size_t last_next;
};

static int put_directory(void *ctx, struct store *store, MDB_txn *txn) {
    struct directory_slice *slice = ctx;
    const struct merge *merge = slice->merge;
    int64_t place = merge->target.place;
    int rc = 0;
    slice->entry_next = merge->entry_next;
    slice->last_next = merge->last_next;
    for (size_t i = 0; rc == 0 && i < BLOCKS_PER_SLICE && slice->entry_next < merge->entry_count;
         i++) {
        size_t taken;
        rc = directory_put_block(store, txn, place, merge->entries + slice->entry_next,
                                 merge->entry_count - slice->entry_next, &taken);
        slice->entry_next += taken;
    }
    for (size_t i = 0; rc == 0 && i < LASTS_PER_SLICE && slice->last_next < merge->last_count;
         i++) {
        const struct merge_last *last = &merge->lasts[slice->last_next++];
        rc = store_put_row(store, txn, place, last->id, &last->row);
    }
    return rc;
}

bool merge_directory(struct merge *merge, struct err *err) {
    if (merge->entry_next == 0 && merge->last_next == 0) {
        if (merge->entry_count > 1) {
            qsort(merge->entries, merge->entry_count, sizeof(merge->entries[0]), compare_entries);
        }
        for (size_t i = 0; i < merge->entry_count; i++) {
            idset_add(&merge->entry_ids, merge->entries[i].id);
        }
    }
    struct directory_slice slice = { .merge = merge };
    if (!store_write(merge->db, put_directory, &slice, "merging the directory", err)) {
        return false;
    }
    merge->entry_next = slice.entry_next;
    merge->last_next = slice.last_next;
    if (merge->entry_next == merge->entry_count && merge->last_next == merge->last_count) {
        merge->phase = MERGE_POSTINGS;
        merge->postings.ids = &merge->entry_ids;
        merge->postings.target = merge->target.place;
    }
    return true;
}

/* ---- postings ---- */

bool merge_postings(struct merge *merge, struct err *err) {
    bool is_over;
    if (!posting_union_step(&merge->postings, &is_over, err)) {
        return err_wrap(err, "merging an index");
    }
    merge->phase = is_over ? MERGE_FLIP : MERGE_POSTINGS;
    return true;
}
