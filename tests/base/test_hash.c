/*
 * Goal: hashes that are stored or compared across processes have their published values. Method:
 * test vectors of RFC 3720 (CRC-32C), FNV, NIST (SHA-256), and xxHash; splits must not matter.
 */
#include <string.h>

#include "base/hash.h"
#include "tests/unit.h"

static void crc32c_vectors(void **state) {
    unsigned char bytes[48];
    memset(bytes, 0, 32);
    assert_int_equal(hash_crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(hash_crc32c(0, bytes, 32), 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++) {
        bytes[i] = (unsigned char)i;
    }
    assert_int_equal(hash_crc32c(0, bytes, 32), 0x46dd794e);
    for (unsigned i = 0; i < 32; i++) {
        bytes[i] = (unsigned char)(31 - i);
    }
    assert_int_equal(hash_crc32c(0, bytes, 32), 0x113fdb5c);
    static const unsigned char read_pdu[48] = {
        0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
        0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    };
    assert_int_equal(hash_crc32c(0, read_pdu, sizeof(read_pdu)), 0xd9963a56);
    assert_int_equal(hash_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(hash_crc32c(0, "", 0), 0);
    assert_int_equal(hash_crc32c(0, NULL, 0), 0);
}

/* Bit by bit, from the polynomial. */
static uint32_t crc32c_naive(const unsigned char *bytes, size_t len) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82f63b78 : crc >> 1;
        }
    }
    return ~crc;
}

static void crc32c_continues_at_any_split(void **state) {
    unsigned char bytes[100];
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char)(i * 37 + 11);
    }
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        uint32_t expected = crc32c_naive(bytes, len);
        assert_int_equal(hash_crc32c(0, bytes, len), expected);
        assert_int_equal(hash_crc32c_portable(0, bytes, len), expected);
        size_t split = len / 3;
        uint32_t crc = hash_crc32c(0, bytes, split);
        assert_int_equal(hash_crc32c(crc, bytes + split, len - split), expected);
        crc = hash_crc32c_portable(0, bytes, split);
        assert_int_equal(hash_crc32c_portable(crc, bytes + split, len - split), expected);
    }
}

static void fnv1a_vectors(void **state) {
    assert_true(hash_fnv1a(HASH_FNV1A_INIT, "", 0) == UINT64_C(0xcbf29ce484222325));
    assert_true(hash_fnv1a(HASH_FNV1A_INIT, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(hash_fnv1a(HASH_FNV1A_INIT, "foobar", 6) == UINT64_C(0x85944171f73967e8));
    uint64_t hash = hash_fnv1a(HASH_FNV1A_INIT, "foo", 3);
    assert_true(hash_fnv1a(hash, "bar", 3) == UINT64_C(0x85944171f73967e8));
}

/* Part of the on-disk format: these values may never change. */
static void xxh3_is_stable(void **state) {
    assert_true(hash_bytes(STR("")) == UINT64_C(0x2d06800538d394c2));
    assert_true(hash_bytes(str_n(NULL, 0)) == UINT64_C(0x2d06800538d394c2));
    assert_true(hash_bytes(STR("a")) == UINT64_C(0xe6c632b61e964e1f));
    assert_true(hash_bytes(STR("abc")) == UINT64_C(0x78af5f94892f3950));
    assert_true(hash_bytes_seeded(STR("abc"), 0) == hash_bytes(STR("abc")));
    assert_true(hash_bytes_seeded(STR("abc"), 1) != hash_bytes(STR("abc")));
}

static void sha256_vectors(void **state) {
    char hex[65];
    hash_sha256_hex(STR(""), hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    hash_sha256_hex(STR("abc"), hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void random_bytes_differ(void **state) {
    unsigned char a[1000] = { 0 };
    unsigned char b[1000] = { 0 };
    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    random_bytes(a, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_vectors), cmocka_unit_test(crc32c_continues_at_any_split),
        cmocka_unit_test(fnv1a_vectors),  cmocka_unit_test(xxh3_is_stable),
        cmocka_unit_test(sha256_vectors), cmocka_unit_test(random_bytes_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
