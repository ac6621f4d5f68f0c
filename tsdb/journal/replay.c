/* The second thread of a replay; see replay.h. */
#include "tsdb/journal/replay.h"

#include "base/mem.h"
#include "tsdb/write/late.h"

#define BLOCK_SAMPLES   4096
#define BLOCK_COUNT     8
#define STRIPE_HOLD_MAX 256 /* samples appended per stripe lock */
#define AHEAD_SERIES    12  /* structs are fetched so many samples before their turn … */
#define AHEAD_CHUNK     6   /* … and their chunks */

struct entry {
    struct series *series; /* nobody leaves the head during a replay */
    uint32_t handle;
    struct sample sample;
    uint64_t lsn;
};

struct block {
    struct entry entries[BLOCK_SAMPLES];
    size_t count;
};

/* A ring: the walker fills block `filled`, the appender empties block `emptied`. */
struct replay {
    struct tsdb *db;
    struct late *late; /* the appender's */
    bool is_deferred;  /* changes while the ring is empty */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    uint64_t filled;  /* guarded by lock: blocks handed over so far */
    uint64_t emptied; /* guarded by lock */
    bool is_over;     /* guarded by lock */
    struct block blocks[BLOCK_COUNT];
};

static void fetch_ahead(struct head *head, const struct block *block, size_t i) {
    if (i + AHEAD_SERIES < block->count) {
        __builtin_prefetch(block->entries[i + AHEAD_SERIES].series, 1);
    }
    if (i + AHEAD_CHUNK < block->count) {
        const struct entry *entry = &block->entries[i + AHEAD_CHUNK];
        if (entry->series->chunks != 0) {
            const struct slab *slab = &head_stripe(head, entry->handle)->chunks;
            __builtin_prefetch(slab_at(slab, entry->series->chunks), 1);
        }
    }
}

/* Older than the newest of its series, and nobody looked yet whether it is there. */
static void append_older(struct replay *replay, const struct entry *entry) {
    struct tsdb *db = replay->db;
    struct sample sample = entry->sample;
    switch (late_judge(replay->late, entry->series, entry->handle, sample)) {
    case TSDB_DUPLICATE: break;
    case TSDB_CONFLICT: defer_note_conflict(db, entry->lsn, entry->handle, sample); break;
    default:
        side_add(&db->side, entry->handle, sample, entry->lsn);
        db_note_time(db, sample.t_ms, sample.t_ms);
    }
}

static void append_block(struct replay *replay, const struct block *block) {
    struct head *head = &replay->db->head;
    struct head_stripe *held = NULL;
    uint32_t held_count = 0;
    int64_t t_min_ms = INT64_MAX;
    int64_t t_max_ms = INT64_MIN;
    for (size_t i = 0; i < block->count; i++) {
        const struct entry *entry = &block->entries[i];
        struct series *series = entry->series;
        fetch_ahead(head, block, i);
        if (series->has_last && entry->sample.t_ms <= series->t_last_ms) {
            if (!replay->is_deferred) {
                continue; /* sealed */
            }
            if (held != NULL) {
                pthread_mutex_unlock(&held->lock);
                held = NULL;
            }
            append_older(replay, entry);
            continue;
        }
        struct head_stripe *stripe = head_stripe(head, entry->handle);
        if (stripe != held || held_count == STRIPE_HOLD_MAX) {
            if (held != NULL) {
                pthread_mutex_unlock(&held->lock);
            }
            pthread_mutex_lock(&stripe->lock);
            held = stripe;
            held_count = 0;
        }
        held_count++;
        struct head_entry accepted;
        head_accept(head, series, entry->handle, entry->sample, &accepted);
        head_append_locked(head, &accepted, entry->lsn, NULL);
        t_min_ms = entry->sample.t_ms < t_min_ms ? entry->sample.t_ms : t_min_ms;
        t_max_ms = entry->sample.t_ms > t_max_ms ? entry->sample.t_ms : t_max_ms;
    }
    if (held != NULL) {
        pthread_mutex_unlock(&held->lock);
    }
    if (t_min_ms <= t_max_ms) {
        db_note_time(replay->db, t_min_ms, t_max_ms);
    }
    late_end_group(replay->late);
}

static void *replay_main(void *arg) {
    struct replay *replay = arg;
    pthread_mutex_lock(&replay->lock);
    for (;;) {
        while (replay->filled == replay->emptied && !replay->is_over) {
            pthread_cond_wait(&replay->cond, &replay->lock);
        }
        if (replay->filled == replay->emptied) {
            break;
        }
        struct block *block = &replay->blocks[replay->emptied % BLOCK_COUNT];
        pthread_mutex_unlock(&replay->lock);
        append_block(replay, block);
        pthread_mutex_lock(&replay->lock);
        block->count = 0;
        replay->emptied++;
        pthread_cond_broadcast(&replay->cond);
    }
    pthread_mutex_unlock(&replay->lock);
    return NULL;
}

/* Hand the block being filled over; the next one is free when it returns. */
static void hand_over(struct replay *replay) {
    pthread_mutex_lock(&replay->lock);
    replay->filled++;
    pthread_cond_broadcast(&replay->cond);
    while (replay->filled - replay->emptied == BLOCK_COUNT) {
        pthread_cond_wait(&replay->cond, &replay->lock);
    }
    pthread_mutex_unlock(&replay->lock);
}

static void finish(struct replay *replay) {
    late_destroy(replay->late);
    pthread_cond_destroy(&replay->cond);
    pthread_mutex_destroy(&replay->lock);
    mem_free(replay);
}

bool replay_begin(struct tsdb *db, struct replay **ret, struct err *err) {
    struct replay *replay = mem_calloc(1, sizeof(*replay));
    replay->db = db;
    replay->late = late_create(db);
    pthread_mutex_init(&replay->lock, NULL);
    pthread_cond_init(&replay->cond, NULL);
    int rc = pthread_create(&replay->thread, NULL, replay_main, replay);
    if (rc != 0) {
        finish(replay);
        return err_set_errno(err, ERR_IO, rc, "starting the replay");
    }
    *ret = replay;
    return true;
}

void replay_add(struct replay *replay, series_ref_t ref, struct sample sample, uint64_t lsn) {
    /* Only the walker changes `filled`. */
    struct block *block = &replay->blocks[replay->filled % BLOCK_COUNT];
    block->entries[block->count++] = (struct entry){
        .series = head_series(&replay->db->head, ref),
        .handle = ref_handle(ref),
        .sample = sample,
        .lsn = lsn,
    };
    if (block->count == BLOCK_SAMPLES) {
        hand_over(replay);
    }
}

void replay_set_deferred(struct replay *replay, bool is_deferred) {
    if (is_deferred != replay->is_deferred) {
        replay_flush(replay);
        replay->is_deferred = is_deferred;
    }
}

void replay_flush(struct replay *replay) {
    pthread_mutex_lock(&replay->lock);
    if (replay->blocks[replay->filled % BLOCK_COUNT].count > 0) {
        replay->filled++;
    }
    pthread_cond_broadcast(&replay->cond);
    while (replay->filled != replay->emptied) {
        pthread_cond_wait(&replay->cond, &replay->lock);
    }
    pthread_mutex_unlock(&replay->lock);
}

void replay_end(struct replay *replay) {
    replay_flush(replay);
    pthread_mutex_lock(&replay->lock);
    replay->is_over = true;
    pthread_cond_broadcast(&replay->cond);
    pthread_mutex_unlock(&replay->lock);
    pthread_join(replay->thread, NULL);
    finish(replay);
}
