/*
 * One scraped page into the store: lines to series through the target's cache, staleness of what
 * vanished, and the series that report on the scrape itself.
 *
 * A page counts whole or not at all: syntax is checked to the end before the first sample, and a
 * limit that is hit on the way abandons the batch. A failed scrape marks every series of the last
 * page stale.
 * Source: Prometheus scrape/scrape.go.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ingest/scrape.h"
#include "ingest/text.h"

void page_cache_init(struct page_cache *cache) {
    *cache = (struct page_cache){ 0 };
    map_init(&cache->series);
}

void page_cache_finish(struct page_cache *cache) {
    map_finish(&cache->series, mem_free);
    mem_free(cache->orphans);
}

static void orphan_add(struct page_cache *cache, series_ref_t ref) {
    cache->orphans = vec_grow(cache->orphans, &cache->orphan_cap, cache->orphan_count + 1,
                              sizeof(cache->orphans[0]));
    cache->orphans[cache->orphan_count++] = ref;
}

void page_cache_orphan(struct page_cache *cache) {
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&cache->series, &cursor, &key, &value)) {
        const struct page_series *series = value;
        if (!series->is_dropped && !series->is_untracked) {
            orphan_add(cache, series->ref);
        }
    }
    map_finish(&cache->series, mem_free);
    map_init(&cache->series);
}

/* ---- one page under way ---- */

struct load {
    struct ingest *ingest;
    struct target *target;
    const struct page *page;
    struct tsdb_batch *batch;
    struct arena arena; /* labels under construction */
    enum text_format format;
    enum refusal why; /* the page fails, if it does */
    uint64_t scraped;
    uint64_t kept;
    uint64_t added;
};

static void on_committed(void *ctx, const struct tsdb_commit_result *result) {
    struct ingest *ingest = ctx;
    struct counters *counters = &ingest->counters;
    if (!result->is_durable) {
        counters_refuse(counters, DOOR_SCRAPE, REFUSAL_STORE, 1);
    } else {
        const size_t *counts = result->counts;
        metric_add(counters->accepted[DOOR_SCRAPE], (double)counts[TSDB_ACCEPTED]);
        metric_add(counters->duplicates[DOOR_SCRAPE], (double)counts[TSDB_DUPLICATE]);
        counters_refuse(counters, DOOR_SCRAPE, REFUSAL_OUT_OF_ORDER, counts[TSDB_OUT_OF_ORDER]);
        counters_refuse(counters, DOOR_SCRAPE, REFUSAL_CONFLICT, counts[TSDB_CONFLICT]);
        counters_refuse(counters, DOOR_SCRAPE, REFUSAL_TOO_OLD, counts[TSDB_TOO_OLD]);
        counters_refuse(counters, DOOR_SCRAPE, REFUSAL_TOO_NEW, counts[TSDB_TOO_NEW]);
    }
    ingest_flight_end(ingest);
}

static void load_commit(struct load *load) {
    ingest_flight_begin(load->ingest);
    tsdb_commit(load->batch, on_committed, load->ingest);
    load->batch = NULL;
}

static bool load_begin(struct load *load) {
    struct err err = ERR_INIT;
    if (!tsdb_batch_begin(load->ingest->db, TSDB_INGEST, &load->batch, &err)) {
        counters_refuse(&load->ingest->counters, DOOR_SCRAPE, REFUSAL_STORE, 1);
        return false;
    }
    return true;
}

/* ---- labels of a line ---- */

static struct str free_name(struct labels_builder *builder,
                            struct labels scraped,
                            struct str name) {
    /* A scraped label that the target has too becomes exported_NAME, as often as it takes. */
    struct str free = name;
    do {
        free = arena_printf(builder->arena, "exported_%.*s", STR_FMT(free));
    } while (labels_builder_get(builder, free).len > 0 || labels_get(scraped, free).len > 0);
    return free;
}

static struct labels merge_labels(struct load *load, struct labels scraped) {
    struct labels own = load->target->labels;
    struct labels_builder builder;
    labels_builder_init(&builder, &load->arena, scraped);
    bool is_honored = load->target->config->honor_labels;
    for (size_t i = 0; i < own.count; i++) {
        struct str name = own.items[i].name;
        struct str there = labels_builder_get(&builder, name);
        if (there.len > 0 && is_honored) {
            continue;
        }
        if (there.len > 0) {
            labels_builder_set(&builder, free_name(&builder, scraped, name), there);
        }
        labels_builder_set(&builder, name, own.items[i].value);
    }
    return labels_builder_build(&builder);
}

static bool limits_check(struct load *load, struct labels labels, struct err *err) {
    const struct scrape_config *config = load->target->config;
    load->why = REFUSAL_LIMIT;
    if (config->label_limit > 0 && labels.count > config->label_limit) {
        return err_set(err, ERR_LIMIT, "label_limit exceeded (%zu labels, limit %llu)",
                       labels.count, (unsigned long long)config->label_limit);
    }
    for (size_t i = 0; i < labels.count; i++) {
        uint64_t name_max = config->label_name_length_limit;
        uint64_t value_max = config->label_value_length_limit;
        if (name_max > 0 && labels.items[i].name.len > name_max) {
            return err_set(err, ERR_LIMIT, "label_name_length_limit exceeded (label %.*s)",
                           (int)(labels.items[i].name.len < 100 ? labels.items[i].name.len : 100),
                           labels.items[i].name.ptr);
        }
        if (value_max > 0 && labels.items[i].value.len > value_max) {
            return err_set(err, ERR_LIMIT, "label_value_length_limit exceeded (label %.*s)",
                           STR_FMT(labels.items[i].name));
        }
    }
    load->why = REFUSAL_BAD_LABELS; /* for what is checked next */
    return true;
}

static bool names_check(const struct scrape_config *config, struct labels labels, struct err *err) {
    struct str metric = labels_get(labels, METRIC_NAME);
    if (metric.len == 0) {
        return err_set(err, ERR_INVALID, "a metric has no name after relabelling");
    }
    if (config->is_legacy_names && !metric_name_is_valid_legacy(metric)) {
        return err_set(err, ERR_INVALID, "metric name \"%.*s\" is not valid", STR_FMT(metric));
    }
    return true;
}

/* False with err set: the page fails. False without: only this series is left out. */
static bool series_resolve(struct load *load,
                           const struct text_entry *entry,
                           struct page_series *series,
                           struct err *err) {
    const struct scrape_config *config = load->target->config;
    arena_reset(&load->arena);
    struct labels scraped = text_labels(entry, &load->arena);
    load->why = REFUSAL_BAD_LABELS;
    if (!labels_normalize(&scraped, err) || !limits_check(load, scraped, err)) {
        return false;
    }
    struct labels labels = merge_labels(load, scraped);
    if (!ingest_relabel_apply(config->metric_relabel, labels, &load->arena, &labels)) {
        series->is_dropped = true;
        return true;
    }
    if (!names_check(config, labels, err) || !labels_normalize(&labels, err) ||
        !limits_check(load, labels, err)) {
        return false;
    }
    struct err refused = ERR_INIT;
    if (!tsdb_series(load->ingest->db, labels, &series->ref, &refused)) {
        counters_refuse(&load->ingest->counters, DOOR_SCRAPE,
                        refused.code == ERR_THROTTLED ? REFUSAL_SERIES_LIMIT : REFUSAL_STORE, 1);
        return false;
    }
    return true;
}

/* ---- lines ---- */

static bool sample_append(struct load *load, const struct text_entry *entry, struct err *err) {
    struct target *target = load->target;
    const struct scrape_config *config = target->config;
    struct page_cache *cache = &target->cache;
    load->scraped++;
    struct page_series *series = map_get(&cache->series, entry->series);
    if (series == NULL) {
        struct page_series fresh = { .born_round = cache->round };
        if (!series_resolve(load, entry, &fresh, err)) {
            return err->code == ERR_NONE || err_wrap(err, "line %u", entry->line);
        }
        series = mem_alloc(sizeof(*series));
        *series = fresh;
        map_put(&cache->series, entry->series, series);
        load->added += !fresh.is_dropped;
    }
    series->round = cache->round;
    if (series->is_dropped) {
        return true;
    }
    load->kept++;
    if (config->sample_limit > 0 && load->kept > config->sample_limit) {
        load->why = REFUSAL_LIMIT;
        return err_set(err, ERR_LIMIT, "sample_limit exceeded (limit %llu)",
                       (unsigned long long)config->sample_limit);
    }
    bool has_own_t = entry->has_t && config->honor_timestamps;
    series->is_untracked = has_own_t && !config->track_timestamps_staleness;
    tsdb_batch_append(load->batch, series->ref, has_own_t ? entry->t_ms : target->t_ms,
                      entry->value);
    return true;
}

static bool page_parses(const struct load *load, struct err *err) {
    struct text_parser parser;
    struct text_entry entry;
    text_init(&parser, load->format, load->page->body);
    enum text_kind kind;
    do {
        kind = text_next(&parser, &entry, err);
    } while (kind != TEXT_END && kind != TEXT_BAD);
    return kind == TEXT_END;
}

static void family_put(struct load *load, const struct text_family *family) {
    if (metadata_is_storable(family->name, &family->metadata)) {
        tsdb_batch_metadata(load->batch, family->name, &family->metadata);
    }
}

static bool page_append(struct load *load, struct err *err) {
    struct arena families CLEANUP(arena_finish);
    arena_init(&families, SIZE_MAX);
    struct text_family family = { .name = STR("") };
    struct text_family done;
    struct text_parser parser;
    struct text_entry entry;
    text_init(&parser, load->format, load->page->body);
    enum text_kind kind;
    while ((kind = text_next(&parser, &entry, err)) != TEXT_END) {
        assert(kind != TEXT_BAD);
        if (kind == TEXT_SERIES) {
            if (!sample_append(load, &entry, err)) {
                return false;
            }
        } else if (text_family_add(&family, kind, &entry, &families, &done)) {
            family_put(load, &done);
        }
    }
    family_put(load, &family);
    return true;
}

/* ---- staleness ---- */

static void append_stale(struct load *load, series_ref_t ref) {
    tsdb_batch_append(load->batch, ref, load->target->t_ms, double_from_bits(STALE_NAN_BITS));
}

static int compare_refs(const void *left, const void *right) {
    const series_ref_t *a = left;
    const series_ref_t *b = right;
    return (*a > *b) - (*a < *b);
}

/* Series of the older configuration that the new one does not have either. */
static void orphans_end(struct load *load) {
    struct page_cache *cache = &load->target->cache;
    if (cache->orphan_count == 0) {
        return;
    }
    series_ref_t *live = mem_calloc(cache->series.count + 1, sizeof(live[0]));
    size_t live_count = 0;
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&cache->series, &cursor, &key, &value)) {
        const struct page_series *series = value;
        if (!series->is_dropped && series->round == cache->round) {
            live[live_count++] = series->ref;
        }
    }
    qsort(live, live_count, sizeof(live[0]), compare_refs);
    for (size_t i = 0; i < cache->orphan_count; i++) {
        if (bsearch(&cache->orphans[i], live, live_count, sizeof(live[0]), compare_refs) == NULL) {
            append_stale(load, cache->orphans[i]);
        }
    }
    mem_free(live);
    cache->orphan_count = 0;
}

/* Everything the page of this round does not have. */
static void vanished_end(struct load *load) {
    struct page_cache *cache = &load->target->cache;
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&cache->series, &cursor, &key, &value)) {
        struct page_series *series = value;
        if (series->round == cache->round) {
            continue;
        }
        if (!series->is_dropped && !series->is_untracked) {
            append_stale(load, series->ref);
        }
        mem_free(map_del(&cache->series, key));
    }
    orphans_end(load);
}

/* The page of this round came to nothing: forget what only it had. */
static void round_undo(struct page_cache *cache) {
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&cache->series, &cursor, &key, &value)) {
        const struct page_series *series = value;
        if (series->born_round == cache->round) {
            mem_free(map_del(&cache->series, key));
        }
    }
    cache->round++; /* what is left belongs to earlier rounds */
}

/* ---- reports ---- */

static const char *const report_names[] = {
    [REPORT_UP] = "up",
    [REPORT_DURATION] = "scrape_duration_seconds",
    [REPORT_SCRAPED] = "scrape_samples_scraped",
    [REPORT_POST_RELABEL] = "scrape_samples_post_metric_relabeling",
    [REPORT_ADDED] = "scrape_series_added",
    [REPORT_TIMEOUT] = "scrape_timeout_seconds",
    [REPORT_SAMPLE_LIMIT] = "scrape_sample_limit",
    [REPORT_BODY_BYTES] = "scrape_body_size_bytes",
};
static_assert(ARRAY_LEN(report_names) == REPORT_COUNT, "every report has a name");

static bool reports_resolve(struct load *load) {
    struct page_cache *cache = &load->target->cache;
    if (cache->has_reports) {
        return true;
    }
    for (size_t i = 0; i < REPORT_COUNT; i++) {
        arena_reset(&load->arena);
        struct labels_builder builder;
        labels_builder_init(&builder, &load->arena, load->target->labels);
        labels_builder_set(&builder, METRIC_NAME, str_from(report_names[i]));
        struct err err = ERR_INIT;
        if (!tsdb_series(load->ingest->db, labels_builder_build(&builder), &cache->reports[i],
                         &err)) {
            counters_refuse(&load->ingest->counters, DOOR_SCRAPE, REFUSAL_SERIES_LIMIT, 1);
            return false;
        }
    }
    cache->has_reports = true;
    return true;
}

static size_t report_count(const struct target *target) {
    return target->config->has_extra_metrics ? REPORT_COUNT : REPORT_TIMEOUT;
}

static void reports_append(struct load *load, bool is_up) {
    if (!reports_resolve(load)) {
        return;
    }
    const struct target *target = load->target;
    const double values[REPORT_COUNT] = {
        [REPORT_UP] = is_up ? 1 : 0,
        [REPORT_DURATION] = load->page->duration_s,
        [REPORT_SCRAPED] = (double)load->scraped,
        [REPORT_POST_RELABEL] = (double)load->kept,
        [REPORT_ADDED] = (double)load->added,
        [REPORT_TIMEOUT] = (double)target->timeout_ms / 1000,
        [REPORT_SAMPLE_LIMIT] = (double)target->config->sample_limit,
        [REPORT_BODY_BYTES] = is_up ? (double)load->page->body.len : 0,
    };
    for (size_t i = 0; i < report_count(target); i++) {
        tsdb_batch_append(load->batch, target->cache.reports[i], target->t_ms, values[i]);
    }
}

/* ---- whole pages ---- */

static bool page_load(struct load *load, struct err *err) {
    if (load->page->err.code != ERR_NONE) {
        *err = load->page->err;
        return false;
    }
    return page_parses(load, err) && page_append(load, err);
}

bool page_store(struct ingest *ingest,
                struct target *target,
                const struct page *page,
                struct err *ret) {
    bool is_openmetrics = page->protocol == INGEST_PROTOCOL_OPENMETRICS_0_0_1 ||
                          page->protocol == INGEST_PROTOCOL_OPENMETRICS_1_0_0;
    struct load load = {
        .ingest = ingest,
        .target = target,
        .page = page,
        .format = is_openmetrics ? TEXT_OPENMETRICS : TEXT_PLAIN,
        .why = REFUSAL_MALFORMED,
    };
    metric_inc(ingest->counters.requests[DOOR_SCRAPE]);
    if (!load_begin(&load)) {
        return err_set(ret, ERR_UNAVAILABLE, "the store does not take samples now");
    }
    arena_init(&load.arena, SIZE_MAX);
    target->cache.round++;
    bool is_up = page_load(&load, ret);
    if (!is_up) {
        /* Not reaching the target refuses nothing; a page over body_size_limit does. */
        bool is_too_big = page->err.code == ERR_LIMIT;
        counters_refuse(&ingest->counters, DOOR_SCRAPE, is_too_big ? REFUSAL_LIMIT : load.why,
                        page->err.code == ERR_NONE || is_too_big ? 1 : 0);
        round_undo(&target->cache);
        load.added = 0;
        tsdb_batch_abandon(load.batch);
        load.batch = NULL;
    }
    if (is_up || load_begin(&load)) {
        vanished_end(&load);
        reports_append(&load, is_up);
        load_commit(&load);
    }
    arena_finish(&load.arena);
    return is_up;
}

void page_end(struct ingest *ingest, struct target *target, int64_t t_ms) {
    static const struct page nothing = { .duration_s = 0 };
    struct load load = { .ingest = ingest, .target = target, .page = &nothing };
    if (target->cache.series.count == 0 && !target->cache.has_reports) {
        return;
    }
    if (!load_begin(&load)) {
        return;
    }
    target->t_ms = t_ms;
    target->cache.round++;
    vanished_end(&load);
    for (size_t i = 0; target->cache.has_reports && i < report_count(target); i++) {
        append_stale(&load, target->cache.reports[i]);
    }
    load_commit(&load);
}
