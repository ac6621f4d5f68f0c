/*
 * Goal: everything at once, for as long as asked, is right at every moment. Method: writers (in
 * order, out of order, churning, of the state tables), readers (short and long ranges, snapshots
 * held over whole maintenances), the maintainer (sealing, merging, indexing, retention, eviction,
 * scrubbing), somebody who deletes, and from time to time a backup by another process, all on one
 * store in virtual time. What a writer writes is a function of its number and a counter, so a
 * reader knows what must be there from how far the writer had come before and after it looked. At
 * the end the directory is opened again and all of it compared. Meant for builds with sanitizers.
 *
 *   soak [--seconds N] [--seed S] [--tocsin PATH]
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/crash/rig.h"

#define WRITERS     3 /* the last one out of order */
#define READERS     2
#define SLOTS       12 /* series a writer has at any time */
#define SLOTS_CHURN 4  /* of them change their identity */
#define CHURN       30
#define LATE_GROUP  16
#define AHEAD_MAX   4 /* rounds a writer may be ahead of the slowest */
/* Held over more commits of a series, a snapshot may see later samples of it (head/append.c). */
#define SNAPSHOT_ROUNDS 200
#define BACKUP_ROUNDS   400
#define RETENTION_MS    LOAD_RETENTION_MS

struct writer {
    struct soak *soak;
    unsigned number;
    bool is_late;
    _Atomic uint64_t begun; /* rounds */
    _Atomic uint64_t acked;
};

struct soak {
    uint64_t seed;
    const char *tocsin;
    char *work;
    char dir[120];
    struct fake_clock clock;
    struct tsdb_options options;
    struct tsdb *db;
    struct writer writers[WRITERS];
    _Atomic bool is_over;
    _Atomic uint64_t failures;
    _Atomic uint64_t reads;
    _Atomic uint64_t samples;
    _Atomic uint64_t maintenances;
    _Atomic uint64_t backups;
    _Atomic uint64_t deletions;
    _Atomic uint64_t rows; /* of the state, acknowledged */
    pthread_mutex_t pace_lock;
    pthread_cond_t pace;
};

PRINTF_LIKE(2, 3)

static void fail(struct soak *soak, const char *fmt, ...) {
    char what[700];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    if (soak->failures++ < 10) {
        printf("# %s\n", what);
        fflush(stdout);
    }
    soak->is_over = true;
    pthread_cond_broadcast(&soak->pace);
}

static void note_damage(void *ctx, const char *what) {
    fail(ctx, "damage: %s", what);
}

/* ---- what is written ---- */

/* The place in time of what a writer writes in its i-th round; an involution. */
static uint64_t place_of(const struct writer *writer, uint64_t i) {
    return writer->is_late ? i / LATE_GROUP * LATE_GROUP + (LATE_GROUP - 1 - i % LATE_GROUP) : i;
}

static uint64_t generation_of(const struct writer *writer, unsigned slot, uint64_t place) {
    return slot < SLOTS_CHURN && !writer->is_late ? (place + slot * 5) / CHURN : 0;
}

static double value_of(const struct soak *soak, unsigned writer, unsigned slot, uint64_t place) {
    uint64_t bits = load_random(soak->seed, writer * 100 + slot, place);
    return slot % 3 == 0   ? (double)(place * 3)
           : slot % 3 == 1 ? (double)(bits % 1000) / 10
                           : double_from_bits(bits);
}

static bool find_series(struct soak *soak,
                        const struct writer *writer,
                        unsigned slot,
                        uint64_t generation,
                        series_ref_t *ret,
                        struct err *err) {
    char texts[3][24];
    snprintf(texts[0], sizeof(texts[0]), "%" PRIu64, generation);
    snprintf(texts[1], sizeof(texts[1]), "%u", slot);
    snprintf(texts[2], sizeof(texts[2]), "%u", writer->number);
    struct label items[] = {
        { METRIC_NAME, STR("soak") },
        { STR("generation"), str_from(texts[0]) },
        { STR("slot"), str_from(texts[1]) },
        { STR("writer"), str_from(texts[2]) },
    };
    struct labels labels = { .items = items, .count = ARRAY_LEN(items) };
    return tsdb_series(soak->db, labels, ret, err);
}

static bool write_round(struct soak *soak,
                        const struct writer *writer,
                        uint64_t i,
                        struct err *err) {
    struct tsdb_batch *batch;
    struct tsdb_commit_result result;
    uint64_t place = place_of(writer, i);
    if (!tsdb_batch_begin(soak->db, TSDB_INGEST, &batch, err)) {
        return false;
    }
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        series_ref_t ref;
        if (!find_series(soak, writer, slot, generation_of(writer, slot, place), &ref, err)) {
            tsdb_batch_abandon(batch);
            return false;
        }
        tsdb_batch_append(batch, ref, load_now_ms(place),
                          value_of(soak, writer->number, slot, place));
    }
    if (!tsdb_commit_blocking(batch, &result, err)) {
        return false;
    }
    return result.counts[TSDB_ACCEPTED] == SLOTS ||
           err_set(err, ERR_INTERNAL, "writer %u round %" PRIu64 ": %zu of %u samples accepted",
                   writer->number, i, result.counts[TSDB_ACCEPTED], (unsigned)SLOTS);
}

/* The slowest writer's rounds. */
static uint64_t slowest(const struct soak *soak) {
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < WRITERS; i++) {
        uint64_t acked = soak->writers[i].acked;
        least = acked < least ? acked : least;
    }
    return least;
}

static void keep_pace(struct soak *soak, uint64_t i) {
    pthread_mutex_lock(&soak->pace_lock);
    while (!soak->is_over && i > slowest(soak) + AHEAD_MAX) {
        pthread_cond_wait(&soak->pace, &soak->pace_lock);
    }
    int64_t ahead_ms = load_now_ms(i) - clock_wall_ms(&soak->clock.clock);
    if (ahead_ms > 0) {
        fake_clock_advance(&soak->clock, ahead_ms);
    }
    pthread_mutex_unlock(&soak->pace_lock);
}

static void *write_main(void *arg) {
    struct writer *writer = arg;
    struct soak *soak = writer->soak;
    for (uint64_t i = 0; !soak->is_over; i++) {
        struct err err = ERR_INIT;
        keep_pace(soak, i);
        writer->begun = i + 1;
        if (!write_round(soak, writer, i, &err)) {
            fail(soak, "writing: %s", err.msg);
            break;
        }
        pthread_mutex_lock(&soak->pace_lock);
        writer->acked = i + 1;
        pthread_cond_broadcast(&soak->pace);
        pthread_mutex_unlock(&soak->pace_lock);
    }
    return NULL;
}

/* ---- what is read ---- */

struct expectation {
    uint64_t first; /* places first … last - 1 must be there */
    uint64_t last;
    uint64_t end; /* nothing at end or later may be */
    uint64_t begun;
};

/* Rounds acknowledged and begun, as places: a group of late ones counts when it is whole. */
static struct expectation expect(const struct writer *writer, uint64_t acked, uint64_t begun) {
    struct expectation ret = { .last = acked, .end = begun, .begun = begun };
    if (writer->is_late) {
        ret.last = acked / LATE_GROUP * LATE_GROUP;
        ret.end = (begun + LATE_GROUP - 1) / LATE_GROUP * LATE_GROUP;
    }
    return ret;
}

/* Check one series; `from` is the first place asked for. Returns false when it failed. */
static bool check_column(struct soak *soak,
                         const struct writer *writer,
                         unsigned slot,
                         uint64_t generation,
                         const struct expectation *want,
                         const struct tsdb_column *column) {
    uint64_t next = want->first;
    while (next < want->last && generation_of(writer, slot, next) < generation) {
        next++;
    }
    for (size_t i = 0; i < column->count; i++) {
        uint64_t place = (uint64_t)(column->t_ms[i] - LOAD_START_MS) / LOAD_STEP_MS;
        double value = value_of(soak, writer->number, slot, place);
        bool is_later = place >= want->end && writer->begun < want->begun + SNAPSHOT_ROUNDS;
        if (is_later || generation_of(writer, slot, place) != generation ||
            double_bits(column->values[i]) != double_bits(value)) {
            fail(soak,
                 "writer %u slot %u generation %" PRIu64 ": place %" PRIu64
                 " (%zu of %zu) holds %a, "
                 "not %a; less than %" PRIu64 " were begun, %" PRIu64 " acknowledged, now %" PRIu64,
                 writer->number, slot, generation, place, i, column->count, column->values[i],
                 value, want->end, want->last, (uint64_t)writer->begun);
            return false;
        }
        if (place > next && next < want->last) {
            break; /* missing: told below */
        }
        next = place >= next ? place + 1 : next;
    }
    if (next < want->last && generation_of(writer, slot, next) == generation) {
        fail(soak,
             "writer %u slot %u generation %" PRIu64 ": place %" PRIu64 " of %" PRIu64
             " to %" PRIu64 " is missing",
             writer->number, slot, generation, next, want->first, want->last);
        return false;
    }
    soak->samples += column->count;
    return true;
}

struct reader {
    struct soak *soak;
    uint64_t random;
    struct tsdb_column column;
    struct arena arena;
};

static uint64_t reader_draw(struct reader *reader, uint64_t below) {
    reader->random = load_random(reader->random, 1, 2);
    return reader->random % below;
}

/* What retention may have taken by now need not be there. */
static void cut_expectation(const struct soak *soak, struct expectation *want) {
    int64_t oldest_ms = clock_wall_ms(&soak->clock.clock) - RETENTION_MS;
    int64_t cut = (oldest_ms - LOAD_START_MS) / LOAD_STEP_MS + 1;
    if (cut > 0 && (uint64_t)cut > want->first) {
        want->first = (uint64_t)cut;
    }
}

/* Every series of one slot in one snapshot. */
static bool read_slot(struct reader *reader,
                      struct tsdb_querier *querier,
                      const struct writer *writer,
                      unsigned slot,
                      struct expectation *want) {
    struct soak *soak = reader->soak;
    struct err err = ERR_INIT;
    struct matcher matchers[2];
    struct tsdb_series_view *views;
    size_t count;
    char texts[2][16];
    snprintf(texts[0], sizeof(texts[0]), "%u", writer->number);
    snprintf(texts[1], sizeof(texts[1]), "%u", slot);
    bool ok = matcher_init(&matchers[0], MATCH_EQ, STR("writer"), str_from(texts[0]), &err) &&
              matcher_init(&matchers[1], MATCH_EQ, STR("slot"), str_from(texts[1]), &err);
    ok = ok && tsdb_select(querier, matchers, 2, &reader->arena, &views, &count, &err);
    uint64_t seen = 0;
    for (size_t i = 0; ok && i < count; i++) {
        uint64_t generation = 0;
        ok = str_parse_u64(labels_get(views[i].labels, STR("generation")), &generation) &&
             tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &reader->column, &err);
        cut_expectation(soak, want);
        if (ok && !check_column(soak, writer, slot, generation, want, &reader->column)) {
            return false;
        }
        seen += reader->column.count;
    }
    cut_expectation(soak, want);
    if (!ok) {
        fail(soak, "reading: %s", err.msg);
    } else if (seen < (want->last > want->first ? want->last - want->first : 0)) {
        ok = false;
        fail(soak,
             "writer %u slot %u: %" PRIu64 " samples, %" PRIu64 " to %" PRIu64 " should be there",
             writer->number, slot, seen, want->first, want->last);
    }
    matcher_finish(&matchers[0]);
    matcher_finish(&matchers[1]);
    soak->reads++;
    return ok;
}

/* Look through one snapshot, some of it twice with other work between. */
static bool read_snapshot(struct reader *reader) {
    struct soak *soak = reader->soak;
    struct err err = ERR_INIT;
    struct tsdb_querier *querier;
    uint64_t acked[WRITERS];
    for (size_t i = 0; i < WRITERS; i++) {
        acked[i] = soak->writers[i].acked;
    }
    uint64_t back = reader_draw(reader, 2) == 0 ? 20 : 10000;
    uint64_t newest = slowest(soak);
    uint64_t first = newest > back ? newest - back : 0;
    if (!tsdb_querier_open(soak->db, load_now_ms(first), INT64_MAX, NULL, &querier, &err)) {
        fail(soak, "opening a querier: %s", err.msg);
        return false;
    }
    uint64_t begun[WRITERS];
    for (size_t i = 0; i < WRITERS; i++) {
        begun[i] = soak->writers[i].begun;
    }
    bool ok = true;
    uint64_t looks = 1 + reader_draw(reader, 20);
    for (uint64_t i = 0; ok && !soak->is_over && i < looks; i++) {
        const struct writer *writer = &soak->writers[reader_draw(reader, WRITERS)];
        struct expectation want = expect(writer, acked[writer->number], begun[writer->number]);
        unsigned slot = (unsigned)reader_draw(reader, SLOTS);
        want.first = first;
        ok = read_slot(reader, querier, writer, slot, &want);
    }
    tsdb_querier_close(querier);
    arena_reset(&reader->arena);
    return ok;
}

static void *read_main(void *arg) {
    struct reader *reader = arg;
    arena_init(&reader->arena, SIZE_MAX);
    while (!reader->soak->is_over && read_snapshot(reader)) {
    }
    arena_finish(&reader->arena);
    tsdb_column_finish(&reader->column);
    return NULL;
}

/* ---- the others ---- */

static void *maintain_main(void *arg) {
    struct soak *soak = arg;
    while (!soak->is_over) {
        struct err err = ERR_INIT;
        if (!tsdb_maintain_blocking(soak->db, &err)) {
            fail(soak, "maintaining: %s", err.msg);
        }
        if (soak->maintenances++ % 16 == 0) {
            tsdb_scrub_blocking(soak->db); /* finds nothing */
        }
        sched_yield();
    }
    return NULL;
}

/* A row that counts up, with one beside it in the same commit. */
static void *state_main(void *arg) {
    struct soak *soak = arg;
    struct kv_store *kv = tsdb_kv(soak->db);
    struct buf value;
    buf_init(&value, 100);
    for (uint64_t n = 1; !soak->is_over; n++) {
        struct err err = ERR_INIT;
        struct kv_batch *batch = kv->begin(kv);
        char text[24];
        snprintf(text, sizeof(text), "%" PRIu64, n);
        batch->put(batch, KV_RULE_STATE, STR("count"), str_from(text));
        batch->put(batch, KV_OUTBOX, str_from(text), str_from(text));
        if (n > 50) {
            char old[24];
            snprintf(old, sizeof(old), "%" PRIu64, n - 50);
            batch->del(batch, KV_OUTBOX, str_from(old));
        }
        if (!kv->commit_blocking(kv, batch, &err)) {
            fail(soak, "state: %s", err.msg);
            break;
        }
        soak->rows = n;
        if (!kv->get(kv, KV_RULE_STATE, STR("count"), &value, &err) ||
            !str_eq_c(buf_as_str(&value), text)) {
            fail(soak, "state: row %s is not there: %s", text, err.msg);
        }
    }
    buf_finish(&value);
    return NULL;
}

/* ---- deleting ---- */

#define GONE_SAMPLES 20 /* of a series; the middle half is deleted first, then all */

/* A series of its own per round, so that nobody else's expectations change. */
static bool write_gone(struct soak *soak, struct str round, int64_t t_ms, struct err *err) {
    struct tsdb_batch *batch;
    series_ref_t ref;
    struct label items[] = { { METRIC_NAME, STR("gone") }, { STR("round"), round } };
    struct labels labels = { .items = items, .count = ARRAY_LEN(items) };
    if (!tsdb_batch_begin(soak->db, TSDB_INGEST, &batch, err)) {
        return false;
    }
    if (!tsdb_series(soak->db, labels, &ref, err)) {
        tsdb_batch_abandon(batch);
        return false;
    }
    for (int i = 0; i < GONE_SAMPLES; i++) {
        tsdb_batch_append(batch, ref, t_ms + i, i);
    }
    return tsdb_commit_blocking(batch, NULL, err);
}

/* None of the deleted samples is seen; others may be gone by retention. */
static bool check_gone(struct soak *soak,
                       const struct matcher *matcher,
                       int64_t t_ms,
                       int first,
                       int last,
                       struct err *err) {
    struct tsdb_querier *querier;
    struct tsdb_series_view *views;
    struct tsdb_column column = { 0 };
    struct arena arena;
    size_t count = 0;
    if (!tsdb_querier_open(soak->db, INT64_MIN, INT64_MAX, NULL, &querier, err)) {
        return false;
    }
    arena_init(&arena, SIZE_MAX);
    bool ok = tsdb_select(querier, matcher, 1, &arena, &views, &count, err);
    for (size_t i = 0; ok && i < count; i++) {
        ok = tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, err);
        for (size_t s = 0; ok && s < column.count; s++) {
            int64_t number = column.t_ms[s] - t_ms;
            if (number < 0 || number >= GONE_SAMPLES || (number >= first && number <= last) ||
                column.values[s] != (double)number) {
                ok =
                    err_set(err, ERR_INTERNAL, "sample %lld of a series of which %d to %d are gone",
                            (long long)number, first, last);
            }
        }
    }
    tsdb_column_finish(&column);
    arena_finish(&arena);
    tsdb_querier_close(querier);
    return ok;
}

static bool delete_gone(struct soak *soak,
                        const struct matcher *matcher,
                        int64_t t_ms,
                        int first,
                        int last,
                        struct err *err) {
    struct tsdb_deleted ignored;
    while (!tsdb_delete_blocking(soak->db, matcher, 1, t_ms + first, t_ms + last, &ignored, err)) {
        if (err->code != ERR_UNAVAILABLE) {
            return false;
        }
        *err = (struct err)ERR_INIT;
        if (soak->is_over) {
            return true; /* refused for now, and there is no later */
        }
    }
    return check_gone(soak, matcher, t_ms, first, last, err);
}

static void *delete_main(void *arg) {
    struct soak *soak = arg;
    for (uint64_t n = 0; !soak->is_over; n++) {
        struct err err = ERR_INIT;
        struct matcher matcher;
        char round[24];
        int64_t t_ms = clock_wall_ms(&soak->clock.clock) - GONE_SAMPLES;
        snprintf(round, sizeof(round), "%" PRIu64, n);
        if (!matcher_init(&matcher, MATCH_EQ, STR("round"), str_from(round), &err)) {
            fail(soak, "deleting: %s", err.msg);
            break;
        }
        if (!write_gone(soak, str_from(round), t_ms, &err) ||
            !delete_gone(soak, &matcher, t_ms, GONE_SAMPLES / 4, GONE_SAMPLES / 4 * 3, &err) ||
            !delete_gone(soak, &matcher, t_ms, 0, GONE_SAMPLES - 1, &err)) {
            fail(soak, "deleting: %s", err.msg);
        }
        matcher_finish(&matcher);
        soak->deletions++;
    }
    return NULL;
}

/* By another process, beside everything else; then it is verified. */
static void *backup_main(void *arg) {
    struct soak *soak = arg;
    char storage[160];
    char target[160];
    char program[200];
    snprintf(storage, sizeof(storage), "--storage.path=%s", soak->dir);
    snprintf(target, sizeof(target), "%s/backup", soak->work);
    snprintf(program, sizeof(program), "%s", soak->tocsin);
    char backup[] = "backup";
    char verify[] = "verify";
    char *const backup_argv[] = { program, backup, storage, target, NULL };
    char *const verify_argv[] = { program, verify, target, NULL };
    uint64_t next = BACKUP_ROUNDS / 4;
    while (!soak->is_over) {
        pthread_mutex_lock(&soak->pace_lock);
        while (!soak->is_over && slowest(soak) < next) {
            pthread_cond_wait(&soak->pace, &soak->pace_lock);
        }
        pthread_mutex_unlock(&soak->pace_lock);
        if (soak->is_over) {
            break;
        }
        int status = rig_spawn(backup_argv);
        status = status == 0 ? rig_spawn(verify_argv) : status;
        if (status != 0) {
            fail(soak, "the backup or its check ended with %d", status);
        }
        rig_remove_tree(target);
        soak->backups++;
        next = slowest(soak) + BACKUP_ROUNDS;
    }
    return NULL;
}

/* ---- the whole ---- */

static bool open_store(struct soak *soak) {
    struct err err = ERR_INIT;
    if (tsdb_open(&soak->options, &soak->db, &err)) {
        return true;
    }
    fail(soak, "opening: %s", err.msg);
    return false;
}

static void run_threads(struct soak *soak, uint64_t seconds) {
    pthread_t threads[WRITERS + READERS + 4];
    struct reader readers[READERS];
    size_t count = 0;
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_create(&threads[count++], NULL, write_main, &soak->writers[i]);
    }
    for (size_t i = 0; i < READERS; i++) {
        readers[i] = (struct reader){ .soak = soak, .random = load_random(soak->seed, i, 9) };
        pthread_create(&threads[count++], NULL, read_main, &readers[i]);
    }
    pthread_create(&threads[count++], NULL, maintain_main, soak);
    pthread_create(&threads[count++], NULL, state_main, soak);
    pthread_create(&threads[count++], NULL, delete_main, soak);
    if (soak->tocsin != NULL) {
        pthread_create(&threads[count++], NULL, backup_main, soak);
    }
    int64_t end_ns = clock_mono_ns(clock_system()) + (int64_t)seconds * 1000000000;
    pthread_mutex_lock(&soak->pace_lock);
    while (!soak->is_over && clock_mono_ns(clock_system()) < end_ns) {
        pthread_cond_wait(&soak->pace, &soak->pace_lock);
    }
    soak->is_over = true;
    pthread_cond_broadcast(&soak->pace);
    pthread_mutex_unlock(&soak->pace_lock);
    for (size_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* After opening again: everything acknowledged. */
static void check_all(struct soak *soak) {
    struct reader reader = { .soak = soak };
    struct err err = ERR_INIT;
    struct tsdb_querier *querier;
    arena_init(&reader.arena, SIZE_MAX);
    int64_t cut_ms = clock_wall_ms(&soak->clock.clock) - RETENTION_MS;
    int64_t cut = (cut_ms - LOAD_START_MS) / LOAD_STEP_MS + 1;
    uint64_t first = cut > 0 ? (uint64_t)cut : 0;
    if (!tsdb_querier_open(soak->db, load_now_ms(first), INT64_MAX, NULL, &querier, &err)) {
        fail(soak, "opening a querier: %s", err.msg);
        return;
    }
    for (size_t i = 0; i < WRITERS; i++) {
        const struct writer *writer = &soak->writers[i];
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            struct expectation want = expect(writer, writer->acked, writer->begun);
            want.first = first;
            if (!read_slot(&reader, querier, writer, slot, &want)) {
                break;
            }
        }
    }
    tsdb_querier_close(querier);
    arena_finish(&reader.arena);
    tsdb_column_finish(&reader.column);
}

static void init(struct soak *soak) {
    snprintf(soak->dir, sizeof(soak->dir), "%s/data", soak->work);
    fake_clock_init(&soak->clock, LOAD_START_MS);
    load_options(soak->dir, &soak->clock.clock, &soak->options);
    soak->options.on_damage = note_damage;
    soak->options.on_damage_ctx = soak;
    pthread_mutex_init(&soak->pace_lock, NULL);
    pthread_cond_init(&soak->pace, NULL);
    for (unsigned i = 0; i < WRITERS; i++) {
        soak->writers[i].soak = soak;
        soak->writers[i].number = i;
        soak->writers[i].is_late = i == WRITERS - 1;
    }
}

int main(int argc, char **argv) {
    static struct soak soak;
    uint64_t seconds = rig_number(argc, argv, "--seconds", 15);
    soak.seed = rig_number(argc, argv, "--seed", 1);
    soak.tocsin = rig_option(argc, argv, "--tocsin");
    soak.work = rig_work_dir("soak");
    init(&soak);
    printf("1..1\n");
    if (open_store(&soak)) {
        run_threads(&soak, seconds);
        struct err err = ERR_INIT;
        if (!tsdb_health(soak.db, &err)) {
            fail(&soak, "health: %s", err.msg);
        }
        tsdb_close(soak.db);
        soak.db = NULL;
        if (soak.failures == 0 && open_store(&soak)) {
            check_all(&soak);
            tsdb_close(soak.db);
        }
    }
    printf("# seed %" PRIu64 ", %" PRIu64 " s: %" PRIu64 " rounds, %" PRIu64
           " state commits, %" PRIu64 " reads of %" PRIu64 " samples, %" PRIu64
           " maintenances, %" PRIu64 " deletions, %" PRIu64 " backups\n",
           soak.seed, seconds, slowest(&soak), soak.rows, soak.reads, soak.samples,
           soak.maintenances, soak.deletions, soak.backups);
    printf("%s 1 - everything at once is right\n", soak.failures == 0 ? "ok" : "not ok");
    if (soak.failures == 0) {
        rig_remove_tree(soak.work);
    }
    mem_free(soak.work);
    return soak.failures == 0 ? 0 : 1;
}
