/*
 * Goal: whatever rots on the disk, no wrong value is shown and nothing is missing without being
 * told. Method: a writer fills a directory; copies of it are damaged, one place each: bits, bytes,
 * sectors and pages zeroed, pages doubled, swapped or from an older copy, files cut short. A
 * process opens each copy and compares it with the truth. What it finds must be right, or the store
 * must have said that something is wrong (an error, a warning of the querier, its count of damage),
 * or a pass of scrubbing must say so.
 *
 *   bitflip --writer PATH [--flips N] [--seed S] [--jobs J] [--only NUMBER] [--deaths MAX]
 *           [--tocsin PATH]
 *
 * A process that dies over a copy (LMDB trusts its page headers) is told, but not right: --deaths
 * says how many of 1,000 are accepted. --tocsin: the real program verifies some copies and must
 * find what is told here.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/crash/rig.h"

#define PAGE          4096
#define SECTOR        512
#define HANG_S        10
#define BATCHES       150
#define OLDER         110 /* the older copy is as of this batch */
#define TRIES         1000
#define VERIFY_ONE_IN 100

enum fault {
    FAULT_BIT,
    FAULT_BYTE,
    FAULT_BYTES,
    FAULT_SECTOR_ZERO,
    FAULT_PAGE_ZERO,
    FAULT_PAGE_TWICE,
    FAULT_PAGES_SWAPPED,
    FAULT_PAGE_OLD,
    FAULT_CUT,
    FAULT_COUNT,
};

static const char *const fault_names[FAULT_COUNT] = {
    "bit",           "byte",       "16 bytes",  "zero sector", "zero page", "page of another place",
    "pages swapped", "older page", "cut short",
};

enum outcome {
    OUTCOME_RIGHT,   /* no trace of it */
    OUTCOME_LATENT,  /* reading is right, scrubbing tells */
    OUTCOME_REFUSED, /* the directory does not open, with an error */
    OUTCOME_TOLD,    /* the rest is right, the damage was told */
    OUTCOME_DIED,    /* of a signal */
    OUTCOME_HUNG,
    OUTCOME_LATE,   /* wrong or missing; told by scrubbing alone */
    OUTCOME_STALE,  /* a whole page came back as it was: old values, nothing to tell it by */
    OUTCOME_SILENT, /* wrong or missing, and nobody told */
    OUTCOME_WRONG,  /* a wrong value, though something was told */
    OUTCOME_COUNT,
};

static const char *const outcome_names[OUTCOME_COUNT] = {
    "right", "latent", "refused", "told", "died", "hung", "late", "stale", "SILENT", "WRONG",
};

enum {
    FILE_JOURNAL,
    FILE_STORE,
    FILE_COUNT
};

static const char *const file_names[FILE_COUNT] = { "journal/data.mdb", "store/data.mdb" };

struct bytes {
    uint8_t *ptr;
    size_t len;
};

struct totals {
    _Atomic uint64_t outcomes[FAULT_COUNT][OUTCOME_COUNT];
    _Atomic uint64_t by_file[FILE_COUNT][OUTCOME_COUNT];
    _Atomic uint64_t next; /* number of the next flip */
    _Atomic uint64_t verified;
    _Atomic uint64_t overlooked; /* told or refused here, but not found by `tocsin verify` */
};

struct flips {
    const char *writer;
    uint64_t seed;
    uint64_t count;
    uint64_t jobs;
    uint64_t only; /* UINT64_MAX: all */
    uint64_t deaths_max;
    const char *tocsin; /* NULL: do without */
    char *work;
    struct oracle oracle;
    struct bytes files[FILE_COUNT];
    struct bytes older[FILE_COUNT];
    struct totals *totals;
};

/* What the child tells. */
struct finding {
    enum outcome outcome;
    char text[500];
};

/* ---- damaging ---- */

struct damage {
    enum fault fault;
    unsigned file;
    size_t at;
    size_t other;
    struct bytes bytes; /* the damaged file */
};

static struct bytes copy_bytes(struct bytes from) {
    struct bytes copy = { .ptr = mem_alloc(from.len), .len = from.len };
    memcpy(copy.ptr, from.ptr, from.len);
    return copy;
}

static void apply(const struct flips *flips, struct damage *damage, uint64_t bits) {
    struct bytes *bytes = &damage->bytes;
    size_t pages = bytes->len / PAGE;
    size_t page = damage->at / PAGE * PAGE;
    const struct bytes *older = &flips->older[damage->file];
    damage->other = bits % pages * PAGE;
    switch (damage->fault) {
    case FAULT_BIT: bytes->ptr[damage->at] ^= (uint8_t)(1u << bits % 8); break;
    case FAULT_BYTE: bytes->ptr[damage->at] = (uint8_t)bits; break;
    case FAULT_BYTES:
        for (size_t i = damage->at; i < damage->at + 16 && i < bytes->len; i++) {
            bytes->ptr[i] = (uint8_t)load_random(bits, i, 0);
        }
        break;
    case FAULT_SECTOR_ZERO: memset(bytes->ptr + damage->at / SECTOR * SECTOR, 0, SECTOR); break;
    case FAULT_PAGE_ZERO: memset(bytes->ptr + page, 0, PAGE); break;
    case FAULT_PAGE_TWICE: memcpy(bytes->ptr + damage->other, bytes->ptr + page, PAGE); break;
    case FAULT_PAGES_SWAPPED: {
        uint8_t swap[PAGE];
        memcpy(swap, bytes->ptr + page, PAGE);
        memcpy(bytes->ptr + page, bytes->ptr + damage->other, PAGE);
        memcpy(bytes->ptr + damage->other, swap, PAGE);
        break;
    }
    case FAULT_PAGE_OLD:
        if (page + PAGE <= older->len) {
            memcpy(bytes->ptr + page, older->ptr + page, PAGE);
        }
        break;
    default: bytes->len = damage->at; break;
    }
}

/* The damage of a number: one that changes the file. */
static void make_damage(const struct flips *flips, uint64_t number, struct damage *damage) {
    for (uint64_t i = 0; i < TRIES; i++) {
        uint64_t bits = load_random(flips->seed, number, i);
        damage->file = bits % FILE_COUNT;
        const struct bytes *whole = &flips->files[damage->file];
        /* Bits more often than the rest, cuts less. */
        damage->fault = (bits >> 8) % 3 == 0 ? FAULT_BIT : (bits >> 12) % FAULT_COUNT;
        damage->at = load_random(bits, 1, 0) % whole->len;
        damage->bytes = copy_bytes(*whole);
        apply(flips, damage, load_random(bits, 2, 0));
        if (damage->bytes.len != whole->len ||
            memcmp(damage->bytes.ptr, whole->ptr, whole->len) != 0) {
            return;
        }
        mem_free(damage->bytes.ptr);
    }
    fprintf(stderr, "number %" PRIu64 ": no damage changes anything\n", number);
    exit(1);
}

/* ---- one flip ---- */

static void note_damage(void *ctx, const char *what) {
    char *told = ctx;
    if (told[0] == '\0') {
        snprintf(told, 400, "%s", what);
    }
}

static void judge(const struct oracle_report *report,
                  const char *told,
                  bool is_late,
                  struct finding *finding) {
    bool is_told = told[0] != '\0' || report->errors > 0;
    bool is_bad = report->wrong > 0 || report->missing > 0;
    if (!is_told) {
        finding->outcome = is_bad ? OUTCOME_SILENT : OUTCOME_RIGHT;
    } else if (is_late) {
        finding->outcome = is_bad ? OUTCOME_LATE : OUTCOME_LATENT;
    } else {
        finding->outcome = report->wrong > 0 ? OUTCOME_WRONG : OUTCOME_TOLD;
    }
    snprintf(finding->text, sizeof(finding->text),
             "%" PRIu64 " wrong, %" PRIu64 " missing, %" PRIu64
             " errors, told: %.120s; first: %.300s",
             report->wrong, report->missing, report->errors, told, report->first);
}

/* In the child. */
static void look(const struct flips *flips, const char *dir, struct finding *finding) {
    char told[400] = "";
    struct fake_clock clock;
    struct tsdb_options options;
    struct tsdb *db;
    struct err err = ERR_INIT;
    struct oracle_report report = { .wrong = 0 };
    fake_clock_init(&clock, load_now_ms(flips->oracle.n));
    load_options(dir, &clock.clock, &options);
    options.on_damage = note_damage;
    options.on_damage_ctx = told;
    if (!tsdb_open(&options, &db, &err)) {
        finding->outcome = OUTCOME_REFUSED;
        snprintf(finding->text, sizeof(finding->text), "%s", err.msg);
        return;
    }
    oracle_compare(&flips->oracle, db, load_now_ms(flips->oracle.n) - LOAD_RETENTION_MS, &report);
    struct tsdb_stats stats;
    tsdb_stats(db, &stats);
    if (stats.damage_count > 0) {
        note_damage(told, "counted");
    }
    bool is_late = told[0] == '\0' && report.errors == 0;
    if (is_late) {
        tsdb_scrub_blocking(db);
    }
    judge(&report, told, is_late, finding);
    tsdb_close(db);
}

static void write_copy(const struct flips *flips, const struct damage *damage, const char *dir) {
    char path[160];
    rig_remove_tree(dir);
    bool ok = mkdir(dir, 0700) == 0;
    for (unsigned i = 0; i < FILE_COUNT; i++) {
        const struct bytes *bytes = i == damage->file ? &damage->bytes : &flips->files[i];
        snprintf(path, sizeof(path), "%s/%s", dir, file_names[i]);
        *strrchr(path, '/') = '\0';
        ok = ok && mkdir(path, 0700) == 0;
        snprintf(path, sizeof(path), "%s/%s", dir, file_names[i]);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        ok = ok && fd >= 0 && write(fd, bytes->ptr, bytes->len) == (ssize_t)bytes->len;
        close(fd);
    }
    if (!ok) {
        perror(dir);
        exit(1);
    }
}

static void run_child(const struct flips *flips, const char *dir, struct finding *finding) {
    int fd = open("/dev/null", O_WRONLY);
    dup2(fd, 2); /* an assertion's last words */
    close(fd);
    *finding = (struct finding){ .outcome = OUTCOME_DIED };
    pid_t pid = fork();
    if (pid == 0) {
        alarm(HANG_S);
        look(flips, dir, finding);
        _exit(0);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("fork");
        exit(1);
    }
    if (!WIFSIGNALED(status)) {
        return;
    }
    bool is_hung = WTERMSIG(status) == SIGALRM;
    finding->outcome = is_hung ? OUTCOME_HUNG : OUTCOME_DIED;
    snprintf(finding->text, sizeof(finding->text), "signal %d", WTERMSIG(status));
}

static void run_flip(const struct flips *flips, uint64_t number, const char *dir) {
    static struct finding *finding; /* shared with the child */
    if (finding == NULL) {
        finding =
            mmap(NULL, sizeof(*finding), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    }
    struct damage damage;
    make_damage(flips, number, &damage);
    write_copy(flips, &damage, dir);
    bool is_verified = flips->tocsin != NULL && number % VERIFY_ONE_IN == 0;
    bool is_clean = is_verified && rig_verify(flips->tocsin, dir);
    run_child(flips, dir, finding);
    /* LMDB's pages do not say of which commit they are: one that a disk did not write, with the
     * same keys in it, is a good page. */
    if (damage.fault == FAULT_PAGE_OLD && finding->outcome == OUTCOME_SILENT) {
        finding->outcome = OUTCOME_STALE;
    }
    bool is_overlooked =
        is_clean && finding->outcome != OUTCOME_STALE && finding->outcome != OUTCOME_RIGHT;
    flips->totals->verified += is_verified;
    flips->totals->overlooked += is_overlooked;
    flips->totals->outcomes[damage.fault][finding->outcome]++;
    flips->totals->by_file[damage.file][finding->outcome]++;
    bool is_bad = finding->outcome >= OUTCOME_SILENT || is_overlooked;
    if (is_bad || flips->only != UINT64_MAX || getenv("CRASH_VERBOSE") != NULL) {
        printf("# seed %" PRIu64 " number %" PRIu64
               ": %s at %s %zu (page %zu, in it %zu): %s: %s\n",
               flips->seed, number, fault_names[damage.fault], file_names[damage.file], damage.at,
               damage.at / PAGE, damage.at % PAGE, outcome_names[finding->outcome], finding->text);
        fflush(stdout);
    }
    mem_free(damage.bytes.ptr);
}

static void run_jobs(const struct flips *flips) {
    fflush(stdout);
    for (uint64_t job = 0; job < flips->jobs; job++) {
        if (fork() != 0) {
            continue;
        }
        char dir[120];
        snprintf(dir, sizeof(dir), "%s/copy-%" PRIu64, flips->work, job);
        for (uint64_t number = flips->totals->next++; number < flips->count;
             number = flips->totals->next++) {
            if (flips->only == UINT64_MAX || flips->only == number) {
                run_flip(flips, number, dir);
            }
        }
        fflush(stdout);
        _exit(0);
    }
    int status;
    while (wait(&status) > 0) {
        if (status != 0) {
            printf("# a job died: %d\n", status);
            flips->totals->outcomes[0][OUTCOME_SILENT]++;
        }
    }
}

/* ---- the directory ---- */

static struct bytes read_file(const char *dir, const char *name) {
    char path[160];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        perror(path);
        exit(1);
    }
    struct bytes bytes = { .ptr = mem_alloc((size_t)st.st_size), .len = (size_t)st.st_size };
    if (read(fd, bytes.ptr, bytes.len) != (ssize_t)bytes.len) {
        perror(path);
        exit(1);
    }
    close(fd);
    return bytes;
}

static void write_batches(struct flips *flips, const char *dir, uint64_t until) {
    char seed[24];
    char from[24];
    char count[24];
    char ack[140];
    snprintf(seed, sizeof(seed), "%" PRIu64, flips->oracle.load.seed);
    snprintf(from, sizeof(from), "%" PRIu64, flips->oracle.n + 1);
    snprintf(count, sizeof(count), "%" PRIu64, until - flips->oracle.n);
    snprintf(ack, sizeof(ack), "%s/ack", flips->work);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execl(flips->writer, flips->writer, dir, ack, seed, from, count, "s", (char *)NULL);
        _exit(99);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "the writer failed: %d\n", status);
        exit(1);
    }
    oracle_advance(&flips->oracle, until);
}

static void make_directory(struct flips *flips) {
    char dir[120];
    struct load load = { .seed = flips->seed };
    oracle_init(&flips->oracle, &load);
    snprintf(dir, sizeof(dir), "%s/whole", flips->work);
    write_batches(flips, dir, OLDER);
    for (unsigned i = 0; i < FILE_COUNT; i++) {
        flips->older[i] = read_file(dir, file_names[i]);
    }
    write_batches(flips, dir, BATCHES);
    for (unsigned i = 0; i < FILE_COUNT; i++) {
        flips->files[i] = read_file(dir, file_names[i]);
    }
}

/* ---- the sum ---- */

static uint64_t print_row(const char *name, const _Atomic uint64_t *counts) {
    uint64_t sum = 0;
    printf("# %-22s", name);
    for (size_t i = 0; i < OUTCOME_COUNT; i++) {
        printf(" %s %-5" PRIu64, outcome_names[i], counts[i]);
        sum += counts[i];
    }
    printf("\n");
    return sum;
}

/* True when nothing was silent and few died. */
static bool print_totals(const struct flips *flips) {
    const struct totals *totals = flips->totals;
    uint64_t all = 0;
    uint64_t dead = 0;
    uint64_t bad = 0;
    for (size_t fault = 0; fault < FAULT_COUNT; fault++) {
        all += print_row(fault_names[fault], totals->outcomes[fault]);
        dead += totals->outcomes[fault][OUTCOME_DIED] + totals->outcomes[fault][OUTCOME_HUNG];
        bad += totals->outcomes[fault][OUTCOME_SILENT] + totals->outcomes[fault][OUTCOME_WRONG];
    }
    for (size_t file = 0; file < FILE_COUNT; file++) {
        (void)print_row(file_names[file], totals->by_file[file]);
    }
    printf("# seed %" PRIu64 ": %" PRIu64 " flips, %" PRIu64 " wrong or missing and not told, "
           "%" PRIu64 " died or hung; repeat one by --only NUMBER\n",
           flips->seed, all, bad, dead);
    printf("# tocsin verify looked at %" PRIu64 " of them and overlooked %" PRIu64 "\n",
           totals->verified, totals->overlooked);
    return bad == 0 && totals->overlooked == 0 && dead * 1000 <= all * flips->deaths_max;
}

int main(int argc, char **argv) {
    struct flips flips = {
        .writer = rig_option(argc, argv, "--writer"),
        .seed = rig_number(argc, argv, "--seed", 1),
        .count = rig_number(argc, argv, "--flips", 10000),
        .jobs = rig_number(argc, argv, "--jobs", 2),
        .only = rig_number(argc, argv, "--only", UINT64_MAX),
        .tocsin = rig_option(argc, argv, "--tocsin"),
        .deaths_max = rig_number(argc, argv, "--deaths", 0),
        .work = rig_work_dir("flip"),
    };
    if (flips.writer == NULL || flips.jobs == 0) {
        fprintf(stderr, "usage: bitflip --writer PATH [--flips N] [--seed S] …\n");
        return 2;
    }
    flips.totals = mmap(NULL, sizeof(*flips.totals), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    printf("1..1\n");
    make_directory(&flips);
    run_jobs(&flips);
    bool ok = print_totals(&flips);
    printf("%s 1 - no damage shows wrong values or hides missing ones\n", ok ? "ok" : "not ok");
    for (unsigned i = 0; i < FILE_COUNT; i++) {
        mem_free(flips.files[i].ptr);
        mem_free(flips.older[i].ptr);
    }
    oracle_finish(&flips.oracle);
    rig_remove_tree(flips.work);
    mem_free(flips.work);
    return ok ? 0 : 1;
}
