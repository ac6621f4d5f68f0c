/*
 * Payloads of P3 from bytes: a count (u16), the times of the first and last sample (i64 each), then
 * the payload. What decodes keeps its bounds, takes no more than raw when encoded again, and
 * decodes to the same.
 */
#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "tsdb/codec/p3.h"

#define HEADER_BYTES 18

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct samples {
    int64_t *t_ms;
    double *values;
};

static struct samples samples_alloc(size_t count) {
    return (struct samples){
        .t_ms = mem_calloc(count, sizeof(int64_t)),
        .values = mem_calloc(count, sizeof(double)),
    };
}

static void samples_free(struct samples samples) {
    mem_free(samples.t_ms);
    mem_free(samples.values);
}

static void check_again(struct samples samples, const struct p3_bounds *bounds) {
    struct samples again = samples_alloc(bounds->count);
    struct p3_encoder encoder;
    struct buf bytes;
    p3_encoder_init(&encoder);
    buf_init(&bytes, SIZE_MAX);
    p3_encode(&encoder, samples.t_ms, samples.values, bounds->count, &bytes);
    assert(bytes.len <= P3_BYTES_MAX(bounds->count));
    bool ok = p3_decode((const uint8_t *)bytes.ptr, bytes.len, bounds, again.t_ms, again.values);
    assert(ok);
    (void)ok;
    assert(memcmp(samples.t_ms, again.t_ms, bounds->count * sizeof(int64_t)) == 0);
    assert(memcmp(samples.values, again.values, bounds->count * sizeof(double)) == 0);
    p3_encoder_finish(&encoder);
    buf_finish(&bytes);
    samples_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < HEADER_BYTES) {
        return 0;
    }
    struct p3_bounds bounds = {
        .count = (size_t)(data[0] | data[1] << 8),
        .t_min_ms = (int64_t)bytes_le64(data + 2),
        .t_max_ms = (int64_t)bytes_le64(data + 10),
    };
    struct samples samples = samples_alloc(bounds.count);
    if (p3_decode(data + HEADER_BYTES, size - HEADER_BYTES, &bounds, samples.t_ms,
                  samples.values)) {
        assert(samples.t_ms[0] == bounds.t_min_ms);
        assert(samples.t_ms[bounds.count - 1] == bounds.t_max_ms);
        check_again(samples, &bounds);
    }
    samples_free(samples);
    return 0;
}
