/*
 * Postings rows: window, name, value, part → ids. Values longer than VALUE_KEY_BYTES keep their
 * prefix and hash in the key; name and value stand in full in every row, which is what is believed.
 * Values of a name are in byte order as far as the key holds them, so a prefix is a range.
 */
#include "tsdb/window.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/bytes.h"
#include "tsdb/querier.h"

#define ROW_VERSION     1
#define VALUE_KEY_BYTES 160
#define KEY_BYTES_MAX   (8 + 2 + LABEL_NAME_BYTES_MAX + VALUE_KEY_BYTES + 8 + 4)
#define PART_IDS_MAX    8192
#define ROUND_IDS_MAX   16384             /* pending rows indexed per round */
#define SLICE_BYTES_MAX ((size_t)3 << 20) /* written per transaction */

static_assert(KEY_BYTES_MAX <= 511, "LMDB's longest key");

/* ---- keys and rows ---- */

static size_t name_key(uint8_t key[KEY_BYTES_MAX], int64_t window, struct str name) {
    assert(name.len <= LABEL_NAME_BYTES_MAX);
    store_key_window(key, window);
    bytes_put_be16(key + 8, (uint16_t)name.len);
    memcpy(key + 10, name.ptr, name.len);
    return 10 + name.len;
}

/* Without the part number. */
static size_t value_key(uint8_t key[KEY_BYTES_MAX],
                        int64_t window,
                        struct str name,
                        struct str value) {
    size_t len = name_key(key, window, name);
    size_t kept = value.len <= VALUE_KEY_BYTES ? value.len : VALUE_KEY_BYTES;
    memcpy(key + len, value.ptr, kept);
    len += kept;
    if (kept < value.len) {
        bytes_put_be64(key + len, hash_bytes(value));
        len += 8;
    }
    return len;
}

struct posting_row {
    struct str name;
    struct str value;
    uint64_t count;
    struct reader ids;
};

static bool parse_row(MDB_val key, MDB_val row, struct posting_row *ret, struct err *err) {
    struct str body;
    if (!store_check(STORE_POSTINGS, key, row, &body, err)) {
        return false;
    }
    struct reader reader = reader_init(body.ptr, body.len);
    uint8_t version = reader_u8(&reader);
    ret->name = reader_str(&reader);
    ret->value = reader_str(&reader);
    ret->count = reader_uvarint(&reader);
    ret->ids = reader;
    return (!reader.is_bad && version == ROW_VERSION) ||
           err_set(err, ERR_CORRUPT, "store: a row of table postings is malformed");
}

static bool add_ids(struct posting_row *row, struct idset *out, struct err *err) {
    uint64_t id = 0;
    for (uint64_t i = 0; i < row->count && !row->ids.is_bad; i++) {
        id += reader_uvarint(&row->ids);
        idset_add(out, id);
    }
    return !row->ids.is_bad ||
           err_set(err, ERR_CORRUPT, "store: a row of table postings is malformed");
}

/* ---- walking ---- */

struct walk {
    struct store *store;
    MDB_txn *txn;
    int64_t window;
};

/* Calls visit for every row whose key starts with `prefix` until it returns false. */
static bool walk_rows(const struct walk *walk,
                      struct str prefix,
                      struct str start,
                      bool (*visit)(void *ctx, struct posting_row *row, struct err *err),
                      void *ctx,
                      struct err *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(walk->txn, walk->store->dbis[STORE_POSTINGS], &cursor);
    if (rc != 0) {
        return env_fail(&walk->store->env, err, rc, "reading table postings");
    }
    MDB_val key = { .mv_size = start.len, .mv_data = (void *)(uintptr_t)start.ptr };
    MDB_val value;
    bool ok = true;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (ok && rc == 0 && str_starts_with(str_n(key.mv_data, key.mv_size), prefix)) {
        struct posting_row row;
        ok = parse_row(key, value, &row, err) && visit(ctx, &row, err);
        if (ok) {
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        }
    }
    mdb_cursor_close(cursor);
    if (ok && rc != 0 && rc != MDB_NOTFOUND) {
        return env_fail(&walk->store->env, err, rc, "reading table postings");
    }
    return ok;
}

struct collect {
    struct str name;
    struct str value;              /* exact, when matcher is NULL */
    const struct matcher *matcher; /* or by matcher */
    bool is_inverse;
    struct idset *out;
};

static bool collect_row(void *ctx, struct posting_row *row, struct err *err) {
    const struct collect *collect = ctx;
    if (!str_eq(row->name, collect->name)) {
        return true;
    }
    bool is_wanted = collect->matcher == NULL
                         ? str_eq(row->value, collect->value)
                         : matcher_matches(collect->matcher, row->value) != collect->is_inverse;
    return !is_wanted || add_ids(row, collect->out, err);
}

static bool collect_value(const struct walk *walk,
                          struct str name,
                          struct str value,
                          struct idset *out,
                          struct err *err) {
    if (name.len > LABEL_NAME_BYTES_MAX) {
        return true;
    }
    uint8_t key[KEY_BYTES_MAX];
    struct str prefix = str_n((const char *)key, value_key(key, walk->window, name, value));
    struct collect collect = { .name = name, .value = value, .out = out };
    /* Longer values that start with this one share the prefix: leave when they begin. */
    for (uint32_t part = 0;; part++) {
        uint8_t exact[KEY_BYTES_MAX];
        memcpy(exact, key, prefix.len);
        bytes_put_be32(exact + prefix.len, part);
        MDB_val mdb_key = { .mv_size = prefix.len + 4, .mv_data = exact };
        MDB_val mdb_row;
        int rc = mdb_get(walk->txn, walk->store->dbis[STORE_POSTINGS], &mdb_key, &mdb_row);
        if (rc == MDB_NOTFOUND) {
            return true;
        }
        if (rc != 0) {
            return env_fail(&walk->store->env, err, rc, "reading table postings");
        }
        struct posting_row row;
        if (!parse_row(mdb_key, mdb_row, &row, err) || !collect_row(&collect, &row, err)) {
            return false;
        }
    }
}

static bool collect_ids(void *ctx,
                        const struct matcher *matcher,
                        bool is_inverse,
                        struct idset *out,
                        struct err *err) {
    const struct walk *walk = ctx;
    if (matcher->type == MATCH_EQ && !is_inverse) {
        return collect_value(walk, matcher->name, matcher->value, out, err);
    }
    size_t literal_count;
    const struct str *literals = match_literals(matcher, &literal_count);
    if (literals != NULL && !is_inverse) {
        for (size_t i = 0; i < literal_count; i++) {
            if (!collect_value(walk, matcher->name, literals[i], out, err)) {
                return false;
            }
        }
        return true;
    }
    if (matcher->name.len > LABEL_NAME_BYTES_MAX) {
        return true;
    }
    uint8_t key[KEY_BYTES_MAX];
    size_t len = name_key(key, walk->window, matcher->name);
    struct str literal = match_prefix(matcher, is_inverse);
    size_t kept = literal.len < VALUE_KEY_BYTES ? literal.len : VALUE_KEY_BYTES;
    memcpy(key + len, literal.ptr, kept);
    struct str prefix = str_n((const char *)key, len + kept);
    struct collect collect = {
        .name = matcher->name,
        .matcher = matcher,
        .is_inverse = is_inverse,
        .out = out,
    };
    return walk_rows(walk, prefix, prefix, collect_row, &collect, err);
}

static bool all_ids(void *ctx, struct idset *out, struct err *err) {
    const struct walk *walk = ctx;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(walk->txn, walk->store->dbis[STORE_ROWS], &cursor);
    if (rc != 0) {
        return env_fail(&walk->store->env, err, rc, "reading table rows");
    }
    uint8_t start[STORE_KEY_ROW_BYTES];
    store_key_row(start, walk->window, 0);
    MDB_val key = { .mv_size = sizeof(start), .mv_data = start };
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE);
    while (rc == 0 && key.mv_size == sizeof(start) &&
           bytes_be64_signed(key.mv_data) == walk->window) {
        idset_add(out, bytes_be64((const uint8_t *)key.mv_data + 8));
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ||
           env_fail(&walk->store->env, err, rc, "reading table rows");
}

bool window_match(struct store *store,
                  MDB_txn *txn,
                  int64_t window,
                  const struct matcher *matchers,
                  size_t count,
                  struct idset *out,
                  struct err *err) {
    struct walk walk = { .store = store, .txn = txn, .window = window };
    struct match_source source = { .ctx = &walk, .all = all_ids, .collect = collect_ids };
    struct idset ids;
    if (!match_series(&source, matchers, count, &ids, err)) {
        return false;
    }
    for (size_t i = 0; i < ids.count; i++) {
        idset_add(out, ids.ids[i]);
    }
    idset_finish(&ids);
    return true;
}

struct visit {
    void (*visit)(void *ctx, struct str text);
    void *ctx;
    struct str name; /* empty: names */
    struct str last; /* skips the parts of one value; points into the transaction */
};

static bool visit_row(void *ctx, struct posting_row *row, struct err *err) {
    struct visit *visit = ctx;
    struct str text = visit->name.len == 0 ? row->name : row->value;
    if (visit->last.ptr == NULL || !str_eq(text, visit->last)) {
        visit->visit(visit->ctx, text);
        visit->last = text;
    }
    return true;
}

bool window_visit(struct store *store,
                  MDB_txn *txn,
                  int64_t window,
                  struct str name,
                  void (*visit)(void *ctx, struct str text),
                  void *ctx,
                  struct err *err) {
    struct walk walk = { .store = store, .txn = txn, .window = window };
    struct visit visitor = { .visit = visit, .ctx = ctx, .name = name };
    uint8_t key[KEY_BYTES_MAX];
    if (name.len > LABEL_NAME_BYTES_MAX) {
        return true;
    }
    store_key_window(key, window);
    size_t len = name.len == 0 ? 8 : name_key(key, window, name);
    struct str prefix = str_n((const char *)key, len);
    return walk_rows(&walk, prefix, prefix, visit_row, &visitor, err);
}

/* ---- indexing ---- */

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

static bool load_labels(struct indexing *indexing, MDB_txn *txn, uint64_t id, struct err *err) {
    struct str body;
    bool found;
    struct labels labels;
    if (!store_get_series(&indexing->db->store, txn, id, &body, &found, err)) {
        return false;
    }
    if (!found || !labels_decode(arena_str(&indexing->arena, body), &indexing->arena, &labels)) {
        return err_set(err, ERR_CORRUPT, "store: the labels of series %" PRIu64, id);
    }
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
    bool ok = take_pending(indexing, txn, end_window, err);
    for (size_t i = 0; ok && i < indexing->id_count; i++) {
        ok = load_labels(indexing, txn, indexing->ids[i], err);
    }
    env_read_end(env, txn);
    if (ok && indexing->posting_count > 0) {
        qsort(indexing->postings, indexing->posting_count, sizeof(indexing->postings[0]),
              compare_postings);
    }
    return ok;
}

static int put_parts(const struct walk *walk,
                     const struct posting *posting,
                     const struct idset *ids,
                     size_t *bytes) {
    struct buf body;
    buf_init(&body, SIZE_MAX);
    uint8_t key[KEY_BYTES_MAX];
    size_t key_len = value_key(key, walk->window, posting->name, posting->value);
    int rc = 0;
    size_t at = 0;
    for (uint32_t part = 0; rc == 0 && at < ids->count; part++) {
        size_t count = ids->count - at < PART_IDS_MAX ? ids->count - at : PART_IDS_MAX;
        buf_reset(&body);
        buf_putc(&body, ROW_VERSION);
        buf_uvarint(&body, posting->name.len);
        buf_str(&body, posting->name);
        buf_uvarint(&body, posting->value.len);
        buf_str(&body, posting->value);
        buf_uvarint(&body, count);
        uint64_t previous = 0;
        for (size_t end = at + count; at < end; at++) {
            buf_uvarint(&body, ids->ids[at] - previous);
            previous = ids->ids[at];
        }
        bytes_put_be32(key + key_len, part);
        struct str key_bytes = str_n((const char *)key, key_len + 4);
        rc = store_put(walk->store, walk->txn, STORE_POSTINGS, key_bytes, buf_as_str(&body));
        *bytes += body.len;
    }
    buf_finish(&body);
    return rc;
}

/* One pair: what is stored united with the new ids. */
static int put_pair(const struct walk *walk,
                    const struct posting *postings,
                    size_t count,
                    size_t *bytes) {
    struct idset ids = { 0 };
    struct err err = ERR_INIT;
    int rc = 0;
    if (!collect_value(walk, postings[0].name, postings[0].value, &ids, &err)) {
        /* A damaged row is replaced by what the series table says; the rest stays listed in rows. */
        rc = err.code == ERR_CORRUPT ? 0 : MDB_BAD_TXN;
    }
    for (size_t i = 0; i < count; i++) {
        idset_add(&ids, postings[i].id);
    }
    idset_normalize(&ids);
    if (rc == 0) {
        rc = put_parts(walk, &postings[0], &ids, bytes);
    }
    idset_finish(&ids);
    return rc;
}

/* A slice of the round; the last one takes the pending rows away. */
static int put_slice(void *ctx, struct store *store, MDB_txn *txn) {
    struct indexing *indexing = ctx;
    struct walk walk = { .store = store, .txn = txn, .window = indexing->window };
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

/* The head need no longer answer for these rows. */
static void release_head(struct indexing *indexing) {
    struct head *head = &indexing->db->head;
    int64_t t_after_ms = i64_floor_div(INT64_MAX, head->block_ms) <= indexing->window
                             ? INT64_MAX
                             : (indexing->window + 1) * head->block_ms;
    struct idset ids = { .ids = indexing->ids, .count = indexing->id_count };
    for (uint32_t handle = 1; handle < head->handle_end; handle++) {
        pthread_rwlock_rdlock(&head->index_lock);
        struct series *series = head_at(head, handle);
        if (series != NULL && idset_contains(&ids, series->id)) {
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
    release_head(indexing);
    return true;
}

bool window_index_all(struct tsdb *db, int64_t end_window, struct err *err) {
    struct indexing indexing = { .db = db };
    arena_init(&indexing.arena, SIZE_MAX);
    bool ok;
    do {
        ok = load_round(&indexing, end_window, err);
        if (ok && indexing.id_count > 0) {
            ok = index_round(&indexing, err);
        }
    } while (ok && indexing.id_count > 0);
    mem_free(indexing.ids);
    mem_free(indexing.postings);
    arena_finish(&indexing.arena);
    return ok;
}
