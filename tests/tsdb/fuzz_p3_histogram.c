/*
 * Payloads with native histograms from bytes: a count (u16), the times of the first and last sample
 * (i64 each), then the payload. What decodes has a shape and keeps its bounds; encoded again, chunk
 * by chunk, it decodes to the same.
 */
#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "tsdb/codec/p3_histogram.h"

#define HEADER_BYTES 18

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t check_again(struct p3_encoder *encoder,
                          struct arena *arena,
                          const struct p3_histograms *in) {
    struct buf bytes;
    struct p3_histograms again;
    buf_init(&bytes, SIZE_MAX);
    size_t count = p3_histograms_encode(encoder, in, false, SIZE_MAX, &bytes);
    assert(count > 0);
    struct p3_bounds bounds = { count, in->t_ms[0], in->t_ms[count - 1] };
    bool ok =
        p3_histograms_decode((const uint8_t *)bytes.ptr, bytes.len, &bounds, NULL, arena, &again);
    assert(ok);
    (void)ok;
    for (size_t i = 0; i < count; i++) {
        assert(histogram_equal(&in->histograms[i], &again.histograms[i]));
        assert(in->t_ms[i] == again.t_ms[i]);
        assert(in->start_ms == NULL || in->start_ms[i] == again.start_ms[i]);
        assert(in->exemplar_refs == NULL || in->exemplar_refs[i] == again.exemplar_refs[i]);
    }
    buf_finish(&bytes);
    return count;
}

static void check_all(struct p3_histograms in) {
    struct p3_encoder encoder;
    struct arena again;
    p3_encoder_init(&encoder);
    arena_init(&again, SIZE_MAX);
    for (size_t i = 0; i < in.count; i++) {
        struct err err = ERR_INIT;
        bool ok = histogram_check_shape(&in.histograms[i], &err);
        assert(ok);
        (void)ok;
    }
    while (in.count > 0) {
        size_t done = check_again(&encoder, &again, &in);
        arena_reset(&again);
        in.count -= done;
        in.t_ms += done;
        in.histograms += done;
        in.start_ms = in.start_ms == NULL ? NULL : in.start_ms + done;
        in.exemplar_refs = in.exemplar_refs == NULL ? NULL : in.exemplar_refs + done;
    }
    p3_encoder_finish(&encoder);
    arena_finish(&again);
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
    struct arena arena;
    struct p3_histograms histograms;
    arena_init(&arena, SIZE_MAX);
    if (p3_histograms_decode(data + HEADER_BYTES, size - HEADER_BYTES, &bounds, NULL, &arena,
                             &histograms)) {
        assert(histograms.count == bounds.count);
        assert(histograms.t_ms[0] == bounds.t_min_ms);
        assert(histograms.t_ms[bounds.count - 1] == bounds.t_max_ms);
        check_all(histograms);
    }
    arena_finish(&arena);
    return 0;
}
