/*
 * The chunk codecs on the mixed corpus, and on a recorded one: bench_codec [SEED [FILE.jsonl.gz]]
 *
 * Per class: bytes per sample of the head's tokens at 120, of P3 at 120 and 480 samples a chunk,
 * and of P3 in groups at 480 (payloads: tokens have times in their bytes, P3's exact times take one
 * byte a chunk, groups share one column, not counted; buckets lean on the bucket before), and ns
 * per sample to encode and decode. Below, the weighted mix; then time columns alone. Every chunk
 * is decoded and compared bit by bit.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/corpus.h"
#include "bench/recorded.h"
#include "tsdb/codec/chunk.h"
#include "tsdb/codec/p3.h"
#include "tsdb/codec/token.h"

enum {
    SERIES = 48,
    SAMPLES = 7680, /* of a series */
    CHUNK_SMALL = 120,
    CHUNK_LARGE = 480,
    REPEATS = 3, /* the fastest counts */
};

/* A column of the table. */
struct mode {
    const char *name;
    enum chunk_codec codec;
    size_t chunk; /* samples */
};

static const struct mode modes[] = {
    { "tokens/120", CHUNK_STREAM, CHUNK_SMALL },
    { "P3/120", CHUNK_P3, CHUNK_SMALL },
    { "P3/480", CHUNK_P3, CHUNK_LARGE },
    { "P3 groups/480", CHUNK_P3_GROUP, CHUNK_LARGE },
};

struct bench {
    struct corpus corpus;
    struct p3_encoder encoder;
    double *values;
    int64_t *t_ms;
    struct buf out;
    bool has_buckets; /* series are buckets of histograms, in order */
    int64_t t_decoded_ms[CHUNK_LARGE];
    double decoded[2][CHUNK_LARGE]; /* of series in turn, so that one finds its neighbour */
};

struct figures {
    double bytes; /* per sample */
    double encode_ns;
    double decode_ns;
};

static double now_ns(void) {
    return (double)clock_mono_ns(clock_system());
}

/* A chunk of the class: its series, and the first of its samples in the series. */
struct at {
    size_t series;
    size_t sample;
};

static const double *values_at(const struct bench *bench, struct at at) {
    return bench->values + at.series * SAMPLES + at.sample;
}

static bool has_neighbour(const struct bench *bench, struct at at) {
    return bench->has_buckets && at.series % CORPUS_BUCKETS > 0;
}

static void compare(const struct bench *bench, struct at at, size_t count, bool is_decoded) {
    if (!is_decoded ||
        memcmp(values_at(bench, at), bench->decoded[at.series % 2], count * sizeof(double)) != 0 ||
        memcmp(bench->t_ms + at.sample, bench->t_decoded_ms, count * sizeof(int64_t)) != 0) {
        fprintf(stderr, "bench_codec: a chunk is not what it was\n");
        exit(1);
    }
}

/* As the head does it, without its blocks: tokens, runs of the same value in one byte. */
static void encode_stream(const int64_t *t_ms,
                          const double *values,
                          size_t count,
                          struct buf *out) {
    struct token_state state = { .exponent = TOKEN_NONE };
    uint8_t *run = NULL;
    int64_t step = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[TOKEN_TIME_BYTES_MAX + TOKEN_BYTES_MAX];
        uint8_t *end = bytes;
        int64_t next = i == 0 ? 0 : t_ms[i] - t_ms[i - 1];
        if (next != step) {
            end = token_put_time(next - step, end);
            step = next;
        }
        uint8_t *token = end;
        end = token_put(&state, values[i], end);
        bool is_repeat = *token == TOKEN_RUN_FIRST;
        if (is_repeat && token == bytes && run != NULL && *run < TOKEN_RUN_LAST) {
            (*run)++;
            continue;
        }
        buf_append(out, bytes, (size_t)(end - bytes));
        run = is_repeat ? (uint8_t *)out->ptr + out->len - 1 : NULL;
    }
}

/* Appends a payload to bench->out. */
static void encode(struct bench *bench, const struct mode *mode, struct at at) {
    const double *values = values_at(bench, at);
    const int64_t *t_ms = bench->t_ms + at.sample;
    if (mode->codec == CHUNK_P3_GROUP) {
        const double *neighbour = has_neighbour(bench, at) ? values - SAMPLES : NULL;
        p3_group_encode(&bench->encoder, values, mode->chunk, neighbour, &bench->out);
        return;
    }
    if (mode->codec == CHUNK_P3) {
        p3_encode(&bench->encoder, t_ms, values, mode->chunk, &bench->out);
        return;
    }
    encode_stream(t_ms, values, mode->chunk, &bench->out);
}

static bool decode(struct bench *bench, const struct mode *mode, struct str bytes, struct at at) {
    const int64_t *t_ms = bench->t_ms + at.sample;
    struct chunk_view chunk = {
        .codec = (uint8_t)mode->codec,
        .bytes = (const uint8_t *)bytes.ptr,
        .len = bytes.len,
        .count = mode->chunk,
        .t_min_ms = t_ms[0],
        .t_max_ms = t_ms[mode->chunk - 1],
        .group_t_ms = t_ms,
        .group_neighbour = has_neighbour(bench, at) ? bench->decoded[(at.series + 1) % 2] : NULL,
    };
    return chunk_decode(&chunk, bench->t_decoded_ms, bench->decoded[at.series % 2]);
}

/* The chunks of all series side by side, as segments have them. */
static struct at chunk_at(const struct mode *mode, size_t index) {
    return (struct at){ .series = index % SERIES, .sample = index / SERIES * mode->chunk };
}

static struct str payload_at(const struct bench *bench, const size_t *ends, size_t index) {
    size_t from = index == 0 ? 0 : ends[index - 1];
    return str_n(bench->out.ptr + from, ends[index] - from);
}

static void run_mode(struct bench *bench, const struct mode *mode, struct figures *ret) {
    size_t chunk_count = SERIES * SAMPLES / mode->chunk;
    size_t *ends = mem_calloc(chunk_count, sizeof(ends[0]));
    *ret = (struct figures){ .encode_ns = 1e9, .decode_ns = 1e9 };
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        buf_reset(&bench->out);
        double start = now_ns();
        for (size_t i = 0; i < chunk_count; i++) {
            encode(bench, mode, chunk_at(mode, i));
            ends[i] = bench->out.len;
        }
        double encoded = now_ns();
        bool ok = true;
        for (size_t i = 0; i < chunk_count; i++) {
            ok = decode(bench, mode, payload_at(bench, ends, i), chunk_at(mode, i)) && ok;
        }
        double decoded = now_ns();
        double samples = SERIES * SAMPLES;
        ret->bytes = (double)bench->out.len / samples;
        ret->encode_ns = fmin(ret->encode_ns, (encoded - start) / samples);
        ret->decode_ns = fmin(ret->decode_ns, (decoded - encoded) / samples);
        compare(bench, chunk_at(mode, chunk_count - 1), mode->chunk, ok);
    }
    for (size_t i = 0; i < chunk_count; i++) {
        struct at at = chunk_at(mode, i);
        compare(bench, at, mode->chunk, decode(bench, mode, payload_at(bench, ends, i), at));
    }
    mem_free(ends);
}

static void add_weighted(struct figures *total, const struct figures *figures, double weight) {
    total->bytes += weight * figures->bytes / 100;
    total->encode_ns += weight * figures->encode_ns / 100;
    total->decode_ns += weight * figures->decode_ns / 100;
}

static void print_row(const char *name, const struct figures rows[ARRAY_LEN(modes)]) {
    printf("%-18s", name);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        printf("  %6.3f %6.1f %6.2f", rows[i].bytes, rows[i].encode_ns, rows[i].decode_ns);
    }
    printf("\n");
}

static void print_heading(const char *what) {
    printf("%-18s", what);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        printf("  %-20s", modes[i].name);
    }
    printf("\n%-18s", "");
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        printf("  %6s %6s %6s", "B/spl", "enc ns", "dec ns");
    }
    printf("\n");
}

static void run_classes(struct bench *bench) {
    struct figures mix[ARRAY_LEN(modes)] = { 0 };
    corpus_fill_times(&bench->corpus, CORPUS_TIMES_EXACT, SAMPLES, bench->t_ms);
    print_heading("values");
    for (enum corpus_class class = 0; class < CORPUS_CLASS_COUNT; class ++) {
        struct figures rows[ARRAY_LEN(modes)];
        corpus_fill(&bench->corpus, class, SERIES, SAMPLES, bench->values);
        bench->has_buckets = class == CORPUS_SLOW_BUCKET || class == CORPUS_FAST_BUCKET;
        for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
            run_mode(bench, &modes[i], &rows[i]);
            add_weighted(&mix[i], &rows[i], corpus_class_weight(class));
        }
        print_row(corpus_class_to_string(class), rows);
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

/* ---- a recorded corpus ---- */

/* Bytes of all chunks of CHUNK_LARGE samples at most. */
struct recorded_figures {
    size_t alone;        /* P3, every chunk with its times */
    size_t grouped;      /* one chunk of every distinct time column has it; buckets lean */
    size_t leaning;      /* the same, and every chunk may lean on the one before */
    size_t time_columns; /* distinct ones */
    size_t chunks;
    size_t constant_chunks;
};

static bool shares_times(const struct recorded_series *a,
                         const struct recorded_series *b,
                         size_t at,
                         size_t count) {
    return a != NULL && a->count >= at + count &&
           memcmp(a->t_ms + at, b->t_ms + at, count * sizeof(a->t_ms[0])) == 0;
}

static size_t group_bytes(struct bench *bench,
                          const struct recorded_series *series,
                          const double *neighbour,
                          size_t at,
                          size_t count) {
    int64_t scratch[CHUNK_LARGE];
    double decoded[CHUNK_LARGE];
    buf_reset(&bench->out);
    p3_group_encode(&bench->encoder, series->values + at, count, neighbour, &bench->out);
    if (!p3_group_decode((const uint8_t *)bench->out.ptr, bench->out.len, count, neighbour, scratch,
                         decoded) ||
        memcmp(decoded, series->values + at, count * sizeof(decoded[0])) != 0) {
        fprintf(stderr, "bench_codec: a chunk is not what it was\n");
        exit(1);
    }
    return bench->out.len;
}

/* Whether a series up to `index` has the same times there. */
static bool has_time_column(const struct recorded *recorded,
                            size_t index,
                            size_t at,
                            size_t count) {
    for (size_t i = index; i-- > 0;) {
        if (shares_times(&recorded->series[i], &recorded->series[index], at, count)) {
            return true;
        }
    }
    return false;
}

static void add_chunk(struct bench *bench,
                      const struct recorded *recorded,
                      size_t index,
                      size_t at,
                      size_t count,
                      struct recorded_figures *ret) {
    const struct recorded_series *series = &recorded->series[index];
    const struct recorded_series *before = index == 0 ? NULL : series - 1;
    buf_reset(&bench->out);
    p3_times_encode(&bench->encoder, series->t_ms + at, count, &bench->out);
    size_t times = bench->out.len;
    size_t values = group_bytes(bench, series, NULL, at, count);
    bool is_beside = shares_times(before, series, at, count);
    bool is_bucket = is_beside && recorded_is_next_bucket(before, series);
    const double *neighbour = is_beside ? before->values + at : NULL;
    size_t leaning = group_bytes(bench, series, neighbour, at, count);
    bool is_new = !has_time_column(recorded, index, at, count);
    ret->alone += times + values;
    ret->grouped += (is_new ? times : 0) + (is_bucket ? leaning : values);
    ret->leaning += (is_new ? times : 0) + leaning;
    ret->time_columns += is_new;
    ret->chunks++;
    ret->constant_chunks += values <= 1 + sizeof(double);
}

static void print_recorded(const struct recorded *recorded,
                           const struct recorded_figures *figures) {
    double samples = (double)recorded->sample_count;
    printf("\nrecorded: %zu series, %zu samples, %zu chunks (%.0f %% constant), %zu time columns\n",
           recorded->count, recorded->sample_count, figures->chunks,
           100 * (double)figures->constant_chunks / (double)figures->chunks, figures->time_columns);
    printf("%-40s %8.4f\n", "P3/480, B/spl with times", (double)figures->alone / samples);
    printf("%-40s %8.4f\n", "P3 groups/480, buckets lean", (double)figures->grouped / samples);
    printf("%-40s %8.4f\n", "P3 groups/480, all may lean", (double)figures->leaning / samples);
}

static bool run_recorded(struct bench *bench, const char *path) {
    struct recorded recorded;
    struct err err = ERR_INIT;
    if (!recorded_load(&recorded, path, &err)) {
        fprintf(stderr, "bench_codec: %s\n", err.msg);
        recorded_finish(&recorded);
        return false;
    }
    struct recorded_figures figures = { 0 };
    for (size_t i = 0; i < recorded.count; i++) {
        const struct recorded_series *series = &recorded.series[i];
        for (size_t at = 0; at < series->count; at += CHUNK_LARGE) {
            size_t left = series->count - at;
            size_t count = left < CHUNK_LARGE ? left : CHUNK_LARGE;
            add_chunk(bench, &recorded, i, at, count, &figures);
        }
    }
    print_recorded(&recorded, &figures);
    recorded_finish(&recorded);
    return true;
}

int main(int argc, char **argv) {
    uint64_t seed = 1;
    if (argc > 3 || (argc >= 2 && !str_parse_u64(str_from(argv[1]), &seed))) {
        fprintf(stderr, "usage: bench_codec [SEED [FILE.jsonl.gz]]\n");
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
    bool ok = argc < 3 || run_recorded(bench, argv[2]);
    mem_free(bench->values);
    mem_free(bench->t_ms);
    buf_finish(&bench->out);
    p3_encoder_finish(&bench->encoder);
    mem_free(bench);
    return ok ? 0 : 1;
}
