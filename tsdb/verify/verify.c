/* Checking a directory: the environments, the journal, the tables of series; see verify.h. */
#include "tsdb/verify/verify.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/parts/catalog_rows.h"

#define SLICE_ROWS      8192 /* per transaction: pages of a live store are not held back */
#define JOURNAL_MAP     ((size_t)1 << 36)
#define KEY_BYTES_MAX   511 /* LMDB's longest */
#define KEY_BYTES_SHOWN 24

void verify_enter(struct verify *verify, const char *table) {
    verify->table = table;
    if (verify->visitor->place != NULL) {
        verify->visitor->place(verify->visitor->ctx, table);
    }
}

void verify_problem(struct verify *verify, const char *where, const char *fmt, ...) {
    char what[600];
    int len = snprintf(what, sizeof(what), "%s: ", where);
    va_list args;
    va_start(args, fmt);
    vsnprintf(what + len, sizeof(what) - (size_t)len, fmt, args);
    va_end(args);
    verify->totals.problems++;
    if (verify->visitor->problem != NULL) {
        verify->visitor->problem(verify->visitor->ctx, verify->table, what);
    }
}

/* A key nobody could make sense of. */
static const char *key_text(struct str key, char ret[2 * KEY_BYTES_SHOWN + 8]) {
    static const char digits[] = "0123456789abcdef";
    size_t count = key.len < KEY_BYTES_SHOWN ? key.len : KEY_BYTES_SHOWN;
    char *out = ret + snprintf(ret, 8, "key ");
    for (size_t i = 0; i < count; i++) {
        *out++ = digits[(uint8_t)key.ptr[i] >> 4];
        *out++ = digits[(uint8_t)key.ptr[i] & 15];
    }
    *out = '\0';
    return ret;
}

/* ---- tables of the store ---- */

/* Rows of these tables are keys alone. */
static bool is_keys_only(enum store_table table) {
    return table == STORE_OLD_HASH || table == STORE_PENDING;
}

static void walk_row(struct verify *verify,
                     enum store_table table,
                     MDB_val key,
                     MDB_val row,
                     verify_row_fn check,
                     void *ctx) {
    struct str key_bytes = str_n(key.mv_data, key.mv_size);
    struct str body = STR("");
    struct err err = ERR_INIT;
    char where[2 * KEY_BYTES_SHOWN + 8];
    if (table == STORE_SEGMENTS) {
        body = str_n(row.mv_data, row.mv_size); /* with a checksum of its own */
    } else if (is_keys_only(table) ? row.mv_size != 0
                                   : !store_check(table, key, row, &body, &err)) {
        verify_problem(verify, key_text(key_bytes, where), "the checksum is wrong");
        return;
    }
    check(verify, ctx, key_bytes, body);
}

void verify_walk(struct verify *verify,
                 enum store_table table,
                 struct str prefix,
                 verify_row_fn check,
                 void *ctx) {
    MDB_cursor *cursor;
    if (!verify->has_table[table]) {
        return;
    }
    int rc = mdb_cursor_open(verify->txn, verify->store.dbis[table], &cursor);
    if (rc != 0) {
        verify_problem(verify, "table", "it cannot be read: %s", mdb_strerror(rc));
        return;
    }
    MDB_val key = { .mv_size = prefix.len, .mv_data = (void *)(uintptr_t)prefix.ptr };
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, prefix.len == 0 ? MDB_FIRST : MDB_SET_RANGE);
    while (rc == 0 && str_starts_with(str_n(key.mv_data, key.mv_size), prefix)) {
        walk_row(verify, table, key, row, check, ctx);
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        verify_problem(verify, "table", "it cannot be read to its end: %s", mdb_strerror(rc));
    }
}

/* Walk rows behind `next` (empty: from the start) until the slice is full; true: there is more. */
static bool walk_slice(struct verify *verify,
                       MDB_dbi dbi,
                       struct buf *next,
                       void (*visit)(struct verify *verify, void *ctx, MDB_val key, MDB_val row),
                       void *ctx) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(verify->txn, dbi, &cursor);
    if (rc != 0) {
        verify_problem(verify, "table", "it cannot be read: %s", mdb_strerror(rc));
        return false;
    }
    MDB_val key = { .mv_size = next->len, .mv_data = next->ptr };
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, next->len == 0 ? MDB_FIRST : MDB_SET_RANGE);
    if (rc == 0 && next->len == key.mv_size && memcmp(next->ptr, key.mv_data, key.mv_size) == 0) {
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    size_t count = 0;
    while (rc == 0 && count < SLICE_ROWS) {
        visit(verify, ctx, key, row);
        buf_reset(next);
        buf_append(next, key.mv_data, key.mv_size);
        count++;
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        verify_problem(verify, "table", "it cannot be read to its end: %s", mdb_strerror(rc));
    }
    return rc == 0;
}

static bool walk_all(struct verify *verify,
                     struct env *env,
                     MDB_dbi dbi,
                     void (*visit)(struct verify *verify, void *ctx, MDB_val key, MDB_val row),
                     void *ctx,
                     struct err *err) {
    struct buf next;
    buf_init(&next, KEY_BYTES_MAX);
    bool has_more = true;
    while (has_more) {
        if (!env_read_begin(env, &verify->txn, err)) {
            buf_finish(&next);
            return false;
        }
        has_more = walk_slice(verify, dbi, &next, visit, ctx);
        env_read_end(env, verify->txn);
    }
    buf_finish(&next);
    return true;
}

/* ---- series ---- */

bool verify_labels(struct verify *verify, uint64_t id, struct labels *ret) {
    bool found;
    struct err ignored = ERR_INIT;
    arena_reset(&verify->arena);
    return catalog_get(&verify->store, verify->txn, id, &verify->arena, ret, &found, &ignored) &&
           found;
}

struct table_walk {
    enum store_table table;
    verify_row_fn check;
};

static void check_labels(struct verify *verify, void *ctx, struct str key, struct str body) {
    char where[2 * KEY_BYTES_SHOWN + 8];
    (void)ctx;
    if (key.len != STORE_KEY_ID_BYTES) {
        verify_problem(verify, key_text(key, where), "the key has the wrong size");
        return;
    }
    struct catalog_decoder decoder;
    catalog_decoder_init(&decoder);
    catalog_decoder_begin(&decoder, bytes_be64((const uint8_t *)key.ptr), body);
    while (catalog_decoder_next(&decoder)) {
        uint64_t id = decoder.entry.id;
        struct err ignored = ERR_INIT;
        int64_t window;
        bool found = false;
        verify->totals.series++;
        snprintf(where, sizeof(where), "series %" PRIu64, id);
        if (decoder.entry.labels.count == 0) {
            verify_problem(verify, where, "it has no labels");
        }
        if (!catalog_has_id(&verify->store, verify->txn, &decoder.entry)) {
            verify_problem(verify, where, "table ids does not have it");
        }
        if (!catalog_get_last(&verify->store, verify->txn, id, &window, &found, &ignored) ||
            !found) {
            verify_problem(verify, where, "table lasts does not have it");
        }
    }
    if (decoder.is_bad) {
        verify_problem(verify, key_text(key, where), "the labels cannot be read");
    }
    catalog_decoder_finish(&decoder);
}

static void check_id(void *ctx, const struct catalog_id *id) {
    struct verify *verify = ctx;
    struct labels labels;
    char where[64];
    snprintf(where, sizeof(where), "series %" PRIu64, id->id);
    if (!verify_labels(verify, id->id, &labels)) {
        verify_problem(verify, where, "table labels does not have it");
    } else if (catalog_hash(labels) != id->hash) {
        verify_problem(verify, where, "the hash is not that of its labels");
    }
}

static void check_ids(struct verify *verify, void *ctx, struct str key, struct str body) {
    char where[2 * KEY_BYTES_SHOWN + 8];
    (void)ctx;
    if (!catalog_check_ids(key, body, check_id, verify)) {
        verify_problem(verify, key_text(key, where), "the row cannot be read");
    }
}

static void check_last(void *ctx, uint64_t id) {
    struct verify *verify = ctx;
    struct labels labels;
    char where[64];
    if (!verify_labels(verify, id, &labels)) {
        snprintf(where, sizeof(where), "series %" PRIu64, id);
        verify_problem(verify, where, "table labels does not have it");
    }
}

static void check_lasts(struct verify *verify, void *ctx, struct str key, struct str body) {
    char where[2 * KEY_BYTES_SHOWN + 8];
    (void)ctx;
    if (!catalog_check_lasts(key, body, check_last, verify)) {
        verify_problem(verify, key_text(key, where), "the row cannot be read");
    }
}

/* Of formats 1 and 2. */
static void check_series(struct verify *verify, void *ctx, struct str key, struct str body) {
    (void)ctx;
    struct labels labels;
    char where[2 * KEY_BYTES_SHOWN + 8];
    verify->totals.series++;
    arena_reset(&verify->arena);
    if (key.len != STORE_KEY_ID_BYTES || !labels_decode(body, &verify->arena, &labels) ||
        labels.count == 0) {
        verify_problem(verify, key_text(key, where), "the labels cannot be read");
    }
}

static void check_nothing(struct verify *verify, void *ctx, struct str key, struct str body) {
    (void)verify;
    (void)ctx;
    (void)key;
    (void)body;
}

static void visit_row(struct verify *verify, void *ctx, MDB_val key, MDB_val row) {
    const struct table_walk *walk = ctx;
    walk_row(verify, walk->table, key, row, walk->check, NULL);
}

/* Every table of the store that does not belong to a window. */
static bool check_tables(struct verify *verify, struct err *err) {
    static const struct table_walk walks[] = {
        { STORE_META, check_nothing },      { STORE_LABELS, check_labels },
        { STORE_IDS, check_ids },           { STORE_LASTS, check_lasts },
        { STORE_OLD_SERIES, check_series }, { STORE_OLD_HASH, check_nothing },
        { STORE_OLD_LAST, check_nothing },  { STORE_WINDOWS, check_nothing },
        { STORE_PARTS, check_nothing },     { STORE_DIRECTORY, check_nothing },
        { STORE_ROLLUPS, check_nothing },   { STORE_ROLLUP_MARKS, check_nothing },
    };
    for (size_t i = 0; i < ARRAY_LEN(walks); i++) {
        struct table_walk walk = walks[i];
        char place[64];
        snprintf(place, sizeof(place), "store: table %s", store_table_names[walk.table]);
        verify_enter(verify, place);
        if (verify->has_table[walk.table] &&
            !walk_all(verify, &verify->store.env, verify->store.dbis[walk.table], visit_row, &walk,
                      err)) {
            return false;
        }
    }
    return true;
}

static bool check_state(struct verify *verify, struct store_state *ret, struct err *err) {
    struct err what = ERR_INIT;
    bool found = false;
    *ret = (struct store_state){ 0 };
    verify_enter(verify, "store: table meta");
    if (!env_read_begin(&verify->store.env, &verify->txn, err)) {
        return false;
    }
    if (!store_get_state(&verify->store, verify->txn, ret, &found, &what)) {
        verify_problem(verify, "row state", "%s", what.msg);
    } else if (!found) {
        verify_problem(verify, "row state", "it is missing");
    }
    env_read_end(&verify->store.env, verify->txn);
    verify->block_ms = ret->block_ms;
    return true;
}

/* ---- the journal ---- */

struct kv_walk {
    enum kv_table table;
};

static void visit_kv(struct verify *verify, void *ctx, MDB_val key, MDB_val row) {
    const struct kv_walk *walk = ctx;
    struct str value;
    char where[2 * KEY_BYTES_SHOWN + 8];
    verify->totals.table_rows++;
    struct err ignored;
    if (!kv_check_row(walk->table, key, row, &value, &ignored)) {
        verify_problem(verify, key_text(str_n(key.mv_data, key.mv_size), where),
                       "the checksum is wrong");
    }
}

static bool check_kv(struct verify *verify, struct err *err) {
    for (size_t i = 0; i < KV_TABLE_COUNT; i++) {
        struct kv_walk walk = { .table = (enum kv_table)i };
        char place[64];
        snprintf(place, sizeof(place), "journal: table %s", kv_table_names[i]);
        verify_enter(verify, place);
        if (!walk_all(verify, &verify->journal, verify->kv_dbis[i], visit_kv, &walk, err)) {
            return false;
        }
    }
    return true;
}

static bool on_record(void *ctx, uint64_t lsn, const struct journal_facts *facts, struct err *err) {
    struct verify *verify = ctx;
    (void)lsn;
    (void)facts;
    (void)err;
    verify->totals.journal_records++;
    return true;
}

static bool on_definition(void *ctx, uint64_t id, struct str bytes, struct err *err) {
    struct verify *verify = ctx;
    struct labels labels;
    (void)err;
    arena_reset(&verify->arena);
    if (!labels_decode(bytes, &verify->arena, &labels) || labels.count == 0) {
        char where[64];
        snprintf(where, sizeof(where), "series %" PRIu64, id);
        verify_problem(verify, where, "the labels cannot be read");
    }
    return true;
}

static bool on_sample(void *ctx, uint64_t id, struct sample sample, struct err *err) {
    struct verify *verify = ctx;
    (void)id;
    (void)sample;
    (void)err;
    verify->totals.journal_samples++;
    return true;
}

static bool on_damage(void *ctx,
                      uint64_t lsn,
                      struct str raw,
                      const struct err *what,
                      struct err *err) {
    (void)raw;
    (void)err;
    char where[64];
    snprintf(where, sizeof(where), "record %" PRIu64, lsn);
    verify_problem(ctx, where, "%s", what->msg);
    return true;
}

/* The records above applied_lsn, in one transaction: there are never more than maintenance lets. */
static bool check_log(struct verify *verify, uint64_t applied_lsn, struct err *err) {
    struct journal_visitor visitor = {
        .record = on_record,
        .definition = on_definition,
        .sample = on_sample,
        .late = on_sample,
        .damaged = on_damage,
        .ctx = verify,
    };
    verify_enter(verify, "journal: table log");
    if (!env_read_begin(&verify->journal, &verify->txn, err)) {
        return false;
    }
    uint64_t first = 0;
    uint64_t last = 0;
    bool ok = journal_bounds(&verify->journal, verify->txn, verify->log, &first, &last, err);
    /* A live process may have sealed and trimmed since the state was read. */
    uint64_t from = first > applied_lsn + 1 ? 0 : applied_lsn + 1;
    ok = ok && journal_walk(&verify->journal, verify->txn, verify->log, from, &visitor, err);
    env_read_end(&verify->journal, verify->txn);
    return ok;
}

/* ---- the whole ---- */

/* Damage that keeps an environment from being opened is a finding, not a failure to check. */
static bool open_env(struct verify *verify,
                     struct env *env,
                     const struct env_params *params,
                     bool *ret_is_open,
                     struct err *err) {
    char place[64];
    struct err what = ERR_INIT;
    snprintf(place, sizeof(place), "%s: environment", params->name);
    verify_enter(verify, place);
    *ret_is_open = false;
    if (!verify_pages(verify, params->path, params->name, err)) {
        return err->code == ERR_NONE;
    }
    *ret_is_open = env_open(env, params, &what);
    if (!*ret_is_open && what.code == ERR_CORRUPT) {
        verify_problem(verify, "data.mdb", "%s", what.msg);
        return true;
    }
    if (!*ret_is_open) {
        *err = what;
    }
    return *ret_is_open;
}

static bool open_table(struct verify *verify,
                       struct env *env,
                       const char *name,
                       bool is_needed,
                       MDB_dbi *ret,
                       bool *ret_found) {
    struct err what = ERR_INIT;
    *ret_found = env_open_dbs(env, &name, 1, ret, &what);
    if (!*ret_found && (is_needed || what.code != ERR_NOT_FOUND)) {
        verify_problem(verify, name, "%s", what.msg);
    }
    return *ret_found;
}

static bool verify_journal(struct verify *verify,
                           const char *path,
                           uint64_t applied_lsn,
                           struct err *err) {
    struct env_params params = {
        .name = "journal",
        .path = path,
        .map_bytes = JOURNAL_MAP,
        .db_count = KV_TABLE_COUNT + 1,
        .is_read_only = true,
    };
    bool is_open;
    if (!open_env(verify, &verify->journal, &params, &is_open, err) || !is_open) {
        return err->code == ERR_NONE;
    }
    bool found;
    bool has_all = open_table(verify, &verify->journal, "log", true, &verify->log, &found);
    for (size_t i = 0; i < KV_TABLE_COUNT; i++) {
        has_all = open_table(verify, &verify->journal, kv_table_names[i], true, &verify->kv_dbis[i],
                             &found) &&
                  has_all;
    }
    return !has_all || (check_kv(verify, err) && check_log(verify, applied_lsn, err));
}

static bool verify_store(struct verify *verify,
                         const char *path,
                         struct store_state *state,
                         struct err *err) {
    struct env_params params = {
        .name = "store",
        .path = path,
        .map_bytes = (size_t)1 << 40,
        .db_count = STORE_TABLE_COUNT,
        .flags = MDB_NORDAHEAD,
        .is_read_only = true,
    };
    bool is_open;
    if (!open_env(verify, &verify->store.env, &params, &is_open, err) || !is_open) {
        return err->code == ERR_NONE;
    }
    bool has_all = true;
    for (size_t i = 0; i < STORE_TABLE_COUNT; i++) {
        bool is_needed = i <= STORE_POSTINGS; /* the others came with format 3 */
        bool found = open_table(verify, &verify->store.env, store_table_names[i], is_needed,
                                &verify->store.dbis[i], &verify->has_table[i]);
        has_all = has_all && (found || !is_needed);
    }
    verify->store.has_all = true;
    for (size_t i = STORE_ROLLUPS; i < STORE_TABLE_COUNT; i++) {
        verify->store.has_all = verify->store.has_all && verify->has_table[i];
    }
    return !has_all || (check_state(verify, state, err) && check_tables(verify, err) &&
                        verify_windows(verify, err));
}

bool tsdb_verify(const char *path,
                 const struct tsdb_verify_visitor *visitor,
                 struct tsdb_verify_totals *ret,
                 struct err *err) {
    char journal[PATH_MAX];
    char store[PATH_MAX];
    if (!dir_prepare(path, true, err)) {
        return false;
    }
    if (snprintf(journal, sizeof(journal), "%s/journal", path) >= (int)sizeof(journal) ||
        snprintf(store, sizeof(store), "%s/store", path) >= (int)sizeof(store)) {
        return err_set(err, ERR_INVALID, "data directory %s: the name is too long", path);
    }
    struct verify *verify = mem_calloc(1, sizeof(*verify));
    struct store_state state = { 0 };
    verify->visitor = visitor;
    arena_init(&verify->arena, SIZE_MAX);
    bool ok = verify_store(verify, store, &state, err) &&
              verify_journal(verify, journal, state.applied_lsn, err);
    *ret = verify->totals;
    env_close(&verify->journal);
    env_close(&verify->store.env);
    arena_finish(&verify->arena);
    mem_free(verify);
    return ok;
}
