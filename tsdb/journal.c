/*
 * Journal records: encoding, parts of at most 32,752 bytes (LMDB's overflow runs stay at 8 pages),
 * CRC-32C over key and value of each part.
 */
#include "tsdb/journal.h"

#include <assert.h>
#include <inttypes.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/bytes.h"

#define RECORD_VERSION 1
#define KEY_BYTES      12 /* LSN, part */
#define HEADER_BYTES   8  /* CRC, version, flags, zero */
#define PART_BYTES_MAX (8 * 4096 - 16)
#define FLAG_LAST      1
#define VALUE_RAW      1 /* token: eight bytes follow */

/* Larger than one commit can get: batches are capped long before. */
#define RECORD_BYTES_MAX ((size_t)1 << 31)

/* ---- encoding ---- */

void journal_record_init(struct journal_record *record) {
    *record = (struct journal_record){ 0 };
    buf_init(&record->definitions, RECORD_BYTES_MAX);
    buf_init(&record->samples, RECORD_BYTES_MAX);
    buf_init(&record->late, RECORD_BYTES_MAX);
    buf_init(&record->body, 2 * RECORD_BYTES_MAX);
}

void journal_record_finish(struct journal_record *record) {
    buf_finish(&record->definitions);
    buf_finish(&record->samples);
    buf_finish(&record->late);
    buf_finish(&record->body);
}

void journal_record_reset(struct journal_record *record) {
    buf_reset(&record->definitions);
    buf_reset(&record->samples);
    buf_reset(&record->late);
    buf_reset(&record->body);
    record->definition_count = 0;
    record->sample_count = 0;
    record->late_count = 0;
    record->late_last = (struct late_deltas){ 0 };
    record->id_last = 0;
    record->t_last_ms = 0;
}

void journal_add_definition(struct journal_record *record, uint64_t id, struct labels labels) {
    uint8_t header[UVARINT_BYTES_MAX + 4];
    uint8_t *end = bytes_put_uvarint(header, id);
    buf_append(&record->definitions, header, (size_t)(end - header));
    size_t at = record->definitions.len;
    buf_le32(&record->definitions, 0);
    labels_encode(labels, &record->definitions);
    bytes_put_le32((uint8_t *)record->definitions.ptr + at,
                   (uint32_t)(record->definitions.len - at - 4));
    record->definition_count++;
}

/* Integers up to 2^53 take a varint, everything else its eight bytes. */
static uint8_t *put_value(uint8_t *out, double value) {
    const double exact_max = 9007199254740992.0;
    if (value >= -exact_max && value <= exact_max) {
        int64_t integer = (int64_t)value;
        if (double_bits((double)integer) == double_bits(value)) {
            return bytes_put_uvarint(out, zigzag(integer) << 1);
        }
    }
    *out++ = VALUE_RAW;
    bytes_put_le64(out, double_bits(value));
    return out + 8;
}

void journal_add_sample(struct journal_record *record, uint64_t id, struct sample sample) {
    uint8_t *start = (uint8_t *)buf_reserve(&record->samples, 3 * UVARINT_BYTES_MAX);
    if (start == NULL) {
        BUG("a journal record of %zu bytes", record->samples.len);
    }
    uint8_t *out = bytes_put_uvarint(start, zigzag((int64_t)(id - record->id_last)));
    out = bytes_put_uvarint(out, zigzag(i64_sub(sample.t_ms, record->t_last_ms)));
    out = put_value(out, sample.value);
    record->samples.len += (size_t)(out - start);
    record->id_last = id;
    record->t_last_ms = sample.t_ms;
    record->sample_count++;
}

void journal_add_late(struct journal_record *record, uint64_t id, struct sample sample) {
    uint8_t *start = (uint8_t *)buf_reserve(&record->late, 3 * UVARINT_BYTES_MAX);
    if (start == NULL) {
        BUG("a journal record of %zu bytes", record->late.len);
    }
    struct late_deltas *last = &record->late_last;
    uint8_t *out = bytes_put_uvarint(start, zigzag((int64_t)(id - last->id)));
    out = bytes_put_uvarint(out, zigzag(i64_sub(sample.t_ms, last->t_ms)));
    out = put_value(out, sample.value);
    record->late.len += (size_t)(out - start);
    *last = (struct late_deltas){ .id = id, .t_ms = sample.t_ms };
    record->late_count++;
}

struct str journal_seal_record(struct journal_record *record, int64_t now_ms) {
    struct buf *body = &record->body;
    buf_svarint(body, now_ms);
    buf_uvarint(body, record->definition_count);
    buf_str(body, buf_as_str(&record->definitions));
    buf_uvarint(body, record->sample_count);
    buf_str(body, buf_as_str(&record->samples));
    if (record->late_count > 0) {
        buf_uvarint(body, record->late_count);
        buf_str(body, buf_as_str(&record->late));
    }
    assert(!body->is_over && !record->definitions.is_over);
    return buf_as_str(body);
}

/* ---- parts ---- */

static void make_key(uint8_t key[KEY_BYTES], uint64_t lsn, uint32_t part) {
    bytes_put_be64(key, lsn);
    bytes_put_be32(key + 8, part);
}

static uint32_t part_crc(const uint8_t *key, const uint8_t *value, size_t len) {
    uint32_t crc = hash_crc32c(0, key, KEY_BYTES);
    return hash_crc32c(crc, value + 4, len - 4);
}

int journal_put(MDB_txn *txn, MDB_dbi log, uint64_t lsn, struct str body) {
    return journal_put_version(txn, log, lsn, RECORD_VERSION, body);
}

int journal_put_version(MDB_txn *txn, MDB_dbi log, uint64_t lsn, uint8_t version, struct str body) {
    size_t at = 0;
    for (uint32_t part = 0; part == 0 || at < body.len; part++) {
        size_t len = body.len - at;
        if (len > PART_BYTES_MAX - HEADER_BYTES) {
            len = PART_BYTES_MAX - HEADER_BYTES;
        }
        uint8_t key[KEY_BYTES];
        make_key(key, lsn, part);
        MDB_val mdb_key = { .mv_size = sizeof(key), .mv_data = key };
        MDB_val mdb_value = { .mv_size = HEADER_BYTES + len };
        int rc = mdb_put(txn, log, &mdb_key, &mdb_value, MDB_APPEND | MDB_RESERVE);
        if (rc != 0) {
            return rc;
        }
        uint8_t *value = mdb_value.mv_data;
        value[4] = version;
        value[5] = at + len == body.len ? FLAG_LAST : 0;
        value[6] = 0;
        value[7] = 0;
        memcpy(value + HEADER_BYTES, body.ptr + at, len);
        bytes_put_le32(value, part_crc(key, value, HEADER_BYTES + len));
        at += len;
    }
    return 0;
}

int journal_trim(MDB_txn *txn, MDB_dbi log, uint64_t lsn, size_t max, bool *ret_more) {
    *ret_more = false;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, log, &cursor);
    if (rc != 0) {
        return rc;
    }
    MDB_val key;
    MDB_val value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (size_t i = 0; rc == 0 && key.mv_size == KEY_BYTES && bytes_be64(key.mv_data) <= lsn; i++) {
        if (i == max) {
            *ret_more = true;
            break;
        }
        rc = mdb_cursor_del(cursor, 0);
        if (rc == 0) {
            rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
        }
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- reading ---- */

static bool corrupt(struct err *err, uint64_t lsn, const char *what) {
    return err_set(err, ERR_CORRUPT, "journal: record %" PRIu64 " is damaged: %s", lsn, what);
}

/* A value as put_value() writes it; false: an unknown token. */
static bool take_value(struct reader *reader, double *ret) {
    uint64_t token = reader_uvarint(reader);
    if ((token & 1) == 0) {
        *ret = (double)unzigzag(token >> 1);
        return true;
    }
    *ret = double_from_bits(reader_le64(reader));
    return token == VALUE_RAW;
}

static bool parse_samples(struct reader *reader,
                          uint64_t lsn,
                          bool (*sample_fn)(void *, uint64_t, struct sample, struct err *),
                          void *ctx,
                          struct err *err) {
    uint64_t count = reader_uvarint(reader);
    uint64_t id = 0;
    struct sample sample = { 0 };
    for (uint64_t i = 0; i < count && !reader->is_bad; i++) {
        id += (uint64_t)reader_svarint(reader);
        sample.t_ms = i64_add(sample.t_ms, reader_svarint(reader));
        if (!take_value(reader, &sample.value)) {
            return corrupt(err, lsn, "unknown value token");
        }
        if (id == 0) {
            return corrupt(err, lsn, "series id 0");
        }
        if (!reader->is_bad && !sample_fn(ctx, id, sample, err)) {
            return false;
        }
    }
    return true;
}

bool journal_parse(struct str body,
                   uint64_t lsn,
                   const struct journal_visitor *visitor,
                   struct err *err) {
    struct reader reader = reader_init(body.ptr, body.len);
    int64_t now_ms = reader_svarint(&reader);
    uint64_t definition_count = reader_uvarint(&reader);
    if (reader.is_bad) {
        return corrupt(err, lsn, "it ends early");
    }
    if (!visitor->record(visitor->ctx, lsn, now_ms, err)) {
        return false;
    }
    for (uint64_t i = 0; i < definition_count && !reader.is_bad; i++) {
        uint64_t id = reader_uvarint(&reader);
        uint32_t len = reader_le32(&reader);
        const uint8_t *labels = reader_bytes(&reader, len);
        if (labels == NULL || id == 0) {
            return corrupt(err, lsn, "a series definition ends early");
        }
        if (!visitor->definition(visitor->ctx, id, str_n((const char *)labels, len), err)) {
            return false;
        }
    }
    if (!parse_samples(&reader, lsn, visitor->sample, visitor->ctx, err) ||
        (!reader.is_bad && reader_left(&reader) > 0 &&
         !parse_samples(&reader, lsn, visitor->late, visitor->ctx, err))) {
        return false;
    }
    if (reader.is_bad || reader_left(&reader) != 0) {
        return corrupt(err, lsn, "its length does not fit its content");
    }
    return true;
}

bool journal_bounds(const struct env *env,
                    MDB_txn *txn,
                    MDB_dbi log,
                    uint64_t *ret_first,
                    uint64_t *ret_last,
                    struct err *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, log, &cursor);
    if (rc != 0) {
        return env_fail(env, err, rc, "reading the log");
    }
    MDB_val key;
    MDB_val value;
    uint64_t first = 0;
    uint64_t last = 0;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (rc == 0 && key.mv_size == KEY_BYTES) {
        first = bytes_be64(key.mv_data);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    }
    if (rc == 0 && key.mv_size == KEY_BYTES) {
        last = bytes_be64(key.mv_data);
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        return env_fail(env, err, rc, "reading the log");
    }
    *ret_first = first;
    *ret_last = last;
    return true;
}

/* Add one part to the body; *ret_is_last when the record is complete. */
static bool add_part(MDB_val key,
                     MDB_val value,
                     uint32_t part,
                     struct buf *body,
                     bool *ret_is_last,
                     struct err *err) {
    uint64_t lsn = bytes_be64(key.mv_data);
    const uint8_t *bytes = value.mv_data;
    const uint8_t *key_bytes = key.mv_data;
    if (value.mv_size < HEADER_BYTES ||
        bytes_le32(bytes) != part_crc(key_bytes, bytes, value.mv_size)) {
        return corrupt(err, lsn, "the checksum is wrong");
    }
    if (bytes[4] != RECORD_VERSION) {
        return err_set(err, ERR_INVALID,
                       "journal: record %" PRIu64 " has version %u, this program knows %d", lsn,
                       bytes[4], RECORD_VERSION);
    }
    if (bytes_be32(key_bytes + 8) != part) {
        return corrupt(err, lsn, "a part is missing");
    }
    buf_append(body, bytes + HEADER_BYTES, value.mv_size - HEADER_BYTES);
    *ret_is_last = (bytes[5] & FLAG_LAST) != 0;
    return true;
}

struct part {
    MDB_val key; /* in the transaction's memory */
    MDB_val value;
};

struct walk {
    const struct env *env;
    MDB_cursor *cursor;
    MDB_val key; /* where the cursor stands */
    MDB_val value;
    uint64_t lsn; /* of the record before */
    struct part *parts;
    size_t part_count;
    size_t part_cap;
    struct buf body; /* of one record */
    struct buf raw;
};

/* The parts of the record that begins here; the cursor then stands behind them. A key of a wrong
 * size is a part of its own. Returns an LMDB code. */
static int take_parts(struct walk *walk, uint64_t *ret_lsn) {
    int rc = 0;
    bool is_key = walk->key.mv_size == KEY_BYTES;
    *ret_lsn = is_key ? bytes_be64(walk->key.mv_data) : walk->lsn;
    walk->part_count = 0;
    do {
        walk->parts =
            vec_grow(walk->parts, &walk->part_cap, walk->part_count + 1, sizeof(walk->parts[0]));
        walk->parts[walk->part_count++] = (struct part){ walk->key, walk->value };
        rc = mdb_cursor_get(walk->cursor, &walk->key, &walk->value, MDB_NEXT);
    } while (is_key && rc == 0 && walk->key.mv_size == KEY_BYTES &&
             bytes_be64(walk->key.mv_data) == *ret_lsn);
    return rc;
}

static bool join_parts(struct walk *walk, uint64_t lsn, struct err *err) {
    bool is_last = false;
    buf_reset(&walk->body);
    if (walk->parts[0].key.mv_size != KEY_BYTES) {
        return corrupt(err, lsn, "the key behind it has the wrong size");
    }
    for (uint32_t i = 0; i < walk->part_count; i++) {
        const struct part *part = &walk->parts[i];
        if (is_last) {
            return corrupt(err, lsn, "there are parts behind the last one");
        }
        if (!add_part(part->key, part->value, i, &walk->body, &is_last, err)) {
            return false;
        }
    }
    if (!is_last) {
        return corrupt(err, lsn, "the last part is missing");
    }
    return lsn > walk->lsn || corrupt(err, lsn, "it is out of order");
}

static struct str copy_raw(struct walk *walk) {
    buf_reset(&walk->raw);
    for (size_t i = 0; i < walk->part_count; i++) {
        const struct part *part = &walk->parts[i];
        buf_append(&walk->raw, part->key.mv_data, part->key.mv_size);
        buf_le32(&walk->raw, (uint32_t)part->value.mv_size);
        buf_append(&walk->raw, part->value.mv_data, part->value.mv_size);
    }
    return buf_as_str(&walk->raw);
}

static bool report(struct walk *walk,
                   const struct journal_visitor *visitor,
                   uint64_t lsn,
                   const struct err *what,
                   struct err *err) {
    if (visitor->damaged == NULL || what->code != ERR_CORRUPT) {
        *err = *what;
        return false;
    }
    return visitor->damaged(visitor->ctx, lsn, copy_raw(walk), what, err);
}

static bool report_gap(struct walk *walk,
                       const struct journal_visitor *visitor,
                       uint64_t lsn,
                       struct err *err) {
    struct err what = ERR_INIT;
    err_set(&what, ERR_CORRUPT, "journal: records %" PRIu64 " to %" PRIu64 " are missing",
            walk->lsn + 1, lsn - 1);
    size_t count = walk->part_count;
    walk->part_count = 0; /* nothing to keep */
    bool ok = visitor->damaged == NULL || report(walk, visitor, walk->lsn + 1, &what, err);
    walk->part_count = count;
    return ok;
}

static bool visit_body(struct walk *walk,
                       const struct journal_visitor *visitor,
                       uint64_t lsn,
                       struct err *err) {
    struct str body = buf_as_str(&walk->body);
    if (visitor->body != NULL) {
        uint8_t version = ((const uint8_t *)walk->parts[0].value.mv_data)[4];
        return visitor->body(visitor->ctx, lsn, version, body, err);
    }
    return journal_parse(body, lsn, visitor, err);
}

static bool walk_cursor(struct walk *walk,
                        uint64_t from,
                        const struct journal_visitor *visitor,
                        struct err *err) {
    uint8_t start[KEY_BYTES];
    make_key(start, from, 0);
    walk->key = (MDB_val){ .mv_size = sizeof(start), .mv_data = start };
    int rc = mdb_cursor_get(walk->cursor, &walk->key, &walk->value, MDB_SET_RANGE);
    while (rc == 0) {
        struct err what = ERR_INIT;
        uint64_t lsn;
        rc = take_parts(walk, &lsn);
        bool ok = join_parts(walk, lsn, &what);
        if (ok && lsn > walk->lsn + 1 && !report_gap(walk, visitor, lsn, err)) {
            return false;
        }
        if (ok || lsn == walk->lsn + 1) {
            walk->lsn = lsn;
        }
        ok = ok && visit_body(walk, visitor, lsn, &what);
        if (!ok && !report(walk, visitor, lsn, &what, err)) {
            return false;
        }
    }
    if (rc == MDB_NOTFOUND) {
        return true;
    }
    struct err what = ERR_INIT;
    walk->part_count = 0;
    env_fail(walk->env, &what, rc, "reading the log behind record %" PRIu64, walk->lsn);
    return report(walk, visitor, walk->lsn, &what, err);
}

bool journal_walk(const struct env *env,
                  MDB_txn *txn,
                  MDB_dbi log,
                  uint64_t from,
                  const struct journal_visitor *visitor,
                  struct err *err) {
    struct walk walk = { .env = env, .lsn = from > 0 ? from - 1 : 0 };
    int rc = mdb_cursor_open(txn, log, &walk.cursor);
    if (rc != 0) {
        return env_fail(env, err, rc, "reading the log");
    }
    buf_init(&walk.body, 2 * RECORD_BYTES_MAX);
    buf_init(&walk.raw, 2 * RECORD_BYTES_MAX);
    bool ok = walk_cursor(&walk, from, visitor, err);
    mem_free(walk.parts);
    buf_finish(&walk.body);
    buf_finish(&walk.raw);
    mdb_cursor_close(walk.cursor);
    return ok;
}

bool journal_body_time(uint8_t version, struct str body, int64_t *ret_now_ms) {
    struct reader reader = reader_init(body.ptr, body.len);
    if (version > 1) {
        (void)reader_u8(&reader); /* flags */
    }
    *ret_now_ms = reader_svarint(&reader);
    return !reader.is_bad;
}
