/* Second phase of a merge: the directory, then the postings of all sources united. */
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/bytes.h"
#include "tsdb/merge_steps.h"

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
    }
    return true;
}

/* ---- postings ---- */

struct posting_slice {
    struct merge *merge;
    struct buf after;
    bool has_posting;
    bool is_over;
};

/* The first pair of a source behind `after`: its key without place and part number. A pair's rows
 * lie behind the key (pair, part 0); that they lie side by side is not relied on. */
static int next_pair(const struct posting_walk *walk,
                     const struct posting_slice *slice,
                     struct str *ret_pair,
                     MDB_val *ret_key,
                     MDB_val *ret_row) {
    uint8_t start[POSTING_KEY_MAX];
    size_t len = 8;
    store_key_window(start, walk->window);
    if (slice->has_posting) {
        memcpy(start + len, slice->after.ptr, slice->after.len);
        len += slice->after.len;
    }
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(walk->txn, walk->store->dbis[STORE_POSTINGS], &cursor);
    if (rc != 0) {
        return rc;
    }
    *ret_key = (MDB_val){ .mv_size = len, .mv_data = start };
    rc = mdb_cursor_get(cursor, ret_key, ret_row, MDB_SET_RANGE);
    while (rc == 0) {
        if (ret_key->mv_size < 12 || bytes_be64_signed(ret_key->mv_data) != walk->window) {
            rc = MDB_NOTFOUND;
            break;
        }
        *ret_pair = str_n((const char *)ret_key->mv_data + 8, ret_key->mv_size - 12);
        if (!slice->has_posting || str_cmp(*ret_pair, buf_as_str(&slice->after)) > 0) {
            break;
        }
        rc = mdb_cursor_get(cursor, ret_key, ret_row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc;
}

/* Find the least pair behind `after` in any source. MDB_NOTFOUND: there is none. */
static int least_pair(const struct posting_slice *slice,
                      struct posting_walk *walk,
                      struct str *ret_name,
                      struct str *ret_value,
                      struct buf *ret_pair) {
    const struct merge_plan *plan = &slice->merge->plan;
    bool found = false;
    for (size_t i = 0; i < plan->source_count; i++) {
        struct str pair;
        MDB_val key;
        MDB_val row;
        walk->window = plan->sources[i].place;
        int rc = next_pair(walk, slice, &pair, &key, &row);
        if (rc == 0 && (!found || str_cmp(pair, buf_as_str(ret_pair)) < 0)) {
            struct err err = ERR_INIT;
            found = true;
            buf_reset(ret_pair);
            buf_str(ret_pair, pair);
            struct posting_row parsed;
            if (!posting_check(key, row, &parsed, &err)) {
                return merge_rc_of(&err);
            }
            *ret_name = parsed.name;
            *ret_value = parsed.value;
        } else if (rc != 0 && rc != MDB_NOTFOUND) {
            return rc;
        }
    }
    return found ? 0 : MDB_NOTFOUND;
}

/* Unite a pair's ids. Name and value point into the transaction: copied before anything is put. */
static int put_pair(struct posting_slice *slice,
                    struct posting_walk *walk,
                    struct str name,
                    struct str value,
                    size_t *bytes) {
    const struct merge_plan *plan = &slice->merge->plan;
    struct idset ids = { 0 };
    struct err err = ERR_INIT;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_str(&text, name);
    buf_str(&text, value);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < plan->source_count; i++) {
        walk->window = plan->sources[i].place;
        if (!posting_collect(walk, name, value, &ids, &err)) {
            rc = merge_rc_of(&err);
        }
    }
    idset_normalize(&ids);
    idset_intersect(&ids, &slice->merge->entry_ids);
    walk->window = slice->merge->target.place;
    if (rc == 0 && ids.count > 0) {
        rc = posting_put(walk, str_n(text.ptr, name.len), str_n(text.ptr + name.len, value.len),
                         &ids, bytes);
    }
    buf_finish(&text);
    idset_finish(&ids);
    return rc;
}

static int put_postings(void *ctx, struct store *store, MDB_txn *txn) {
    struct posting_slice *slice = ctx;
    struct posting_walk walk = { .store = store, .txn = txn };
    struct buf pair;
    size_t bytes = 0;
    int rc = 0;
    buf_init(&pair, POSTING_KEY_MAX);
    buf_reset(&slice->after);
    buf_str(&slice->after, buf_as_str(&slice->merge->posting_after));
    slice->has_posting = slice->merge->has_posting;
    while (rc == 0 && bytes < MERGE_SLICE_BYTES) {
        struct str name;
        struct str value;
        rc = least_pair(slice, &walk, &name, &value, &pair);
        if (rc == 0) {
            rc = put_pair(slice, &walk, name, value, &bytes);
            buf_reset(&slice->after);
            buf_str(&slice->after, buf_as_str(&pair));
            slice->has_posting = true;
        }
    }
    buf_finish(&pair);
    slice->is_over = rc == MDB_NOTFOUND;
    return slice->is_over ? 0 : rc;
}

bool merge_postings(struct merge *merge, struct err *err) {
    struct posting_slice slice = { .merge = merge };
    buf_init(&slice.after, POSTING_KEY_MAX);
    bool ok = store_write(merge->db, put_postings, &slice, "merging an index", err);
    if (ok) {
        buf_reset(&merge->posting_after);
        buf_str(&merge->posting_after, buf_as_str(&slice.after));
        merge->has_posting = slice.has_posting;
        merge->phase = slice.is_over ? MERGE_FLIP : MERGE_POSTINGS;
    }
    buf_finish(&slice.after);
    return ok;
}
