/*
 * Journal records: one per commit with samples, in table "log" of the journal environment, keyed by
 * LSN. Bytes are drawn in FORMAT.md.
 *
 * Values are tokens (token.h): steps from the sample of the series before it in the journal. The
 * first one of a series in an epoch is absolute, so reading starts at the first record of an epoch.
 * Records of version 1 have whole values; they are read, not written.
 */
#pragma once

#include "model/model.h"
#include "tsdb/codec/token.h"
#include "tsdb/env/env.h"
#include "tsdb/head/u64map.h"
#include "tsdb/journal/definitions.h"

#define JOURNAL_VERSION 2 /* of records written */

/* A record under construction. */
struct journal_record {
    struct definitions before; /* … the next one */
    struct buf encoded;        /* labels of the one being added */
    struct buf definitions;
    struct buf samples;
    uint64_t definition_count;
    uint64_t sample_count;
    uint64_t id_last; /* deltas */
    int64_t t_last_ms;
    struct buf body; /* by journal_seal_record() */
};

void journal_record_init(struct journal_record *record);
void journal_record_finish(struct journal_record *record);
void journal_record_reset(struct journal_record *record);
void journal_add_definition(struct journal_record *record, uint64_t id, struct labels labels);
/* The same of labels that are encoded already. */
void journal_add_encoded(struct journal_record *record, uint64_t id, struct str labels);
/* The next sample of its series, as the token head_accept() made. */
void journal_add_step(struct journal_record *record,
                      uint64_t id,
                      int64_t t_ms,
                      const uint8_t *token,
                      size_t token_len);
/* A sample older than the newest of its series: whole, the steps do not see it. */
void journal_add_late(struct journal_record *record, uint64_t id, struct sample sample);

static inline bool journal_record_is_empty(const struct journal_record *record) {
    return record->sample_count == 0;
}

/* What a record says of itself. */
struct journal_facts {
    bool starts_epoch;
    bool is_deferred; /* its samples, all of them late ones, are judged when it is replayed */
    int64_t now_ms;   /* when it was committed, for restoring to a point in time */
    uint64_t id_next; /* no id given out so far is as large; 0 = not known (version 1) */
};

/* Assemble the body. */
struct str journal_seal_record(struct journal_record *record, const struct journal_facts *facts);

/* Write a record's parts (MDB_APPEND). Returns an LMDB code. */
int journal_put(MDB_txn *txn, MDB_dbi log, uint64_t lsn, struct str body);
/* The same with a body of another version, as a visitor got it. */
int journal_put_version(MDB_txn *txn, MDB_dbi log, uint64_t lsn, uint8_t version, struct str body);

/* Delete the parts of records with LSN <= lsn, at most `max` of them. Returns an LMDB code;
 * *ret_more tells whether something is left. */
int journal_trim(MDB_txn *txn, MDB_dbi log, uint64_t lsn, size_t max, bool *ret_more);

/* LSN of the first and last record; 0 when there is none. */
WARN_UNUSED bool journal_bounds(const struct env *env,
                                MDB_txn *txn,
                                MDB_dbi log,
                                uint64_t *ret_first,
                                uint64_t *ret_last,
                                struct err *err);

/*
 * What the newest record says of id_next; 0 when there is no record. *ret_is_sure is false when it
 * cannot be read or does not say: *ret_id_next is then of one before it, or 0.
 */
WARN_UNUSED bool journal_id_next(const struct env *env,
                                 MDB_txn *txn,
                                 MDB_dbi log,
                                 uint64_t *ret_id_next,
                                 bool *ret_is_sure,
                                 struct err *err);

/* Where the series stand while records are read in order. */
struct journal_decoder {
    struct u64map pages; /* id >> JOURNAL_PAGE_SHIFT → index + 1 in `states` */
    struct journal_state *states;
    size_t state_count;
    size_t state_cap;
    uint64_t page_last; /* key and index of the page used last */
    size_t page_last_at;
    uint32_t epoch;      /* states of another one are not used */
    uint64_t lsn_next;   /* another one makes states unknown until the next epoch; 0 = any */
    bool has_gap;        /* … */
    bool is_before;      /* no epoch has started yet: what steps start from may be trimmed */
    uint64_t lost_count; /* samples left out since the start: steps from an unknown state */
};

void journal_decoder_init(struct journal_decoder *decoder);
void journal_decoder_finish(struct journal_decoder *decoder);

struct journal_visitor {
    /* A record that starts an epoch comes; NULL when that does not matter. */
    void (*epoch)(void *ctx, uint64_t lsn);
    /* False with err set stops the walk. */
    bool (*record)(void *ctx, uint64_t lsn, const struct journal_facts *facts, struct err *err);
    bool (*definition)(void *ctx, uint64_t id, struct str labels, struct err *err);
    bool (*sample)(void *ctx, uint64_t id, struct sample sample, struct err *err);
    /* The same for one out of order, or of a deferred record. */
    bool (*late)(void *ctx, uint64_t id, struct sample sample, struct err *err);
    /* NULL, or instead of the four above: the body as it is, valid during the call. Stops the walk
     * also without err. */
    bool (*body)(void *ctx, uint64_t lsn, uint8_t version, struct str body, struct err *err);
    /* A record that cannot be read, or records that are missing (`raw` empty). `raw` has the parts
     * as they are: per part its key, u32 length, value. Nothing of it was visited, unless its
     * checksums are right and the content is not. NULL: damage ends the walk as an error and gaps
     * are not looked for. */
    bool (
        *damaged)(void *ctx, uint64_t lsn, struct str raw, const struct err *what, struct err *err);
    void *ctx;
};

/* Every record with LSN >= from, in order; `from` is what follows the applied LSN, where an epoch
 * starts, or 0: what is there, without steps before the first epoch. Damage (ERR_CORRUPT naming the
 * record) goes to visitor->damaged; the walk then goes on with the next record, without the samples
 * that are steps from lost ones. */
WARN_UNUSED bool journal_walk(const struct env *env,
                              MDB_txn *txn,
                              MDB_dbi log,
                              uint64_t from,
                              const struct journal_visitor *visitor,
                              struct err *err);

/* The body of a record of `version`. */
WARN_UNUSED bool journal_parse(struct journal_decoder *decoder,
                               uint8_t version,
                               struct str body,
                               uint64_t lsn,
                               const struct journal_visitor *visitor,
                               struct err *err);

/* When a record was committed; false when the body ends before. */
WARN_UNUSED bool journal_body_time(uint8_t version, struct str body, int64_t *ret_now_ms);
