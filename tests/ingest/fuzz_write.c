/* Remote write bodies from bytes (not compressed): decoding settles with a sensible result. */
#include "base/compress.h"
#include "tests/ingest/fuzz_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_store_open();
    struct buf packed;
    buf_init(&packed, SIZE_MAX);
    snappy_block_encode(str_n((const char *)data, size), &packed);
    struct ingest_body body = { .bytes = buf_as_str(&packed) };
    ingest_write(fuzz_store.ingest, &body, fuzz_done, NULL);
    fuzz_settle();
    buf_finish(&packed);
    return 0;
}
