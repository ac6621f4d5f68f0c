/*
 * Goal: whatever the disk or the process does, an acknowledged event is counted and no event is
 * counted twice. Method: this program's own pwrite and writev stand in front of libc's and fail on
 * request; a child process is killed at random acknowledgements and everything it was not told
 * about is sent again.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/ingest/fixture.h"

static _Atomic int write_errno;

/* The shims LMDB's calls find first. */

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset) {
    if (write_errno != 0) {
        errno = write_errno;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, bytes, len, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (write_errno != 0) {
        errno = write_errno;
        return -1;
    }
    return syscall(SYS_writev, fd, parts, count);
}

static int setup(void **state) {
    static struct door_fixture fixture;
    write_errno = 0;
    door_init(&fixture);
    door_open(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    write_errno = 0;
    door_finish(*state);
    return 0;
}

#define EVENT(id) "{\"id\":\"" id "\",\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"d\"}\n"
#define CALLS     "a_dependency_calls_total{dependency=\"d\",job=\"a\",outcome=\"ok\"} "

static void test_failed_commit_counts_nothing(void **state) {
    struct door_fixture *f = *state;
    post_events(f, EVENT("1"));
    door_run(f, 5000);
    write_errno = ENOSPC;
    post_events(f, EVENT("2") "{\"kind\":\"beat\",\"app\":\"a\"}\n{\n");
    assert_int_equal(f->err.code, ERR_NO_SPACE);
    assert_int_equal(f->accepted, 0);
    door_run(f, 5000); /* this point of the grid is missed */
    assert_true(own_metric(f, "tocsin_ingest_event_steps_missed_total", NULL) == 1);
    write_errno = 0;
    struct ingest_job *jobs;
    size_t count;
    ingest_jobs(f->ingest, &f->store.arena, &jobs, &count);
    assert_int_equal(jobs[0].state, INGEST_JOB_EVENTS);
    post_events(f, EVENT("2") EVENT("1"));
    assert_int_equal(f->accepted, 1);
    assert_int_equal(f->duplicates, 1);
    door_run(f, 5000);
    assert_string_equal(samples_of(f, "a_dependency_calls_total"), CALLS "0:0 5:1 15:2\n");
}

static void test_birth_waits_for_a_commit(void **state) {
    struct door_fixture *f = *state;
    post_events(f, EVENT("1"));
    write_errno = EIO;
    door_run(f, 1000);
    write_errno = ENOSPC;
    door_run(f, 9000);
    write_errno = 0;
    door_run(f, 10000);
    /* The 0 comes one step before the first sample that was stored. */
    assert_string_equal(samples_of(f, "a_dependency_calls_total"), CALLS "10:0 15:1 20:1\n");
}

/* ---- kill -9 ---- */

#define EVENTS_TOTAL 400
#define PER_BODY     7
#define KILLS        8

struct child {
    int fd; /* told about every acknowledged body: its first index */
    int32_t first;
};

static void child_done(void *ctx, const struct ingest_result *result) {
    struct child *child = ctx;
    if (result->err.code == ERR_NONE) {
        ssize_t written = write(child->fd, &child->first, sizeof(child->first));
        if (written != (ssize_t)sizeof(child->first)) {
            _exit(2);
        }
    }
}

/* Post bodies from `first` on until all are acknowledged or somebody kills us. */
static void child_run(struct door_fixture *f, int fd, int32_t first) {
    struct err err = ERR_INIT;
    struct child child = { .fd = fd };
    door_open(f);
    if (!ingest_start(f->ingest, &err)) {
        _exit(3);
    }
    for (; first < EVENTS_TOTAL; first += PER_BODY) {
        char body[PER_BODY * 128];
        size_t len = 0;
        for (int32_t i = first; i < first + PER_BODY && i < EVENTS_TOTAL; i++) {
            len += (size_t)snprintf(
                body + len, sizeof(body) - len,
                "{\"id\":\"%d\",\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"d\"}\n", i);
        }
        struct ingest_body posted = { .bytes = str_n(body, len) };
        child.first = first;
        ingest_events(f->ingest, &posted, child_done, &child);
        ingest_stop(f->ingest); /* waits for the verdict */
        ingest_destroy(f->ingest);
        if (!ingest_create(&f->options, &f->ingest, &err) || !ingest_start(f->ingest, &err)) {
            _exit(4);
        }
    }
    door_close(f);
    _exit(0);
}

static void test_kill_loses_and_doubles_nothing(void **state) {
    struct door_fixture *f = *state;
    door_close(f);
    unsigned seed = (unsigned)getpid();
    print_message("# seed %u\n", seed);
    int32_t acknowledged = -PER_BODY; /* first index of the newest acknowledged body */
    for (int kill_count = 0;; kill_count++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            close(fds[0]);
            child_run(f, fds[1], acknowledged + PER_BODY);
        }
        close(fds[1]);
        int until = kill_count < KILLS ? (int)((unsigned)rand_r(&seed) % 8) : EVENTS_TOTAL;
        int32_t first;
        for (int seen = 0; seen < until && read(fds[0], &first, sizeof(first)) > 0; seen++) {
            acknowledged = first;
        }
        kill(pid, SIGKILL);
        while (read(fds[0], &first, sizeof(first)) == (ssize_t)sizeof(first)) {
            acknowledged = first; /* was told before it died */
        }
        close(fds[0]);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
        }
        if (acknowledged + PER_BODY >= EVENTS_TOTAL) {
            break;
        }
    }
    door_open(f);
    door_run(f, 5000);
    char expected[128];
    snprintf(expected, sizeof(expected), CALLS "%d\n", EVENTS_TOTAL);
    assert_string_equal(newest_of(f, "a_dependency_calls_total"), expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_failed_commit_counts_nothing),
        TEST(test_birth_waits_for_a_commit),
        TEST(test_kill_loses_and_doubles_nothing),
    };
    return cmocka_run_group_tests_name("ingest/event_faults", tests, NULL, NULL);
}
