/* Reading again what is sealed; see scrub.h. */
#include "tsdb/upkeep/scrub.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/parts/catalog_rows.h"
#include "tsdb/parts/part.h"
#include "tsdb/parts/window.h"

#define TICK_BYTES       (UINT64_C(1) << 20) /* two seconds: half a MiB per second */
#define STEP_BYTES       (UINT64_C(1) << 18) /* of one read transaction */
#define REST_TICKS       1800                /* an hour between passes */
#define SAVE_TICKS       150                 /* five minutes */
#define KEY_BYTES_MAX    511                 /* LMDB's longest */
#define ROW_COST         64                  /* of meeting a row, beside its bytes */
#define POSITION_KEY     STR("scrub")
#define POSITION_VERSION 1
#define PAGE_BYTES       4096

#define STAGE_COUNT (STORE_TABLE_COUNT + KV_TABLE_COUNT)

/* What the rows of a part add up to; its row as it was when the first of them was met. */
struct tally {
    bool is_counting; /* false: begun in the middle, or nothing is known of the part */
    int64_t place;
    struct part part;
    struct store_window found;
};

struct scrub {
    unsigned stage;  /* tables of the store, then the state tables of the journal */
    struct buf next; /* key of the row looked at last; empty: the start of the table */
    bool is_inside;  /* the tally belongs to rows up to `next` */
    struct tally tally;
    struct store_row row;
    unsigned rest;  /* ticks until the next pass */
    unsigned saved; /* ticks since the position was */
    uint64_t bytes; /* looked at by this step */
};

static const enum damage_kind kinds[STORE_TABLE_COUNT] = {
    [STORE_META] = DAMAGE_STATE,          [STORE_OLD_SERIES] = DAMAGE_SERIES,
    [STORE_OLD_HASH] = DAMAGE_SERIES,     [STORE_OLD_LAST] = DAMAGE_SERIES,
    [STORE_WINDOWS] = DAMAGE_WINDOW,      [STORE_ROWS] = DAMAGE_ROW,
    [STORE_PENDING] = DAMAGE_POSTINGS,    [STORE_SEGMENTS] = DAMAGE_SEGMENT,
    [STORE_POSTINGS] = DAMAGE_POSTINGS,   [STORE_ROLLUPS] = DAMAGE_ROLLUP,
    [STORE_ROLLUP_MARKS] = DAMAGE_ROLLUP, [STORE_PARTS] = DAMAGE_WINDOW,
    [STORE_DIRECTORY] = DAMAGE_ROW,       [STORE_LABELS] = DAMAGE_SERIES,
    [STORE_IDS] = DAMAGE_SERIES,          [STORE_LASTS] = DAMAGE_SERIES,
};

/* A row being looked at. */
struct look {
    struct tsdb *db;
    struct scrub *scrub;
    MDB_txn *txn;
    enum store_table table;
    MDB_val key;
    MDB_val row;
};

PRINTF_LIKE(3, 4)

static void note(struct tsdb *db, enum damage_kind kind, const char *fmt, ...) {
    char what[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    struct err err = ERR_INIT;
    err_set(&err, ERR_CORRUPT, "scrub: %s", what);
    damage_note(db, kind, &err);
}

static const char *stage_name(unsigned stage) {
    return stage < STORE_TABLE_COUNT ? store_table_names[stage]
                                     : kv_table_names[stage - STORE_TABLE_COUNT];
}

/* ---- rows that refer to others ---- */

static bool has_row(const struct look *look, enum store_table table, const void *key, size_t len) {
    MDB_val mdb_key = { .mv_size = len, .mv_data = (void *)(uintptr_t)key };
    MDB_val ignored;
    return mdb_get(look->txn, look->db->store.dbis[table], &mdb_key, &ignored) == 0;
}

static void look_at_labels(const struct look *look, struct str body) {
    struct catalog_decoder decoder;
    catalog_decoder_init(&decoder);
    catalog_decoder_begin(&decoder, bytes_be64(look->key.mv_data), body);
    while (catalog_decoder_next(&decoder)) {
        struct err ignored = ERR_INIT;
        int64_t window;
        bool found = false;
        uint64_t id = decoder.entry.id;
        if (!catalog_has_id(&look->db->store, look->txn, &decoder.entry)) {
            note(look->db, DAMAGE_SERIES, "series %" PRIu64 " is not found by its labels", id);
        }
        if (!catalog_get_last(&look->db->store, look->txn, id, &window, &found, &ignored) ||
            !found) {
            note(look->db, DAMAGE_SERIES, "table lasts does not have series %" PRIu64, id);
        }
    }
    if (decoder.is_bad) {
        note(look->db, DAMAGE_SERIES, "labels cannot be read");
    }
    catalog_decoder_finish(&decoder);
}

static void look_at_pending(const struct look *look) {
    bool is_good = look->key.mv_size == STORE_KEY_ROW_BYTES && look->row.mv_size == 0;
    if (!is_good || !has_row(look, STORE_ROWS, look->key.mv_data, look->key.mv_size)) {
        note(look->db, DAMAGE_POSTINGS, "table pending has a row that is not in table rows");
    }
}

/* ---- parts ---- */

static bool is_tallied(enum store_table table, int64_t place) {
    return table == STORE_SEGMENTS || (table == STORE_ROWS && !part_is_merged(place)) ||
           (table == STORE_DIRECTORY && part_is_merged(place));
}

static bool get_part(const struct look *look, int64_t place, struct part *ret) {
    struct err ignored = ERR_INIT;
    bool found = false;
    return look->db->store.has_all &&
           part_get(&look->db->store, look->txn, place, ret, &found, &ignored) && found &&
           ret->state == PART_LIVE;
}

/* Did nothing change in the part since? */
static bool is_same(const struct store_window *a, const struct store_window *b) {
    return a->series_count == b->series_count && a->sample_count == b->sample_count &&
           a->chunk_count == b->chunk_count && a->segment_bytes == b->segment_bytes &&
           a->segment_floor == b->segment_floor && a->changed_ms == b->changed_ms;
}

static void tally_end(const struct look *look) {
    struct tally *tally = &look->scrub->tally;
    const struct store_window *found = &tally->found;
    const struct store_window *want = &tally->part.stats;
    struct part now;
    bool is_comparable =
        tally->is_counting && get_part(look, tally->place, &now) && is_same(&now.stats, want);
    tally->is_counting = false;
    if (!is_comparable) {
        return;
    }
    bool ok = true;
    if (look->table == STORE_ROWS) {
        ok = found->series_count == want->series_count && found->chunk_count == want->chunk_count &&
             found->sample_count == want->sample_count;
    } else if (look->table == STORE_DIRECTORY) {
        ok = found->series_count == want->series_count;
    } else if (tally->part.is_merged) {
        ok = found->segment_bytes == want->segment_bytes;
    }
    if (!ok) {
        note(look->db, DAMAGE_WINDOW,
             "table %s of window %" PRId64 " does not add up to what it was written with: rows are "
             "lost or old",
             stage_name(look->table), tally->part.window_first);
    }
}

static void tally_begin(const struct look *look, int64_t place) {
    struct tally *tally = &look->scrub->tally;
    *tally = (struct tally){ .place = place };
    tally->is_counting = get_part(look, place, &tally->part);
}

static void tally_row(const struct look *look, struct str body) {
    struct tally *tally = &look->scrub->tally;
    struct store_window *found = &tally->found;
    struct store_row *row = &look->scrub->row;
    struct err what = ERR_INIT;
    bool is_found = false;
    if (look->table == STORE_SEGMENTS) {
        found->segment_bytes += (look->row.mv_size + 16 + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
        return;
    }
    if (look->table == STORE_DIRECTORY) {
        const uint8_t *bytes = (const uint8_t *)body.ptr;
        found->series_count += body.len < 3 ? 0 : (uint64_t)(bytes[1] | bytes[2] << 8);
        return;
    }
    uint64_t id = bytes_be64((const uint8_t *)look->key.mv_data + 8);
    if (!store_get_row(&look->db->store, look->txn, tally->place, id, row, &is_found, &what)) {
        damage_note(look->db, DAMAGE_ROW, &what);
        return;
    }
    store_row_drop_below(row, tally->part.stats.segment_floor);
    if (!is_found || (row->count == 0 && tally->part.stats.segment_floor > 0)) {
        return; /* merged, to be swept */
    }
    found->series_count++;
    found->chunk_count += row->count;
    for (size_t i = 0; i < row->count; i++) {
        found->sample_count += row->refs[i].count;
    }
}

static void look_at_part(const struct look *look, struct str body) {
    struct scrub *scrub = look->scrub;
    int64_t place = bytes_be64_signed(look->key.mv_data);
    bool is_first = scrub->next.len == 0;
    if (is_first || !scrub->is_inside || place != scrub->tally.place) {
        if (scrub->is_inside) {
            tally_end(look);
        }
        if (is_first || scrub->is_inside) {
            tally_begin(look, place);
        } else { /* taken up after a restart: what came before is not known */
            scrub->tally = (struct tally){ .place = place };
        }
        scrub->is_inside = true;
    }
    if (scrub->tally.is_counting && is_tallied(look->table, place)) {
        tally_row(look, body);
    } else {
        scrub->tally.is_counting = false;
    }
}

/* ---- one row ---- */

/* A sector that cannot be read would be a SIGBUS: have it read by the system first, which only
 * fails. (Kernels before 5.14 do not know how; then nothing is gained.) */
static bool is_readable(MDB_val row) {
    uintptr_t start = (uintptr_t)row.mv_data & ~(uintptr_t)(PAGE_BYTES - 1);
    uintptr_t end = (uintptr_t)row.mv_data + row.mv_size;
    return madvise((void *)start, end - start, MADV_POPULATE_READ) == 0 ||
           (errno != EFAULT && errno != EIO && errno != EHWPOISON);
}

static void look_at_segment(const struct look *look) {
    struct segment_walk walk;
    struct err what = ERR_INIT;
    if (!is_readable(look->row)) {
        note(look->db, DAMAGE_SEGMENT, "a segment cannot be read from the disk");
    } else if (!segment_walk_begin(look->key, look->row, &walk, &what)) {
        damage_note(look->db, DAMAGE_SEGMENT, &what);
    } else {
        look_at_part(look, STR(""));
    }
}

static void look_at_row(const struct look *look) {
    struct str body;
    struct err what = ERR_INIT;
    if (look->table == STORE_OLD_HASH) {
        return; /* keys alone; only where older directories were damaged */
    }
    if (look->table == STORE_SEGMENTS) {
        look_at_segment(look);
    } else if (look->table == STORE_PENDING) {
        look_at_pending(look);
    } else if (!store_check(look->table, look->key, look->row, &body, &what)) {
        damage_note(look->db, kinds[look->table], &what);
    } else if (look->table == STORE_LABELS && look->key.mv_size == STORE_KEY_ID_BYTES) {
        look_at_labels(look, body);
    } else if (look->table == STORE_ROWS || look->table == STORE_DIRECTORY) {
        look_at_part(look, body);
    }
}

static void look_at_kv(const struct look *look, enum kv_table table) {
    struct str ignored;
    struct err what = ERR_INIT;
    if (!kv_check_row(table, look->key, look->row, &ignored, &what)) {
        damage_note(look->db, DAMAGE_TABLE, &what);
    }
}

/* ---- walking ---- */

static int seek(struct scrub *scrub, MDB_cursor *cursor, MDB_val *key, MDB_val *row) {
    *key = (MDB_val){ .mv_size = scrub->next.len, .mv_data = scrub->next.ptr };
    int rc = mdb_cursor_get(cursor, key, row, scrub->next.len == 0 ? MDB_FIRST : MDB_SET_RANGE);
    bool is_same_key = rc == 0 && scrub->next.len == key->mv_size &&
                       memcmp(scrub->next.ptr, key->mv_data, key->mv_size) == 0;
    return is_same_key ? mdb_cursor_get(cursor, key, row, MDB_NEXT) : rc;
}

/* Up to STEP_BYTES of the stage's table. Returns an LMDB code; MDB_NOTFOUND: it is done. */
static int walk(struct look *look, MDB_dbi dbi) {
    struct scrub *scrub = look->scrub;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(look->txn, dbi, &cursor);
    if (rc != 0) {
        return rc;
    }
    rc = seek(scrub, cursor, &look->key, &look->row);
    scrub->bytes = 0;
    while (rc == 0 && scrub->bytes < STEP_BYTES) {
        if (scrub->stage < STORE_TABLE_COUNT) {
            look->table = (enum store_table)scrub->stage;
            look_at_row(look);
        } else {
            look_at_kv(look, (enum kv_table)(scrub->stage - STORE_TABLE_COUNT));
        }
        scrub->bytes += look->key.mv_size + look->row.mv_size + ROW_COST;
        buf_reset(&scrub->next);
        buf_append(&scrub->next, look->key.mv_data, look->key.mv_size);
        rc = mdb_cursor_get(cursor, &look->key, &look->row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc;
}

static void next_stage(struct scrub *scrub) {
    scrub->stage++;
    scrub->is_inside = false;
    buf_reset(&scrub->next);
}

/* False: the pass is done. */
static bool step(struct tsdb *db, struct scrub *scrub) {
    bool is_store = scrub->stage < STORE_TABLE_COUNT;
    struct env *env = is_store ? &db->store.env : &db->journal;
    struct err err = ERR_INIT;
    struct look look = { .db = db, .scrub = scrub };
    if (!env_read_begin(env, &look.txn, &err)) {
        return false;
    }
    MDB_dbi dbi =
        is_store ? db->store.dbis[scrub->stage] : db->kv_dbis[scrub->stage - STORE_TABLE_COUNT];
    int rc = is_store && scrub->stage >= STORE_ROLLUPS && !db->store.has_all ? MDB_NOTFOUND
                                                                             : walk(&look, dbi);
    if (rc != 0 && scrub->is_inside) {
        tally_end(&look);
    }
    env_read_end(env, look.txn);
    metric_add(db->metrics.scrub_bytes, (double)scrub->bytes);
    if (rc == 0) {
        return true;
    }
    if (rc != MDB_NOTFOUND) {
        note(db, DAMAGE_PAGES, "table %s cannot be read to its end: %s", stage_name(scrub->stage),
             mdb_strerror(rc));
    }
    next_stage(scrub);
    return scrub->stage < STAGE_COUNT;
}

/* ---- where it stands ---- */

/* Body: u8 version, u8 stage, key. */
static int put_position(void *ctx, struct store *store, MDB_txn *txn) {
    const struct scrub *scrub = ctx;
    struct buf body;
    buf_init(&body, KEY_BYTES_MAX + 2);
    uint8_t head[] = { POSITION_VERSION, (uint8_t)scrub->stage };
    buf_append(&body, head, sizeof(head));
    buf_str(&body, buf_as_str(&scrub->next));
    int rc = store_put(store, txn, STORE_META, POSITION_KEY, buf_as_str(&body));
    buf_finish(&body);
    return rc;
}

static void save(struct tsdb *db, struct scrub *scrub) {
    struct err ignored = ERR_INIT;
    scrub->saved = 0;
    if (!db->is_latched && !db->is_no_space) {
        if (!store_write(db, put_position, scrub, "noting where scrubbing stands", &ignored)) {
            metric_inc(db->metrics.maintenance_failures);
        }
    }
}

static struct scrub *load(struct tsdb *db) {
    struct scrub *scrub = mem_calloc(1, sizeof(*scrub));
    struct err ignored = ERR_INIT;
    struct str body;
    bool found = false;
    MDB_txn *txn;
    buf_init(&scrub->next, KEY_BYTES_MAX);
    if (!env_read_begin(&db->store.env, &txn, &ignored)) {
        return scrub;
    }
    if (store_get(&db->store, txn, STORE_META, POSITION_KEY, &body, &found, &ignored) && found &&
        body.len >= 2 && body.len <= KEY_BYTES_MAX + 2 && body.ptr[0] == POSITION_VERSION &&
        (uint8_t)body.ptr[1] < STAGE_COUNT) {
        scrub->stage = (uint8_t)body.ptr[1];
        buf_append(&scrub->next, body.ptr + 2, body.len - 2);
    }
    env_read_end(&db->store.env, txn);
    return scrub;
}

/* ---- */

static void end_pass(struct tsdb *db, struct scrub *scrub) {
    scrub->stage = 0;
    scrub->is_inside = false;
    buf_reset(&scrub->next);
    metric_inc(db->metrics.scrub_passes);
}

void scrub_tick(struct tsdb *db) {
    if (ready_is_replaying(&db->ready)) {
        return;
    }
    if (db->scrub == NULL) {
        db->scrub = load(db);
    }
    struct scrub *scrub = db->scrub;
    if (scrub->rest > 0) {
        scrub->rest--;
        return;
    }
    bool has_more = true;
    for (uint64_t bytes = 0; has_more && bytes < TICK_BYTES; bytes += scrub->bytes) {
        has_more = step(db, scrub);
    }
    if (!has_more) {
        end_pass(db, scrub);
        scrub->rest = REST_TICKS;
    }
    if (!has_more || ++scrub->saved >= SAVE_TICKS) {
        save(db, scrub);
    }
}

void scrub_pass(struct tsdb *db) {
    struct scrub scrub = { .stage = 0 };
    buf_init(&scrub.next, KEY_BYTES_MAX);
    while (step(db, &scrub)) {
    }
    end_pass(db, &scrub);
    buf_finish(&scrub.next);
    store_row_finish(&scrub.row);
}

void scrub_destroy(struct scrub *scrub) {
    if (scrub != NULL) {
        buf_finish(&scrub->next);
        store_row_finish(&scrub->row);
        mem_free(scrub);
    }
}
