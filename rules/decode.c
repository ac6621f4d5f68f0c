/*
 * From YAML nodes to groups and rules, with upstream's rules of what is valid
 * (Prometheus model/rulefmt). Everything wrong in a file is reported, each at its place.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "base/yaml.h"
#include "rules/expand.h"
#include "rules/set.h"

enum {
    QUERY_BYTES_MAX = 1 << 20, /* of the canonical form */
};

struct decoder {
    struct yaml_decode yaml;
    struct rules_loader *loader;
    struct rule_set *set;
    struct str path;
};

/* ---- small parts ---- */

static void remember_node(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    *(const struct yaml_node **)dest = node;
}

/* A scalar as text; null and absent are empty. False with a finding for anything else. */
static bool decode_text(struct decoder *d,
                        const struct yaml_node *node,
                        const char *what,
                        struct str *ret) {
    *ret = STR("");
    if (node == NULL || yaml_is_null(node)) {
        return true;
    }
    if (node->kind != YAML_SCALAR) {
        yaml_error(&d->yaml, node, DIAG_ERROR, "%s must be a single value", what);
        return false;
    }
    if (memchr(node->scalar.ptr, '\0', node->scalar.len) != NULL) {
        yaml_error(&d->yaml, node, DIAG_ERROR, "%s must not contain a NUL character", what);
        return false;
    }
    *ret = arena_str(&d->set->arena, node->scalar);
    return true;
}

static int compare_labels(const void *a, const void *b) {
    return str_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

/* A mapping of names to texts, sorted; empty values are kept. */
static struct labels decode_map(struct decoder *d,
                                const struct yaml_node *node,
                                bool is_annotations) {
    const char *what = is_annotations ? "annotation" : "label";
    struct labels labels = { 0 };
    if (node == NULL || yaml_is_null(node)) {
        return labels;
    }
    if (node->kind != YAML_MAPPING) {
        yaml_error(&d->yaml, node, DIAG_ERROR, "%ss must be a mapping (name: text)", what);
        return labels;
    }
    labels.items = arena_calloc(&d->set->arena, node->count, sizeof(struct label));
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_node *key = node->pairs[i].key;
        struct label *label = &labels.items[labels.count];
        if (key->scalar.len == 0 || !str_is_utf8(key->scalar) ||
            (!is_annotations && str_eq(key->scalar, METRIC_NAME))) {
            yaml_error(&d->yaml, key, DIAG_ERROR, "invalid %s name: %.*s", what,
                       STR_FMT(key->scalar));
            continue;
        }
        if (decode_text(d, node->pairs[i].value, what, &label->value)) {
            label->name = arena_str(&d->set->arena, key->scalar);
            labels.count++;
        }
    }
    if (labels.count > 0) {
        qsort(labels.items, labels.count, sizeof(struct label), compare_labels);
    }
    return labels;
}

/* The group's labels, overridden by the rule's. */
static struct labels merge_labels(struct labels group, struct labels rule, struct arena *arena) {
    struct labels merged = { 0 };
    merged.items = arena_calloc(arena, group.count + rule.count, sizeof(struct label));
    size_t g = 0;
    size_t r = 0;
    while (g < group.count || r < rule.count) {
        int order = g == group.count  ? 1
                    : r == rule.count ? -1
                                      : str_cmp(group.items[g].name, rule.items[r].name);
        merged.items[merged.count++] = order < 0 ? group.items[g] : rule.items[r];
        g += order <= 0 ? 1 : 0;
        r += order >= 0 ? 1 : 0;
    }
    return merged;
}

static uint64_t hash_labels_raw(struct labels labels) {
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX);
    for (size_t i = 0; i < labels.count; i++) {
        buf_str(&bytes, labels.items[i].name);
        buf_putc(&bytes, '\xff');
        buf_str(&bytes, labels.items[i].value);
        buf_putc(&bytes, '\xff');
    }
    uint64_t hash = hash_bytes(buf_as_str(&bytes));
    buf_finish(&bytes);
    return hash;
}

/* ---- templates ---- */

struct text_place {
    const char *kind; /* "label", "annotation" */
    struct str name;
    const struct yaml_node *node;
};

static void compile_text(struct decoder *d,
                         const struct rule_def *rule,
                         const struct text_place *place,
                         struct rule_text *text) {
    if (!rules_expand_is_template(text->text)) {
        return;
    }
    struct err err = ERR_INIT;
    size_t offset = 0;
    if (!rules_expand_compile(d->set, rule->template_name, text->text, &text->tmpl, &offset,
                              &err)) {
        diag_add(d->loader->diags, DIAG_ERROR, yaml_at_offset(d->yaml.doc, place->node, offset),
                 "rule \"%.*s\", %s \"%.*s\": %s", STR_FMT(rule->name), place->kind,
                 STR_FMT(place->name), err.msg);
    }
}

/* Where the text of a label stands: in the rule's mapping, or else in the group's. */
static const struct yaml_node *find_value(const struct yaml_node *own,
                                          const struct yaml_node *group,
                                          struct str name) {
    const struct yaml_node *node = yaml_get(own, name.ptr);
    return node != NULL ? node : yaml_get(group, name.ptr);
}

static struct rule_text *compile_texts(struct decoder *d,
                                       const struct rule_def *rule,
                                       struct labels labels,
                                       const struct yaml_node *own,
                                       const struct yaml_node *group,
                                       const char *kind) {
    struct rule_text *texts = arena_calloc(&d->set->arena, labels.count, sizeof(*texts));
    for (size_t i = 0; i < labels.count; i++) {
        texts[i].text = labels.items[i].value;
        struct text_place place = {
            .kind = kind,
            .name = labels.items[i].name,
            .node = find_value(own, group, labels.items[i].name),
        };
        compile_text(d, rule, &place, &texts[i]);
    }
    return texts;
}

/* ---- rules ---- */

struct rule_form {
    const struct yaml_node *record;
    const struct yaml_node *alert;
    const struct yaml_node *expr;
    const struct yaml_node *labels;
    const struct yaml_node *annotations;
    int64_t for_ms;
    int64_t keep_firing_for_ms;
};

#define NODE_FIELD(field)                                                                \
    {                                                                                    \
        .key = #field, .type = YAML_CUSTOM, .offset = offsetof(struct rule_form, field), \
        .decode = remember_node                                                          \
    }

static const struct yaml_field rule_fields[] = {
    NODE_FIELD(record),
    NODE_FIELD(alert),
    NODE_FIELD(expr),
    { .key = "for", .type = YAML_DURATION, .offset = offsetof(struct rule_form, for_ms) },
    { .key = "keep_firing_for",
      .type = YAML_DURATION,
      .offset = offsetof(struct rule_form, keep_firing_for_ms) },
    NODE_FIELD(labels),
    NODE_FIELD(annotations),
};

static void refuse_in_recording(struct decoder *d,
                                const struct yaml_node *rule_node,
                                const char *field,
                                bool is_set) {
    if (is_set) {
        const struct yaml_node *node = yaml_get(rule_node, field);
        yaml_error(&d->yaml, node == NULL ? rule_node : node, DIAG_ERROR,
                   "invalid field '%s' in recording rule", field);
    }
}

static void check_record_name(struct decoder *d, const struct yaml_node *node, struct str name) {
    if (!str_is_utf8(name)) {
        yaml_error(&d->yaml, node, DIAG_ERROR, "invalid recording rule name: %.*s", STR_FMT(name));
    }
    if (memchr(name.ptr, '{', name.len) != NULL || memchr(name.ptr, '}', name.len) != NULL) {
        yaml_error(&d->yaml, node, DIAG_ERROR,
                   "braces present in the recording rule name; should it be in expr?: %.*s",
                   STR_FMT(name));
    }
}

/* Name and type. */
static void decode_name(struct decoder *d,
                        const struct yaml_node *node,
                        const struct rule_form *form,
                        struct rule_def *rule) {
    struct str record;
    struct str alert;
    if (!decode_text(d, form->record, "'record'", &record) ||
        !decode_text(d, form->alert, "'alert'", &alert)) {
        return;
    }
    rule->type = alert.len > 0 ? RULE_ALERTING : RULE_RECORDING;
    rule->name = alert.len > 0 ? alert : record;
    rule->template_name = arena_printf(&d->set->arena, "__alert_%.*s", STR_FMT(alert)).ptr;
    if (record.len > 0 && alert.len > 0) {
        yaml_error(&d->yaml, form->record, DIAG_ERROR,
                   "only one of 'record' and 'alert' must be set");
    } else if (record.len == 0 && alert.len == 0) {
        yaml_error(&d->yaml, node, DIAG_ERROR, "one of 'record' or 'alert' must be set");
    }
    if (record.len > 0) {
        refuse_in_recording(d, node, "annotations",
                            form->annotations != NULL && form->annotations->count > 0);
        refuse_in_recording(d, node, "for", form->for_ms != 0);
        refuse_in_recording(d, node, "keep_firing_for", form->keep_firing_for_ms != 0);
        check_record_name(d, form->record, record);
    }
}

/* The parser says "LINE:COL: …" of the expression's text; the finding says it of the file. */
static const char *without_position(const char *message) {
    const char *at = message;
    for (int part = 0; part < 2; part++) {
        const char *digits = at;
        while (*at >= '0' && *at <= '9') {
            at++;
        }
        if (at == digits || *at != ':') {
            return message;
        }
        at++;
    }
    return *at == ' ' ? at + 1 : at;
}

static void parse_query(struct decoder *d,
                        const struct yaml_node *node,
                        const struct rule_form *form,
                        struct rule_def *rule) {
    if (!decode_text(d, form->expr, "'expr'", &rule->query_text)) {
        return;
    }
    if (rule->query_text.len == 0) {
        yaml_error(&d->yaml, form->expr == NULL ? node : form->expr, DIAG_ERROR,
                   "rule \"%.*s\": field 'expr' must be set in rule", STR_FMT(rule->name));
        return;
    }
    struct err err = ERR_INIT;
    size_t offset = 0;
    if (!promql_parse(rule->query_text, &d->set->features, &d->set->arena, &rule->expr, &offset,
                      &err)) {
        rule->expr = NULL;
        diag_add(d->loader->diags, DIAG_ERROR, yaml_at_offset(d->yaml.doc, form->expr, offset),
                 "rule \"%.*s\": could not parse expression: %s", STR_FMT(rule->name),
                 without_position(err.msg));
        return;
    }
    enum promql_type type = promql_expr_type(rule->expr);
    if (type != PROMQL_VECTOR && type != PROMQL_SCALAR) {
        yaml_error(&d->yaml, form->expr, DIAG_WARNING,
                   "rule \"%.*s\": the expression gives a %s, every evaluation will fail: a rule "
                   "needs an instant vector or scalar",
                   STR_FMT(rule->name), promql_type_to_string(type));
    }
    struct buf query;
    buf_init(&query, QUERY_BYTES_MAX);
    promql_print(rule->expr, &query);
    rule->query = arena_str(&d->set->arena, buf_as_str(&query));
    buf_finish(&query);
}

static uint64_t hash_identity(const struct rule_def *rule) {
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX);
    buf_putc(&bytes, rule->type == RULE_ALERTING ? 'a' : 'r');
    buf_str(&bytes, rule->name);
    buf_putc(&bytes, '\xff');
    buf_str(&bytes, rule->query);
    uint64_t hash = hash_bytes(buf_as_str(&bytes));
    buf_finish(&bytes);
    return hash;
}

static void decode_rule(struct decoder *d,
                        const struct yaml_node *node,
                        const struct rule_group_def *group,
                        struct labels group_labels,
                        const struct yaml_node *group_labels_node,
                        struct rule_def *rule) {
    struct rule_form form = { 0 };
    rule->group = group;
    rule->line = node->line;
    rule->column = node->column;
    (void)yaml_decode_mapping(&d->yaml, node, rule_fields, ARRAY_LEN(rule_fields), &form);
    decode_name(d, node, &form, rule);
    parse_query(d, node, &form, rule);
    rule->for_ms = form.for_ms;
    rule->keep_firing_for_ms = form.keep_firing_for_ms;
    struct labels own = decode_map(d, form.labels, false);
    rule->labels = merge_labels(group_labels, own, &d->set->arena);
    rule->labels_hash = hash_labels_raw(rule->labels);
    rule->match_hash = hash_identity(rule);
    if (rule->type != RULE_ALERTING) {
        return;
    }
    rule->annotations = decode_map(d, form.annotations, true);
    rule->label_texts =
        compile_texts(d, rule, rule->labels, form.labels, group_labels_node, "label");
    rule->annotation_texts =
        compile_texts(d, rule, rule->annotations, form.annotations, NULL, "annotation");
    struct str link = rules_expand_table_link(rule->query, &d->set->arena);
    rule->generator_url =
        arena_printf(&d->set->arena, "%.*s%.*s", STR_FMT(d->set->external_url), STR_FMT(link));
}

/* ---- groups ---- */

struct group_form {
    const struct yaml_node *name;
    int64_t interval_ms;
    int64_t query_offset_ms;
    int64_t limit;
    const struct yaml_node *labels;
    const struct yaml_node *rules;
};

#undef NODE_FIELD
#define NODE_FIELD(field)                                                                 \
    {                                                                                     \
        .key = #field, .type = YAML_CUSTOM, .offset = offsetof(struct group_form, field), \
        .decode = remember_node                                                           \
    }

static const struct yaml_field group_fields[] = {
    NODE_FIELD(name),
    { .key = "interval",
      .type = YAML_DURATION,
      .offset = offsetof(struct group_form, interval_ms) },
    { .key = "query_offset",
      .type = YAML_DURATION,
      .offset = offsetof(struct group_form, query_offset_ms) },
    { .key = "limit", .type = YAML_I64, .offset = offsetof(struct group_form, limit) },
    NODE_FIELD(labels),
    NODE_FIELD(rules),
};

/* Spreads groups over their interval; stable over restarts. */
static int64_t slot_offset(const struct rule_group_def *group) {
    struct buf key;
    buf_init(&key, SIZE_MAX);
    buf_str(&key, group->file);
    buf_putc(&key, '\xff');
    buf_str(&key, group->name);
    uint64_t hash = hash_bytes(buf_as_str(&key));
    buf_finish(&key);
    return (int64_t)(hash % (uint64_t)group->interval_ms);
}

static void decode_group_name(struct decoder *d,
                              const struct yaml_node *node,
                              const struct group_form *form,
                              size_t group_first,
                              struct rule_group_def *group) {
    if (!decode_text(d, form->name, "the group's name", &group->name)) {
        return;
    }
    const struct yaml_node *at = form->name == NULL ? node : form->name;
    if (group->name.len == 0) {
        yaml_error(&d->yaml, at, DIAG_ERROR, "Groupname must not be empty");
    }
    for (size_t i = group_first; i < d->set->group_count; i++) {
        if (str_eq(d->set->groups[i]->name, group->name)) {
            yaml_error(&d->yaml, at, DIAG_ERROR, "groupname: \"%.*s\" is repeated in the same file",
                       STR_FMT(group->name));
            return;
        }
    }
}

static void decode_rules(struct decoder *d,
                         const struct group_form *form,
                         struct rule_group_def *group) {
    struct labels labels = decode_map(d, form->labels, false);
    if (form->rules == NULL || yaml_is_null(form->rules)) {
        return;
    }
    if (form->rules->kind != YAML_SEQUENCE) {
        yaml_error(&d->yaml, form->rules, DIAG_ERROR, "'rules' must be a list");
        return;
    }
    group->rules = arena_calloc(&d->set->arena, form->rules->count, sizeof(group->rules[0]));
    group->rule_count = form->rules->count;
    for (size_t i = 0; i < group->rule_count; i++) {
        decode_rule(d, form->rules->items[i], group, labels, form->labels, &group->rules[i]);
    }
}

static void decode_group(struct decoder *d, const struct yaml_node *node, size_t group_first) {
    const struct rules_load_options *options = d->loader->options;
    struct group_form form = { .query_offset_ms = options->query_offset_ms };
    (void)yaml_decode_mapping(&d->yaml, node, group_fields, ARRAY_LEN(group_fields), &form);
    struct rule_set *set = d->set;
    struct rule_group_def *group = arena_calloc(&set->arena, 1, sizeof(*group));
    group->file = d->path;
    group->interval_ms = form.interval_ms > 0       ? form.interval_ms
                         : options->interval_ms > 0 ? options->interval_ms
                                                    : RULES_INTERVAL_MS_DEFAULT;
    group->query_offset_ms = form.query_offset_ms;
    group->limit = form.limit > 0 ? (uint64_t)form.limit : 0;
    decode_group_name(d, node, &form, group_first, group);
    group->offset_ms = slot_offset(group);
    set->groups = arena_vec_grow(&set->arena, set->groups, &set->group_cap, set->group_count + 1,
                                 sizeof(struct rule_group_def *));
    set->groups[set->group_count++] = group;
    decode_rules(d, &form, group);
}

struct file_form {
    const struct yaml_node *groups;
};

void rules_decode_file(struct rules_loader *loader, const struct yaml_doc *doc, struct str path) {
    static const struct yaml_field fields[] = {
        { .key = "groups",
          .type = YAML_CUSTOM,
          .offset = offsetof(struct file_form, groups),
          .decode = remember_node },
    };
    struct decoder d = {
        .yaml = { .doc = doc, .diags = loader->diags },
        .loader = loader,
        .set = loader->set,
        .path = path,
    };
    struct file_form form = { 0 };
    const struct yaml_node *root = yaml_root(doc);
    if (root == NULL || !yaml_decode_mapping(&d.yaml, root, fields, ARRAY_LEN(fields), &form)) {
        return;
    }
    if (form.groups == NULL || yaml_is_null(form.groups)) {
        return;
    }
    if (form.groups->kind != YAML_SEQUENCE) {
        yaml_error(&d.yaml, form.groups, DIAG_ERROR, "'groups' must be a list");
        return;
    }
    size_t group_first = loader->set->group_count;
    for (size_t i = 0; i < form.groups->count; i++) {
        decode_group(&d, form.groups->items[i], group_first);
    }
}
