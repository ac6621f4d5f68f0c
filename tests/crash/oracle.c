/* The truth the crash tests compare with; see oracle.h. */
#include "tests/crash/oracle.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

void oracle_init(struct oracle *oracle, const struct load *load) {
    *oracle = (struct oracle){ .load = *load };
}

void oracle_finish(struct oracle *oracle) {
    for (size_t slot = 0; slot < LOAD_SLOTS; slot++) {
        for (size_t i = 0; i < oracle->slots[slot].count; i++) {
            mem_free(oracle->slots[slot].generations[i].samples);
        }
        mem_free(oracle->slots[slot].generations);
    }
    load_batch_finish(&oracle->scratch);
}

/* ---- applying ---- */

static struct oracle_series *series_of(struct oracle *oracle, const struct load_sample *sample) {
    struct oracle_slot *slot = &oracle->slots[sample->slot];
    while (slot->count <= sample->generation) {
        slot->generations =
            vec_grow(slot->generations, &slot->cap, slot->count + 1, sizeof(slot->generations[0]));
        slot->generations[slot->count++] = (struct oracle_series){ 0 };
    }
    return &slot->generations[sample->generation];
}

static void insert(struct oracle_series *series, struct sample sample) {
    series->samples =
        vec_grow(series->samples, &series->cap, series->count + 1, sizeof(series->samples[0]));
    size_t at = series->count++;
    for (; at > 0 && series->samples[at - 1].t_ms > sample.t_ms; at--) {
        series->samples[at] = series->samples[at - 1];
    }
    series->samples[at] = sample;
}

static void apply(struct oracle *oracle, uint64_t n) {
    struct load_batch *batch = &oracle->scratch;
    load_make(&oracle->load, n, batch);
    for (size_t i = 0; i < batch->sample_count; i++) {
        const struct load_sample *sample = &batch->samples[i];
        if (!sample->is_repeat) {
            insert(series_of(oracle, sample), (struct sample){ sample->t_ms, sample->value });
        }
    }
    for (size_t i = 0; i < batch->row_count; i++) {
        uint32_t key = batch->rows[i].key;
        oracle->row_n[key] = batch->rows[i].is_put ? n : 0;
        oracle->rows[key] = batch->rows[i];
    }
    if (batch->has_metadata) {
        oracle->metadata_n[n % LOAD_FAMILIES] = n;
    }
}

static bool is_deleted(const struct load_deletion *deletion, int64_t t_ms) {
    return t_ms >= deletion->t_first_ms && t_ms <= deletion->t_last_ms;
}

static void delete_samples(struct oracle *oracle, const struct load_deletion *deletion) {
    struct oracle_slot *slot = &oracle->slots[deletion->slot];
    for (size_t i = 0; i < slot->count; i++) {
        struct oracle_series *series = &slot->generations[i];
        size_t kept = 0;
        for (size_t s = 0; s < series->count; s++) {
            if (!is_deleted(deletion, series->samples[s].t_ms)) {
                series->samples[kept++] = series->samples[s];
            }
        }
        series->count = kept;
    }
}

void oracle_advance_batches(struct oracle *oracle, uint64_t n) {
    while (oracle->n < n) {
        apply(oracle, ++oracle->n);
    }
}

void oracle_advance(struct oracle *oracle, uint64_t n) {
    oracle_advance_batches(oracle, n);
    while (oracle->deleted_n < oracle->n) {
        struct load_deletion deletion;
        if (load_deletes(&oracle->load, ++oracle->deleted_n, &deletion)) {
            delete_samples(oracle, &deletion);
        }
    }
}

/* ---- comparing ---- */

PRINTF_LIKE(3, 4)

static void note(struct oracle_report *report, uint64_t *counter, const char *fmt, ...) {
    (*counter)++;
    if (report->first[0] != '\0') {
        return;
    }
    va_list args;
    va_start(args, fmt);
    vsnprintf(report->first, sizeof(report->first), fmt, args);
    va_end(args);
}

bool oracle_is_clean(const struct oracle_report *report) {
    return report->wrong == 0 && report->missing == 0 && report->errors == 0;
}

struct comparison {
    const struct oracle *oracle;
    struct tsdb *db;
    int64_t cut_ms;
    struct oracle_report *report;
    struct buf value;
    bool seen_keys[LOAD_KEYS];
    bool seen_families[LOAD_FAMILIES];
};

static bool visit_row(void *ctx, struct str key, struct str value) {
    struct comparison *at = ctx;
    char text[16];
    for (uint32_t i = 0; i < LOAD_KEYS; i++) {
        load_key(i, text);
        if (!str_eq_c(key, text)) {
            continue;
        }
        uint64_t n = at->oracle->row_n[i];
        at->seen_keys[i] = true;
        if (n > 0) {
            load_value(&at->oracle->load, n, &at->oracle->rows[i], &at->value);
        }
        if (n == 0 || !str_eq(value, buf_as_str(&at->value))) {
            note(at->report, &at->report->wrong, "row %s (batch %" PRIu64 ") is %s", text, n,
                 n == 0 ? "not deleted" : "another");
        }
        return true;
    }
    note(at->report, &at->report->wrong, "unknown row %.*s", STR_FMT(key));
    return true;
}

static void compare_rows(struct comparison *at) {
    struct kv_store *kv = tsdb_kv(at->db);
    struct err err = ERR_INIT;
    uint64_t n;
    if (!load_read_n(at->db, &n, &err)) {
        note(at->report, &at->report->errors, "%s", err.msg);
    } else if (n != at->oracle->n) {
        note(at->report, n < at->oracle->n ? &at->report->missing : &at->report->wrong,
             "row n is %" PRIu64 ", not %" PRIu64, n, at->oracle->n);
    }
    err = (struct err)ERR_INIT;
    if (!kv->scan(kv, KV_OUTBOX, STR(""), STR(""), visit_row, at, &err)) {
        note(at->report, &at->report->errors, "%s", err.msg);
        return;
    }
    for (uint32_t i = 0; i < LOAD_KEYS; i++) {
        if (at->oracle->row_n[i] > 0 && !at->seen_keys[i]) {
            note(at->report, &at->report->missing, "row %u of batch %" PRIu64 " is missing", i,
                 at->oracle->row_n[i]);
        }
    }
}

static void visit_family(void *ctx, struct str family, const struct family_metadata *metadata) {
    struct comparison *at = ctx;
    for (uint64_t i = 0; i < LOAD_FAMILIES; i++) {
        char name[16];
        char help[24];
        load_family(i, name);
        uint64_t n = at->oracle->metadata_n[i];
        snprintf(help, sizeof(help), "%" PRIu64, n);
        if (str_eq_c(family, name)) {
            at->seen_families[i] = true;
            if (!str_eq_c(metadata->help, help)) {
                note(at->report, &at->report->wrong, "metadata of %s: %.*s, not %s", name,
                     STR_FMT(metadata->help), help);
            }
        }
    }
}

static void compare_metadata(struct comparison *at) {
    tsdb_metadata(at->db, STR(""), visit_family, at);
    for (size_t i = 0; i < LOAD_FAMILIES; i++) {
        if (at->oracle->metadata_n[i] > 0 && !at->seen_families[i]) {
            note(at->report, &at->report->missing, "metadata of family %zu is missing", i);
        }
    }
}

/* The slot and generation a view's labels name; false when nobody wrote such a series. */
static bool find_series(const struct oracle *oracle,
                        struct labels labels,
                        uint64_t *slot,
                        uint64_t *generation) {
    char name[16];
    if (labels.count != 5 || !str_parse_u64(labels_get(labels, STR("slot")), slot) ||
        !str_parse_u64(labels_get(labels, STR("generation")), generation) || *slot >= LOAD_SLOTS ||
        *generation >= oracle->slots[*slot].count) {
        return false;
    }
    load_family(*slot, name);
    return str_eq_c(labels_get(labels, METRIC_NAME), name);
}

static void note_sample(struct comparison *at,
                        uint64_t *counter,
                        struct labels labels,
                        int64_t t_ms,
                        const char *what) {
    struct str slot = labels_get(labels, STR("slot"));
    struct str generation = labels_get(labels, STR("generation"));
    note(at->report, counter,
         "slot %.*s generation %.*s at %+" PRId64 " ms (batch %" PRId64 "): %s", STR_FMT(slot),
         STR_FMT(generation), t_ms - LOAD_START_MS, (t_ms - LOAD_START_MS) / LOAD_STEP_MS, what);
}

/* May it be there or not? */
static bool is_optional(const struct comparison *at, uint64_t slot, int64_t t_ms) {
    bool is_optional = t_ms < at->cut_ms;
    for (uint64_t n = at->oracle->deleted_n + 1; !is_optional && n <= at->oracle->n; n++) {
        struct load_deletion deletion;
        is_optional = load_deletes(&at->oracle->load, n, &deletion) && deletion.slot == slot &&
                      is_deleted(&deletion, t_ms);
    }
    return is_optional;
}

static bool is_needed(const struct comparison *at,
                      uint64_t slot,
                      const struct oracle_series *series) {
    bool is_needed = false;
    for (size_t i = series->count; !is_needed && i > 0; i--) {
        is_needed = !is_optional(at, slot, series->samples[i - 1].t_ms);
    }
    return is_needed;
}

static void compare_column(struct comparison *at,
                           uint64_t slot,
                           struct labels labels,
                           const struct oracle_series *want,
                           const struct tsdb_column *got) {
    size_t w = 0;
    for (size_t g = 0; g < got->count; g++) {
        for (; w < want->count && want->samples[w].t_ms < got->t_ms[g]; w++) {
            if (!is_optional(at, slot, want->samples[w].t_ms)) {
                note_sample(at, &at->report->missing, labels, want->samples[w].t_ms, "missing");
            }
        }
        if (w == want->count || want->samples[w].t_ms != got->t_ms[g]) {
            note_sample(at, &at->report->wrong, labels, got->t_ms[g], "never written, or twice");
        } else if (double_bits(want->samples[w++].value) != double_bits(got->values[g])) {
            note_sample(at, &at->report->wrong, labels, got->t_ms[g], "another value");
        } else {
            at->report->samples++;
        }
    }
    for (; w < want->count; w++) {
        if (!is_optional(at, slot, want->samples[w].t_ms)) {
            note_sample(at, &at->report->missing, labels, want->samples[w].t_ms, "missing");
        }
    }
}

static void compare_views(struct comparison *at,
                          struct tsdb_querier *querier,
                          const struct tsdb_series_view *views,
                          size_t count,
                          bool *seen[LOAD_SLOTS]) {
    struct tsdb_column column = { 0 };
    for (size_t i = 0; i < count; i++) {
        struct err err = ERR_INIT;
        uint64_t slot;
        uint64_t generation;
        if (!find_series(at->oracle, views[i].labels, &slot, &generation)) {
            note(at->report, &at->report->wrong, "a series nobody wrote");
            continue;
        }
        const struct oracle_series *want = &at->oracle->slots[slot].generations[generation];
        if (seen[slot][generation]) {
            note(at->report, &at->report->wrong, "a series is listed twice");
        }
        seen[slot][generation] = true;
        if (!tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err)) {
            note(at->report, &at->report->errors, "%s", err.msg);
            continue;
        }
        compare_column(at, slot, views[i].labels, want, &column);
    }
    tsdb_column_finish(&column);
}

/* Series no view named must have nothing within the retention. */
static void compare_unseen(struct comparison *at, bool *seen[LOAD_SLOTS]) {
    for (size_t slot = 0; slot < LOAD_SLOTS; slot++) {
        for (size_t i = 0; i < at->oracle->slots[slot].count; i++) {
            const struct oracle_series *series = &at->oracle->slots[slot].generations[i];
            if (!seen[slot][i] && is_needed(at, slot, series)) {
                note(at->report, &at->report->missing, "series slot %zu generation %zu is missing",
                     slot, i);
            }
        }
    }
}

/* By a matcher too: the index must find what selecting everything finds. */
static void compare_selection(struct comparison *at,
                              struct tsdb_querier *querier,
                              struct arena *arena,
                              bool *seen[LOAD_SLOTS]) {
    for (size_t slot = 0; slot < LOAD_SLOTS; slot += 3) {
        struct err err = ERR_INIT;
        struct matcher matcher;
        struct tsdb_series_view *views;
        size_t count;
        char value[24];
        size_t want = 0;
        for (size_t i = 0; i < at->oracle->slots[slot].count; i++) {
            const struct oracle_series *series = &at->oracle->slots[slot].generations[i];
            want += seen[slot][i] && is_needed(at, slot, series);
        }
        snprintf(value, sizeof(value), "%zu", slot);
        if (!matcher_init(&matcher, MATCH_EQ, STR("slot"), str_from(value), &err)) {
            note(at->report, &at->report->errors, "%s", err.msg);
            continue;
        }
        if (!tsdb_select(querier, &matcher, 1, arena, &views, &count, &err)) {
            note(at->report, &at->report->errors, "%s", err.msg);
        } else if (count < want) {
            note(at->report, &at->report->missing, "slot=\"%zu\" selects %zu series, not %zu", slot,
                 count, want);
        }
        matcher_finish(&matcher);
    }
}

static void compare_samples(struct comparison *at) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier;
    if (!tsdb_querier_open(at->db, INT64_MIN, INT64_MAX, NULL, &querier, &err)) {
        note(at->report, &at->report->errors, "%s", err.msg);
        return;
    }
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    bool *seen[LOAD_SLOTS];
    for (size_t slot = 0; slot < LOAD_SLOTS; slot++) {
        seen[slot] = mem_calloc(at->oracle->slots[slot].count + 1, sizeof(bool));
    }
    struct tsdb_series_view *views;
    size_t count;
    if (!tsdb_select(querier, NULL, 0, &arena, &views, &count, &err)) {
        note(at->report, &at->report->errors, "%s", err.msg);
    } else {
        compare_views(at, querier, views, count, seen);
        compare_unseen(at, seen);
        compare_selection(at, querier, &arena, seen);
    }
    for (size_t slot = 0; slot < LOAD_SLOTS; slot++) {
        mem_free(seen[slot]);
    }
    tsdb_querier_close(querier);
    arena_finish(&arena);
}

void oracle_compare(const struct oracle *oracle,
                    struct tsdb *db,
                    int64_t cut_ms,
                    struct oracle_report *report) {
    struct comparison at = { .oracle = oracle, .db = db, .cut_ms = cut_ms, .report = report };
    buf_init(&at.value, SIZE_MAX);
    compare_rows(&at);
    compare_metadata(&at);
    compare_samples(&at);
    buf_finish(&at.value);
}
