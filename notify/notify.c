/* The notifier's life: creation, the tick, commits, the thread. */
#include "notify/notify.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "notify/engine.h"

/* ---- small things ---- */

void engine_wake(struct notify *notify) {
    uint64_t one = 1;
    ssize_t n = 0;
    do {
        n = write(notify->wake_fd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
    /* EAGAIN: the counter is full, so a wake-up is pending anyway */
}

/* splitmix64: jitter needs no more. */
uint64_t engine_random(struct notify *notify) {
    notify->random_state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = notify->random_state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool submit_by_client(void *ctx,
                             const struct http_request *request,
                             http_done_fn done,
                             void *done_ctx,
                             struct err *err) {
    return http_submit(ctx, request, done, done_ctx, err);
}

/* ---- creation ---- */

static void create_metrics(struct notify *notify) {
    struct metric_registry *registry = notify->metrics_registry;
    struct engine_metrics *m = &notify->metrics;
    m->alerts_received = metric_counter(registry, "tocsin_notify_alerts_received_total",
                                        "Alerts taken over from the rules.", NULL);
    m->flushes = metric_counter(registry, "tocsin_notify_group_flushes_total",
                                "Flushes of aggregation groups.", NULL);
    m->commit_failures = metric_counter(registry, "tocsin_notify_commit_failures_total",
                                        "Commits of the notifier's state that failed.", NULL);
    m->corrupt_rows =
        metric_counter(registry, "tocsin_notify_corrupt_rows_total",
                       "Rows of the notifier's state that failed their checksum.", NULL);
    m->alerts =
        metric_gauge(registry, "tocsin_notify_alerts",
                     "Alerts the notifier holds, firing or resolved and not yet told.", NULL);
    m->groups = metric_gauge(registry, "tocsin_notify_groups", "Aggregation groups.", NULL);
    m->queued = metric_gauge(registry, "tocsin_notify_queue_length",
                             "Messages waiting or in flight.", NULL);
    m->dead = metric_gauge(registry, "tocsin_notify_dead_letters_kept", "Dead letters kept.", NULL);
    m->inbox =
        metric_gauge(registry, "tocsin_notify_inbox_messages", "Messages in the inbox.", NULL);
}

static void set_gauges(struct notify *notify) {
    metric_set(notify->metrics.alerts, (double)notify->live.alerts.count);
    metric_set(notify->metrics.groups, (double)notify->live.groups.count);
    metric_set(notify->metrics.queued, (double)queue_row_count(notify));
    metric_set(notify->metrics.dead, (double)notify->dead_count);
    metric_set(notify->metrics.inbox, (double)notify->inbox_count);
}

static bool set_transport(struct notify *notify,
                          const struct notify_options *options,
                          struct err *err) {
    notify->transport = options->transport;
    if (notify->transport.submit != NULL) {
        return true;
    }
    notify->transport.submit = submit_by_client;
    if (!http_client_create("tocsin/" TOCSIN_VERSION, &notify->client, err)) {
        return err_wrap(err, "starting the notifier");
    }
    notify->transport.ctx = notify->client;
    return true;
}

bool notify_create(const struct notify_options *options, struct notify **ret, struct err *err) {
    struct notify *notify = mem_calloc(1, sizeof(*notify));
    notify->kv = options->kv;
    notify->clock = options->clock;
    notify->log = options->log;
    notify->metrics_registry = options->metrics;
    notify->silencer = options->silencer;
    notify->config = notify_config_ref(options->config);
    notify->random_state = options->jitter_seed;
    if (notify->random_state == 0) {
        random_bytes(&notify->random_state, sizeof(notify->random_state));
    }
    (void)pthread_mutex_init(&notify->mu, NULL);
    (void)pthread_mutex_init(&notify->done_mu, NULL);
    live_set_init(&notify->live);
    op_list_init(&notify->ops);
    op_list_init(&notify->committing);
    create_metrics(notify);
    queue_configure(notify);
    notify->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool is_ok =
        notify->wake_fd >= 0 || err_set_errno(err, ERR_IO, errno, "starting the notifier: eventfd");
    if (!is_ok || !set_transport(notify, options, err) || !restore(notify, err)) {
        notify_destroy(notify);
        return false;
    }
    set_gauges(notify);
    *ret = notify;
    return true;
}

void notify_destroy(struct notify *notify) {
    if (notify == NULL) {
        return;
    }
    notify_stop(notify, 0);
    http_client_destroy(notify->client); /* its callbacks end here */
    send_drop_done(notify);
    queue_finish_all(notify);
    live_set_finish(&notify->live);
    inhibit_index_destroy(notify->inhibit);
    op_list_finish(&notify->ops);
    op_list_finish(&notify->committing);
    mem_free(notify->starting);
    notify_config_unref(notify->next_config);
    notify_config_unref(notify->config);
    if (notify->wake_fd >= 0) {
        close(notify->wake_fd);
    }
    (void)pthread_mutex_destroy(&notify->done_mu);
    (void)pthread_mutex_destroy(&notify->mu);
    mem_free(notify);
}

struct alert_sink notify_alert_sink(struct notify *notify) {
    return intake_sink(notify);
}

void notify_reload(struct notify *notify, struct notify_config *config) {
    (void)pthread_mutex_lock(&notify->mu);
    notify_config_unref(notify->next_config);
    notify->next_config = notify_config_ref(config);
    (void)pthread_mutex_unlock(&notify->mu);
    engine_wake(notify);
}

/* ---- commits ---- */

static bool commit_ops(struct notify *notify, struct err *err) {
    const struct op_list *ops = &notify->committing;
    struct kv_batch *batch = notify->kv->begin(notify->kv);
    for (size_t i = 0; i < ops->count; i++) {
        const struct op *op = &ops->items[i];
        const char *at = ops->bytes.ptr + op->key_at;
        struct str key = str_n(at, op->key_len);
        if (op->is_del) {
            batch->del(batch, op->table, key);
        } else {
            batch->put(batch, op->table, key, str_n(at + op->key_len, op->value_len));
        }
    }
    return notify->kv->commit_blocking(notify->kv, batch, err);
}

static void note_commit(struct notify *notify, bool is_ok, const struct err *err, int64_t now_ms) {
    if (is_ok) {
        if (notify->commit_retry_at_ms != 0) {
            log_info(notify->log, NOTIFY_SOURCE, "State can be saved again",
                     LOG_I64("now_ms", now_ms));
        }
        notify->commit_retry_at_ms = 0;
        notify->last_commit_error_ms = 0;
        op_list_reset(&notify->committing);
        return;
    }
    metric_inc(notify->metrics.commit_failures);
    if (notify->commit_retry_at_ms == 0) { /* once per outage */
        log_error(notify->log, NOTIFY_SOURCE, "State cannot be saved, nothing is sent until it can",
                  LOG_CSTR("err", err->msg));
    }
    notify->commit_retry_at_ms = now_ms + COMMIT_RETRY_MS;
    notify->last_commit_error_ms = now_ms;
    (void)snprintf(notify->last_commit_error, sizeof(notify->last_commit_error), "%s", err->msg);
}

/* Called and returns with the lock held; releases it while the disk works. */
static bool commit_locked(struct notify *notify, int64_t now_ms) {
    if (notify->committing.count == 0) {
        struct op_list empty = notify->committing;
        notify->committing = notify->ops;
        notify->ops = empty;
    }
    if (notify->committing.count == 0) {
        return true;
    }
    struct err err = ERR_INIT;
    (void)pthread_mutex_unlock(&notify->mu);
    bool is_ok = commit_ops(notify, &err);
    (void)pthread_mutex_lock(&notify->mu);
    note_commit(notify, is_ok, &err, now_ms);
    return is_ok;
}

/* ---- the tick ---- */

/* The wall clock went back: what was due in a minute is still due in a minute. */
static void shift_timers(struct notify *notify, int64_t by_ms) {
    struct live_set *live = &notify->live;
    struct group **groups = mem_calloc(live->heap_count + 1, sizeof(groups[0]));
    size_t count = live->heap_count;
    memcpy(groups, live->heap, count * sizeof(groups[0]));
    for (size_t i = 0; i < count; i++) {
        live_set_schedule(live, groups[i], groups[i]->state.next_flush_ms + by_ms);
    }
    mem_free(groups);
    for (size_t i = 0; i < notify->channel_count; i++) {
        struct channel *channel = notify->channels[i];
        channel->not_before_ms += channel->not_before_ms > 0 ? by_ms : 0;
        for (struct outbox_row *row = channel->head; row != NULL; row = row->next) {
            row->due_ms += by_ms;
        }
    }
    for (size_t i = 0; i < notify->pacer_count; i++) {
        notify->pacers[i]->next_ms += by_ms;
    }
    log_warning(notify->log, NOTIFY_SOURCE, "The clock went back, timers follow",
                LOG_I64("by_ms", by_ms));
}

static void save_unsaved(struct notify *notify) {
    if (!notify->has_unsaved) {
        return;
    }
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&notify->live.alerts, &cursor, &key, &value)) {
        struct live_alert *alert = value;
        if (alert->is_unsaved) {
            op_put_alert(&notify->ops, alert);
            alert->is_unsaved = false;
        }
    }
    notify->has_unsaved = false;
}

static void begin_tick(struct notify *notify, int64_t now_ms) {
    if (notify->last_tick_ms > now_ms + CLOCK_JUMP_MS) {
        shift_timers(notify, now_ms - notify->last_tick_ms);
        notify->next_tidy_ms = now_ms;
    }
    notify->last_tick_ms = now_ms;
    if (notify->commit_retry_at_ms > now_ms + COMMIT_RETRY_MS) {
        notify->commit_retry_at_ms = now_ms;
    }
}

/* Everything decided at this moment joins the ops. True when more is to do at once. */
static bool decide(struct notify *notify, int64_t now_ms, int64_t *ret_next_ms) {
    if (notify->next_config != NULL) {
        reload_apply(notify, now_ms);
    }
    send_absorb(notify, now_ms);
    if (now_ms >= notify->next_tidy_ms) {
        reload_tidy(notify);
        queue_sweep(notify);
        notify->next_tidy_ms = now_ms + TIDY_MS;
    }
    save_unsaved(notify);
    bool has_more = flush_due_groups(notify, now_ms);
    digest_write_all(notify, now_ms);
    int64_t send_ms = send_start(notify, now_ms);
    const struct group *next = live_set_next(&notify->live);
    int64_t flush_ms = next == NULL ? INT64_MAX : next->state.next_flush_ms;
    *ret_next_ms = send_ms < flush_ms ? send_ms : flush_ms;
    return has_more;
}

static bool has_completions(struct notify *notify) {
    (void)pthread_mutex_lock(&notify->done_mu);
    bool is_some = notify->done_head != NULL;
    (void)pthread_mutex_unlock(&notify->done_mu);
    return is_some;
}

int64_t notify_tick(struct notify *notify, int64_t now_ms) {
    (void)pthread_mutex_lock(&notify->mu);
    begin_tick(notify, now_ms);
    int64_t next_ms = INT64_MAX;
    bool has_more = true;
    while (has_more) {
        bool is_repeating = notify->commit_retry_at_ms != 0;
        if (is_repeating && now_ms < notify->commit_retry_at_ms) {
            next_ms = notify->commit_retry_at_ms;
            break;
        }
        /* once an old commit has come through, there is catching up to do */
        has_more = is_repeating || decide(notify, now_ms, &next_ms);
        if (!commit_locked(notify, now_ms)) {
            next_ms = notify->commit_retry_at_ms;
            break;
        }
        (void)pthread_mutex_unlock(&notify->mu);
        send_submit(notify);
        (void)pthread_mutex_lock(&notify->mu);
        has_more = has_more || has_completions(notify) || notify->ops.count > 0;
    }
    set_gauges(notify);
    (void)pthread_mutex_unlock(&notify->mu);
    return next_ms;
}

/* ---- the thread ---- */

static void wait_for_work(struct notify *notify, int64_t next_ms) {
    int64_t now_ms = clock_wall_ms(notify->clock);
    int64_t wait_ms =
        next_ms == INT64_MAX || next_ms - now_ms > TICK_MS_MAX ? TICK_MS_MAX : next_ms - now_ms;
    struct pollfd fd = { .fd = notify->wake_fd, .events = POLLIN };
    if (poll(&fd, 1, wait_ms < 0 ? 0 : (int)wait_ms) > 0) {
        uint64_t count = 0;
        ssize_t n = read(notify->wake_fd, &count, sizeof(count));
        (void)n; /* EAGAIN: somebody else's poll; nothing is lost, the tick looks everywhere */
    }
}

static bool should_stop(struct notify *notify) {
    (void)pthread_mutex_lock(&notify->mu);
    bool is_stopping = notify->is_stopping;
    (void)pthread_mutex_unlock(&notify->mu);
    return is_stopping;
}

static void *run(void *ctx) {
    struct notify *notify = ctx;
    while (!should_stop(notify)) {
        int64_t next_ms = notify_tick(notify, clock_wall_ms(notify->clock));
        wait_for_work(notify, next_ms);
    }
    return NULL;
}

bool notify_start(struct notify *notify, struct err *err) {
    assert(!notify->has_thread);
    int errnum = pthread_create(&notify->thread, NULL, run, notify);
    if (errnum != 0) {
        return err_set_errno(err, ERR_IO, errnum, "starting the notifier thread");
    }
    notify->has_thread = true;
    return true;
}

/* Receipts of what is in flight are worth a moment: each one spares a duplicate. */
static void drain(struct notify *notify, int64_t grace_ms) {
    int64_t deadline_ns = clock_mono_ns(notify->clock) + grace_ms * 1000000;
    for (;;) {
        int64_t left_ms = (deadline_ns - clock_mono_ns(notify->clock)) / 1000000;
        (void)pthread_mutex_lock(&notify->mu);
        send_absorb(notify, clock_wall_ms(notify->clock));
        bool is_idle = notify->inflight_count == 0;
        bool is_saved = true;
        while (is_saved && notify->committing.count + notify->ops.count > 0) {
            is_saved = commit_locked(notify, clock_wall_ms(notify->clock));
        }
        (void)pthread_mutex_unlock(&notify->mu);
        if (is_idle || left_ms <= 0) {
            return;
        }
        struct pollfd fd = { .fd = notify->wake_fd, .events = POLLIN };
        if (poll(&fd, 1, (int)(left_ms > TICK_MS_MAX ? TICK_MS_MAX : left_ms)) > 0) {
            uint64_t count = 0;
            ssize_t n = read(notify->wake_fd, &count, sizeof(count));
            (void)n;
        }
    }
}

void notify_stop(struct notify *notify, int64_t grace_ms) {
    if (!notify->has_thread) {
        return;
    }
    (void)pthread_mutex_lock(&notify->mu);
    notify->is_stopping = true;
    (void)pthread_mutex_unlock(&notify->mu);
    engine_wake(notify);
    (void)pthread_join(notify->thread, NULL);
    notify->has_thread = false;
    drain(notify, grace_ms);
}
