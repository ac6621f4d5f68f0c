/*
 * Inhibition: a firing source alert mutes target alerts that agree with it on the `equal` labels.
 * An alert that matches both sides is not muted by one that matches both sides, too.
 *
 * The index is rebuilt when alerts changed, so that a flush after an evaluation sees all of it.
 * Per rule and set of equal values it knows whether there is a source at all, and one that is not
 * a target itself; upstream keeps a single source per set and can overlook the latter.
 */
#include "base/mem.h"
#include "notify/engine.h"

enum {
    KEY_BYTES_MAX = 4 * 1024 * 1024,
};

struct source {
    bool has_any;
    bool has_one_sided;
};

struct inhibit_index {
    const struct notify_config *config;
    struct map *sources; /* per rule: equal values -> struct source */
};

static void free_source(void *value) {
    mem_free(value);
}

void inhibit_index_destroy(struct inhibit_index *index) {
    if (index == NULL) {
        return;
    }
    for (size_t i = 0; i < index->config->inhibit_rule_count; i++) {
        map_finish(&index->sources[i], free_source);
    }
    mem_free(index->sources);
    mem_free(index);
}

/* The values of the rule's equal labels; an absent label is the empty value. */
static struct str equal_key(const struct inhibit_rule *rule,
                            struct labels labels,
                            struct buf *out) {
    buf_init(out, KEY_BYTES_MAX);
    buf_putc(out, ':');
    for (size_t i = 0; i < rule->equal_count; i++) {
        struct str value = labels_get(labels, str_from(rule->equal[i]));
        buf_u64(out, value.len);
        buf_putc(out, ':');
        buf_str(out, value);
    }
    return buf_as_str(out);
}

static void add_source(struct map *sources,
                       const struct inhibit_rule *rule,
                       const struct live_alert *alert) {
    struct buf key;
    struct str text = equal_key(rule, alert->labels, &key);
    struct source *source = map_get(sources, text);
    if (source == NULL) {
        source = mem_calloc(1, sizeof(*source));
        (void)map_put(sources, text, source);
    }
    buf_finish(&key);
    source->has_any = true;
    source->has_one_sided |= !matcher_list_matches(&rule->target, alert->labels);
}

struct inhibit_index *inhibit_index_create(const struct notify_config *config,
                                           const struct live_set *live) {
    struct inhibit_index *index = mem_calloc(1, sizeof(*index));
    index->config = config;
    index->sources = mem_calloc(config->inhibit_rule_count + 1, sizeof(index->sources[0]));
    for (size_t i = 0; i < config->inhibit_rule_count; i++) {
        const struct inhibit_rule *rule = &config->inhibit_rules[i];
        map_init(&index->sources[i]);
        size_t cursor = 0;
        struct str key;
        void *value;
        while (map_next(&live->alerts, &cursor, &key, &value)) {
            const struct live_alert *alert = value;
            if (live_alert_is_firing(alert) && matcher_list_matches(&rule->source, alert->labels)) {
                add_source(&index->sources[i], rule, alert);
            }
        }
    }
    return index;
}

bool inhibit_index_mutes(const struct inhibit_index *index, const struct live_alert *alert) {
    for (size_t i = 0; i < index->config->inhibit_rule_count; i++) {
        const struct inhibit_rule *rule = &index->config->inhibit_rules[i];
        if (!matcher_list_matches(&rule->target, alert->labels)) {
            continue;
        }
        struct buf key;
        const struct source *source =
            map_get(&index->sources[i], equal_key(rule, alert->labels, &key));
        buf_finish(&key);
        bool is_two_sided = matcher_list_matches(&rule->source, alert->labels);
        if (source != NULL && (is_two_sided ? source->has_one_sided : source->has_any)) {
            return true;
        }
    }
    return false;
}
