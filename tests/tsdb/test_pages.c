/*
 * Goal: the page check passes what LMDB writes and refuses what would end the process or hide rows.
 * Method: a file with every kind of page, then damaged at known places. (At random places, with
 * whole directories: tests/crash/bitflip.)
 */
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tsdb/fixture.h"
#include "tsdb/env/pages.h"

#define ROWS 600
#define PAGE 4096

struct world {
    char dir[40];
    char file[60];
    unsigned told;
    bool is_repairing;
    struct err err;
};

static void put(MDB_txn *txn, MDB_dbi dbi, unsigned i, size_t len) {
    static char bytes[20000];
    char text[16];
    snprintf(text, sizeof(text), "row%05u", i);
    MDB_val key = { .mv_size = strlen(text), .mv_data = text };
    MDB_val value = { .mv_size = len, .mv_data = bytes };
    assert_int_equal(len > 0 ? mdb_put(txn, dbi, &key, &value, 0) : mdb_del(txn, dbi, &key, NULL),
                     0);
}

/* Two tables with branches and long values, some grown, shrunk and deleted over `count` commits. */
static void write_file(const struct world *w, unsigned count) {
    MDB_env *env;
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_mapsize(env, 1 << 24), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 4), 0);
    assert_int_equal(mdb_env_open(env, w->dir, 0, 0600), 0);
    for (unsigned n = 0; n < count; n++) {
        MDB_txn *txn;
        MDB_dbi a;
        MDB_dbi b;
        assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
        assert_int_equal(mdb_dbi_open(txn, "a", MDB_CREATE, &a), 0);
        assert_int_equal(mdb_dbi_open(txn, "b", MDB_CREATE, &b), 0);
        for (unsigned i = 0; i < ROWS; i++) {
            put(txn, a, i, 20 + (i * 7 + n) % 100);
            if (i % 20 == 0) {
                put(txn, b, i, 1 + (i * 977 + n * 5000) % 20000);
            }
        }
        for (unsigned i = n % 3; i < ROWS; i += 3) {
            put(txn, a, i, 0);
        }
        assert_int_equal(mdb_txn_commit(txn), 0);
    }
    mdb_env_close(env);
}

static int setup(void **state) {
    struct world *w = test_calloc(1, sizeof(*w));
    snprintf(w->dir, sizeof(w->dir), "/tmp/tocsin-pages-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->file, sizeof(w->file), "%s/data.mdb", w->dir);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;
    remove_tree(w->dir);
    test_free(w);
    return 0;
}

static void note(void *ctx, const struct err *what) {
    (void)what;
    ((struct world *)ctx)->told++;
}

static bool check(struct world *w, uint64_t bytes_max) {
    struct pages_result result;
    struct pages_check check = {
        .path = w->file,
        .name = "test",
        .bytes_max = bytes_max,
        .is_repairing = w->is_repairing,
        .told = note,
        .ctx = w,
    };
    w->told = 0;
    w->err = (struct err)ERR_INIT;
    bool ok = pages_check(&check, &result, &w->err);
    assert_int_equal(result.is_partial, ok && bytes_max < 1 << 20 && access(w->file, F_OK) == 0);
    return ok;
}

static void change(const struct world *w, off_t at, const void *bytes, size_t len) {
    int fd = open(w->file, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, at), (ssize_t)len);
    close(fd);
}

static void whole_files_pass(void **state) {
    struct world *w = *state;
    assert_true(check(w, 1 << 24)); /* none is fine */
    for (unsigned count = 0; count < 12; count++) {
        write_file(w, count);
        assert_true(check(w, 1 << 24));
        assert_int_equal(w->told, 0);
    }
    assert_true(check(w, PAGE));
    assert_int_equal(w->told, 0);
}

static void refused(struct world *w, const char *why) {
    assert_false(check(w, 1 << 24));
    assert_int_equal(w->err.code, ERR_CORRUPT);
    if (strstr(w->err.msg, why) == NULL) {
        fail_msg("%s", w->err.msg);
    }
}

/* The newer head goes back in time by one flipped bit. */
static void old_head(void **state) {
    struct world *w = *state;
    write_file(w, 5);
    static const uint8_t old[8] = { 1 };
    change(w, PAGE + 16 + 128, old, sizeof(old));
    refused(w, "transactions");
}

static void cut_short(void **state) {
    struct world *w = *state;
    struct stat st;
    write_file(w, 5);
    assert_int_equal(stat(w->file, &st), 0);
    assert_int_equal(truncate(w->file, st.st_size / 2), 0);
    refused(w, "end of the file");
    assert_int_equal(truncate(w->file, PAGE), 0);
    refused(w, "head");
}

/* Every page but the free ones is missed when it is zeroed, and moved pages are seen. */
static void lost_pages(void **state) {
    struct world *w = *state;
    static const uint8_t zeros[PAGE];
    write_file(w, 3);
    struct stat st;
    assert_int_equal(stat(w->file, &st), 0);
    off_t pages = st.st_size / PAGE;
    off_t found = 0;
    for (off_t page = 0; page < pages; page++) {
        uint8_t before[PAGE];
        int fd = open(w->file, O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, before, PAGE, page * PAGE), PAGE);
        close(fd);
        change(w, page * PAGE, zeros, PAGE);
        found += !check(w, 1 << 24) || w->told > 0;
        change(w, page * PAGE, before, PAGE);
    }
    assert_true(found > pages / 8);
    assert_true(check(w, 1 << 24));
    assert_int_equal(w->told, 0);
}

/* The first long value of the file: its page. */
static off_t find_long(const struct world *w) {
    uint8_t header[16];
    int fd = open(w->file, O_RDONLY | O_CLOEXEC);
    off_t page = 2;
    while (pread(fd, header, sizeof(header), page * PAGE) == (ssize_t)sizeof(header) &&
           !(header[10] == 4 && header[12] >= 3)) {
        page++;
    }
    close(fd);
    return page;
}

/* The head of a long value is told, and written again when the rest of the file is whole. */
static void long_values(void **state) {
    struct world *w = *state;
    static const uint8_t zeros[PAGE];
    write_file(w, 1); /* nothing grew or shrank */
    off_t page = find_long(w);
    change(w, page * PAGE, zeros, 512);
    assert_true(check(w, 1 << 24));
    assert_int_equal(w->told, 1);
    w->is_repairing = true;
    assert_true(check(w, 1 << 24));
    assert_int_equal(w->told, 1);
    w->is_repairing = false;
    assert_true(check(w, 1 << 24));
    assert_int_equal(w->told, 0);
    /* LMDB frees the right pages by it. */
    write_file(w, 6);
    assert_true(check(w, 1 << 24));
    assert_int_equal(w->told, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_files_pass, setup, teardown),
        cmocka_unit_test_setup_teardown(old_head, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_short, setup, teardown),
        cmocka_unit_test_setup_teardown(lost_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(long_values, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
