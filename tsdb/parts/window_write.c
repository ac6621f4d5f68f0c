/*
 * Writing the index of a window: its pending rows, some thousands at a time, are turned into sorted
 * (name, value, id) and united with what is stored, pair by pair, in slices of one transaction. The
 * last slice takes the pending rows away; a crash before it repeats the round.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/parts/window.h"

#define ROUND_IDS_MAX   16384             /* pending rows indexed per round */
#define SLICE_BYTES_MAX ((size_t)3 << 20) /* written per transaction */

struct posting {
    struct str name;
    struct str value;
    uint64_t id;
};

struct indexing {
    struct tsdb *db;
    int64_t window;
    struct arena arena;
    uint64_t *ids; /* pending rows of this round */
    size_t id_count;
    size_t id_cap;
    struct posting *postings;
    size_t posting_count;
    size_t posting_cap;
    size_t next; /* posting to write next */
    size_t slice_end;
};

static int compare_postings(const void *a, const void *b) {
    const struct posting *x = a;
    const struct posting *y = b;
    int order = str_cmp(x->name, y->name);
    if (order == 0) {
        order = str_cmp(x->value, y->value);
    }
    return order != 0 ? order : (x->id > y->id) - (x->id < y->id);
}

/* The next pending rows of windows before end_window, all of one window. */
static bool take_pending(struct indexing *indexing,
                         MDB_txn *txn,
                         int64_t end_window,
                         struct err *err) {
    struct store *store = &indexing->db->store;
    indexing->id_count = 0;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[STORE_PENDING], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table pending");
    }
    MDB_val key;
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_FIRST);
    while (rc == 0 && key.mv_size == STORE_KEY_ROW_BYTES && indexing->id_count < ROUND_IDS_MAX) {
        int64_t window = bytes_be64_signed(key.mv_data);
        if (window >= end_window || (indexing->id_count > 0 && window != indexing->window)) {
            break;
        }
        indexing->window = window;
        indexing->ids = vec_grow(indexing->ids, &indexing->id_cap, indexing->id_count + 1,
                                 sizeof(indexing->ids[0]));
        indexing->ids[indexing->id_count++] = bytes_be64((const uint8_t *)key.mv_data + 8);
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND || env_fail(&store->env, err, rc, "reading table pending");
}

static bool load_labels(struct indexing *indexing,
                        struct catalog_reader *catalog,
                        uint64_t id,
                        struct err *err) {
    bool found;
    struct labels labels;
    if (!catalog_read(catalog, id, &labels, &found, err)) {
        if (err->code != ERR_CORRUPT) {
            return false;
        }
        *err = (struct err)ERR_INIT;
        found = false;
    }
    if (!found) {
        /* Nothing to list it under. The others must not wait for it. */
        struct err damage;
        err_set(&damage, ERR_CORRUPT, "store: the labels of series %" PRIu64 " are damaged", id);
        damage_note(indexing->db, DAMAGE_SERIES, &damage);
        return true;
    }
    labels = labels_dup(labels, &indexing->arena);
    indexing->postings =
        vec_grow(indexing->postings, &indexing->posting_cap, indexing->posting_count + labels.count,
                 sizeof(indexing->postings[0]));
    for (size_t i = 0; i < labels.count; i++) {
        indexing->postings[indexing->posting_count++] = (struct posting){
            .name = labels.items[i].name,
            .value = labels.items[i].value,
            .id = id,
        };
    }
    return true;
}

static bool load_round(struct indexing *indexing, int64_t end_window, struct err *err) {
    struct env *env = &indexing->db->store.env;
    MDB_txn *txn;
    arena_reset(&indexing->arena);
    indexing->posting_count = 0;
    indexing->next = 0;
    if (!env_read_begin(env, &txn, err)) {
        return false;
    }
    struct catalog_reader catalog;
    catalog_reader_init(&catalog, &indexing->db->store, txn);
    bool ok = take_pending(indexing, txn, end_window, err);
    for (size_t i = 0; ok && i < indexing->id_count; i++) {
        ok = load_labels(indexing, &catalog, indexing->ids[i], err);
    }
    catalog_reader_finish(&catalog);
    env_read_end(env, txn);
    if (ok && indexing->posting_count > 0) {
        qsort(indexing->postings, indexing->posting_count, sizeof(indexing->postings[0]),
              compare_postings);
    }
    return ok;
}

static void write_ids(struct buf *out, const uint64_t *ids, size_t count) {
    uint64_t next = 0;
    for (size_t at = 0, end; at < count; at = end) {
        for (end = at + 1; end < count && ids[end] == ids[end - 1] + 1; end++) {
        }
        buf_uvarint(out, (ids[at] - next) << 1 | (end - at > 1));
        if (end - at > 1) {
            buf_uvarint(out, end - at - 2);
        }
        next = ids[end - 1] + 1;
    }
}

int posting_put(const struct posting_walk *walk,
                struct str name,
                struct str value,
                const struct idset *ids,
                size_t *bytes) {
    struct buf body;
    buf_init(&body, SIZE_MAX);
    uint8_t key[POSTING_KEY_MAX];
    size_t key_len = posting_key(key, walk->window, name, value);
    int rc = 0;
    size_t at = 0;
    uint32_t part = 0;
    for (; rc == 0 && at < ids->count; part++) {
        size_t count = ids->count - at < POSTING_IDS_MAX ? ids->count - at : POSTING_IDS_MAX;
        buf_reset(&body);
        buf_putc(&body, POSTING_ROW_VERSION);
        if (value.len > POSTING_VALUE_BYTES) {
            buf_uvarint(&body, value.len);
            buf_str(&body, value);
        }
        write_ids(&body, ids->ids + at, count);
        at += count;
        bytes_put_be32(key + key_len, part);
        struct str key_bytes = str_n((const char *)key, key_len + 4);
        rc = store_put(walk->store, walk->txn, STORE_POSTINGS, key_bytes, buf_as_str(&body));
        *bytes += body.len;
    }
    buf_finish(&body);
    /* What is left of a longer list. */
    for (; rc == 0; part++) {
        bytes_put_be32(key + key_len, part);
        MDB_val mdb_key = { .mv_size = key_len + 4, .mv_data = key };
        rc = mdb_del(walk->txn, walk->store->dbis[STORE_POSTINGS], &mdb_key, NULL);
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* One pair: what is stored united with the new ids. */
static int put_pair(const struct posting_walk *walk,
                    const struct posting *postings,
                    size_t count,
                    size_t *bytes) {
    struct idset ids = { 0 };
    struct err err = ERR_INIT;
    int rc = 0;
    if (!posting_collect(walk, postings[0].name, postings[0].value, &ids, &err)) {
        rc = err.code == ERR_CORRUPT ? MDB_CORRUPTED : MDB_PANIC;
    }
    for (size_t i = 0; i < count; i++) {
        idset_add(&ids, postings[i].id);
    }
    idset_normalize(&ids);
    if (rc == 0) {
        rc = posting_put(walk, postings[0].name, postings[0].value, &ids, bytes);
    }
    idset_finish(&ids);
    return rc;
}

/* A slice of the round; the last one takes the pending rows away. */
static int put_slice(void *ctx, struct store *store, MDB_txn *txn) {
    struct indexing *indexing = ctx;
    struct posting_walk walk = { .store = store, .txn = txn, .window = indexing->window };
    size_t bytes = 0;
    int rc = 0;
    size_t at = indexing->next;
    while (rc == 0 && at < indexing->posting_count && bytes < SLICE_BYTES_MAX) {
        const struct posting *first = &indexing->postings[at];
        size_t count = 1;
        while (at + count < indexing->posting_count && str_eq(first[count].name, first->name) &&
               str_eq(first[count].value, first->value)) {
            count++;
        }
        rc = put_pair(&walk, first, count, &bytes);
        at += count;
    }
    indexing->slice_end = at;
    for (size_t i = 0; rc == 0 && at == indexing->posting_count && i < indexing->id_count; i++) {
        uint8_t key[STORE_KEY_ROW_BYTES];
        store_key_row(key, indexing->window, indexing->ids[i]);
        rc = store_del(store, txn, STORE_PENDING, str_n((const char *)key, sizeof(key)));
    }
    return rc;
}

/* Every sealed row before end_window is covered: the head need no longer answer for them. */
static void release_head(struct tsdb *db, int64_t end_window) {
    struct head *head = &db->head;
    int64_t t_after_ms = i64_floor_div(INT64_MAX, head->block_ms) < end_window
                             ? INT64_MAX
                             : end_window * head->block_ms;
    for (uint32_t handle = 1; handle < head->handle_end; handle++) {
        pthread_rwlock_rdlock(&head->index_lock);
        struct series *series = head_at(head, handle);
        if (series != NULL) {
            head_cover(head, handle, series, t_after_ms);
        }
        pthread_rwlock_unlock(&head->index_lock);
    }
}

static bool index_round(struct indexing *indexing, struct err *err) {
    do {
        if (!store_write(indexing->db, put_slice, indexing, "indexing a window", err)) {
            return false;
        }
        indexing->next = indexing->slice_end;
    } while (indexing->next < indexing->posting_count);
    return true;
}

bool window_index_all(struct tsdb *db, int64_t end_window, struct err *err) {
    struct indexing indexing = { .db = db };
    arena_init(&indexing.arena, SIZE_MAX);
    bool ok;
    bool has_covered = db->has_uncovered;
    do {
        ok = load_round(&indexing, end_window, err);
        if (ok && indexing.id_count > 0) {
            ok = index_round(&indexing, err);
            has_covered = true;
        }
    } while (ok && indexing.id_count > 0);
    if (ok && has_covered) {
        release_head(db, end_window);
        db->has_uncovered = false;
    }
    mem_free(indexing.ids);
    mem_free(indexing.postings);
    arena_finish(&indexing.arena);
    return ok;
}
