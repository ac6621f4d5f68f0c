/*
 * info(v, {selector}): adds the labels of info series (target_info unless the selector names
 * others) to the series of v that agree with them in `instance` and `job`.
 *
 * Info series are looked up at the times v's own selector looks at. Where several of one name
 * match at a step, the one with the newest sample counts.
 */
#include <assert.h>
#include <inttypes.h>

#include "promql/eval_call.h"

enum {
    ERR_LABELS_BYTES_MAX = 1 << 14,
    ID_LABELS = 2,
};

static const struct str id_labels[ID_LABELS] = {
    { .ptr = "instance", .len = 8 },
    { .ptr = "job", .len = 3 },
};

/* The matchers of the call, split by what they are about. */
struct info_matchers {
    struct matcher *names; /* on __name__, at least one */
    size_t name_count;
    const struct matcher **data; /* on other labels */
    size_t data_count;
    struct matcher implied; /* owned: the one added when none is positive */
    bool has_implied;
};

struct info {
    struct eval *eval;
    const struct node *node;
    const struct steps *steps;
    struct arena arena;
    struct info_matchers matchers;
    struct step_matrix base;
    bool *is_ignored;             /* per base series: is an info series itself */
    struct step_matrix series;    /* info series; values are sample times */
    struct lset_index names;      /* their names, as {__name__} sets */
    struct lset_index signatures; /* name, instance and job */
    uint32_t **newest;            /* per signature and step: info series + 1, 0 = none */
    struct lset_index labels;     /* of the output */
    struct step_matrix output;
    size_t bytes; /* of newest, counted against the budget */
};

struct node info_reference(const struct node *arg) {
    if (arg->kind == NODE_SELECTOR || arg->kind == NODE_RANGE) {
        return *arg;
    }
    for (size_t i = 0; i < arg->arg_count; i++) {
        struct node found = info_reference(arg->args[i]);
        if (found.kind == NODE_KIND_COUNT) {
            continue;
        }
        if (arg->kind == NODE_SUBQUERY && !found.has_at) {
            found.offset_ms += arg->offset_ms;
            found.has_at = arg->has_at;
            found.at_ms = arg->at_ms;
        }
        return found;
    }
    return (struct node){ .kind = NODE_KIND_COUNT };
}

/* ---- matchers ---- */

static bool has_positive_name(const struct matcher *matchers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (str_eq(matchers[i].name, METRIC_NAME) &&
            (matchers[i].type == MATCH_EQ || matchers[i].type == MATCH_RE)) {
            return true;
        }
    }
    return false;
}

static bool matchers_init(struct info *info, struct err *err) {
    struct info_matchers *matchers = &info->matchers;
    const struct matcher *written = NULL;
    size_t count = 0;
    if (info->node->arg_count > 1) {
        const struct promql_expr *selector = info->node->args[1]->expr;
        written = selector->selector.matchers;
        count = selector->selector.matcher_count;
    }
    matchers->names = arena_alloc(&info->arena, (count + 1) * sizeof(matchers->names[0]));
    matchers->data = arena_alloc(&info->arena, (count + 1) * sizeof(matchers->data[0]));
    for (size_t i = 0; i < count; i++) {
        if (str_eq(written[i].name, METRIC_NAME)) {
            matchers->names[matchers->name_count++] = written[i];
        } else {
            matchers->data[matchers->data_count++] = &written[i];
        }
    }
    if (has_positive_name(written, count)) {
        return true;
    }
    /* Only exclusions: of everything that is named like an info metric. */
    bool has_exclusions = matchers->name_count > 0;
    if (!matcher_init(&matchers->implied, has_exclusions ? MATCH_RE : MATCH_EQ, METRIC_NAME,
                      has_exclusions ? STR(".+_info") : STR("target_info"), err)) {
        return false;
    }
    matchers->has_implied = true;
    matchers->names[matchers->name_count++] = matchers->implied;
    return true;
}

static bool is_info_name(const struct info_matchers *matchers, struct str name) {
    for (size_t i = 0; i < matchers->name_count; i++) {
        if (!matcher_matches(&matchers->names[i], name)) {
            return false;
        }
    }
    return true;
}

static bool has_data_matcher(const struct info_matchers *matchers, struct str name) {
    for (size_t i = 0; i < matchers->data_count; i++) {
        if (str_eq(matchers->data[i]->name, name)) {
            return true;
        }
    }
    return false;
}

/* ---- finding info series ---- */

/* The values of one identifying label among the base series that want to be enriched. */
static void collect_id_values(const struct info *info, struct str name, struct lset_index *ret) {
    lset_index_init(ret, &info->eval->arena);
    for (size_t i = 0; i < info->base.count; i++) {
        struct label label = {
            .name = name,
            .value = labels_get(info->base.series[i].labels, name),
        };
        if (!info->is_ignored[i] && label.value.len > 0) {
            bool is_new;
            lset_index_add(ret, (struct labels){ .items = &label, .count = 1 }, false, &is_new);
        }
    }
}

static bool is_wanted(const struct lset_index values[ID_LABELS], struct labels labels) {
    for (size_t i = 0; i < ID_LABELS; i++) {
        struct label label = { .name = id_labels[i], .value = labels_get(labels, id_labels[i]) };
        if (values[i].count > 0 &&
            lset_index_find(&values[i], (struct labels){ .items = &label, .count = 1 }) ==
                SIZE_MAX) {
            return false;
        }
    }
    return true;
}

static bool read_series(struct info *info,
                        const struct tsdb_series_view *view,
                        const struct node *reference,
                        struct tsdb_column *column,
                        struct step_series *scratch,
                        struct err *err) {
    struct eval *eval = info->eval;
    const struct steps *steps = info->steps;
    int64_t first_ms = node_reference_ms(reference, steps->start_ms) - eval->lookback_ms + 1;
    int64_t last_ms = node_reference_ms(reference, steps_at(steps, steps->count - 1));
    if (!tsdb_read(eval->querier, view->id, first_ms, last_ms, column, err) ||
        !eval_work(eval, column->count + steps->count, err)) {
        return false;
    }
    selector_fill(eval, reference, steps, column, true, scratch);
    scratch->labels = view->labels;
    eval->samples_total += scratch->count;
    return eval_hold(eval, scratch->count, err) &&
           (scratch->count == 0 || step_matrix_copy(&info->series, scratch, err));
}

static bool select_series(struct info *info,
                          const struct lset_index values[ID_LABELS],
                          struct err *err) {
    struct eval *eval = info->eval;
    const struct info_matchers *matchers = &info->matchers;
    size_t count = matchers->name_count + matchers->data_count;
    struct matcher *all = arena_alloc(&info->arena, count * sizeof(all[0]));
    memcpy(all, matchers->names, matchers->name_count * sizeof(all[0]));
    for (size_t i = 0; i < matchers->data_count; i++) {
        all[matchers->name_count + i] = *matchers->data[i];
    }
    struct tsdb_series_view *views;
    size_t view_count;
    if (!tsdb_select(eval->querier, all, count, &eval->arena, &views, &view_count, err)) {
        return false;
    }
    struct node reference = info_reference(info->node->args[0]);
    struct tsdb_column column = { 0 };
    struct step_series scratch;
    step_series_init(&scratch, &info->arena, info->steps);
    bool is_ok = true;
    for (size_t i = 0; i < view_count && is_ok; i++) {
        if (is_wanted(values, views[i].labels)) {
            is_ok = read_series(info, &views[i], &reference, &column, &scratch, err);
        }
    }
    tsdb_column_finish(&column);
    return is_ok;
}

static bool find_series(struct info *info, struct err *err) {
    info->is_ignored = arena_alloc(&info->arena, (info->base.count + 1) * sizeof(bool));
    for (size_t i = 0; i < info->base.count; i++) {
        info->is_ignored[i] =
            is_info_name(&info->matchers, labels_get(info->base.series[i].labels, METRIC_NAME));
    }
    struct lset_index values[ID_LABELS];
    size_t value_count = 0;
    for (size_t i = 0; i < ID_LABELS; i++) {
        collect_id_values(info, id_labels[i], &values[i]);
        value_count += values[i].count;
    }
    return value_count == 0 || info->eval->querier == NULL || select_series(info, values, err);
}

/* ---- matching ---- */

/* What base and info series are matched by: the info metric's name, instance and job. */
static struct labels signature(struct labels labels, struct str name, struct label items[3]) {
    struct labels result = { .items = items };
    items[result.count++] = (struct label){ .name = METRIC_NAME, .value = name };
    for (size_t i = 0; i < ID_LABELS; i++) {
        struct str value = labels_get(labels, id_labels[i]);
        if (value.len > 0) {
            items[result.count++] = (struct label){ .name = id_labels[i], .value = value };
        }
    }
    return result;
}

static bool fail_ambiguous(const struct info *info,
                           const struct step_series *existing,
                           const struct step_series *series,
                           size_t step,
                           struct err *err) {
    struct buf text;
    buf_init(&text, ERR_LABELS_BYTES_MAX);
    buf_cstr(&text, "existing ");
    lset_print_go(existing->labels, &text);
    buf_printf(&text, " @ %" PRId64 ", new ", (int64_t)existing->values[step]);
    lset_print_go(series->labels, &text);
    buf_printf(&text, " @ %" PRId64, (int64_t)series->values[step]);
    (void)info;
    err_set(err, ERR_EXEC, "found duplicate series for info metric: %.*s",
            STR_FMT(buf_as_str(&text)));
    buf_finish(&text);
    return false;
}

/* Enter an info series where it is the newest of its signature. */
static bool enter_series(struct info *info, uint32_t *newest, size_t index, struct err *err) {
    const struct step_series *series = &info->series.series[index];
    size_t steps = info->steps->count;
    for (size_t i = bits_next(series->present, 0, steps); i < steps;
         i = bits_next(series->present, i + 1, steps)) {
        if (newest[i] != 0) {
            const struct step_series *existing = &info->series.series[newest[i] - 1];
            if (existing->values[i] > series->values[i]) {
                continue;
            }
            if (existing->values[i] == series->values[i]) {
                return fail_ambiguous(info, existing, series, i, err);
            }
        }
        newest[i] = (uint32_t)index + 1;
    }
    return true;
}

static bool index_series(struct info *info, struct err *err) {
    size_t count = info->series.count;
    info->newest = arena_calloc(&info->arena, count + 1, sizeof(info->newest[0]));
    for (size_t i = 0; i < count; i++) {
        struct labels labels = info->series.series[i].labels;
        struct label items[1 + ID_LABELS];
        bool is_new;
        struct labels key = signature(labels, labels_get(labels, METRIC_NAME), items);
        lset_index_add(&info->names, (struct labels){ .items = items, .count = 1 }, false, &is_new);
        size_t number = lset_index_add(&info->signatures, key, false, &is_new);
        if (is_new) {
            size_t bytes = info->steps->count * sizeof(uint32_t);
            if (!eval_reserve_bytes(info->eval, bytes, err)) {
                return false;
            }
            info->bytes += bytes;
            info->newest[number] = arena_calloc(&info->arena, info->steps->count, sizeof(uint32_t));
        }
        if (!enter_series(info, info->newest[number], i, err)) {
            return false;
        }
    }
    return true;
}

/* ---- combining ---- */

/* Add an info series' labels to those gathered so far. */
static bool add_labels(struct info *info,
                       struct labels base,
                       struct labels series,
                       struct labels *gathered,
                       struct err *err) {
    for (size_t i = 0; i < series.count; i++) {
        const struct label *label = &series.items[i];
        if (str_eq(label->name, METRIC_NAME) ||
            (info->matchers.data_count > 0 && !has_data_matcher(&info->matchers, label->name))) {
            continue;
        }
        struct str value = labels_get(*gathered, label->name);
        if (value.len > 0 && !str_eq(value, label->value)) {
            return err_set(err, ERR_EXEC, "conflicting label: %.*s", STR_FMT(label->name));
        }
        if (labels_get(base, label->name).len == 0) {
            *gathered = lset_with(*gathered, label->name, label->value, &info->eval->arena);
        }
    }
    return true;
}

static bool all_match_empty(const struct info_matchers *matchers) {
    for (size_t i = 0; i < matchers->data_count; i++) {
        if (!matcher_matches(matchers->data[i], (struct str){ 0 })) {
            return false;
        }
    }
    return true;
}

/* The labels of a base series given the info series chosen per info name (0 = none). */
static bool combine_labels(struct info *info,
                           struct labels base,
                           const uint32_t *chosen,
                           bool *ret_is_dropped,
                           struct labels *ret,
                           struct err *err) {
    struct labels gathered = { 0 };
    bool has_any = false;
    for (size_t i = 0; i < info->names.count; i++) {
        if (chosen[i] == 0) {
            continue;
        }
        has_any = true;
        struct labels labels = info->series.series[chosen[i] - 1].labels;
        if (!add_labels(info, base, labels, &gathered, err)) {
            return false;
        }
    }
    *ret_is_dropped = !has_any && !all_match_empty(&info->matchers);
    *ret = base;
    for (size_t i = 0; i < gathered.count; i++) {
        *ret = lset_with(*ret, gathered.items[i].name, gathered.items[i].value, &info->eval->arena);
    }
    return true;
}

static bool output_series(struct info *info,
                          const struct step_series *base,
                          struct labels labels,
                          size_t *ret,
                          struct err *err) {
    bool is_new;
    struct step_series *series;
    *ret = lset_index_add(&info->labels, labels, true, &is_new);
    if (is_new) {
        if (!step_matrix_new(&info->output, labels, &series, err)) {
            return false;
        }
        series->drops_name = base->drops_name;
    }
    return true;
}

static bool put_value(struct info *info,
                      size_t number,
                      size_t step,
                      double value,
                      struct err *err) {
    struct step_series *series = &info->output.series[number];
    if (bit_get(series->present, step)) {
        return duplicate_labelset(err);
    }
    step_series_set(series, step, value);
    return true;
}

/* The info series of each name that matches a base series at a step. */
static bool choose_series(const struct info *info,
                          const size_t *signatures,
                          size_t step,
                          uint32_t *chosen) {
    bool has_changed = false;
    for (size_t i = 0; i < info->names.count; i++) {
        uint32_t choice = signatures[i] == SIZE_MAX ? 0 : info->newest[signatures[i]][step];
        has_changed = has_changed || choice != chosen[i];
        chosen[i] = choice;
    }
    return has_changed;
}

static bool enrich_series(struct info *info, const struct step_series *base, struct err *err) {
    size_t names = info->names.count;
    size_t *signatures = arena_alloc(&info->arena, (names + 1) * sizeof(signatures[0]));
    uint32_t *chosen = arena_calloc(&info->arena, names + 1, sizeof(chosen[0]));
    for (size_t i = 0; i < names; i++) {
        struct label items[1 + ID_LABELS];
        signatures[i] = lset_index_find(
            &info->signatures, signature(base->labels, info->names.keys[i].items[0].value, items));
    }
    size_t steps = info->steps->count;
    size_t number = SIZE_MAX;
    bool is_dropped = false;
    for (size_t i = bits_next(base->present, 0, steps); i < steps;
         i = bits_next(base->present, i + 1, steps)) {
        bool has_changed = choose_series(info, signatures, i, chosen);
        if (has_changed || number == SIZE_MAX) {
            struct labels labels;
            if (!combine_labels(info, base->labels, chosen, &is_dropped, &labels, err) ||
                !output_series(info, base, labels, &number, err)) {
                return false;
            }
        }
        if (!is_dropped && !put_value(info, number, i, base->values[i], err)) {
            return false;
        }
    }
    return true;
}

static bool pass_series(struct info *info, const struct step_series *base, struct err *err) {
    size_t number;
    if (!output_series(info, base, base->labels, &number, err)) {
        return false;
    }
    size_t steps = info->steps->count;
    for (size_t i = bits_next(base->present, 0, steps); i < steps;
         i = bits_next(base->present, i + 1, steps)) {
        if (!put_value(info, number, i, base->values[i], err)) {
            return false;
        }
    }
    return true;
}

static bool combine(struct info *info, struct err *err) {
    for (size_t i = 0; i < info->base.count; i++) {
        const struct step_series *base = &info->base.series[i];
        bool is_ok =
            info->is_ignored[i] ? pass_series(info, base, err) : enrich_series(info, base, err);
        if (!is_ok || !eval_work(info->eval, info->steps->count, err)) {
            return false;
        }
    }
    step_matrix_recount(&info->output);
    return true;
}

/* What is looked at at the last step. */
static uint64_t count_last(const struct info *info) {
    uint64_t count = 0;
    for (size_t i = 0; i < info->base.count; i++) {
        count += bit_get(info->base.series[i].present, info->steps->count - 1);
    }
    for (size_t i = 0; i < info->series.count; i++) {
        count += bit_get(info->series.series[i].present, info->steps->count - 1);
    }
    return count;
}

bool func_info(struct eval *eval,
               const struct node *node,
               const struct steps *steps,
               const struct sink *sink,
               struct err *err) {
    uint64_t mark = eval->samples_now;
    struct info info = { .eval = eval, .node = node, .steps = steps };
    arena_init(&info.arena, SIZE_MAX);
    lset_index_init(&info.names, &info.arena);
    lset_index_init(&info.signatures, &info.arena);
    lset_index_init(&info.labels, &info.arena);
    step_matrix_init(&info.series, eval, steps);
    step_matrix_init(&info.output, eval, steps);
    bool is_ok = matchers_init(&info, err) &&
                 eval_collect(eval, node->args[0], steps, &info.base, err) &&
                 find_series(&info, err) && index_series(&info, err) && combine(&info, err) &&
                 eval_account(eval, mark, count_last(&info), info.output.samples, err) &&
                 matrix_stream(&info.output, sink, err);
    if (info.matchers.has_implied) {
        matcher_finish(&info.matchers.implied);
    }
    eval->bytes_held -= info.bytes;
    step_matrix_finish(&info.base);
    step_matrix_finish(&info.series);
    step_matrix_finish(&info.output);
    arena_finish(&info.arena);
    return is_ok;
}
