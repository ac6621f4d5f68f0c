/* Rounds of computed series: references are looked up once, series that vanish go stale. */
#include "ingest/sampler.h"

#include <assert.h>
#include <stdio.h>

#include "base/mem.h"

#define PAIRS_MAX     LABELS_COUNT_MAX
#define RENAMED_MAX   4
#define KEY_BYTES_MAX (LABELS_COUNT_MAX * (LABEL_NAME_BYTES_MAX + LABEL_VALUE_BYTES_MAX))

struct sampler_series {
    series_ref_t ref;
    uint64_t round; /* last one that had it */
};

void sampler_init(struct sampler *sampler) {
    *sampler = (struct sampler){ 0 };
    map_init(&sampler->series);
    buf_init(&sampler->key, KEY_BYTES_MAX);
}

void sampler_finish(struct sampler *sampler) {
    map_finish(&sampler->series, mem_free);
    buf_finish(&sampler->key);
}

void sampler_begin(struct sampler *sampler,
                   struct tsdb *db,
                   struct tsdb_batch *batch,
                   int64_t t_ms) {
    sampler->db = db;
    sampler->batch = batch;
    sampler->t_ms = t_ms;
    sampler->round++;
}

static void put_labels(struct sampler *sampler, struct labels labels, double value) {
    struct err err = ERR_INIT;
    if (!labels_normalize(&labels, &err)) {
        sampler->refused++;
        return;
    }
    buf_reset(&sampler->key);
    labels_encode(labels, &sampler->key);
    struct str key = buf_as_str(&sampler->key);
    struct sampler_series *series = map_get(&sampler->series, key);
    if (series == NULL) {
        series_ref_t ref;
        if (sampler->key.is_over || !tsdb_series(sampler->db, labels, &ref, &err)) {
            sampler->refused++;
            return;
        }
        series = mem_alloc(sizeof(*series));
        series->ref = ref;
        map_put(&sampler->series, key, series);
    }
    series->round = sampler->round;
    tsdb_batch_append(sampler->batch, series->ref, sampler->t_ms, value);
}

static bool has_name(struct labels labels, struct str name) {
    for (size_t i = 0; i < labels.count; i++) {
        if (str_eq(labels.items[i].name, name)) {
            return true;
        }
    }
    return false;
}

void sampler_put_with(struct sampler *sampler,
                      struct str name,
                      const char *const *label_pairs,
                      struct labels common,
                      struct label extra,
                      double value) {
    struct label items[PAIRS_MAX];
    char renamed[RENAMED_MAX][LABEL_NAME_BYTES_MAX];
    size_t renamed_count = 0;
    size_t count = 0;
    items[count++] = (struct label){ .name = METRIC_NAME, .value = name };
    if (extra.name.len > 0) {
        items[count++] = extra;
    }
    for (size_t i = 0; i < common.count && count < PAIRS_MAX; i++) {
        items[count++] = common.items[i];
    }
    for (size_t i = 0; label_pairs != NULL && label_pairs[i] != NULL && count < PAIRS_MAX; i += 2) {
        assert(label_pairs[i + 1] != NULL);
        struct str pair_name = str_from(label_pairs[i]);
        if (has_name(common, pair_name) && renamed_count < RENAMED_MAX) {
            char *text = renamed[renamed_count++];
            int len = snprintf(text, LABEL_NAME_BYTES_MAX, "exported_%s", label_pairs[i]);
            pair_name = str_n(text, (size_t)len);
        }
        items[count++] = (struct label){
            .name = pair_name,
            .value = str_from(label_pairs[i + 1]),
        };
    }
    put_labels(sampler, (struct labels){ .items = items, .count = count }, value);
}

void sampler_put(struct sampler *sampler,
                 struct str name,
                 const char *const *label_pairs,
                 struct labels common,
                 double value) {
    sampler_put_with(sampler, name, label_pairs, common, (struct label){ 0 }, value);
}

void sampler_end(struct sampler *sampler) {
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&sampler->series, &cursor, &key, &value)) {
        struct sampler_series *series = value;
        if (series->round != sampler->round) {
            tsdb_batch_append(sampler->batch, series->ref, sampler->t_ms,
                              double_from_bits(STALE_NAN_BITS));
            mem_free(map_del(&sampler->series, key));
        }
    }
    sampler->batch = NULL;
}
