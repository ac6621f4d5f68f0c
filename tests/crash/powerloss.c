/*
 * Goal: the loss of power at any moment loses nothing that was acknowledged and never keeps the
 * store from opening. Method: a writer runs under a recorder (shim.c); after each of its changes
 * the disk is rebuilt as a power loss could leave it (disk.c): with all, none, some pages, some
 * sectors of what was not synced. Each such directory is opened by a process, compared with the
 * truth, written to and compared again.
 *
 *   powerloss --writer PATH --shim PATH [--states N] [--seed S] [--jobs J] [--run R [--point P]]
 *             [--drop sync|dsync|dirsync] [--tocsin PATH]
 *
 * A run is one life of the writer; three runs share a directory. --run R takes only run R, --point
 * only the states after that change. --drop: the recorder forgets that kind of sync; succeeds when
 * the loss is found. --tocsin: some states are also verified by the real program.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/crash/disk.h"
#include "tests/crash/rig.h"

#define RUNS_PER_DIR  3
#define SEEN_SLOTS    ((size_t)1 << 23) /* power of two, far above the states of a campaign */
#define CHOICES       10                /* tried per change */
#define RUNS_MAX      10000
#define VERIFY_ONE_IN 200

struct totals {
    _Atomic uint64_t states;
    _Atomic uint64_t changes;
    _Atomic uint64_t repeated;
    _Atomic uint64_t samples;
    _Atomic uint64_t verified;
    _Atomic uint64_t failures;
    _Atomic uint64_t kinds[DISK_SECTORS + 1];
    _Atomic uint64_t seen[SEEN_SLOTS]; /* hashes of states already looked at; 0 = free */
};

struct power {
    const char *writer;
    const char *shim;
    const char *drop;
    const char *tocsin; /* NULL: do without */
    uint64_t seed;
    uint64_t states;
    uint64_t jobs;
    uint64_t run_only;   /* UINT64_MAX: all */
    uint64_t point_only; /* UINT64_MAX: all */
    char *work;
    struct totals *totals;
};

/* One life of the writer, recorded. */
struct recording {
    uint64_t run;
    uint64_t seed;
    const struct oracle *oracle; /* as of its start */
    struct disk *disk;           /* as of its start */
    const uint8_t *trace;
    size_t trace_len;
    bool has_threads;
};

/* ---- one state ---- */

/* True the first time. */
static bool is_new(struct totals *totals, uint64_t hash) {
    hash += hash == 0;
    for (size_t i = hash % SEEN_SLOTS;; i = (i + 1) % SEEN_SLOTS) {
        uint64_t free_slot = 0;
        if (atomic_compare_exchange_strong(&totals->seen[i], &free_slot, hash)) {
            return true;
        }
        if (free_slot == hash) {
            return false;
        }
    }
}

struct job {
    const struct power *power;
    const struct recording *recording;
    struct oracle oracle;
    uint64_t acked;
    char image[120];
    struct rig_verdict *verdict;
};

static void report(const struct job *job, uint64_t point, struct disk_choice choice) {
    if (job->power->drop != NULL) {
        return;
    }
    char kept[140];
    snprintf(kept, sizeof(kept), "%s.found", job->image);
    disk_choose(job->recording->disk, choice);
    disk_build(job->recording->disk, kept);
    printf("# seed %" PRIu64 " run %" PRIu64 " point %" PRIu64 ", %s, %" PRIu64
           " acknowledged: %s\n",
           job->power->seed, job->recording->run, point, disk_kind_to_string(choice.kind),
           job->acked, job->verdict->message);
    printf("# as it was before opening: %s\n", kept);
}

/* By the real program, when maintenance has finished what the loss of power interrupted. */
static bool verify_some(const struct job *job, const struct rig_check *check, uint64_t bits) {
    const struct power *power = job->power;
    if (power->tocsin == NULL || !check->has_maintenance || bits / 64 % VERIFY_ONE_IN != 0) {
        return true;
    }
    power->totals->verified++;
    if (rig_verify(power->tocsin, check->dir)) {
        return true;
    }
    snprintf(job->verdict->message, sizeof(job->verdict->message), "tocsin verify finds damage");
    return false;
}

static bool try_state(struct job *job, uint64_t point, uint64_t number) {
    static const enum disk_kind kinds[CHOICES] = {
        DISK_NONE,  DISK_ALL,   DISK_PREFIX,  DISK_PREFIX,  DISK_PAGES,
        DISK_PAGES, DISK_PAGES, DISK_SECTORS, DISK_SECTORS, DISK_SECTORS,
    };
    struct totals *totals = job->power->totals;
    uint64_t bits = load_random(job->recording->seed, point, number);
    struct disk_choice choice = { .kind = kinds[number], .seed = bits };
    uint64_t hash = disk_choose(job->recording->disk, choice);
    if (!is_new(totals, load_random(hash, job->acked, job->recording->seed))) {
        totals->repeated++;
        return true;
    }
    disk_build(job->recording->disk, job->image);
    char dir[140];
    snprintf(dir, sizeof(dir), "%s/data", job->image);
    struct rig_check check = {
        .dir = dir,
        .acked = job->acked,
        .submitted = job->acked + (job->recording->has_threads ? LOAD_IN_FLIGHT_MAX : 1),
        .has_deletions = job->recording->has_threads,
        .more = 1 + (unsigned)(bits % 3),
        .has_maintenance = bits / 4 % 4 == 0,
        .has_reopening = bits / 16 % 4 == 0,
    };
    bool ok = rig_run(&job->oracle, &check, job->verdict) && verify_some(job, &check, bits);
    totals->states++;
    totals->kinds[choice.kind]++;
    totals->samples += job->verdict->samples;
    if (!ok) {
        totals->failures++;
        report(job, point, choice);
    }
    return ok;
}

/* ---- all states of a recording ---- */

static bool is_wanted(const struct power *power, uint64_t number, uint64_t point) {
    return point % power->jobs == number &&
           (power->point_only == UINT64_MAX || power->point_only == point);
}

/* Follow the trace; job `number` looks at every jobs-th change. */
static void run_job(const struct power *power, const struct recording *recording, uint64_t number) {
    struct job job = { .power = power, .recording = recording, .verdict = rig_verdict_create() };
    job.oracle = *recording->oracle; /* this process' own memory */
    job.acked = job.oracle.n;
    snprintf(job.image, sizeof(job.image), "%s/image-%" PRIu64, power->work, number);
    uint64_t point = 0;
    for (size_t at = 0; at < recording->trace_len; point++) {
        struct trace_record record;
        memcpy(&record, recording->trace + at, sizeof(record));
        const uint8_t *bytes = recording->trace + at + sizeof(record);
        at += sizeof(record) + record.len;
        disk_change(recording->disk, &record, bytes);
        if (record.kind == TRACE_ACK) {
            job.acked = record.offset;
            if (!recording->has_threads) { /* deletions come before the acknowledgement */
                oracle_advance(&job.oracle, job.acked);
            }
        }
        for (uint64_t i = 0; i < CHOICES && is_wanted(power, number, point); i++) {
            bool ok = try_state(&job, point, i);
            if (!ok || power->totals->failures > 0 || power->totals->states >= power->states) {
                return;
            }
        }
        disk_settle(recording->disk, &record, bytes);
    }
    if (number == 0) {
        power->totals->changes += point;
    }
}

static void run_jobs(const struct power *power, const struct recording *recording) {
    fflush(stdout);
    for (uint64_t number = 0; number < power->jobs; number++) {
        if (fork() == 0) {
            run_job(power, recording, number);
            fflush(stdout);
            _exit(0);
        }
    }
    int status;
    while (wait(&status) > 0) {
        if (status != 0) {
            printf("# a job died: %d\n", status);
            power->totals->failures++;
        }
    }
}

/* ---- recording ---- */

struct places {
    char root[120];
    char dir[140];
    char ack[140];
    char trace[140];
};

static void exec_writer(const struct power *power,
                        const struct places *places,
                        const struct oracle *oracle,
                        uint64_t count,
                        const char *mode) {
    char seed[24];
    char from[24];
    char batches[24];
    snprintf(seed, sizeof(seed), "%" PRIu64, oracle->load.seed);
    snprintf(from, sizeof(from), "%" PRIu64, oracle->n + 1);
    snprintf(batches, sizeof(batches), "%" PRIu64, count);
    setenv("LD_PRELOAD", power->shim, 1);
    setenv(TRACE_ENV_FILE, places->trace, 1);
    setenv(TRACE_ENV_ROOT, places->root, 1);
    if (power->drop != NULL) {
        setenv(TRACE_ENV_DROP, power->drop, 1);
    }
    execl(power->writer, power->writer, places->dir, places->ack, seed, from, batches, mode,
          (char *)NULL);
    _exit(99);
}

static void map_trace(const char *path, struct recording *recording) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0) {
        fprintf(stderr, "%s: no trace was written\n", path);
        exit(1);
    }
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    recording->trace = bytes;
    recording->trace_len = (size_t)st.st_size;
}

/* Let the writer live once, then look at every state of it. */
static void run_once(const struct power *power,
                     const struct places *places,
                     uint64_t run,
                     struct oracle *oracle) {
    uint64_t bits = load_random(power->seed, run, 2);
    bool has_threads = bits % 4 == 3;
    uint64_t count = 30 + bits / 8 % 30;
    char mode[8];
    snprintf(mode, sizeof(mode), "%s%s", has_threads ? "t" : "s", bits / 4 % 2 == 0 ? "c" : "");
    struct recording recording = {
        .run = run,
        .seed = bits,
        .oracle = oracle,
        .disk = disk_create(),
        .has_threads = has_threads,
    };
    disk_load(recording.disk, places->root);
    unlink(places->trace);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        exec_writer(power, places, oracle, count, mode);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "the writer failed: %d\n", status);
        exit(1);
    }
    if (power->run_only == UINT64_MAX || power->run_only == run) {
        map_trace(places->trace, &recording);
        run_jobs(power, &recording);
        munmap((void *)(uintptr_t)recording.trace, recording.trace_len);
    }
    disk_destroy(recording.disk);
    oracle_advance(oracle, oracle->n + count);
}

static bool is_done(const struct power *power, uint64_t run) {
    return power->totals->failures > 0 || power->totals->states >= power->states ||
           run == RUNS_MAX || (power->run_only != UINT64_MAX && run > power->run_only);
}

static uint64_t run_all(const struct power *power) {
    uint64_t run = 0;
    while (!is_done(power, run)) {
        struct load load = { .seed = load_random(power->seed, run, 3) };
        struct oracle oracle;
        oracle_init(&oracle, &load);
        struct places places;
        snprintf(places.root, sizeof(places.root), "%s/live", power->work);
        snprintf(places.dir, sizeof(places.dir), "%s/data", places.root);
        snprintf(places.ack, sizeof(places.ack), "%s/x.ack", power->work);
        snprintf(places.trace, sizeof(places.trace), "%s/trace", power->work);
        rig_remove_tree(places.root);
        if (mkdir(places.root, 0700) != 0) {
            perror(places.root);
            exit(1);
        }
        for (unsigned i = 0; i < RUNS_PER_DIR && !is_done(power, run); i++) {
            run_once(power, &places, run++, &oracle);
        }
        oracle_finish(&oracle);
    }
    return run;
}

static void print_totals(const struct power *power, uint64_t runs) {
    const struct totals *totals = power->totals;
    printf("# seed %" PRIu64 ", %" PRIu64 " runs, %" PRIu64 " changes: %" PRIu64
           " different states (%" PRIu64 " more were repetitions):",
           power->seed, runs, totals->changes, totals->states, totals->repeated);
    for (size_t i = 0; i <= DISK_SECTORS; i++) {
        printf(" %s %" PRIu64, disk_kind_to_string((enum disk_kind)i), totals->kinds[i]);
    }
    printf("; %" PRIu64 " samples compared, %" PRIu64 " states also by tocsin verify\n",
           totals->samples, totals->verified);
}

int main(int argc, char **argv) {
    struct power power = {
        .writer = rig_option(argc, argv, "--writer"),
        .shim = rig_option(argc, argv, "--shim"),
        .drop = rig_option(argc, argv, "--drop"),
        .tocsin = rig_option(argc, argv, "--tocsin"),
        .seed = rig_number(argc, argv, "--seed", 1),
        .states = rig_number(argc, argv, "--states", 20000),
        .jobs = rig_number(argc, argv, "--jobs", 2),
        .run_only = rig_number(argc, argv, "--run", UINT64_MAX),
        .point_only = rig_number(argc, argv, "--point", UINT64_MAX),
        .work = rig_work_dir("power"),
    };
    if (power.writer == NULL || power.shim == NULL || power.jobs == 0) {
        fprintf(stderr, "usage: powerloss --writer PATH --shim PATH [--states N] [--seed S] …\n");
        return 2;
    }
    power.totals = mmap(NULL, sizeof(*power.totals), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (power.totals == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    printf("1..1\n");
    uint64_t runs = run_all(&power);
    print_totals(&power, runs);
    bool is_found = power.totals->failures > 0;
    bool is_part = power.run_only != UINT64_MAX;
    bool ok = power.drop != NULL ? is_found
                                 : !is_found && (is_part || power.totals->states >= power.states);
    printf("%s 1 - %s %s\n", ok ? "ok" : "not ok",
           power.drop != NULL ? "without this sync a loss is found:"
                              : "nothing acknowledged is lost by a loss of power",
           power.drop != NULL ? power.drop : "");
    if (ok) {
        rig_remove_tree(power.work);
    }
    mem_free(power.work);
    return ok ? 0 : 1;
}
