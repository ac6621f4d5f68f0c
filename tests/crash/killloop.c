/*
 * Goal: kill -9 at any moment loses, doubles and splits nothing that was acknowledged.
 * Method: a writer (writer.c) works on a directory in virtual time until it is killed: by strace
 * at its N-th call of one of the system calls that change the disk, or by SIGKILL after a random
 * while. Then another process opens the directory, compares everything with the truth, writes on
 * and compares again. A directory lives through a chain of such cycles; the chain's seed decides
 * all of it (with the writer's threads running, as far as threads can be repeated).
 *
 *   killloop --writer PATH [--cycles N] [--seed S] [--jobs J] [--chain N] [--verbose] [--mutant]
 *            [--fault eio|enospc]
 *
 * --mutant: the writer acknowledges before it commits; succeeds when that is found. --fault eio or
 * enospc: the system call fails instead, once or several times, and the writer looks that the store
 * does as it should (writer.c).
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/crash/rig.h"

#define SYSCALLS         "pwrite64,writev,pwritev,fdatasync,fsync,ftruncate,rename,unlink,pread64"
#define PREADS_OF_LOADER 2   /* ld.so, before main */
#define EXIT_MET         100 /* writer.c: it met the fault and did as it should */

static const char *const kill_points[] = { "pwrite64",  "pwrite64",  "writev",   "writev",
                                           "fdatasync", "fdatasync", "ftruncate" };

/* Instead of the death of the process, an error. */
enum fault {
    FAULT_KILL,
    FAULT_EIO,
    FAULT_ENOSPC
};

static const char *const eio_points[] = { "fdatasync", "fdatasync", "pwrite64", "writev",
                                          "pread64" };
static const char *const enospc_points[] = { "fdatasync", "pwrite64", "writev" };

struct plan {
    bool is_strace;
    const char *point; /* strace: the system call … */
    unsigned when;     /* … and which of them; else milliseconds / 64 */
    char action[48];   /* strace: what happens there */
    uint64_t count;    /* batches the writer is given */
    char mode[8];
    struct rig_check check;
};

struct totals {
    _Atomic uint64_t killed_strace;
    _Atomic uint64_t killed_timed;
    _Atomic uint64_t not_killed;
    _Atomic uint64_t samples;
    _Atomic uint64_t batches;
    _Atomic uint64_t failures;
};

struct loop {
    const char *writer;
    const char *work;
    uint64_t seed;
    uint64_t cycles;
    uint64_t chain;
    uint64_t jobs;
    bool is_verbose;
    bool is_mutant;
    enum fault fault;
    bool has_strace;
    struct totals *totals; /* shared by the jobs */
};

/* ---- the plan of a cycle ---- */

static void make_plan(const struct loop *loop, uint64_t seed, uint64_t cycle, struct plan *plan) {
    uint64_t bits = load_random(seed, cycle, 1);
    bool has_threads = bits % 3 == 0 && !loop->is_mutant;
    plan->is_strace = loop->has_strace && (bits >> 8) % 4 != 0;
    plan->point = kill_points[(bits >> 16) % ARRAY_LEN(kill_points)];
    plan->count = 4 + (bits >> 24) % 40;
    if (plan->is_strace) {
        /* Few calls are made by one thread of a short run; most points lie early. */
        uint64_t most = (bits >> 32) % 2 == 0 ? 8 : plan->count;
        bool is_rare = strcmp(plan->point, "ftruncate") == 0;
        plan->when = (unsigned)(1 + (bits >> 40) % (is_rare ? 2 : most));
    } else {
        plan->when = (unsigned)((bits >> 40) % 2560);
        plan->count = 2000; /* more than it gets to */
    }
    snprintf(plan->action, sizeof(plan->action), "signal=KILL:when=%u", plan->when);
    snprintf(plan->mode, sizeof(plan->mode), "%s%s%s%s", has_threads ? "t" : "s",
             (bits >> 60) % 2 == 0 ? "c" : "", (bits >> 61) % 2 == 0 ? "d" : "",
             loop->is_mutant ? "x" : "");
    plan->check = (struct rig_check){
        .more = (unsigned)((bits >> 52) % 6),
        .has_maintenance = (bits >> 56) % 2 == 0,
        .has_reopening = (bits >> 57) % 3 == 0,
    };
}

/* The same with an error in place of the kill: once, or for some calls, or from then on. */
static void make_fault_plan(const struct loop *loop,
                            uint64_t seed,
                            uint64_t cycle,
                            struct plan *plan) {
    uint64_t bits = load_random(seed, cycle, 5);
    bool is_full = loop->fault == FAULT_ENOSPC;
    make_plan(loop, seed, cycle, plan);
    plan->is_strace = true;
    plan->count = 4 + bits % 40;
    plan->when = (unsigned)(1 + (bits >> 8) % plan->count);
    plan->point = is_full ? enospc_points[(bits >> 16) % ARRAY_LEN(enospc_points)]
                          : eio_points[(bits >> 16) % ARRAY_LEN(eio_points)];
    plan->when += strcmp(plan->point, "pread64") == 0 ? PREADS_OF_LOADER : 0;
    unsigned last = plan->when + (unsigned)((bits >> 24) % 30);
    const char *rest = (bits >> 32) % 3 == 0 && !is_full ? "+" : "";
    if (is_full) {
        snprintf(plan->action, sizeof(plan->action), "error=ENOSPC:when=%u..%u", plan->when, last);
    } else {
        snprintf(plan->action, sizeof(plan->action), "error=EIO:when=%u%s", plan->when, rest);
    }
    snprintf(plan->mode, sizeof(plan->mode), "%s%s", is_full ? "f" : "e",
             (bits >> 40) % 2 == 0 ? "c" : "");
}

static void print_plan(const struct plan *plan, uint64_t seed, uint64_t cycle) {
    printf("# seed %" PRIu64 " cycle %" PRIu64 ": mode %s, ", seed, cycle, plan->mode);
    if (plan->is_strace) {
        printf("%s %s, %" PRIu64 " batches", plan->point, plan->action, plan->count);
    } else {
        printf("after %u/64 ms", plan->when);
    }
    printf("\n");
}

/* ---- the writer ---- */

struct paths {
    char dir[120];
    char ack[130];
    char errors[130];
};

static void exec_writer(const struct loop *loop,
                        const struct plan *plan,
                        const struct paths *paths,
                        const struct oracle *oracle) {
    char seed[24];
    char from[24];
    char count[24];
    char inject[100];
    snprintf(seed, sizeof(seed), "%" PRIu64, oracle->load.seed);
    snprintf(from, sizeof(from), "%" PRIu64, oracle->n + 1);
    snprintf(count, sizeof(count), "%" PRIu64, plan->count);
    snprintf(inject, sizeof(inject), "inject=%s:%s", plan->point, plan->action);
    int fd = open(paths->errors, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || dup2(fd, 2) < 0) {
        _exit(99);
    }
    if (plan->is_strace) {
        execlp("strace", "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" SYSCALLS, "-e",
               inject, loop->writer, paths->dir, paths->ack, seed, from, count, plan->mode,
               (char *)NULL);
    } else {
        execl(loop->writer, loop->writer, paths->dir, paths->ack, seed, from, count, plan->mode,
              (char *)NULL);
    }
    _exit(99);
}

/* Run it to its end. False when it ended in another way than it may. */
static bool run_writer(const struct loop *loop,
                       const struct plan *plan,
                       const struct paths *paths,
                       const struct oracle *oracle,
                       bool *ret_killed) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        exec_writer(loop, plan, paths, oracle);
    }
    if (!plan->is_strace) {
        struct timespec pause = { .tv_nsec = (long)plan->when * 1000000 / 64 };
        nanosleep(&pause, NULL); /* the moment of the kill */
        kill(pid, SIGKILL);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("running the writer");
        exit(1);
    }
    bool is_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    *ret_killed = is_killed || (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_MET);
    if (*ret_killed && plan->is_strace) {
        loop->totals->killed_strace++;
    } else if (*ret_killed) {
        loop->totals->killed_timed++;
    } else {
        loop->totals->not_killed++;
    }
    bool ok = *ret_killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (!ok) {
        printf("# the writer ended by %s %d\n", WIFSIGNALED(status) ? "signal" : "exit code",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    return ok;
}

static void print_file(const char *path) {
    FILE *file = fopen(path, "r");
    char line[600];
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        printf("#   %s", line);
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* ---- cycles ---- */

static bool run_cycle(const struct loop *loop,
                      struct oracle *oracle,
                      uint64_t cycle,
                      const struct paths *paths,
                      bool *ret_killed,
                      struct rig_verdict *verdict) {
    struct plan plan;
    if (loop->fault == FAULT_KILL) {
        make_plan(loop, oracle->load.seed, cycle, &plan);
    } else {
        make_fault_plan(loop, oracle->load.seed, cycle, &plan);
    }
    if (loop->is_verbose) {
        print_plan(&plan, oracle->load.seed, cycle);
    }
    unlink(paths->ack);
    if (!run_writer(loop, &plan, paths, oracle, ret_killed)) {
        print_plan(&plan, oracle->load.seed, cycle);
        printf("# the writer failed:\n");
        print_file(paths->errors);
        return false;
    }
    uint64_t acked = rig_last_line(paths->ack);
    plan.check.dir = paths->dir;
    plan.check.has_deletions = loop->fault != FAULT_KILL || plan.mode[0] == 't';
    plan.check.acked = acked > oracle->n ? acked : oracle->n;
    plan.check.submitted = plan.check.acked + (plan.mode[0] == 't' ? LOAD_IN_FLIGHT_MAX : 1);
    if (!rig_run(oracle, &plan.check, verdict)) {
        if (!loop->is_mutant) {
            print_plan(&plan, oracle->load.seed, cycle);
            printf("# %s\n", verdict->message);
        }
        return false;
    }
    loop->totals->samples += verdict->samples;
    loop->totals->batches += verdict->n_end - oracle->n;
    oracle_advance(oracle, verdict->n_end);
    return true;
}

static void run_chain(const struct loop *loop, uint64_t seed, uint64_t cycles) {
    struct paths paths;
    snprintf(paths.dir, sizeof(paths.dir), "%s/%" PRIu64, loop->work, seed);
    snprintf(paths.ack, sizeof(paths.ack), "%s.ack", paths.dir);
    snprintf(paths.errors, sizeof(paths.errors), "%s.stderr", paths.dir);
    struct load load = { .seed = seed };
    struct oracle oracle;
    oracle_init(&oracle, &load);
    struct rig_verdict *verdict = rig_verdict_create();
    bool ok = true;
    uint64_t kills = 0;
    for (uint64_t cycle = 0; ok && kills < cycles; cycle++) {
        bool is_killed = false;
        ok = run_cycle(loop, &oracle, cycle, &paths, &is_killed, verdict);
        kills += is_killed;
    }
    if (ok || loop->is_mutant) {
        rig_remove_tree(paths.dir);
    } else {
        printf("# left behind: %s\n", paths.dir);
    }
    loop->totals->failures += !ok;
    oracle_finish(&oracle);
    munmap(verdict, sizeof(*verdict));
}

/* Job `job` takes every jobs-th chain. */
static void run_job(const struct loop *loop, uint64_t job) {
    uint64_t chains = (loop->cycles + loop->chain - 1) / loop->chain;
    for (uint64_t i = job; i < chains && loop->totals->failures == 0; i += loop->jobs) {
        uint64_t left = loop->cycles - i * loop->chain;
        run_chain(loop, loop->seed + i, left < loop->chain ? left : loop->chain);
    }
}

static bool has_strace(void) {
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open("/dev/null", O_WRONLY);
        dup2(fd, 1);
        dup2(fd, 2);
        execlp("strace", "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "true",
               (char *)NULL);
        _exit(1);
    }
    int status;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void run_jobs(const struct loop *loop) {
    fflush(stdout);
    for (uint64_t job = 0; job < loop->jobs; job++) {
        if (fork() == 0) {
            run_job(loop, job);
            fflush(stdout);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
}

static uint64_t kills(const struct totals *totals) {
    return totals->killed_strace + totals->killed_timed;
}

static void print_totals(const struct loop *loop) {
    const struct totals *totals = loop->totals;
    printf("# seeds %" PRIu64 " to %" PRIu64 ", %" PRIu64 " cycles each: repeat one by --seed S "
           "--cycles %" PRIu64 "\n",
           loop->seed, loop->seed + (loop->cycles - 1) / loop->chain, loop->chain, loop->chain);
    printf("# %" PRIu64 " cycles: %" PRIu64 " %s at a system call, %" PRIu64
           " killed after a while "
           "(%" PRIu64 " ended before that); %" PRIu64 " batches, %" PRIu64 " samples compared\n",
           kills(totals), totals->killed_strace, loop->fault == FAULT_KILL ? "killed" : "failed",
           totals->killed_timed, totals->not_killed, totals->batches, totals->samples);
}

static enum fault fault_from(const char *text) {
    if (text == NULL) {
        return FAULT_KILL;
    }
    return strcmp(text, "eio") == 0 ? FAULT_EIO : FAULT_ENOSPC;
}

static const char *title(const struct loop *loop) {
    if (loop->is_mutant) {
        return "an acknowledgement before the commit is found";
    }
    static const char *const titles[] = {
        [FAULT_KILL] = "nothing acknowledged is lost, doubled or split by kill -9",
        [FAULT_EIO] = "the first I/O error ends writing, nothing acknowledged is lost",
        [FAULT_ENOSPC] = "a full disk refuses and recovers, nothing acknowledged is lost",
    };
    return titles[loop->fault];
}

int main(int argc, char **argv) {
    struct loop loop = {
        .writer = rig_option(argc, argv, "--writer"),
        .seed = rig_number(argc, argv, "--seed", 1),
        .cycles = rig_number(argc, argv, "--cycles", 1000),
        .chain = rig_number(argc, argv, "--chain", 25),
        .jobs = rig_number(argc, argv, "--jobs", 2),
        .is_verbose = rig_flag(argc, argv, "--verbose"),
        .is_mutant = rig_flag(argc, argv, "--mutant"),
        .fault = fault_from(rig_option(argc, argv, "--fault")),
        .has_strace = has_strace(),
    };
    if (loop.writer == NULL || loop.chain == 0 || loop.jobs == 0 || loop.cycles == 0) {
        fprintf(stderr, "usage: killloop --writer PATH [--cycles N] [--seed S] …\n");
        return 2;
    }
    loop.totals =
        mmap(NULL, sizeof(*loop.totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *work = rig_work_dir("kill");
    loop.work = work;
    printf("1..1\n");
    if (!loop.has_strace) {
        printf("# skipped: strace cannot trace here%s\n",
               loop.fault == FAULT_KILL ? ": killed after a while only" : "");
    }
    if (!loop.has_strace && loop.fault != FAULT_KILL) {
        printf("ok 1 - %s\n", title(&loop));
        rig_remove_tree(work);
        mem_free(work);
        return 0;
    }
    run_jobs(&loop);
    print_totals(&loop);
    bool is_found = loop.totals->failures > 0;
    bool ok = loop.is_mutant ? is_found : !is_found && kills(loop.totals) >= loop.cycles;
    printf("%s 1 - %s\n", ok ? "ok" : "not ok", title(&loop));
    if (ok) {
        rig_remove_tree(work);
    }
    mem_free(work);
    return ok ? 0 : 1;
}
