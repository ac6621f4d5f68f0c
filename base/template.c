/* Sets of templates: creation, adding parsed texts, look-up. */
#include "base/template.h"

#include "base/mem.h"
#include "base/template_ast.h"

#define TEXT_BYTES_MAX ((size_t)4 << 20)

struct tmpl *tmpl_create(const struct tmpl_func *funcs, size_t func_count) {
    struct tmpl *tmpl = mem_calloc(1, sizeof(*tmpl));
    arena_init(&tmpl->arena, SIZE_MAX);
    map_init(&tmpl->trees);
    tmpl->funcs = funcs;
    tmpl->func_count = func_count;
    return tmpl;
}

void tmpl_destroy(struct tmpl *tmpl) {
    if (tmpl == NULL) {
        return;
    }
    map_finish(&tmpl->trees, NULL);
    arena_finish(&tmpl->arena);
    mem_free(tmpl);
}

void tmpl_declare_vars(struct tmpl *tmpl, const char *const *names, size_t count) {
    tmpl->var_names = names;
    tmpl->var_count = count;
}

bool tmpl_add(struct tmpl *tmpl, const char *name, struct str text, struct err *err) {
    if (text.len > TEXT_BYTES_MAX) {
        return err_set(err, ERR_LIMIT, "template: %s: larger than %zu MiB", name,
                       TEXT_BYTES_MAX >> 20);
    }
    struct map parsed;
    map_init(&parsed);
    bool ok = tmpl_parse(tmpl, arena_str(&tmpl->arena, str_from(name)),
                         arena_str(&tmpl->arena, text), &parsed, err);
    size_t cursor = 0;
    struct str key;
    void *value = NULL;
    while (ok && map_next(&parsed, &cursor, &key, &value)) {
        const struct tmpl_tree *known = map_get(&tmpl->trees, key);
        if (known == NULL || !tmpl_tree_is_empty(value)) {
            (void)map_put(&tmpl->trees, key, value);
        }
    }
    map_finish(&parsed, NULL);
    return ok;
}

bool tmpl_has(const struct tmpl *tmpl, const char *name) {
    return map_get(&tmpl->trees, str_from(name)) != NULL;
}
