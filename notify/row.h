/*
 * Binary rows of the notifier's tables: a version byte, fields, and a CRC-32C over key and value.
 * Integers are little-endian, texts length-prefixed. The layouts are in notify/FORMAT.md.
 */
#pragma once

#include "model/model.h"

/* ---- writing ---- */

void row_begin(struct buf *out, uint8_t version);
void row_u8(struct buf *out, uint8_t value);
void row_u32(struct buf *out, uint32_t value);
void row_u64(struct buf *out, uint64_t value);
void row_i64(struct buf *out, int64_t value);
void row_f64(struct buf *out, double value);
void row_str(struct buf *out, struct str text);
void row_labels(struct buf *out, struct labels labels);
void row_end(struct buf *out, struct str key); /* appends the checksum */

/* ---- reading ---- */

/* Reads past the end give zeros and set is_bad, looked at once in row_close(). */
struct row_reader {
    const char *next;
    size_t left;
    bool is_bad;
    uint8_t version;
};

/* ERR_CORRUPT when the checksum is wrong, ERR_INVALID when the version is above `version_max`.
 * `table` is for the message. */
WARN_UNUSED bool row_open(struct row_reader *ret,
                          struct str key,
                          struct str value,
                          uint8_t version_max,
                          const char *table,
                          struct err *err);
uint8_t row_get_u8(struct row_reader *row);
uint32_t row_get_u32(struct row_reader *row);
uint64_t row_get_u64(struct row_reader *row);
int64_t row_get_i64(struct row_reader *row);
double row_get_f64(struct row_reader *row);
struct str row_get_str(struct row_reader *row);                            /* points into the row */
struct labels row_get_labels(struct row_reader *row, struct arena *arena); /* texts as above */
/* A count of items of at least `item_bytes_min` each; bad when they cannot fit. */
uint32_t row_get_count(struct row_reader *row, size_t item_bytes_min);
/* ERR_CORRUPT when anything was missing or is left over. */
WARN_UNUSED bool row_close(const struct row_reader *row, const char *table, struct err *err);

/* ---- keys ---- */

#define ROW_ID_KEY_BYTES 9

/* A kind byte and a big-endian id: rows sort by id. */
struct str row_id_key(char out[ROW_ID_KEY_BYTES], uint8_t kind, uint64_t id);
/* False unless `key` is one of the kind. */
bool row_id_from_key(struct str key, uint8_t kind, uint64_t *ret);
