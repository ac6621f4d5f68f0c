/* Event bodies from bytes: whatever is posted settles with a sensible result and can be sampled. */
#include "tests/ingest/fuzz_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_store_open();
    struct ingest_body body = { .bytes = str_n((const char *)data, size) };
    ingest_events(fuzz_store.ingest, &body, fuzz_done, NULL);
    fuzz_settle();
    fake_clock_advance(&fuzz_store.clock, 1000);
    (void)ingest_tick_blocking(fuzz_store.ingest, clock_wall_ms(&fuzz_store.clock.clock));
    return 0;
}
