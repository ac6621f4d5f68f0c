/* Lists of owned strings. */
#include "base/string_list.h"

#include "base/mem.h"

void string_list_take(struct string_list *list, char *item) {
    list->items = vec_grow(list->items, &list->cap, list->count + 2, sizeof(list->items[0]));
    list->items[list->count++] = item;
    list->items[list->count] = NULL;
}

void string_list_add(struct string_list *list, struct str text) {
    string_list_take(list, mem_strndup(text.ptr, text.len));
}

void string_list_finish(struct string_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        mem_free(list->items[i]);
    }
    mem_free(list->items);
    *list = (struct string_list){ 0 };
}
