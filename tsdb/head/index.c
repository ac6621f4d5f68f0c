/* Interning and postings of the head; see index.h for the terms and who may hold what. */
#include "tsdb/head/index.h"

#include <assert.h>
#include <sched.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"

#define TABLE_MIN      256
#define DROP_LOOKS_MAX 1024 /* pairs looked at in one slice of index_drop_pairs() */

static_assert(LABEL_VALUE_BYTES_MAX + 2 <= SLAB_BYTES_MAX, "a symbol fits a slab block");

/* ---- arrays ---- */

/* Like vec_grow(), but the old array stays for those who look at it. */
static void *grow(struct index *index, void *items, size_t *cap, size_t need, size_t elem_bytes) {
    if (need <= *cap) {
        return items;
    }
    size_t old_cap = *cap;
    *cap = old_cap < 4 ? 8 : 2 * old_cap;
    assert(need <= *cap);
    uint8_t *bigger = mem_calloc(*cap, elem_bytes);
    if (items != NULL) {
        memcpy(bigger, items, old_cap * elem_bytes);
    }
    retire(&index->garbage, items);
    return bigger;
}

/* ---- hash tables of numbers ---- */

static struct index_slots *make_slots(uint32_t slot_count) {
    struct index_slots *slots =
        mem_calloc(1, sizeof(*slots) + (size_t)slot_count * sizeof(slots->numbers[0]));
    slots->mask = slot_count - 1;
    return slots;
}

static void slots_insert(struct index_slots *slots, uint64_t hash, uint32_t number) {
    uint32_t i = (uint32_t)hash & slots->mask;
    while (slots->numbers[i] != 0) {
        i = (i + 1) & slots->mask;
    }
    RACE_STORE(&slots->numbers[i], number);
}

static void table_insert(struct index_table *table, uint64_t hash, uint32_t number) {
    slots_insert(table->slots, hash, number);
    table->used++;
}

static uint64_t symbol_hash(const struct index *index, struct str text) {
    return hash_bytes_seeded(text, index->seed);
}

static uint64_t pair_hash(const struct index *index, uint32_t name, uint32_t value) {
    uint64_t hash = ((uint64_t)name << 32 | value) ^ index->seed;
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    return hash ^ hash >> 32;
}

static void replace_slots(struct index *index,
                          struct index_table *table,
                          struct index_slots *slots) {
    struct index_slots *old = table->slots;
    RACE_STORE(&table->slots, slots);
    retire(&index->garbage, old);
}

static void rebuild_symbol_table(struct index *index, uint32_t slot_count) {
    struct index_slots *slots = make_slots(slot_count);
    for (uint32_t i = 1; i < index->symbol_count; i++) {
        if (index->symbols[i].string != 0) {
            slots_insert(slots, symbol_hash(index, index_string(index, i)), i);
        }
    }
    replace_slots(index, &index->symbol_table, slots);
}

static void rebuild_pair_table(struct index *index, uint32_t slot_count) {
    struct index_slots *slots = make_slots(slot_count);
    for (uint32_t i = 1; i < index->pair_count; i++) {
        const struct index_pair *pair = &index->pairs[i];
        if (pair->name != 0) {
            slots_insert(slots, pair_hash(index, pair->name, pair->value), i);
        }
    }
    replace_slots(index, &index->pair_table, slots);
}

static uint32_t symbol_home(const struct index *index, uint32_t number) {
    return (uint32_t)symbol_hash(index, index_string(index, number));
}

static uint32_t pair_home(const struct index *index, uint32_t number) {
    const struct index_pair *pair = &index->pairs[number];
    return (uint32_t)pair_hash(index, pair->name, pair->value);
}

/* Take a number out of its table: those that were pushed behind it move up. */
static void table_remove(const struct index *index,
                         struct index_table *table,
                         uint32_t (*home)(const struct index *index, uint32_t number),
                         uint32_t number) {
    uint32_t mask = table->slots->mask;
    uint32_t *numbers = table->slots->numbers;
    uint32_t hole = home(index, number) & mask;
    while (numbers[hole] != number) {
        hole = (hole + 1) & mask;
    }
    for (uint32_t i = (hole + 1) & mask; numbers[i] != 0; i = (i + 1) & mask) {
        uint32_t distance = (i - home(index, numbers[i])) & mask;
        if (distance >= ((i - hole) & mask)) {
            RACE_STORE(&numbers[hole], numbers[i]);
            hole = i;
        }
    }
    RACE_STORE(&numbers[hole], 0);
    table->used--;
}

static bool table_is_tight(const struct index_table *table) {
    return 4 * ((uint64_t)table->used + 1) > 3 * ((uint64_t)table->slots->mask + 1);
}

static uint32_t table_doubled(const struct index_table *table) {
    return 2 * (table->slots->mask + 1);
}

/* ---- symbols ---- */

struct str index_string(const struct index *index, uint32_t symbol) {
    uint32_t string = RACE_LOAD(&RACE_LOAD(&index->symbols)[symbol].string);
    const char *block = slab_at(&index->strings, string);
    uint16_t len;
    memcpy(&len, block, sizeof(len));
    return str_n(block + sizeof(len), len);
}

static uint32_t find_symbol(const struct index *index, struct str text) {
    const struct index_slots *slots = RACE_LOAD(&index->symbol_table.slots);
    uint32_t i = (uint32_t)symbol_hash(index, text) & slots->mask;
    for (;; i = (i + 1) & slots->mask) {
        uint32_t number = RACE_LOAD(&slots->numbers[i]);
        if (number == 0 || str_eq(index_string(index, number), text)) {
            return number;
        }
    }
}

static uint32_t new_symbol_number(struct index *index) {
    uint32_t number = index->symbol_free;
    if (number != 0) {
        index->symbol_free = index->symbols[number].refs;
        return number;
    }
    RACE_STORE(&index->symbols, grow(index, index->symbols, &index->symbol_cap,
                                     (size_t)index->symbol_count + 1, sizeof(index->symbols[0])));
    return index->symbol_count++;
}

static uint32_t intern_symbol(struct index *index, struct str text) {
    uint32_t number = find_symbol(index, text);
    if (number != 0) {
        return number;
    }
    assert(text.len <= LABEL_VALUE_BYTES_MAX);
    if (table_is_tight(&index->symbol_table)) {
        rebuild_symbol_table(index, table_doubled(&index->symbol_table));
    }
    number = new_symbol_number(index);
    uint32_t string = slab_alloc(&index->strings, text.len + 2);
    char *block = slab_at(&index->strings, string);
    uint16_t len = (uint16_t)text.len;
    memcpy(block, &len, sizeof(len));
    if (text.len > 0) {
        memcpy(block + sizeof(len), text.ptr, text.len);
    }
    struct index_symbol *symbol = &index->symbols[number];
    symbol->refs = 0;
    RACE_STORE(&symbol->name, 0);
    RACE_STORE(&symbol->string, string);
    table_insert(&index->symbol_table, symbol_hash(index, text), number);
    return number;
}

/* ---- pairs ---- */

static uint32_t find_pair(const struct index *index, uint32_t name, uint32_t value) {
    const struct index_slots *slots = RACE_LOAD(&index->pair_table.slots);
    uint32_t i = (uint32_t)pair_hash(index, name, value) & slots->mask;
    for (;; i = (i + 1) & slots->mask) {
        uint32_t number = RACE_LOAD(&slots->numbers[i]);
        if (number == 0) {
            return 0;
        }
        const struct index_pair *pair = index_pair(index, number);
        if (RACE_LOAD(&pair->name) == name && RACE_LOAD(&pair->value) == value) {
            return number;
        }
    }
}

static struct index_name *intern_name(struct index *index, uint32_t symbol) {
    uint32_t number = index->symbols[symbol].name;
    if (number != 0) {
        return &index->names[number];
    }
    for (number = 1; number < index->name_count; number++) {
        if (index->names[number].symbol == 0) {
            break; /* label names are few: a scan per new name is cheap */
        }
    }
    if (number >= index->name_count) {
        RACE_STORE(&index->names, grow(index, index->names, &index->name_cap,
                                       (size_t)index->name_count + 1, sizeof(index->names[0])));
        RACE_STORE(&index->name_count, number + 1);
    }
    RACE_STORE(&index->names[number].symbol, symbol);
    RACE_STORE(&index->symbols[symbol].name, number);
    return &index->names[number];
}

static uint32_t new_pair_number(struct index *index) {
    uint32_t number = index->pair_free;
    if (number != 0) {
        index->pair_free = index->pairs[number].value;
        return number;
    }
    RACE_STORE(&index->pairs, grow(index, index->pairs, &index->pair_cap,
                                   (size_t)index->pair_count + 1, sizeof(index->pairs[0])));
    number = index->pair_count;
    RACE_STORE(&index->pair_count, number + 1);
    return number;
}

static void add_value(struct index *index, struct index_name *name, uint32_t pair) {
    struct index_values *values = name->values;
    if (values == NULL || values->count == values->cap) {
        uint32_t count = values == NULL ? 0 : values->count;
        uint32_t cap = count < 4 ? 4 : 2 * count;
        struct index_values *bigger =
            mem_alloc(sizeof(*bigger) + (size_t)cap * sizeof(bigger->pairs[0]));
        if (values != NULL) {
            memcpy(bigger->pairs, values->pairs, count * sizeof(bigger->pairs[0]));
        }
        bigger->count = count;
        bigger->cap = cap;
        RACE_STORE(&name->values, bigger);
        retire(&index->garbage, values);
        values = bigger;
    }
    RACE_STORE(&values->pairs[values->count], pair);
    RACE_STORE(&values->count, values->count + 1);
}

static uint32_t new_pair(struct index *index, uint32_t name, uint32_t value) {
    if (table_is_tight(&index->pair_table)) {
        rebuild_pair_table(index, table_doubled(&index->pair_table));
    }
    uint32_t number = new_pair_number(index);
    struct index_pair *pair = &index->pairs[number]; /* without handles */
    RACE_STORE(&pair->value, value);
    RACE_STORE(&pair->name, name);
    index->symbols[name].refs++;
    index->symbols[value].refs++;
    table_insert(&index->pair_table, pair_hash(index, name, value), number);
    add_value(index, intern_name(index, name), number);
    return number;
}

/* Series come target by target: most labels, and nearly all names, are those of the series before,
 * `recent`. Whatever has that number by now is compared. */
static uint32_t intern_pair(struct index *index, struct label label, uint32_t recent) {
    uint32_t name = index->pairs[recent].name; /* 0: none, or dropped */
    if (name != 0 && !str_eq(index_string(index, name), label.name)) {
        name = 0;
    }
    if (name != 0 && str_eq(index_string(index, index->pairs[recent].value), label.value)) {
        return recent;
    }
    name = name == 0 ? intern_symbol(index, label.name) : name;
    uint32_t value = intern_symbol(index, label.value);
    uint32_t number = find_pair(index, name, value);
    return number == 0 ? new_pair(index, name, value) : number;
}

/* ---- life ---- */

void index_init(struct index *index, uint64_t seed, struct readers *readers) {
    memset(index, 0, sizeof(*index));
    retired_init(&index->garbage, readers);
    index->seed = seed;
    slab_init(&index->strings);
    slab_init(&index->labels);
    /* Number 0 means none everywhere. */
    index->symbols = grow(index, NULL, &index->symbol_cap, 1, sizeof(index->symbols[0]));
    index->pairs = grow(index, NULL, &index->pair_cap, 1, sizeof(index->pairs[0]));
    index->names = grow(index, NULL, &index->name_cap, 1, sizeof(index->names[0]));
    index->symbol_count = 1;
    index->pair_count = 1;
    index->name_count = 1;
    rebuild_symbol_table(index, TABLE_MIN);
    rebuild_pair_table(index, TABLE_MIN);
}

void index_finish(struct index *index) {
    for (uint32_t i = 1; i < index->pair_count; i++) {
        if (index->pairs[i].name != 0) {
            handles_finish(&index->pairs[i].handles, NULL);
        }
    }
    for (uint32_t i = 1; i < index->name_count; i++) {
        mem_free(index->names[i].values);
    }
    mem_free(index->pairs);
    mem_free(index->names);
    mem_free(index->symbols);
    mem_free(index->symbol_table.slots);
    mem_free(index->pair_table.slots);
    mem_free(index->retired);
    retired_finish(&index->garbage);
    slab_finish(&index->strings);
    slab_finish(&index->labels);
    memset(index, 0, sizeof(*index));
}

/* ---- series ---- */

/* A label block: u8 count, then the pair numbers as uvarints; those of old pairs are small. */
#define LABEL_BLOCK_BYTES_MAX (1 + LABELS_COUNT_MAX * 5)

static_assert(LABEL_BLOCK_BYTES_MAX <= SLAB_BYTES_MAX, "a label block fits a slab block");
static_assert(LABELS_COUNT_MAX <= UINT8_MAX, "the count fits its byte");

struct label_walk {
    const uint8_t *next;
    const uint8_t *end; /* of what may be looked at: without the lock the bytes can be any */
    unsigned left;
};

static struct label_walk label_walk(const struct index *index, uint32_t block) {
    const uint8_t *bytes = slab_at(&index->labels, block);
    unsigned count = RACE_LOAD(bytes);
    return (struct label_walk){
        .next = bytes + 1,
        .end = bytes + slab_room(block),
        .left = count < LABELS_COUNT_MAX ? count : LABELS_COUNT_MAX,
    };
}

/* Pair number, 0 at the end. */
static uint32_t label_next(struct label_walk *walk) {
    uint32_t number = 0;
    if (walk->left == 0) {
        return 0;
    }
    walk->left--;
    for (unsigned shift = 0; shift < 32 && walk->next < walk->end; shift += 7) {
        uint8_t byte = RACE_LOAD(walk->next);
        walk->next++;
        number |= (uint32_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            break;
        }
    }
    return number;
}

uint32_t index_add(struct index *index, uint32_t handle, struct labels labels) {
    assert(labels.count <= LABELS_COUNT_MAX);
    uint8_t bytes[LABEL_BLOCK_BYTES_MAX];
    uint8_t *end = bytes;
    *end++ = (uint8_t)labels.count;
    for (size_t i = 0; i < labels.count; i++) {
        uint32_t number = intern_pair(index, labels.items[i], index->recent[i]);
        index->recent[i] = number;
        handles_add(&index->pairs[number].handles, handle, &index->garbage);
        end = bytes_put_uvarint(end, number);
    }
    size_t len = (size_t)(end - bytes);
    uint32_t block = slab_alloc(&index->labels, len);
    uint8_t *place = slab_at(&index->labels, block);
    for (size_t i = 0; i < len; i++) {
        RACE_STORE(&place[i], bytes[i]);
    }
    return block;
}

size_t index_label_numbers(const struct index *index,
                           uint32_t block,
                           uint32_t numbers[LABELS_COUNT_MAX]) {
    struct label_walk walk = label_walk(index, block);
    size_t count = 0;
    while (walk.left > 0) {
        numbers[count++] = label_next(&walk);
    }
    return count;
}

struct label index_label(const struct index *index, uint32_t pair) {
    const struct index_pair *at = index_pair(index, pair);
    return (struct label){
        .name = index_string(index, RACE_LOAD(&at->name)),
        .value = index_string(index, RACE_LOAD(&at->value)),
    };
}

size_t index_labels(const struct index *index, uint32_t block, struct label *items) {
    struct label_walk walk = label_walk(index, block);
    size_t count = 0;
    while (walk.left > 0) {
        items[count++] = index_label(index, label_next(&walk));
    }
    return count;
}

bool index_labels_equal(const struct index *index, uint32_t block, struct labels labels) {
    struct label_walk walk = label_walk(index, block);
    if (walk.left != labels.count) {
        return false;
    }
    for (size_t i = 0; i < labels.count; i++) {
        const struct index_pair *pair = &index->pairs[label_next(&walk)];
        if (!str_eq(index_string(index, pair->value), labels.items[i].value) ||
            !str_eq(index_string(index, pair->name), labels.items[i].name)) {
            return false;
        }
    }
    return true;
}

void index_remove(struct index *index, uint32_t handle, uint32_t block) {
    struct label_walk walk = label_walk(index, block);
    uint32_t number;
    while ((number = label_next(&walk)) != 0) {
        handles_remove(&index->pairs[number].handles, handle, &index->garbage);
    }
    const uint8_t *bytes = slab_at(&index->labels, block);
    slab_free(&index->labels, block, (size_t)(walk.next - bytes));
}

/* ---- dropping ---- */

static void retire_symbol(struct index *index, uint32_t number) {
    struct index_symbol *symbol = &index->symbols[number];
    uint16_t bytes = (uint16_t)(index_string(index, number).len + 2);
    uint32_t string = symbol->string;
    table_remove(index, &index->symbol_table, symbol_home, number);
    RACE_STORE(&symbol->string, 0);
    RACE_STORE(&symbol->name, 0);
    symbol->refs = index->symbol_free;
    index->symbol_free = number;
    index->retired = vec_grow(index->retired, &index->retired_cap, index->retired_count + 1,
                              sizeof(index->retired[0]));
    index->retired[index->retired_count++] = (struct index_retired){
        .string = string,
        .bytes = bytes,
        .epoch = index->garbage.readers == NULL ? 0 : readers_epoch(index->garbage.readers),
    };
}

static void unref_symbol(struct index *index, uint32_t number) {
    struct index_symbol *symbol = &index->symbols[number];
    assert(symbol->refs > 0);
    symbol->refs--;
    if (symbol->refs > 0) {
        return;
    }
    if (symbol->name != 0) {
        struct index_name *name = &index->names[symbol->name];
        struct index_values *values = name->values;
        RACE_STORE(&name->symbol, 0);
        RACE_STORE(&name->values, NULL);
        retire(&index->garbage, values);
    }
    retire_symbol(index, number);
}

static void drop_pair(struct index *index, uint32_t number) {
    struct index_pair *pair = &index->pairs[number];
    uint32_t name = pair->name;
    uint32_t value = pair->value;
    table_remove(index, &index->pair_table, pair_home, number);
    RACE_STORE(&pair->name, 0);
    RACE_STORE(&pair->value, index->pair_free);
    index->pair_free = number;
    unref_symbol(index, value);
    unref_symbol(index, name);
}

static void drop_value(struct index *index, struct index_values *values, size_t at) {
    uint32_t number = values->pairs[at];
    RACE_STORE(&index->generation, index->generation + 1);
    RACE_STORE(&values->pairs[at], values->pairs[values->count - 1]);
    RACE_STORE(&values->count, values->count - 1);
    drop_pair(index, number);
    RACE_STORE(&index->generation, index->generation + 1);
}

bool index_drop_pairs(struct index *index, uint32_t *name, size_t *left) {
    for (size_t budget = DROP_LOOKS_MAX; budget > 0; budget--) {
        if (*left == 0) {
            (*name)++;
            if (*name >= index->name_count) {
                return false;
            }
            *left = SIZE_MAX;
        }
        /* From the end: what takes a dropped pair's place was looked at, or is new. */
        struct index_values *values = index->names[*name].values;
        size_t count = values == NULL ? 0 : values->count;
        *left = *left < count ? *left : count;
        if (*left == 0) {
            continue;
        }
        --*left;
        if (handles_count(&index->pairs[values->pairs[*left]].handles) == 0) {
            drop_value(index, values, *left);
        }
    }
    return true;
}

void index_release(struct index *index) {
    struct readers *readers = index->garbage.readers;
    uint64_t epoch = readers == NULL ? UINT64_MAX : readers_epoch_floor(readers);
    size_t kept = 0;
    for (size_t i = 0; i < index->retired_count; i++) {
        if (index->retired[i].epoch < epoch) {
            slab_free(&index->strings, index->retired[i].string, index->retired[i].bytes);
        } else {
            index->retired[kept++] = index->retired[i];
        }
    }
    index->retired_count = kept;
    retired_release(&index->garbage);
}

/* ---- look-up ---- */

uint32_t index_find_pair(const struct index *index, struct str name, struct str value) {
    uint32_t name_symbol = find_symbol(index, name);
    uint32_t value_symbol = find_symbol(index, value);
    return name_symbol == 0 || value_symbol == 0 ? 0 : find_pair(index, name_symbol, value_symbol);
}

const struct index_name *index_find_name(const struct index *index, struct str name) {
    uint32_t symbol = find_symbol(index, name);
    uint32_t number = symbol == 0 ? 0 : RACE_LOAD(&RACE_LOAD(&index->symbols)[symbol].name);
    return number == 0 ? NULL : index_name(index, number);
}

uint32_t index_generation(const struct index *index) {
    uint32_t generation = RACE_LOAD(&index->generation);
    while ((generation & 1) != 0) {
        sched_yield();
        generation = RACE_LOAD(&index->generation);
    }
    return generation;
}
