/* Binary rows: see row.h. */
#include "notify/row.h"

#include "base/hash.h"

enum {
    CHECKSUM_BYTES = 4,
};

/* ---- writing ---- */

static void put_le(struct buf *out, uint64_t value, size_t bytes) {
    char raw[8];
    for (size_t i = 0; i < bytes; i++) {
        raw[i] = (char)(unsigned char)(value >> (8 * i));
    }
    buf_append(out, raw, bytes);
}

void row_begin(struct buf *out, uint8_t version) {
    buf_reset(out);
    row_u8(out, version);
}

void row_u8(struct buf *out, uint8_t value) {
    put_le(out, value, 1);
}

void row_u32(struct buf *out, uint32_t value) {
    put_le(out, value, 4);
}

void row_u64(struct buf *out, uint64_t value) {
    put_le(out, value, 8);
}

void row_i64(struct buf *out, int64_t value) {
    put_le(out, (uint64_t)value, 8);
}

void row_f64(struct buf *out, double value) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    put_le(out, bits, 8);
}

void row_str(struct buf *out, struct str text) {
    row_u32(out, (uint32_t)text.len);
    buf_str(out, text);
}

void row_labels(struct buf *out, struct labels labels) {
    row_u32(out, (uint32_t)labels.count);
    for (size_t i = 0; i < labels.count; i++) {
        row_str(out, labels.items[i].name);
        row_str(out, labels.items[i].value);
    }
}

static uint32_t checksum(struct str key, const char *value, size_t len) {
    return hash_crc32c(hash_crc32c(0, key.ptr, key.len), value, len);
}

void row_end(struct buf *out, struct str key) {
    struct str bytes = buf_as_str(out);
    row_u32(out, checksum(key, bytes.ptr, bytes.len));
}

/* ---- reading ---- */

static uint64_t get_le(struct row_reader *row, size_t bytes) {
    if (row->left < bytes) {
        row->is_bad = true;
        row->left = 0;
        return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value |= (uint64_t)(unsigned char)row->next[i] << (8 * i);
    }
    row->next += bytes;
    row->left -= bytes;
    return value;
}

bool row_open(struct row_reader *ret,
              struct str key,
              struct str value,
              uint8_t version_max,
              const char *table,
              struct err *err) {
    if (value.len < 1 + CHECKSUM_BYTES) {
        return err_set(err, ERR_CORRUPT, "row of table %s is only %zu bytes long", table,
                       value.len);
    }
    size_t len = value.len - CHECKSUM_BYTES;
    struct row_reader tail = { .next = value.ptr + len, .left = CHECKSUM_BYTES };
    if ((uint32_t)get_le(&tail, CHECKSUM_BYTES) != checksum(key, value.ptr, len)) {
        return err_set(err, ERR_CORRUPT, "row of table %s fails its checksum", table);
    }
    struct row_reader row = { .next = value.ptr, .left = len };
    row.version = row_get_u8(&row);
    if (row.version == 0 || row.version > version_max) {
        return err_set(
            err, ERR_INVALID,
            "row of table %s has version %u, this program knows up to %u: it was written "
            "by a newer one",
            table, row.version, version_max);
    }
    *ret = row;
    return true;
}

uint8_t row_get_u8(struct row_reader *row) {
    return (uint8_t)get_le(row, 1);
}

uint32_t row_get_u32(struct row_reader *row) {
    return (uint32_t)get_le(row, 4);
}

uint64_t row_get_u64(struct row_reader *row) {
    return get_le(row, 8);
}

int64_t row_get_i64(struct row_reader *row) {
    return (int64_t)get_le(row, 8);
}

double row_get_f64(struct row_reader *row) {
    uint64_t bits = get_le(row, 8);
    double value = 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

struct str row_get_str(struct row_reader *row) {
    uint32_t len = row_get_u32(row);
    if (row->left < len) {
        row->is_bad = true;
        row->left = 0;
        return STR("");
    }
    struct str text = str_n(row->next, len);
    row->next += len;
    row->left -= len;
    return text;
}

struct labels row_get_labels(struct row_reader *row, struct arena *arena) {
    uint32_t count = row_get_count(row, 8);
    struct labels labels = { .items = arena_calloc(arena, count, sizeof(labels.items[0])),
                             .count = count };
    for (uint32_t i = 0; i < count; i++) {
        labels.items[i].name = row_get_str(row);
        labels.items[i].value = row_get_str(row);
    }
    return labels;
}

uint32_t row_get_count(struct row_reader *row, size_t item_bytes_min) {
    uint32_t count = row_get_u32(row);
    if (item_bytes_min > 0 && count > row->left / item_bytes_min) {
        row->is_bad = true;
        return 0;
    }
    return count;
}

bool row_close(const struct row_reader *row, const char *table, struct err *err) {
    if (row->is_bad || row->left != 0) {
        return err_set(err, ERR_CORRUPT, "row of table %s is malformed", table);
    }
    return true;
}

/* ---- keys ---- */

struct str row_id_key(char out[ROW_ID_KEY_BYTES], uint8_t kind, uint64_t id) {
    out[0] = (char)kind;
    for (size_t i = 0; i < 8; i++) {
        out[1 + i] = (char)(unsigned char)(id >> (56 - 8 * i));
    }
    return str_n(out, ROW_ID_KEY_BYTES);
}

bool row_id_from_key(struct str key, uint8_t kind, uint64_t *ret) {
    if (key.len != ROW_ID_KEY_BYTES || (uint8_t)key.ptr[0] != kind) {
        return false;
    }
    uint64_t id = 0;
    for (size_t i = 0; i < 8; i++) {
        id = id << 8 | (unsigned char)key.ptr[1 + i];
    }
    *ret = id;
    return true;
}
