/*
 * Sets of handles as runs or bits; see handles.h.
 *
 * Why looking needs no lock: what grows at its end or changes in one word changes in place, all
 * else is made anew and put in place with one store. Every array carries its count, so that one
 * pointer leads to both.
 */
#include "tsdb/head/handles.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

#define RUNS_MAX   2048 /* as many bytes as bits take */
#define BITS_BYTES (HANDLES_BLOCK_WORDS * sizeof(uint64_t))

/* First handle of a run in the high half, last one in the low half. */
#define RUN(first, last) ((uint32_t)(first) << 16 | (uint32_t)(last))

struct runs {
    uint16_t count;
    uint16_t cap;
    uint32_t items[]; /* ascending, none touches the next */
};

struct block {
    uint16_t number;
    uint32_t count;
    uintptr_t body; /* struct runs, or with IS_BITS set uint64_t[HANDLES_BLOCK_WORDS] */
};

#define IS_BITS ((uintptr_t)1)

struct handle_map {
    uint32_t count;
    uint32_t cap;
    struct block blocks[]; /* ascending, none empty */
};

static uint16_t low(uint32_t handle) {
    return (uint16_t)handle;
}

static uint16_t run_first(uint32_t run) {
    return (uint16_t)(run >> 16);
}

static uint16_t run_last(uint32_t run) {
    return (uint16_t)run;
}

static uint64_t *bits_of(uintptr_t body) {
    return (body & IS_BITS) == 0 ? NULL : (uint64_t *)(body & ~IS_BITS);
}

static struct runs *runs_of(uintptr_t body) {
    return (struct runs *)body;
}

static uint32_t set_first(const struct handle_set *set) {
    return (uint32_t)(set->range >> 32);
}

static uint32_t set_count(const struct handle_set *set) {
    return (uint32_t)set->range;
}

static void set_range(struct handle_set *set, uint32_t first, uint32_t count) {
    RACE_STORE(&set->range, (uint64_t)first << 32 | count);
}

/* ---- blocks ---- */

static void set_bits(uint64_t *bits, uint32_t first, uint32_t last) {
    uint32_t from = first >> 6;
    uint32_t to = last >> 6;
    uint64_t head = UINT64_MAX << (first & 63);
    uint64_t tail = UINT64_MAX >> (63 - (last & 63));
    if (from == to) {
        bits[from] |= head & tail;
        return;
    }
    bits[from] |= head;
    for (uint32_t i = from + 1; i < to; i++) {
        bits[i] = UINT64_MAX;
    }
    bits[to] |= tail;
}

static void replace_body(struct block *block, uintptr_t body, struct retired *retired) {
    uintptr_t old = block->body;
    RACE_STORE(&block->body, body);
    retire(retired, (void *)(old & ~IS_BITS));
}

/* The runs as bits, with or without one handle. */
static void block_to_bits(struct block *block,
                          uint16_t handle,
                          bool is_in,
                          struct retired *retired) {
    uint64_t *bits = mem_calloc(HANDLES_BLOCK_WORDS, sizeof(bits[0]));
    const struct runs *runs = runs_of(block->body);
    for (uint32_t i = 0; i < runs->count; i++) {
        set_bits(bits, run_first(runs->items[i]), run_last(runs->items[i]));
    }
    uint64_t bit = UINT64_C(1) << (handle & 63);
    bits[handle >> 6] = is_in ? bits[handle >> 6] | bit : bits[handle >> 6] & ~bit;
    replace_body(block, (uintptr_t)bits | IS_BITS, retired);
}

/* Number of the first run that ends at or behind `handle`. */
static uint32_t find_run(const struct runs *runs, uint32_t count, uint16_t handle) {
    uint32_t from = 0;
    uint32_t to = count;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (run_last(RACE_LOAD(&runs->items[middle])) < handle) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

static struct runs *make_runs(uint32_t cap) {
    struct runs *runs = mem_alloc(sizeof(*runs) + cap * sizeof(runs->items[0]));
    runs->count = 0;
    runs->cap = (uint16_t)cap;
    return runs;
}

/* Copy the runs with `removed` of them from number `at` on replaced by `added`. */
static void splice_runs(struct block *block,
                        uint32_t at,
                        uint32_t removed,
                        const uint32_t *added,
                        uint32_t added_count,
                        struct retired *retired) {
    const struct runs *old = runs_of(block->body);
    uint32_t count = old->count - removed + added_count;
    uint32_t cap = count > old->cap ? old->cap + old->cap / 2U + 1 : old->cap;
    struct runs *runs = make_runs(cap < RUNS_MAX ? cap : RUNS_MAX);
    assert(count <= runs->cap);
    memcpy(runs->items, old->items, at * sizeof(runs->items[0]));
    for (uint32_t i = 0; i < added_count; i++) {
        runs->items[at + i] = added[i];
    }
    memcpy(runs->items + at + added_count, old->items + at + removed,
           (old->count - at - removed) * sizeof(runs->items[0]));
    runs->count = (uint16_t)count;
    replace_body(block, (uintptr_t)runs, retired);
}

static void add_to_runs(struct block *block, uint16_t handle, struct retired *retired) {
    struct runs *runs = runs_of(block->body);
    uint32_t count = runs->count;
    uint32_t at = count;
    if (at > 0 && run_last(runs->items[at - 1]) >= handle) {
        at = find_run(runs, count, handle);
    }
    bool joins_before = at > 0 && run_last(runs->items[at - 1]) + 1 == handle;
    bool joins_after = at < count && handle + 1 == run_first(runs->items[at]);
    uint32_t alone = RUN(handle, handle);
    if (joins_before && joins_after) {
        uint32_t joined = RUN(run_first(runs->items[at - 1]), run_last(runs->items[at]));
        splice_runs(block, at - 1, 2, &joined, 1, retired);
    } else if (joins_before) {
        RACE_STORE(&runs->items[at - 1], RUN(run_first(runs->items[at - 1]), handle));
    } else if (joins_after) {
        RACE_STORE(&runs->items[at], RUN(handle, run_last(runs->items[at])));
    } else if (at == count && count < runs->cap) {
        RACE_STORE(&runs->items[at], alone);
        RACE_STORE(&runs->count, (uint16_t)(count + 1));
    } else {
        splice_runs(block, at, 0, &alone, 1, retired);
    }
}

static void block_add(struct block *block, uint16_t handle, struct retired *retired) {
    uint64_t *bits = bits_of(block->body);
    block->count++;
    if (bits != NULL) {
        uint64_t bit = UINT64_C(1) << (handle & 63);
        RACE_STORE(&bits[handle >> 6], bits[handle >> 6] | bit);
    } else if (runs_of(block->body)->count == RUNS_MAX) {
        block_to_bits(block, handle, true, retired);
    } else {
        add_to_runs(block, handle, retired);
    }
}

/* Not the last one of the block. */
static void block_remove(struct block *block, uint16_t handle, struct retired *retired) {
    uint64_t *bits = bits_of(block->body);
    block->count--;
    if (bits != NULL) {
        uint64_t bit = UINT64_C(1) << (handle & 63);
        assert((bits[handle >> 6] & bit) != 0);
        RACE_STORE(&bits[handle >> 6], bits[handle >> 6] & ~bit);
        return;
    }
    struct runs *runs = runs_of(block->body);
    uint32_t at = find_run(runs, runs->count, handle);
    assert(at < runs->count && run_first(runs->items[at]) <= handle);
    uint16_t first = run_first(runs->items[at]);
    uint16_t last = run_last(runs->items[at]);
    if (first == last) {
        splice_runs(block, at, 1, NULL, 0, retired);
    } else if (first == handle) {
        RACE_STORE(&runs->items[at], RUN(handle + 1, last));
    } else if (last == handle) {
        RACE_STORE(&runs->items[at], RUN(first, handle - 1));
    } else if (runs->count < RUNS_MAX) {
        uint32_t parts[] = { RUN(first, handle - 1), RUN(handle + 1, last) };
        splice_runs(block, at, 1, parts, 2, retired);
    } else {
        block_to_bits(block, handle, false, retired);
    }
}

/* ---- the map ---- */

static uint32_t find_block(const struct handle_map *map, uint32_t count, uint32_t number) {
    if (count == 0 || map->blocks[count - 1].number < number) {
        return count;
    }
    uint32_t from = 0;
    uint32_t to = count - 1;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (map->blocks[middle].number < number) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

static struct handle_map *make_map(uint32_t cap) {
    struct handle_map *map = mem_alloc(sizeof(*map) + cap * sizeof(map->blocks[0]));
    map->count = 0;
    map->cap = cap;
    return map;
}

/* Copy the map with `removed` blocks from number `at` on replaced by `added` (NULL: none). */
static void splice_blocks(struct handle_set *set,
                          uint32_t at,
                          uint32_t removed,
                          const struct block *added,
                          struct retired *retired) {
    struct handle_map *old = set->map;
    uint32_t added_count = added != NULL;
    uint32_t count = old->count - removed + added_count;
    struct handle_map *map = make_map(count > old->cap ? old->cap + old->cap / 2 + 1 : old->cap);
    memcpy(map->blocks, old->blocks, at * sizeof(map->blocks[0]));
    if (added != NULL) {
        map->blocks[at] = *added;
    }
    memcpy(map->blocks + at + added_count, old->blocks + at + removed,
           (old->count - at - removed) * sizeof(map->blocks[0]));
    map->count = count;
    RACE_STORE(&set->map, map);
    retire(retired, old);
}

/* A block with one run; it is not there yet. */
static void add_block(struct handle_set *set,
                      uint32_t number,
                      uint32_t run,
                      struct retired *retired) {
    struct runs *runs = make_runs(1);
    runs->items[0] = run;
    runs->count = 1;
    struct block block = {
        .number = (uint16_t)number,
        .count = (uint32_t)run_last(run) - run_first(run) + 1,
        .body = (uintptr_t)runs,
    };
    struct handle_map *map = set->map;
    uint32_t at = find_block(map, map->count, number);
    if (at == map->count && map->count < map->cap) {
        map->blocks[at] = block;
        RACE_STORE(&map->count, at + 1);
    } else {
        splice_blocks(set, at, 0, &block, retired);
    }
}

/* From the one range to a map. */
static void use_map(struct handle_set *set) {
    uint32_t count = set_count(set);
    uint32_t first = set_first(set);
    uint32_t last = first + (count - 1);
    struct handle_set mapped = { .map = make_map(1) };
    for (uint32_t number = first >> 16; count > 0 && number <= last >> 16; number++) {
        uint32_t run = RUN(number == first >> 16 ? low(first) : 0,
                           number == last >> 16 ? low(last) : UINT16_MAX);
        add_block(&mapped, number, run, NULL); /* nobody has seen what it replaces */
    }
    RACE_STORE(&set->map, mapped.map);
    set_range(set, 0, count);
}

void handles_finish(struct handle_set *set, struct retired *retired) {
    struct handle_map *map = set->map;
    set_range(set, 0, 0);
    RACE_STORE(&set->map, NULL);
    for (uint32_t i = 0; map != NULL && i < map->count; i++) {
        retire(retired, (void *)(map->blocks[i].body & ~IS_BITS));
    }
    retire(retired, map);
}

void handles_add(struct handle_set *set, uint32_t handle, struct retired *retired) {
    uint32_t count = set_count(set);
    if (set->map == NULL && count == 0 && handle != 0) {
        set_range(set, handle, 1);
        return;
    }
    if (set->map == NULL && count > 0 && handle - set_first(set) == count) {
        set_range(set, set_first(set), count + 1);
        return;
    }
    if (set->map == NULL) {
        use_map(set);
    }
    struct handle_map *map = set->map;
    uint32_t at = find_block(map, map->count, handle >> 16);
    if (at < map->count && map->blocks[at].number == handle >> 16) {
        block_add(&map->blocks[at], low(handle), retired);
    } else {
        add_block(set, handle >> 16, RUN(low(handle), low(handle)), retired);
    }
    set_range(set, 0, count + 1);
}

void handles_remove(struct handle_set *set, uint32_t handle, struct retired *retired) {
    uint32_t count = set_count(set);
    uint32_t first = set_first(set);
    assert(count > 0);
    if (count == 1) {
        handles_finish(set, retired);
        return;
    }
    if (set->map == NULL) {
        assert(handle - first < count);
        if (handle == first || handle == first + (count - 1)) {
            set_range(set, first + (handle == first), count - 1);
            return;
        }
        use_map(set);
    }
    struct handle_map *map = set->map;
    uint32_t at = find_block(map, map->count, handle >> 16);
    assert(at < map->count && map->blocks[at].number == handle >> 16);
    if (map->blocks[at].count > 1) {
        block_remove(&map->blocks[at], low(handle), retired);
    } else {
        uintptr_t body = map->blocks[at].body;
        splice_blocks(set, at, 1, NULL, retired);
        retire(retired, (void *)(body & ~IS_BITS));
    }
    set_range(set, 0, count - 1);
}

/* ---- looking ---- */

static uint32_t next_in_bits(const uint64_t *bits, uint32_t from) {
    uint64_t word = RACE_LOAD(&bits[from >> 6]) & UINT64_MAX << (from & 63);
    uint32_t i = from >> 6;
    while (word == 0 && ++i < HANDLES_BLOCK_WORDS) {
        word = RACE_LOAD(&bits[i]);
    }
    return word == 0 ? UINT32_MAX : i * 64 + (uint32_t)__builtin_ctzll(word);
}

static uint32_t next_in_block(const struct block *block, uint32_t from) {
    uintptr_t body = RACE_LOAD(&block->body);
    const uint64_t *bits = bits_of(body);
    if (bits != NULL) {
        return next_in_bits(bits, from);
    }
    const struct runs *runs = runs_of(body);
    uint32_t count = RACE_LOAD(&runs->count);
    uint32_t at = find_run(runs, count, (uint16_t)from);
    if (at == count) {
        return UINT32_MAX;
    }
    uint16_t first = run_first(RACE_LOAD(&runs->items[at]));
    return first > from ? first : from;
}

/* The one range, if that is what the set is; otherwise the map, which is NULL when it is empty. */
static bool look(const struct handle_set *set,
                 uint32_t *ret_first,
                 uint32_t *ret_count,
                 const struct handle_map **ret_map) {
    uint64_t range = RACE_LOAD(&set->range);
    *ret_first = (uint32_t)(range >> 32);
    *ret_count = (uint32_t)range;
    *ret_map = *ret_first == 0 && *ret_count > 0 ? RACE_LOAD(&set->map) : NULL;
    return *ret_first != 0;
}

uint32_t handles_next(const struct handle_set *set, uint32_t from) {
    uint32_t first;
    uint32_t count;
    const struct handle_map *map;
    if (look(set, &first, &count, &map)) {
        from = from > first ? from : first;
        return from - first < count ? from : UINT32_MAX;
    }
    uint32_t block_count = map == NULL ? 0 : RACE_LOAD(&map->count);
    for (uint32_t at = block_count == 0 ? 0 : find_block(map, block_count, from >> 16);
         at < block_count; at++) {
        const struct block *block = &map->blocks[at];
        uint32_t base = (uint32_t)block->number << 16;
        uint32_t found = next_in_block(block, from > base ? from - base : 0);
        if (found != UINT32_MAX) {
            return base + found;
        }
    }
    return UINT32_MAX;
}

static bool or_range(uint32_t first, uint32_t count, uint32_t number, uint64_t *bits) {
    uint32_t last = first + (count - 1);
    if (count == 0 || number < first >> 16 || number > last >> 16) {
        return false;
    }
    set_bits(bits, number == first >> 16 ? low(first) : 0,
             number == last >> 16 ? low(last) : UINT16_MAX);
    return true;
}

bool handles_or(const struct handle_set *set, uint32_t block, uint64_t bits[HANDLES_BLOCK_WORDS]) {
    uint32_t first;
    uint32_t count;
    const struct handle_map *map;
    if (look(set, &first, &count, &map)) {
        return or_range(first, count, block, bits);
    }
    uint32_t block_count = map == NULL ? 0 : RACE_LOAD(&map->count);
    uint32_t at = block_count == 0 ? 0 : find_block(map, block_count, block);
    if (at == block_count || map->blocks[at].number != block) {
        return false;
    }
    uintptr_t body = RACE_LOAD(&map->blocks[at].body);
    const uint64_t *words = bits_of(body);
    const struct runs *runs = words == NULL ? runs_of(body) : NULL;
    uint32_t run_count = runs == NULL ? 0 : RACE_LOAD(&runs->count);
    for (uint32_t i = 0; i < run_count; i++) {
        uint32_t run = RACE_LOAD(&runs->items[i]);
        set_bits(bits, run_first(run), run_last(run));
    }
    for (uint32_t i = 0; words != NULL && i < HANDLES_BLOCK_WORDS; i++) {
        bits[i] |= RACE_LOAD(&words[i]);
    }
    return true;
}

size_t handles_bytes(const struct handle_set *set) {
    const struct handle_map *map = set->map;
    if (map == NULL) {
        return 0;
    }
    size_t bytes = sizeof(*map) + map->cap * sizeof(map->blocks[0]);
    for (uint32_t i = 0; i < map->count; i++) {
        uintptr_t body = map->blocks[i].body;
        bytes += bits_of(body) != NULL
                     ? BITS_BYTES
                     : sizeof(struct runs) + runs_of(body)->cap * sizeof(runs_of(body)->items[0]);
    }
    return bytes;
}
