/*
 * The scraper's loop: configurations to targets, targets to transfers, pages to the store.
 */
#include "ingest/scrape.h"

#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/queue.h"
#include "ingest/scrape_request.h"

#define TARGETS_MAX       20000
#define POP_MS_MAX        500
#define FILES_REFRESH_MS  5000
#define GRID_TOLERANCE_MS 100 /* a scrape this late still counts as on time */
#define DROPPED_SHOWN_MAX 10000

/* A target that is not scraped, for the list of targets. */
struct unscraped {
    struct str pool;
    struct labels discovered;
    struct str error; /* empty = dropped by relabelling */
};

struct scraper {
    struct ingest *ingest; /* immutable */
    char *user_agent;
    struct queue *landed; /* of struct landing; a NULL-target landing only wakes the driver */
    pthread_t thread;
    bool is_started; /* owned by whoever starts and stops */
    atomic_bool is_stopping;

    pthread_mutex_t mu;
    struct ingest_scrape_configs *pending; /* guarded by mu: to be taken up */
    struct target **targets;               /* changed by the driver only, with mu held */
    size_t target_count;
    size_t target_cap;
    struct unscraped *unscraped; /* the same; lives in unscraped_arena */
    size_t unscraped_count;
    size_t unscraped_cap;
    struct arena unscraped_arena;

    /* owned by the driver */
    struct http_client *client; /* made with the first target */
    struct ingest_scrape_configs *configs;
    struct discovery *discovery;
    struct map by_key;
    int64_t files_ms; /* when files were looked at */
    size_t in_flight;
    struct metric *target_gauge;
    struct metric *invalid_gauge;
};

/* A transfer that ended, with its own copy of the page. */
struct landing {
    struct scraper *scraper;
    struct target *target;
    struct page page;
    char *body;
    char *content_type;
};

/* ---- life ---- */

bool scraper_create(struct ingest *ingest,
                    const char *user_agent,
                    struct scraper **ret,
                    struct err *err) {
    (void)err;
    struct scraper *scraper = mem_calloc(1, sizeof(*scraper));
    scraper->ingest = ingest;
    scraper->user_agent = mem_strdup(user_agent == NULL ? "tocsin/" TOCSIN_VERSION : user_agent);
    scraper->landed = queue_create(TARGETS_MAX + 64);
    pthread_mutex_init(&scraper->mu, NULL);
    arena_init(&scraper->unscraped_arena, SIZE_MAX);
    scraper->configs = ingest_scrape_configs_create();
    scraper->discovery = discovery_create(ingest->metrics);
    map_init(&scraper->by_key);
    scraper->target_gauge = metric_gauge(ingest->metrics, "tocsin_ingest_scrape_targets",
                                         "Targets that are scraped.", NULL);
    scraper->invalid_gauge = metric_gauge(ingest->metrics, "tocsin_ingest_scrape_targets_invalid",
                                          "Targets that cannot be scraped as configured.", NULL);
    *ret = scraper;
    return true;
}

static void landing_destroy(struct landing *landing) {
    mem_free(landing->body);
    mem_free(landing->content_type);
    mem_free(landing);
}

static void landed_discard(struct scraper *scraper) {
    struct landing *landing;
    while ((landing = queue_pop_blocking(scraper->landed, 0)) != NULL) {
        if (landing->target != NULL && landing->target->is_removed) {
            target_destroy(landing->target);
        }
        landing_destroy(landing);
    }
}

void scraper_destroy(struct scraper *scraper) {
    if (scraper == NULL) {
        return;
    }
    scraper_stop(scraper);
    http_client_destroy(scraper->client);
    landed_discard(scraper);
    for (size_t i = 0; i < scraper->target_count; i++) {
        target_destroy(scraper->targets[i]);
    }
    mem_free(scraper->targets);
    map_finish(&scraper->by_key, NULL);
    arena_finish(&scraper->unscraped_arena);
    ingest_scrape_configs_destroy(scraper->configs);
    ingest_scrape_configs_destroy(scraper->pending);
    discovery_destroy(scraper->discovery);
    queue_destroy(scraper->landed);
    pthread_mutex_destroy(&scraper->mu);
    mem_free(scraper->user_agent);
    mem_free(scraper);
}

/* ---- configurations to targets ---- */

/* A sync under way. */
struct sync {
    struct scraper *scraper;
    struct scrape_config *config; /* whose groups are being visited */
    size_t pool_count;
    uint64_t pool_dropped;
    struct target **targets; /* the new list */
    size_t count;
    size_t cap;
    struct arena scratch;
    int64_t now_ms;
    size_t invalid_count;
};

static void unscraped_add(struct sync *sync, struct labels discovered, const struct err *err) {
    struct scraper *scraper = sync->scraper;
    uint64_t keep_max = sync->config->keep_dropped_targets;
    bool is_dropped = err == NULL;
    sync->pool_dropped += is_dropped;
    if (scraper->unscraped_count == DROPPED_SHOWN_MAX ||
        (is_dropped && keep_max > 0 && sync->pool_dropped > keep_max)) {
        return;
    }
    struct arena *arena = &scraper->unscraped_arena;
    scraper->unscraped =
        arena_vec_grow(arena, scraper->unscraped, &scraper->unscraped_cap,
                       scraper->unscraped_count + 1, sizeof(scraper->unscraped[0]));
    scraper->unscraped[scraper->unscraped_count++] = (struct unscraped){
        .pool = arena_str(arena, str_from(sync->config->job_name)),
        .discovered = labels_dup(discovered, arena),
        .error = err == NULL ? STR("") : arena_str(arena, str_from(err->msg)),
    };
}

/* The first time after now_ms at which this target is due: spread over the interval by hash. */
static int64_t first_due(const struct target *target, int64_t now_ms) {
    uint64_t hash = hash_bytes(str_n(target->key, target->key_len));
    int64_t interval_ms = target->interval_ms;
    int64_t offset_ms = (int64_t)(hash % (uint64_t)interval_ms);
    int64_t due_ms = now_ms - now_ms % interval_ms + offset_ms;
    return due_ms > now_ms ? due_ms : due_ms + interval_ms;
}

static void adopt_config(struct target *target, struct scrape_config *config) {
    if (target->config->fingerprint != config->fingerprint) {
        page_cache_orphan(&target->cache);
    }
    config->refs++;
    scrape_config_unref(target->config);
    target->config = config;
}

static void target_add(struct sync *sync, struct target *fresh) {
    struct str key = str_n(fresh->key, fresh->key_len);
    struct target *known = map_get(&sync->scraper->by_key, key);
    struct target *target = fresh;
    if (known != NULL) {
        target_destroy(fresh);
        if (known->is_listed) {
            return; /* the same target twice */
        }
        target = known;
        adopt_config(target, sync->config);
    } else {
        target->next_ms = first_due(target, sync->now_ms);
        map_put(&sync->scraper->by_key, key, target);
    }
    target->is_listed = true;
    target->is_over_limit = false;
    sync->targets = vec_grow(sync->targets, &sync->cap, sync->count + 1, sizeof(sync->targets[0]));
    sync->targets[sync->count++] = target;
    sync->pool_count++;
}

static void visit_group(void *ctx, const struct target_group *group) {
    struct sync *sync = ctx;
    for (size_t i = 0; i < group->targets.count; i++) {
        arena_reset(&sync->scratch);
        struct labels discovered;
        struct target *target;
        struct err err = ERR_INIT;
        enum target_outcome outcome = target_create(sync->config, group, group->targets.items[i],
                                                    &sync->scratch, &discovered, &target, &err);
        if (outcome == TARGET_OK && sync->count == TARGETS_MAX) {
            target_destroy(target);
            err_set(&err, ERR_LIMIT, "there are %d targets already", TARGETS_MAX);
            outcome = TARGET_INVALID;
        }
        switch (outcome) {
        case TARGET_OK: target_add(sync, target); break;
        case TARGET_DROPPED: unscraped_add(sync, discovered, NULL); break;
        case TARGET_INVALID:
            sync->invalid_count++;
            unscraped_add(sync, discovered, &err);
            break;
        }
    }
}

static void pool_sync(struct sync *sync, struct scrape_config *config) {
    size_t first = sync->count;
    sync->config = config;
    sync->pool_count = 0;
    sync->pool_dropped = 0;
    for (size_t i = 0; i < config->group_count; i++) {
        visit_group(sync, &config->groups[i]);
    }
    discovery_groups(sync->scraper->discovery, config, visit_group, sync);
    if (config->target_limit > 0 && sync->pool_count > config->target_limit) {
        for (size_t i = first; i < sync->count; i++) {
            sync->targets[i]->is_over_limit = true;
        }
    }
}

static void target_leave(struct scraper *scraper, struct target *target, int64_t now_ms) {
    map_del(&scraper->by_key, str_n(target->key, target->key_len));
    if (target->is_in_flight) {
        target->is_removed = true; /* ends when it lands */
        return;
    }
    page_end(scraper->ingest, target, now_ms);
    target_destroy(target);
}

static void targets_sync(struct scraper *scraper, int64_t now_ms) {
    struct sync sync = { .scraper = scraper, .now_ms = now_ms };
    arena_init(&sync.scratch, SIZE_MAX);
    pthread_mutex_lock(&scraper->mu);
    arena_reset(&scraper->unscraped_arena);
    scraper->unscraped = NULL;
    scraper->unscraped_count = 0;
    scraper->unscraped_cap = 0;
    for (size_t i = 0; i < scraper->target_count; i++) {
        scraper->targets[i]->is_listed = false;
    }
    for (size_t i = 0; i < scraper->configs->count; i++) {
        pool_sync(&sync, scraper->configs->items[i]);
    }
    struct target **old = scraper->targets;
    size_t old_count = scraper->target_count;
    scraper->targets = sync.targets;
    scraper->target_count = sync.count;
    scraper->target_cap = sync.cap;
    pthread_mutex_unlock(&scraper->mu);
    for (size_t i = 0; i < old_count; i++) {
        if (!old[i]->is_listed) {
            target_leave(scraper, old[i], now_ms);
        }
    }
    mem_free(old);
    arena_finish(&sync.scratch);
    metric_set(scraper->target_gauge, (double)sync.count);
    metric_set(scraper->invalid_gauge, (double)sync.invalid_count);
}

/* Take up a new set of configurations, look at files when it is time. */
static void configs_refresh(struct scraper *scraper, int64_t now_ms) {
    pthread_mutex_lock(&scraper->mu);
    struct ingest_scrape_configs *pending = scraper->pending;
    scraper->pending = NULL;
    pthread_mutex_unlock(&scraper->mu);
    struct ingest_scrape_configs *previous = NULL;
    if (pending != NULL) {
        previous = scraper->configs;
        scraper->configs = pending;
    }
    bool is_time = now_ms - scraper->files_ms >= FILES_REFRESH_MS || now_ms < scraper->files_ms;
    bool has_changed = pending != NULL;
    if (has_changed || is_time) {
        scraper->files_ms = now_ms;
        has_changed |= discovery_refresh(scraper->discovery, scraper->configs);
    }
    if (has_changed) {
        targets_sync(scraper, now_ms);
    }
    ingest_scrape_configs_destroy(previous);
}

/* ---- transfers ---- */

static void land(struct scraper *scraper, struct landing *landing) {
    struct target *target = landing->target;
    if (target == NULL) {
        landing_destroy(landing);
        return;
    }
    assert(target->is_in_flight && scraper->in_flight > 0);
    target->is_in_flight = false;
    scraper->in_flight--;
    if (target->is_removed) {
        page_end(scraper->ingest, target, clock_wall_ms(scraper->ingest->clock));
        target_destroy(target);
        landing_destroy(landing);
        return;
    }
    landing->page.protocol = scrape_reply_protocol(target->config, str_from(landing->content_type));
    struct err err = ERR_INIT;
    bool is_up = page_store(scraper->ingest, target, &landing->page, &err);
    pthread_mutex_lock(&scraper->mu);
    target->health = is_up ? INGEST_TARGET_UP : INGEST_TARGET_DOWN;
    target->last_scrape_ms = target->started_ms;
    target->last_duration_s = landing->page.duration_s;
    size_t len = is_up ? 0 : strnlen(err.msg, sizeof(target->last_error) - 1);
    memcpy(target->last_error, err.msg, len);
    target->last_error[len] = '\0';
    pthread_mutex_unlock(&scraper->mu);
    landing_destroy(landing);
}

static void on_reply(void *ctx, const struct http_response *response) {
    struct landing *landing = ctx;
    struct page *page = &landing->page;
    page->duration_s = response->duration_s;
    if (!response->is_ok) {
        page->err = response->err;
        if (page->err.code == ERR_NONE) {
            err_set(&page->err, ERR_IO, "the transfer failed");
        }
    } else if (response->status != 200) {
        err_set(&page->err, ERR_IO, "server returned HTTP status %d", response->status);
    } else {
        landing->body = mem_strndup(response->body.ptr, response->body.len);
        page->body = str_n(landing->body, response->body.len);
        landing->content_type = mem_strndup(response->content_type.ptr, response->content_type.len);
    }
    if (!queue_try_push(landing->scraper->landed, landing)) {
        BUG("more landings than targets");
    }
}

static bool send_off(struct scraper *scraper, struct landing *landing, struct err *err) {
    const struct target *target = landing->target;
    if (target->is_over_limit) {
        return err_set(err, ERR_LIMIT, "target_limit exceeded (limit %llu)",
                       (unsigned long long)target->config->target_limit);
    }
    if (scraper->client == NULL &&
        !http_client_create(scraper->user_agent, &scraper->client, err)) {
        return false;
    }
    return scrape_submit(scraper->client, target, on_reply, landing, err);
}

static void target_scrape(struct scraper *scraper, struct target *target, int64_t now_ms) {
    int64_t late_ms = now_ms - target->next_ms;
    int64_t tolerance_ms = target->interval_ms / 100;
    tolerance_ms = tolerance_ms < GRID_TOLERANCE_MS ? tolerance_ms : GRID_TOLERANCE_MS;
    target->t_ms = late_ms <= tolerance_ms ? target->next_ms : now_ms;
    target->started_ms = now_ms;
    target->next_ms += (late_ms / target->interval_ms + 1) * target->interval_ms;
    target->is_in_flight = true;
    scraper->in_flight++;
    struct landing *landing = mem_calloc(1, sizeof(*landing));
    landing->scraper = scraper;
    landing->target = target;
    if (!send_off(scraper, landing, &landing->page.err)) {
        land(scraper, landing);
    }
}

/* Start every scrape that is due; returns when the next one is. */
static int64_t due_scrape(struct scraper *scraper, int64_t now_ms) {
    int64_t next_ms = INT64_MAX;
    for (size_t i = 0; i < scraper->target_count; i++) {
        struct target *target = scraper->targets[i];
        bool is_far_off = target->next_ms - now_ms > target->interval_ms;
        if (is_far_off) {
            target->next_ms = first_due(target, now_ms); /* the clock went back */
        }
        if (target->next_ms <= now_ms && !target->is_in_flight) {
            target_scrape(scraper, target, now_ms);
        }
        if (!target->is_in_flight && target->next_ms < next_ms) {
            next_ms = target->next_ms;
        }
    }
    return next_ms;
}

/* Wait for one landing, then take all that are there. */
static void landed_take(struct scraper *scraper, int timeout_ms) {
    struct landing *landing = queue_pop_blocking(scraper->landed, timeout_ms);
    while (landing != NULL) {
        land(scraper, landing);
        landing = queue_pop_blocking(scraper->landed, 0);
    }
}

int64_t scraper_tick_blocking(struct scraper *scraper, int64_t now_ms) {
    configs_refresh(scraper, now_ms);
    due_scrape(scraper, now_ms);
    while (scraper->in_flight > 0) {
        landed_take(scraper, -1);
    }
    return due_scrape(scraper, now_ms);
}

static void *run(void *ctx) {
    struct scraper *scraper = ctx;
    while (!atomic_load(&scraper->is_stopping)) {
        int64_t now_ms = clock_wall_ms(scraper->ingest->clock);
        configs_refresh(scraper, now_ms);
        int64_t due_ms = due_scrape(scraper, now_ms);
        int64_t wait_ms = due_ms == INT64_MAX ? POP_MS_MAX : due_ms - now_ms;
        wait_ms = wait_ms < 0 ? 0 : wait_ms;
        landed_take(scraper, (int)(wait_ms < POP_MS_MAX ? wait_ms : POP_MS_MAX));
    }
    return NULL;
}

static void wake(struct scraper *scraper) {
    struct landing *landing = mem_calloc(1, sizeof(*landing));
    if (!queue_try_push(scraper->landed, landing)) {
        landing_destroy(landing); /* full: it is awake */
    }
}

bool scraper_start(struct scraper *scraper, struct err *err) {
    int rc = pthread_create(&scraper->thread, NULL, run, scraper);
    if (rc != 0) {
        return err_set_errno(err, ERR_INTERNAL, rc, "starting the scraper's thread");
    }
    scraper->is_started = true;
    return true;
}

void scraper_stop(struct scraper *scraper) {
    if (scraper->is_started) {
        scraper->is_started = false;
        atomic_store(&scraper->is_stopping, true);
        wake(scraper);
        pthread_join(scraper->thread, NULL);
    }
}

void ingest_scrape_apply(struct ingest *ingest, struct ingest_scrape_configs *configs) {
    struct scraper *scraper = ingest->scraper;
    pthread_mutex_lock(&scraper->mu);
    struct ingest_scrape_configs *overtaken = scraper->pending;
    scraper->pending = configs;
    pthread_mutex_unlock(&scraper->mu);
    ingest_scrape_configs_destroy(overtaken);
    wake(scraper);
}

/* ---- the view ---- */

static const char *const health_names[] = {
    [INGEST_TARGET_UNKNOWN] = "unknown",
    [INGEST_TARGET_UP] = "up",
    [INGEST_TARGET_DOWN] = "down",
    [INGEST_TARGET_DROPPED] = "dropped",
};
static_assert(ARRAY_LEN(health_names) == INGEST_TARGET_HEALTH_COUNT, "every health has a name");

const char *ingest_target_health_to_string(enum ingest_target_health health) {
    assert(health < INGEST_TARGET_HEALTH_COUNT);
    return health_names[health];
}

static struct ingest_target target_view(const struct target *target, struct arena *arena) {
    return (struct ingest_target){
        .health = target->health,
        .discovered_labels = labels_dup(target->discovered, arena),
        .labels = labels_dup(target->labels, arena),
        .scrape_pool = arena_str(arena, str_from(target->key)),
        .scrape_url = arena_str(arena, str_from(target->url)),
        .global_url = arena_str(arena, str_from(target->url)),
        .last_error = arena_str(arena, str_from(target->last_error)),
        .last_scrape_ms = target->last_scrape_ms,
        .last_scrape_duration_s = target->last_duration_s,
        .scrape_interval_ms = target->interval_ms,
        .scrape_timeout_ms = target->timeout_ms,
    };
}

static struct ingest_target unscraped_view(const struct unscraped *item, struct arena *arena) {
    bool is_dropped = item->error.len == 0;
    return (struct ingest_target){
        .health = is_dropped ? INGEST_TARGET_DROPPED : INGEST_TARGET_DOWN,
        .discovered_labels = labels_dup(item->discovered, arena),
        .scrape_pool = arena_str(arena, item->pool),
        .scrape_url = STR(""),
        .global_url = STR(""),
        .last_error = arena_str(arena, item->error),
    };
}

static int compare_views(const void *left, const void *right) {
    const struct ingest_target *a = left;
    const struct ingest_target *b = right;
    int by_pool = str_cmp(a->scrape_pool, b->scrape_pool);
    if (by_pool != 0) {
        return by_pool;
    }
    int by_labels = labels_cmp(a->labels, b->labels);
    return by_labels != 0 ? by_labels : labels_cmp(a->discovered_labels, b->discovered_labels);
}

void ingest_targets(struct ingest *ingest,
                    struct arena *arena,
                    struct ingest_target **ret,
                    size_t *ret_count) {
    struct scraper *scraper = ingest->scraper;
    pthread_mutex_lock(&scraper->mu);
    size_t count = scraper->target_count + scraper->unscraped_count;
    struct ingest_target *views = arena_calloc(arena, count + 1, sizeof(views[0]));
    for (size_t i = 0; i < scraper->target_count; i++) {
        views[i] = target_view(scraper->targets[i], arena);
    }
    for (size_t i = 0; i < scraper->unscraped_count; i++) {
        views[scraper->target_count + i] = unscraped_view(&scraper->unscraped[i], arena);
    }
    pthread_mutex_unlock(&scraper->mu);
    qsort(views, count, sizeof(views[0]), compare_views);
    *ret = views;
    *ret_count = count;
}
