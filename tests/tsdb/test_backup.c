/*
 * Backup and restore of a data directory, offline. Goal: what comes back is what was there, and
 * nothing damaged or half-made is ever taken for a backup. Method: back up a store with known
 * content, restore, read; flip, cut and remove every part and expect a refusal that names it.
 * Backups beside a running process are tests/e2e/test_backup.py.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/tsdb/fixture.h"
#include "tsdb/backup/manifest.h"
#include "tsdb/backup/tar.h"

#define PATH_BYTES 256

struct place {
    struct fixture f;
    char root[64]; /* for backups and restored directories */
};

static const char *at(struct place *place, const char *name) {
    CLEANUP(buf_finish) struct buf path;
    buf_init(&path, PATH_BYTES);
    buf_printf(&path, "%s/%s", place->root, name);
    return arena_str(&place->f.arena, buf_as_str(&path)).ptr;
}

/* Sealed samples, samples only the journal has, a row of state. */
static int setup(void **state) {
    struct place *place = mem_calloc(1, sizeof(*place));
    struct fixture *f = &place->f;
    fixture_init(f);
    snprintf(place->root, sizeof(place->root), "/tmp/tocsin-backup-XXXXXX");
    assert_non_null(mkdtemp(place->root));
    fixture_open(f);
    series_ref_t ref = make_series(f, "up", PAIRS("job", "a"));
    for (int i = 0; i < 300; i++) {
        assert_int_equal(put_sample(f, ref, FIXTURE_NOW_MS - HOUR_MS + i * 1000, i), TSDB_ACCEPTED);
    }
    struct err err = ERR_INIT;
    assert_true(tsdb_maintain_blocking(f->db, &err));
    assert_int_equal(put_sample(f, ref, FIXTURE_NOW_MS, 7), TSDB_ACCEPTED);
    struct kv_store *kv = tsdb_kv(f->db);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, STR("s"), STR("quiet"));
    assert_true(kv->commit_blocking(kv, batch, &err));
    *state = place;
    return 0;
}

static int teardown(void **state) {
    struct place *place = *state;
    fixture_finish(&place->f);
    remove_tree(place->root);
    mem_free(place);
    return 0;
}

/* Of the closed directory. */
static struct tsdb_backup_info take(struct place *place, const char *name) {
    if (place->f.db != NULL) {
        fixture_close(&place->f);
    }
    struct tsdb_backup_options options = {
        .path = place->f.dir,
        .target = at(place, name),
        .clock = &place->f.clock.clock,
    };
    struct tsdb_backup_info info;
    struct err err = ERR_INIT;
    if (!tsdb_backup(&options, &info, &err)) {
        fail_msg("tsdb_backup: %s", err.msg);
    }
    return info;
}

static bool restore(struct place *place, const char *from, const char *into, struct err *err) {
    struct tsdb_restore_options options = {
        .backup = from == NULL ? NULL : at(place, from),
        .fd = -1,
        .into = at(place, into),
        .until_ms = INT64_MAX,
        .clock = &place->f.clock.clock,
    };
    struct tsdb_restore_result result;
    *err = (struct err)ERR_INIT;
    return tsdb_restore(&options, &result, err);
}

static void expect_refused(struct place *place, const char *from, const char *word) {
    struct err err;
    if (restore(place, from, "refused", &err)) {
        fail_msg("%s was restored, expected a refusal naming %s", from, word);
    }
    if (strstr(err.msg, word) == NULL) {
        fail_msg("\"%s\" does not name %s", err.msg, word);
    }
    assert_int_not_equal(access(at(place, "refused"), F_OK), 0);
    assert_int_not_equal(access(at(place, "refused.restoring.tmp"), F_OK), 0);
}

static void expect_content(struct place *place, const char *dir, const char *expected) {
    struct fixture *f = &place->f;
    const char *own = f->options.path;
    f->options.path = at(place, dir);
    fixture_open(f);
    assert_string_equal(read_name(f, "up"), expected);
    struct kv_store *kv = tsdb_kv(f->db);
    CLEANUP(buf_finish) struct buf value;
    buf_init(&value, 100);
    struct err err = ERR_INIT;
    assert_true(kv->get(kv, KV_SILENCE, STR("s"), &value, &err));
    assert_string_equal(value.ptr, "quiet");
    /* and it goes on */
    series_ref_t ref = make_series(f, "up", PAIRS("job", "a"));
    assert_int_equal(put_sample(f, ref, FIXTURE_NOW_MS + 1, 8), TSDB_ACCEPTED);
    fixture_close(f);
    f->options.path = own;
}

static void comes_back_whole(void **state) {
    struct place *place = *state;
    const char *expected = read_name(&place->f, "up");
    struct tsdb_backup_info info = take(place, "b");
    assert_int_equal(info.created_ms, FIXTURE_NOW_MS);
    assert_int_equal(info.last_commit_ms, FIXTURE_NOW_MS);
    assert_int_equal(info.series_count, 1);
    assert_true(info.sample_count >= 240);
    assert_true(info.kv_row_count >= 2);
    assert_int_equal(info.lsn_last, 301);
    struct tsdb_backup_info found;
    struct err err = ERR_INIT;
    assert_true(tsdb_backup_check(at(place, "b"), &found, &err));
    assert_memory_equal(&found, &info, sizeof(info));
    assert_true(restore(place, "b", "r", &err));
    expect_content(place, "r", expected);
    /* another history: another id */
    found = take(place, "b2");
    assert_string_equal(found.directory_id, info.directory_id);
    struct tsdb_backup_options options = { .path = at(place, "r"), .target = at(place, "b3") };
    assert_true(tsdb_backup(&options, &found, &err));
    assert_string_not_equal(found.directory_id, info.directory_id);
}

static void target_must_be_vacant(void **state) {
    struct place *place = *state;
    take(place, "b");
    struct tsdb_backup_options options = { .path = place->f.dir, .target = at(place, "b") };
    struct tsdb_backup_info info;
    struct err err = ERR_INIT;
    assert_false(tsdb_backup(&options, &info, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_true(restore(place, "b", "r", &err));
    assert_false(restore(place, "b", "r", &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.msg, "not empty"));
    assert_int_equal(mkdir(at(place, "empty"), 0750), 0);
    assert_true(restore(place, "b", "empty", &err));
}

static void no_directory_to_back_up(void **state) {
    struct place *place = *state;
    struct tsdb_backup_options options = { .path = at(place, "nowhere"), .target = at(place, "b") };
    struct tsdb_backup_info info;
    struct err err = ERR_INIT;
    assert_false(tsdb_backup(&options, &info, &err));
    assert_non_null(strstr(err.msg, "nowhere"));
    assert_int_not_equal(access(at(place, "b"), F_OK), 0);
}

static void flip(const char *path, off_t offset, uint8_t bit) {
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= (uint8_t)(1 << bit);
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

static void copy_without_last_byte(const char *from, const char *to, size_t len) {
    CLEANUP(mem_freep) char *bytes = mem_alloc(len);
    int in = open(from, O_RDONLY);
    int out = open(to, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(read(in, bytes, len), len);
    assert_int_equal(write(out, bytes, len - 1), len - 1);
    close(in);
    close(out);
}

static void damage_is_named(void **state) {
    struct place *place = *state;
    struct tsdb_backup_info info = take(place, "b");
    for (size_t i = 0; i < TSDB_BACKUP_FILE_COUNT; i++) {
        const char *name = tsdb_backup_file_name((enum tsdb_backup_file)i);
        const char *path = at(place, i == 0 ? "b/journal/data.mdb" : "b/store/data.mdb");
        off_t bytes = (off_t)info.files[i].bytes;
        off_t places[] = { 0, bytes / 2, bytes - 1 };
        for (size_t k = 0; k < ARRAY_LEN(places); k++) {
            flip(path, places[k], (uint8_t)k);
            expect_refused(place, "b", name);
            flip(path, places[k], (uint8_t)k);
        }
        assert_int_equal(rename(path, at(place, "away")), 0);
        copy_without_last_byte(at(place, "away"), path, (size_t)bytes);
        expect_refused(place, "b", name);
        assert_int_equal(rename(at(place, "away"), path), 0);
    }
    assert_int_equal(rename(at(place, "b/store/data.mdb"), at(place, "away")), 0);
    expect_refused(place, "b", "store/data.mdb");
    assert_int_equal(rename(at(place, "away"), at(place, "b/store/data.mdb")), 0);
    assert_int_equal(rename(at(place, "b/manifest.json"), at(place, "away")), 0);
    expect_refused(place, "b", "not a whole backup");
}

static void every_flip_of_the_manifest_is_seen(void **state) {
    struct place *place = *state;
    take(place, "b");
    const char *path = at(place, "b/manifest.json");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (off_t i = 0; i < st.st_size; i++) {
        uint8_t bit = (uint8_t)(i % 8);
        flip(path, i, bit);
        struct tsdb_backup_info info;
        struct err err = ERR_INIT;
        if (tsdb_backup_read(at(place, "b"), &info, &err)) {
            fail_msg("bit %d of byte %lld", bit, (long long)i);
        }
        flip(path, i, bit);
    }
}

static void leftovers_are_no_backups(void **state) {
    struct place *place = *state;
    take(place, "b");
    /* as a kill between the files and the rename leaves it */
    assert_int_equal(rename(at(place, "b"), at(place, "c.tmp")), 0);
    assert_int_equal(unlink(at(place, "c.tmp/manifest.json")), 0);
    expect_refused(place, "c.tmp", "not a whole backup");
    struct tsdb_backup_entry *entries;
    size_t count;
    struct err err = ERR_INIT;
    assert_true(tsdb_backup_list(place->root, &entries, &count, &err));
    assert_int_equal(count, 1);
    assert_false(entries[0].is_whole);
    tsdb_backup_list_free(entries, count);
    take(place, "c"); /* clears it */
    assert_int_not_equal(access(at(place, "c.tmp"), F_OK), 0);
    assert_true(restore(place, "c", "r", &err));
}

/* ---- streams ---- */

static int make_stream(struct place *place) {
    fixture_close(&place->f);
    int fd = open(at(place, "stream"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    struct tsdb_backup_options options = { .path = place->f.dir, .fd = fd };
    struct tsdb_backup_info info;
    struct err err = ERR_INIT;
    assert_true(tsdb_backup(&options, &info, &err));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static bool restore_stream(struct place *place, int fd, const char *into, struct err *err) {
    struct tsdb_restore_options options = {
        .fd = fd,
        .into = at(place, into),
        .until_ms = INT64_MAX,
        .clock = &place->f.clock.clock,
    };
    struct tsdb_restore_result result;
    *err = (struct err)ERR_INIT;
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return tsdb_restore(&options, &result, err);
}

static void streams_come_back_whole(void **state) {
    struct place *place = *state;
    const char *expected = read_name(&place->f, "up");
    int fd = make_stream(place);
    struct err err;
    assert_true(restore_stream(place, fd, "r", &err));
    expect_content(place, "r", expected);
    close(fd);
}

static void cut_streams_are_refused(void **state) {
    struct place *place = *state;
    int fd = make_stream(place);
    off_t bytes = lseek(fd, 0, SEEK_END);
    struct err err;
    flip(at(place, "stream"), bytes / 2, 3);
    assert_false(restore_stream(place, fd, "r", &err));
    assert_non_null(strstr(err.msg, "data.mdb"));
    flip(at(place, "stream"), bytes / 2, 3);
    for (off_t cut = bytes - TAR_BLOCK_BYTES * 2; cut >= 0; cut -= TAR_BLOCK_BYTES * 7) {
        assert_int_equal(ftruncate(fd, cut), 0);
        if (restore_stream(place, fd, "r", &err)) {
            fail_msg("a stream of %lld instead of %lld bytes", (long long)cut, (long long)bytes);
        }
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    close(fd);
}

static void tar_sizes(void **state) {
    static const uint64_t sizes[] = {
        0, 1, 511, 512, UINT64_C(077777777777), UINT64_C(0100000000000), UINT64_C(1) << 50,
    };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint8_t block[TAR_BLOCK_BYTES];
        struct tar_entry entry;
        struct err err = ERR_INIT;
        tar_header("store/data.mdb", sizes[i], 1700000000, block);
        assert_true(tar_parse(block, &entry, &err));
        assert_true(entry.bytes == sizes[i] && entry.is_file && !entry.is_end);
        assert_string_equal(entry.name, "store/data.mdb");
        assert_true((sizes[i] + tar_padding(sizes[i])) % TAR_BLOCK_BYTES == 0);
        for (size_t k = 0; k < TAR_BLOCK_BYTES; k += 3) {
            block[k] ^= 0x10;
            assert_false(tar_parse(block, &entry, &err));
            block[k] ^= 0x10;
        }
    }
}

/* ---- without the head; keeping ---- */

static void without_the_head(void **state) {
    struct place *place = *state;
    fixture_close(&place->f);
    struct tsdb_backup_options options = {
        .path = place->f.dir,
        .target = at(place, "b"),
        .skip_head = true,
        .clock = &place->f.clock.clock,
    };
    struct tsdb_backup_info info;
    struct err err = ERR_INIT;
    assert_true(tsdb_backup(&options, &info, &err));
    assert_true(info.is_head_skipped);
    assert_true(tsdb_backup_check(at(place, "b"), &info, &err));
    assert_true(restore(place, "b", "r", &err));
    place->f.options.path = at(place, "r");
    fixture_open(&place->f);
    struct tsdb_stats stats;
    tsdb_stats(place->f.db, &stats);
    assert_true(stats.t_max_ms < FIXTURE_NOW_MS); /* the last sample was in the journal alone */
    fixture_close(&place->f);
    place->f.options.path = place->f.dir;
}

static void verified_is_of_this_manifest(void **state) {
    struct place *place = *state;
    take(place, "b");
    struct tsdb_backup_info info;
    struct err err = ERR_INIT;
    assert_true(tsdb_backup_mark_verified(at(place, "b"), 1234, &err));
    assert_true(tsdb_backup_read(at(place, "b"), &info, &err));
    assert_int_equal(info.verified_ms, 1234);
    fake_clock_advance(&place->f.clock, 1000);
    take(place, "other");
    assert_int_equal(rename(at(place, "other/manifest.json"), at(place, "b/manifest.json")), 0);
    assert_true(tsdb_backup_read(at(place, "b"), &info, &err));
    assert_int_equal(info.verified_ms, 0);
}

static void keeping(void **state) {
    const int64_t day = 24 * HOUR_MS;
    const int64_t now = 100 * day;

    struct {
        int64_t age_days;
        bool is_whole;
        bool is_verified;
        bool is_expired;
    } const cases[] = {
        { 30, true, true, true },    { 20, true, true, false /* the last verified */ },
        { 15, false, false, false }, { 10, true, false, true },
        { 8, true, false, true },    { 6, true, false, false },
    };
    struct tsdb_backup_entry entries[ARRAY_LEN(cases)] = { 0 };
    bool is_expired[ARRAY_LEN(cases)];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        entries[i].is_whole = cases[i].is_whole;
        entries[i].info.created_ms = now - cases[i].age_days * day;
        entries[i].info.verified_ms = cases[i].is_verified ? now : 0;
    }
    tsdb_backup_expire(entries, ARRAY_LEN(cases), now, 7 * day, is_expired);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(is_expired[i], cases[i].is_expired);
    }
    /* the newest whole one stays whatever its age */
    tsdb_backup_expire(entries, 4, now, 7 * day, is_expired);
    assert_false(is_expired[3]);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(comes_back_whole),
        CASE(target_must_be_vacant),
        CASE(no_directory_to_back_up),
        CASE(damage_is_named),
        CASE(every_flip_of_the_manifest_is_seen),
        CASE(leftovers_are_no_backups),
        CASE(streams_come_back_whole),
        CASE(cut_streams_are_refused),
        CASE(without_the_head),
        CASE(verified_is_of_this_manifest),
        cmocka_unit_test(tar_sizes),
        cmocka_unit_test(keeping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
