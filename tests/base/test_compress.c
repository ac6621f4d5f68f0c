/*
 * Goal: every format round-trips, lies about sizes cost nothing, and nothing grows past the cap.
 * Method: round trips of many sizes, bombs and truncations of every format, cap at and one past.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/compress.h"
#include "tests/unit.h"

typedef bool (*decode_fn)(struct str in, struct buf *out, struct err *err);

/* Half compressible text, half noise. */
static struct str sample(size_t len) {
    static char bytes[300000];
    uint32_t random = 7;
    for (size_t i = 0; i < len; i++) {
        random = random * 1664525 + 1013904223;
        bytes[i] = i % 64 < 32 ? (char)('a' + i % 7) : (char)(unsigned char)(random >> 24);
    }
    return str_n(bytes, len);
}

static void zlib_encode(int window_bits, struct str in, struct buf *out) {
    z_stream stream = { 0 };
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY),
                     Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)in.ptr;
    stream.avail_in = (uInt)in.len;
    size_t room = deflateBound(&stream, (uLong)in.len) + 64;
    stream.next_out = (Bytef *)buf_reserve(out, room);
    stream.avail_out = (uInt)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out->len += room - stream.avail_out;
    deflateEnd(&stream);
}

static void encode_zlib(struct str in, struct buf *out) {
    zlib_encode(15, in, out);
}

static void encode_raw(struct str in, struct buf *out) {
    zlib_encode(-15, in, out);
}

static void encode_zstd(struct str in, struct buf *out) {
    size_t room = ZSTD_compressBound(in.len);
    char *dest = buf_reserve(out, room);
    size_t size = ZSTD_compress(dest, room, in.ptr, in.len, 3);
    assert_false(ZSTD_isError(size));
    out->len += size;
}

/* Without the size in the frame header, as streaming clients send it. */
static void encode_zstd_stream(struct str in, struct buf *out) {
    ZSTD_CCtx *ctx = ZSTD_createCCtx();
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, 0)));
    size_t room = ZSTD_compressBound(in.len);
    size_t size = ZSTD_compress2(ctx, buf_reserve(out, room), room, in.ptr, in.len);
    assert_false(ZSTD_isError(size));
    out->len += size;
    ZSTD_freeCCtx(ctx);
}

static const struct {
    const char *name;
    void (*encode)(struct str in, struct buf *out);
    decode_fn decode;
} formats[] = {
    { "snappy", snappy_block_encode, snappy_block_decode }, { "gzip", gzip_encode, gzip_decode },
    { "zlib as gzip", encode_zlib, gzip_decode },           { "zlib", encode_zlib, deflate_decode },
    { "raw deflate", encode_raw, deflate_decode },          { "zstd", encode_zstd, zstd_decode },
    { "zstd stream", encode_zstd_stream, zstd_decode },
};

static void everything_round_trips(void **state) {
    static const size_t sizes[] = { 0, 1, 100, 65535, 65536, 65537, 131072, 300000 };
    for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
        for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
            struct str in = sample(sizes[s]);
            struct buf packed;
            struct buf unpacked;
            struct err err = ERR_INIT;
            buf_init(&packed, 1000000);
            buf_init(&unpacked, sizes[s] + 3); /* exactly what is needed */
            buf_cstr(&unpacked, "pre");
            formats[f].encode(in, &packed);
            assert_false(packed.is_over);
            if (!formats[f].decode(buf_as_str(&packed), &unpacked, &err)) {
                fail_msg("%s, %zu bytes: %s", formats[f].name, sizes[s], err.msg);
            }
            assert_int_equal(unpacked.len, sizes[s] + 3);
            assert_memory_equal(unpacked.ptr + 3, in.ptr, in.len);
            assert_int_equal(unpacked.ptr[unpacked.len], '\0');
            buf_finish(&packed);
            buf_finish(&unpacked);
        }
    }
}

static void one_byte_over_the_cap_is_refused(void **state) {
    static const size_t sizes[] = { 1, 1000, 65536, 300000 };
    for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
        for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
            struct buf packed;
            struct buf unpacked;
            struct err err = ERR_INIT;
            buf_init(&packed, 1000000);
            buf_init(&unpacked, sizes[s] - 1);
            formats[f].encode(sample(sizes[s]), &packed);
            assert_false(formats[f].decode(buf_as_str(&packed), &unpacked, &err));
            assert_int_equal(err.code, ERR_LIMIT);
            assert_true(
                str_starts_with(str_from(err.msg), STR("decompressed body exceeds the limit of ")));
            assert_true(unpacked.cap <= 2 * sizes[s] + 64);
            buf_finish(&packed);
            buf_finish(&unpacked);
        }
    }
}

static void cut_and_flipped_input_is_refused(void **state) {
    for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
        struct buf packed;
        buf_init(&packed, 1000000);
        formats[f].encode(sample(3000), &packed);
        for (size_t len = 0; len < packed.len; len++) {
            struct buf unpacked;
            struct err err = ERR_INIT;
            buf_init(&unpacked, 1000000);
            char *copy = malloc(len + 1);
            memcpy(copy, packed.ptr, len);
            if (formats[f].decode(str_n(copy, len), &unpacked, &err)) {
                fail_msg("%s cut to %zu of %zu bytes was accepted", formats[f].name, len,
                         packed.len);
            }
            assert_int_equal(err.code, ERR_INVALID);
            free(copy);
            buf_finish(&unpacked);
        }
        for (size_t i = 0; i < packed.len; i += 7) {
            struct buf unpacked;
            struct err err = ERR_INIT;
            buf_init(&unpacked, 1000000);
            packed.ptr[i] = (char)(packed.ptr[i] ^ 0x55);
            (void)formats[f].decode(buf_as_str(&packed), &unpacked, &err);
            packed.ptr[i] = (char)(packed.ptr[i] ^ 0x55);
            buf_finish(&unpacked);
        }
        buf_finish(&packed);
    }
}

static void expect_refusal(decode_fn decode, struct str in, enum err_code code, const char *msg) {
    struct buf out;
    struct err err = ERR_INIT;
    buf_init(&out, (size_t)32 << 20);
    assert_false(decode(in, &out, &err));
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.msg, msg));
    assert_true(out.cap < 1 << 20); /* refused before memory was spent */
    buf_finish(&out);
}

static void declared_sizes_are_not_believed(void **state) {
    /* 4 GiB - 1 declared in five bytes */
    expect_refusal(snappy_block_decode, STR("\xff\xff\xff\xff\x0f\x00\x00"), ERR_LIMIT,
                   "decompressed body");
    /* 16 MiB, under the cap but impossible in seven bytes */
    expect_refusal(snappy_block_decode, STR("\x80\x80\x80\x08\x00\x00\x00"), ERR_INVALID,
                   "cannot hold");
    expect_refusal(snappy_block_decode, STR("\xff\xff\xff\xff\xff\x0f"), ERR_INVALID, "length");
    expect_refusal(snappy_block_decode, STR(""), ERR_INVALID, "length");
    expect_refusal(gzip_decode, STR(""), ERR_INVALID, "cut short");
    expect_refusal(deflate_decode, STR(""), ERR_INVALID, "cut short");
    expect_refusal(zstd_decode, STR(""), ERR_INVALID, "frame");
    expect_refusal(zstd_decode, STR("not zstd"), ERR_INVALID, "frame");
    /* a zstd frame declaring 2^60 bytes */
    expect_refusal(zstd_decode,
                   STR("\x28\xb5\x2f\xfd\xc0\x00\x00\x00\x00\x00\x00\x00\x00\x10\x01\x00\x00"),
                   ERR_LIMIT, "decompressed body");
    expect_refusal(gzip_decode, STR("plain text, not gzip"), ERR_INVALID, "gzip: ");
}

static void gzip_trailers_are_not_believed(void **state) {
    struct buf packed;
    buf_init(&packed, 100000);
    gzip_encode(sample(1000), &packed);
    memset(packed.ptr + packed.len - 4, 0x7f, 4); /* claims 2 GiB */
    expect_refusal(gzip_decode, buf_as_str(&packed), ERR_INVALID, "gzip: ");
    memset(packed.ptr + packed.len - 4, 0, 4);
    expect_refusal(gzip_decode, buf_as_str(&packed), ERR_INVALID, "gzip: ");
    buf_finish(&packed);
}

/* 32 MiB of zeroes in a few kilobytes: the decoder stops at the cap. */
static void bombs_stop_at_the_cap(void **state) {
    size_t len = (size_t)32 << 20;
    char *zeroes = calloc(1, len);
    static const size_t chosen[] = { 1, 3, 4, 5, 6 }; /* gzip, zlib, raw, zstd, zstd stream */
    for (size_t i = 0; i < ARRAY_LEN(chosen); i++) {
        struct buf packed;
        struct buf out;
        struct err err = ERR_INIT;
        buf_init(&packed, (size_t)64 << 20);
        formats[chosen[i]].encode(str_n(zeroes, len), &packed);
        buf_init(&out, (size_t)1 << 20);
        assert_false(formats[chosen[i]].decode(buf_as_str(&packed), &out, &err));
        assert_int_equal(err.code, ERR_LIMIT);
        assert_true(out.cap <= ((size_t)1 << 20) + 1);
        buf_finish(&packed);
        buf_finish(&out);
    }
    free(zeroes);
}

static void gzip_members_and_zstd_frames_concatenate(void **state) {
    static const size_t chosen[] = { 1, 5 };
    for (size_t i = 0; i < ARRAY_LEN(chosen); i++) {
        struct buf packed;
        struct buf out;
        struct err err = ERR_INIT;
        buf_init(&packed, 10000);
        buf_init(&out, 10000);
        formats[chosen[i]].encode(STR("first,"), &packed);
        formats[chosen[i]].encode(STR("second"), &packed);
        assert_true(formats[chosen[i]].decode(buf_as_str(&packed), &out, &err));
        assert_string_equal(out.ptr, "first,second");
        buf_putc(&packed, 'x');
        buf_reset(&out);
        assert_false(formats[chosen[i]].decode(buf_as_str(&packed), &out, &err));
        assert_int_equal(err.code, ERR_INVALID);
        buf_finish(&packed);
        buf_finish(&out);
    }
}

static void zlib_streams_end_once(void **state) {
    struct buf packed;
    struct buf out;
    struct err err = ERR_INIT;
    buf_init(&packed, 10000);
    buf_init(&out, 10000);
    encode_raw(STR("text"), &packed);
    buf_cstr(&packed, "junk");
    assert_false(deflate_decode(buf_as_str(&packed), &out, &err));
    assert_string_equal(err.msg, "deflate: 4 bytes follow the end of the stream");
    buf_finish(&packed);
    buf_finish(&out);
}

/* A stored block whose first two bytes are also a correct zlib header. */
static void raw_streams_may_look_like_zlib(void **state) {
    struct buf out;
    struct err err = ERR_INIT;
    buf_init(&out, 100);
    buf_cstr(&out, "pre");
    struct str in = STR("\x78\x01\x00\xfe\xffx\x01\x00\x00\xff\xff");
    assert_true(deflate_decode(in, &out, &err));
    assert_int_equal(err.code, ERR_NONE);
    assert_string_equal(out.ptr, "prex");
    buf_finish(&out);
}

static void encoders_respect_the_cap(void **state) {
    struct str in = sample(1000);
    struct buf whole;
    buf_init(&whole, 10000);
    snappy_block_encode(in, &whole);
    struct buf exact;
    buf_init(&exact, whole.len);
    snappy_block_encode(in, &exact);
    assert_false(exact.is_over);
    assert_int_equal(exact.len, whole.len);
    assert_memory_equal(exact.ptr, whole.ptr, whole.len);
    struct buf tight;
    buf_init(&tight, whole.len - 1);
    snappy_block_encode(in, &tight);
    assert_true(tight.is_over);
    assert_int_equal(tight.len, 0);
    buf_finish(&whole);
    buf_finish(&exact);
    buf_finish(&tight);
}

static void encodings_by_name(void **state) {
    static const struct {
        const char *encoding;
        size_t format; /* index, or SIZE_MAX for identity */
    } cases[] = {
        { "", SIZE_MAX }, { "identity", SIZE_MAX }, { "gzip", 1 },    { "GZIP", 1 },
        { "x-gzip", 1 },  { " snappy ", 0 },        { "deflate", 3 }, { "zstd", 5 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf packed;
        struct buf out;
        struct err err = ERR_INIT;
        buf_init(&packed, 10000);
        buf_init(&out, 10000);
        if (cases[i].format == SIZE_MAX) {
            buf_cstr(&packed, "text");
        } else {
            formats[cases[i].format].encode(STR("text"), &packed);
        }
        assert_true(content_decode(str_from(cases[i].encoding), buf_as_str(&packed), &out, &err));
        assert_string_equal(out.ptr, "text");
        buf_finish(&packed);
        buf_finish(&out);
    }
    struct buf out;
    struct err err = ERR_INIT;
    buf_init(&out, 3);
    assert_false(content_decode(STR("br"), STR("text"), &out, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.msg, "\"br\""));
    assert_false(content_decode(STR("identity"), STR("text"), &out, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_round_trips),
        cmocka_unit_test(one_byte_over_the_cap_is_refused),
        cmocka_unit_test(cut_and_flipped_input_is_refused),
        cmocka_unit_test(declared_sizes_are_not_believed),
        cmocka_unit_test(gzip_trailers_are_not_believed),
        cmocka_unit_test(bombs_stop_at_the_cap),
        cmocka_unit_test(gzip_members_and_zstd_frames_concatenate),
        cmocka_unit_test(zlib_streams_end_once),
        cmocka_unit_test(raw_streams_may_look_like_zlib),
        cmocka_unit_test(encoders_respect_the_cap),
        cmocka_unit_test(encodings_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
