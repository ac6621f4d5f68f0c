/*
 * Alertmanager's matcher syntax: `{severity="critical", team=~"a|b"}`, braces and quotes optional.
 */
#pragma once

#include "model/model.h"

struct matcher_list {
    struct matcher *items;
    size_t count;
    size_t cap; /* private */
};

void matcher_list_finish(struct matcher_list *list); /* also fine when zeroed */

/*
 * Append the matchers of one text. As upstream's default mode: the UTF-8 parser and the classic one
 * both run; where both accept and disagree, and where only the classic one accepts, the classic
 * reading holds. The list is untouched on failure. Errors: ERR_INVALID.
 */
WARN_UNUSED bool matcher_list_parse(struct matcher_list *list, struct str text, struct err *err);

/* One matcher from its parts (match:, match_re: maps). */
WARN_UNUSED bool matcher_list_add(struct matcher_list *list,
                                  enum match_type type,
                                  struct str name,
                                  struct str value,
                                  struct err *err);

void matcher_list_sort(struct matcher_list *list); /* by name, value, type */

static inline bool matcher_list_matches(const struct matcher_list *list, struct labels labels) {
    return matchers_match_labels(list->items, list->count, labels);
}

void matcher_list_print(const struct matcher_list *list, struct buf *out); /* {a="b",c=~"d"} */
