/*
 * Goal: power lost while a directory was created costs nothing; a data file that is gone later is
 * damage, not a reason to start afresh. Method: files are cut and removed between openings. (Every
 * state a power loss can leave: tests/crash/powerloss.)
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tsdb/fixture.h"

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof(*f));
    fixture_init(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture_finish(*state);
    test_free(*state);
    return 0;
}

static void file_path(const struct fixture *f, const char *name, char out[100]) {
    snprintf(out, 100, "%s/%s", f->dir, name);
}

/* A file of so many zeros. */
static void make_file(const struct fixture *f, const char *dir, off_t size) {
    char path[100];
    file_path(f, dir, path);
    assert_true(mkdir(path, 0700) == 0);
    strncat(path, "/data.mdb", sizeof(path) - strlen(path) - 1);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static void torn_creation(void **state) {
    struct fixture *f = *state;
    make_file(f, "journal", 8192);
    fixture_open(f);
    series_ref_t a = make_series(f, "a", NULL);
    assert_int_equal(put_sample(f, a, 1, 1), TSDB_ACCEPTED);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "a"), "a 1:1\n");
}

static void refused(struct fixture *f, const char *what) {
    struct err err = ERR_INIT;
    assert_false(tsdb_open(&f->options, &f->db, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_non_null(strstr(err.msg, what));
}

static void lost_file(void **state) {
    struct fixture *f = *state;
    static const char *const files[] = { "journal/data.mdb", "store/data.mdb" };
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[100];
        char away[100];
        fixture_open(f);
        fixture_close(f);
        file_path(f, files[i], path);
        file_path(f, "away", away);
        assert_int_equal(rename(path, away), 0);
        refused(f, "missing");
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
        refused(f, "empty");
        assert_int_equal(rename(away, path), 0);
    }
    fixture_open(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(torn_creation, setup, teardown),
        cmocka_unit_test_setup_teardown(lost_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
