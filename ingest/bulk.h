/* Reading files of samples: what the formats share. The public side is in ingest.h. */
#pragma once

#include "ingest/internal.h"

/* Every line of JSON; `take` gets each. */
WARN_UNUSED bool bulk_read_jsonl(const char *name,
                                 struct str bytes,
                                 ingest_rows_fn take,
                                 void *ctx,
                                 struct err *err);
