/*
 * A whole rules engine on a virtual clock: a store in a temporary directory, gauges that are
 * written just before every evaluation, a sink that records what became durable.
 */
#pragma once

#include "base/mem.h"
#include "base/metric.h"
#include "rules/rules.h"
#include "tests/unit.h"

#define SIM_T0 INT64_C(1700000000000)

struct sim_gauge {
    char *name;
    char *labels[8]; /* name, value, … */
    double value;
    bool is_on;
};

struct sim_sent {
    char *labels; /* printed */
    char *annotations;
    char *generator_url;
    int64_t now_ms;
    int64_t active_ms;
    int64_t starts_ms;
    int64_t ends_ms;
    double value;
};

struct sim_event {
    enum rules_event_kind kind;
    char *rule;
    char *message;
    int64_t count;
};

struct sim {
    char dir[64];
    struct fake_clock clock;
    struct metric_registry *metrics;
    struct tsdb *db;
    struct rules *rules;
    struct rules_options options; /* changed by a test before sim_open_rules() */
    struct rules_load_options load;
    int64_t due_ms;
    uint64_t series_max; /* of the store, from the next sim_restart() on */

    struct sim_gauge gauges[64];
    size_t gauge_count;

    struct sim_sent *staged;
    size_t staged_count;
    struct sim_sent *sent;
    size_t sent_count;
    struct sim_event events[256];
    size_t event_count;
};

void sim_init(struct sim *sim); /* store and engine, no rules yet */
void sim_finish(struct sim *sim);
void sim_open_rules(struct sim *sim);
/* Close engine and store and open both again, as a restart would. */
void sim_restart(struct sim *sim);

/* Load the text as file "test.yml" and put it in force. */
void sim_rules(struct sim *sim, const char *yaml);
void sim_rules_file(struct sim *sim, const char *file, const char *yaml);

/* From now on the gauge has this value at every step; sim_off: no samples any more. */
void sim_set(struct sim *sim, const char *name, const char *const *labels, double value);
void sim_off(struct sim *sim, const char *name, const char *const *labels);

/* Move the clock to the next slot of any group, write the gauges, evaluate. Returns the slot. */
int64_t sim_step(struct sim *sim);
/* So many steps; returns the last slot. */
int64_t sim_steps(struct sim *sim, int count);
/* Move the clock without evaluating. */
void sim_pass(struct sim *sim, int64_t ms);
void sim_write(struct sim *sim); /* the gauges, now */

/* The value of an instant query as one text: "{a="b"} 1|{…} 2", sorted; at the present time. */
const char *sim_query(struct sim *sim, const char *query);
const char *sim_query_at(struct sim *sim, const char *query, int64_t t_ms);

/* All alerts of the snapshot, "alertname{labels} pending|…". */
const char *sim_alerts(struct sim *sim);
/* The index-th rule of all groups, of a fresh snapshot that is kept until the next call. */
const struct rule_view *sim_rule(struct sim *sim, size_t index);
const struct alert_view *sim_alert(struct sim *sim, size_t rule, size_t alert);
/* What was handed over since the last call: "F name{…}@+SECONDS" per alert, relative to base_ms. */
const char *sim_sent_text(struct sim *sim, int64_t base_ms);
size_t sim_event_count(const struct sim *sim, enum rules_event_kind kind);
