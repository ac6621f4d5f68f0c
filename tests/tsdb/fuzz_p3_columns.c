/*
 * Payloads of P3 with further columns from bytes: a count (u16), the times of the first and last
 * sample (i64 each), then the payload. What decodes keeps its bounds, takes no more than raw when
 * encoded again, and decodes to the same.
 */
#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "tsdb/codec/p3_columns.h"

#define HEADER_BYTES 18

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct p3_columns_ret columns_alloc(size_t count) {
    return (struct p3_columns_ret){
        .t_ms = mem_calloc(count, sizeof(int64_t)),
        .values = mem_calloc(count, sizeof(double)),
        .start_ms = mem_calloc(count, sizeof(int64_t)),
        .exemplar_refs = mem_calloc(count, sizeof(uint64_t)),
    };
}

static void columns_free(const struct p3_columns_ret *columns) {
    mem_free(columns->t_ms);
    mem_free(columns->values);
    mem_free(columns->start_ms);
    mem_free(columns->exemplar_refs);
}

static void check_again(const struct p3_columns_ret *columns, const struct p3_bounds *bounds) {
    static const struct p3_group alone = { 0 };
    struct p3_columns_ret again = columns_alloc(bounds->count);
    struct p3_columns in = { bounds->count, columns->t_ms, columns->values, columns->start_ms,
                             columns->exemplar_refs };
    struct p3_encoder encoder;
    struct buf bytes;
    p3_encoder_init(&encoder);
    buf_init(&bytes, SIZE_MAX);
    p3_columns_encode(&encoder, &in, &alone, &bytes);
    assert(bytes.len <= 1 + 4 * P3_COLUMN_BYTES_MAX(bounds->count));
    bool ok = p3_columns_decode((const uint8_t *)bytes.ptr, bytes.len, bounds, &alone, &again);
    assert(ok);
    (void)ok;
    assert(memcmp(columns->t_ms, again.t_ms, bounds->count * sizeof(int64_t)) == 0);
    assert(memcmp(columns->values, again.values, bounds->count * sizeof(double)) == 0);
    assert(memcmp(columns->start_ms, again.start_ms, bounds->count * sizeof(int64_t)) == 0);
    assert(memcmp(columns->exemplar_refs, again.exemplar_refs, bounds->count * sizeof(uint64_t)) ==
           0);
    p3_encoder_finish(&encoder);
    buf_finish(&bytes);
    columns_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct p3_group alone = { 0 };
    if (size < HEADER_BYTES) {
        return 0;
    }
    struct p3_bounds bounds = {
        .count = (size_t)(data[0] | data[1] << 8),
        .t_min_ms = (int64_t)bytes_le64(data + 2),
        .t_max_ms = (int64_t)bytes_le64(data + 10),
    };
    struct p3_columns_ret columns = columns_alloc(bounds.count);
    if (p3_columns_decode(data + HEADER_BYTES, size - HEADER_BYTES, &bounds, &alone, &columns)) {
        assert(columns.t_ms[0] == bounds.t_min_ms);
        assert(columns.t_ms[bounds.count - 1] == bounds.t_max_ms);
        check_again(&columns, &bounds);
    }
    columns_free(&columns);
    return 0;
}
