/*
 * A kv_store in memory: the same atomicity and order as the journal's tables, nothing durable.
 * For unit tests of the modules that keep state, and for running without a data directory.
 * Threads: any; commits are serialised.
 */
#pragma once

#include "base/kv.h"

struct kv_memory;

struct kv_memory *kv_memory_create(void);
void kv_memory_destroy(struct kv_memory *memory); /* NULL ok; open batches must have ended */
struct kv_store *kv_memory_store(struct kv_memory *memory);

size_t kv_memory_count(struct kv_memory *memory, enum kv_table table);

/* From now on every commit fails with `code` and changes nothing; ERR_NONE ends that. */
void kv_memory_fail_commits(struct kv_memory *memory, enum err_code code);
