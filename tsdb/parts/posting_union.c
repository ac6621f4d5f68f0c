/* Uniting postings; see posting_union.h. */
#include "tsdb/parts/posting_union.h"

#include "tsdb/codec/bytes.h"

#define SLICE_BYTES ((size_t)1 << 20) /* written per transaction */

struct posting_slice {
    const struct posting_union *postings;
    struct buf after;
    bool has_after;
    bool is_over;
};

void posting_union_init(struct posting_union *postings, struct tsdb *db) {
    *postings = (struct posting_union){ .db = db };
    buf_init(&postings->after, SIZE_MAX);
}

void posting_union_finish(struct posting_union *postings) {
    buf_finish(&postings->after);
}

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
    if (slice->has_after) {
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
        if (!slice->has_after || str_cmp(*ret_pair, buf_as_str(&slice->after)) > 0) {
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
    const struct posting_union *postings = slice->postings;
    bool found = false;
    for (size_t i = 0; i < postings->place_count; i++) {
        struct str pair;
        MDB_val key;
        MDB_val row;
        walk->window = postings->places[i];
        int rc = next_pair(walk, slice, &pair, &key, &row);
        if (rc == 0 && (!found || str_cmp(pair, buf_as_str(ret_pair)) < 0)) {
            struct err err = ERR_INIT;
            found = true;
            buf_reset(ret_pair);
            buf_str(ret_pair, pair);
            struct posting_row parsed;
            if (!posting_check(key, row, &parsed, &err)) {
                return store_rc_of(&err);
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
    const struct posting_union *postings = slice->postings;
    struct idset ids = { 0 };
    struct err err = ERR_INIT;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_str(&text, name);
    buf_str(&text, value);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < postings->place_count; i++) {
        walk->window = postings->places[i];
        if (!posting_collect(walk, name, value, &ids, &err)) {
            rc = store_rc_of(&err);
        }
    }
    idset_normalize(&ids);
    idset_intersect(&ids, postings->ids);
    walk->window = postings->target;
    if (rc == 0) {
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
    buf_str(&slice->after, buf_as_str(&slice->postings->after));
    slice->has_after = slice->postings->has_after;
    while (rc == 0 && bytes < SLICE_BYTES) {
        struct str name;
        struct str value;
        rc = least_pair(slice, &walk, &name, &value, &pair);
        if (rc == 0) {
            rc = put_pair(slice, &walk, name, value, &bytes);
            buf_reset(&slice->after);
            buf_str(&slice->after, buf_as_str(&pair));
            slice->has_after = true;
        }
    }
    buf_finish(&pair);
    slice->is_over = rc == MDB_NOTFOUND;
    return slice->is_over ? 0 : rc;
}

bool posting_union_step(struct posting_union *postings, bool *ret_is_over, struct err *err) {
    struct posting_slice slice = { .postings = postings };
    buf_init(&slice.after, POSTING_KEY_MAX);
    bool ok = store_write(postings->db, put_postings, &slice, "uniting indexes", err);
    if (ok) {
        buf_reset(&postings->after);
        buf_str(&postings->after, buf_as_str(&slice.after));
        postings->has_after = slice.has_after;
        *ret_is_over = slice.is_over;
    }
    buf_finish(&slice.after);
    return ok;
}
