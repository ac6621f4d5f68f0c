/* Life of the engine, its schedule and its threads. */
#include "rules/engine.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"

enum {
    THREADS_MAX = 64,
    WAIT_MS_MAX = 1000, /* so that a jump of the wall clock is noticed within a second */
};

/* ---- names ---- */

const char *rules_event_to_string(enum rules_event_kind kind) {
    static const char *const names[] = {
        [RULES_RULE_FAILED] = "rule failed",
        [RULES_RULE_RECOVERED] = "rule recovered",
        [RULES_COMMIT_FAILED] = "rule group could not be made durable",
        [RULES_SLOTS_MISSED] = "rule group evaluations missed",
        [RULES_GAP] = "rule group was not evaluated for a while",
        [RULES_CLOCK_STEP] = "wall clock jumped",
        [RULES_STATE_RESET] = "edited expression ended alerts",
        [RULES_ALERT_FIRING] = "alert firing",
        [RULES_ALERT_RESOLVED] = "alert resolved",
        [RULES_TEMPLATE_FAILED] = "template failed",
    };
    assert(kind < RULES_EVENT_KIND_COUNT);
    return names[kind];
}

const char *rule_health_to_string(enum rule_health health) {
    static const char *const names[] = {
        [RULE_HEALTH_UNKNOWN] = "unknown",
        [RULE_HEALTH_OK] = "ok",
        [RULE_HEALTH_ERR] = "err",
    };
    return names[health];
}

const char *alert_state_to_string(enum alert_state state) {
    static const char *const names[] = {
        [ALERT_UNKNOWN] = "unknown",
        [ALERT_INACTIVE] = "inactive",
        [ALERT_PENDING] = "pending",
        [ALERT_FIRING] = "firing",
    };
    return names[state];
}

/* ---- reports ---- */

PRINTF_LIKE(3, 0)

static void report(const struct rules *rules,
                   struct rules_event event,
                   const char *fmt,
                   va_list args) {
    char message[1024];
    if (rules->options.report == NULL) {
        return;
    }
    int len = vsnprintf(message, sizeof(message), fmt, args);
    event.message = len < 0 ? "" : message;
    rules->options.report(rules->options.report_ctx, &event);
}

void rules_report(const struct rules *rules,
                  enum rules_event_kind kind,
                  const struct rule *rule,
                  int64_t count,
                  const char *fmt,
                  ...) {
    va_list args;
    va_start(args, fmt);
    struct rules_event event = {
        .kind = kind,
        .file = rule->file,
        .group = rule->group,
        .rule = rule->name,
        .count = count,
    };
    report(rules, event, fmt, args);
    va_end(args);
}

void rules_report_group(const struct rules *rules,
                        enum rules_event_kind kind,
                        const struct group *group,
                        int64_t count,
                        const char *fmt,
                        ...) {
    va_list args;
    va_start(args, fmt);
    struct rules_event event = {
        .kind = kind,
        .file = group->def->file.ptr,
        .group = group->def->name.ptr,
        .rule = "",
        .count = count,
    };
    report(rules, event, fmt, args);
    va_end(args);
}

/* ---- life ---- */

static int64_t or_default(int64_t value, int64_t fallback) {
    return value == 0 ? fallback : value;
}

bool rules_create(const struct rules_options *options, struct rules **ret, struct err *err) {
    struct rules *rules = mem_calloc(1, sizeof(*rules));
    rules->options = *options;
    rules->clock = options->clock == NULL ? clock_system() : options->clock;
    rules->options.resend_delay_ms = or_default(options->resend_delay_ms, RULES_RESEND_MS_DEFAULT);
    rules->options.lookback_ms = or_default(options->lookback_ms, RULES_LOOKBACK_MS_DEFAULT);
    rules->options.query_timeout_ms =
        or_default(options->query_timeout_ms, RULES_TIMEOUT_MS_DEFAULT);
    atomic_init(&rules->is_canceled, false);
    pthread_mutex_init(&rules->mu, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&rules->changed, &attr);
    pthread_condattr_destroy(&attr);
    rules_metrics_init(rules);
    if (!rules_restore(rules, err)) {
        rules_destroy(rules);
        return err_wrap(err, "restoring alert states");
    }
    *ret = rules;
    return true;
}

void rules_destroy(struct rules *rules) {
    if (rules == NULL) {
        return;
    }
    rules_stop(rules);
    for (size_t i = 0; i < rules->group_count; i++) {
        rules_group_destroy(rules->groups[i]);
    }
    mem_free(rules->groups);
    for (size_t i = 0; i < rules->orphan_count; i++) {
        rule_destroy(rules->orphans[i]);
    }
    mem_free(rules->orphans);
    for (size_t i = 0; i < rules->old_group_count; i++) {
        rules_old_group_finish(&rules->old_groups[i]);
    }
    mem_free(rules->old_groups);
    rule_set_destroy(rules->set);
    mem_free(rules->reload_error);
    mem_free(rules->external_labels.items);
    pthread_cond_destroy(&rules->changed);
    pthread_mutex_destroy(&rules->mu);
    mem_free(rules);
}

void rules_reload_failed(struct rules *rules, const struct diag_list *diags, int64_t now_ms) {
    struct buf text;
    buf_init(&text, (size_t)1 << 20);
    diag_print(diags, &text);
    char *message = mem_strndup(buf_as_str(&text).ptr, text.len);
    buf_finish(&text);
    pthread_mutex_lock(&rules->mu);
    rules->reload_ms = now_ms;
    rules->is_reload_ok = false;
    mem_free(rules->reload_error);
    rules->reload_error = message;
    pthread_mutex_unlock(&rules->mu);
    metric_set(rules->metrics.reload_ok, 0);
}

/* ---- schedule ---- */

/* A slot as handed to an evaluation. */
struct job {
    struct group *group;
    int64_t slot_ms;
    int64_t missed;
};

/* When the group is due next. A clock set back must not silence it until the old time returns. */
static int64_t due_locked(struct group *group, int64_t now_ms) {
    int64_t latest = rule_group_slot(group->def, now_ms) + group->def->interval_ms;
    if (group->next_slot_ms > latest) {
        group->next_slot_ms = latest;
    }
    return group->next_slot_ms;
}

/* Takes the group that is due for longest. Otherwise false and when the next one is. */
static bool claim_locked(struct rules *rules, int64_t now_ms, struct job *ret, int64_t *ret_due) {
    struct group *first = NULL;
    *ret_due = INT64_MAX;
    for (size_t i = 0; !rules->is_applying && i < rules->group_count; i++) {
        struct group *group = rules->groups[i];
        if (group->is_busy) {
            continue;
        }
        int64_t due_ms = due_locked(group, now_ms);
        if (due_ms < *ret_due) {
            *ret_due = due_ms;
            first = group;
        }
    }
    if (first == NULL || *ret_due > now_ms) {
        return false;
    }
    int64_t slot_ms = rule_group_slot(first->def, now_ms);
    *ret = (struct job){
        .group = first,
        .slot_ms = slot_ms,
        .missed = (slot_ms - first->next_slot_ms) / first->def->interval_ms,
    };
    first->next_slot_ms = slot_ms + first->def->interval_ms;
    first->slots_missed += (uint64_t)ret->missed;
    first->is_busy = true;
    rules->busy_count++;
    return true;
}

static void run_job(struct rules *rules, const struct job *job, int64_t now_ms) {
    struct group *group = job->group;
    if (job->missed > 0) {
        metric_add(group->metrics.missed, (double)job->missed);
        rules_report_group(rules, RULES_SLOTS_MISSED, group, job->missed, "%s", "");
    }
    rules_group_evaluate(rules, group, job->slot_ms, now_ms);
    /* is_busy keeps set and slots_missed from changing under us */
    struct group_view *view = rules_group_view_create(rules->set, group, group->slots_missed);
    pthread_mutex_lock(&rules->mu);
    rules_group_view_publish_locked(rules, group, view);
    group->is_busy = false;
    rules->busy_count--;
    pthread_cond_broadcast(&rules->changed);
    pthread_mutex_unlock(&rules->mu);
}

/* Try again to end what a reload left behind. */
static void retire(struct rules *rules, int64_t now_ms) {
    pthread_mutex_lock(&rules->mu);
    bool is_mine = rules->set != NULL && !rules->is_applying && !rules->is_retiring &&
                   (rules->orphan_count > 0 || rules->old_group_count > 0);
    rules->is_retiring = rules->is_retiring || is_mine;
    pthread_mutex_unlock(&rules->mu);
    if (!is_mine) {
        return;
    }
    rules_retire_orphans(rules, now_ms);
    pthread_mutex_lock(&rules->mu);
    rules->is_retiring = false;
    pthread_cond_broadcast(&rules->changed);
    pthread_mutex_unlock(&rules->mu);
}

int64_t rules_tick(struct rules *rules, int64_t now_ms) {
    struct job job;
    int64_t due_ms = INT64_MAX;
    retire(rules, now_ms);
    for (;;) {
        pthread_mutex_lock(&rules->mu);
        bool is_due = claim_locked(rules, now_ms, &job, &due_ms);
        pthread_mutex_unlock(&rules->mu);
        if (!is_due) {
            return due_ms;
        }
        run_job(rules, &job, now_ms);
    }
}

/* ---- threads ---- */

/* Waits for a change or until about due_ms. */
static void wait_locked(struct rules *rules, int64_t now_ms, int64_t due_ms) {
    int64_t wait_ms = due_ms - now_ms < WAIT_MS_MAX ? due_ms - now_ms : WAIT_MS_MAX;
    int64_t until_ns = clock_mono_ns(rules->clock) + (wait_ms < 1 ? 1 : wait_ms) * 1000000;
    struct timespec until = {
        .tv_sec = until_ns / 1000000000,
        .tv_nsec = until_ns % 1000000000,
    };
    (void)pthread_cond_timedwait(&rules->changed, &rules->mu, &until);
}

static void *run_thread(void *arg) {
    struct rules *rules = arg;
    for (;;) {
        struct job job;
        int64_t due_ms;
        int64_t now_ms = clock_wall_ms(rules->clock);
        retire(rules, now_ms);
        pthread_mutex_lock(&rules->mu);
        bool is_stopping = rules->is_stopping;
        bool is_due = !is_stopping && claim_locked(rules, now_ms, &job, &due_ms);
        if (!is_stopping && !is_due) {
            wait_locked(rules, now_ms, due_ms);
        }
        pthread_mutex_unlock(&rules->mu);
        if (is_stopping) {
            return NULL;
        }
        if (is_due) {
            run_job(rules, &job, now_ms);
        }
    }
}

bool rules_start(struct rules *rules, struct err *err) {
    size_t count = rules->options.thread_count == 0 ? 1 : rules->options.thread_count;
    count = count > THREADS_MAX ? THREADS_MAX : count;
    assert(rules->threads == NULL);
    atomic_store(&rules->is_canceled, false);
    rules->is_stopping = false;
    rules->threads = mem_calloc(count, sizeof(rules->threads[0]));
    for (size_t i = 0; i < count; i++) {
        int rc = pthread_create(&rules->threads[i], NULL, run_thread, rules);
        if (rc != 0) {
            rules_stop(rules);
            return err_set_errno(err, ERR_INTERNAL, rc, "starting a rule thread");
        }
        rules->thread_count++;
    }
    return true;
}

void rules_stop(struct rules *rules) {
    pthread_mutex_lock(&rules->mu);
    rules->is_stopping = true;
    pthread_cond_broadcast(&rules->changed);
    pthread_mutex_unlock(&rules->mu);
    if (rules->thread_count > 0) {
        atomic_store(&rules->is_canceled, true);
    }
    for (size_t i = 0; i < rules->thread_count; i++) {
        pthread_join(rules->threads[i], NULL);
    }
    mem_free(rules->threads);
    rules->threads = NULL;
    rules->thread_count = 0;
    atomic_store(&rules->is_canceled, false);
}
