/*
 * Goal: a file system that is really full costs no acknowledged sample and no restart. Method: a
 * child in a mount namespace of its own fills a small tmpfs with a file and with commits until they
 * are refused, takes the file away, goes on, and compares. Skipped where mounting is not allowed.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tsdb/fixture.h"

#define SKIPPED  77
#define DISK     "size=24m"
#define FILLER   "filler"
#define COMMITS  4000
#define REFUSALS 20

static bool mount_disk(const char *dir) {
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", dir, "tmpfs", 0, DISK) == 0;
}

static enum err_code commit_one(struct fixture *f,
                                series_ref_t ref,
                                int64_t t_ms,
                                enum tsdb_class cls) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(f->db, cls, &batch, &err)) {
        return err.code;
    }
    for (int i = 0; i < 50; i++) {
        tsdb_batch_append(batch, ref, t_ms * 100 + i, (double)t_ms + i * 0.1);
    }
    return tsdb_commit_blocking(batch, NULL, &err) ? ERR_NONE : err.code;
}

static void fill_disk(const struct fixture *f) {
    char path[100];
    static const char zeros[65536];
    snprintf(path, sizeof(path), "%s/" FILLER, f->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, zeros, sizeof(zeros)) > 0) {
    }
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static void free_disk(const struct fixture *f) {
    char path[100];
    snprintf(path, sizeof(path), "%s/" FILLER, f->dir);
    assert_int_equal(unlink(path), 0);
}

static void count_samples(struct fixture *f, int64_t commits) {
    struct err err = ERR_INIT;
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "full");
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
    struct tsdb_series_view *views;
    size_t count;
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    assert_int_equal(count, 1);
    struct tsdb_column column = { 0 };
    assert_true(tsdb_read(querier, views[0].id, INT64_MIN, INT64_MAX, &column, &err));
    assert_int_equal(column.count, commits * 50);
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
}

/* Three times: full, refused, free, going on without a restart. `reserve` 1 lets the disk itself
 * refuse; a larger one makes the store refuse before. */
static void run_full(struct fixture *f, uint64_t reserve, enum tsdb_class cls) {
    struct err err = ERR_INIT;
    f->options.space_reserve_bytes = reserve;
    fixture_open(f);
    series_ref_t ref = make_series(f, "full", NULL);
    int64_t acked = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 50; i++) {
            assert_int_equal(commit_one(f, ref, acked, cls), ERR_NONE);
            acked++;
        }
        fill_disk(f);
        int refused = 0;
        for (int i = 0; i < COMMITS && refused < REFUSALS; i++) {
            enum err_code code = commit_one(f, ref, acked, cls);
            assert_true(code == ERR_NONE || code == ERR_NO_SPACE);
            acked += code == ERR_NONE;
            refused += code != ERR_NONE;
        }
        assert_int_equal(refused, REFUSALS);
        count_samples(f, acked);
        free_disk(f);
        assert_true(tsdb_health(f->db, &err));
    }
    assert_int_equal(commit_one(f, ref, acked, cls), ERR_NONE);
    acked++;
    assert_true(tsdb_maintain_blocking(f->db, &err));
    count_samples(f, acked);
    fixture_reopen(f);
    count_samples(f, acked);
}

static void in_child(uint64_t reserve, enum tsdb_class cls) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct fixture f;
        fixture_init(&f);
        if (!mount_disk(f.dir)) {
            remove_tree(f.dir);
            _exit(SKIPPED);
        }
        run_full(&f, reserve, cls);
        fixture_close(&f);
        arena_finish(&f.arena);
        (void)umount(f.dir);
        remove_tree(f.dir);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED) {
        unit_skip("a small file system cannot be mounted here");
        return;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void disk_refuses(void **state) {
    in_child(1, TSDB_STATE);
}

static void reserve_refuses(void **state) {
    in_child(4 << 20, TSDB_INGEST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disk_refuses),
        cmocka_unit_test(reserve_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
