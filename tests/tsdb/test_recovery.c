/*
 * Goal: what was acknowledged survives kill -9 at any moment; what was not is there entirely or not
 * at all. Method: a child writes batches of samples and a table row, reports each durable commit
 * through a pipe, and is killed at a random moment; the parent opens the directory and compares
 * with what it was told. Maintenance runs in the child, so kills hit sealing and trimming, too.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tsdb/fixture.h"

#define SERIES_COUNT 20
#define STEP_MS      (4 * MINUTE_MS)
#define BLOCK_MS     (30 * MINUTE_MS)

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Commit number n puts sample (n * STEP_MS, n) to every series, to every other one (n * STEP_MS -
 * STEP_MS / 2, -n) behind it, out of order, and the row "n" = n. */
static bool write_commit(struct fixture *f, const series_ref_t *refs, uint64_t n) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(f->db, TSDB_STATE, &batch, &err)) {
        return false;
    }
    for (int s = 0; s < SERIES_COUNT; s++) {
        tsdb_batch_append(batch, refs[s], (int64_t)n * STEP_MS, (double)n);
        if (s % 2 == 1) {
            tsdb_batch_append(batch, refs[s], (int64_t)n * STEP_MS - STEP_MS / 2, -(double)n);
        }
    }
    struct kv_batch *kv = tsdb_batch_kv(batch);
    kv->put(kv, KV_RULE_STATE, STR("n"), str_n((const char *)&n, sizeof(n)));
    return tsdb_commit_blocking(batch, NULL, &err);
}

static void get_refs(struct fixture *f, series_ref_t *refs) {
    for (int s = 0; s < SERIES_COUNT; s++) {
        char number[16];
        snprintf(number, sizeof(number), "%02d", s);
        refs[s] = make_series(f, "k", PAIRS("s", number));
    }
}

/* The child: commits from `first` on until it is killed. */
static void run_child(struct fixture *f, uint64_t first, int pipe_fd) {
    struct err err = ERR_INIT;
    series_ref_t refs[SERIES_COUNT];
    if (!tsdb_open(&f->options, &f->db, &err)) {
        fprintf(stderr, "child: %s\n", err.msg);
        _exit(2);
    }
    get_refs(f, refs);
    for (uint64_t n = first;; n++) {
        if (!write_commit(f, refs, n) || write(pipe_fd, &n, sizeof(n)) != sizeof(n)) {
            _exit(3);
        }
        if (n % 7 == 0 && !tsdb_maintain_blocking(f->db, &err)) {
            fprintf(stderr, "child: %s\n", err.msg);
            _exit(4);
        }
    }
}

/* Run a child until it acknowledged `count` commits and then for a moment more; its last word. */
static uint64_t kill_one(struct fixture *f, uint64_t first, uint64_t count, uint64_t *seed) {
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        run_child(f, first, fds[1]);
    }
    close(fds[1]);
    uint64_t acked = first - 1;
    uint64_t n;
    for (uint64_t i = 0; i < count && read(fds[0], &n, sizeof(n)) == sizeof(n); i++) {
        acked = n;
    }
    /* Somewhere inside the next commits: spin for a random moment instead of sleeping. */
    for (volatile uint64_t spin = next_random(seed) % 3000000; spin > 0; spin--) {
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    while (read(fds[0], &n, sizeof(n)) == sizeof(n)) {
        acked = n;
    }
    close(fds[0]);
    return acked;
}

/* All series end at the same commit as the table row; nothing acknowledged is missing. */
static uint64_t check_recovered(struct fixture *f, uint64_t acked) {
    struct err err = ERR_INIT;
    uint64_t row = 0;
    struct buf value;
    buf_init(&value, 100);
    struct kv_store *kv = tsdb_kv(f->db);
    if (kv->get(kv, KV_RULE_STATE, STR("n"), &value, &err)) {
        memcpy(&row, value.ptr, sizeof(row));
    }
    assert_int_equal(err.code, ERR_NONE);
    buf_finish(&value);
    assert_true(row >= acked && row <= acked + 1);
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "k");
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
    struct tsdb_series_view *views;
    size_t count;
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    assert_int_equal(count, row == 0 ? 0 : SERIES_COUNT);
    struct tsdb_column column = { 0 };
    for (size_t s = 0; s < count; s++) {
        assert_true(tsdb_read(querier, views[s].id, INT64_MIN, INT64_MAX, &column, &err));
        uint64_t per_commit = 1 + s % 2; /* views are ordered by label s */
        assert_int_equal(column.count, row * per_commit);
        for (size_t i = 0; i < column.count; i++) {
            int64_t n = (int64_t)(i / per_commit) + 1;
            bool is_late = per_commit == 2 && i % 2 == 0;
            assert_true(column.values[i] == (double)(is_late ? -n : n));
            assert_true(column.t_ms[i] == n * STEP_MS - (is_late ? STEP_MS / 2 : 0));
        }
    }
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
    return row;
}

static void killed_at_random(void **state) {
    const char *cycles_text = getenv("TOCSIN_KILL_CYCLES");
    uint64_t cycles = 40;
    uint64_t seed = 0x5eed;
    if (cycles_text != NULL) {
        assert_true(str_parse_u64(str_from(cycles_text), &cycles));
    }
    struct fixture f;
    fixture_init(&f);
    f.options.block_ms = BLOCK_MS;
    uint64_t done = 0;
    for (uint64_t cycle = 0; cycle < cycles; cycle++) {
        uint64_t acked = kill_one(&f, done + 1, next_random(&seed) % 12, &seed);
        fixture_open(&f);
        done = check_recovered(&f, acked);
        if (cycle % 5 == 4) {
            struct err err = ERR_INIT;
            assert_true(tsdb_maintain_blocking(f.db, &err));
            (void)check_recovered(&f, done);
        }
        fixture_close(&f);
        arena_reset(&f.arena);
    }
    assert_true(done > cycles);
    arena_finish(&f.arena);
    remove_tree(f.dir);
}

static void holder_is_named(void **state) {
    struct fixture f;
    fixture_init(&f);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        run_child(&f, 1, fds[1]);
    }
    uint64_t n;
    assert_int_equal(read(fds[0], &n, sizeof(n)), sizeof(n));
    struct err err = ERR_INIT;
    char want[32];
    snprintf(want, sizeof(want), "process %d", (int)pid);
    assert_false(tsdb_open(&f.options, &f.db, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, want));
    /* Reading beside it is fine. */
    f.options.is_read_only = true;
    fixture_open(&f);
    assert_true(strlen(read_name(&f, "k")) > 0);
    fixture_close(&f);
    f.options.is_read_only = false;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(fds[0]);
    close(fds[1]);
    fixture_open(&f); /* the lock died with its holder */
    fixture_finish(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_random),
        cmocka_unit_test(holder_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
