/* Alerts and groups as rows of KV_NOTIFY_ALERT and KV_NOTIFY_GROUP. */
#include "base/mem.h"
#include "notify/engine.h"
#include "notify/row.h"

enum {
    ALERT_VERSION = 1,
    GROUP_VERSION = 1,
    ROW_BYTES_MAX = 64 * 1024 * 1024,
};

/* ---- op lists ---- */

void op_list_init(struct op_list *ops) {
    *ops = (struct op_list){ 0 };
    buf_init(&ops->bytes, SIZE_MAX);
}

void op_list_finish(struct op_list *ops) {
    mem_free(ops->items);
    buf_finish(&ops->bytes);
    *ops = (struct op_list){ 0 };
}

void op_list_reset(struct op_list *ops) {
    ops->count = 0;
    buf_reset(&ops->bytes);
}

static struct op *op_add(struct op_list *ops, enum kv_table table, struct str key) {
    ops->items = vec_grow(ops->items, &ops->cap, ops->count + 1, sizeof(ops->items[0]));
    struct op *op = &ops->items[ops->count++];
    *op = (struct op){ .table = table, .key_at = ops->bytes.len, .key_len = key.len };
    buf_str(&ops->bytes, key);
    return op;
}

void op_put(struct op_list *ops, enum kv_table table, struct str key, struct str value) {
    struct op *op = op_add(ops, table, key);
    op->value_len = value.len;
    buf_str(&ops->bytes, value);
}

void op_del(struct op_list *ops, enum kv_table table, struct str key) {
    op_add(ops, table, key)->is_del = true;
}

/* ---- alerts ---- */

static void put_be64(char *out, uint64_t value) {
    for (size_t i = 0; i < 8; i++) {
        out[i] = (char)(unsigned char)(value >> (56 - 8 * i));
    }
}

struct str alert_row_key(char out[ALERT_KEY_BYTES], struct labels labels, int64_t starts_ms) {
    put_be64(out, labels_fingerprint(labels));
    put_be64(out + 8, labels_hash(labels));
    put_be64(out + 16, (uint64_t)starts_ms);
    return str_n(out, ALERT_KEY_BYTES);
}

void alert_row_encode(const struct alert *alert,
                      int64_t received_ms,
                      struct str key,
                      struct buf *out) {
    row_begin(out, ALERT_VERSION);
    row_labels(out, alert->labels);
    row_labels(out, alert->annotations);
    row_str(out, alert->generator_url);
    row_i64(out, alert->active_ms);
    row_i64(out, alert->starts_ms);
    row_i64(out, alert->ends_ms);
    row_f64(out, alert->value);
    row_i64(out, received_ms);
    row_end(out, key);
}

bool alert_row_decode(struct str key,
                      struct str value,
                      struct arena *arena,
                      struct alert *ret,
                      int64_t *ret_received_ms,
                      struct err *err) {
    struct row_reader row;
    if (!row_open(&row, key, value, ALERT_VERSION, "notify_alert", err)) {
        return false;
    }
    struct alert alert = { .labels = row_get_labels(&row, arena) };
    alert.annotations = row_get_labels(&row, arena);
    alert.generator_url = row_get_str(&row);
    alert.active_ms = row_get_i64(&row);
    alert.starts_ms = row_get_i64(&row);
    alert.ends_ms = row_get_i64(&row);
    alert.value = row_get_f64(&row);
    int64_t received_ms = row_get_i64(&row);
    if (!row_close(&row, "notify_alert", err)) {
        return false;
    }
    *ret = alert;
    *ret_received_ms = received_ms;
    return true;
}

struct alert live_alert_view(const struct live_alert *alert) {
    const struct alert_body *body = alert->body;
    return (struct alert){
        .labels = alert->labels,
        .annotations = body->annotations,
        .generator_url = str_from(body->generator_url),
        .active_ms = body->active_ms,
        .starts_ms = body->starts_ms,
        .ends_ms = body->ends_ms,
        .value = body->value,
    };
}

void op_put_alert(struct op_list *ops, const struct live_alert *alert) {
    struct alert view = live_alert_view(alert);
    char raw[ALERT_KEY_BYTES];
    struct str key = alert_row_key(raw, alert->labels, view.starts_ms);
    struct buf value;
    buf_init(&value, ROW_BYTES_MAX);
    alert_row_encode(&view, alert->received_ms, key, &value);
    op_put(ops, KV_NOTIFY_ALERT, key, buf_as_str(&value));
    buf_finish(&value);
}

void op_del_alert(struct op_list *ops, struct labels labels, int64_t starts_ms) {
    char raw[ALERT_KEY_BYTES];
    op_del(ops, KV_NOTIFY_ALERT, alert_row_key(raw, labels, starts_ms));
}

/* ---- groups ---- */

static void put_set(struct buf *out, const struct hash_set *set) {
    row_u32(out, (uint32_t)set->count);
    for (size_t i = 0; i < set->count; i++) {
        row_u64(out, set->items[i]);
    }
}

static struct hash_set get_set(struct row_reader *row) {
    struct hash_set set = { .count = row_get_count(row, 8) };
    if (set.count > 0) {
        set.items = mem_calloc(set.count, sizeof(set.items[0]));
    }
    for (size_t i = 0; i < set.count; i++) {
        set.items[i] = row_get_u64(row);
    }
    hash_set_build(&set);
    return set;
}

static void put_done(struct buf *out, const struct group *group) {
    row_u32(out, (uint32_t)(group->member_count - group_active_count(group)));
    for (size_t i = 0; i < group->member_count; i++) {
        const struct membership *member = group->members[i];
        if (member->is_done) {
            row_u64(out, member->alert->hash);
            row_i64(out, member->alert->body->starts_ms);
        }
    }
}

void op_put_group(struct op_list *ops, const struct group *group) {
    struct str key = str_n(group->id, GROUP_ID_BYTES);
    struct buf value;
    buf_init(&value, ROW_BYTES_MAX);
    row_begin(&value, GROUP_VERSION);
    row_str(&value, str_from(group->key));
    row_str(&value, str_from(group->receiver));
    row_labels(&value, group->labels);
    row_i64(&value, group->state.created_ms);
    row_i64(&value, group->state.next_flush_ms);
    row_i64(&value, group->state.last_flush_ms);
    row_u64(&value, group->state.seq);
    row_u32(&value, (uint32_t)group->state.entry_count);
    for (size_t i = 0; i < group->state.entry_count; i++) {
        const struct log_entry *entry = &group->state.entries[i];
        row_str(&value, str_from(entry->integration));
        row_i64(&value, entry->at_ms);
        put_set(&value, &entry->firing);
        put_set(&value, &entry->resolved);
    }
    put_done(&value, group);
    row_end(&value, key);
    op_put(ops, KV_NOTIFY_GROUP, key, buf_as_str(&value));
    buf_finish(&value);
}

void op_del_group(struct op_list *ops, const struct group *group) {
    op_del(ops, KV_NOTIFY_GROUP, str_n(group->id, GROUP_ID_BYTES));
}

static void get_entries(struct row_reader *row, struct group_state *state) {
    uint32_t count = row_get_count(row, 20);
    for (uint32_t i = 0; i < count; i++) {
        struct str integration = row_get_str(row);
        struct log_entry entry = {
            .integration = mem_strndup(integration.ptr, integration.len),
            .at_ms = row_get_i64(row),
        };
        entry.firing = get_set(row);
        entry.resolved = get_set(row);
        group_state_set(state, entry);
    }
}

bool group_row_decode(struct str key,
                      struct str value,
                      struct arena *arena,
                      struct group_row *ret,
                      struct err *err) {
    struct row_reader row;
    if (!row_open(&row, key, value, GROUP_VERSION, "notify_group", err)) {
        return false;
    }
    struct group_row group = { .key = row_get_str(&row) };
    group.receiver = row_get_str(&row);
    group.labels = row_get_labels(&row, arena);
    group.state.created_ms = row_get_i64(&row);
    group.state.next_flush_ms = row_get_i64(&row);
    group.state.last_flush_ms = row_get_i64(&row);
    group.state.seq = row_get_u64(&row);
    get_entries(&row, &group.state);
    group.done_count = row_get_count(&row, 16);
    group.done = arena_calloc(arena, group.done_count, sizeof(group.done[0]));
    for (size_t i = 0; i < group.done_count; i++) {
        group.done[i].hash = row_get_u64(&row);
        group.done[i].starts_ms = row_get_i64(&row);
    }
    row.is_bad |= key.len != GROUP_ID_BYTES;
    if (!row_close(&row, "notify_group", err)) {
        group_state_finish(&group.state);
        return false;
    }
    *ret = group;
    return true;
}
