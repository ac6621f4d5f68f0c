/*
 * Relabelling: decoding the rules, applying them in order.
 * Source: Prometheus model/relabel/relabel.go.
 */
#include <assert.h>
#include <stddef.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/regex.h"
#include "ingest/ingest.h"

#define DEFAULT_SEPARATOR   ";"
#define DEFAULT_REGEX       "(.*)"
#define DEFAULT_REPLACEMENT "$1"

enum action {
    ACTION_REPLACE,
    ACTION_KEEP,
    ACTION_DROP,
    ACTION_KEEPEQUAL,
    ACTION_DROPEQUAL,
    ACTION_HASHMOD,
    ACTION_LABELMAP,
    ACTION_LABELDROP,
    ACTION_LABELKEEP,
    ACTION_LOWERCASE,
    ACTION_UPPERCASE,
    ACTION_COUNT,
};

static const char *const action_names[] = {
    [ACTION_REPLACE] = "replace",     [ACTION_KEEP] = "keep",
    [ACTION_DROP] = "drop",           [ACTION_KEEPEQUAL] = "keepequal",
    [ACTION_DROPEQUAL] = "dropequal", [ACTION_HASHMOD] = "hashmod",
    [ACTION_LABELMAP] = "labelmap",   [ACTION_LABELDROP] = "labeldrop",
    [ACTION_LABELKEEP] = "labelkeep", [ACTION_LOWERCASE] = "lowercase",
    [ACTION_UPPERCASE] = "uppercase",
};
static_assert(ARRAY_LEN(action_names) == ACTION_COUNT, "every action has a name");

struct rule {
    char **source_labels;
    size_t source_count;
    char *separator;
    char *regex_text;
    struct regex *regex;
    uint64_t modulus;
    char *target_label;
    char *replacement;
    enum action action;
};

struct ingest_relabel {
    struct rule *rules;
    size_t count;
    size_t cap;
};

/* ---- life ---- */

static void rule_finish(struct rule *rule) {
    for (size_t i = 0; i < rule->source_count; i++) {
        mem_free(rule->source_labels[i]);
    }
    mem_free(rule->source_labels);
    mem_free(rule->separator);
    mem_free(rule->regex_text);
    regex_destroy(rule->regex);
    mem_free(rule->target_label);
    mem_free(rule->replacement);
}

void ingest_relabel_destroy(struct ingest_relabel *relabel) {
    if (relabel == NULL) {
        return;
    }
    for (size_t i = 0; i < relabel->count; i++) {
        rule_finish(&relabel->rules[i]);
    }
    mem_free(relabel->rules);
    mem_free(relabel);
}

/* ---- decoding ---- */

static void source_labels_decode(struct yaml_decode *ctx,
                                 const struct yaml_node *node,
                                 void *dest) {
    struct rule *rule = (struct rule *)((char *)dest - offsetof(struct rule, source_labels));
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "source_labels must be a list of label names");
        return;
    }
    rule->source_labels = mem_calloc(node->count, sizeof(rule->source_labels[0]));
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_node *item = node->items[i];
        if (item->kind != YAML_SCALAR || item->scalar.len == 0 || !str_is_utf8(item->scalar)) {
            yaml_error(ctx, item, DIAG_ERROR, "not a valid label name");
            continue;
        }
        rule->source_labels[rule->source_count++] = mem_strndup(item->scalar.ptr, item->scalar.len);
    }
}

static void regex_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    char **text = dest;
    if (node->kind != YAML_SCALAR) {
        yaml_error(ctx, node, DIAG_ERROR, "regex must be a string");
        return;
    }
    mem_free(*text);
    *text = yaml_is_null(node) ? mem_strdup("") : mem_strndup(node->scalar.ptr, node->scalar.len);
}

static void action_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    enum action *action = dest;
    for (size_t i = 0; node->kind == YAML_SCALAR && i < ACTION_COUNT; i++) {
        if (str_eq_nocase(node->scalar, str_from(action_names[i]))) {
            *action = (enum action)i;
            return;
        }
    }
    const char *nearest =
        node->kind == YAML_SCALAR ? str_nearest(node->scalar, action_names, ACTION_COUNT) : NULL;
    yaml_error(ctx, node, DIAG_ERROR, "unknown relabel action%s%s%s",
               nearest == NULL ? "" : ", did you mean \"", nearest == NULL ? "" : nearest,
               nearest == NULL ? "" : "\"?");
}

static const struct yaml_field rule_fields[] = {
    { "source_labels", YAML_CUSTOM, offsetof(struct rule, source_labels), false,
      source_labels_decode },
    { "separator", YAML_STRING, offsetof(struct rule, separator), false, NULL },
    { "regex", YAML_CUSTOM, offsetof(struct rule, regex_text), false, regex_decode },
    { "modulus", YAML_U64, offsetof(struct rule, modulus), false, NULL },
    { "target_label", YAML_STRING, offsetof(struct rule, target_label), false, NULL },
    { "replacement", YAML_STRING, offsetof(struct rule, replacement), false, NULL },
    { "action", YAML_CUSTOM, offsetof(struct rule, action), false, action_decode },
};

static bool has_variable(const char *text) {
    return strchr(text, '$') != NULL;
}

static bool is_default(const char *text, const char *fallback) {
    return strcmp(text, fallback) == 0;
}

/* Fields that the action does not look at must not be set: they would be a misunderstanding. */
static const char *surplus_field(const struct rule *rule) {
    bool is_equal = rule->action == ACTION_KEEPEQUAL || rule->action == ACTION_DROPEQUAL;
    bool is_label = rule->action == ACTION_LABELDROP || rule->action == ACTION_LABELKEEP;
    bool is_case = rule->action == ACTION_LOWERCASE || rule->action == ACTION_UPPERCASE;
    if (is_equal && !is_default(rule->regex_text, DEFAULT_REGEX)) {
        return "regex";
    }
    if ((is_equal || is_label) && rule->modulus != 0) {
        return "modulus";
    }
    if ((is_equal || is_label) && !is_default(rule->separator, DEFAULT_SEPARATOR)) {
        return "separator";
    }
    if ((is_equal || is_label || is_case) && !is_default(rule->replacement, DEFAULT_REPLACEMENT)) {
        return "replacement";
    }
    if (is_label && rule->source_count > 0) {
        return "source_labels";
    }
    return is_label && rule->target_label[0] != '\0' ? "target_label" : NULL;
}

static bool needs_target(enum action action) {
    switch (action) {
    case ACTION_REPLACE:
    case ACTION_HASHMOD:
    case ACTION_LOWERCASE:
    case ACTION_UPPERCASE:
    case ACTION_KEEPEQUAL:
    case ACTION_DROPEQUAL: return true;
    default: return false;
    }
}

static void rule_check(struct yaml_decode *ctx, const struct yaml_node *node, struct rule *rule) {
    const char *action = action_names[rule->action];
    struct err err = ERR_INIT;
    if (!regex_create(str_from(rule->regex_text), &rule->regex, &err)) {
        const struct yaml_node *at = yaml_get(node, "regex");
        yaml_error(ctx, at == NULL ? node : at, DIAG_ERROR, "regex: %s", err.msg);
    }
    if (rule->action == ACTION_HASHMOD && rule->modulus == 0) {
        yaml_error(ctx, node, DIAG_ERROR, "action hashmod requires a modulus other than 0");
    }
    if (needs_target(rule->action) && rule->target_label[0] == '\0') {
        yaml_error(ctx, node, DIAG_ERROR, "action %s requires target_label", action);
    }
    if (!str_is_utf8(str_from(rule->target_label)) || !str_is_utf8(str_from(rule->replacement))) {
        yaml_error(ctx, node, DIAG_ERROR, "target_label and replacement must be UTF-8");
    }
    if (rule->action == ACTION_LABELMAP && rule->replacement[0] == '\0') {
        yaml_error(ctx, node, DIAG_ERROR, "action labelmap requires a replacement");
    }
    const char *surplus = surplus_field(rule);
    if (surplus != NULL) {
        yaml_error(ctx, node, DIAG_ERROR, "%s has no meaning for action %s", surplus, action);
    }
}

static void rule_decode(struct yaml_decode *ctx,
                        const struct yaml_node *node,
                        struct ingest_relabel *relabel) {
    if (yaml_is_null(node)) {
        yaml_error(ctx, node, DIAG_ERROR, "empty relabel rule");
        return;
    }
    relabel->rules =
        vec_grow(relabel->rules, &relabel->cap, relabel->count + 1, sizeof(relabel->rules[0]));
    struct rule *rule = &relabel->rules[relabel->count++];
    *rule = (struct rule){
        .separator = mem_strdup(DEFAULT_SEPARATOR),
        .regex_text = mem_strdup(DEFAULT_REGEX),
        .target_label = mem_strdup(""),
        .replacement = mem_strdup(DEFAULT_REPLACEMENT),
        .action = ACTION_REPLACE,
    };
    if (yaml_decode_mapping(ctx, node, rule_fields, ARRAY_LEN(rule_fields), rule)) {
        rule_check(ctx, node, rule);
    }
}

void ingest_relabel_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct ingest_relabel **ret = dest;
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "relabel rules must be a list");
        return;
    }
    struct ingest_relabel *relabel = mem_calloc(1, sizeof(*relabel));
    for (size_t i = 0; i < node->count; i++) {
        rule_decode(ctx, node->items[i], relabel);
    }
    ingest_relabel_destroy(*ret);
    *ret = relabel;
}

/* ---- applying ---- */

struct application {
    struct labels_builder builder;
    struct arena *arena;
    struct str value; /* of the source labels, joined */
};

static struct str source_value(const struct rule *rule, struct application *run) {
    if (rule->source_count == 1) {
        return labels_builder_get(&run->builder, str_from(rule->source_labels[0]));
    }
    struct buf joined CLEANUP(buf_finish);
    buf_init(&joined, LABELS_COUNT_MAX * (LABEL_VALUE_BYTES_MAX + 16));
    for (size_t i = 0; i < rule->source_count; i++) {
        if (i > 0) {
            buf_cstr(&joined, rule->separator);
        }
        buf_str(&joined, labels_builder_get(&run->builder, str_from(rule->source_labels[i])));
    }
    return arena_str(run->arena, buf_as_str(&joined));
}

static struct str expand(const struct rule *rule,
                         const char *template,
                         const struct str *groups,
                         size_t group_count,
                         struct arena *arena) {
    if (!has_variable(template)) {
        return str_from(template);
    }
    struct buf out CLEANUP(buf_finish);
    buf_init(&out, 1u << 20);
    regex_expand(rule->regex, str_from(template), groups, group_count, &out);
    return arena_str(arena, buf_as_str(&out));
}

static void replace(const struct rule *rule, struct application *run) {
    struct str groups[REGEX_GROUPS_MAX];
    size_t count = regex_groups(rule->regex, run->value, groups);
    if (count == 0) {
        return;
    }
    struct str target = expand(rule, rule->target_label, groups, count, run->arena);
    if (target.len == 0 || !str_is_utf8(target)) {
        return;
    }
    struct str value = expand(rule, rule->replacement, groups, count, run->arena);
    if (value.len == 0) {
        labels_builder_del(&run->builder, target);
    } else {
        labels_builder_set(&run->builder, target, value);
    }
}

static void hashmod(const struct rule *rule, struct application *run) {
    uint8_t digest[16];
    hash_md5(run->value, digest);
    uint64_t hash = 0;
    for (size_t i = 8; i < 16; i++) {
        hash = hash << 8 | digest[i];
    }
    struct str text = arena_printf(run->arena, "%llu", (unsigned long long)(hash % rule->modulus));
    labels_builder_set(&run->builder, str_from(rule->target_label), text);
}

/* ASCII only: label values with other letters keep them as they are. */
static void change_case(const struct rule *rule, struct application *run) {
    bool is_upper = rule->action == ACTION_UPPERCASE;
    char *out = arena_alloc(run->arena, run->value.len + 1);
    for (size_t i = 0; i < run->value.len; i++) {
        char c = run->value.ptr[i];
        if (is_upper && c >= 'a' && c <= 'z') {
            c = (char)(c - 'a' + 'A');
        } else if (!is_upper && c >= 'A' && c <= 'Z') {
            c = (char)(c - 'A' + 'a');
        }
        out[i] = c;
    }
    struct str text = str_n(out, run->value.len);
    labels_builder_set(&run->builder, str_from(rule->target_label), text);
}

static void labelmap(const struct rule *rule, struct application *run, struct labels now) {
    for (size_t i = 0; i < now.count; i++) {
        struct str groups[REGEX_GROUPS_MAX];
        size_t count = regex_groups(rule->regex, now.items[i].name, groups);
        if (count > 0) {
            struct str name = expand(rule, rule->replacement, groups, count, run->arena);
            if (name.len > 0) {
                labels_builder_set(&run->builder, name, now.items[i].value);
            }
        }
    }
}

static void filter_names(const struct rule *rule, struct application *run, struct labels now) {
    bool drops_matches = rule->action == ACTION_LABELDROP;
    for (size_t i = 0; i < now.count; i++) {
        if (regex_matches(rule->regex, now.items[i].name) == drops_matches) {
            labels_builder_del(&run->builder, now.items[i].name);
        }
    }
}

/* False when the rule drops the labels. */
static bool rule_apply(const struct rule *rule, struct application *run) {
    run->value = source_value(rule, run);
    struct str target = labels_builder_get(&run->builder, str_from(rule->target_label));
    switch (rule->action) {
    case ACTION_KEEP: return regex_matches(rule->regex, run->value);
    case ACTION_DROP: return !regex_matches(rule->regex, run->value);
    case ACTION_KEEPEQUAL: return str_eq(target, run->value);
    case ACTION_DROPEQUAL: return !str_eq(target, run->value);
    case ACTION_REPLACE: replace(rule, run); return true;
    case ACTION_HASHMOD: hashmod(rule, run); return true;
    case ACTION_LOWERCASE:
    case ACTION_UPPERCASE: change_case(rule, run); return true;
    case ACTION_LABELMAP: labelmap(rule, run, labels_builder_build(&run->builder)); return true;
    case ACTION_LABELDROP:
    case ACTION_LABELKEEP:
        filter_names(rule, run, labels_builder_build(&run->builder));
        return true;
    case ACTION_COUNT: break;
    }
    BUG("relabel action %d", (int)rule->action);
}

bool ingest_relabel_apply(const struct ingest_relabel *relabel,
                          struct labels labels,
                          struct arena *arena,
                          struct labels *ret) {
    struct application run = { .arena = arena };
    labels_builder_init(&run.builder, arena, labels);
    for (size_t i = 0; relabel != NULL && i < relabel->count; i++) {
        if (!rule_apply(&relabel->rules[i], &run)) {
            return false;
        }
    }
    *ret = labels_builder_build(&run.builder);
    return true;
}
