/*
 * Labels by id. Ids are given as series are first met, so neighbours mostly come from one target
 * and differ in a label or two: an entry says which pairs of the entry before it keeps, and the
 * others by where the row had them last, or in full.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "tsdb/parts/catalog_rows.h"

#define VERSION      1
#define BODY_MAX     2018 /* with checksum, key and LMDB's own half a page: two fill it */
#define PAIRS_LOOKED 128  /* so many back a pair is looked for */
#define HEADER_MAX   (1 + UVARINT_BYTES_MAX)

/* ---- reading a row ---- */

void catalog_decoder_init(struct catalog_decoder *decoder) {
    *decoder = (struct catalog_decoder){ .left = 0 };
    arena_init(&decoder->arena, SIZE_MAX);
}

void catalog_decoder_finish(struct catalog_decoder *decoder) {
    mem_free(decoder->pairs);
    arena_finish(&decoder->arena);
}

void catalog_decoder_begin(struct catalog_decoder *decoder, uint64_t first, struct str body) {
    arena_reset(&decoder->arena);
    decoder->bytes = reader_init(body.ptr, body.len);
    decoder->pair_count = 0;
    decoder->entry = (struct catalog_series){ .id = first, .labels = { decoder->items[0], 0 } };
    uint8_t version = reader_u8(&decoder->bytes);
    decoder->left = reader_uvarint(&decoder->bytes);
    decoder->is_bad = version != VERSION || decoder->bytes.is_bad;
}

/* A pair the row did not have so far. */
static bool read_new_pair(struct catalog_decoder *decoder, struct label *ret) {
    struct reader *bytes = &decoder->bytes;
    uint64_t back = reader_uvarint(bytes);
    if (back > decoder->pair_count) {
        return false;
    }
    if (back == 0) {
        ret->name = reader_str(bytes);
        ret->value = reader_str(bytes);
    } else {
        const struct label *like = &decoder->pairs[decoder->pair_count - back];
        uint64_t shared = reader_uvarint(bytes);
        struct str rest = reader_str(bytes);
        if (shared > like->value.len) {
            return false;
        }
        ret->name = like->name;
        ret->value = rest;
        if (shared > 0) {
            char *text = arena_alloc(&decoder->arena, shared + rest.len);
            memcpy(text, like->value.ptr, shared);
            memcpy(text + shared, rest.ptr, rest.len);
            ret->value = str_n(text, shared + rest.len);
        }
    }
    decoder->pairs = vec_grow(decoder->pairs, &decoder->pair_cap, decoder->pair_count + 1,
                              sizeof(decoder->pairs[0]));
    decoder->pairs[decoder->pair_count++] = *ret;
    return !bytes->is_bad;
}

static bool read_pair(struct catalog_decoder *decoder, struct label *ret) {
    uint64_t back = reader_uvarint(&decoder->bytes);
    if (back == 0) {
        return read_new_pair(decoder, ret);
    }
    if (back > decoder->pair_count) {
        return false;
    }
    *ret = decoder->pairs[decoder->pair_count - back];
    return true;
}

/* The kept pairs of the entry before and the others, both in order of names, into one. */
static bool read_labels(struct catalog_decoder *decoder, struct labels before, size_t count) {
    const uint8_t *kept = reader_bytes(&decoder->bytes, (before.count + 7) / 8);
    struct label *items = before.items == decoder->items[0] ? decoder->items[1] : decoder->items[0];
    struct labels *labels = &decoder->entry.labels;
    struct label *added = decoder->added;
    size_t kept_count = 0;
    if (decoder->bytes.is_bad || count > LABELS_COUNT_MAX) {
        return false;
    }
    for (size_t i = 0; i < before.count; i++) {
        kept_count += kept[i / 8] >> i % 8 & 1;
    }
    if (kept_count > count) {
        return false;
    }
    for (size_t i = 0; i < count - kept_count; i++) {
        if (!read_pair(decoder, &added[i])) {
            return false;
        }
    }
    size_t next = 0;
    size_t at = 0;
    for (size_t i = 0; i < before.count; i++) {
        if ((kept[i / 8] >> i % 8 & 1) == 0) {
            continue;
        }
        while (next < count - kept_count && str_cmp(added[next].name, before.items[i].name) < 0) {
            items[at++] = added[next++];
        }
        items[at++] = before.items[i];
    }
    while (next < count - kept_count) {
        items[at++] = added[next++];
    }
    *labels = (struct labels){ .items = items, .count = at };
    return true;
}

bool catalog_decoder_next(struct catalog_decoder *decoder) {
    if (decoder->is_bad || decoder->left == 0) {
        decoder->is_bad = decoder->is_bad || reader_left(&decoder->bytes) > 0;
        return false;
    }
    decoder->left--;
    struct labels before = decoder->entry.labels;
    uint64_t head = reader_uvarint(&decoder->bytes);
    uint64_t count = before.count;
    if ((head & 1) != 0) {
        count = reader_uvarint(&decoder->bytes);
    }
    decoder->entry.id += head >> 1;
    decoder->is_bad = count > LABELS_COUNT_MAX || !read_labels(decoder, before, (size_t)count) ||
                      decoder->bytes.is_bad;
    return !decoder->is_bad;
}

/* ---- reading the table ---- */

void catalog_reader_init(struct catalog_reader *reader, struct store *store, MDB_txn *txn) {
    *reader = (struct catalog_reader){ .store = store, .txn = txn };
    catalog_decoder_init(&reader->decoder);
    arena_init(&reader->old, SIZE_MAX);
    MDB_stat stat;
    reader->has_old =
        mdb_stat(txn, store->dbis[STORE_OLD_SERIES], &stat) == 0 && stat.ms_entries > 0;
}

void catalog_reader_finish(struct catalog_reader *reader) {
    catalog_decoder_finish(&reader->decoder);
    arena_finish(&reader->old);
}

static bool malformed(uint64_t first, struct err *err) {
    return err_set(err, ERR_CORRUPT,
                   "store: the row of table labels from id %" PRIu64
                   " on is malformed or of a newer version",
                   first);
}

static bool begin_row(struct catalog_reader *reader,
                      const struct catalog_row *row,
                      struct err *err) {
    struct str body;
    reader->has_row = false;
    reader->has_entry = false;
    if (!store_check(STORE_LABELS, row->key, row->value, &body, err)) {
        return false;
    }
    reader->first = row->first;
    reader->end = row->end;
    reader->has_row = true;
    catalog_decoder_begin(&reader->decoder, row->first, body);
    return true;
}

/* Go to the row of an id. */
static bool seek_row(struct catalog_reader *reader, uint64_t id, bool *ret_found, struct err *err) {
    struct catalog_row row;
    int rc = catalog_seek(reader->store, reader->txn, STORE_LABELS, STORE_KEY_ID_BYTES, id, &row);
    if (rc != 0) {
        return env_fail(&reader->store->env, err, rc, "reading table labels");
    }
    *ret_found = row.is_there;
    return !row.is_there || begin_row(reader, &row, err);
}

/* On in the row, or in that of the id. */
static bool read_packed(struct catalog_reader *reader,
                        uint64_t id,
                        struct labels *ret,
                        bool *ret_found,
                        struct err *err) {
    struct catalog_decoder *decoder = &reader->decoder;
    bool is_ahead = reader->has_row && id >= reader->first &&
                    (reader->end == 0 || id < reader->end) &&
                    (!reader->has_entry || id >= decoder->entry.id);
    *ret_found = is_ahead;
    if (!is_ahead && (!seek_row(reader, id, ret_found, err) || !*ret_found)) {
        return err->code == ERR_NONE;
    }
    while (!reader->has_entry || decoder->entry.id < id) {
        if (!catalog_decoder_next(decoder)) {
            reader->has_row = false;
            *ret_found = false;
            return !decoder->is_bad || malformed(reader->first, err);
        }
        reader->has_entry = true;
    }
    *ret_found = decoder->entry.id == id;
    *ret = decoder->entry.labels;
    return true;
}

bool catalog_read(struct catalog_reader *reader,
                  uint64_t id,
                  struct labels *ret,
                  bool *ret_found,
                  struct err *err) {
    struct err what = ERR_INIT; /* the caller's may hold something */
    if (!read_packed(reader, id, ret, ret_found, &what)) {
        *err = what;
        return false;
    }
    return *ret_found || !reader->has_old ||
           catalog_old_labels(reader->store, reader->txn, id, &reader->old, ret, ret_found, err);
}

/* One row; false: stop, or err is set. */
static bool walk_row(const struct catalog_row *row,
                     uint64_t first,
                     struct catalog_decoder *decoder,
                     bool (*visit)(void *ctx, const struct catalog_series *series),
                     void *ctx,
                     struct err *err) {
    struct str body;
    if (!store_check(STORE_LABELS, row->key, row->value, &body, err)) {
        return false;
    }
    catalog_decoder_begin(decoder, row->first, body);
    while (catalog_decoder_next(decoder)) {
        if (decoder->entry.id >= first && !visit(ctx, &decoder->entry)) {
            return false;
        }
    }
    return !decoder->is_bad || malformed(row->first, err);
}

bool catalog_walk(struct store *store,
                  MDB_txn *txn,
                  uint64_t first,
                  bool (*visit)(void *ctx, const struct catalog_series *series),
                  void (*damaged)(void *ctx, const struct err *what),
                  void *ctx,
                  struct err *err) {
    struct catalog_decoder decoder;
    struct catalog_row row;
    bool goes_on = true;
    catalog_decoder_init(&decoder);
    bool ok = true;
    for (uint64_t at = first; goes_on; at = row.end) {
        int rc = catalog_seek(store, txn, STORE_LABELS, STORE_KEY_ID_BYTES, at, &row);
        if (rc != 0) {
            ok = env_fail(&store->env, err, rc, "reading table labels");
            break;
        }
        struct err what = ERR_INIT;
        goes_on = !row.is_there || walk_row(&row, first, &decoder, visit, ctx, &what);
        if (what.code != ERR_NONE) {
            goes_on = true;
            if (damaged != NULL) {
                damaged(ctx, &what);
            }
        }
        goes_on = goes_on && row.end != 0;
    }
    catalog_decoder_finish(&decoder);
    return ok;
}

bool catalog_count(struct store *store, MDB_txn *txn, uint64_t *ret, struct err *err) {
    MDB_stat stat;
    struct catalog_row row;
    int rc = mdb_stat(txn, store->dbis[STORE_OLD_SERIES], &stat);
    *ret = rc == 0 ? stat.ms_entries : 0;
    uint64_t at = 0;
    do {
        rc = rc == 0 ? catalog_seek(store, txn, STORE_LABELS, STORE_KEY_ID_BYTES, at, &row) : rc;
        if (rc != 0) {
            return env_fail(&store->env, err, rc, "counting series");
        }
        struct err ignored = ERR_INIT; /* damage is for verify to find */
        struct str body;
        if (row.is_there && store_check(STORE_LABELS, row.key, row.value, &body, &ignored)) {
            struct reader reader = reader_init(body.ptr, body.len);
            (void)reader_u8(&reader);
            *ret += reader_uvarint(&reader);
        }
        at = row.end;
    } while (at != 0);
    return true;
}

/* ---- writing ---- */

struct row_writer {
    struct store *store;
    MDB_txn *txn;
    size_t body_max;
    bool is_end;  /* rows but the first come behind all there are */
    bool is_next; /* it is not the first */
    uint64_t key; /* of the row being written */
    uint64_t count;
    struct buf entries;
    struct catalog_series before;
    struct label *pairs;
    size_t pair_count;
    size_t pair_cap;
};

/* How many back the row had this pair: 0 = it did not. *ret_like: how many back the same name. */
static size_t find_pair(const struct row_writer *writer,
                        const struct label *pair,
                        size_t *ret_like) {
    *ret_like = 0;
    for (size_t back = 1; back <= writer->pair_count && back <= PAIRS_LOOKED; back++) {
        const struct label *known = &writer->pairs[writer->pair_count - back];
        if (!str_eq(known->name, pair->name)) {
            continue;
        }
        if (str_eq(known->value, pair->value)) {
            return back;
        }
        *ret_like = *ret_like == 0 ? back : *ret_like;
    }
    return 0;
}

static size_t shared_bytes(struct str a, struct str b) {
    size_t shared = 0;
    while (shared < a.len && shared < b.len && a.ptr[shared] == b.ptr[shared]) {
        shared++;
    }
    return shared;
}

static void write_pair(struct row_writer *writer, const struct label *pair) {
    struct buf *out = &writer->entries;
    size_t like;
    size_t back = find_pair(writer, pair, &like);
    buf_uvarint(out, back);
    if (back != 0) {
        return;
    }
    buf_uvarint(out, like);
    size_t shared = 0;
    if (like == 0) {
        buf_uvarint(out, pair->name.len);
        buf_str(out, pair->name);
    } else {
        shared = shared_bytes(writer->pairs[writer->pair_count - like].value, pair->value);
        buf_uvarint(out, shared);
    }
    buf_uvarint(out, pair->value.len - shared);
    buf_append(out, pair->value.ptr + shared, pair->value.len - shared);
    writer->pairs = vec_grow(writer->pairs, &writer->pair_cap, writer->pair_count + 1,
                             sizeof(writer->pairs[0]));
    writer->pairs[writer->pair_count++] = *pair;
}

/* Which pairs of `before` are in `labels` too, as bits; `is_new` the other way round. */
static void compare_labels(struct labels before,
                           struct labels labels,
                           uint8_t kept[LABELS_COUNT_MAX / 8],
                           bool is_new[LABELS_COUNT_MAX]) {
    size_t at = 0;
    memset(kept, 0, LABELS_COUNT_MAX / 8);
    for (size_t i = 0; i < labels.count; i++) {
        const struct label *item = &labels.items[i];
        while (at < before.count && str_cmp(before.items[at].name, item->name) < 0) {
            at++;
        }
        bool is_same = at < before.count && str_eq(before.items[at].name, item->name) &&
                       str_eq(before.items[at].value, item->value);
        is_new[i] = !is_same;
        if (is_same) {
            kept[at / 8] |= (uint8_t)(1 << at % 8);
        }
    }
}

static void write_entry(struct row_writer *writer, const struct catalog_series *series) {
    struct labels before = writer->before.labels;
    struct labels labels = series->labels;
    uint8_t kept[LABELS_COUNT_MAX / 8];
    bool is_new[LABELS_COUNT_MAX];
    bool has_count = labels.count != before.count;
    buf_uvarint(&writer->entries, (series->id - writer->before.id) << 1 | has_count);
    if (has_count) {
        buf_uvarint(&writer->entries, labels.count);
    }
    compare_labels(before, labels, kept, is_new);
    buf_append(&writer->entries, kept, (before.count + 7) / 8);
    for (size_t i = 0; i < labels.count; i++) {
        if (is_new[i]) {
            write_pair(writer, &labels.items[i]);
        }
    }
    writer->before = *series;
    writer->count++;
}

static void begin_writing(struct row_writer *writer, uint64_t key) {
    writer->key = key;
    writer->count = 0;
    writer->pair_count = 0;
    writer->before = (struct catalog_series){ .id = key };
    buf_reset(&writer->entries);
}

static int flush_row(struct row_writer *writer) {
    if (writer->count == 0) {
        return 0;
    }
    struct buf body;
    uint8_t key[STORE_KEY_ID_BYTES];
    buf_init(&body, SIZE_MAX);
    buf_putc(&body, VERSION);
    buf_uvarint(&body, writer->count);
    buf_str(&body, buf_as_str(&writer->entries));
    store_key_id(key, writer->key);
    /* Behind all others LMDB fills pages instead of halving them. */
    int rc = store_put_flags(writer->store, writer->txn, STORE_LABELS,
                             str_n((const char *)key, sizeof(key)), buf_as_str(&body),
                             writer->is_end && writer->is_next ? MDB_APPEND : 0);
    writer->is_next = true;
    buf_finish(&body);
    return rc;
}

/* Into the row, or the next one when it is full. */
static int add_entry(struct row_writer *writer, const struct catalog_series *series) {
    size_t len = writer->entries.len;
    size_t pair_count = writer->pair_count;
    struct catalog_series before = writer->before;
    write_entry(writer, series);
    if (writer->count == 1 || HEADER_MAX + writer->entries.len <= writer->body_max) {
        return 0;
    }
    writer->entries.len = len;
    writer->pair_count = pair_count;
    writer->before = before;
    writer->count--;
    int rc = flush_row(writer);
    begin_writing(writer, series->id);
    write_entry(writer, series);
    return rc;
}

struct series_list {
    struct catalog_series *items;
    size_t count;
    size_t cap;
    struct arena arena;
};

static void list_add(struct series_list *list, const struct catalog_series *series) {
    list->items = vec_grow(list->items, &list->cap, list->count + 1, sizeof(list->items[0]));
    list->items[list->count++] = *series;
}

static void list_finish(struct series_list *list) {
    mem_free(list->items);
    arena_finish(&list->arena);
}

/* What a row has; false: it is damaged. */
static bool load_row(const struct catalog_row *row, struct series_list *list) {
    struct str body;
    struct err ignored = ERR_INIT;
    struct catalog_decoder decoder;
    list->count = 0;
    arena_reset(&list->arena);
    if (!store_check(STORE_LABELS, row->key, row->value, &body, &ignored)) {
        return false;
    }
    catalog_decoder_init(&decoder);
    catalog_decoder_begin(&decoder, row->first, body);
    while (catalog_decoder_next(&decoder)) {
        struct catalog_series copy = {
            .id = decoder.entry.id,
            .labels = labels_dup(decoder.entry.labels, &list->arena),
        };
        list_add(list, &copy);
    }
    bool ok = !decoder.is_bad;
    catalog_decoder_finish(&decoder);
    return ok;
}

/* Rows from `key` on, in the place of one. Where ids come in between, rows are left half empty:
 * more will come there. */
static int put_rows(struct store *store,
                    MDB_txn *txn,
                    uint64_t key,
                    const struct series_list *list,
                    bool is_appended,
                    bool is_end) {
    struct row_writer writer = {
        .store = store,
        .txn = txn,
        .body_max = BODY_MAX,
        .is_end = is_end,
    };
    buf_init(&writer.entries, SIZE_MAX);
    begin_writing(&writer, key);
    for (size_t i = 0; i < list->count; i++) {
        write_entry(&writer, &list->items[i]);
    }
    bool is_one = HEADER_MAX + writer.entries.len <= BODY_MAX;
    int rc = 0;
    if (!is_one) {
        writer.body_max = is_appended ? BODY_MAX : BODY_MAX / 2;
        begin_writing(&writer, key);
        for (size_t i = 0; rc == 0 && i < list->count; i++) {
            rc = add_entry(&writer, &list->items[i]);
        }
    }
    rc = rc == 0 ? flush_row(&writer) : rc;
    buf_finish(&writer.entries);
    mem_free(writer.pairs);
    return rc;
}

/* Two ascending lists into one; what is in both is taken from `series`. */
static void unite(const struct series_list *old,
                  const struct catalog_series *series,
                  size_t count,
                  struct series_list *ret) {
    size_t at = 0;
    ret->count = 0;
    for (size_t i = 0; i < count; i++) {
        while (at < old->count && old->items[at].id < series[i].id) {
            list_add(ret, &old->items[at++]);
        }
        at += at < old->count && old->items[at].id == series[i].id;
        list_add(ret, &series[i]);
    }
    while (at < old->count) {
        list_add(ret, &old->items[at++]);
    }
}

int catalog_labels_put(struct store *store,
                       MDB_txn *txn,
                       const struct catalog_series *series,
                       size_t count) {
    struct series_list old = { .count = 0 };
    struct series_list all = { .count = 0 };
    int rc = 0;
    arena_init(&old.arena, SIZE_MAX);
    arena_init(&all.arena, SIZE_MAX);
    for (size_t at = 0, end; rc == 0 && at < count; at = end) {
        struct catalog_row row;
        rc = catalog_seek(store, txn, STORE_LABELS, STORE_KEY_ID_BYTES, series[at].id, &row);
        for (end = at + 1; end < count && catalog_row_has(&row, series[end].id); end++) {
        }
        /* Beside a damaged row, not over it. */
        bool is_known = rc == 0 && row.is_there && load_row(&row, &old);
        old.count = is_known ? old.count : 0;
        bool is_appended = old.count == 0 || series[at].id > old.items[old.count - 1].id;
        unite(&old, series + at, end - at, &all);
        rc = rc == 0 ? put_rows(store, txn, is_known ? row.first : series[at].id, &all, is_appended,
                                row.end == 0)
                     : rc;
    }
    list_finish(&old);
    list_finish(&all);
    return rc;
}

int catalog_labels_del(struct store *store, MDB_txn *txn, const uint64_t *ids, size_t count) {
    struct series_list list = { .count = 0 };
    int rc = 0;
    arena_init(&list.arena, SIZE_MAX);
    for (size_t at = 0, end; rc == 0 && at < count; at = end) {
        struct catalog_row row;
        rc = catalog_seek(store, txn, STORE_LABELS, STORE_KEY_ID_BYTES, ids[at], &row);
        for (end = at + 1; end < count && catalog_row_has(&row, ids[end]); end++) {
        }
        if (rc != 0 || !row.is_there || !load_row(&row, &list)) {
            continue;
        }
        size_t kept = 0;
        size_t next = at;
        for (size_t i = 0; i < list.count; i++) {
            for (; next < end && ids[next] < list.items[i].id; next++) {
            }
            if (next == end || ids[next] != list.items[i].id) {
                list.items[kept++] = list.items[i];
            }
        }
        list.count = kept;
        uint8_t key[STORE_KEY_ID_BYTES];
        store_key_id(key, row.first);
        rc = kept > 0 ? put_rows(store, txn, row.first, &list, true, row.end == 0)
                      : store_del(store, txn, STORE_LABELS, str_n((const char *)key, sizeof(key)));
    }
    list_finish(&list);
    return rc;
}
