/* A kv_store in memory: one sorted vector of entries per table, replayed batches. */
#include "tests/base/kv_memory.h"

#include <assert.h>
#include <pthread.h>

#include "base/mem.h"

enum {
    KEY_BYTES_MAX = 500
};

/* Key and value share one block, starting at `key`. */
struct entry {
    char *key;
    size_t key_len;
    size_t value_len;
};

struct table {
    struct entry *items; /* ascending by key */
    size_t count;
    size_t cap;
};

struct kv_memory {
    struct kv_store store; /* first: the store is the memory */
    pthread_mutex_t mutex;

    /* guarded by mutex */
    struct table tables[KV_TABLE_COUNT];
    enum err_code commit_failure;
};

struct change {
    enum kv_table table;
    bool is_del;
    struct entry entry;
};

struct batch {
    struct kv_batch batch; /* first */
    struct change *items;
    size_t count;
    size_t cap;
};

static struct entry entry_create(struct str key, struct str value) {
    struct entry entry = { .key = mem_alloc(key.len + value.len),
                           .key_len = key.len,
                           .value_len = value.len };
    memcpy(entry.key, key.ptr, key.len);
    if (value.len > 0) {
        memcpy(entry.key + key.len, value.ptr, value.len);
    }
    return entry;
}

static struct str entry_key(const struct entry *entry) {
    return str_n(entry->key, entry->key_len);
}

static struct str entry_value(const struct entry *entry) {
    return str_n(entry->key + entry->key_len, entry->value_len);
}

static void lock(struct kv_memory *memory) {
    int rc = pthread_mutex_lock(&memory->mutex);
    assert(rc == 0);
    (void)rc;
}

static void unlock(struct kv_memory *memory) {
    int rc = pthread_mutex_unlock(&memory->mutex);
    assert(rc == 0);
    (void)rc;
}

/* Index of the first entry whose key is not below `key`. */
static size_t lower_bound(const struct table *table, struct str key) {
    size_t low = 0;
    size_t high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (str_cmp(entry_key(&table->items[middle]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_at(const struct table *table, size_t index, struct str key) {
    return index < table->count && str_eq(entry_key(&table->items[index]), key);
}

static bool store_get(struct kv_store *store,
                      enum kv_table table_id,
                      struct str key,
                      struct buf *ret,
                      struct err *err) {
    (void)err; /* memory cannot fail to be read */
    struct kv_memory *memory = (struct kv_memory *)store;
    buf_reset(ret);
    lock(memory);
    const struct table *table = &memory->tables[table_id];
    size_t index = lower_bound(table, key);
    bool found = is_at(table, index, key);
    if (found) {
        buf_str(ret, entry_value(&table->items[index]));
    }
    unlock(memory);
    if (ret->is_over) {
        return err_set(err, ERR_LIMIT, "stored value is larger than the caller's %zu bytes",
                       ret->bytes_max);
    }
    return found;
}

static bool store_scan(struct kv_store *store,
                       enum kv_table table_id,
                       struct str from,
                       struct str prefix,
                       bool (*visit)(void *ctx, struct str key, struct str value),
                       void *ctx,
                       struct err *err) {
    (void)err;
    struct kv_memory *memory = (struct kv_memory *)store;
    lock(memory);
    const struct table *table = &memory->tables[table_id];
    size_t index = lower_bound(table, str_cmp(from, prefix) > 0 ? from : prefix);
    for (; index < table->count; index++) {
        const struct entry *entry = &table->items[index];
        if (!str_starts_with(entry_key(entry), prefix) ||
            !visit(ctx, entry_key(entry), entry_value(entry))) {
            break;
        }
    }
    unlock(memory);
    return true;
}

static void add_change(struct kv_batch *kv_batch, struct change change) {
    struct batch *batch = (struct batch *)kv_batch;
    batch->items = vec_grow(batch->items, &batch->cap, batch->count + 1, sizeof(batch->items[0]));
    batch->items[batch->count++] = change;
}

static void batch_put(struct kv_batch *batch,
                      enum kv_table table,
                      struct str key,
                      struct str value) {
    assert(table < KV_TABLE_COUNT && key.len > 0 && key.len <= KEY_BYTES_MAX);
    add_change(batch, (struct change){ .table = table, .entry = entry_create(key, value) });
}

static void batch_del(struct kv_batch *batch, enum kv_table table, struct str key) {
    assert(table < KV_TABLE_COUNT && key.len > 0 && key.len <= KEY_BYTES_MAX);
    struct entry entry = entry_create(key, STR(""));
    add_change(batch, (struct change){ .table = table, .is_del = true, .entry = entry });
}

static struct kv_batch *store_begin(struct kv_store *store) {
    (void)store;
    struct batch *batch = mem_calloc(1, sizeof(*batch));
    batch->batch = (struct kv_batch){ .put = batch_put, .del = batch_del };
    return &batch->batch;
}

static void batch_destroy(struct batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        mem_free(batch->items[i].entry.key);
    }
    mem_free(batch->items);
    mem_free(batch);
}

/* Takes the entry's block. */
static void apply_put(struct table *table, struct entry entry) {
    size_t index = lower_bound(table, entry_key(&entry));
    if (is_at(table, index, entry_key(&entry))) {
        mem_free(table->items[index].key);
        table->items[index] = entry;
        return;
    }
    table->items = vec_grow(table->items, &table->cap, table->count + 1, sizeof(table->items[0]));
    struct entry *at = &table->items[index];
    memmove(at + 1, at, (table->count - index) * sizeof(*at));
    *at = entry;
    table->count++;
}

static void apply_del(struct table *table, struct str key) {
    size_t index = lower_bound(table, key);
    if (!is_at(table, index, key)) {
        return;
    }
    struct entry *at = &table->items[index];
    mem_free(at->key);
    memmove(at, at + 1, (table->count - index - 1) * sizeof(*at));
    table->count--;
}

static bool store_commit_blocking(struct kv_store *store,
                                  struct kv_batch *kv_batch,
                                  struct err *err) {
    struct kv_memory *memory = (struct kv_memory *)store;
    struct batch *batch = (struct batch *)kv_batch;
    lock(memory);
    enum err_code failure = memory->commit_failure;
    for (size_t i = 0; failure == ERR_NONE && i < batch->count; i++) {
        struct change *change = &batch->items[i];
        struct table *table = &memory->tables[change->table];
        if (change->is_del) {
            apply_del(table, entry_key(&change->entry));
        } else {
            apply_put(table, change->entry);
            change->entry.key = NULL;
        }
    }
    unlock(memory);
    batch_destroy(batch);
    return failure == ERR_NONE ? true : err_set(err, failure, "commit refused on request");
}

static void store_abandon(struct kv_store *store, struct kv_batch *batch) {
    (void)store;
    batch_destroy((struct batch *)batch);
}

struct kv_memory *kv_memory_create(void) {
    struct kv_memory *memory = mem_calloc(1, sizeof(*memory));
    memory->store = (struct kv_store){
        .get = store_get,
        .scan = store_scan,
        .begin = store_begin,
        .commit_blocking = store_commit_blocking,
        .abandon = store_abandon,
    };
    int rc = pthread_mutex_init(&memory->mutex, NULL);
    assert(rc == 0);
    (void)rc;
    return memory;
}

void kv_memory_destroy(struct kv_memory *memory) {
    if (memory == NULL) {
        return;
    }
    for (size_t t = 0; t < KV_TABLE_COUNT; t++) {
        struct table *table = &memory->tables[t];
        for (size_t i = 0; i < table->count; i++) {
            mem_free(table->items[i].key);
        }
        mem_free(table->items);
    }
    int rc = pthread_mutex_destroy(&memory->mutex);
    assert(rc == 0);
    (void)rc;
    mem_free(memory);
}

struct kv_store *kv_memory_store(struct kv_memory *memory) {
    return &memory->store;
}

size_t kv_memory_count(struct kv_memory *memory, enum kv_table table) {
    assert(table < KV_TABLE_COUNT);
    lock(memory);
    size_t count = memory->tables[table].count;
    unlock(memory);
    return count;
}

void kv_memory_fail_commits(struct kv_memory *memory, enum err_code code) {
    lock(memory);
    memory->commit_failure = code;
    unlock(memory);
}
