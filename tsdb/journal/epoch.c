/* Where the journal's epochs start; see epoch.h. A handful at any time: a scan finds them. */
#include "tsdb/journal/epoch.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

void epochs_init(struct epochs *epochs) {
    memset(epochs, 0, sizeof(*epochs));
    pthread_mutex_init(&epochs->lock, NULL);
    epochs->first = 1;
}

void epochs_finish(struct epochs *epochs) {
    mem_free(epochs->starts);
    pthread_mutex_destroy(&epochs->lock);
    memset(epochs, 0, sizeof(*epochs));
}

uint32_t epochs_begin(struct epochs *epochs, uint64_t lsn) {
    pthread_mutex_lock(&epochs->lock);
    assert(epochs->count == 0 || epochs->starts[epochs->count - 1] <= lsn);
    if (epochs->count == 0 || epochs->starts[epochs->count - 1] < lsn) {
        epochs->starts =
            vec_grow(epochs->starts, &epochs->cap, epochs->count + 1, sizeof(epochs->starts[0]));
        epochs->starts[epochs->count++] = lsn;
    }
    uint32_t number = epochs->first + (uint32_t)epochs->count - 1;
    pthread_mutex_unlock(&epochs->lock);
    return number;
}

uint64_t epochs_start(struct epochs *epochs, uint32_t number) {
    pthread_mutex_lock(&epochs->lock);
    assert(number >= epochs->first && number - epochs->first < epochs->count);
    uint64_t lsn = epochs->starts[number - epochs->first];
    pthread_mutex_unlock(&epochs->lock);
    return lsn;
}

uint32_t epochs_of(struct epochs *epochs, uint64_t lsn) {
    pthread_mutex_lock(&epochs->lock);
    size_t at = epochs->count;
    while (at > 1 && epochs->starts[at - 1] > lsn) {
        at--;
    }
    uint32_t number = epochs->first + (at == 0 ? 0 : (uint32_t)at - 1);
    pthread_mutex_unlock(&epochs->lock);
    return number;
}

void epochs_forget(struct epochs *epochs, uint32_t number) {
    pthread_mutex_lock(&epochs->lock);
    if (number > epochs->first) {
        size_t gone = number - epochs->first;
        assert(gone < epochs->count);
        memmove(epochs->starts, epochs->starts + gone,
                (epochs->count - gone) * sizeof(epochs->starts[0]));
        epochs->count -= gone;
        epochs->first = number;
    }
    pthread_mutex_unlock(&epochs->lock);
}
