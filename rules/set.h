/*
 * A rule set as parsed: what the files say, compiled. Immutable once loaded, reference-counted:
 * the engine and the views it hands out share it.
 */
#pragma once

#include "base/template.h"
#include "base/yaml.h"
#include "rules/rules.h"

#define RULES_INTERVAL_MS_DEFAULT INT64_C(60000)

/* A label or annotation of an alerting rule, ready to be expanded. */
struct rule_text {
    struct str text;
    struct tmpl *tmpl; /* NULL: the text is meant literally */
};

struct rule_def {
    enum rule_type type;
    struct str name;
    struct str query;      /* canonical form */
    struct str query_text; /* as written */
    struct promql_expr *expr;
    int64_t for_ms;
    int64_t keep_firing_for_ms;
    struct labels labels; /* group's and rule's; empty values delete a label of the element */
    struct labels annotations;
    struct rule_text *label_texts; /* parallel to labels and annotations; NULL for recording */
    struct rule_text *annotation_texts;
    const char *template_name; /* "__alert_NAME", for messages */
    struct str generator_url;
    uint64_t match_hash;  /* of type, name and query: the same rule wherever it stands */
    uint64_t labels_hash; /* of the labels as configured */
    const struct rule_group_def *group;
    uint32_t line; /* of the rule in its file, for warnings */
    uint32_t column;
};

struct rule_group_def {
    struct str name;
    struct str file;
    int64_t interval_ms;
    int64_t query_offset_ms;
    uint64_t limit;
    int64_t offset_ms; /* where in the interval this group's slots are */
    struct rule_def *rules;
    size_t rule_count;
};

struct rule_set {
    struct arena arena; /* everything below */
    _Atomic unsigned ref_count;
    struct rule_group_def **groups; /* by file, then in file order */
    size_t group_count;
    size_t group_cap;
    struct rule_file_info *files;
    size_t file_count;
    size_t file_cap;
    struct promql_features features;
    struct str external_url;
    struct str external_path; /* the URL's path, for pathPrefix */
    struct labels external_labels;
    struct tmpl_map external_map;
    struct tmpl_func *funcs;
    size_t func_count;
};

void rule_set_ref(struct rule_set *set);

/* Newest time <= now_ms that is a slot of the group. */
int64_t rule_group_slot(const struct rule_group_def *group, int64_t now_ms);

/* ---- loading, between load.c and decode.c ---- */

struct rules_loader {
    struct rule_set *set;
    const struct rules_load_options *options;
    struct diag_list *diags;
};

/* Adds the groups of one parsed file; `path` lives in the set's arena. */
void rules_decode_file(struct rules_loader *loader, const struct yaml_doc *doc, struct str path);
