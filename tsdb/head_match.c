/* Matchers against the head's index. */
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/querier.h"

static bool all_handles(void *ctx, struct idset *out, struct err *err) {
    struct head *head = ctx;
    for (uint32_t handle = 1; handle < head->handle_end; handle++) {
        if (head_at(head, handle) != NULL) {
            idset_add(out, handle);
        }
    }
    return true;
}

static void add_pair(const struct index *index, uint32_t number, struct idset *out) {
    if (number != 0) {
        const struct index_pair *pair = &index->pairs[number];
        idset_add_u32(out, index_handles(pair), pair->count);
    }
}

static bool collect_handles(void *ctx,
                            const struct matcher *matcher,
                            bool is_inverse,
                            struct idset *out,
                            struct err *err) {
    struct head *head = ctx;
    const struct index *index = &head->index;
    if (matcher->type == MATCH_EQ && !is_inverse) {
        add_pair(index, index_find_pair(index, matcher->name, matcher->value), out);
        return true;
    }
    size_t literal_count;
    const struct str *literals = match_literals(matcher, &literal_count);
    if (literals != NULL && !is_inverse) {
        for (size_t i = 0; i < literal_count; i++) {
            add_pair(index, index_find_pair(index, matcher->name, literals[i]), out);
        }
        return true;
    }
    const struct index_name *name = index_find_name(index, matcher->name);
    if (name == NULL) {
        return true;
    }
    struct str prefix = match_prefix(matcher, is_inverse);
    for (size_t i = 0; i < name->count; i++) {
        struct str value = index_string(index, index->pairs[name->pairs[i]].value);
        if (str_starts_with(value, prefix) && matcher_matches(matcher, value) != is_inverse) {
            add_pair(index, name->pairs[i], out);
        }
    }
    return true;
}

static int compare_matches(const void *a, const void *b) {
    const struct head_match *x = a;
    const struct head_match *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

bool head_match(struct tsdb_querier *querier,
                const struct matcher *matchers,
                size_t count,
                struct head_match **ret,
                size_t *ret_count,
                struct err *err) {
    struct head *head = &querier->db->head;
    struct match_source source = {
        .ctx = head,
        .all = all_handles,
        .collect = collect_handles,
    };
    struct idset handles;
    pthread_rwlock_rdlock(&head->index_lock);
    if (!match_series(&source, matchers, count, &handles, err)) {
        pthread_rwlock_unlock(&head->index_lock);
        return false;
    }
    struct head_match *matches = mem_alloc((handles.count + 1) * sizeof(matches[0]));
    size_t match_count = 0;
    for (size_t i = 0; i < handles.count; i++) {
        uint32_t handle = (uint32_t)handles.ids[i];
        struct series *series = head_at(head, handle);
        if (series != NULL) {
            matches[match_count++] = (struct head_match){
                .id = series->id,
                .handle = handle,
                .is_in_range = querier_has_in_range(querier, series, handle),
            };
        }
    }
    pthread_rwlock_unlock(&head->index_lock);
    idset_finish(&handles);
    qsort(matches, match_count, sizeof(matches[0]), compare_matches);
    *ret = matches;
    *ret_count = match_count;
    return true;
}
