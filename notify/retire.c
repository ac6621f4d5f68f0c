/* The outbox of a restored backup: what waits there is of another time. */
#include "base/mem.h"
#include "notify/notify.h"
#include "notify/outbox.h"
#include "notify/row.h"

#define REASON "restored from a backup: too old to be sent now, or sent before"

struct retire {
    struct kv_batch *batch;
    int64_t created_before_ms;
    int64_t now_ms;
    size_t count;
};

/* Waiting → dead letter, as queue_bury() does; rows that are damaged stay as they are. */
static bool retire_row(void *ctx, struct str key, struct str value) {
    struct retire *retire = ctx;
    struct row_header header;
    struct err ignored = ERR_INIT;
    uint64_t id = 0;
    if (!row_id_from_key(key, OUTBOX_KEY_HEADER, &id) ||
        !outbox_header_decode(key, value, &header, &ignored) ||
        header.created_ms >= retire->created_before_ms) {
        return true;
    }
    header.state = ROW_DEAD;
    header.reason = STR(REASON);
    header.died_ms = retire->now_ms;
    char raw[ROW_ID_KEY_BYTES];
    struct str dead_key = row_id_key(raw, OUTBOX_KEY_DEAD, id);
    CLEANUP(buf_finish) struct buf row;
    buf_init(&row, SIZE_MAX);
    outbox_header_encode(&header, dead_key, &row);
    retire->batch->put(retire->batch, KV_OUTBOX, dead_key, buf_as_str(&row));
    retire->batch->del(retire->batch, KV_OUTBOX, key);
    retire->count++;
    return true;
}

bool notify_retire_waiting(struct kv_store *kv,
                           int64_t created_before_ms,
                           int64_t now_ms,
                           size_t *ret_count,
                           struct err *err) {
    struct retire retire = {
        .batch = kv->begin(kv),
        .created_before_ms = created_before_ms,
        .now_ms = now_ms,
    };
    struct err failure = ERR_INIT;
    (void)kv->scan(kv, KV_OUTBOX, STR(""), STR(""), retire_row, &retire, &failure);
    if (failure.code != ERR_NONE) {
        kv->abandon(kv, retire.batch);
        *err = failure;
        return false;
    }
    *ret_count = retire.count;
    return kv->commit_blocking(kv, retire.batch, err);
}
