/* Tar headers: see tar.h. Source: POSIX pax, "ustar Interchange Format"; GNU tar's base-256. */
#include "tsdb/backup/tar.h"

#include <assert.h>
#include <stdio.h>

enum {
    AT_NAME = 0,
    AT_MODE = 100,
    AT_UID = 108,
    AT_GID = 116,
    AT_SIZE = 124,
    AT_MTIME = 136,
    AT_CHECKSUM = 148,
    AT_TYPE = 156,
    AT_MAGIC = 257,
    SIZE_FIELD = 12,
    CHECKSUM_FIELD = 8,
};

#define OCTAL_MAX UINT64_C(077777777777)

static unsigned checksum(const uint8_t block[TAR_BLOCK_BYTES]) {
    unsigned sum = 0;
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
        bool is_own = i >= AT_CHECKSUM && i < AT_CHECKSUM + CHECKSUM_FIELD;
        sum += is_own ? ' ' : block[i];
    }
    return sum;
}

void tar_header(const char *name, uint64_t bytes, int64_t mtime_s, uint8_t out[TAR_BLOCK_BYTES]) {
    char *text = (char *)out;
    memset(out, 0, TAR_BLOCK_BYTES);
    assert(strlen(name) <= TAR_NAME_MAX);
    memcpy(text + AT_NAME, name, strlen(name));
    memcpy(text + AT_MODE, "0000640", 7);
    memcpy(text + AT_UID, "0000000", 7);
    memcpy(text + AT_GID, "0000000", 7);
    if (bytes <= OCTAL_MAX) {
        snprintf(text + AT_SIZE, SIZE_FIELD, "%011llo", (unsigned long long)bytes);
    } else {
        out[AT_SIZE] = 0x80;
        for (size_t i = 0; i < 8; i++) {
            out[AT_SIZE + SIZE_FIELD - 1 - i] = (uint8_t)(bytes >> (8 * i));
        }
    }
    uint64_t seconds = mtime_s > 0 ? (uint64_t)mtime_s : 0;
    snprintf(text + AT_MTIME, SIZE_FIELD, "%011llo", (unsigned long long)(seconds & OCTAL_MAX));
    text[AT_TYPE] = '0';
    memcpy(text + AT_MAGIC, "ustar\00000", 8);
    snprintf(text + AT_CHECKSUM, CHECKSUM_FIELD - 1, "%06o", checksum(out));
    text[AT_CHECKSUM + CHECKSUM_FIELD - 1] = ' ';
}

static bool parse_octal(const uint8_t *field, size_t len, uint64_t *ret) {
    uint64_t value = 0;
    size_t i = 0;
    while (i < len && field[i] == ' ') {
        i++;
    }
    for (; i < len && field[i] >= '0' && field[i] <= '7'; i++) {
        value = value << 3 | (uint64_t)(field[i] - '0');
    }
    *ret = value;
    return i == len || field[i] == ' ' || field[i] == '\0';
}

static bool parse_size(const uint8_t *field, uint64_t *ret) {
    if ((field[0] & 0x80) == 0) {
        return parse_octal(field, SIZE_FIELD, ret);
    }
    uint64_t value = 0;
    for (size_t i = SIZE_FIELD - 8; i < SIZE_FIELD; i++) {
        value = value << 8 | field[i];
    }
    *ret = value;
    return field[0] == 0x80 && field[1] == 0 && field[2] == 0 && field[3] == 0 &&
           value <= INT64_MAX;
}

bool tar_parse(const uint8_t block[TAR_BLOCK_BYTES], struct tar_entry *ret, struct err *err) {
    static const uint8_t zeros[TAR_BLOCK_BYTES];
    *ret = (struct tar_entry){ 0 };
    if (memcmp(block, zeros, TAR_BLOCK_BYTES) == 0) {
        ret->is_end = true;
        return true;
    }
    uint64_t sum = 0;
    if (!parse_octal(block + AT_CHECKSUM, CHECKSUM_FIELD, &sum) || sum != checksum(block) ||
        !parse_size(block + AT_SIZE, &ret->bytes)) {
        return err_set(err, ERR_CORRUPT, "not a tar stream, or a damaged one");
    }
    const char *name = (const char *)block;
    size_t len = strnlen(name, 100);
    if (len > 2 && name[0] == '.' && name[1] == '/') {
        name += 2;
        len -= 2;
    }
    if (len > TAR_NAME_MAX) {
        return err_set(err, ERR_INVALID, "a name of 100 bytes in the tar stream");
    }
    memcpy(ret->name, name, len);
    ret->is_file = block[AT_TYPE] == '0' || block[AT_TYPE] == '\0';
    return true;
}

size_t tar_padding(uint64_t bytes) {
    return (size_t)((TAR_BLOCK_BYTES - bytes % TAR_BLOCK_BYTES) % TAR_BLOCK_BYTES);
}
