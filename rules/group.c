/* Groups as they run: life. */
#include "base/hash.h"
#include "base/mem.h"
#include "rules/engine.h"

/* Rules that are equal in one group are told apart by their order. */
static uint64_t rule_key(const struct group *group, size_t index) {
    const struct rule *rule = group->rules[index];
    uint64_t numbers[2] = { rule->match_hash, 0 };
    for (size_t i = 0; i < index; i++) {
        numbers[1] += group->rules[i]->match_hash == rule->match_hash ? 1 : 0;
    }
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX);
    buf_cstr(&bytes, rule->file);
    buf_putc(&bytes, '\xff');
    buf_cstr(&bytes, rule->group);
    buf_putc(&bytes, '\xff');
    buf_append(&bytes, numbers, sizeof(numbers));
    uint64_t key = hash_bytes(buf_as_str(&bytes));
    buf_finish(&bytes);
    return key;
}

struct group *rules_group_create(struct rules *rules, const struct rule_group_def *def) {
    struct group *group = mem_calloc(1, sizeof(*group));
    group->def = def;
    group->is_first = true;
    group->rule_count = def->rule_count;
    group->rules = mem_calloc(def->rule_count, sizeof(struct rule *));
    for (size_t i = 0; i < def->rule_count; i++) {
        group->rules[i] = rule_create(&def->rules[i]);
        group->rules[i]->key = rule_key(group, i);
    }
    rules_group_row_key(def->file, def->name, group->row_key);
    rules_group_metrics_init(rules, group);
    return group;
}

void rules_group_destroy(struct group *group) {
    if (group == NULL) {
        return;
    }
    for (size_t i = 0; i < group->rule_count; i++) {
        rule_destroy(group->rules[i]);
    }
    rules_group_view_unref(group->view);
    mem_free(group->rules);
    mem_free(group);
}
