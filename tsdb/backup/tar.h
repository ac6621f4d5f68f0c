/* Tar, as far as backups need it: ustar headers of regular files; sizes from 8 GiB on in GNU's
 * base-256 form. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#define TAR_BLOCK_BYTES 512
#define TAR_NAME_MAX    99

struct tar_entry {
    char name[TAR_NAME_MAX + 1];
    uint64_t bytes;
    bool is_file; /* else: something to skip, `bytes` long */
    bool is_end;  /* the archive ends here */
};

void tar_header(const char *name, uint64_t bytes, int64_t mtime_s, uint8_t out[TAR_BLOCK_BYTES]);
WARN_UNUSED bool tar_parse(const uint8_t block[TAR_BLOCK_BYTES],
                           struct tar_entry *ret,
                           struct err *err);
/* Zeros after a file of this size. */
size_t tar_padding(uint64_t bytes);
