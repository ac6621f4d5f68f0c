/*
 * The chunk codecs on the mixed corpus: bench_codec [SEED]
 *
 * Per class: bytes per sample of XOR at 120 and of P3 at 120 and 480 samples a chunk (payloads:
 * XOR's times are in its bytes, P3's exact times take one byte a chunk), and ns per sample to
 * encode and decode. Below, the weighted mix; then time columns alone. Every chunk is decoded and
 * compared bit by bit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/corpus.h"
#include "tsdb/chunk.h"
#include "tsdb/codec_p3.h"

enum {
    SERIES = 48,
    SAMPLES = 7680, /* of a series */
    CHUNK_SMALL = 120,
    CHUNK_LARGE = 480,
    REPEATS = 3, /* the fastest counts */
};

struct bench {
    struct corpus corpus;
    struct p3_encoder encoder;
    double *values;
    int64_t *t_ms;
    struct buf out;
    int64_t t_decoded_ms[CHUNK_LARGE];
    double decoded[CHUNK_LARGE];
};

struct figures {
    double bytes; /* per sample */
    double encode_ns;
    double decode_ns;
};

static double now_ns(void) {
    return (double)clock_mono_ns(clock_system());
}

static void compare(const struct bench *bench, size_t at, size_t count, bool is_decoded) {
    if (!is_decoded || memcmp(bench->values + at, bench->decoded, count * sizeof(double)) != 0 ||
        memcmp(bench->t_ms + at % SAMPLES, bench->t_decoded_ms, count * sizeof(int64_t)) != 0) {
        fprintf(stderr, "bench_codec: a chunk is not what it was\n");
        exit(1);
    }
}

/* Appends a payload to bench->out. */
static void encode(struct bench *bench, bool is_p3, size_t at, size_t count) {
    if (is_p3) {
        p3_encode(&bench->encoder, bench->t_ms + at % SAMPLES, bench->values + at, count,
                  &bench->out);
        return;
    }
    uint8_t bytes[CHUNK_SMALL * CHUNK_SAMPLE_BYTES_MAX];
    struct chunk_appender appender;
    chunk_appender_init(&appender);
    for (size_t i = at; i < at + count; i++) {
        chunk_append(&appender, bytes, bench->t_ms[i % SAMPLES], bench->values[i]);
    }
    buf_append(&bench->out, bytes, chunk_byte_count(&appender));
}

static bool decode(struct bench *bench, bool is_p3, struct str bytes, size_t at, size_t count) {
    struct chunk_view chunk = {
        .codec = is_p3 ? CHUNK_P3 : CHUNK_XOR,
        .bytes = (const uint8_t *)bytes.ptr,
        .len = bytes.len,
        .count = count,
        .t_min_ms = bench->t_ms[at % SAMPLES],
        .t_max_ms = bench->t_ms[at % SAMPLES + count - 1],
    };
    return chunk_decode(&chunk, bench->t_decoded_ms, bench->decoded);
}

static void run_codec(struct bench *bench, bool is_p3, size_t chunk, struct figures *ret) {
    size_t chunk_count = SERIES * SAMPLES / chunk;
    size_t *ends = mem_calloc(chunk_count, sizeof(ends[0]));
    *ret = (struct figures){ .encode_ns = 1e9, .decode_ns = 1e9 };
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        buf_reset(&bench->out);
        double start = now_ns();
        for (size_t i = 0; i < chunk_count; i++) {
            encode(bench, is_p3, i * chunk, chunk);
            ends[i] = bench->out.len;
        }
        double encoded = now_ns();
        bool ok = true;
        for (size_t i = 0; i < chunk_count; i++) {
            size_t from = i == 0 ? 0 : ends[i - 1];
            struct str bytes = str_n(bench->out.ptr + from, ends[i] - from);
            ok = decode(bench, is_p3, bytes, i * chunk, chunk) && ok;
        }
        double decoded = now_ns();
        double samples = SERIES * SAMPLES;
        ret->bytes = (double)bench->out.len / samples;
        double encode_ns = (encoded - start) / samples;
        double decode_ns = (decoded - encoded) / samples;
        ret->encode_ns = encode_ns < ret->encode_ns ? encode_ns : ret->encode_ns;
        ret->decode_ns = decode_ns < ret->decode_ns ? decode_ns : ret->decode_ns;
        compare(bench, (chunk_count - 1) * chunk, chunk, ok);
    }
    for (size_t i = 0; i < chunk_count; i++) {
        size_t from = i == 0 ? 0 : ends[i - 1];
        struct str bytes = str_n(bench->out.ptr + from, ends[i] - from);
        compare(bench, i * chunk, chunk, decode(bench, is_p3, bytes, i * chunk, chunk));
    }
    mem_free(ends);
}

static void add_weighted(struct figures *total, const struct figures *figures, double weight) {
    total->bytes += weight * figures->bytes / 100;
    total->encode_ns += weight * figures->encode_ns / 100;
    total->decode_ns += weight * figures->decode_ns / 100;
}

static void print_row(const char *name, const struct figures rows[3]) {
    printf("%-18s", name);
    for (int i = 0; i < 3; i++) {
        printf("  %6.3f %6.1f %6.2f", rows[i].bytes, rows[i].encode_ns, rows[i].decode_ns);
    }
    printf("\n");
}

static void run_classes(struct bench *bench) {
    struct figures mix[3] = { 0 };
    corpus_fill_times(&bench->corpus, CORPUS_TIMES_EXACT, SAMPLES, bench->t_ms);
    printf("%-18s  %-20s  %-20s  %-20s\n", "values", "XOR/120", "P3/120", "P3/480");
    printf("%-18s", "");
    for (int i = 0; i < 3; i++) {
        printf("  %6s %6s %6s", "B/spl", "enc ns", "dec ns");
    }
    printf("\n");
    for (enum corpus_class class = 0; class < CORPUS_CLASS_COUNT; class ++) {
        struct figures rows[3];
        corpus_fill(&bench->corpus, class, SERIES, SAMPLES, bench->values);
        run_codec(bench, false, CHUNK_SMALL, &rows[0]);
        run_codec(bench, true, CHUNK_SMALL, &rows[1]);
        run_codec(bench, true, CHUNK_LARGE, &rows[2]);
        print_row(corpus_class_to_string(class), rows);
        for (int i = 0; i < 3; i++) {
            add_weighted(&mix[i], &rows[i], corpus_class_weight(class));
        }
    }
    print_row("mix", mix);
}

/* Bytes per sample of time columns, with constant values around them taken off. */
static void run_times(struct bench *bench) {
    static const size_t chunks[] = { CHUNK_SMALL, CHUNK_LARGE };
    printf("\n%-18s  %-8s %-8s\n", "times, B/spl", "P3/120", "P3/480");
    for (enum corpus_jitter jitter = 0; jitter < CORPUS_JITTER_COUNT; jitter++) {
        double bytes[ARRAY_LEN(chunks)];
        for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
            size_t total = 0;
            for (int series = 0; series < SERIES; series++) {
                corpus_fill_times(&bench->corpus, jitter, SAMPLES, bench->t_ms);
                for (size_t at = 0; at < SAMPLES; at += chunks[c]) {
                    buf_reset(&bench->out);
                    p3_times_encode(&bench->encoder, bench->t_ms + at, chunks[c], &bench->out);
                    total += bench->out.len;
                }
            }
            bytes[c] = (double)total / ((double)SERIES * SAMPLES);
        }
        printf("%-18s  %-8.3f %-8.3f\n", corpus_jitter_to_string(jitter), bytes[0], bytes[1]);
    }
}

int main(int argc, char **argv) {
    uint64_t seed = 1;
    if (argc > 2 || (argc == 2 && !str_parse_u64(str_from(argv[1]), &seed))) {
        fprintf(stderr, "usage: bench_codec [SEED]\n");
        return 2;
    }
    struct bench *bench = mem_calloc(1, sizeof(*bench));
    corpus_init(&bench->corpus, seed);
    p3_encoder_init(&bench->encoder);
    buf_init(&bench->out, SIZE_MAX);
    bench->values = mem_calloc((size_t)SERIES * SAMPLES, sizeof(double));
    bench->t_ms = mem_calloc(SAMPLES, sizeof(int64_t));
    printf("seed %llu, %d series of %d samples per class\n\n", (unsigned long long)seed, SERIES,
           SAMPLES);
    run_classes(bench);
    run_times(bench);
    mem_free(bench->values);
    mem_free(bench->t_ms);
    buf_finish(&bench->out);
    p3_encoder_finish(&bench->encoder);
    mem_free(bench);
    return 0;
}
