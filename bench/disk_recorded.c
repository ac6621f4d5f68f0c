/*
 * The recorded corpus, all-in. 480 scrapes are 40 minutes: over so short a time what is there once
 * per series outweighs the samples. So the recording is also played several times in a row: times
 * shifted; counters (by the names Prometheus gives them) go on from where they were, with as many
 * decimals as they have.
 */
#include "bench/disk_recorded.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "bench/disk_store.h"

#define COMMIT_MS    INT64_C(600000)
#define DECIMALS_MAX 9

struct played {
    const struct recorded_series *series;
    series_ref_t ref;
    double offset; /* of the round being played */
    double scale;  /* 10 ^ decimals; 0 = no counter */
    size_t next;
};

static bool is_counter(struct labels labels) {
    static const char *const endings[] = { "_total", "_count", "_sum", "_bucket" };
    struct str name = labels_get(labels, METRIC_NAME);
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        if (str_ends_with(name, str_from(endings[i]))) {
            return true;
        }
    }
    return false;
}

static double scale_of(const struct recorded_series *series) {
    if (!is_counter(series->labels)) {
        return 0;
    }
    double scale = 1;
    for (int decimals = 0; decimals < DECIMALS_MAX; decimals++, scale *= 10) {
        bool fits = true;
        for (size_t i = 0; fits && i < series->count; i++) {
            double value = series->values[i];
            fits = !isfinite(value) || round(value * scale) / scale == value;
        }
        if (fits) {
            break;
        }
    }
    return scale;
}

static double value_at(const struct played *played, size_t i) {
    double value = played->series->values[i];
    if (played->scale == 0 || played->offset == 0 || !isfinite(value)) {
        return value;
    }
    return round((value + played->offset) * played->scale) / played->scale;
}

/* How far a counter has come in one round; what it lost at resets is not made up for. */
static double gain_of(const struct recorded_series *series) {
    double first = series->values[0];
    double last = series->values[series->count - 1];
    return isfinite(first) && isfinite(last) && last > first ? last - first : 0;
}

static void play_round(struct disk_store *store,
                       struct played *played,
                       size_t count,
                       int64_t first_ms,
                       int64_t end_ms,
                       int64_t shift_ms) {
    for (int64_t at = first_ms; at < end_ms; at += COMMIT_MS) {
        struct tsdb_batch *batch = disk_begin(store);
        for (size_t i = 0; i < count; i++) {
            const struct recorded_series *series = played[i].series;
            size_t *next = &played[i].next;
            for (; *next < series->count && series->t_ms[*next] < at + COMMIT_MS; ++*next) {
                tsdb_batch_append(batch, played[i].ref, series->t_ms[*next] + shift_ms,
                                  value_at(&played[i], *next));
            }
        }
        disk_commit(store, batch);
        disk_pass(store, at + COMMIT_MS < end_ms ? COMMIT_MS : end_ms - at);
    }
}

void disk_recorded(const struct recorded *recorded, size_t rounds, bool with_tables) {
    struct disk_store store;
    struct err err = ERR_INIT;
    int64_t first_ms = INT64_MAX;
    int64_t last_ms = INT64_MIN;
    for (size_t i = 0; i < recorded->count; i++) {
        const struct recorded_series *series = &recorded->series[i];
        first_ms = series->t_ms[0] < first_ms ? series->t_ms[0] : first_ms;
        last_ms =
            series->t_ms[series->count - 1] > last_ms ? series->t_ms[series->count - 1] : last_ms;
    }
    int64_t span_ms = (last_ms - first_ms) / 5000 * 5000 + 5000;
    disk_open(&store, NULL, first_ms);
    struct played *played = mem_calloc(recorded->count, sizeof(played[0]));
    for (size_t i = 0; i < recorded->count; i++) {
        played[i] = (struct played){ .series = &recorded->series[i] };
        played[i].scale = scale_of(played[i].series);
        struct labels labels = played[i].series->labels;
        if (!labels_normalize(&labels, &err) ||
            !tsdb_series(store.db, labels, &played[i].ref, &err)) {
            disk_die("series", &err);
        }
    }
    for (size_t round = 0; round < rounds; round++) {
        play_round(&store, played, recorded->count, first_ms, first_ms + span_ms,
                   (int64_t)round * span_ms);
        for (size_t i = 0; i < recorded->count; i++) {
            played[i].next = 0;
            played[i].offset += gain_of(played[i].series);
        }
    }
    disk_settle(&store);
    char what[64];
    snprintf(what, sizeof(what), "x%zu", rounds);
    double samples = disk_report(&store, what);
    disk_close(&store);
    if (with_tables) {
        disk_report_tables(&store, samples);
    }
    printf("data in  %s\n", store.path);
    mem_free(played);
}
