/* See disk_store.h. */
#include "bench/disk_store.h"

#include <dirent.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HALF_HOUR_MS INT64_C(1800000)
#define SETTLE_STEPS 60

_Noreturn void disk_die(const char *what, const struct err *err) {
    fprintf(stderr, "bench_disk: %s: %s\n", what, err->msg);
    exit(1);
}

void disk_open(struct disk_store *store, const char *directory, int64_t now_ms) {
    struct err err = ERR_INIT;
    *store = (struct disk_store){ .options = { .pending_bytes_max = (uint64_t)1 << 32 } };
    snprintf(store->path, sizeof(store->path), "%s",
             directory != NULL ? directory : "/tmp/bench-disk-XXXXXX");
    if (directory == NULL && mkdtemp(store->path) == NULL) {
        fprintf(stderr, "bench_disk: no directory in /tmp\n");
        exit(1);
    }
    fake_clock_init(&store->clock, now_ms);
    store->options.path = store->path;
    store->options.clock = &store->clock.clock;
    if (!tsdb_open(&store->options, &store->db, &err) || !tsdb_wait_ready(store->db, &err)) {
        disk_die("open", &err);
    }
}

void disk_close(struct disk_store *store) {
    tsdb_close(store->db);
    store->db = NULL;
}

/* ---- writing ---- */

struct tsdb_batch *disk_begin(struct disk_store *store) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(store->db, TSDB_INGEST, &batch, &err)) {
        disk_die("batch", &err);
    }
    return batch;
}

void disk_commit(struct disk_store *store, struct tsdb_batch *batch) {
    struct err err = ERR_INIT;
    struct tsdb_commit_result result;
    if (!tsdb_commit_blocking(batch, &result, &err)) {
        disk_die("commit", &err);
    }
    if (result.counts[TSDB_ACCEPTED] != result.sample_count) {
        fprintf(stderr, "bench_disk: %zu of %zu samples taken\n", result.counts[TSDB_ACCEPTED],
                result.sample_count);
        exit(1);
    }
}

static void maintain(struct disk_store *store) {
    struct err err = ERR_INIT;
    if (!tsdb_maintain_blocking(store->db, &err)) {
        disk_die("maintain", &err);
    }
}

void disk_pass(struct disk_store *store, int64_t ms) {
    for (int64_t left = ms; left > 0; left -= HALF_HOUR_MS) {
        fake_clock_advance(&store->clock, left < HALF_HOUR_MS ? left : HALF_HOUR_MS);
        maintain(store);
    }
}

/* A living process commits something all the time, which lets LMDB reuse pages. */
static void tick(struct disk_store *store) {
    struct err err = ERR_INIT;
    struct kv_store *kv = tsdb_kv(store->db);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, STR("bench"), STR("tick"));
    if (!kv->commit_blocking(kv, batch, &err)) {
        disk_die("tick", &err);
    }
}

void disk_settle(struct disk_store *store) {
    for (int i = 0; i < SETTLE_STEPS; i++) {
        fake_clock_advance(&store->clock, 2 * HALF_HOUR_MS);
        tick(store);
        maintain(store);
    }
}

/* ---- measuring ---- */

static void add_files(const char *path, double *apparent, double *blocks) {
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char name[4096];
        struct stat st;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || stat(name, &st) != 0) {
            continue;
        }
        if (S_ISDIR(st.st_mode)) {
            add_files(name, apparent, blocks);
        } else {
            *apparent += (double)st.st_size;
            *blocks += (double)st.st_blocks * 512;
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

static double written_bytes(void) {
    char line[128];
    uint64_t bytes = 0;
    FILE *file = fopen("/proc/self/io", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "write_bytes:", 12) == 0 &&
            !str_parse_u64(str_trim(str_from(line + 12)), &bytes)) {
            bytes = 0;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return (double)bytes;
}

double disk_report(struct disk_store *store, const char *when) {
    struct tsdb_window *windows;
    struct err err = ERR_INIT;
    struct arena arena;
    size_t count;
    double apparent = 0;
    double blocks = 0;
    double samples = 0;
    arena_init(&arena, SIZE_MAX);
    if (!tsdb_windows(store->db, false, &arena, &windows, &count, &err)) {
        disk_die("windows", &err);
    }
    for (size_t i = 0; i < count; i++) {
        samples += (double)windows[i].sample_count;
    }
    add_files(store->path, &apparent, &blocks);
    printf("%-8s %.0f samples in %zu parts: %.3f bytes/sample on disk, all files "
           "(%.3f apparent); %.2f written by this process so far\n",
           when, samples, count, blocks / samples, apparent / samples, written_bytes() / samples);
    arena_finish(&arena);
    return samples;
}

/* ---- tables ---- */

static double pages_of(const MDB_stat *stat) {
    return (double)(stat->ms_branch_pages + stat->ms_leaf_pages + stat->ms_overflow_pages);
}

static void print_part(const char *name, double bytes, size_t entries, double samples) {
    printf("    %-22s %12.0f bytes  %9.5f per sample  %9zu rows\n", name, bytes, bytes / samples,
           entries);
}

/* Every table with pages of an environment; returns their bytes. */
static double print_tables(MDB_txn *txn, double samples) {
    MDB_dbi main_dbi;
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;
    MDB_stat stat;
    double total = 2 * 4096; /* the two heads */
    if (mdb_dbi_open(txn, NULL, 0, &main_dbi) != 0 ||
        mdb_cursor_open(txn, main_dbi, &cursor) != 0) {
        return 0;
    }
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        char name[64];
        MDB_dbi dbi;
        snprintf(name, sizeof(name), "%.*s", (int)key.mv_size, (const char *)key.mv_data);
        if (mdb_dbi_open(txn, name, 0, &dbi) == 0 && mdb_stat(txn, dbi, &stat) == 0 &&
            pages_of(&stat) > 0) {
            double bytes = pages_of(&stat) * stat.ms_psize;
            print_part(name, bytes, stat.ms_entries, samples);
            total += bytes;
        }
    }
    mdb_cursor_close(cursor);
    if (mdb_stat(txn, main_dbi, &stat) == 0) {
        total += pages_of(&stat) * stat.ms_psize;
    }
    if (mdb_stat(txn, 0, &stat) == 0) {
        double bytes = pages_of(&stat) * stat.ms_psize;
        print_part("(list of free pages)", bytes, stat.ms_entries, samples);
        total += bytes;
    }
    return total;
}

static void report_env(const struct disk_store *store, const char *name, double samples) {
    char path[4200];
    char file[4300];
    struct stat st;
    MDB_env *env;
    MDB_txn *txn;
    snprintf(path, sizeof(path), "%s/%s", store->path, name);
    snprintf(file, sizeof(file), "%s/data.mdb", path);
    if (stat(file, &st) != 0 || mdb_env_create(&env) != 0) {
        return;
    }
    if (mdb_env_set_maxdbs(env, 64) == 0 && mdb_env_open(env, path, MDB_RDONLY, 0) == 0 &&
        mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0) {
        printf("  %s/data.mdb\n", name);
        double used = print_tables(txn, samples);
        print_part("(allocated, not used)", (double)st.st_blocks * 512 - used, 0, samples);
        mdb_txn_abort(txn);
    }
    mdb_env_close(env);
    snprintf(file, sizeof(file), "%s/lock.mdb", path);
    if (stat(file, &st) == 0) {
        printf("  %s/lock.mdb\n", name);
        print_part("", (double)st.st_blocks * 512, 0, samples);
    }
}

void disk_report_tables(const struct disk_store *store, double samples) {
    report_env(store, "store", samples);
    report_env(store, "journal", samples);
}
