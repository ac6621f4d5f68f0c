/* A growing list of owned, NUL-terminated strings, itself NULL-terminated. Init with {0}. */
#pragma once

#include "base/str.h"

struct string_list {
    char **items; /* count entries and a NULL; NULL while empty */
    size_t count;
    size_t cap; /* private */
};

void string_list_add(struct string_list *list, struct str text); /* copies */
void string_list_take(struct string_list *list, char *item);     /* mem_free'd with the list */
void string_list_finish(struct string_list *list);
