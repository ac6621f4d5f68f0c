/* Interning and postings of the head; see index.h for the terms and who may hold what. */
#include "tsdb/head/index.h"

#include <assert.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"

#define TABLE_MIN      256
#define DROP_LOOKS_MAX 1024 /* pairs looked at in one slice of index_drop_pairs() */

static_assert(LABEL_VALUE_BYTES_MAX + 2 <= SLAB_BYTES_MAX, "a symbol fits a slab block");

/* ---- hash tables of numbers ---- */

static void table_insert(struct index_table *table, uint64_t hash, uint32_t number) {
    uint32_t mask = table->slot_count - 1;
    uint32_t i = (uint32_t)hash & mask;
    while (table->slots[i] != 0) {
        i = (i + 1) & mask;
    }
    table->slots[i] = number;
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

static void rebuild_symbol_table(struct index *index, uint32_t slot_count) {
    mem_free(index->symbol_table.slots);
    index->symbol_table = (struct index_table){
        .slots = mem_calloc(slot_count, sizeof(uint32_t)),
        .slot_count = slot_count,
    };
    for (uint32_t i = 1; i < index->symbol_count; i++) {
        if (index->symbols[i].string != 0) {
            table_insert(&index->symbol_table, symbol_hash(index, index_string(index, i)), i);
        }
    }
}

static void rebuild_pair_table(struct index *index, uint32_t slot_count) {
    mem_free(index->pair_table.slots);
    index->pair_table = (struct index_table){
        .slots = mem_calloc(slot_count, sizeof(uint32_t)),
        .slot_count = slot_count,
    };
    for (uint32_t i = 1; i < index->pair_count; i++) {
        const struct index_pair *pair = &index->pairs[i];
        if (pair->name != 0) {
            table_insert(&index->pair_table, pair_hash(index, pair->name, pair->value), i);
        }
    }
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
    uint32_t mask = table->slot_count - 1;
    uint32_t hole = home(index, number) & mask;
    while (table->slots[hole] != number) {
        hole = (hole + 1) & mask;
    }
    for (uint32_t i = (hole + 1) & mask; table->slots[i] != 0; i = (i + 1) & mask) {
        uint32_t distance = (i - home(index, table->slots[i])) & mask;
        if (distance >= ((i - hole) & mask)) {
            table->slots[hole] = table->slots[i];
            hole = i;
        }
    }
    table->slots[hole] = 0;
    table->used--;
}

static bool table_is_tight(const struct index_table *table) {
    return 4 * ((uint64_t)table->used + 1) > 3 * (uint64_t)table->slot_count;
}

/* ---- symbols ---- */

struct str index_string(const struct index *index, uint32_t symbol) {
    const char *block = slab_at(&index->strings, index->symbols[symbol].string);
    uint16_t len;
    memcpy(&len, block, sizeof(len));
    return str_n(block + sizeof(len), len);
}

static uint32_t find_symbol(const struct index *index, struct str text) {
    uint32_t mask = index->symbol_table.slot_count - 1;
    uint32_t i = (uint32_t)symbol_hash(index, text) & mask;
    for (;; i = (i + 1) & mask) {
        uint32_t number = index->symbol_table.slots[i];
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
    index->symbols = vec_grow(index->symbols, &index->symbol_cap, (size_t)index->symbol_count + 1,
                              sizeof(index->symbols[0]));
    return index->symbol_count++;
}

static uint32_t intern_symbol(struct index *index, struct str text) {
    uint32_t number = find_symbol(index, text);
    if (number != 0) {
        return number;
    }
    assert(text.len <= LABEL_VALUE_BYTES_MAX);
    if (table_is_tight(&index->symbol_table)) {
        rebuild_symbol_table(index, index->symbol_table.slot_count * 2);
    }
    number = new_symbol_number(index);
    uint32_t string = slab_alloc(&index->strings, text.len + 2);
    char *block = slab_at(&index->strings, string);
    uint16_t len = (uint16_t)text.len;
    memcpy(block, &len, sizeof(len));
    if (text.len > 0) {
        memcpy(block + sizeof(len), text.ptr, text.len);
    }
    index->symbols[number] = (struct index_symbol){ .string = string };
    table_insert(&index->symbol_table, symbol_hash(index, text), number);
    return number;
}

/* ---- pairs ---- */

static uint32_t find_pair(const struct index *index, uint32_t name, uint32_t value) {
    uint32_t mask = index->pair_table.slot_count - 1;
    uint32_t i = (uint32_t)pair_hash(index, name, value) & mask;
    for (;; i = (i + 1) & mask) {
        uint32_t number = index->pair_table.slots[i];
        if (number == 0) {
            return 0;
        }
        const struct index_pair *pair = &index->pairs[number];
        if (pair->name == name && pair->value == value) {
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
        index->names = vec_grow(index->names, &index->name_cap, (size_t)index->name_count + 1,
                                sizeof(index->names[0]));
        number = index->name_count++;
    }
    index->names[number] = (struct index_name){ .symbol = symbol };
    index->symbols[symbol].name = number;
    return &index->names[number];
}

static uint32_t new_pair_number(struct index *index) {
    uint32_t number = index->pair_free;
    if (number != 0) {
        index->pair_free = index->pairs[number].value;
        return number;
    }
    index->pairs = vec_grow(index->pairs, &index->pair_cap, (size_t)index->pair_count + 1,
                            sizeof(index->pairs[0]));
    return index->pair_count++;
}

static uint32_t new_pair(struct index *index, uint32_t name, uint32_t value) {
    if (table_is_tight(&index->pair_table)) {
        rebuild_pair_table(index, index->pair_table.slot_count * 2);
    }
    uint32_t number = new_pair_number(index);
    index->pairs[number] = (struct index_pair){ .name = name, .value = value };
    index->symbols[name].refs++;
    index->symbols[value].refs++;
    table_insert(&index->pair_table, pair_hash(index, name, value), number);
    struct index_name *entry = intern_name(index, name);
    entry->pairs = vec_grow(entry->pairs, &entry->cap, entry->count + 1, sizeof(entry->pairs[0]));
    entry->pairs[entry->count++] = number;
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

void index_init(struct index *index, uint64_t seed) {
    memset(index, 0, sizeof(*index));
    index->seed = seed;
    slab_init(&index->strings);
    slab_init(&index->labels);
    /* Number 0 means none everywhere. */
    index->symbols = vec_grow(NULL, &index->symbol_cap, 1, sizeof(index->symbols[0]));
    index->pairs = vec_grow(NULL, &index->pair_cap, 1, sizeof(index->pairs[0]));
    index->names = vec_grow(NULL, &index->name_cap, 1, sizeof(index->names[0]));
    index->symbols[0] = (struct index_symbol){ 0 };
    index->pairs[0] = (struct index_pair){ 0 };
    index->names[0] = (struct index_name){ 0 };
    index->symbol_count = 1;
    index->pair_count = 1;
    index->name_count = 1;
    rebuild_symbol_table(index, TABLE_MIN);
    rebuild_pair_table(index, TABLE_MIN);
}

void index_finish(struct index *index) {
    for (uint32_t i = 1; i < index->pair_count; i++) {
        if (index->pairs[i].name != 0) {
            handles_finish(&index->pairs[i].handles);
        }
    }
    for (uint32_t i = 1; i < index->name_count; i++) {
        mem_free(index->names[i].pairs);
    }
    mem_free(index->pairs);
    mem_free(index->names);
    mem_free(index->symbols);
    mem_free(index->symbol_table.slots);
    mem_free(index->pair_table.slots);
    mem_free(index->retired);
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
    unsigned left;
};

static struct label_walk label_walk(const struct index *index, uint32_t block) {
    const uint8_t *bytes = slab_at(&index->labels, block);
    return (struct label_walk){ .next = bytes + 1, .left = bytes[0] };
}

/* Pair number, 0 at the end. */
static uint32_t label_next(struct label_walk *walk) {
    if (walk->left == 0) {
        return 0;
    }
    walk->left--;
    uint32_t number = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = *walk->next++;
        number |= (uint32_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return number;
        }
    }
}

uint32_t index_add(struct index *index, uint32_t handle, struct labels labels) {
    assert(labels.count <= LABELS_COUNT_MAX);
    uint8_t bytes[LABEL_BLOCK_BYTES_MAX];
    uint8_t *end = bytes;
    *end++ = (uint8_t)labels.count;
    for (size_t i = 0; i < labels.count; i++) {
        uint32_t number = intern_pair(index, labels.items[i], index->recent[i]);
        index->recent[i] = number;
        handles_add(&index->pairs[number].handles, handle);
        end = bytes_put_uvarint(end, number);
    }
    size_t len = (size_t)(end - bytes);
    uint32_t block = slab_alloc(&index->labels, len);
    memcpy(slab_at(&index->labels, block), bytes, len);
    return block;
}

size_t index_labels(const struct index *index, uint32_t block, struct label *items) {
    struct label_walk walk = label_walk(index, block);
    size_t count = 0;
    uint32_t number;
    while ((number = label_next(&walk)) != 0) {
        const struct index_pair *pair = &index->pairs[number];
        items[count++] = (struct label){
            .name = index_string(index, pair->name),
            .value = index_string(index, pair->value),
        };
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
        handles_remove(&index->pairs[number].handles, handle);
    }
    const uint8_t *bytes = slab_at(&index->labels, block);
    slab_free(&index->labels, block, (size_t)(walk.next - bytes));
}

/* ---- dropping ---- */

static void retire_symbol(struct index *index, uint32_t number, uint64_t epoch) {
    struct index_symbol *symbol = &index->symbols[number];
    table_remove(index, &index->symbol_table, symbol_home, number);
    index->retired = vec_grow(index->retired, &index->retired_cap, index->retired_count + 1,
                              sizeof(index->retired[0]));
    index->retired[index->retired_count++] = (struct index_retired){
        .string = symbol->string,
        .bytes = (uint16_t)(index_string(index, number).len + 2),
        .epoch = epoch,
    };
    *symbol = (struct index_symbol){ .refs = index->symbol_free };
    index->symbol_free = number;
}

static void unref_symbol(struct index *index, uint32_t number, uint64_t epoch) {
    struct index_symbol *symbol = &index->symbols[number];
    assert(symbol->refs > 0);
    symbol->refs--;
    if (symbol->refs > 0) {
        return;
    }
    if (symbol->name != 0) {
        struct index_name *name = &index->names[symbol->name];
        mem_free(name->pairs);
        *name = (struct index_name){ 0 };
    }
    retire_symbol(index, number, epoch);
}

static void drop_pair(struct index *index, uint32_t number, uint64_t epoch) {
    struct index_pair *pair = &index->pairs[number];
    uint32_t name = pair->name;
    uint32_t value = pair->value;
    table_remove(index, &index->pair_table, pair_home, number);
    *pair = (struct index_pair){ .value = index->pair_free };
    index->pair_free = number;
    unref_symbol(index, value, epoch);
    unref_symbol(index, name, epoch);
}

bool index_drop_pairs(struct index *index, uint32_t *name, size_t *left, uint64_t epoch) {
    for (size_t budget = DROP_LOOKS_MAX; budget > 0; budget--) {
        if (*left == 0) {
            (*name)++;
            if (*name >= index->name_count) {
                return false;
            }
            *left = index->names[*name].symbol == 0 ? 0 : index->names[*name].count;
            continue;
        }
        /* From the end: what takes a dropped pair's place was looked at, or is new. */
        struct index_name *entry = &index->names[*name];
        *left = *left < entry->count ? *left : entry->count;
        if (*left == 0) {
            continue;
        }
        uint32_t number = entry->pairs[--*left];
        if (index->pairs[number].handles.count == 0) {
            entry->pairs[*left] = entry->pairs[--entry->count];
            index->generation++;
            drop_pair(index, number, epoch);
        }
    }
    return true;
}

void index_release(struct index *index, uint64_t epoch) {
    size_t kept = 0;
    for (size_t i = 0; i < index->retired_count; i++) {
        if (index->retired[i].epoch < epoch) {
            slab_free(&index->strings, index->retired[i].string, index->retired[i].bytes);
        } else {
            index->retired[kept++] = index->retired[i];
        }
    }
    index->retired_count = kept;
}

/* ---- look-up ---- */

uint32_t index_find_pair(const struct index *index, struct str name, struct str value) {
    uint32_t name_symbol = find_symbol(index, name);
    uint32_t value_symbol = find_symbol(index, value);
    return name_symbol == 0 || value_symbol == 0 ? 0 : find_pair(index, name_symbol, value_symbol);
}

const struct index_name *index_find_name(const struct index *index, struct str name) {
    uint32_t symbol = find_symbol(index, name);
    if (symbol == 0 || index->symbols[symbol].name == 0) {
        return NULL;
    }
    return &index->names[index->symbols[symbol].name];
}
