/*
 * Reading postings rows: window, name, value, part → ids. Values longer than POSTING_VALUE_BYTES
 * have their prefix and hash in the key, and stand in the row in full. Values of a name are in byte
 * order as far as the key holds them, so a prefix is a range.
 */
#include "tsdb/parts/window.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/parts/part.h"
#include "tsdb/query/querier.h"

#define KEY_BYTES_MAX 511 /* LMDB's longest */

static_assert(POSTING_KEY_MAX <= KEY_BYTES_MAX, "a key LMDB takes");

/* ---- keys and rows ---- */

static size_t name_key(uint8_t key[POSTING_KEY_MAX], int64_t window, struct str name) {
    assert(name.len <= LABEL_NAME_BYTES_MAX);
    store_key_window(key, window);
    bytes_put_be16(key + 8, (uint16_t)name.len);
    memcpy(key + 10, name.ptr, name.len);
    return 10 + name.len;
}

/* Without the part number. */
size_t posting_key(uint8_t key[POSTING_KEY_MAX],
                   int64_t window,
                   struct str name,
                   struct str value) {
    size_t len = name_key(key, window, name);
    size_t kept = value.len <= POSTING_VALUE_BYTES ? value.len : POSTING_VALUE_BYTES;
    memcpy(key + len, value.ptr, kept);
    len += kept;
    if (kept < value.len) {
        bytes_put_be64(key + len, hash_bytes(value));
        len += 8;
    }
    return len;
}

/* Version 1 has name and value in the body, and no runs of ids. */
static void parse_pair(struct str key, struct reader *body, struct posting_row *ret) {
    if (ret->version == 1) {
        ret->name = reader_str(body);
        ret->value = reader_str(body);
        return;
    }
    struct reader reader = reader_init(key.ptr, key.len);
    const uint8_t *head = reader_bytes(&reader, 10);
    size_t name_len = head == NULL ? 0 : (size_t)head[8] << 8 | head[9];
    const uint8_t *name = reader_bytes(&reader, name_len);
    size_t left = reader_left(&reader);
    if (name == NULL || left < 4 || left - 4 > POSTING_VALUE_BYTES + 8) {
        body->is_bad = true;
        return;
    }
    ret->name = str_n((const char *)name, name_len);
    ret->value = str_n((const char *)reader.next, left - 4);
    if (left - 4 > POSTING_VALUE_BYTES) {
        ret->value = reader_str(body);
    }
}

bool posting_parse(struct str key, struct str body, struct posting_row *ret, struct err *err) {
    struct reader reader = reader_init(body.ptr, body.len);
    *ret = (struct posting_row){ .version = reader_u8(&reader) };
    parse_pair(key, &reader, ret);
    ret->id = ret->version == 1 ? 0 : UINT64_MAX;
    ret->left = ret->version == 1 ? reader_uvarint(&reader) : 0;
    ret->ids = reader;
    return (!reader.is_bad && ret->version >= 1 && ret->version <= POSTING_ROW_VERSION &&
            ret->name.len <= LABEL_NAME_BYTES_MAX) ||
           err_set(err, ERR_CORRUPT, "store: a row of table postings is malformed");
}

bool posting_next(struct posting_row *row, uint64_t *ret_id) {
    if (row->version == 1) {
        uint64_t step = row->left == 0 ? 0 : reader_uvarint(&row->ids);
        row->ids.is_bad = row->ids.is_bad || (row->left > 0 && step == 0);
        row->left -= row->left > 0;
        row->id += step;
        *ret_id = row->id;
        return step > 0;
    }
    if (row->left > 0) {
        row->left--;
        *ret_id = ++row->id;
        return true;
    }
    if (reader_left(&row->ids) == 0) {
        return false;
    }
    uint64_t head = reader_uvarint(&row->ids);
    row->left = (head & 1) != 0 ? reader_uvarint(&row->ids) + 1 : 0;
    row->id += 1 + (head >> 1);
    row->ids.is_bad = row->ids.is_bad || row->left >= POSTING_IDS_MAX;
    *ret_id = row->id;
    return !row->ids.is_bad;
}

bool posting_check(MDB_val key, MDB_val row, struct posting_row *ret, struct err *err) {
    struct str body;
    return store_check(STORE_POSTINGS, key, row, &body, err) &&
           posting_parse(str_n(key.mv_data, key.mv_size), body, ret, err);
}

static bool add_ids(struct posting_row *row, struct idset *out, struct err *err) {
    uint64_t id;
    while (posting_next(row, &id)) {
        idset_add(out, id);
    }
    return !row->ids.is_bad ||
           err_set(err, ERR_CORRUPT, "store: a row of table postings is malformed");
}

/* ---- walking ---- */

/* A row that cannot be used: left out for a querier, an error for others. */
static bool tolerate(const struct posting_walk *walk, const struct err *what, struct err *err) {
    if (walk->querier == NULL || what->code != ERR_CORRUPT) {
        *err = *what;
        return false;
    }
    struct err damage = *what;
    err_wrap(&damage, "the index of window %" PRId64, walk->window);
    querier_note_damage(walk->querier, DAMAGE_POSTINGS, &damage);
    return true;
}

static void near(const struct posting_walk *walk, MDB_val row) {
    if (walk->querier != NULL) {
        querier_near(walk->querier, row.mv_data);
    }
}

/* Calls visit for every row whose key starts with `prefix` until it returns false. */
static bool walk_rows(const struct posting_walk *walk,
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
        struct err what = ERR_INIT;
        near(walk, value);
        ok = (posting_check(key, value, &row, &what) && visit(ctx, &row, &what)) ||
             tolerate(walk, &what, err);
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

bool posting_collect(const struct posting_walk *walk,
                     struct str name,
                     struct str value,
                     struct idset *out,
                     struct err *err) {
    if (name.len > LABEL_NAME_BYTES_MAX) {
        return true;
    }
    uint8_t key[POSTING_KEY_MAX];
    struct str prefix = str_n((const char *)key, posting_key(key, walk->window, name, value));
    struct collect collect = { .name = name, .value = value, .out = out };
    /* Longer values that start with this one share the prefix: leave when they begin. */
    for (uint32_t part = 0;; part++) {
        uint8_t exact[POSTING_KEY_MAX];
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
        near(walk, mdb_row);
        if (!posting_check(mdb_key, mdb_row, &row, err) || !collect_row(&collect, &row, err)) {
            return false;
        }
    }
}

static bool collect_ids(void *ctx,
                        const struct matcher *matcher,
                        bool is_inverse,
                        struct idset *out,
                        struct err *err) {
    const struct posting_walk *walk = ctx;
    if (matcher->type == MATCH_EQ && !is_inverse) {
        return posting_collect(walk, matcher->name, matcher->value, out, err);
    }
    size_t literal_count;
    const struct str *literals = match_literals(matcher, &literal_count);
    if (literals != NULL && !is_inverse) {
        for (size_t i = 0; i < literal_count; i++) {
            if (!posting_collect(walk, matcher->name, literals[i], out, err)) {
                return false;
            }
        }
        return true;
    }
    if (matcher->name.len > LABEL_NAME_BYTES_MAX) {
        return true;
    }
    uint8_t key[POSTING_KEY_MAX];
    size_t len = name_key(key, walk->window, matcher->name);
    struct str literal = match_prefix(matcher, is_inverse);
    size_t kept = literal.len < POSTING_VALUE_BYTES ? literal.len : POSTING_VALUE_BYTES;
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
    const struct posting_walk *walk = ctx;
    return part_ids(walk->store, walk->txn, walk->window, out, err);
}

bool window_match(struct store *store,
                  struct tsdb_querier *querier,
                  MDB_txn *txn,
                  int64_t window,
                  const struct matcher *matchers,
                  size_t count,
                  struct idset *out,
                  struct err *err) {
    struct posting_walk walk = {
        .store = store,
        .txn = txn,
        .window = window,
        .querier = querier,
    };
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
    struct str last; /* skips the parts of one value; points into the transaction */
};

static bool visit_row(void *ctx, struct posting_row *row, struct err *err) {
    struct visit *visit = ctx;
    if (visit->last.ptr == NULL || !str_eq(row->value, visit->last)) {
        visit->visit(visit->ctx, row->value);
        visit->last = row->value;
    }
    return true;
}

static bool is_in_place(const struct posting_walk *walk,
                        MDB_val key,
                        const struct posting_row *row,
                        struct err *err) {
    uint8_t want[POSTING_KEY_MAX];
    struct str prefix = str_n((char *)want, name_key(want, walk->window, row->name));
    return str_starts_with(str_n(key.mv_data, key.mv_size), prefix) ||
           err_set(err, ERR_CORRUPT, "store: a row of table postings is out of place");
}

/* One row per name, then on to the next name: no value starts with 0xff. */
static bool visit_names(const struct posting_walk *walk, struct visit *visit, struct err *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(walk->txn, walk->store->dbis[STORE_POSTINGS], &cursor);
    if (rc != 0) {
        return env_fail(&walk->store->env, err, rc, "reading table postings");
    }
    uint8_t next[KEY_BYTES_MAX + 1];
    store_key_window(next, walk->window);
    size_t len = 8;
    bool ok = true;
    while (ok) {
        MDB_val key = { .mv_size = len, .mv_data = next };
        MDB_val value;
        struct posting_row row;
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (rc != 0 || key.mv_size < 10 || bytes_be64_signed(key.mv_data) != walk->window) {
            break;
        }
        struct err what = ERR_INIT;
        if (posting_check(key, value, &row, &what) && is_in_place(walk, key, &row, &what)) {
            visit->visit(visit->ctx, row.name);
            len = name_key(next, walk->window, row.name);
            next[len++] = 0xff;
        } else {
            ok = tolerate(walk, &what, err);
            len = key.mv_size; /* the next key there can be */
            memcpy(next, key.mv_data, len);
            next[len++] = 0;
        }
    }
    mdb_cursor_close(cursor);
    if (ok && rc != 0 && rc != MDB_NOTFOUND) {
        return env_fail(&walk->store->env, err, rc, "reading table postings");
    }
    return ok;
}

bool window_visit(struct store *store,
                  struct tsdb_querier *querier,
                  MDB_txn *txn,
                  int64_t window,
                  struct str name,
                  void (*visit)(void *ctx, struct str text),
                  void *ctx,
                  struct err *err) {
    struct posting_walk walk = {
        .store = store,
        .txn = txn,
        .window = window,
        .querier = querier,
    };
    struct visit visitor = { .visit = visit, .ctx = ctx };
    if (name.len == 0) {
        return visit_names(&walk, &visitor, err);
    }
    if (name.len > LABEL_NAME_BYTES_MAX) {
        return true;
    }
    uint8_t key[POSTING_KEY_MAX];
    struct str prefix = str_n((const char *)key, name_key(key, window, name));
    return walk_rows(&walk, prefix, prefix, visit_row, &visitor, err);
}
