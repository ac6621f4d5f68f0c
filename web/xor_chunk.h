/* Private to web/: the XOR chunk of streamed remote read, as Prometheus' tsdb/chunkenc draws it. */
#pragma once

#include "base/buf.h"

/* At most this many samples per chunk; upstream cuts there too. */
#define XOR_CHUNK_SAMPLES 120

/*
 * Append the chunk of `count` samples (1..65535, times ascending): uint16 count, varint t0, raw v0,
 * uvarint t1 - t0, xored v1, then delta-of-delta and xored value per sample, padded with zeros.
 */
void xor_chunk_encode(const int64_t *t_ms, const double *values, size_t count, struct buf *out);
