/*
 * Marks of ids that were counted. A mark is two rows: by key, to find it; by expiry and key, to
 * drop it. Both change in the commit that counts the event.
 */
#include <assert.h>

#include "base/mem.h"
#include "ingest/event_state.h"

#define PURGE_PER_TICK 20000

static void expiry_put(char out[8], int64_t expiry_ms) {
    uint64_t bits = (uint64_t)expiry_ms;
    for (int i = 0; i < 8; i++) {
        out[i] = (char)(unsigned char)(bits >> (56 - 8 * i));
    }
}

static int64_t expiry_get(struct str bytes) {
    assert(bytes.len >= 8);
    uint64_t bits = 0;
    for (size_t i = 0; i < 8; i++) {
        bits = bits << 8 | (uint8_t)bytes.ptr[i];
    }
    return (int64_t)bits;
}

static struct str join(char out[MARK_KEY_MAX], char kind, struct str a, struct str b) {
    assert(a.len + b.len + 2 <= MARK_KEY_MAX);
    out[0] = kind;
    memcpy(out + 1, a.ptr, a.len);
    out[1 + a.len] = '\0';
    if (b.len > 0) {
        memcpy(out + 2 + a.len, b.ptr, b.len);
    }
    return str_n(out, 2 + a.len + b.len);
}

struct str mark_key_of_id(const struct event *event, char out[MARK_KEY_MAX]) {
    assert(event->id.len > 0);
    return join(out, 'i', event->app, event->id);
}

struct str mark_key_of_batch(struct str idempotency_key,
                             const char digest[65],
                             char out[MARK_KEY_MAX]) {
    if (idempotency_key.len > 0) {
        assert(idempotency_key.len <= INGEST_ID_BYTES_MAX);
        return join(out, 'k', idempotency_key, STR(""));
    }
    return join(out, 'd', str_n(digest, 64), STR(""));
}

void marks_init(struct marks *marks) {
    *marks = (struct marks){ 0 };
    map_init(&marks->staged);
}

void marks_finish(struct marks *marks) {
    map_finish(&marks->staged, NULL);
}

void marks_end_group(struct marks *marks) {
    map_finish(&marks->staged, NULL);
    map_init(&marks->staged);
}

bool marks_has(struct events *events, struct str key, int64_t now_ms, struct err *err) {
    if (map_get(&events->marks.staged, key) != NULL) {
        return true;
    }
    struct kv_store *kv = events->ingest->kv;
    struct buf value CLEANUP(buf_finish);
    buf_init(&value, 64);
    if (!kv->get(kv, KV_EVENT_DEDUP, key, &value, err)) {
        return false;
    }
    if (value.len != 8) {
        err_set(err, ERR_CORRUPT, "a stored event mark is %zu bytes long, not 8", value.len);
        return false;
    }
    return expiry_get(buf_as_str(&value)) > now_ms;
}

static struct str expiry_key(char out[8 + MARK_KEY_MAX], int64_t expiry_ms, struct str key) {
    expiry_put(out, expiry_ms);
    memcpy(out + 8, key.ptr, key.len);
    return str_n(out, 8 + key.len);
}

void marks_put(struct events *events, struct kv_batch *batch, struct str key, int64_t now_ms) {
    int64_t expiry_ms = now_ms + events->options.dedup_window_ms;
    char by_expiry[8 + MARK_KEY_MAX];
    char value[8];
    expiry_put(value, expiry_ms);
    batch->put(batch, KV_EVENT_DEDUP, key, str_n(value, sizeof(value)));
    batch->put(batch, KV_EVENT_EXPIRY, expiry_key(by_expiry, expiry_ms, key), STR(""));
    map_put(&events->marks.staged, key, events);
    events->marks.count++;
}

/* ---- dropping ---- */

struct purge {
    int64_t now_ms;
    uint64_t surplus; /* to be dropped whatever their time */
    struct arena arena;
    struct str *keys; /* of KV_EVENT_EXPIRY */
    size_t count;
    size_t cap;
    uint64_t evicted;
};

static bool visit_expiry(void *ctx, struct str key, struct str value) {
    (void)value;
    struct purge *purge = ctx;
    if (key.len <= 8) {
        return true;
    }
    bool is_expired = expiry_get(key) <= purge->now_ms;
    if (!is_expired && purge->count >= purge->surplus) {
        return false;
    }
    purge->evicted += !is_expired;
    purge->keys = arena_vec_grow(&purge->arena, purge->keys, &purge->cap, purge->count + 1,
                                 sizeof(purge->keys[0]));
    purge->keys[purge->count++] = arena_str(&purge->arena, key);
    return purge->count < PURGE_PER_TICK;
}

/*
 * The row by key is dropped only if it is the one of this expiry: an id that came again after its
 * mark had expired, but before it was purged, has a newer one.
 */
static bool mark_delete(struct events *events,
                        struct kv_batch *batch,
                        struct str by_expiry,
                        struct err *err) {
    struct kv_store *kv = events->ingest->kv;
    struct str key = str_n(by_expiry.ptr + 8, by_expiry.len - 8);
    struct buf value CLEANUP(buf_finish);
    buf_init(&value, 64);
    struct err lookup = ERR_INIT;
    bool is_found = kv->get(kv, KV_EVENT_DEDUP, key, &value, &lookup);
    if (!is_found && lookup.code != ERR_NONE) {
        *err = lookup;
        return false;
    }
    if (is_found && value.len == 8 && memcmp(value.ptr, by_expiry.ptr, 8) == 0) {
        batch->del(batch, KV_EVENT_DEDUP, key);
    }
    batch->del(batch, KV_EVENT_EXPIRY, by_expiry);
    return true;
}

bool marks_purge(struct events *events, struct kv_batch *batch, int64_t now_ms, struct err *err) {
    uint64_t max = events->options.dedup_marks_max;
    uint64_t count = events->marks.count;
    struct purge purge = { .now_ms = now_ms, .surplus = count > max ? count - max : 0 };
    arena_init(&purge.arena, SIZE_MAX);
    struct kv_store *kv = events->ingest->kv;
    bool is_ok = kv->scan(kv, KV_EVENT_EXPIRY, STR(""), STR(""), visit_expiry, &purge, err);
    for (size_t i = 0; is_ok && i < purge.count; i++) {
        is_ok = mark_delete(events, batch, purge.keys[i], err);
    }
    if (is_ok && purge.count > 0) {
        events->marks.count -= purge.count < count ? purge.count : count;
        metric_add(events->evicted, (double)purge.evicted);
        marks_write_count(events, batch);
    }
    arena_finish(&purge.arena);
    return is_ok;
}
