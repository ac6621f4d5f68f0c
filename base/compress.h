/*
 * Whole-buffer (de)compression. The decoded size is capped before memory is spent: a declared
 * size over the cap is refused without allocating, a stream stops at the cap.
 * Errors: ERR_INVALID malformed, ERR_LIMIT over out->bytes_max ("decompressed body exceeds …").
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

WARN_UNUSED bool snappy_block_decode(struct str in, struct buf *out, struct err *err);
void snappy_block_encode(struct str in, struct buf *out);
WARN_UNUSED bool gzip_decode(struct str in, struct buf *out, struct err *err); /* gzip or zlib */
void gzip_encode(struct str in, struct buf *out);
WARN_UNUSED bool deflate_decode(struct str in, struct buf *out, struct err *err); /* zlib or raw */
WARN_UNUSED bool zstd_decode(struct str in, struct buf *out, struct err *err);

/* By Content-Encoding value: "", identity, gzip, deflate, snappy (block), zstd. Unknown names give
 * ERR_INVALID naming it. */
WARN_UNUSED bool content_decode(struct str encoding,
                                struct str in,
                                struct buf *out,
                                struct err *err);
