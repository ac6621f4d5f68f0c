/*
 * Seam to the transactional tables of the journal environment. tsdb implements it; rules and
 * notify keep their state through it and never see LMDB. Keys are at most 500 bytes.
 *
 * A change is part of a batch and becomes durable, all or nothing, when the batch is committed;
 * a batch may come from elsewhere (rules' evaluation batch carries notify's rows too).
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* Tables; one named LMDB database each. Names are on-disk format: append only. */
enum kv_table {
    KV_META,         /* format version, data directory id */
    KV_ALERT_STATE,  /* rules: one row per active alert */
    KV_RULE_STATE,   /* rules: one row per group */
    KV_NOTIFY_ALERT, /* notify: alerts as received */
    KV_NOTIFY_GROUP, /* notify: group state, notification log */
    KV_OUTBOX,       /* notify: messages not yet delivered or dead */
    KV_INBOX,        /* notify: the built-in receiver's messages */
    KV_SILENCE,
    KV_EVENT_STATE,  /* ingest: durable counters of the event mapper */
    KV_EVENT_DEDUP,  /* ingest: idempotency marks by id, with expiry */
    KV_EVENT_EXPIRY, /* ingest: expiry order of the marks */
    KV_LEASE,        /* ingest: pushing workers and their leases */
    KV_METADATA,     /* tsdb: type, help, unit per metric family */
    KV_PUSH_GROUP,   /* ingest: Pushgateway groups */
    KV_TABLE_COUNT,
};

struct kv_batch {
    void (*put)(struct kv_batch *batch, enum kv_table table, struct str key, struct str value);
    void (*del)(struct kv_batch *batch, enum kv_table table, struct str key);
};

struct kv_store {
    /* Committed value into `ret` (reset first); false when absent or err is set. */
    bool (*get)(struct kv_store *store,
                enum kv_table table,
                struct str key,
                struct buf *ret,
                struct err *err);
    /* Calls visit in key order for keys >= from with the given prefix until it returns false.
     * Key and value are valid during the call; visit must not call back into the store. */
    bool (*scan)(struct kv_store *store,
                 enum kv_table table,
                 struct str from,
                 struct str prefix,
                 bool (*visit)(void *ctx, struct str key, struct str value),
                 void *ctx,
                 struct err *err);
    /* A fresh batch; ends in commit or abandon. */
    struct kv_batch *(*begin)(struct kv_store *store);
    /* Durable (fsynced) when it returns true. Takes the batch in any case. Waits for the disk. */
    bool (*commit_blocking)(struct kv_store *store, struct kv_batch *batch, struct err *err);
    void (*abandon)(struct kv_store *store, struct kv_batch *batch);
};
