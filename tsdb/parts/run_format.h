/* What writing and reading runs share (FORMAT.md, 2.4). */
#pragma once

#include "tsdb/codec/chunk.h"

#define RUN_CODEC_MASK  0x0f
#define RUN_TIMES_NAMED 0x10 /* segment and offset of the times follow; else: the next ones */
#define RUN_NEIGHBOUR   0x20 /* how far before lies the chunk whose values this one leans on */
#define RUN_FLAGS_MASK  (RUN_CODEC_MASK | RUN_TIMES_NAMED | RUN_NEIGHBOUR)

#define RUN_CHAIN_MAX 16 /* chunks decoded to read one that leans on others */

/* Upper bounds of bytes. */
#define RUN_HEADER_MAX       (10 + 3)
#define RUN_CHUNK_HEADER_MAX (1 + 5 + 3 + 3 + 3)
#define RUN_TIMES_HEADER_MAX (3 + 10 + 10 + 3)
