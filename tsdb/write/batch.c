/* Batches: samples, table changes and metadata collected until the commit. */
#include <assert.h>

#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/db.h"

#define OP_HEADER_BYTES 10 /* kind, table, key length, value length */
#define BATCH_BYTES_MAX ((size_t)1 << 30)

static const char *const outcome_names[] = {
    [TSDB_ACCEPTED] = "accepted",
    [TSDB_DUPLICATE] = "duplicate sample",
    [TSDB_CONFLICT] = "duplicate sample for timestamp with another value",
    [TSDB_OUT_OF_ORDER] = "out of order sample",
    [TSDB_TOO_OLD] = "sample older than the retention",
    [TSDB_TOO_NEW] = "sample too far in the future",
};
static_assert(ARRAY_LEN(outcome_names) == TSDB_OUTCOME_COUNT, "one text per outcome");

const char *tsdb_outcome_to_string(enum tsdb_outcome outcome) {
    if ((size_t)outcome >= ARRAY_LEN(outcome_names)) {
        BUG("unknown outcome %d", (int)outcome);
    }
    return outcome_names[outcome];
}

/* ---- table changes ---- */

static void add_op(struct tsdb_batch *batch,
                   bool is_put,
                   enum kv_table table,
                   struct str key,
                   struct str value) {
    assert((size_t)table < KV_TABLE_COUNT);
    if (key.len == 0 || key.len > KV_KEY_BYTES_MAX) {
        if (batch->invalid.code == ERR_NONE) {
            err_set(&batch->invalid, ERR_LIMIT,
                    "a key of %zu bytes for table %s: 1 to %d are possible", key.len,
                    kv_table_names[table], KV_KEY_BYTES_MAX);
        }
        return;
    }
    uint8_t header[OP_HEADER_BYTES] = { is_put, (uint8_t)table };
    bytes_put_le32(header + 2, (uint32_t)key.len);
    bytes_put_le32(header + 6, (uint32_t)value.len);
    buf_append(&batch->kv_ops, header, sizeof(header));
    buf_str(&batch->kv_ops, key);
    buf_str(&batch->kv_ops, value);
    if (batch->kv_ops.is_over && batch->invalid.code == ERR_NONE) {
        err_set(&batch->invalid, ERR_LIMIT, "a batch is larger than %zu bytes", BATCH_BYTES_MAX);
    }
}

static void batch_put(struct kv_batch *kv, enum kv_table table, struct str key, struct str value) {
    add_op((struct tsdb_batch *)kv, true, table, key, value);
}

static void batch_del(struct kv_batch *kv, enum kv_table table, struct str key) {
    add_op((struct tsdb_batch *)kv, false, table, key, STR(""));
}

bool batch_next_kv_op(const struct tsdb_batch *batch, size_t *at, struct kv_op *ret) {
    if (*at == batch->kv_ops.len) {
        return false;
    }
    const uint8_t *op = (const uint8_t *)batch->kv_ops.ptr + *at;
    size_t key_len = bytes_le32(op + 2);
    size_t value_len = bytes_le32(op + 6);
    const char *key = (const char *)op + OP_HEADER_BYTES;
    *ret = (struct kv_op){
        .is_put = op[0] != 0,
        .table = (enum kv_table)op[1],
        .key = str_n(key, key_len),
        .value = str_n(key + key_len, value_len),
    };
    *at += OP_HEADER_BYTES + key_len + value_len;
    assert(*at <= batch->kv_ops.len);
    return true;
}

struct kv_batch *tsdb_batch_kv(struct tsdb_batch *batch) {
    return &batch->kv;
}

/* ---- life ---- */

static bool may_begin(struct tsdb *db, enum tsdb_class cls, struct err *err) {
    if (db->is_read_only) {
        return err_set(err, ERR_UNAVAILABLE, "the store is open for reading only");
    }
    pthread_mutex_lock(&db->queue_lock);
    bool is_closing = db->is_closing;
    pthread_mutex_unlock(&db->queue_lock);
    if (is_closing) {
        return err_set(err, ERR_UNAVAILABLE, "the store is closing");
    }
    if (db->is_latched) {
        return tsdb_health(db, err);
    }
    if (cls == TSDB_STATE) {
        return true;
    }
    if (db->is_no_space && db_check_space(db)) {
        return tsdb_health(db, err);
    }
    if (db->pending_bytes >= db->pending_bytes_max) {
        metric_inc(db->metrics.throttled);
        return err_set(err, ERR_THROTTLED,
                       "%llu bytes of writes are waiting for the disk: retry later",
                       (unsigned long long)db->pending_bytes);
    }
    if (db->side.bytes >= SIDE_BYTES_HARD) {
        metric_inc(db->metrics.throttled);
        return err_set(err, ERR_THROTTLED,
                       "%llu out-of-order samples wait to be sealed: retry later",
                       (unsigned long long)db->side.sample_count);
    }
    return true;
}

struct tsdb_batch *batch_create(struct tsdb *db, enum tsdb_class cls) {
    struct tsdb_batch *batch = mem_calloc(1, sizeof(*batch));
    batch->kv = (struct kv_batch){ .put = batch_put, .del = batch_del };
    batch->db = db;
    batch->cls = cls;
    buf_init(&batch->kv_ops, BATCH_BYTES_MAX);
    buf_init(&batch->metadata, BATCH_BYTES_MAX);
    return batch;
}

bool tsdb_batch_begin(struct tsdb *db,
                      enum tsdb_class cls,
                      struct tsdb_batch **ret,
                      struct err *err) {
    if (!may_begin(db, cls, err)) {
        return false;
    }
    *ret = batch_create(db, cls);
    return true;
}

void batch_destroy(struct tsdb_batch *batch) {
    if (batch == NULL) {
        return;
    }
    buf_finish(&batch->kv_ops);
    buf_finish(&batch->metadata);
    mem_free(batch->samples);
    mem_free(batch->outcomes);
    mem_free(batch);
}

void tsdb_batch_abandon(struct tsdb_batch *batch) {
    batch_destroy(batch);
}

void tsdb_batch_append(struct tsdb_batch *batch, series_ref_t ref, int64_t t_ms, double value) {
    assert(ref != 0);
    if (batch->sample_count == batch->sample_cap) {
        batch->samples = vec_grow(batch->samples, &batch->sample_cap, batch->sample_count + 1,
                                  sizeof(batch->samples[0]));
    }
    batch->samples[batch->sample_count++] = (struct pending_sample){
        .ref = ref,
        .sample = { .t_ms = t_ms, .value = value },
    };
}

size_t tsdb_batch_sample_count(const struct tsdb_batch *batch) {
    return batch->sample_count;
}
