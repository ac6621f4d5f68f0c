/* Sets of handles as runs or bits; see handles.h. */
#include "tsdb/head/handles.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

#define RUNS_MAX   2048 /* as many bytes as bits take */
#define BITS_BYTES (HANDLES_BLOCK_WORDS * sizeof(uint64_t))

struct run {
    uint16_t first;
    uint16_t last;
};

struct block {
    uint16_t number;
    uint16_t run_count; /* 0: bits */
    uint16_t run_cap;
    uint32_t count;

    union {
        struct run *runs; /* ascending, none touches the next */
        uint64_t *bits;
    };
};

struct handle_map {
    uint32_t count;
    uint32_t cap;
    struct block blocks[]; /* ascending, none empty */
};

static uint16_t low(uint32_t handle) {
    return (uint16_t)handle;
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

static void block_to_bits(struct block *block) {
    uint64_t *bits = mem_calloc(HANDLES_BLOCK_WORDS, sizeof(bits[0]));
    for (uint32_t i = 0; i < block->run_count; i++) {
        set_bits(bits, block->runs[i].first, block->runs[i].last);
    }
    mem_free(block->runs);
    block->bits = bits;
    block->run_count = 0;
    block->run_cap = 0;
}

static void block_finish(struct block *block) {
    mem_free(block->bits);
}

/* Number of the first run that ends at or behind `handle`. */
static uint32_t find_run(const struct block *block, uint16_t handle) {
    uint32_t from = 0;
    uint32_t to = block->run_count;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (block->runs[middle].last < handle) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

static void insert_run(struct block *block, uint32_t at, struct run run) {
    if (block->run_count == block->run_cap) {
        uint32_t cap = block->run_cap + block->run_cap / 2U + 1;
        cap = cap < RUNS_MAX ? cap : RUNS_MAX;
        block->runs = mem_realloc(block->runs, cap * sizeof(struct run));
        block->run_cap = (uint16_t)cap;
    }
    memmove(block->runs + at + 1, block->runs + at,
            (block->run_count - at) * sizeof(block->runs[0]));
    block->runs[at] = run;
    block->run_count++;
}

static void remove_run(struct block *block, uint32_t at) {
    block->run_count--;
    memmove(block->runs + at, block->runs + at + 1,
            (block->run_count - at) * sizeof(block->runs[0]));
}

static void add_to_runs(struct block *block, uint16_t handle) {
    uint32_t at = block->run_count;
    if (at > 0 && block->runs[at - 1].last >= handle) {
        at = find_run(block, handle);
    }
    bool joins_before = at > 0 && block->runs[at - 1].last + 1 == handle;
    bool joins_after = at < block->run_count && handle + 1 == block->runs[at].first;
    if (joins_before && joins_after) {
        block->runs[at - 1].last = block->runs[at].last;
        remove_run(block, at);
    } else if (joins_before) {
        block->runs[at - 1].last = handle;
    } else if (joins_after) {
        block->runs[at].first = handle;
    } else {
        insert_run(block, at, (struct run){ .first = handle, .last = handle });
    }
}

static void block_add(struct block *block, uint16_t handle) {
    if (block->run_count == RUNS_MAX) {
        block_to_bits(block);
    }
    block->count++;
    if (block->run_count == 0 && block->count > 1) {
        block->bits[handle >> 6] |= UINT64_C(1) << (handle & 63);
    } else {
        add_to_runs(block, handle);
    }
}

static void block_remove(struct block *block, uint16_t handle) {
    block->count--;
    if (block->run_count == 0) {
        assert((block->bits[handle >> 6] >> (handle & 63) & 1) != 0);
        block->bits[handle >> 6] &= ~(UINT64_C(1) << (handle & 63));
        return;
    }
    uint32_t at = find_run(block, handle);
    struct run *run = &block->runs[at];
    assert(at < block->run_count && run->first <= handle);
    struct run behind = { .first = (uint16_t)(handle + 1), .last = run->last };
    if (run->first == run->last) {
        if (block->run_count > 1) { /* an empty block goes as a whole */
            remove_run(block, at);
        }
    } else if (run->first == handle) {
        run->first++;
    } else if (run->last == handle) {
        run->last--;
    } else if (block->run_count < RUNS_MAX) {
        run->last = (uint16_t)(handle - 1);
        insert_run(block, at + 1, behind);
    } else {
        block_to_bits(block);
        block->bits[handle >> 6] &= ~(UINT64_C(1) << (handle & 63));
    }
}

/* ---- the map ---- */

static uint32_t find_block(const struct handle_map *map, uint32_t number) {
    if (map->count == 0 || map->blocks[map->count - 1].number < number) {
        return map->count;
    }
    uint32_t from = 0;
    uint32_t to = map->count - 1;
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

static struct block *get_block(struct handle_set *set, uint32_t number) {
    struct handle_map *map = set->map;
    uint32_t at = find_block(map, number);
    if (at < map->count && map->blocks[at].number == number) {
        return &map->blocks[at];
    }
    if (map->count == map->cap) {
        uint32_t cap = map->cap + map->cap / 2 + 1;
        map = mem_realloc(map, sizeof(*map) + cap * sizeof(map->blocks[0]));
        map->cap = cap;
        set->map = map;
    }
    memmove(map->blocks + at + 1, map->blocks + at, (map->count - at) * sizeof(map->blocks[0]));
    map->blocks[at] = (struct block){ .number = (uint16_t)number };
    map->count++;
    return &map->blocks[at];
}

static void add_range(struct handle_set *set, uint32_t first, uint32_t last) {
    for (uint32_t number = first >> 16; number <= last >> 16; number++) {
        struct block *block = get_block(set, number);
        struct run run = {
            .first = number == first >> 16 ? low(first) : 0,
            .last = number == last >> 16 ? low(last) : UINT16_MAX,
        };
        insert_run(block, 0, run);
        block->count = (uint32_t)run.last - run.first + 1;
    }
}

static void make_map(struct handle_set *set) {
    uint32_t first = set->first;
    set->map = mem_calloc(1, sizeof(*set->map));
    if (set->count > 0) {
        add_range(set, first, first + (set->count - 1));
    }
}

void handles_finish(struct handle_set *set) {
    for (uint32_t i = 0; set->map != NULL && i < set->map->count; i++) {
        block_finish(&set->map->blocks[i]);
    }
    mem_free(set->map);
    *set = (struct handle_set){ 0 };
}

void handles_add(struct handle_set *set, uint32_t handle) {
    if (set->map == NULL && set->count == 0) {
        *set = (struct handle_set){ .first = handle, .count = 1 };
        return;
    }
    if (set->map == NULL && handle - set->first == set->count) {
        set->count++;
        return;
    }
    if (set->map == NULL) {
        make_map(set);
    }
    block_add(get_block(set, handle >> 16), low(handle));
    set->count++;
}

void handles_remove(struct handle_set *set, uint32_t handle) {
    assert(set->count > 0);
    if (set->map == NULL) {
        assert(handle - set->first < set->count);
        if (handle == set->first || handle == set->first + (set->count - 1)) {
            set->first += handle == set->first;
            set->count--;
            return;
        }
        make_map(set);
    }
    struct handle_map *map = set->map;
    uint32_t at = find_block(map, handle >> 16);
    assert(at < map->count && map->blocks[at].number == handle >> 16);
    block_remove(&map->blocks[at], low(handle));
    set->count--;
    if (map->blocks[at].count == 0) {
        block_finish(&map->blocks[at]);
        map->count--;
        memmove(map->blocks + at, map->blocks + at + 1, (map->count - at) * sizeof(map->blocks[0]));
    }
    if (set->count == 0) {
        handles_finish(set);
    }
}

/* ---- reading ---- */

static uint32_t next_in_bits(const uint64_t *bits, uint32_t from) {
    uint64_t word = bits[from >> 6] & UINT64_MAX << (from & 63);
    uint32_t i = from >> 6;
    while (word == 0 && ++i < HANDLES_BLOCK_WORDS) {
        word = bits[i];
    }
    return word == 0 ? UINT32_MAX : i * 64 + (uint32_t)__builtin_ctzll(word);
}

static uint32_t next_in_block(const struct block *block, uint32_t from) {
    if (block->run_count == 0) {
        return next_in_bits(block->bits, from);
    }
    uint32_t at = find_run(block, (uint16_t)from);
    if (at == block->run_count) {
        return UINT32_MAX;
    }
    return block->runs[at].first > from ? block->runs[at].first : from;
}

uint32_t handles_next(const struct handle_set *set, uint32_t from) {
    if (set->count == 0) {
        return UINT32_MAX;
    }
    if (set->map == NULL) {
        from = from > set->first ? from : set->first;
        return from - set->first < set->count ? from : UINT32_MAX;
    }
    const struct handle_map *map = set->map;
    for (uint32_t at = find_block(map, from >> 16); at < map->count; at++) {
        const struct block *block = &map->blocks[at];
        uint32_t base = (uint32_t)block->number << 16;
        uint32_t found = next_in_block(block, from > base ? from - base : 0);
        if (found != UINT32_MAX) {
            return base + found;
        }
    }
    return UINT32_MAX;
}

static bool or_range(const struct handle_set *set, uint32_t number, uint64_t *bits) {
    uint32_t last = set->first + (set->count - 1);
    if (set->count == 0 || number < set->first >> 16 || number > last >> 16) {
        return false;
    }
    set_bits(bits, number == set->first >> 16 ? low(set->first) : 0,
             number == last >> 16 ? low(last) : UINT16_MAX);
    return true;
}

bool handles_or(const struct handle_set *set, uint32_t block, uint64_t bits[HANDLES_BLOCK_WORDS]) {
    if (set->map == NULL) {
        return or_range(set, block, bits);
    }
    uint32_t at = find_block(set->map, block);
    if (at == set->map->count || set->map->blocks[at].number != block) {
        return false;
    }
    const struct block *found = &set->map->blocks[at];
    for (uint32_t i = 0; i < found->run_count; i++) {
        set_bits(bits, found->runs[i].first, found->runs[i].last);
    }
    for (uint32_t i = 0; found->run_count == 0 && i < HANDLES_BLOCK_WORDS; i++) {
        bits[i] |= found->bits[i];
    }
    return true;
}

size_t handles_bytes(const struct handle_set *set) {
    if (set->map == NULL) {
        return 0;
    }
    const struct handle_map *map = set->map;
    size_t bytes = sizeof(*map) + map->cap * sizeof(map->blocks[0]);
    for (uint32_t i = 0; i < map->count; i++) {
        const struct block *block = &map->blocks[i];
        bytes += block->run_count == 0 ? BITS_BYTES : block->run_cap * sizeof(struct run);
    }
    return bytes;
}
