/*
 * The scraper: targets from configurations, their schedule, pages into the store.
 *
 * One owner drives it: its thread after scraper_start(), else whoever calls scraper_tick_blocking.
 * Transfers run on the HTTP client's thread and come back through a queue, one per target at most.
 */
#pragma once

#include "base/http.h"
#include "base/map.h"
#include "ingest/internal.h"
#include "ingest/scrape_config.h"

/* ---- one target ---- */

enum report {
    REPORT_UP,
    REPORT_DURATION,
    REPORT_SCRAPED,
    REPORT_POST_RELABEL,
    REPORT_ADDED,
    REPORT_TIMEOUT, /* from here on with extra_scrape_metrics */
    REPORT_SAMPLE_LIMIT,
    REPORT_BODY_BYTES,
    REPORT_COUNT,
};

/* A line of the page as written -> its series. */
struct page_series {
    series_ref_t ref;
    uint64_t round;      /* last page that had it */
    uint64_t born_round; /* first page that had it */
    bool is_dropped;     /* by relabelling */
    bool is_untracked;   /* came with a timestamp of its own: never marked stale */
};

/* What a target's last page consisted of. */
struct page_cache {
    struct map series; /* text of name and labels -> struct page_series */
    uint64_t round;
    series_ref_t *orphans; /* series of an older configuration, to be marked stale */
    size_t orphan_count;
    size_t orphan_cap;
    series_ref_t reports[REPORT_COUNT];
    bool has_reports;
};

struct target {
    /* immutable */
    char *key; /* identity: job and all labels after relabelling */
    size_t key_len;
    char *url;
    struct labels labels; /* as attached to series; heap */
    struct arena arena;   /* holds discovered */
    struct labels discovered;
    int64_t interval_ms;
    int64_t timeout_ms;

    /* owned by the driver */
    struct scrape_config *config; /* a reference */
    struct page_cache cache;
    int64_t next_ms;
    int64_t started_ms;
    int64_t t_ms;
    bool is_in_flight;
    bool is_removed;    /* freed when it lands */
    bool is_listed;     /* mark of a sync */
    bool is_over_limit; /* target_limit of its pool */

    /* guarded by scraper.mu */
    enum ingest_target_health health;
    char last_error[256];
    int64_t last_scrape_ms;
    double last_duration_s;
};

/* ---- scrape_target.c ---- */

enum target_outcome {
    TARGET_OK,
    TARGET_DROPPED, /* by relabelling */
    TARGET_INVALID, /* err is set */
};

/* Labels of one address of a group, relabelled, and the target they make. */
enum target_outcome target_create(struct scrape_config *config,
                                  const struct target_group *group,
                                  const char *address,
                                  struct arena *scratch,
                                  struct labels *ret_discovered,
                                  struct target **ret,
                                  struct err *err);
void target_destroy(struct target *target);

/* ---- scrape_page.c ---- */

struct page {
    struct str body;
    enum ingest_scrape_protocol protocol;
    struct err err; /* why there is no page */
    double duration_s;
};

void page_cache_init(struct page_cache *cache);
void page_cache_finish(struct page_cache *cache);
/* Another configuration: lines mean other series from now on. */
void page_cache_orphan(struct page_cache *cache);

/* Put one scrape's samples and reports into the store; *ret says why it counts as failed. */
bool page_store(struct ingest *ingest,
                struct target *target,
                const struct page *page,
                struct err *ret);
/* The target is gone: everything it had goes stale at t_ms. */
void page_end(struct ingest *ingest, struct target *target, int64_t t_ms);

/* ---- scrape_files.c ---- */

struct discovery; /* contents of the files of file_sd_configs */
struct discovery *discovery_create(struct metric_registry *metrics);
void discovery_destroy(struct discovery *discovery);
/* Look at the files of these configurations again. True when groups changed. */
bool discovery_refresh(struct discovery *discovery, const struct ingest_scrape_configs *configs);
/* Calls visit for every group found in the files of this configuration. */
void discovery_groups(struct discovery *discovery,
                      const struct scrape_config *config,
                      void (*visit)(void *ctx, const struct target_group *group),
                      void *ctx);

/* ---- scrape.c ---- */

WARN_UNUSED bool scraper_create(struct ingest *ingest,
                                const char *user_agent,
                                struct scraper **ret,
                                struct err *err);
void scraper_destroy(struct scraper *scraper); /* NULL ok */
WARN_UNUSED bool scraper_start(struct scraper *scraper, struct err *err);
void scraper_stop(struct scraper *scraper);
/* Scrape what is due and wait for it; returns when the next target is due. */
int64_t scraper_tick_blocking(struct scraper *scraper, int64_t now_ms);
