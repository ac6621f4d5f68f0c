/*
 * Matchers against the head's index.
 *
 * Every matcher becomes a term: the pairs it selects or excludes. Sets of handles are combined
 * block by block (2^16 handles) as bits, beginning with the smallest term. All without a lock:
 * series that come meanwhile have nothing the snapshot sees, series that leave are met in the
 * store, and when pairs were dropped meanwhile it all starts over.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tsdb/query/querier.h"

#define SLICE_VALUES  512 /* between two looks whether it still holds */
#define SLICE_MATCHES 1024

struct term {
    const struct matcher *matcher;
    bool is_excluding; /* the pairs are those that do not match */
    uint32_t *pairs;
    size_t count;
    size_t cap;
    uint64_t handle_count;
};

struct match {
    struct tsdb_querier *querier;
    struct head *head;
    struct term *terms; /* selecting ones first, the smallest first */
    size_t term_count;
    size_t selecting_count;
    uint32_t generation; /* of the index */
    struct head_match *matches;
    size_t match_count;
    size_t match_cap;
};

/* ---- slices ---- */

/* False: pairs were dropped meanwhile. */
static bool holds(const struct match *match) {
    return index_is_same(&match->head->index, match->generation);
}

/* ---- terms ---- */

static void add_pair(struct match *match, struct term *term, uint32_t number) {
    if (number != 0) {
        term->pairs = vec_grow(term->pairs, &term->cap, term->count + 1, sizeof(term->pairs[0]));
        term->pairs[term->count++] = number;
        term->handle_count += handles_count(&index_pair(&match->head->index, number)->handles);
    }
}

static bool add_values(struct match *match, struct term *term) {
    const struct index *index = &match->head->index;
    const struct matcher *matcher = term->matcher;
    const struct index_name *name = index_find_name(index, matcher->name);
    if (name == NULL) {
        return true;
    }
    const uint32_t *pairs;
    uint32_t count = index_name_pairs(name, &pairs);
    struct str prefix = match_prefix(matcher, term->is_excluding);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = RACE_LOAD(&pairs[i]);
        struct str value = index_string(index, RACE_LOAD(&index_pair(index, number)->value));
        if (str_starts_with(value, prefix) &&
            matcher_matches(matcher, value) != term->is_excluding) {
            add_pair(match, term, number);
        }
        if ((i + 1) % SLICE_VALUES == 0 && !holds(match)) {
            return false;
        }
    }
    return true;
}

static bool fill_term(struct match *match, struct term *term) {
    const struct index *index = &match->head->index;
    const struct matcher *matcher = term->matcher;
    term->count = 0;
    term->handle_count = 0;
    if (matcher->type == MATCH_EQ && !term->is_excluding) {
        add_pair(match, term, index_find_pair(index, matcher->name, matcher->value));
        return true;
    }
    size_t literal_count;
    const struct str *literals = match_literals(matcher, &literal_count);
    if (literals == NULL || term->is_excluding) {
        return add_values(match, term);
    }
    for (size_t i = 0; i < literal_count; i++) {
        add_pair(match, term, index_find_pair(index, matcher->name, literals[i]));
    }
    return true;
}

static int compare_terms(const void *a, const void *b) {
    const struct term *x = a;
    const struct term *y = b;
    if (x->is_excluding != y->is_excluding) {
        return x->is_excluding ? 1 : -1;
    }
    return (x->handle_count > y->handle_count) - (x->handle_count < y->handle_count);
}

/* The cheap ones first: when one selects nothing, the others need not be looked at. */
static bool fill_terms(struct match *match) {
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < match->term_count; i++) {
            struct term *term = &match->terms[i];
            bool is_cheap = term->matcher->type == MATCH_EQ && !term->is_excluding;
            if (is_cheap != (turn == 0)) {
                continue;
            }
            if (!fill_term(match, term)) {
                return false;
            }
            if (!term->is_excluding && term->count == 0) {
                match->terms[0].count = 0;
                match->terms[0].is_excluding = false;
                match->terms[0].handle_count = 0;
                match->selecting_count = 1;
                match->term_count = 1;
                return true;
            }
        }
    }
    if (match->term_count > 1) {
        qsort(match->terms, match->term_count, sizeof(match->terms[0]), compare_terms);
    }
    return true;
}

/* ---- blocks ---- */

static bool or_term(const struct match *match,
                    const struct term *term,
                    uint32_t block,
                    uint64_t bits[HANDLES_BLOCK_WORDS]) {
    const struct index *index = &match->head->index;
    bool has_any = false;
    memset(bits, 0, HANDLES_BLOCK_WORDS * sizeof(bits[0]));
    for (size_t i = 0; i < term->count; i++) {
        has_any |= handles_or(&index_pair(index, term->pairs[i])->handles, block, bits);
    }
    return has_any;
}

/* Every series that is there. */
static bool or_all(const struct match *match, uint32_t block, uint64_t bits[HANDLES_BLOCK_WORDS]) {
    uint32_t first = block << HANDLES_BLOCK_SHIFT;
    bool has_any = false;
    memset(bits, 0, HANDLES_BLOCK_WORDS * sizeof(bits[0]));
    for (uint32_t i = 0; i >> HANDLES_BLOCK_SHIFT == 0; i++) {
        if (first + i > 0 && first + i < match->head->handle_end &&
            head_at(match->head, first + i) != NULL) {
            bits[i >> 6] |= UINT64_C(1) << (i & 63);
            has_any = true;
        }
    }
    return has_any;
}

static bool combine(const struct match *match, uint32_t block, uint64_t bits[HANDLES_BLOCK_WORDS]) {
    uint64_t other[HANDLES_BLOCK_WORDS];
    size_t at = match->selecting_count == 0 ? 0 : 1;
    bool has_any =
        at == 0 ? or_all(match, block, bits) : or_term(match, &match->terms[0], block, bits);
    for (; has_any && at < match->term_count; at++) {
        const struct term *term = &match->terms[at];
        if (!or_term(match, term, block, other)) {
            has_any = term->is_excluding;
            continue;
        }
        uint64_t flip = term->is_excluding ? UINT64_MAX : 0;
        uint64_t left = 0;
        for (size_t i = 0; i < HANDLES_BLOCK_WORDS; i++) {
            bits[i] &= other[i] ^ flip;
            left |= bits[i];
        }
        has_any = left != 0;
    }
    return has_any;
}

static void add_match(struct match *match, uint32_t handle) {
    struct series *series = head_at(match->head, handle);
    uint64_t id = series == NULL ? 0 : RACE_LOAD(&series->id);
    if (id == 0) {
        return;
    }
    match->matches = vec_grow(match->matches, &match->match_cap, match->match_count + 1,
                              sizeof(match->matches[0]));
    match->matches[match->match_count++] = (struct head_match){
        .id = id,
        .handle = handle,
        .is_in_range = querier_has_in_range(match->querier, series, handle),
    };
}

static bool run_blocks(struct match *match) {
    uint64_t bits[HANDLES_BLOCK_WORDS];
    for (uint32_t block = 0; block <= (match->head->handle_end - 1) >> HANDLES_BLOCK_SHIFT;
         block++) {
        if (!combine(match, block, bits)) {
            continue;
        }
        for (uint32_t i = 0; i < HANDLES_BLOCK_WORDS; i++) {
            for (uint64_t word = bits[i]; word != 0; word &= word - 1) {
                add_match(match, (block << HANDLES_BLOCK_SHIFT) + i * 64 +
                                     (uint32_t)__builtin_ctzll(word));
                if (match->match_count % SLICE_MATCHES == 0 && !holds(match)) {
                    return false;
                }
            }
        }
    }
    return true;
}

/* ---- the whole ---- */

static void set_terms(struct match *match, const struct matcher *matchers, size_t count) {
    match->term_count = count;
    match->selecting_count = 0;
    match->match_count = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_excluding = matcher_matches(&matchers[i], STR(""));
        match->terms[i].matcher = &matchers[i];
        match->terms[i].is_excluding = is_excluding;
        match->selecting_count += !is_excluding;
    }
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
    struct match match = {
        .querier = querier,
        .head = head,
        .terms = mem_calloc(count + 1, sizeof(match.terms[0])),
    };
    bool is_done = false;
    while (!is_done) {
        match.generation = index_generation(&head->index);
        set_terms(&match, matchers, count);
        is_done = fill_terms(&match) && run_blocks(&match) && holds(&match);
    }
    for (size_t i = 0; i < count; i++) {
        mem_free(match.terms[i].pairs);
    }
    mem_free(match.terms);
    if (match.match_count > 1) {
        qsort(match.matches, match.match_count, sizeof(match.matches[0]), compare_matches);
    }
    *ret = match.matches;
    *ret_count = match.match_count;
    return true;
}
