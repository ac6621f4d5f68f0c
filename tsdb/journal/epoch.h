/*
 * Epochs of the journal: runs of records whose value tokens start from nothing before them. The
 * journal is trimmed at the start of an epoch, and replay begins at one. Numbers ascend from 1 over
 * the life of the process.
 * Threads: any; a lock of its own, a leaf.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>

#include "base/attr.h"

struct epochs {
    pthread_mutex_t lock;
    uint64_t *starts; /* LSN of the first record of epoch `first`, `first` + 1, … */
    size_t count;
    size_t cap;
    uint32_t first;
};

void epochs_init(struct epochs *epochs); /* no epoch yet */
void epochs_finish(struct epochs *epochs);

/* The next epoch starts at this LSN, at or after the start of the newest. Returns its number; that
 * of the newest when it starts there already. */
uint32_t epochs_begin(struct epochs *epochs, uint64_t lsn);
/* LSN of the first record; the number was returned by epochs_begin and not forgotten. */
uint64_t epochs_start(struct epochs *epochs, uint32_t number);
/* The epoch of a record; of one before the oldest known, the oldest. */
uint32_t epochs_of(struct epochs *epochs, uint64_t lsn);
/* Nobody will ask for those before `number` any more. */
void epochs_forget(struct epochs *epochs, uint32_t number);
