/* Type, help and unit per metric family: a map in memory over the KV_METADATA rows. */
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/db.h"

#define ROW_VERSION 1

/* Row: version, type, help (length-prefixed), unit (length-prefixed). */
static void encode_row(const struct family_metadata *metadata, struct buf *out) {
    buf_putc(out, ROW_VERSION);
    buf_putc(out, (char)metadata->type);
    buf_uvarint(out, metadata->help.len);
    buf_str(out, metadata->help);
    buf_uvarint(out, metadata->unit.len);
    buf_str(out, metadata->unit);
}

static bool decode_row(struct str row, struct family_metadata *ret) {
    struct reader reader = reader_init(row.ptr, row.len);
    uint8_t version = reader_u8(&reader);
    uint8_t type = reader_u8(&reader);
    ret->help = reader_str(&reader);
    ret->unit = reader_str(&reader);
    ret->type = (enum family_type)type;
    return !reader.is_bad && version == ROW_VERSION && type < FAMILY_TYPE_COUNT;
}

/* In the batch: family and row, both length-prefixed. */
void tsdb_batch_metadata(struct tsdb_batch *batch,
                         struct str family,
                         const struct family_metadata *metadata) {
    if (family.len == 0 || family.len > KV_KEY_BYTES_MAX) {
        return; /* cannot be a stored family: no series of that name could be selected */
    }
    struct buf row;
    buf_init(&row, SIZE_MAX);
    encode_row(metadata, &row);
    buf_uvarint(&batch->metadata, family.len);
    buf_str(&batch->metadata, family);
    buf_uvarint(&batch->metadata, row.len);
    buf_str(&batch->metadata, buf_as_str(&row));
    buf_finish(&row);
}

static bool is_known(const struct metadata_table *table,
                     struct str family,
                     struct str row,
                     bool *ret_has_room) {
    const struct metadata_row *known = map_get(&table->rows, family);
    *ret_has_room = known != NULL || table->rows.count < METADATA_FAMILY_MAX;
    return known != NULL && str_eq(str_n(known->bytes, known->len), row);
}

int metadata_put(struct tsdb *db, MDB_txn *txn, const struct tsdb_batch *batch) {
    struct reader reader = reader_init(batch->metadata.ptr, batch->metadata.len);
    while (reader_left(&reader) > 0) {
        struct str family = reader_str(&reader);
        struct str row = reader_str(&reader);
        bool has_room;
        if (!is_known(&db->metadata, family, row, &has_room) && has_room) {
            int rc = kv_put_row(db->kv_dbis, txn, KV_METADATA, family, row);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

static void remember(struct metadata_table *table, struct str family, struct str row) {
    struct metadata_row *copy = mem_alloc(sizeof(*copy) + row.len);
    copy->len = row.len;
    memcpy(copy->bytes, row.ptr, row.len);
    mem_free(map_put(&table->rows, family, copy));
}

void metadata_publish(struct tsdb *db, const struct tsdb_batch *batch) {
    struct reader reader = reader_init(batch->metadata.ptr, batch->metadata.len);
    while (reader_left(&reader) > 0) {
        struct str family = reader_str(&reader);
        struct str row = reader_str(&reader);
        bool has_room;
        if (!is_known(&db->metadata, family, row, &has_room) && has_room) {
            pthread_rwlock_wrlock(&db->metadata.lock);
            remember(&db->metadata, family, row);
            pthread_rwlock_unlock(&db->metadata.lock);
        }
    }
}

static bool load_row(void *ctx, struct str key, struct str value) {
    struct family_metadata ignored;
    if (decode_row(value, &ignored)) {
        remember(ctx, key, value);
    }
    return true;
}

bool metadata_load(struct tsdb *db, struct err *err) {
    struct err failure = ERR_INIT;
    if (!db->kv.scan(&db->kv, KV_METADATA, STR(""), STR(""), load_row, &db->metadata, &failure) &&
        failure.code != ERR_NONE) {
        *err = failure;
        return err_wrap(err, "loading metadata");
    }
    return true;
}

void metadata_finish(struct metadata_table *table) {
    map_finish(&table->rows, mem_free);
}

/* ---- reading ---- */

static int compare_keys(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static void visit_one(struct metadata_table *table,
                      struct str family,
                      void (*visit)(void *ctx,
                                    struct str family,
                                    const struct family_metadata *metadata),
                      void *ctx) {
    const struct metadata_row *row = map_get(&table->rows, family);
    struct family_metadata metadata;
    if (row != NULL && decode_row(str_n(row->bytes, row->len), &metadata)) {
        visit(ctx, family, &metadata);
    }
}

void tsdb_metadata(struct tsdb *db,
                   struct str family,
                   void (*visit)(void *ctx,
                                 struct str family,
                                 const struct family_metadata *metadata),
                   void *ctx) {
    struct metadata_table *table = &db->metadata;
    pthread_rwlock_rdlock(&table->lock);
    if (family.len > 0) {
        visit_one(table, family, visit, ctx);
        pthread_rwlock_unlock(&table->lock);
        return;
    }
    struct str *keys = mem_calloc(table->rows.count + 1, sizeof(keys[0]));
    size_t count = 0;
    size_t cursor = 0;
    void *value;
    while (map_next(&table->rows, &cursor, &keys[count], &value)) {
        count++;
    }
    qsort(keys, count, sizeof(keys[0]), compare_keys);
    for (size_t i = 0; i < count; i++) {
        visit_one(table, keys[i], visit, ctx);
    }
    mem_free(keys);
    pthread_rwlock_unlock(&table->lock);
}
