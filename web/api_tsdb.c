/* /api/v1/status/tsdb: sizes of the store, and which labels its series are made of. */
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "web/api.h"

enum {
    LIMIT_DEFAULT = 10,
    LIMIT_MAX = 10000,
    CANCEL_CHECK_EVERY = 1024,
};

struct tally {
    struct str name;
    uint64_t count;
};

/* Tallies by name, in order of first sight. */
struct tally_set {
    struct map by_name;  /* of index + 1, as pointers */
    struct tally *items; /* vec_grow */
    size_t count;
    size_t cap;
};

struct cardinality {
    struct tally_set series_by_metric;
    struct tally_set values_by_label;
    struct tally_set bytes_by_label;
    struct tally_set series_by_pair; /* "name=value" */
};

static struct tally *tally_of(struct tally_set *set, struct str name, struct arena *arena) {
    uintptr_t index = (uintptr_t)map_get(&set->by_name, name);
    if (index == 0) {
        set->items = vec_grow(set->items, &set->cap, set->count + 1, sizeof(set->items[0]));
        set->items[set->count] = (struct tally){ .name = arena_str(arena, name) };
        index = ++set->count;
        (void)map_put(&set->by_name, name, (void *)index);
    }
    return &set->items[index - 1];
}

static void set_finish(struct tally_set *set) {
    map_finish(&set->by_name, NULL);
    mem_free(set->items);
}

static void cardinality_finish(struct cardinality *c) {
    set_finish(&c->series_by_metric);
    set_finish(&c->values_by_label);
    set_finish(&c->bytes_by_label);
    set_finish(&c->series_by_pair);
}

static void count_label(struct cardinality *c,
                        const struct label *label,
                        struct buf *pair,
                        struct arena *arena) {
    buf_reset(pair);
    buf_str(pair, label->name);
    buf_putc(pair, '=');
    buf_str(pair, label->value);
    struct tally *of_pair = tally_of(&c->series_by_pair, buf_as_str(pair), arena);
    if (of_pair->count++ == 0) {
        tally_of(&c->values_by_label, label->name, arena)->count++;
    }
    tally_of(&c->bytes_by_label, label->name, arena)->count += label->value.len;
    if (str_eq(label->name, METRIC_NAME)) {
        tally_of(&c->series_by_metric, label->value, arena)->count++;
    }
}

static bool count_series(struct web_request *request, struct cardinality *c, struct err *err) {
    struct tsdb_querier *querier = NULL;
    struct tsdb_series_view *views = NULL;
    size_t count = 0;
    if (!tsdb_querier_open(request->web->opts.db, INT64_MIN, INT64_MAX, NULL, &querier, err)) {
        return false;
    }
    bool is_ok = tsdb_select(querier, NULL, 0, &request->arena, &views, &count, err);
    struct buf pair;
    buf_init(&pair, 1u << 20);
    for (size_t i = 0; is_ok && i < count; i++) {
        for (size_t j = 0; j < views[i].labels.count; j++) {
            count_label(c, &views[i].labels.items[j], &pair, &request->arena);
        }
        if (i % CANCEL_CHECK_EVERY == 0 && request->is_canceled) {
            is_ok = err_set(err, ERR_CANCELED, "the client went away");
        } else if (arena_is_over(&request->arena)) {
            is_ok = err_set(err, ERR_LIMIT, "too many series to count");
        }
    }
    buf_finish(&pair);
    tsdb_querier_close(querier);
    return is_ok;
}

/* Largest first, by name on a tie. */
static int compare_tallies(const void *a, const void *b) {
    const struct tally *x = a;
    const struct tally *y = b;
    if (x->count != y->count) {
        return x->count > y->count ? -1 : 1;
    }
    return str_cmp(x->name, y->name);
}

static void write_top(struct json_writer *json,
                      const char *key,
                      struct tally_set *set,
                      size_t limit) {
    if (set->count > 0) {
        qsort(set->items, set->count, sizeof(set->items[0]), compare_tallies);
    }
    json_key(json, key);
    json_array(json);
    for (size_t i = 0; i < set->count && i < limit; i++) {
        json_object(json);
        json_key(json, "name");
        json_str(json, set->items[i].name);
        json_key(json, "value");
        json_u64(json, set->items[i].count);
        json_object_end(json);
    }
    json_array_end(json);
}

static void write_number(struct json_writer *json, const char *key, uint64_t value) {
    json_key(json, key);
    json_u64(json, value);
}

static void write_status(struct web_request *request, struct cardinality *c, size_t limit) {
    struct tsdb_stats stats;
    tsdb_stats(request->web->opts.db, &stats);
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    json_key(&json, "headStats");
    json_object(&json);
    write_number(&json, "numSeries", stats.series_count);
    write_number(&json, "numLabelPairs", c->series_by_pair.count);
    write_number(&json, "chunkCount", stats.chunk_count);
    json_key(&json, "minTime");
    json_i64(&json, stats.t_min_ms);
    json_key(&json, "maxTime");
    json_i64(&json, stats.t_max_ms);
    json_object_end(&json);
    write_top(&json, "seriesCountByMetricName", &c->series_by_metric, limit);
    write_top(&json, "labelValueCountByLabelName", &c->values_by_label, limit);
    write_top(&json, "memoryInBytesByLabelName", &c->bytes_by_label, limit);
    write_top(&json, "seriesCountByLabelValuePair", &c->series_by_pair, limit);
    write_number(&json, "journalBytes", stats.journal_bytes); /* this and the next: ours */
    write_number(&json, "storeBytes", stats.store_bytes);
    json_object_end(&json);
    web_json_close(request, &json);
}

void api_tsdb_status(struct web_request *request) {
    struct str text = web_param(request, "limit");
    struct err err = ERR_INIT;
    int64_t limit = LIMIT_DEFAULT;
    if (text.len > 0 && (!str_parse_i64(text, &limit) || limit < 1)) {
        err_set(&err, ERR_INVALID, "limit must be a positive number");
    } else if (limit > LIMIT_MAX) {
        err_set(&err, ERR_INVALID, "limit must not exceed %d", LIMIT_MAX);
    }
    if (err.code != ERR_NONE) {
        web_reply_error(request, &err);
        return;
    }
    struct cardinality c = { 0 };
    map_init(&c.series_by_metric.by_name);
    map_init(&c.values_by_label.by_name);
    map_init(&c.bytes_by_label.by_name);
    map_init(&c.series_by_pair.by_name);
    if (count_series(request, &c, &err)) {
        write_status(request, &c, (size_t)limit);
    } else {
        web_reply_error(request, &err);
    }
    cardinality_finish(&c);
}
