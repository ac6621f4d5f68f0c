/*
 * Rows of the engine's two tables.
 *
 * KV_ALERT_STATE  one row per alert that is pending, firing or resolved of late.
 *   key    rule key (8 bytes, big-endian) + two hashes of the encoded labels (16)
 *   value  version 1; fixed integers, little-endian; then length-prefixed file, group, name,
 *          labels, annotations
 * KV_RULE_STATE   one row per group: when it was last evaluated.
 *   key    hash of file and name (8 bytes); value: version 1, slot, query offset, file, name
 */
#include "base/hash.h"
#include "rules/engine.h"

enum {
    ROW_VERSION = 1,
};

static const uint64_t second_hash_seed = UINT64_C(0x746f6373696e7275);

/* ---- integers and texts ---- */

static void put_u64(struct buf *out, uint64_t value) {
    char bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (char)(value >> (8 * i));
    }
    buf_append(out, bytes, sizeof(bytes));
}

static void put_i64(struct buf *out, int64_t value) {
    put_u64(out, (uint64_t)value);
}

static void put_text(struct buf *out, struct str text) {
    put_u64(out, text.len);
    buf_str(out, text);
}

/* What is left to read; `is_bad` sticks. */
struct reader {
    struct str rest;
    bool is_bad;
};

static uint64_t get_u64(struct reader *in) {
    if (in->rest.len < 8) {
        in->is_bad = true;
        return 0;
    }
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) {
        value = value << 8 | (unsigned char)in->rest.ptr[i];
    }
    in->rest = str_n(in->rest.ptr + 8, in->rest.len - 8);
    return value;
}

static int64_t get_i64(struct reader *in) {
    return (int64_t)get_u64(in);
}

static struct str get_text(struct reader *in) {
    uint64_t len = get_u64(in);
    if (in->is_bad || len > in->rest.len) {
        in->is_bad = true;
        return STR("");
    }
    struct str text = str_n(in->rest.ptr, (size_t)len);
    in->rest = str_n(in->rest.ptr + len, in->rest.len - (size_t)len);
    return text;
}

static bool get_version(struct reader *in) {
    if (in->rest.len == 0 || in->rest.ptr[0] != ROW_VERSION) {
        return false;
    }
    in->rest = str_n(in->rest.ptr + 1, in->rest.len - 1);
    return true;
}

static void put_key(uint8_t *out, uint64_t value) {
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(value >> (56 - 8 * i));
    }
}

/* ---- alerts ---- */

void rules_alert_row_key(uint64_t rule_key,
                         struct labels labels,
                         uint8_t out[ALERT_ROW_KEY_BYTES]) {
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX);
    labels_encode(labels, &bytes);
    put_key(out, rule_key);
    put_key(out + 8, hash_bytes(buf_as_str(&bytes)));
    put_key(out + 16, hash_bytes_seeded(buf_as_str(&bytes), second_hash_seed));
    buf_finish(&bytes);
}

/* Annotations are not labels: any length, empty values too. */
static void put_pairs(struct buf *out, struct labels labels) {
    put_u64(out, labels.count);
    for (size_t i = 0; i < labels.count; i++) {
        put_text(out, labels.items[i].name);
        put_text(out, labels.items[i].value);
    }
}

static struct labels get_pairs(struct reader *in, struct arena *arena) {
    uint64_t count = get_u64(in);
    if (in->is_bad || count > in->rest.len / 16) {
        in->is_bad = true;
        return (struct labels){ 0 };
    }
    struct labels labels = {
        .items = arena_calloc(arena, (size_t)count, sizeof(struct label)),
        .count = (size_t)count,
    };
    for (size_t i = 0; i < labels.count; i++) {
        labels.items[i].name = get_text(in);
        labels.items[i].value = get_text(in);
    }
    return labels;
}

void rules_alert_row_encode(const struct alert_row *row, struct buf *out) {
    buf_putc(out, ROW_VERSION);
    put_u64(out, row->match_hash);
    put_u64(out, row->labels_hash);
    put_u64(out, row->rule_key);
    put_u64(out, row->element_hash);
    put_i64(out, row->for_ms);
    put_u64(out, (uint64_t)row->status.state);
    put_u64(out, double_bits(row->status.value));
    put_i64(out, row->status.active_ms);
    put_i64(out, row->status.fired_ms);
    put_i64(out, row->status.resolved_ms);
    put_i64(out, row->status.last_sent_ms);
    put_i64(out, row->status.keep_firing_since_ms);
    put_text(out, row->file);
    put_text(out, row->group);
    put_text(out, row->name);
    put_pairs(out, row->labels);
    put_pairs(out, row->annotations);
}

bool rules_alert_row_decode(struct str bytes, struct arena *arena, struct alert_row *ret) {
    struct reader in = { .rest = bytes };
    if (!get_version(&in)) {
        return false;
    }
    ret->match_hash = get_u64(&in);
    ret->labels_hash = get_u64(&in);
    ret->rule_key = get_u64(&in);
    ret->element_hash = get_u64(&in);
    ret->for_ms = get_i64(&in);
    uint64_t state = get_u64(&in);
    ret->status.value = double_from_bits(get_u64(&in));
    ret->status.active_ms = get_i64(&in);
    ret->status.fired_ms = get_i64(&in);
    ret->status.resolved_ms = get_i64(&in);
    ret->status.last_sent_ms = get_i64(&in);
    ret->status.keep_firing_since_ms = get_i64(&in);
    ret->file = get_text(&in);
    ret->group = get_text(&in);
    ret->name = get_text(&in);
    ret->labels = get_pairs(&in, arena);
    ret->annotations = get_pairs(&in, arena);
    if (state != ALERT_INACTIVE && state != ALERT_PENDING && state != ALERT_FIRING) {
        return false;
    }
    ret->status.state = (enum alert_state)state;
    return !in.is_bad && in.rest.len == 0;
}

/* ---- groups ---- */

void rules_group_row_key(struct str file, struct str name, uint8_t out[GROUP_ROW_KEY_BYTES]) {
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX);
    buf_str(&bytes, file);
    buf_putc(&bytes, '\xff');
    buf_str(&bytes, name);
    put_key(out, hash_bytes(buf_as_str(&bytes)));
    buf_finish(&bytes);
}

void rules_group_row_encode(const struct group_row *row, struct buf *out) {
    buf_putc(out, ROW_VERSION);
    put_i64(out, row->last_slot_ms);
    put_i64(out, row->query_offset_ms);
    put_text(out, row->file);
    put_text(out, row->name);
}

bool rules_group_row_decode(struct str bytes, struct group_row *ret) {
    struct reader in = { .rest = bytes };
    if (!get_version(&in)) {
        return false;
    }
    ret->last_slot_ms = get_i64(&in);
    ret->query_offset_ms = get_i64(&in);
    ret->file = get_text(&in);
    ret->name = get_text(&in);
    return !in.is_bad && in.rest.len == 0;
}
