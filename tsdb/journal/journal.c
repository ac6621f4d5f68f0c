/*
 * Journal records: encoding, parts of at most 32,752 bytes (LMDB's overflow runs stay at 8 pages),
 * CRC-32C over key and value of each part.
 */
#include "tsdb/journal/journal.h"

#include <assert.h>
#include <inttypes.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"

#define KEY_BYTES      12 /* LSN, part */
#define HEADER_BYTES   8  /* CRC, version, flags, zero */
#define AT_VERSION     4
#define PART_BYTES_MAX (8 * 4096 - 16)
#define FLAG_LAST      1
#define VALUE_RAW      1 /* version 1: eight bytes follow */

#define KEPT_BYTES_MAX ((size_t)256 << 10) /* of a buffer, from record to record */

/* Of a body */
#define FLAG_EPOCH    1
#define FLAG_DEFERRED 2

/* Of a sample, below its series */
#define FLAG_TIME 1 /* not at the time of the sample before */
#define FLAG_LATE 2
#define FLAG_BITS 2

#define SERIES_BYTES_MAX 11 /* 66 bits */
#define SAMPLE_BYTES_MAX (SERIES_BYTES_MAX + UVARINT_BYTES_MAX + TOKEN_BYTES_MAX)

#define JOURNAL_PAGE_SHIFT 6
#define JOURNAL_PAGE_IDS   (1U << JOURNAL_PAGE_SHIFT)

/* Larger than one commit can get: batches are capped long before. */
#define RECORD_BYTES_MAX ((size_t)1 << 31)

/* ---- encoding ---- */

void journal_record_init(struct journal_record *record) {
    *record = (struct journal_record){ 0 };
    definitions_init(&record->before);
    buf_init(&record->encoded, RECORD_BYTES_MAX);
    buf_init(&record->definitions, RECORD_BYTES_MAX);
    buf_init(&record->samples, RECORD_BYTES_MAX);
    buf_init(&record->body, 2 * RECORD_BYTES_MAX);
}

void journal_record_finish(struct journal_record *record) {
    definitions_finish(&record->before);
    buf_finish(&record->encoded);
    buf_finish(&record->definitions);
    buf_finish(&record->samples);
    buf_finish(&record->body);
}

/* Empty it; what a burst of new series made it grow to is given back. */
static void reset_buffer(struct buf *buf) {
    if (buf->cap > KEPT_BYTES_MAX) {
        size_t bytes_max = buf->bytes_max;
        buf_finish(buf);
        buf_init(buf, bytes_max);
    }
    buf_reset(buf);
}

void journal_record_reset(struct journal_record *record) {
    definitions_reset(&record->before);
    reset_buffer(&record->definitions);
    reset_buffer(&record->samples);
    reset_buffer(&record->body);
    record->definition_count = 0;
    record->sample_count = 0;
    record->id_last = 0;
    record->t_last_ms = 0;
}

void journal_add_encoded(struct journal_record *record, uint64_t id, struct str labels) {
    definitions_put(&record->before, id, labels, &record->definitions);
    record->definition_count++;
}

void journal_add_definition(struct journal_record *record, uint64_t id, struct labels labels) {
    buf_reset(&record->encoded);
    labels_encode(labels, &record->encoded);
    journal_add_encoded(record, id, buf_as_str(&record->encoded));
}

/* The difference of ids as zigzag, the flags below it: 66 bits, in seven-bit groups. */
static uint8_t *put_series(uint8_t *out, uint64_t id_step, uint64_t flags) {
    uint64_t step = zigzag((int64_t)id_step);
    uint64_t low = (step & 0x1f) << FLAG_BITS | flags;
    step >>= 5;
    if (step == 0) {
        *out++ = (uint8_t)low;
        return out;
    }
    *out++ = (uint8_t)(low | 0x80);
    return bytes_put_uvarint(out, step);
}

/* Room for a sample, its series and time written; the caller writes the token. */
static uint8_t *begin_sample(struct journal_record *record,
                             uint64_t id,
                             int64_t t_ms,
                             uint64_t flags) {
    uint8_t *out = (uint8_t *)buf_reserve(&record->samples, SAMPLE_BYTES_MAX);
    if (out == NULL) {
        BUG("a journal record of %zu bytes", record->samples.len);
    }
    int64_t t_step = i64_sub(t_ms, record->t_last_ms);
    flags |= t_step != 0 ? FLAG_TIME : 0;
    out = put_series(out, id - record->id_last, flags);
    if (t_step != 0) {
        out = bytes_put_uvarint(out, zigzag(t_step));
    }
    record->id_last = id;
    record->t_last_ms = t_ms;
    record->sample_count++;
    return out;
}

static void end_sample(struct journal_record *record, const uint8_t *end) {
    record->samples.len = (size_t)((const char *)end - record->samples.ptr);
}

void journal_add_step(struct journal_record *record,
                      uint64_t id,
                      int64_t t_ms,
                      const uint8_t *token,
                      size_t token_len) {
    uint8_t *out = begin_sample(record, id, t_ms, 0);
    assert(token_len <= TOKEN_BYTES_MAX);
    memcpy(out, token, token_len);
    end_sample(record, out + token_len);
}

void journal_add_late(struct journal_record *record, uint64_t id, struct sample sample) {
    struct token_state state;
    uint8_t *out = begin_sample(record, id, sample.t_ms, FLAG_LATE);
    end_sample(record, token_put_absolute(&state, sample.value, out));
}

struct str journal_seal_record(struct journal_record *record, const struct journal_facts *facts) {
    struct buf *body = &record->body;
    int flags = (facts->starts_epoch ? FLAG_EPOCH : 0) | (facts->is_deferred ? FLAG_DEFERRED : 0);
    buf_putc(body, (char)flags);
    buf_svarint(body, facts->now_ms);
    buf_uvarint(body, facts->id_next);
    buf_uvarint(body, record->definition_count);
    buf_str(body, buf_as_str(&record->definitions));
    buf_uvarint(body, record->sample_count);
    buf_str(body, buf_as_str(&record->samples));
    assert(!body->is_over && !record->definitions.is_over);
    return buf_as_str(body);
}

/* ---- parts ---- */

static void make_key(uint8_t key[KEY_BYTES], uint64_t lsn, uint32_t part) {
    bytes_put_be64(key, lsn);
    bytes_put_be32(key + 8, part);
}

static uint32_t part_crc(const uint8_t *key, const uint8_t *value, size_t len) {
    uint32_t crc = hash_crc32c(0, key, KEY_BYTES);
    return hash_crc32c(crc, value + 4, len - 4);
}

int journal_put(MDB_txn *txn, MDB_dbi log, uint64_t lsn, struct str body) {
    return journal_put_version(txn, log, lsn, JOURNAL_VERSION, body);
}

int journal_put_version(MDB_txn *txn, MDB_dbi log, uint64_t lsn, uint8_t version, struct str body) {
    size_t at = 0;
    for (uint32_t part = 0; part == 0 || at < body.len; part++) {
        size_t len = body.len - at;
        if (len > PART_BYTES_MAX - HEADER_BYTES) {
            len = PART_BYTES_MAX - HEADER_BYTES;
        }
        uint8_t key[KEY_BYTES];
        make_key(key, lsn, part);
        MDB_val mdb_key = { .mv_size = sizeof(key), .mv_data = key };
        MDB_val mdb_value = { .mv_size = HEADER_BYTES + len };
        int rc = mdb_put(txn, log, &mdb_key, &mdb_value, MDB_APPEND | MDB_RESERVE);
        if (rc != 0) {
            return rc;
        }
        uint8_t *value = mdb_value.mv_data;
        value[AT_VERSION] = version;
        value[5] = at + len == body.len ? FLAG_LAST : 0;
        value[6] = 0;
        value[7] = 0;
        memcpy(value + HEADER_BYTES, body.ptr + at, len);
        bytes_put_le32(value, part_crc(key, value, HEADER_BYTES + len));
        at += len;
    }
    return 0;
}

int journal_trim(MDB_txn *txn, MDB_dbi log, uint64_t lsn, size_t max, bool *ret_more) {
    *ret_more = false;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, log, &cursor);
    if (rc != 0) {
        return rc;
    }
    MDB_val key;
    MDB_val value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (size_t i = 0; rc == 0 && key.mv_size == KEY_BYTES && bytes_be64(key.mv_data) <= lsn; i++) {
        if (i == max) {
            *ret_more = true;
            break;
        }
        rc = mdb_cursor_del(cursor, 0);
        if (rc == 0) {
            rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
        }
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- reading ---- */

static bool corrupt(struct err *err, uint64_t lsn, const char *what) {
    return err_set(err, ERR_CORRUPT, "journal: record %" PRIu64 " is damaged: %s", lsn, what);
}

struct journal_state {
    uint64_t last;
    uint32_t epoch;
    uint8_t exponent;
};

void journal_decoder_init(struct journal_decoder *decoder) {
    *decoder = (struct journal_decoder){
        .epoch = 1,
        .page_last = UINT64_MAX,
        .has_gap = true,
        .is_before = true,
    };
    u64map_init(&decoder->pages);
}

void journal_decoder_finish(struct journal_decoder *decoder) {
    u64map_finish(&decoder->pages);
    mem_free(decoder->states);
}

static struct journal_state *find_state(struct journal_decoder *decoder, uint64_t id) {
    uint64_t page = id >> JOURNAL_PAGE_SHIFT;
    uint64_t at = decoder->page_last_at;
    if (page != decoder->page_last) {
        if (!u64map_get(&decoder->pages, page + 1, &at)) {
            at = decoder->state_count;
            decoder->states = vec_grow(decoder->states, &decoder->state_cap, at + JOURNAL_PAGE_IDS,
                                       sizeof(decoder->states[0]));
            decoder->state_count += JOURNAL_PAGE_IDS;
            memset(decoder->states + at, 0, JOURNAL_PAGE_IDS * sizeof(decoder->states[0]));
            u64map_put(&decoder->pages, page + 1, at);
        }
        decoder->page_last = page;
        decoder->page_last_at = (size_t)at;
    }
    return &decoder->states[at + (id & (JOURNAL_PAGE_IDS - 1))];
}

static uint64_t get_series(struct reader *reader, unsigned *ret_flags) {
    uint8_t first = reader_u8(reader);
    uint64_t step = first >> FLAG_BITS & 0x1f;
    if (first >= 0x80) {
        step |= reader_uvarint(reader) << 5;
    }
    *ret_flags = first & ((1U << FLAG_BITS) - 1);
    return (uint64_t)unzigzag(step);
}

/* A token as the next of its series, or of a late sample. *ret_is_lost: a step from a lost one. */
static bool read_token(struct journal_decoder *decoder,
                       struct reader *reader,
                       uint64_t id,
                       bool is_late,
                       double *ret,
                       bool *ret_is_lost) {
    struct token_state token = { .exponent = TOKEN_NONE };
    struct journal_state *state = is_late ? NULL : find_state(decoder, id);
    if (state != NULL && state->epoch == decoder->epoch) {
        token = (struct token_state){ .last = state->last, .exponent = state->exponent };
    }
    *ret_is_lost = token.exponent == TOKEN_NONE && decoder->has_gap && reader_left(reader) > 0 &&
                   !token_is_absolute(*reader->next);
    if (*ret_is_lost) {
        token.exponent = TOKEN_BITS; /* the step is read, and forgotten */
    }
    if (token_get(reader, &token) != 1) {
        return false;
    }
    if (*ret_is_lost) {
        decoder->lost_count += !decoder->is_before;
        return true;
    }
    *ret = double_from_bits(token_value_bits(token));
    if (state != NULL) {
        *state = (struct journal_state){
            .last = token.last,
            .epoch = decoder->epoch,
            .exponent = token.exponent,
        };
    }
    return true;
}

static bool parse_samples(struct journal_decoder *decoder,
                          struct reader *reader,
                          uint64_t lsn,
                          const struct journal_visitor *visitor,
                          struct err *err) {
    uint64_t count = reader_uvarint(reader);
    uint64_t id = 0;
    struct sample sample = { 0 };
    for (uint64_t i = 0; i < count && !reader->is_bad; i++) {
        unsigned flags;
        bool is_lost;
        id += get_series(reader, &flags);
        if ((flags & FLAG_TIME) != 0) {
            sample.t_ms = i64_add(sample.t_ms, reader_svarint(reader));
        }
        if (id == 0) {
            return corrupt(err, lsn, "series id 0");
        }
        bool is_late = (flags & FLAG_LATE) != 0;
        if (!read_token(decoder, reader, id, is_late, &sample.value, &is_lost)) {
            return corrupt(err, lsn, "a value that cannot be known");
        }
        bool (*visit)(void *, uint64_t, struct sample, struct err *) =
            is_late ? visitor->late : visitor->sample;
        if (!is_lost && !visit(visitor->ctx, id, sample, err)) {
            return false;
        }
    }
    return true;
}

/* Version 1: whole values, a time with every sample. */
static bool parse_whole_samples(struct reader *reader,
                                uint64_t lsn,
                                const struct journal_visitor *visitor,
                                struct err *err) {
    uint64_t count = reader_uvarint(reader);
    uint64_t id = 0;
    struct sample sample = { 0 };
    for (uint64_t i = 0; i < count && !reader->is_bad; i++) {
        id += (uint64_t)reader_svarint(reader);
        sample.t_ms = i64_add(sample.t_ms, reader_svarint(reader));
        uint64_t token = reader_uvarint(reader);
        if ((token & 1) == 0) {
            sample.value = (double)unzigzag(token >> 1);
        } else if (token == VALUE_RAW) {
            sample.value = double_from_bits(reader_le64(reader));
        } else {
            return corrupt(err, lsn, "unknown value token");
        }
        if (id == 0) {
            return corrupt(err, lsn, "series id 0");
        }
        if (!reader->is_bad && !visitor->sample(visitor->ctx, id, sample, err)) {
            return false;
        }
    }
    return true;
}

static bool parse_definitions(struct reader *reader,
                              uint64_t lsn,
                              const struct journal_visitor *visitor,
                              struct err *err) {
    struct definitions definitions;
    definitions_init(&definitions);
    uint64_t count = reader_uvarint(reader);
    bool ok = true;
    for (uint64_t i = 0; i < count && ok && !reader->is_bad; i++) {
        uint64_t id;
        struct str labels;
        if (!definitions_get(&definitions, reader, &id, &labels) || id == 0) {
            ok = corrupt(err, lsn, "a series definition is malformed");
        } else {
            ok = visitor->definition(visitor->ctx, id, labels, err);
        }
    }
    definitions_finish(&definitions);
    return ok;
}

/* Version 1: every definition by itself. */
static bool parse_whole_definitions(struct reader *reader,
                                    uint64_t lsn,
                                    const struct journal_visitor *visitor,
                                    struct err *err) {
    uint64_t count = reader_uvarint(reader);
    for (uint64_t i = 0; i < count && !reader->is_bad; i++) {
        uint64_t id = reader_uvarint(reader);
        uint32_t len = reader_le32(reader);
        const uint8_t *labels = reader_bytes(reader, len);
        if (labels == NULL || id == 0) {
            return corrupt(err, lsn, "a series definition ends early");
        }
        if (!visitor->definition(visitor->ctx, id, str_n((const char *)labels, len), err)) {
            return false;
        }
    }
    return true;
}

static struct journal_facts read_facts(struct reader *reader, uint8_t version) {
    uint8_t flags = version == 1 ? 0 : reader_u8(reader);
    struct journal_facts facts = {
        .starts_epoch = (flags & FLAG_EPOCH) != 0,
        .is_deferred = (flags & FLAG_DEFERRED) != 0,
        .now_ms = reader_svarint(reader),
    };
    facts.id_next = version == 1 ? 0 : reader_uvarint(reader);
    return facts;
}

bool journal_parse(struct journal_decoder *decoder,
                   uint8_t version,
                   struct str body,
                   uint64_t lsn,
                   const struct journal_visitor *visitor,
                   struct err *err) {
    struct reader reader = reader_init(body.ptr, body.len);
    struct journal_facts facts = read_facts(&reader, version);
    if (reader.is_bad) {
        return corrupt(err, lsn, "it ends early");
    }
    bool is_start = facts.starts_epoch;
    bool is_gap = decoder->lsn_next != 0 && lsn != decoder->lsn_next;
    decoder->epoch += is_start || is_gap;
    decoder->has_gap = !is_start && (is_gap || decoder->has_gap);
    decoder->is_before = !is_start && decoder->is_before;
    decoder->lsn_next = lsn + 1;
    if (is_start && visitor->epoch != NULL) {
        visitor->epoch(visitor->ctx, lsn);
    }
    if (!visitor->record(visitor->ctx, lsn, &facts, err)) {
        return false;
    }
    bool ok = version == 1 ? parse_whole_definitions(&reader, lsn, visitor, err) &&
                                 parse_whole_samples(&reader, lsn, visitor, err)
                           : parse_definitions(&reader, lsn, visitor, err) &&
                                 parse_samples(decoder, &reader, lsn, visitor, err);
    if (ok && (reader.is_bad || reader_left(&reader) != 0)) {
        ok = corrupt(err, lsn, "its length does not fit its content");
    }
    if (!ok) {
        decoder->lsn_next = UINT64_MAX; /* what it had is not known whole: as good as lost */
    }
    return ok;
}

bool journal_bounds(const struct env *env,
                    MDB_txn *txn,
                    MDB_dbi log,
                    uint64_t *ret_first,
                    uint64_t *ret_last,
                    struct err *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, log, &cursor);
    if (rc != 0) {
        return env_fail(env, err, rc, "reading the log");
    }
    MDB_val key;
    MDB_val value;
    uint64_t first = 0;
    uint64_t last = 0;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (rc == 0 && key.mv_size == KEY_BYTES) {
        first = bytes_be64(key.mv_data);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    }
    if (rc == 0 && key.mv_size == KEY_BYTES) {
        last = bytes_be64(key.mv_data);
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        return env_fail(env, err, rc, "reading the log");
    }
    *ret_first = first;
    *ret_last = last;
    return true;
}

/* Add one part to the body; *ret_is_last when the record is complete. */
static bool add_part(MDB_val key,
                     MDB_val value,
                     uint32_t part,
                     struct buf *body,
                     bool *ret_is_last,
                     struct err *err) {
    uint64_t lsn = bytes_be64(key.mv_data);
    const uint8_t *bytes = value.mv_data;
    const uint8_t *key_bytes = key.mv_data;
    if (value.mv_size < HEADER_BYTES ||
        bytes_le32(bytes) != part_crc(key_bytes, bytes, value.mv_size)) {
        return corrupt(err, lsn, "the checksum is wrong");
    }
    if (bytes[4] == 0 || bytes[4] > JOURNAL_VERSION) {
        return err_set(err, ERR_INVALID,
                       "journal: record %" PRIu64 " has version %u, this program knows %d", lsn,
                       bytes[4], JOURNAL_VERSION);
    }
    if (bytes_be32(key_bytes + 8) != part) {
        return corrupt(err, lsn, "a part is missing");
    }
    buf_append(body, bytes + HEADER_BYTES, value.mv_size - HEADER_BYTES);
    *ret_is_last = (bytes[5] & FLAG_LAST) != 0;
    return true;
}

struct part {
    MDB_val key; /* in the transaction's memory */
    MDB_val value;
};

struct walk {
    const struct env *env;
    MDB_cursor *cursor;
    MDB_val key; /* where the cursor stands */
    MDB_val value;
    uint64_t lsn; /* of the record before */
    struct part *parts;
    size_t part_count;
    size_t part_cap;
    struct journal_decoder decoder;
    struct buf body; /* of one record */
    struct buf raw;
};

/* The parts of the record that begins here; the cursor then stands behind them. A key of a wrong
 * size is a part of its own. Returns an LMDB code. */
static int take_parts(struct walk *walk, uint64_t *ret_lsn) {
    int rc = 0;
    bool is_key = walk->key.mv_size == KEY_BYTES;
    *ret_lsn = is_key ? bytes_be64(walk->key.mv_data) : walk->lsn;
    walk->part_count = 0;
    do {
        walk->parts =
            vec_grow(walk->parts, &walk->part_cap, walk->part_count + 1, sizeof(walk->parts[0]));
        walk->parts[walk->part_count++] = (struct part){ walk->key, walk->value };
        rc = mdb_cursor_get(walk->cursor, &walk->key, &walk->value, MDB_NEXT);
    } while (is_key && rc == 0 && walk->key.mv_size == KEY_BYTES &&
             bytes_be64(walk->key.mv_data) == *ret_lsn);
    return rc;
}

static bool join_parts(struct walk *walk, uint64_t lsn, struct err *err) {
    bool is_last = false;
    buf_reset(&walk->body);
    if (walk->parts[0].key.mv_size != KEY_BYTES) {
        return corrupt(err, lsn, "the key behind it has the wrong size");
    }
    for (uint32_t i = 0; i < walk->part_count; i++) {
        const struct part *part = &walk->parts[i];
        if (is_last) {
            return corrupt(err, lsn, "there are parts behind the last one");
        }
        if (!add_part(part->key, part->value, i, &walk->body, &is_last, err)) {
            return false;
        }
    }
    if (!is_last) {
        return corrupt(err, lsn, "the last part is missing");
    }
    return lsn > walk->lsn || corrupt(err, lsn, "it is out of order");
}

static struct str copy_raw(struct walk *walk) {
    buf_reset(&walk->raw);
    for (size_t i = 0; i < walk->part_count; i++) {
        const struct part *part = &walk->parts[i];
        buf_append(&walk->raw, part->key.mv_data, part->key.mv_size);
        buf_le32(&walk->raw, (uint32_t)part->value.mv_size);
        buf_append(&walk->raw, part->value.mv_data, part->value.mv_size);
    }
    return buf_as_str(&walk->raw);
}

static bool report(struct walk *walk,
                   const struct journal_visitor *visitor,
                   uint64_t lsn,
                   const struct err *what,
                   struct err *err) {
    if (visitor->damaged == NULL || what->code != ERR_CORRUPT) {
        *err = *what;
        return false;
    }
    return visitor->damaged(visitor->ctx, lsn, copy_raw(walk), what, err);
}

static bool report_gap(struct walk *walk,
                       const struct journal_visitor *visitor,
                       uint64_t lsn,
                       struct err *err) {
    struct err what = ERR_INIT;
    err_set(&what, ERR_CORRUPT, "journal: records %" PRIu64 " to %" PRIu64 " are missing",
            walk->lsn + 1, lsn - 1);
    size_t count = walk->part_count;
    walk->part_count = 0; /* nothing to keep */
    bool ok = visitor->damaged == NULL || report(walk, visitor, walk->lsn + 1, &what, err);
    walk->part_count = count;
    return ok;
}

static bool visit_body(struct walk *walk,
                       const struct journal_visitor *visitor,
                       uint64_t lsn,
                       struct err *err) {
    struct str body = buf_as_str(&walk->body);
    uint8_t version = ((const uint8_t *)walk->parts[0].value.mv_data)[AT_VERSION];
    if (visitor->body != NULL) {
        return visitor->body(visitor->ctx, lsn, version, body, err);
    }
    uint64_t lost = walk->decoder.lost_count;
    if (!journal_parse(&walk->decoder, version, body, lsn, visitor, err)) {
        return false;
    }
    lost = walk->decoder.lost_count - lost;
    if (lost == 0) {
        return true;
    }
    walk->part_count = 0; /* the record itself is sound */
    return err_set(err, ERR_CORRUPT,
                   "journal: %" PRIu64 " samples of record %" PRIu64
                   " are steps from samples of lost records",
                   lost, lsn);
}

static bool walk_cursor(struct walk *walk,
                        uint64_t from,
                        const struct journal_visitor *visitor,
                        struct err *err) {
    uint8_t start[KEY_BYTES];
    make_key(start, from, 0);
    walk->decoder.lsn_next = from;
    walk->decoder.has_gap = from == 0;
    walk->decoder.is_before = from == 0;
    walk->key = (MDB_val){ .mv_size = sizeof(start), .mv_data = start };
    int rc = mdb_cursor_get(walk->cursor, &walk->key, &walk->value, MDB_SET_RANGE);
    while (rc == 0) {
        struct err what = ERR_INIT;
        uint64_t lsn;
        rc = take_parts(walk, &lsn);
        bool ok = join_parts(walk, lsn, &what);
        if (ok && lsn > walk->lsn + 1 && !report_gap(walk, visitor, lsn, err)) {
            return false;
        }
        if (ok || lsn == walk->lsn + 1) {
            walk->lsn = lsn;
        }
        ok = ok && visit_body(walk, visitor, lsn, &what);
        if (!ok && !report(walk, visitor, lsn, &what, err)) {
            return false;
        }
    }
    if (rc == MDB_NOTFOUND) {
        return true;
    }
    struct err what = ERR_INIT;
    walk->part_count = 0;
    env_fail(walk->env, &what, rc, "reading the log behind record %" PRIu64, walk->lsn);
    return report(walk, visitor, walk->lsn, &what, err);
}

bool journal_walk(const struct env *env,
                  MDB_txn *txn,
                  MDB_dbi log,
                  uint64_t from,
                  const struct journal_visitor *visitor,
                  struct err *err) {
    struct walk walk = { .env = env, .lsn = from > 0 ? from - 1 : 0 };
    int rc = mdb_cursor_open(txn, log, &walk.cursor);
    if (rc != 0) {
        return env_fail(env, err, rc, "reading the log");
    }
    journal_decoder_init(&walk.decoder);
    buf_init(&walk.body, 2 * RECORD_BYTES_MAX);
    buf_init(&walk.raw, 2 * RECORD_BYTES_MAX);
    bool ok = walk_cursor(&walk, from, visitor, err);
    journal_decoder_finish(&walk.decoder);
    mem_free(walk.parts);
    buf_finish(&walk.body);
    buf_finish(&walk.raw);
    mdb_cursor_close(walk.cursor);
    return ok;
}

bool journal_body_time(uint8_t version, struct str body, int64_t *ret_now_ms) {
    struct reader reader = reader_init(body.ptr, body.len);
    *ret_now_ms = read_facts(&reader, version).now_ms;
    return !reader.is_bad;
}

/* The facts of the record whose first part this is; false when it cannot be read. */
static bool read_first_part(MDB_val key, MDB_val value, struct journal_facts *ret) {
    const uint8_t *bytes = value.mv_data;
    if (key.mv_size != KEY_BYTES || value.mv_size < HEADER_BYTES ||
        bytes_le32(bytes) != part_crc(key.mv_data, bytes, value.mv_size)) {
        return false;
    }
    struct reader reader = reader_init(bytes + HEADER_BYTES, value.mv_size - HEADER_BYTES);
    struct journal_facts facts = read_facts(&reader, bytes[AT_VERSION]);
    if (!reader.is_bad) {
        *ret = facts;
    }
    return !reader.is_bad;
}

bool journal_id_next(const struct env *env,
                     MDB_txn *txn,
                     MDB_dbi log,
                     uint64_t *ret_id_next,
                     bool *ret_is_sure,
                     struct err *err) {
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;
    struct journal_facts facts = { 0 };
    *ret_is_sure = true;
    int rc = mdb_cursor_open(txn, log, &cursor);
    if (rc != 0) {
        return env_fail(env, err, rc, "reading the log");
    }
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    uint64_t lsn = rc == 0 && key.mv_size == KEY_BYTES ? bytes_be64(key.mv_data) : 0;
    while (rc == 0 && facts.id_next == 0) {
        bool is_first = key.mv_size == KEY_BYTES && bytes_be32((uint8_t *)key.mv_data + 8) == 0;
        bool is_read = is_first && read_first_part(key, value, &facts) && facts.id_next != 0;
        bool is_newest = key.mv_size == KEY_BYTES && bytes_be64(key.mv_data) == lsn;
        *ret_is_sure = *ret_is_sure && is_newest && (is_read || !is_first);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_PREV);
    }
    mdb_cursor_close(cursor);
    *ret_id_next = facts.id_next;
    return rc == 0 || rc == MDB_NOTFOUND || env_fail(env, err, rc, "reading the log");
}
