/* Shared by the crash tests; see rig.h. */
#include "tests/crash/rig.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

#define HANG_S 60 /* a check that takes longer waits for ever */

struct rig_verdict *rig_verdict_create(void) {
    void *shared = mmap(NULL, sizeof(struct rig_verdict), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return shared;
}

/* ---- checking ---- */

struct run {
    struct oracle *oracle;
    const struct rig_check *check;
    struct rig_verdict *verdict;
    struct fake_clock clock;
    struct tsdb_options options;
    struct tsdb *db;
    char damage[400]; /* the first the store told of */
};

static bool fail(struct run *run, const char *when, const char *what) {
    snprintf(run->verdict->message, sizeof(run->verdict->message), "%s: %s", when, what);
    return false;
}

static void note_damage(void *ctx, const char *what) {
    struct run *run = ctx;
    if (run->damage[0] == '\0') {
        snprintf(run->damage, sizeof(run->damage), "%s", what);
    }
}

static bool open_store(struct run *run, const char *when) {
    struct err err = ERR_INIT;
    return tsdb_open(&run->options, &run->db, &err) || fail(run, when, err.msg);
}

static bool compare(struct run *run, const char *when) {
    struct oracle_report report = { .wrong = 0 };
    int64_t cut_ms = clock_wall_ms(&run->clock.clock) - LOAD_RETENTION_MS;
    oracle_compare(run->oracle, run->db, cut_ms, &report);
    run->verdict->samples += report.samples;
    tsdb_scrub_blocking(run->db); /* finds nothing in a directory that is whole */
    if (run->damage[0] != '\0') {
        return fail(run, "damage is told", run->damage);
    }
    if (oracle_is_clean(&report)) {
        return true;
    }
    char text[600];
    snprintf(text, sizeof(text),
             "%" PRIu64 " wrong, %" PRIu64 " missing, %" PRIu64 " errors; first: %s", report.wrong,
             report.missing, report.errors, report.first);
    return fail(run, when, text);
}

static bool find_durable(struct run *run) {
    const struct rig_check *check = run->check;
    struct err err = ERR_INIT;
    uint64_t n;
    char text[120];
    if (!load_read_n(run->db, &n, &err)) {
        return fail(run, "reading row n", err.msg);
    }
    if (n < check->acked || n > check->submitted) {
        snprintf(text, sizeof(text),
                 "%s: %" PRIu64 " are durable, %" PRIu64 " were acknowledged, %" PRIu64 " begun",
                 n < check->acked ? "acknowledged batches are lost"
                                  : "more batches than were written",
                 n, check->acked, check->submitted);
        return fail(run, "after opening", text);
    }
    run->verdict->n = n;
    run->verdict->n_end = n;
    if (!check->has_deletions) {
        oracle_advance(run->oracle, check->acked);
    }
    oracle_advance_batches(run->oracle, n);
    return true;
}

/* Finish what may be half done. */
static bool delete_again(struct run *run) {
    struct oracle *oracle = run->oracle;
    struct err err = ERR_INIT;
    for (uint64_t n = oracle->deleted_n + 1; n <= oracle->n; n++) {
        if (!load_delete(&oracle->load, run->db, n, &err)) {
            return fail(run, "deleting", err.msg);
        }
    }
    bool has_any = oracle->deleted_n < oracle->n;
    oracle_advance(oracle, oracle->n);
    return !has_any || compare(run, "after deleting");
}

static bool write_on(struct run *run) {
    const struct rig_check *check = run->check;
    struct err err = ERR_INIT;
    for (unsigned i = 0; i < check->more; i++) {
        uint64_t n = run->verdict->n_end + 1;
        int64_t ahead_ms = load_now_ms(n) - clock_wall_ms(&run->clock.clock);
        if (ahead_ms > 0) {
            fake_clock_advance(&run->clock, ahead_ms);
        }
        if (!load_commit_blocking(&run->oracle->load, run->db, n, &err) ||
            !load_delete(&run->oracle->load, run->db, n, &err)) {
            return fail(run, "writing on", err.msg);
        }
        run->verdict->n_end = n;
        if (check->has_maintenance && i == check->more / 2 &&
            !tsdb_maintain_blocking(run->db, &err)) {
            return fail(run, "maintenance after writing on", err.msg);
        }
    }
    oracle_advance(run->oracle, run->verdict->n_end);
    return true;
}

static bool run_all(struct run *run) {
    if (!open_store(run, "opening") || !find_durable(run) || !compare(run, "after opening") ||
        !delete_again(run)) {
        return false;
    }
    if (run->check->more > 0 && (!write_on(run) || !compare(run, "after writing on"))) {
        return false;
    }
    tsdb_close(run->db);
    run->db = NULL;
    if (!run->check->has_reopening) {
        return true;
    }
    if (!open_store(run, "opening again") || !compare(run, "after opening again")) {
        return false;
    }
    tsdb_close(run->db);
    run->db = NULL;
    return true;
}

void rig_run_here(struct oracle *oracle,
                  const struct rig_check *check,
                  struct rig_verdict *verdict) {
    struct run run = { .oracle = oracle, .check = check, .verdict = verdict };
    *verdict = (struct rig_verdict){ .n_end = oracle->n };
    fake_clock_init(&run.clock, load_now_ms(check->acked + LOAD_IN_FLIGHT_MAX));
    load_options(check->dir, &run.clock.clock, &run.options);
    run.options.on_damage = note_damage;
    run.options.on_damage_ctx = &run;
    verdict->is_ok = run_all(&run);
    tsdb_close(run.db);
}

bool rig_run(const struct oracle *oracle,
             const struct rig_check *check,
             struct rig_verdict *verdict) {
    fflush(stdout);
    *verdict = (struct rig_verdict){ .n_end = oracle->n };
    pid_t pid = fork();
    if (pid == 0) {
        alarm(HANG_S);
        struct oracle own = *oracle; /* the child's memory is its own */
        rig_run_here(&own, check, verdict);
        _exit(0);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("fork");
        exit(1);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        verdict->is_ok = false;
        snprintf(verdict->message, sizeof(verdict->message), "the checking process died: %s %d",
                 WIFSIGNALED(status) ? "signal" : "exit",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    return verdict->is_ok;
}

/* ---- programs ---- */

int rig_spawn(char *const *argv) {
    pid_t pid;
    int status = -1;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, 2, 1); /* our output is TAP */
    if (posix_spawn(&pid, argv[0], &actions, NULL, argv, environ) != 0 ||
        waitpid(pid, &status, 0) != pid) {
        status = -1;
    }
    posix_spawn_file_actions_destroy(&actions);
    return status;
}

bool rig_verify(const char *tocsin, const char *dir) {
    char program[200];
    char path[200];
    char verify[] = "verify";
    snprintf(program, sizeof(program), "%s", tocsin);
    snprintf(path, sizeof(path), "%s", dir);
    char *const argv[] = { program, verify, path, NULL };
    return rig_spawn(argv) == 0;
}

/* ---- files ---- */

char *rig_work_dir(const char *name) {
    static const char *const places[] = { "/dev/shm", "/tmp" };
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        char path[100];
        snprintf(path, sizeof(path), "%s/tocsin-%s-XXXXXX", places[i], name);
        if (mkdtemp(path) != NULL) {
            return mem_strdup(path);
        }
    }
    perror("mkdtemp");
    exit(1);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void rig_remove_tree(const char *dir) {
    (void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

uint64_t rig_last_line(const char *path) {
    FILE *file = fopen(path, "r");
    uint64_t last = 0;
    char line[64];
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strchr(line, '\n') != NULL && !str_parse_u64(str_trim(str_from(line)), &last)) {
            fprintf(stderr, "%s: not a number: %s", path, line);
            exit(1);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return last;
}

/* ---- arguments ---- */

const char *rig_option(int argc, char **argv, const char *name) {
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return argv[i + 1];
        }
    }
    return NULL;
}

uint64_t rig_number(int argc, char **argv, const char *name, uint64_t otherwise) {
    const char *text = rig_option(argc, argv, name);
    if (text != NULL && !str_parse_u64(str_from(text), &otherwise)) {
        fprintf(stderr, "%s: not a number: %s\n", name, text);
        exit(2);
    }
    return otherwise;
}

bool rig_flag(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return true;
        }
    }
    return false;
}
