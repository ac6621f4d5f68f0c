/* The load of the crash tests; see load.h. */
#include "tests/crash/load.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"

#define BURST_ONE_IN    48
#define BURST_SLOTS     4
#define BURST_SAMPLES   900 /* per slot: the record takes more than one part */
#define LATE_GROUP      7   /* batches whose late samples come in reverse … */
#define LATE_GROUP_LONG 48  /* … in other series: into windows that are sealed */

#define QUERIER_MS_MAX INT64_C(1000000000) /* virtual time runs fast */
#define DELETE_ONE_IN  12
#define DELETE_FROM    40 /* batches before */
#define DELETE_UNTIL   12 /* more than may be in flight */

enum {
    TAG_PRESENT = 1,
    TAG_JITTER,
    TAG_VALUE,
    TAG_BURST,
    TAG_REPEAT,
    TAG_ROWS,
    TAG_ROW,
    TAG_BYTES,
    TAG_DELETE,
};

uint64_t load_random(uint64_t seed, uint64_t a, uint64_t b) {
    uint64_t z = seed + a * UINT64_C(0x9e3779b97f4a7c15) + b * UINT64_C(0xd1b54a32d192ed03);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t draw(const struct load *load, uint64_t n, uint64_t tag, uint64_t which) {
    return load_random(load_random(load->seed, n, tag), which, 0);
}

int64_t load_now_ms(uint64_t n) {
    return LOAD_START_MS + (int64_t)n * LOAD_STEP_MS;
}

/* ---- making a batch ---- */

static uint32_t generation_of(uint32_t slot, uint64_t n) {
    return slot < LOAD_SLOTS_CHURN ? (uint32_t)((n + slot * 2) / LOAD_CHURN) : 0;
}

static bool is_late(uint32_t slot) {
    return slot >= LOAD_SLOTS - LOAD_SLOTS_LATE;
}

static double make_value(const struct load *load, uint32_t slot, uint64_t n, uint64_t i) {
    uint64_t bits = draw(load, n, TAG_VALUE, slot * 1000 + i);
    switch (slot % 6) {
    case 0: return (double)(n * 17 + i);
    case 1: return (double)(int64_t)(bits % 100000) / 100.0;
    case 2: return 42.5;
    case 3: return double_from_bits(bits); /* any bits, NaNs with a payload among them */
    case 4: return n % 10 == 0 ? double_from_bits(STALE_NAN_BITS) : (double)(n * n);
    default: return (double)n * 1e15 + 0.5;
    }
}

static void add(const struct load *load,
                struct load_batch *batch,
                uint32_t slot,
                int64_t t_ms,
                uint64_t i) {
    batch->samples = vec_grow(batch->samples, &batch->sample_cap, batch->sample_count + 1,
                              sizeof(batch->samples[0]));
    batch->samples[batch->sample_count++] = (struct load_sample){
        .slot = slot,
        .generation = generation_of(slot, batch->n),
        .t_ms = t_ms,
        .value = make_value(load, slot, batch->n, i),
    };
}

/* What a slot writes in a batch, in order of time. */
static void add_slot(const struct load *load, struct load_batch *batch, uint32_t slot) {
    uint64_t n = batch->n;
    if (is_late(slot)) {
        uint64_t group = slot % 2 == 0 ? LATE_GROUP : LATE_GROUP_LONG;
        uint64_t place = n / group * group + (group - 1 - n % group);
        add(load, batch, slot, load_now_ms(place), 0);
        return;
    }
    if (draw(load, n, TAG_PRESENT, slot) % 4 == 0) {
        return;
    }
    int64_t first_ms = load_now_ms(n) + (int64_t)(draw(load, n, TAG_JITTER, slot) % 90);
    uint64_t count = draw(load, n, TAG_PRESENT, 100 + slot) % 8 == 0 ? 3 : 1;
    if (slot < BURST_SLOTS && draw(load, n, TAG_BURST, 0) % BURST_ONE_IN == 0) {
        count = BURST_SAMPLES;
    }
    int64_t step_ms = count == BURST_SAMPLES ? 1 : 300;
    for (uint64_t i = 0; i < count; i++) {
        add(load, batch, slot, first_ms + (int64_t)i * step_ms, i);
    }
}

/* One slot sends its newest sample of the batch before once more. */
static void add_repeat(const struct load *load, struct load_batch *batch) {
    uint64_t n = batch->n;
    uint32_t slot = (uint32_t)(draw(load, n, TAG_REPEAT, 1) % LOAD_SLOTS);
    if (n == 1 || draw(load, n, TAG_REPEAT, 0) % 6 != 0 || is_late(slot)) {
        return;
    }
    struct load_batch before = { .n = n - 1 };
    add_slot(load, &before, slot);
    if (before.sample_count > 0) {
        add(load, batch, slot, 0, 0);
        batch->samples[batch->sample_count - 1] = before.samples[before.sample_count - 1];
        batch->samples[batch->sample_count - 1].is_repeat = true;
    }
    load_batch_finish(&before);
}

static void add_rows(const struct load *load, struct load_batch *batch) {
    uint64_t n = batch->n;
    batch->row_count = draw(load, n, TAG_ROWS, 0) % (ARRAY_LEN(batch->rows) + 1);
    for (size_t i = 0; i < batch->row_count; i++) {
        uint64_t bits = draw(load, n, TAG_ROW, i);
        batch->rows[i] = (struct load_row){
            /* No key twice in a batch. */
            .key = (uint32_t)(bits % (LOAD_KEYS / ARRAY_LEN(batch->rows)) * 4 + i),
            .is_put = (bits >> 20) % 4 != 0,
            .bytes = (uint32_t)((bits >> 32) % ((bits >> 24) % 8 == 0 ? 9000 : 200)),
        };
    }
}

void load_make(const struct load *load, uint64_t n, struct load_batch *batch) {
    batch->n = n;
    batch->sample_count = 0;
    add_repeat(load, batch);
    for (uint32_t slot = 0; slot < LOAD_SLOTS; slot++) {
        add_slot(load, batch, slot);
    }
    add_rows(load, batch);
    batch->has_metadata = n % 5 == 0;
}

bool load_deletes(const struct load *load, uint64_t n, struct load_deletion *ret) {
    uint64_t bits = draw(load, n, TAG_DELETE, 0);
    if (n <= DELETE_FROM || bits % DELETE_ONE_IN != 0) {
        return false;
    }
    *ret = (struct load_deletion){
        .slot = (uint32_t)((bits >> 8) % (LOAD_SLOTS - LOAD_SLOTS_LATE)),
        .t_first_ms = load_now_ms(n - DELETE_FROM + (bits >> 16) % 16),
        .t_last_ms = load_now_ms(n - DELETE_UNTIL - (bits >> 24) % 10),
    };
    return true;
}

void load_batch_finish(struct load_batch *batch) {
    mem_free(batch->samples);
    *batch = (struct load_batch){ 0 };
}

/* ---- names and values ---- */

void load_value(const struct load *load, uint64_t n, const struct load_row *row, struct buf *ret) {
    buf_reset(ret);
    for (uint64_t i = 0; i * 8 < row->bytes; i++) {
        uint64_t bits = draw(load, n, TAG_BYTES, row->key * 10000 + i);
        buf_append(ret, &bits, row->bytes - i * 8 < 8 ? row->bytes - i * 8 : 8);
    }
}

void load_key(uint32_t key, char out[16]) {
    snprintf(out, 16, "key%02u", key % 100);
}

void load_family(uint64_t n, char out[16]) {
    snprintf(out, 16, "crash_%u", (unsigned)(n % LOAD_FAMILIES));
}

void load_options(const char *path, const struct clock *clock, struct tsdb_options *ret) {
    *ret = (struct tsdb_options){
        .path = path,
        .clock = clock,
        .block_ms = LOAD_BLOCK_MS,
        .retention_ms = LOAD_RETENTION_MS,
        .space_reserve_bytes = 1,
        .querier_ms_max = QUERIER_MS_MAX,
    };
}

/* ---- writing ---- */

static bool find_series(struct tsdb *db,
                        const struct load_sample *sample,
                        series_ref_t *ret,
                        struct err *err) {
    char name[16];
    char slot[16];
    char generation[16];
    load_family(sample->slot, name);
    snprintf(slot, sizeof(slot), "%u", sample->slot);
    snprintf(generation, sizeof(generation), "%u", sample->generation);
    struct label items[] = {
        { METRIC_NAME, str_from(name) },
        { STR("generation"), str_from(generation) },
        { STR("instance"), sample->slot % 2 == 0 ? STR("a.example:9090") : STR("b.example:9090") },
        { STR("job"), STR("crash") },
        { STR("slot"), str_from(slot) },
    };
    return tsdb_series(db, (struct labels){ .items = items, .count = ARRAY_LEN(items) }, ret, err);
}

static void put_rows(const struct load *load,
                     struct tsdb_batch *out,
                     const struct load_batch *batch) {
    struct kv_batch *kv = tsdb_batch_kv(out);
    struct buf value;
    buf_init(&value, SIZE_MAX);
    char text[24];
    for (size_t i = 0; i < batch->row_count; i++) {
        load_key(batch->rows[i].key, text);
        if (batch->rows[i].is_put) {
            load_value(load, batch->n, &batch->rows[i], &value);
            kv->put(kv, KV_OUTBOX, str_from(text), buf_as_str(&value));
        } else {
            kv->del(kv, KV_OUTBOX, str_from(text));
        }
    }
    buf_finish(&value);
    snprintf(text, sizeof(text), "%" PRIu64, batch->n);
    kv->put(kv, KV_RULE_STATE, STR("n"), str_from(text));
    if (batch->has_metadata) {
        char family[16];
        load_family(batch->n, family);
        struct family_metadata metadata = { .type = FAMILY_GAUGE, .help = str_from(text) };
        tsdb_batch_metadata(out, str_from(family), &metadata);
    }
}

/* The store's batch for batch n. */
static bool begin(const struct load *load,
                  struct tsdb *db,
                  uint64_t n,
                  struct tsdb_batch **ret,
                  struct err *err) {
    if (!tsdb_batch_begin(db, TSDB_INGEST, ret, err)) {
        return false;
    }
    struct load_batch batch = { 0 };
    load_make(load, n, &batch);
    bool ok = true;
    for (size_t i = 0; ok && i < batch.sample_count; i++) {
        const struct load_sample *sample = &batch.samples[i];
        series_ref_t ref;
        ok = find_series(db, sample, &ref, err);
        if (ok) {
            tsdb_batch_append(*ret, ref, sample->t_ms, sample->value);
        }
    }
    if (ok) {
        put_rows(load, *ret, &batch);
    } else {
        tsdb_batch_abandon(*ret);
    }
    load_batch_finish(&batch);
    return ok;
}

bool load_commit(const struct load *load,
                 struct tsdb *db,
                 uint64_t n,
                 tsdb_committed_fn done,
                 void *ctx,
                 struct err *err) {
    struct tsdb_batch *batch;
    if (!begin(load, db, n, &batch, err)) {
        return false;
    }
    tsdb_commit(batch, done, ctx);
    return true;
}

bool load_verdicts(const struct load *load,
                   uint64_t n,
                   bool may_be_deferred,
                   const struct tsdb_commit_result *result,
                   struct err *err) {
    struct load_batch batch = { 0 };
    load_make(load, n, &batch);
    size_t repeats = 0;
    for (size_t i = 0; i < batch.sample_count; i++) {
        repeats += batch.samples[i].is_repeat;
    }
    size_t accepted = batch.sample_count - repeats;
    bool is_judged =
        result->counts[TSDB_ACCEPTED] == accepted && result->counts[TSDB_DUPLICATE] == repeats;
    bool is_deferred = may_be_deferred && result->counts[TSDB_ACCEPTED] == batch.sample_count;
    load_batch_finish(&batch);
    if (is_judged || is_deferred) {
        return true;
    }
    return err_set(err, ERR_INTERNAL,
                   "batch %" PRIu64
                   ": %zu accepted (of %zu), %zu duplicate (of %zu), %zu conflict, "
                   "%zu out of order, %zu too old",
                   n, result->counts[TSDB_ACCEPTED], accepted, result->counts[TSDB_DUPLICATE],
                   repeats, result->counts[TSDB_CONFLICT], result->counts[TSDB_OUT_OF_ORDER],
                   result->counts[TSDB_TOO_OLD]);
}

bool load_commit_blocking(const struct load *load, struct tsdb *db, uint64_t n, struct err *err) {
    struct tsdb_batch *batch;
    struct tsdb_commit_result result;
    struct tsdb_replay ignored;
    bool may_be_deferred = tsdb_is_replaying(db, &ignored);
    return begin(load, db, n, &batch, err) && tsdb_commit_blocking(batch, &result, err) &&
           load_verdicts(load, n, may_be_deferred, &result, err);
}

bool load_delete(const struct load *load, struct tsdb *db, uint64_t n, struct err *err) {
    struct load_deletion deletion;
    struct tsdb_deleted ignored;
    struct matcher matcher;
    char slot[16];
    if (!load_deletes(load, n, &deletion)) {
        return true;
    }
    snprintf(slot, sizeof(slot), "%u", deletion.slot);
    if (!matcher_init(&matcher, MATCH_EQ, STR("slot"), str_from(slot), err)) {
        return false;
    }
    bool ok = tsdb_delete_blocking(db, &matcher, 1, deletion.t_first_ms, deletion.t_last_ms,
                                   &ignored, err);
    matcher_finish(&matcher);
    return ok;
}

bool load_read_n(struct tsdb *db, uint64_t *ret, struct err *err) {
    struct buf value;
    buf_init(&value, 24);
    struct kv_store *kv = tsdb_kv(db);
    struct err failure = ERR_INIT;
    *ret = 0;
    if (kv->get(kv, KV_RULE_STATE, STR("n"), &value, &failure) &&
        !str_parse_u64(buf_as_str(&value), ret)) {
        err_set(&failure, ERR_CORRUPT, "row n is not a number");
    }
    buf_finish(&value);
    if (failure.code != ERR_NONE) {
        *err = failure;
    }
    return failure.code == ERR_NONE;
}
