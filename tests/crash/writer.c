/*
 * The process that gets killed: writes batches of a load to a directory and appends a line to the
 * ack file when one is durable.
 *
 *   crash_writer DIR ACK SEED FROM COUNT MODE
 *
 * MODE: letters; "s" one batch after the other, deletions (before the acknowledgement) and
 * maintenance between them: every system call at the same place in every run; "t" batches in flight
 * while other threads maintain, delete and read; "c" closes at the end, otherwise it just exits;
 * "d" holds the replay of the journal until some batches are acknowledged; "x" acknowledges before
 * it commits, which the checks must find; "e" meets a broken disk: from the first error on nothing
 * may be acknowledged, and reading goes on; "f" meets a full disk: refused until there is room
 * again. Exit code 100: met it, and all was as it should be.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/crash/oracle.h"

#define REFUSED_MAX 100
#define HANG_S      60 /* then something waits for ever: SIGALRM */

enum {
    EXIT_MET = 100, /* the fault, and all was as it should be */
    EXIT_OPEN = 2,
    EXIT_COMMIT,
    EXIT_MAINTAIN,
    EXIT_READ,
    EXIT_USAGE
};

struct writer {
    struct load load;
    uint64_t from;
    uint64_t count;
    const char *mode;
    int ack_fd;
    struct fake_clock clock;
    struct tsdb *db;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned in_flight; /* guarded by lock */
    uint64_t held;      /* guarded by lock: acknowledgements until the replay goes on */
    bool has_met;       /* the fault */
    _Atomic bool is_done;
    _Atomic uint64_t acked; /* with threads: the newest */
};

struct in_flight {
    struct writer *writer;
    uint64_t n;
    bool may_be_deferred;
};

_Noreturn static void die(int code, const char *what, const struct err *err) {
    fprintf(stderr, "writer: %s: %s\n", what, err->msg);
    _exit(code);
}

static void ack(struct writer *writer, uint64_t n) {
    char line[32];
    int len = snprintf(line, sizeof(line), "%" PRIu64 "\n", n);
    if (write(writer->ack_fd, line, (size_t)len) != len) {
        _exit(EXIT_USAGE);
    }
    pthread_mutex_lock(&writer->lock);
    writer->held -= writer->held > 0;
    pthread_cond_broadcast(&writer->cond);
    pthread_mutex_unlock(&writer->lock);
}

/* ---- holding the replay ---- */

static void hold_replay(void *ctx, uint64_t lsn) {
    struct writer *writer = ctx;
    pthread_mutex_lock(&writer->lock);
    while (writer->held > 0) {
        pthread_cond_wait(&writer->cond, &writer->lock);
    }
    pthread_mutex_unlock(&writer->lock);
}

static void let_replay_go(struct writer *writer) {
    pthread_mutex_lock(&writer->lock);
    writer->held = 0;
    pthread_cond_broadcast(&writer->cond);
    pthread_mutex_unlock(&writer->lock);
}

static void set_clock(struct writer *writer, uint64_t n) {
    int64_t ahead_ms = load_now_ms(n) - clock_wall_ms(&writer->clock.clock);
    if (ahead_ms > 0) {
        fake_clock_advance(&writer->clock, ahead_ms);
    }
}

static bool has_mode(const struct writer *writer, char letter) {
    return strchr(writer->mode, letter) != NULL;
}

/* Waits for the replay. Beside other threads it may be refused for now. */
static void delete_after(struct writer *writer, uint64_t n) {
    struct err err = ERR_INIT;
    struct load_deletion ignored;
    if (load_deletes(&writer->load, n, &ignored)) {
        let_replay_go(writer);
    }
    while (!load_delete(&writer->load, writer->db, n, &err)) {
        if (!has_mode(writer, 't') || err.code != ERR_UNAVAILABLE) {
            die(EXIT_MAINTAIN, "deleting", &err);
        }
        err = (struct err)ERR_INIT;
    }
}

/* ---- one after the other ---- */

static void run_sequence(struct writer *writer) {
    bool is_early = has_mode(writer, 'x');
    for (uint64_t n = writer->from; n < writer->from + writer->count; n++) {
        struct err err = ERR_INIT;
        set_clock(writer, n);
        if (is_early) {
            ack(writer, n);
        }
        if (!load_commit_blocking(&writer->load, writer->db, n, &err)) {
            die(EXIT_COMMIT, "committing", &err);
        }
        delete_after(writer, n);
        if (!is_early) {
            ack(writer, n);
        }
        if (load_random(writer->load.seed, n, 99) % 7 == 0) {
            let_replay_go(writer);
            if (!tsdb_maintain_blocking(writer->db, &err)) {
                die(EXIT_MAINTAIN, "maintaining", &err);
            }
        }
    }
}

/* ---- a failing disk ---- */

/* What is there is what was acknowledged, while the store takes no more. */
static void check_reads(struct writer *writer, uint64_t acked) {
    struct oracle oracle;
    struct oracle_report report = { .wrong = 0 };
    oracle_init(&oracle, &writer->load);
    oracle_advance(&oracle, writer->from - 1);
    oracle_advance_batches(&oracle, acked);
    /* The process before may have been that much ahead in time, and have applied retention. */
    int64_t ahead_ms = (LOAD_IN_FLIGHT_MAX + 1) * LOAD_STEP_MS;
    int64_t cut_ms = clock_wall_ms(&writer->clock.clock) + ahead_ms - LOAD_RETENTION_MS;
    oracle_compare(&oracle, writer->db, cut_ms, &report);
    if (!oracle_is_clean(&report)) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_INTERNAL, "after batch %" PRIu64 ": %s", acked, report.first);
        die(EXIT_READ, "reading on", &err);
    }
    oracle_finish(&oracle);
}

static bool commit_state(struct writer *writer, struct err *err) {
    struct kv_store *kv = tsdb_kv(writer->db);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_LEASE, STR("k"), STR("v"));
    return kv->commit_blocking(kv, batch, err);
}

/* The first error was met after `acked`: the store is latched. */
static void expect_latch(struct writer *writer, uint64_t acked, const struct err *first) {
    struct err err = ERR_INIT;
    writer->has_met = true;
    if (first->code != ERR_IO) {
        die(EXIT_COMMIT, "not an I/O error", first);
    }
    if (tsdb_health(writer->db, &err) || err.code != ERR_IO) {
        die(EXIT_COMMIT, "still healthy after", first);
    }
    for (uint64_t n = acked + 1; n < acked + 4; n++) {
        if (load_commit_blocking(&writer->load, writer->db, n, &err) || err.code != ERR_IO ||
            commit_state(writer, &err) || err.code != ERR_IO ||
            tsdb_maintain_blocking(writer->db, &err) || err.code != ERR_IO) {
            die(EXIT_COMMIT, "not refused after the first error", &err);
        }
    }
    check_reads(writer, acked);
}

static void run_broken(struct writer *writer) {
    for (uint64_t n = writer->from; n < writer->from + writer->count; n++) {
        struct err err = ERR_INIT;
        set_clock(writer, n);
        if (!load_commit_blocking(&writer->load, writer->db, n, &err)) {
            expect_latch(writer, n - 1, &err);
            return;
        }
        ack(writer, n);
        if (n % 5 == 0 && !tsdb_maintain_blocking(writer->db, &err)) {
            expect_latch(writer, n, &err);
            return;
        }
    }
}

static void run_full(struct writer *writer) {
    for (uint64_t n = writer->from; n < writer->from + writer->count; n++) {
        struct err err = ERR_INIT;
        set_clock(writer, n);
        unsigned refused = 0;
        while (!load_commit_blocking(&writer->load, writer->db, n, &err)) {
            if (err.code != ERR_NO_SPACE || ++refused > REFUSED_MAX) {
                die(EXIT_COMMIT, "on a full disk", &err);
            }
            writer->has_met = true;
            check_reads(writer, n - 1);
        }
        ack(writer, n);
        if (n % 5 == 0 && !tsdb_maintain_blocking(writer->db, &err) && err.code != ERR_NO_SPACE) {
            die(EXIT_MAINTAIN, "maintaining on a full disk", &err);
        }
    }
    struct err err = ERR_INIT;
    if (!tsdb_health(writer->db, &err)) {
        die(EXIT_COMMIT, "the disk is free again", &err);
    }
}

/* ---- with threads ---- */

static void committed(void *ctx, const struct tsdb_commit_result *result) {
    struct in_flight *in_flight = ctx;
    struct writer *writer = in_flight->writer;
    struct err err = result->err;
    if (!result->is_durable ||
        !load_verdicts(&writer->load, in_flight->n, in_flight->may_be_deferred, result, &err)) {
        die(EXIT_COMMIT, "committing", &err);
    }
    ack(writer, in_flight->n);
    writer->acked = in_flight->n;
    free(in_flight);
    pthread_mutex_lock(&writer->lock);
    writer->in_flight--;
    pthread_cond_broadcast(&writer->cond);
    pthread_mutex_unlock(&writer->lock);
}

/* Delete after the batches behind `*from` that were acknowledged. */
static void delete_acked(struct writer *writer, uint64_t *from) {
    for (; *from <= writer->acked; (*from)++) {
        delete_after(writer, *from);
    }
}

static void *maintain_main(void *arg) {
    struct writer *writer = arg;
    uint64_t from = writer->from;
    while (!writer->is_done) {
        struct err err = ERR_INIT;
        if (!tsdb_maintain_blocking(writer->db, &err)) {
            die(EXIT_MAINTAIN, "maintaining", &err);
        }
        delete_acked(writer, &from);
    }
    delete_acked(writer, &from);
    return NULL;
}

static void read_once(struct writer *writer) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier;
    struct tsdb_series_view *views;
    struct tsdb_column column = { 0 };
    struct arena arena;
    size_t count;
    arena_init(&arena, SIZE_MAX);
    if (!tsdb_querier_open(writer->db, INT64_MIN, INT64_MAX, NULL, &querier, &err) ||
        !tsdb_select(querier, NULL, 0, &arena, &views, &count, &err)) {
        die(EXIT_READ, "selecting", &err);
    }
    for (size_t i = 0; i < count; i++) {
        if (!tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err)) {
            die(EXIT_READ, "reading", &err);
        }
    }
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    arena_finish(&arena);
}

static void *read_main(void *arg) {
    struct writer *writer = arg;
    while (!writer->is_done) {
        read_once(writer);
    }
    return NULL;
}

static void take_slot(struct writer *writer, unsigned max) {
    pthread_mutex_lock(&writer->lock);
    while (writer->in_flight >= max) {
        pthread_cond_wait(&writer->cond, &writer->lock);
    }
    writer->in_flight++;
    pthread_mutex_unlock(&writer->lock);
}

static void run_threads(struct writer *writer) {
    pthread_t maintainer;
    pthread_t reader;
    if (pthread_create(&maintainer, NULL, maintain_main, writer) != 0 ||
        pthread_create(&reader, NULL, read_main, writer) != 0) {
        _exit(EXIT_USAGE);
    }
    for (uint64_t n = writer->from; n < writer->from + writer->count; n++) {
        struct err err = ERR_INIT;
        struct in_flight *in_flight = malloc(sizeof(*in_flight));
        struct tsdb_replay ignored;
        *in_flight = (struct in_flight){
            .writer = writer,
            .n = n,
            .may_be_deferred = tsdb_is_replaying(writer->db, &ignored),
        };
        take_slot(writer, LOAD_IN_FLIGHT_MAX);
        set_clock(writer, n);
        if (!load_commit(&writer->load, writer->db, n, committed, in_flight, &err)) {
            die(EXIT_COMMIT, "beginning", &err);
        }
    }
    take_slot(writer, 1); /* all came back */
    let_replay_go(writer);
    writer->is_done = true;
    pthread_join(maintainer, NULL);
    pthread_join(reader, NULL);
}

/* ---- */

static void open_store(struct writer *writer, const char *dir) {
    struct err err = ERR_INIT;
    struct tsdb_options options;
    fake_clock_init(&writer->clock, load_now_ms(writer->from));
    load_options(dir, &writer->clock.clock, &options);
    if (has_mode(writer, 'd')) {
        writer->held = 1 + load_random(writer->load.seed, writer->from, 98) % 8;
        options.on_replay = hold_replay;
        options.on_replay_ctx = writer;
    }
    if (!tsdb_open(&options, &writer->db, &err)) {
        bool is_expected = (has_mode(writer, 'e') && err.code == ERR_IO) ||
                           (has_mode(writer, 'f') && err.code == ERR_NO_SPACE);
        if (is_expected) {
            _exit(EXIT_MET);
        }
        die(EXIT_OPEN, "opening", &err);
    }
}

int main(int argc, char **argv) {
    struct writer writer = { .in_flight = 0 };
    alarm(HANG_S);
    if (argc != 7 || !str_parse_u64(str_from(argv[3]), &writer.load.seed) ||
        !str_parse_u64(str_from(argv[4]), &writer.from) ||
        !str_parse_u64(str_from(argv[5]), &writer.count)) {
        fprintf(stderr, "usage: crash_writer DIR ACK SEED FROM COUNT MODE\n");
        return EXIT_USAGE;
    }
    writer.mode = argv[6];
    writer.ack_fd = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (writer.ack_fd < 0) {
        return EXIT_USAGE;
    }
    pthread_mutex_init(&writer.lock, NULL);
    pthread_cond_init(&writer.cond, NULL);
    open_store(&writer, argv[1]);
    if (has_mode(&writer, 'e')) {
        run_broken(&writer);
    } else if (has_mode(&writer, 'f')) {
        run_full(&writer);
    } else if (has_mode(&writer, 't')) {
        run_threads(&writer);
    } else {
        run_sequence(&writer);
    }
    let_replay_go(&writer);
    if (has_mode(&writer, 'c')) {
        tsdb_close(writer.db);
    }
    _exit(writer.has_met ? EXIT_MET : 0);
}
