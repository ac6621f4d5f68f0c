/*
 * Words that writers change (under their locks) while readers look at them without any. A writer
 * stores them with RACE_STORE, a reader loads them with RACE_LOAD; a writer may look plainly at
 * what only it changes. Stores are seen in their order: who sees one sees all before it.
 */
#pragma once

#define RACE_LOAD(place)         __atomic_load_n((place), __ATOMIC_ACQUIRE)
#define RACE_STORE(place, value) __atomic_store_n((place), (value), __ATOMIC_RELEASE)
