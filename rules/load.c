/* Rule files: finding them, the life of a rule set, and what can be asked of one. */
#include <assert.h>
#include <errno.h>
#include <glob.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "rules/expand.h"
#include "rules/set.h"

enum {
    FILES_MAX = 10000,
};

static const size_t set_bytes_max = (size_t)256 << 20;

/* ---- life ---- */

/* "http://host:9090/prefix" → "/prefix". */
static struct str url_path(struct str url) {
    size_t scheme = str_find(url, STR("://"));
    size_t at = scheme == SIZE_MAX ? 0 : scheme + 3;
    while (at < url.len && url.ptr[at] != '/' && url.ptr[at] != '?' && url.ptr[at] != '#') {
        at++;
    }
    size_t end = at;
    while (end < url.len && url.ptr[end] != '?' && url.ptr[end] != '#') {
        end++;
    }
    return str_n(url.ptr + at, end - at);
}

static struct rule_set *set_create(const struct rules_load_options *options) {
    struct rule_set *set = mem_calloc(1, sizeof(*set));
    arena_init(&set->arena, set_bytes_max);
    atomic_init(&set->ref_count, 1);
    set->features = options->features;
    set->external_url = arena_str(&set->arena, str_from(options->external_url));
    set->external_path = url_path(set->external_url);
    set->external_labels = labels_dup(options->external_labels, &set->arena);
    set->external_map = rules_expand_labels_map(set->external_labels, &set->arena);
    set->funcs = rules_expand_funcs(&set->arena, &set->func_count);
    return set;
}

static void texts_finish(struct rule_text *texts, size_t count) {
    for (size_t i = 0; texts != NULL && i < count; i++) {
        tmpl_destroy(texts[i].tmpl);
    }
}

void rule_set_ref(struct rule_set *set) {
    atomic_fetch_add(&set->ref_count, 1);
}

void rule_set_destroy(struct rule_set *set) {
    if (set == NULL || atomic_fetch_sub(&set->ref_count, 1) != 1) {
        return;
    }
    for (size_t g = 0; g < set->group_count; g++) {
        struct rule_group_def *group = set->groups[g];
        for (size_t r = 0; r < group->rule_count; r++) {
            struct rule_def *rule = &group->rules[r];
            promql_expr_finish(rule->expr);
            texts_finish(rule->label_texts, rule->labels.count);
            texts_finish(rule->annotation_texts, rule->annotations.count);
        }
    }
    arena_finish(&set->arena);
    mem_free(set);
}

/* ---- duplicate rules ---- */

static int compare_rules(const void *a, const void *b) {
    const struct rule_def *left = *(struct rule_def *const *)a;
    const struct rule_def *right = *(struct rule_def *const *)b;
    int order = str_cmp(left->name, right->name);
    if (order == 0) {
        order = labels_cmp(left->labels, right->labels);
    }
    if (order == 0) {
        order = (left->line > right->line) - (left->line < right->line);
    }
    return order;
}

/* As promtool's lint: two rules of one file with equal name and labels write the same series. */
static void warn_duplicates(struct rules_loader *loader, struct diag_at file, size_t group_first) {
    struct rule_set *set = loader->set;
    size_t count = 0;
    for (size_t g = group_first; g < set->group_count; g++) {
        count += set->groups[g]->rule_count;
    }
    struct rule_def **rules = mem_calloc(count, sizeof(struct rule_def *));
    size_t used = 0;
    for (size_t g = group_first; g < set->group_count; g++) {
        for (size_t r = 0; r < set->groups[g]->rule_count; r++) {
            rules[used++] = &set->groups[g]->rules[r];
        }
    }
    qsort(rules, count, sizeof(struct rule_def *), compare_rules);
    for (size_t i = 1; i < count; i++) {
        const struct rule_def *rule = rules[i];
        if (!str_eq(rules[i - 1]->name, rule->name) ||
            !labels_equal(rules[i - 1]->labels, rule->labels)) {
            continue;
        }
        file.line = rule->line;
        file.column = rule->column;
        diag_add(loader->diags, DIAG_WARNING, file,
                 "rule \"%.*s\" repeats name and labels of the rule in line %u: they may write the "
                 "same series",
                 STR_FMT(rule->name), rules[i - 1]->line);
    }
    mem_free(rules);
}

/* ---- files ---- */

static void add_doc(struct rules_loader *loader, const struct yaml_doc *doc) {
    struct rule_set *set = loader->set;
    size_t group_first = set->group_count;
    struct str path = arena_str(&set->arena, str_from(yaml_file(doc)));
    rules_decode_file(loader, doc, path);
    warn_duplicates(loader, yaml_at(doc, yaml_root(doc)), group_first);

    set->files = arena_vec_grow(&set->arena, set->files, &set->file_cap, set->file_count + 1,
                                sizeof(set->files[0]));
    struct rule_file_info *info = &set->files[set->file_count++];
    *info = (struct rule_file_info){ .path = path.ptr };
    for (size_t g = group_first; g < set->group_count; g++) {
        info->group_count++;
        info->rule_count += set->groups[g]->rule_count;
    }
}

static void add_file(struct rules_loader *loader, const char *path) {
    struct yaml_doc *doc = NULL;
    if (yaml_load(path, &doc, loader->diags)) {
        add_doc(loader, doc);
        yaml_doc_destroy(doc);
    }
}

static int compare_paths(const void *a, const void *b) {
    return str_cmp(str_from(*(char *const *)a), str_from(*(char *const *)b));
}

struct path_list {
    char **paths;
    size_t count;
    size_t cap;
};

/* What is not there is judged afterwards; what cannot be read is an error at once. */
static int on_glob_error(const char *path, int errnum) {
    return errnum != ENOENT && errnum != ENOTDIR;
}

/* The folder before the first wildcard, or the file itself when there is none. */
static struct str fixed_part(struct str pattern) {
    size_t end = 0;
    size_t slash = 0;
    for (; end < pattern.len && strchr("*?[\\", pattern.ptr[end]) == NULL; end++) {
        slash = pattern.ptr[end] == '/' ? end : slash;
    }
    return end == pattern.len ? pattern : str_n(pattern.ptr, slash);
}

static void report_no_match(struct rules_loader *loader, const char *pattern) {
    struct diag_at at = { .file = pattern };
    struct str fixed = fixed_part(str_from(pattern));
    char *path = mem_strndup(fixed.ptr, fixed.len);
    bool has_gone = fixed.len > 0 && access(path, F_OK) != 0;
    if (loader->options->is_reload && has_gone) {
        diag_add(loader->diags, DIAG_ERROR, at, "%s has gone; remove the pattern if that is meant",
                 path);
    } else {
        diag_add(loader->diags, DIAG_WARNING, at, "no rule file matches");
    }
    mem_free(path);
}

static void expand_pattern(struct rules_loader *loader,
                           const char *pattern,
                           struct path_list *list) {
    struct diag_at at = { .file = pattern };
    glob_t found = { 0 };
    int rc = glob(pattern, 0, on_glob_error, &found);
    if (rc == GLOB_NOMATCH) {
        report_no_match(loader, pattern);
    } else if (rc != 0) {
        struct err err = ERR_INIT;
        (void)err_set_errno(&err, ERR_IO, errno, "cannot look for rule files");
        diag_add(loader->diags, DIAG_ERROR, at, "%s", err.msg);
    } else if (list->count + found.gl_pathc > FILES_MAX) {
        diag_add(loader->diags, DIAG_ERROR, at, "more than %d rule files", FILES_MAX);
    } else {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            list->paths =
                vec_grow(list->paths, &list->cap, list->count + 1, sizeof(list->paths[0]));
            list->paths[list->count++] = mem_strdup(found.gl_pathv[i]);
        }
    }
    globfree(&found);
}

static bool finish_load(struct rules_loader *loader, size_t errors_before, struct rule_set **ret) {
    struct rule_set *set = loader->set;
    if (arena_is_over(&set->arena)) {
        diag_add(loader->diags, DIAG_ERROR, (struct diag_at){ .file = "rules" },
                 "the rule files need more than %zu MiB of memory", set_bytes_max >> 20);
    }
    if (loader->diags->error_count > errors_before) {
        rule_set_destroy(set);
        return false;
    }
    *ret = set;
    return true;
}

bool rules_load(const char *const *patterns,
                size_t pattern_count,
                const struct rules_load_options *options,
                struct rule_set **ret,
                struct diag_list *diags) {
    size_t errors_before = diags->error_count;
    *ret = NULL;
    struct rules_loader loader = {
        .set = set_create(options),
        .options = options,
        .diags = diags,
    };
    struct path_list list = { 0 };
    for (size_t i = 0; i < pattern_count; i++) {
        expand_pattern(&loader, patterns[i], &list);
    }
    if (list.count > 0) {
        qsort(list.paths, list.count, sizeof(list.paths[0]), compare_paths);
    }
    for (size_t i = 0; i < list.count; i++) {
        if (i == 0 || !str_eq_c(str_from(list.paths[i]), list.paths[i - 1])) {
            add_file(&loader, list.paths[i]);
        }
    }
    for (size_t i = 0; i < list.count; i++) {
        mem_free(list.paths[i]);
    }
    mem_free(list.paths);
    return finish_load(&loader, errors_before, ret);
}

bool rules_load_text(const char *file,
                     struct str text,
                     const struct rules_load_options *options,
                     struct rule_set **ret,
                     struct diag_list *diags) {
    size_t errors_before = diags->error_count;
    *ret = NULL;
    struct rules_loader loader = {
        .set = set_create(options),
        .options = options,
        .diags = diags,
    };
    struct yaml_doc *doc = NULL;
    if (yaml_parse(file, text, &doc, diags)) {
        add_doc(&loader, doc);
        yaml_doc_destroy(doc);
    }
    return finish_load(&loader, errors_before, ret);
}

/* ---- facts ---- */

size_t rule_set_file_count(const struct rule_set *set) {
    return set->file_count;
}

struct rule_file_info rule_set_file(const struct rule_set *set, size_t index) {
    assert(index < set->file_count);
    return set->files[index];
}

size_t rule_set_rule_count(const struct rule_set *set) {
    size_t count = 0;
    for (size_t i = 0; i < set->file_count; i++) {
        count += set->files[i].rule_count;
    }
    return count;
}

int64_t rule_group_slot(const struct rule_group_def *group, int64_t now_ms) {
    int64_t since = (now_ms - group->offset_ms) % group->interval_ms;
    if (since < 0) {
        since += group->interval_ms;
    }
    return now_ms - since;
}
