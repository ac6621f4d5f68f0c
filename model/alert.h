/*
 * One alert as it travels from the rules to the notifier, and the seam between the two.
 */
#pragma once

#include "base/kv.h"
#include "model/model.h"

struct alert {
    struct labels labels;      /* identity; includes alertname */
    struct labels annotations; /* expanded; values may be longer than a label's cap */
    struct str generator_url;
    int64_t active_ms; /* when the expression first held */
    int64_t starts_ms; /* when it began firing */
    int64_t ends_ms;   /* when it resolved; 0 while firing */
    double value;      /* at this evaluation; of a resolved alert: the last value seen */
};

/*
 * Where rules hand over what changed: alerts that fire (again at every resend) and that resolved.
 *
 * stage   runs while the evaluation's batch is open: put rows into `batch` so that they become
 *         durable together with the evaluation. Returns a token for settle (may be NULL).
 * settle  tells whether the batch became durable; the token is released in any case.
 * Threads any rule thread; the implementation locks.
 */
struct alert_sink {
    void *(*stage)(void *ctx,
                   const struct alert *alerts,
                   size_t count,
                   int64_t now_ms,
                   struct kv_batch *batch);
    void (*settle)(void *ctx, void *token, bool is_durable);
    void *ctx;
};
