/* Hashes: XXH3 for tables and identities, CRC-32C for stored bytes, FNV-1a as upstream. */
#pragma once

#include "base/str.h"

uint64_t hash_bytes(struct str bytes); /* XXH3-64, unseeded: stable on disk */
uint64_t hash_bytes_seeded(struct str bytes, uint64_t seed);
/* XXH3-128 keyed with random bytes: nobody without them can make two inputs meet. */
#define HASH_SECRET_BYTES 192
void hash_bytes_keyed(struct str bytes,
                      const uint8_t secret[HASH_SECRET_BYTES],
                      uint64_t *ret_low,
                      uint64_t *ret_high);
uint32_t hash_crc32c(uint32_t crc, const void *bytes, size_t len); /* start with 0 */
/* The same without help from the CPU: what hash_crc32c() falls back to. */
uint32_t hash_crc32c_portable(uint32_t crc, const void *bytes, size_t len);
uint64_t hash_fnv1a(uint64_t hash, const void *bytes, size_t len); /* start: HASH_FNV1A_INIT */
#define HASH_FNV1A_INIT UINT64_C(14695981039346656037)

/* SHA-256, lower-case hex. */
void hash_sha256_hex(struct str bytes, char out[65]);

/* The same piece by piece: init, update any number of times, finish (once; gives memory back). */
struct hash_sha256 {
    void *state; /* private */
};

void hash_sha256_init(struct hash_sha256 *hash);
void hash_sha256_update(struct hash_sha256 *hash, const void *bytes, size_t len);
void hash_sha256_finish(struct hash_sha256 *hash, char out[65]);

/* MD5, only where upstream shards by it. */
void hash_md5(struct str bytes, uint8_t ret_digest[16]);

/* Cryptographically random bytes (getrandom). */
void random_bytes(void *out, size_t len);
