/*
 * Whole-buffer (de)compression with caps. gzip and zlib go through libdeflate when the size is
 * known or cheap to bound, through zlib's stream otherwise.
 */
#include "base/compress.h"

#include <assert.h>
#include <libdeflate.h>
#include <limits.h>
#include <snappy-c.h>
#include <stdio.h>
#include <zlib.h>
#include <zstd.h>

#include "base/mem.h"

enum {
    /* Best possible ratios of the formats: a declared size beyond them is a lie. */
    DEFLATE_RATIO_MAX = 1032,
    SNAPPY_RATIO_MAX = 64,
    STREAM_STEP_BYTES = 64 * 1024,
    GZIP_LEVEL = 6,
    ZSTD_WINDOW_LOG_MAX = 27, /* 128 MiB, the format's recommended limit for decoders */
};

static bool over_cap(const struct buf *out, struct err *err) {
    return err_set(err, ERR_LIMIT, "decompressed body exceeds the limit of %zu bytes",
                   out->bytes_max);
}

static size_t room(const struct buf *out) {
    return out->bytes_max - out->len;
}

bool snappy_block_decode(struct str in, struct buf *out, struct err *err) {
    size_t size = 0;
    if (snappy_uncompressed_length(in.ptr, in.len, &size) != SNAPPY_OK) {
        return err_set(err, ERR_INVALID, "snappy: the body does not start with a block length");
    }
    if (size > room(out)) {
        return over_cap(out, err);
    }
    if (size / SNAPPY_RATIO_MAX > in.len) {
        return err_set(err, ERR_INVALID, "snappy: %zu bytes cannot hold the declared %zu bytes",
                       in.len, size);
    }
    char *dest = buf_reserve(out, size);
    assert(dest != NULL);
    size_t written = size;
    if (snappy_uncompress(in.ptr, in.len, dest, &written) != SNAPPY_OK) {
        return err_set(err, ERR_INVALID, "snappy: corrupt block of %zu bytes", in.len);
    }
    assert(written == size);
    out->len += size;
    return true;
}

void snappy_block_encode(struct str in, struct buf *out) {
    size_t size_max = snappy_max_compressed_length(in.len);
    if (size_max <= room(out)) {
        char *dest = buf_reserve(out, size_max);
        if (dest == NULL) {
            return;
        }
        size_t size = size_max;
        if (snappy_compress(in.ptr, in.len, dest, &size) != SNAPPY_OK) {
            BUG("snappy refuses a buffer of %zu bytes for %zu", size_max, in.len);
        }
        out->len += size;
        dest[size] = '\0';
        return;
    }
    /* The worst case does not fit, the real size may: compress aside. */
    CLEANUP(mem_freep) char *scratch = mem_alloc(size_max);
    size_t size = size_max;
    if (snappy_compress(in.ptr, in.len, scratch, &size) != SNAPPY_OK) {
        BUG("snappy refuses a buffer of %zu bytes for %zu", size_max, in.len);
    }
    buf_append(out, scratch, size);
}

/* One-shot decoding of a gzip member whose trailer states a believable size. False: use the
 * stream, which also words the error. */
static bool gzip_decode_fast(struct str in, struct buf *out) {
    if (in.len < 18 || (unsigned char)in.ptr[0] != 0x1f || (unsigned char)in.ptr[1] != 0x8b) {
        return false;
    }
    const unsigned char *trailer = (const unsigned char *)in.ptr + in.len - 4;
    size_t size = (size_t)trailer[0] | (size_t)trailer[1] << 8 | (size_t)trailer[2] << 16 |
                  (size_t)trailer[3] << 24;
    if (size > room(out) || size / DEFLATE_RATIO_MAX > in.len) {
        return false;
    }
    struct libdeflate_decompressor *decoder = libdeflate_alloc_decompressor();
    if (decoder == NULL) {
        return false;
    }
    char *dest = buf_reserve(out, size);
    assert(dest != NULL);
    size_t consumed = 0;
    size_t written = 0;
    enum libdeflate_result result =
        libdeflate_gzip_decompress_ex(decoder, in.ptr, in.len, dest, size, &consumed, &written);
    libdeflate_free_decompressor(decoder);
    if (result != LIBDEFLATE_SUCCESS || consumed != in.len || written != size) {
        dest[0] = '\0';
        return false;
    }
    out->len += size;
    return true;
}

enum inflate_outcome {
    INFLATE_DONE,
    INFLATE_OVER_CAP,
    INFLATE_TRUNCATED,
    INFLATE_CORRUPT,
};

/* More input bytes than a z_stream can count at once are fed in pieces. */
static uInt piece_bytes(size_t left) {
    return left > UINT_MAX ? UINT_MAX : (uInt)left;
}

/* Decode one stream; *in is advanced past it. */
static enum inflate_outcome inflate_one(z_stream *stream, struct str *in, struct buf *out) {
    size_t step = STREAM_STEP_BYTES;
    for (;;) {
        /* One byte more than the cap allows tells "exactly full" from "too much". */
        char probe;
        bool is_probe = room(out) == 0;
        size_t wanted = is_probe ? 1 : room(out) < step ? room(out) : step;
        char *dest = is_probe ? &probe : buf_reserve(out, wanted);
        assert(dest != NULL);
        uInt fed = piece_bytes(in->len);
        /* zlib's interface predates const; it does not write through next_in. */
        stream->next_in = (Bytef *)(uintptr_t)in->ptr;
        stream->avail_in = fed;
        stream->next_out = (Bytef *)dest;
        stream->avail_out = (uInt)wanted;
        int rc = inflate(stream, Z_NO_FLUSH);
        size_t written = wanted - stream->avail_out;
        *in = str_n(in->ptr + (fed - stream->avail_in), in->len - (fed - stream->avail_in));
        if (is_probe && written > 0) {
            return INFLATE_OVER_CAP;
        }
        if (!is_probe) {
            out->len += written;
            out->ptr[out->len] = '\0';
        }
        if (rc == Z_STREAM_END) {
            return INFLATE_DONE;
        }
        if (rc == Z_MEM_ERROR) {
            BUG("inflate ran out of memory");
        }
        if (rc != Z_OK && rc != Z_BUF_ERROR) {
            return INFLATE_CORRUPT;
        }
        if (in->len == 0 && stream->avail_out > 0) {
            return INFLATE_TRUNCATED;
        }
        if (step < (size_t)1 << 20) {
            step *= 2;
        }
    }
}

/* `window_bits` as for inflateInit2(). `is_multi`: members may follow each other, as in gzip. */
static bool inflate_all(const char *format,
                        int window_bits,
                        bool is_multi,
                        struct str in,
                        struct buf *out,
                        struct err *err) {
    z_stream stream = { 0 };
    if (inflateInit2(&stream, window_bits) != Z_OK) {
        BUG("inflateInit2(%d) failed", window_bits);
    }
    enum inflate_outcome outcome;
    do {
        outcome = inflate_one(&stream, &in, out);
    } while (outcome == INFLATE_DONE && is_multi && in.len > 0 && inflateReset(&stream) == Z_OK);
    char reason[128];
    snprintf(reason, sizeof(reason), "%s", stream.msg == NULL ? "bad data" : stream.msg);
    inflateEnd(&stream);
    switch (outcome) {
    case INFLATE_DONE:
        if (in.len > 0) {
            return err_set(err, ERR_INVALID, "%s: %zu bytes follow the end of the stream", format,
                           in.len);
        }
        return true;
    case INFLATE_OVER_CAP: return over_cap(out, err);
    case INFLATE_TRUNCATED: return err_set(err, ERR_INVALID, "%s: the body is cut short", format);
    case INFLATE_CORRUPT: return err_set(err, ERR_INVALID, "%s: %s", format, reason);
    }
    BUG("unknown outcome %d", (int)outcome);
}

static bool has_zlib_header(struct str in) {
    if (in.len < 2) {
        return false;
    }
    unsigned cmf = (unsigned char)in.ptr[0];
    unsigned flags = (unsigned char)in.ptr[1];
    return (cmf & 15) == 8 && (cmf >> 4) <= 7 && (cmf * 256 + flags) % 31 == 0;
}

bool gzip_decode(struct str in, struct buf *out, struct err *err) {
    if (gzip_decode_fast(in, out)) {
        return true;
    }
    bool is_gzip = in.len > 0 && (unsigned char)in.ptr[0] == 0x1f;
    if (!is_gzip && has_zlib_header(in)) {
        return inflate_all("gzip", MAX_WBITS, false, in, out, err);
    }
    return inflate_all("gzip", MAX_WBITS + 16, true, in, out, err);
}

/* HTTP's "deflate" means the zlib format, but some clients send the bare stream. A bare stream
 * whose first bytes look like a zlib header exists, so a failure is tried the other way. */
bool deflate_decode(struct str in, struct buf *out, struct err *err) {
    size_t start = out->len;
    if (has_zlib_header(in)) {
        if (inflate_all("deflate", MAX_WBITS, false, in, out, err)) {
            return true;
        }
        if (err->code == ERR_LIMIT) {
            return false;
        }
        out->len = start;
        struct err ignored = ERR_INIT;
        if (inflate_all("deflate", -MAX_WBITS, false, in, out, &ignored)) {
            *err = (struct err)ERR_INIT;
            return true;
        }
        out->len = start;
        return false;
    }
    return inflate_all("deflate", -MAX_WBITS, false, in, out, err);
}

void gzip_encode(struct str in, struct buf *out) {
    struct libdeflate_compressor *encoder = libdeflate_alloc_compressor(GZIP_LEVEL);
    if (encoder == NULL) {
        BUG("no memory for a gzip encoder");
    }
    size_t size_max = libdeflate_gzip_compress_bound(encoder, in.len);
    CLEANUP(mem_freep) char *scratch = mem_alloc(size_max);
    size_t size = libdeflate_gzip_compress(encoder, in.ptr, in.len, scratch, size_max);
    libdeflate_free_compressor(encoder);
    if (size == 0) {
        BUG("gzip needs more than its bound of %zu bytes for %zu", size_max, in.len);
    }
    buf_append(out, scratch, size);
}

static bool zstd_stream(ZSTD_DCtx *ctx, struct str in, struct buf *out, struct err *err) {
    ZSTD_inBuffer source = { .src = in.ptr, .size = in.len };
    size_t step = STREAM_STEP_BYTES;
    for (;;) {
        char probe;
        bool is_probe = room(out) == 0;
        size_t wanted = is_probe ? 1 : room(out) < step ? room(out) : step;
        char *start = is_probe ? &probe : buf_reserve(out, wanted);
        assert(start != NULL);
        ZSTD_outBuffer dest = { .dst = start, .size = wanted };
        size_t rc = ZSTD_decompressStream(ctx, &dest, &source);
        if (ZSTD_isError(rc)) {
            return err_set(err, ERR_INVALID, "zstd: %s", ZSTD_getErrorName(rc));
        }
        if (is_probe && dest.pos > 0) {
            return over_cap(out, err);
        }
        if (!is_probe) {
            out->len += dest.pos;
            out->ptr[out->len] = '\0';
        }
        if (rc == 0 && source.pos == source.size) {
            return true;
        }
        if (source.pos == source.size && dest.pos < dest.size) {
            return err_set(err, ERR_INVALID, "zstd: the body is cut short");
        }
        if (step < (size_t)1 << 20) {
            step *= 2;
        }
    }
}

bool zstd_decode(struct str in, struct buf *out, struct err *err) {
    unsigned long long size = ZSTD_getFrameContentSize(in.ptr, in.len);
    if (in.len == 0 || size == ZSTD_CONTENTSIZE_ERROR) {
        return err_set(err, ERR_INVALID, "zstd: the body does not start with a frame");
    }
    if (size != ZSTD_CONTENTSIZE_UNKNOWN && size > room(out)) {
        return over_cap(out, err);
    }
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    if (ctx == NULL) {
        BUG("no memory for a zstd decoder");
    }
    size_t rc = ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    assert(!ZSTD_isError(rc));
    (void)rc;
    bool ok = zstd_stream(ctx, in, out, err);
    ZSTD_freeDCtx(ctx);
    return ok;
}

static bool identity_decode(struct str in, struct buf *out, struct err *err) {
    buf_append(out, in.ptr, in.len);
    return out->is_over ? over_cap(out, err) : true;
}

bool content_decode(struct str encoding, struct str in, struct buf *out, struct err *err) {
    static const struct {
        const char *name;
        bool (*decode)(struct str in, struct buf *out, struct err *err);
    } codings[] = {
        { "", identity_decode },       { "identity", identity_decode },
        { "gzip", gzip_decode },       { "x-gzip", gzip_decode },
        { "deflate", deflate_decode }, { "snappy", snappy_block_decode },
        { "zstd", zstd_decode },
    };
    struct str name = str_trim(encoding);
    for (size_t i = 0; i < ARRAY_LEN(codings); i++) {
        if (str_eq_nocase(name, str_from(codings[i].name))) {
            return codings[i].decode(in, out, err);
        }
    }
    return err_set(err, ERR_INVALID,
                   "unsupported Content-Encoding \"%.*s\" (use identity, gzip, deflate, snappy "
                   "or zstd)",
                   STR_FMT(name));
}
