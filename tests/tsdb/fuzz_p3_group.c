/*
 * A chunk in a group and its neighbour from bytes: a count (u16), the neighbour's length (u16), the
 * neighbour's value column, the chunk's. What decodes is never larger when encoded again than
 * alone, and decodes to the same.
 */
#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "tsdb/codec/p3.h"

#define HEADER_BYTES 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct columns {
    size_t count;
    double *neighbour;
    double *values;
    double *again;
    int64_t *scratch;
};

static void check_again(struct columns *columns) {
    struct p3_encoder encoder;
    struct buf bytes;
    p3_encoder_init(&encoder);
    buf_init(&bytes, SIZE_MAX);
    p3_group_encode(&encoder, columns->values, columns->count, NULL, &bytes);
    size_t alone = bytes.len;
    buf_reset(&bytes);
    p3_group_encode(&encoder, columns->values, columns->count, columns->neighbour, &bytes);
    assert(bytes.len <= alone && alone <= 1 + 8 * columns->count);
    (void)alone;
    bool ok = p3_group_decode((const uint8_t *)bytes.ptr, bytes.len, columns->count,
                              columns->neighbour, columns->scratch, columns->again);
    assert(ok);
    (void)ok;
    assert(memcmp(columns->values, columns->again, columns->count * sizeof(double)) == 0);
    p3_encoder_finish(&encoder);
    buf_finish(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < HEADER_BYTES) {
        return 0;
    }
    size_t count = (size_t)(data[0] | data[1] << 8);
    size_t neighbour_len = (size_t)(data[2] | data[3] << 8);
    data += HEADER_BYTES;
    size -= HEADER_BYTES;
    if (neighbour_len > size) {
        return 0;
    }
    struct columns columns = {
        .count = count,
        .neighbour = mem_calloc(count, sizeof(double)),
        .values = mem_calloc(count, sizeof(double)),
        .again = mem_calloc(count, sizeof(double)),
        .scratch = mem_calloc(count, sizeof(int64_t)),
    };
    if (p3_group_decode(data, neighbour_len, count, NULL, columns.scratch, columns.neighbour) &&
        p3_group_decode(data + neighbour_len, size - neighbour_len, count, columns.neighbour,
                        columns.scratch, columns.values)) {
        check_again(&columns);
    }
    mem_free(columns.neighbour);
    mem_free(columns.values);
    mem_free(columns.again);
    mem_free(columns.scratch);
    return 0;
}
