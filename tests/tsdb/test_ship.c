/*
 * The shipped journal. Goal: a base backup and the shipped files give exactly what was committed up
 * to any moment, tables included, and every gap or damage is refused by name. Method: one commit
 * per second of a fake clock, restores to many moments, faults made by hand in the directory.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/tsdb/fixture.h"
#include "tsdb/db.h"

#define PATH_BYTES 512

struct place {
    struct fixture f;
    char root[64];
    int commits; /* the n-th one at FIXTURE_NOW_MS + n s: up{job="a"} = n, table row "n" = n */
    int restores;
};

static const char *at(struct place *place, const char *name) {
    CLEANUP(buf_finish) struct buf path;
    buf_init(&path, PATH_BYTES);
    buf_printf(&path, "%s/%s", place->root, name);
    return arena_str(&place->f.arena, buf_as_str(&path)).ptr;
}

static int setup_with(void **state, int64_t block_ms) {
    struct place *place = mem_calloc(1, sizeof(*place));
    fixture_init(&place->f);
    snprintf(place->root, sizeof(place->root), "/tmp/tocsin-ship-XXXXXX");
    assert_non_null(mkdtemp(place->root));
    place->f.options.ship_dir = at(place, "ship");
    place->f.options.block_ms = block_ms;
    fixture_open(&place->f);
    *state = place;
    return 0;
}

static int setup(void **state) {
    return setup_with(state, 0);
}

/* Windows end, are sealed and leave the journal within a few commits. */
static int setup_narrow(void **state) {
    return setup_with(state, 4000);
}

static int teardown(void **state) {
    struct place *place = *state;
    fixture_finish(&place->f);
    remove_tree(place->root);
    mem_free(place);
    return 0;
}

static void commit(struct place *place, int count) {
    struct fixture *f = &place->f;
    for (int i = 0; i < count; i++) {
        place->commits++;
        fake_clock_advance(&f->clock, 1000);
        struct tsdb_batch *batch;
        struct err err = ERR_INIT;
        assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
        series_ref_t ref = make_series(f, "up", PAIRS("job", place->commits % 2 ? "a" : "b"));
        tsdb_batch_append(batch, ref, clock_wall_ms(&f->clock.clock), place->commits);
        char value[32];
        int len = snprintf(value, sizeof(value), "%d", place->commits);
        struct kv_batch *kv = tsdb_batch_kv(batch);
        kv->put(kv, KV_SILENCE, STR("n"), str_n(value, (size_t)len));
        if (place->commits % 3 == 0) {
            kv->del(kv, KV_SILENCE, STR("third"));
        } else {
            kv->put(kv, KV_SILENCE, STR("third"), STR("there"));
        }
        if (!tsdb_commit_blocking(batch, NULL, &err)) {
            fail_msg("commit: %s", err.msg);
        }
        if (place->commits % 5 == 0) { /* a commit of tables alone, at the same time */
            struct kv_store *store = tsdb_kv(f->db);
            kv = store->begin(store);
            kv->put(kv, KV_OUTBOX, STR("alone"), str_n(value, (size_t)len));
            assert_true(store->commit_blocking(store, kv, &err));
        }
    }
}

static void take_closed(struct place *place, const char *name, struct tsdb_backup_info *ret) {
    struct tsdb_backup_options options = {
        .path = place->f.dir,
        .target = at(place, name),
        .clock = &place->f.clock.clock,
    };
    struct err err = ERR_INIT;
    if (!tsdb_backup(&options, ret, &err)) {
        fail_msg("tsdb_backup: %s", err.msg);
    }
}

static void take_base(struct place *place, const char *name) {
    struct tsdb_backup_info info;
    fixture_close(&place->f);
    take_closed(place, name, &info);
    fixture_open(&place->f);
}

/* With the store closed. */
static bool restore_to(struct place *place,
                       const char *base,
                       int64_t until_ms,
                       const char **ret_dir,
                       struct err *err) {
    char name[32];
    snprintf(name, sizeof(name), "r%d", place->restores++);
    *ret_dir = at(place, name);
    struct tsdb_restore_options options = {
        .backup = at(place, base),
        .fd = -1,
        .into = *ret_dir,
        .ship_dir = at(place, "ship"),
        .until_ms = until_ms,
        .clock = &place->f.clock.clock,
    };
    struct tsdb_restore_result result;
    *err = (struct err)ERR_INIT;
    return tsdb_restore(&options, &result, err);
}

static int64_t number(const struct buf *text) {
    int64_t value = -1;
    assert_true(str_parse_i64(buf_as_str(text), &value));
    return value;
}

static void expect_commits(struct place *place, const char *dir, int count) {
    struct fixture *f = &place->f;
    struct tsdb_options own = f->options;
    f->options.path = dir;
    f->options.ship_dir = NULL;
    fixture_open(f);
    CLEANUP(buf_finish) struct buf want;
    buf_init(&want, 1u << 20);
    for (int odd = 1; odd >= 0; odd--) {
        if (count + odd >= 2) {
            buf_printf(&want, "up{job=\"%s\"}", odd ? "a" : "b");
        }
        for (int i = odd ? 1 : 2; i <= count; i += 2) {
            buf_printf(&want, " %lld:%d", (long long)(FIXTURE_NOW_MS + i * 1000), i);
        }
        buf_cstr(&want, count + odd >= 2 ? "\n" : "");
    }
    assert_string_equal(read_name(f, "up"), want.ptr);
    struct kv_store *kv = tsdb_kv(f->db);
    CLEANUP(buf_finish) struct buf value;
    buf_init(&value, 100);
    struct err err = ERR_INIT;
    assert_true(kv->get(kv, KV_SILENCE, STR("n"), &value, &err));
    assert_int_equal(number(&value), count);
    assert_int_equal(kv->get(kv, KV_SILENCE, STR("third"), &value, &err), count % 3 != 0);
    if (count >= 5) {
        assert_true(kv->get(kv, KV_OUTBOX, STR("alone"), &value, &err));
        assert_int_equal(number(&value), count / 5 * 5);
    }
    fixture_close(f);
    f->options = own;
}

/* The shipping directory of this data directory; the n-th file from its end. */
static const char *ship_path(struct place *place, int from_end, int *ret_count) {
    const char *dir = at(place, "ship");
    struct dirent **items;
    int count = scandir(dir, &items, NULL, alphasort);
    assert_true(count > 2);
    char id[64];
    snprintf(id, sizeof(id), "ship/%.40s", items[count - 1]->d_name);
    for (int i = 0; i < count; i++) {
        mem_free(items[i]);
    }
    mem_free(items);
    count = scandir(at(place, id), &items, NULL, alphasort);
    *ret_count = count - 2;
    char file[128] = "";
    if (from_end < count - 2) {
        snprintf(file, sizeof(file), "%.40s/%.60s", id, items[count - 1 - from_end]->d_name);
    }
    for (int i = 0; i < count; i++) {
        mem_free(items[i]);
    }
    mem_free(items);
    return at(place, file);
}

/* ---- restoring ---- */

static void every_moment_comes_back(void **state) {
    struct place *place = *state;
    commit(place, 4);
    take_base(place, "base");
    commit(place, 10);
    fixture_reopen(&place->f);
    commit(place, 10);
    fixture_close(&place->f);
    for (int n = 4; n <= 24; n += 4) {
        const char *dir;
        struct err err;
        /* one millisecond before the next commit */
        if (!restore_to(place, "base", FIXTURE_NOW_MS + n * 1000 + 999, &dir, &err)) {
            fail_msg("to commit %d: %s", n, err.msg);
        }
        expect_commits(place, dir, n);
    }
    const char *dir;
    struct err err;
    assert_true(restore_to(place, "base", INT64_MAX, &dir, &err));
    expect_commits(place, dir, 24);
    assert_false(restore_to(place, "base", FIXTURE_NOW_MS + 3999, &dir, &err));
    assert_int_equal(err.code, ERR_INVALID);
}

static void sealing_goes_on_beside(void **state) {
    struct place *place = *state;
    commit(place, 3);
    take_base(place, "base");
    for (int i = 0; i < 5; i++) {
        struct err err = ERR_INIT;
        commit(place, 130);
        fake_clock_advance(&place->f.clock, 0);
        assert_true(tsdb_maintain_blocking(place->f.db, &err));
    }
    fixture_close(&place->f);
    const char *dir;
    struct err err;
    assert_true(restore_to(place, "base", FIXTURE_NOW_MS + 500 * 1000, &dir, &err));
    expect_commits(place, dir, 500);
}

static void restored_directories_ship_their_own(void **state) {
    struct place *place = *state;
    commit(place, 4);
    take_base(place, "base");
    commit(place, 4);
    fixture_close(&place->f);
    const char *dir;
    struct err err;
    assert_true(restore_to(place, "base", FIXTURE_NOW_MS + 6000, &dir, &err));
    struct tsdb_options own = place->f.options;
    place->f.options.path = dir;
    fixture_open(&place->f);
    place->commits = 6;
    commit(place, 3); /* another history, with the same numbers */
    fixture_close(&place->f);
    place->f.options = own;
    assert_true(restore_to(place, "base", INT64_MAX, &dir, &err));
    expect_commits(place, dir, 8);
}

/* ---- faults ---- */

static void expect_refused(struct place *place, const char *word) {
    const char *dir;
    struct err err;
    if (restore_to(place, "base", INT64_MAX, &dir, &err)) {
        fail_msg("restored, expected a refusal with \"%s\"", word);
    }
    if (strstr(err.msg, word) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
    }
    assert_int_not_equal(access(dir, F_OK), 0);
}

static void flips_are_named(void **state) {
    struct place *place = *state;
    commit(place, 2);
    take_base(place, "base");
    commit(place, 5);
    fixture_close(&place->f);
    int count;
    const char *path = ship_path(place, 0, &count);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_RDWR);
    for (off_t i = 0; i < st.st_size; i += 41) {
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, i), 1);
        byte ^= (uint8_t)(1 << (i % 8));
        assert_int_equal(pwrite(fd, &byte, 1, i), 1);
        expect_refused(place, path);
        byte ^= (uint8_t)(1 << (i % 8));
        assert_int_equal(pwrite(fd, &byte, 1, i), 1);
    }
    close(fd);
}

static void torn_ends_are_cut_off(void **state) {
    struct place *place = *state;
    commit(place, 2);
    take_base(place, "base");
    for (int round = 0; round < 6; round++) {
        commit(place, 2);
        fixture_close(&place->f);
        int count;
        const char *path = ship_path(place, 0, &count);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        /* As after a crash in the middle of an append: the journal still has it all, because it is
         * trimmed only by a later commit. */
        assert_int_equal(truncate(path, st.st_size - 31 * round - 1), 0);
        fixture_open(&place->f);
    }
    commit(place, 1);
    fixture_close(&place->f);
    const char *dir;
    struct err err;
    if (!restore_to(place, "base", INT64_MAX, &dir, &err)) {
        fail_msg("%s", err.msg);
    }
    expect_commits(place, dir, place->commits);
}

static void missing_files_are_named(void **state) {
    struct place *place = *state;
    commit(place, 2);
    take_base(place, "base");
    commit(place, 3);
    fixture_close(&place->f);
    int count;
    const char *path = ship_path(place, 0, &count);
    assert_int_equal(rename(path, at(place, "away")), 0);
    expect_refused(place, "no shipped journal");
    remove_tree(at(place, "ship"));
    expect_refused(place, "ship");
}

static void shipping_off_is_a_gap(void **state) {
    struct place *place = *state;
    commit(place, 2);
    take_base(place, "base");
    commit(place, 2);
    fixture_close(&place->f);
    const char *ship_dir = place->f.options.ship_dir;
    place->f.options.ship_dir = NULL;
    fixture_open(&place->f);
    commit(place, 2);
    fixture_close(&place->f);
    place->f.options.ship_dir = ship_dir;
    fixture_open(&place->f);
    commit(place, 2);
    take_base(place, "base2");
    commit(place, 2);
    fixture_close(&place->f);
    expect_refused(place, "missing");
    const char *dir;
    struct err err;
    assert_true(restore_to(place, "base", FIXTURE_NOW_MS + 4 * 1000, &dir, &err));
    expect_commits(place, dir, 4);
    assert_true(restore_to(place, "base2", INT64_MAX, &dir, &err));
    expect_commits(place, dir, 10);
}

/* Polled with a deadline: the thread looks at its directory at once. */
static void wait_a_moment(void) {
    (void)poll(NULL, 0, 5);
}

static void ingest_goes_on_without_the_directory(void **state) {
    struct place *place = *state;
    commit(place, 2);
    take_base(place, "base");
    commit(place, 2);
    fixture_close(&place->f);
    assert_int_equal(rename(at(place, "ship"), at(place, "away")), 0);
    int fd = open(at(place, "ship"), O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    fixture_open(&place->f);
    commit(place, 3);
    fixture_close(&place->f); /* its last attempt fails, too */
    fixture_open(&place->f);
    commit(place, 3);
    struct err err = ERR_INIT;
    for (int i = 0; i < 1000 && tsdb_ship_health(place->f.db, &err); i++) {
        wait_a_moment();
    }
    assert_false(tsdb_ship_health(place->f.db, &err));
    fixture_close(&place->f);
    assert_int_equal(unlink(at(place, "ship")), 0);
    assert_int_equal(rename(at(place, "away"), at(place, "ship")), 0);
    fixture_open(&place->f);
    commit(place, 1);
    fixture_close(&place->f);
    const char *dir;
    if (!restore_to(place, "base", INT64_MAX, &dir, &err)) {
        fail_msg("%s", err.msg);
    }
    expect_commits(place, dir, 11);
}

/* More waits than is kept for the directory: it is let go, the gap is seen and named. */
static void too_long_without_the_directory(void **state) {
    struct place *place = *state;
    struct fixture *f = &place->f;
    commit(place, 2);
    take_base(place, "base");
    fixture_close(f);
    assert_int_equal(rename(at(place, "ship"), at(place, "away")), 0);
    int fd = open(at(place, "ship"), O_CREAT | O_WRONLY, 0600);
    close(fd);
    f->options.ship_retained_bytes = 1;
    struct tsdb_backup_info info = { 0 };
    for (int round = 0; round < 20 && info.lsn_first <= 3; round++) {
        fixture_open(f);
        struct err err = ERR_INIT;
        for (int i = 0; i < 1000 && tsdb_ship_health(f->db, &err); i++) {
            wait_a_moment();
        }
        commit(place, 3);
        assert_true(tsdb_maintain_blocking(f->db, &err));
        commit(place, 3);
        fixture_close(f);
        char name[32];
        snprintf(name, sizeof(name), "round%d", round);
        take_closed(place, name, &info);
    }
    assert_true(info.lsn_first > 3);
    assert_int_equal(unlink(at(place, "ship")), 0);
    assert_int_equal(rename(at(place, "away"), at(place, "ship")), 0);
    fixture_open(f);
    commit(place, 3);
    take_base(place, "base2");
    commit(place, 3);
    fixture_close(f);
    expect_refused(place, "missing");
    const char *dir;
    struct err err;
    if (!restore_to(place, "base2", INT64_MAX, &dir, &err)) {
        fail_msg("%s", err.msg);
    }
    expect_commits(place, dir, place->commits);
}

/* Damage took a record out of the journal's middle: shipping goes on behind it. */
static void a_record_is_missing(void **state) {
    struct place *place = *state;
    struct fixture *f = &place->f;
    commit(place, 2);
    take_base(place, "base");
    fixture_close(f);
    assert_int_equal(rename(at(place, "ship"), at(place, "away")), 0);
    int fd = open(at(place, "ship"), O_CREAT | O_WRONLY, 0600);
    close(fd);
    fixture_open(f);
    commit(place, 4);
    struct err err = ERR_INIT;
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;
    assert_true(env_write_begin(&f->db->journal, &txn, &err));
    assert_int_equal(mdb_cursor_open(txn, f->db->log, &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_LAST), 0);
    assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_PREV), 0);
    assert_int_equal(mdb_cursor_del(cursor, 0), 0);
    mdb_cursor_close(cursor);
    assert_int_equal(mdb_txn_commit(txn), 0);
    assert_int_equal(unlink(at(place, "ship")), 0);
    assert_int_equal(rename(at(place, "away"), at(place, "ship")), 0);
    fixture_reopen(f);
    take_base(place, "base2");
    commit(place, 2);
    fixture_close(f);
    expect_refused(place, "missing");
    const char *dir;
    if (!restore_to(place, "base2", INT64_MAX, &dir, &err)) {
        fail_msg("%s", err.msg);
    }
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(every_moment_comes_back),
        CASE(sealing_goes_on_beside),
        CASE(restored_directories_ship_their_own),
        CASE(flips_are_named),
        CASE(torn_ends_are_cut_off),
        CASE(missing_files_are_named),
        CASE(shipping_off_is_a_gap),
        CASE(ingest_goes_on_without_the_directory),
        CASE(a_record_is_missing),
        cmocka_unit_test_setup_teardown(too_long_without_the_directory, setup_narrow, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
