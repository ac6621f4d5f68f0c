/*
 * Goal: definitions of a journal record come back as they were written, whatever labels follow each
 * other, and no bytes make the reader read or grow out of bounds. Method: seeded label sets that
 * differ from the one before in some labels; the bytes of FORMAT.md by hand; cut and mutated ones.
 */
#include <stdio.h>
#include <string.h>

#include "tests/tsdb/fixture.h"
#include "tsdb/journal/definitions.h"

enum {
    SETS = 200,
    MUTATIONS = 20000,
};

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static struct str random_text(struct arena *arena, uint64_t *seed) {
    static const size_t lengths[] = { 0, 1, 5, 127, 128, 300, LABEL_VALUE_BYTES_MAX };
    size_t len = lengths[next_random(seed) % (next_random(seed) % 8 == 0 ? 7 : 3)];
    char *text = arena_alloc(arena, len + 1);
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)('a' + next_random(seed) % 3);
    }
    return str_n(text, len);
}

/* As many sets as SETS in `encoded`, each ending at ends[i]; not normalized: any texts will do. */
static void make_sets(uint64_t *seed, struct arena *arena, struct buf *encoded, size_t *ends) {
    struct label items[LABELS_COUNT_MAX];
    struct labels labels = { .items = items };
    for (size_t i = 0; i < LABELS_COUNT_MAX; i++) {
        items[i] = (struct label){ random_text(arena, seed), random_text(arena, seed) };
    }
    for (size_t i = 0; i < SETS; i++) {
        uint64_t kind = next_random(seed) % 8;
        labels.count = kind == 0 ? next_random(seed) % (LABELS_COUNT_MAX + 1) : labels.count;
        for (uint64_t k = next_random(seed) % 4; k > 0; k--) {
            struct label *label = &items[next_random(seed) % LABELS_COUNT_MAX];
            label->value = random_text(arena, seed);
            label->name = next_random(seed) % 4 == 0 ? random_text(arena, seed) : label->name;
        }
        labels_encode(labels, encoded);
        ends[i] = encoded->len;
    }
}

static uint64_t id_of(size_t i) {
    return i % 50 == 7 ? UINT64_MAX - i : i % 10 == 3 ? (uint64_t)i << 40 : 1000 + i;
}

struct written {
    struct arena arena;
    struct buf encoded;
    size_t ends[SETS];
    struct buf bytes;
};

static void write_sets(struct written *w, uint64_t seed) {
    arena_init(&w->arena, SIZE_MAX);
    buf_init(&w->encoded, SIZE_MAX / 2);
    buf_init(&w->bytes, SIZE_MAX / 2);
    make_sets(&seed, &w->arena, &w->encoded, w->ends);
    struct definitions definitions;
    definitions_init(&definitions);
    size_t at = 0;
    for (size_t i = 0; i < SETS; i++) {
        definitions_put(&definitions, id_of(i), str_n(w->encoded.ptr + at, w->ends[i] - at),
                        &w->bytes);
        at = w->ends[i];
    }
    definitions_finish(&definitions);
}

static void written_finish(struct written *w) {
    arena_finish(&w->arena);
    buf_finish(&w->encoded);
    buf_finish(&w->bytes);
}

static void round_trip(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct written w;
        write_sets(&w, seed * UINT64_C(0x9e3779b97f4a7c15));
        struct definitions definitions;
        definitions_init(&definitions);
        struct reader reader = reader_init(w.bytes.ptr, w.bytes.len);
        size_t at = 0;
        for (size_t i = 0; i < SETS; i++) {
            uint64_t id;
            struct str labels;
            assert_true(definitions_get(&definitions, &reader, &id, &labels));
            assert_true(id == id_of(i));
            assert_true(str_eq(labels, str_n(w.encoded.ptr + at, w.ends[i] - at)));
            at = w.ends[i];
        }
        assert_int_equal(reader_left(&reader), 0);
        assert_false(reader.is_bad);
        definitions_finish(&definitions);
        written_finish(&w);
    }
}

static void drawn_bytes(void **state) {
    (void)state;
    struct fixture f = { 0 };
    arena_init(&f.arena, SIZE_MAX);
    struct definitions definitions;
    definitions_init(&definitions);
    struct buf bytes;
    struct buf labels;
    buf_init(&bytes, 1000);
    buf_init(&labels, 1000);
    labels_encode(make_labels(&f.arena, "m", PAIRS("x", "10", "y", "2")), &labels);
    definitions_put(&definitions, 5, buf_as_str(&labels), &bytes);
    buf_reset(&labels);
    labels_encode(make_labels(&f.arena, "m", PAIRS("x", "12", "y", "2")), &labels);
    definitions_put(&definitions, 6, buf_as_str(&labels), &bytes);
    static const char want[] = "\x0a\x03"                  /* id 5, three labels */
                               "\x16\x00\x08__name__\x01m" /* eleven bytes of its own */
                               "\x0a\x00\x01x\x02"
                               "10"
                               "\x08\x00\x01y\x01"
                               "2"
                               "\x02\x03\x01" /* id 6, three labels, the first is the same */
                               "\x02\x04"
                               "2"     /* four bytes as before, then this one */
                               "\x01"; /* the last is the same */
    assert_int_equal(bytes.len, sizeof(want) - 1);
    assert_memory_equal(bytes.ptr, want, sizeof(want) - 1);
    buf_finish(&bytes);
    buf_finish(&labels);
    definitions_finish(&definitions);
    arena_finish(&f.arena);
}

static size_t read_all_of(const char *bytes, size_t len) {
    struct definitions definitions;
    definitions_init(&definitions);
    struct reader reader = reader_init(bytes, len);
    size_t count = 0;
    uint64_t id;
    struct str labels;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    while (reader_left(&reader) > 0 && definitions_get(&definitions, &reader, &id, &labels)) {
        struct labels decoded;
        /* Texts may repeat or be out of order, but their lengths fit. */
        bool is_set = labels_decode(labels, &arena, &decoded);
        assert_true(labels.len > 0 && (!is_set || decoded.count <= LABELS_COUNT_MAX));
        arena_reset(&arena);
        count++;
    }
    arena_finish(&arena);
    definitions_finish(&definitions);
    return count;
}

static void hostile_bytes(void **state) {
    (void)state;
    struct written w;
    uint64_t seed = 4711;
    print_message("# seed %llu\n", (unsigned long long)seed);
    write_sets(&w, seed);
    for (size_t len = 0; len < w.bytes.len && len < 2000; len++) {
        char *cut = test_malloc(len + 1);
        memcpy(cut, w.bytes.ptr, len);
        assert_true(read_all_of(cut, len) < SETS);
        test_free(cut);
    }
    size_t len = w.bytes.len < 1500 ? w.bytes.len : 1500;
    char *bytes = test_malloc(len);
    for (size_t i = 0; i < MUTATIONS; i++) {
        memcpy(bytes, w.bytes.ptr, len);
        for (uint64_t k = 1 + next_random(&seed) % 4; k > 0; k--) {
            bytes[next_random(&seed) % len] = (char)next_random(&seed);
        }
        (void)read_all_of(bytes, len);
    }
    test_free(bytes);
    written_finish(&w);
    assert_int_equal(read_all_of("\x02\x01\x01", 3), 0);         /* as before what? */
    assert_int_equal(read_all_of("\x02\x01\x00\x00", 4), 0);     /* no byte of its own */
    assert_int_equal(read_all_of("\x02\x01\x02\x01\x00", 5), 0); /* more shared than there is */
    assert_int_equal(read_all_of("\x02\x01\x06\x00\x00\x00\x00", 7), 0); /* more than one label */
    assert_int_equal(read_all_of("\x02\x41", 2), 0);                     /* too many labels */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(drawn_bytes),
        cmocka_unit_test(hostile_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
