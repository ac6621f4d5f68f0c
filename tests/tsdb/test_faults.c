/*
 * Goal: a failing disk is noticed, nothing unacknowledged becomes visible, nothing acknowledged is
 * lost, and damaged bytes are errors, never values. Method: this program's own fdatasync, pwrite
 * and writev stand in front of libc's and fail on request; statvfs reports what a test wants; files
 * are damaged bit by bit.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/tsdb/fixture.h"
#include "tsdb/db.h"

static _Atomic int sync_errno;
static _Atomic int write_errno;
static _Atomic int head_failures; /* so many writes of LMDB's two head pages get ENOSPC */
static _Atomic bool is_head_late; /* the next one of them gets to the disk all the same */
static _Atomic bool is_disk_full;

/* The shims LMDB's calls find first. */

int fdatasync(int fd) {
    if (sync_errno != 0) {
        errno = sync_errno;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static ssize_t put_bytes(int fd, const void *bytes, size_t len, off_t offset) {
    bool fails_at_head = offset < 2 * 4096 && head_failures > 0;
    if (!fails_at_head && write_errno == 0) {
        return syscall(SYS_pwrite64, fd, bytes, len, offset);
    }
    if (fails_at_head) {
        head_failures--;
        if (is_head_late) {
            is_head_late = false;
            (void)syscall(SYS_pwrite64, fd, bytes, len, offset);
        }
    }
    errno = fails_at_head ? ENOSPC : write_errno;
    return -1;
}

/* LMDB calls pwrite; the headers here make pwrite64 of that name, which the store's own calls
 * are. */
ssize_t lmdb_pwrite(int fd, const void *bytes, size_t len, off_t offset) __asm__("pwrite");

ssize_t lmdb_pwrite(int fd, const void *bytes, size_t len, off_t offset) {
    return put_bytes(fd, bytes, len, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset) {
    return put_bytes(fd, bytes, len, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (write_errno != 0) {
        errno = write_errno;
        return -1;
    }
    return syscall(SYS_writev, fd, parts, count);
}

int statvfs(const char *path, struct statvfs *ret) {
    (void)path;
    *ret = (struct statvfs){ .f_frsize = 4096, .f_bavail = is_disk_full ? 10 : 10000000 };
    return 0;
}

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof(*f));
    sync_errno = 0;
    write_errno = 0;
    head_failures = 0;
    is_head_late = false;
    is_disk_full = false;
    fixture_init(f);
    f->options.space_reserve_bytes = 1 << 20;
    fixture_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    sync_errno = 0;
    write_errno = 0;
    head_failures = 0;
    is_head_late = false;
    is_disk_full = false;
    fixture_finish(*state);
    test_free(*state);
    return 0;
}

static struct tsdb_batch *begin(struct fixture *f, enum tsdb_class cls) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch = NULL;
    if (!tsdb_batch_begin(f->db, cls, &batch, &err)) {
        fail_msg("tsdb_batch_begin: %s", err.msg);
    }
    return batch;
}

static enum err_code commit_code(struct tsdb_batch *batch) {
    struct err err = ERR_INIT;
    return tsdb_commit_blocking(batch, NULL, &err) ? ERR_NONE : err.code;
}

static enum err_code put_code(struct fixture *f,
                              enum tsdb_class cls,
                              series_ref_t ref,
                              int64_t t_ms) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(f->db, cls, &batch, &err)) {
        return err.code;
    }
    tsdb_batch_append(batch, ref, t_ms, 1);
    return commit_code(batch);
}

/* The first failed sync ends writing until restart; nothing of that commit was or will be seen. */
static void sync_error_latches(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "a", NULL);
    assert_int_equal(put_code(f, TSDB_INGEST, a, 1), ERR_NONE);
    struct tsdb_batch *open_before = begin(f, TSDB_INGEST);
    tsdb_batch_append(open_before, a, 3, 1);
    sync_errno = EIO;
    assert_int_equal(put_code(f, TSDB_INGEST, a, 2), ERR_IO);
    sync_errno = 0;
    assert_false(tsdb_health(f->db, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.msg, "read-only"));
    assert_int_equal(commit_code(open_before), ERR_IO);
    assert_int_equal(put_code(f, TSDB_INGEST, a, 4), ERR_IO);
    assert_int_equal(put_code(f, TSDB_STATE, a, 4), ERR_IO);
    assert_false(tsdb_maintain_blocking(f->db, &err));
    assert_string_equal(read_name(f, "a"), "a 1:1\n");
    fixture_reopen(f);
    assert_true(tsdb_health(f->db, &err));
    assert_string_equal(read_name(f, "a"), "a 1:1\n");
    a = make_series(f, "a", NULL);
    assert_int_equal(put_sample(f, a, 2, 1), TSDB_ACCEPTED);
}

/* The meta page cannot be written: the same. */
static void write_error_latches(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "a", NULL);
    write_errno = EIO;
    assert_int_equal(put_code(f, TSDB_INGEST, a, 1), ERR_IO);
    write_errno = 0;
    assert_false(tsdb_health(f->db, &err));
    assert_string_equal(read_name(f, "a"), "");
    /* LMDB gives the environment up when its head page cannot be written; tables are read on. */
    err = (struct err)ERR_INIT;
    struct buf value;
    buf_init(&value, 100);
    struct kv_store *kv = tsdb_kv(f->db);
    assert_true(kv->get(kv, KV_META, STR("format"), &value, &err));
    buf_finish(&value);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "a"), "");
}

/* ENOSPC in the middle: an error for that commit, then on as if nothing had been. */
static void full_disk_recovers(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "a", NULL);
    assert_int_equal(put_code(f, TSDB_INGEST, a, 1), ERR_NONE);
    for (int i = 0; i < 3; i++) {
        write_errno = ENOSPC;
        assert_int_equal(put_code(f, TSDB_INGEST, a, 2 + i), ERR_NO_SPACE);
        assert_int_equal(put_code(f, TSDB_STATE, a, 2 + i), ERR_NO_SPACE);
        write_errno = 0;
        assert_true(tsdb_health(f->db, &err));
        assert_int_equal(put_code(f, TSDB_INGEST, a, 2 + i), ERR_NONE);
    }
    /* The series is defined although its first definition failed to be written. */
    write_errno = ENOSPC;
    series_ref_t b = make_series(f, "b", NULL);
    assert_int_equal(put_code(f, TSDB_INGEST, b, 1), ERR_NO_SPACE);
    write_errno = 0;
    assert_int_equal(put_code(f, TSDB_INGEST, b, 1), ERR_NONE);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "a"), "a 1:1 2:1 3:1 4:1\n");
    assert_string_equal(read_name(f, "b"), "b 1:1\n");
}

/* The same where LMDB gives the environment up: at its head page. Reading goes on meanwhile. */
static void full_disk_at_head(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "a", NULL);
    assert_int_equal(put_code(f, TSDB_INGEST, a, 1), ERR_NONE);
    for (int i = 0; i < 3; i++) {
        head_failures = INT_MAX;
        assert_int_equal(put_code(f, TSDB_INGEST, a, 2 + i), ERR_NO_SPACE);
        assert_int_equal(put_code(f, TSDB_STATE, a, 2 + i), ERR_NO_SPACE);
        assert_int_equal(put_code(f, TSDB_INGEST, a, 2 + i), ERR_NO_SPACE);
        assert_non_null(strstr(read_name(f, "a"), "a 1:1"));
        struct buf value;
        buf_init(&value, 100);
        struct kv_store *kv = tsdb_kv(f->db);
        assert_true(kv->get(kv, KV_META, STR("format"), &value, &err));
        buf_finish(&value);
        head_failures = 0;
        assert_true(tsdb_health(f->db, &err));
        assert_int_equal(put_code(f, TSDB_INGEST, a, 2 + i), ERR_NONE);
    }
    fixture_reopen(f);
    assert_string_equal(read_name(f, "a"), "a 1:1 2:1 3:1 4:1\n");
}

/* The head page got there although its write failed: what was refused must not be there. LMDB
 * itself writes the old one back; or the store does; or that fails, too, and only a restart can
 * tell. */
static void full_disk_behind_head(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "a", NULL);
    for (int i = 0; i < 4; i++) {
        head_failures = 1 + i % 2;
        is_head_late = true;
        assert_int_equal(put_code(f, TSDB_INGEST, a, 10 + i), ERR_NO_SPACE);
        assert_true(tsdb_health(f->db, &err));
        assert_int_equal(put_code(f, TSDB_INGEST, a, 20 + i), ERR_NONE);
    }
    fixture_reopen(f);
    assert_string_equal(read_name(f, "a"), "a 20:1 21:1 22:1 23:1\n");
    head_failures = INT_MAX;
    is_head_late = true;
    a = make_series(f, "a", NULL);
    assert_int_equal(put_code(f, TSDB_INGEST, a, 30), ERR_IO);
    head_failures = 0;
    assert_int_equal(put_code(f, TSDB_INGEST, a, 31), ERR_IO);
    assert_false(tsdb_health(f->db, &err));
    assert_string_equal(read_name(f, "a"), "a 20:1 21:1 22:1 23:1\n");
}

/* The store's own environment: sealing fails at its head page and goes on later. */
static void sealing_on_full_disk(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "a", NULL);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(put_code(f, TSDB_INGEST, a, i * HOUR_MS), ERR_NONE);
    }
    const char *want = read_name(f, "a");
    for (int i = 0; i < 3; i++) {
        head_failures = INT_MAX;
        assert_false(tsdb_maintain_blocking(f->db, &err));
        assert_int_equal(err.code, ERR_NO_SPACE);
        assert_string_equal(read_name(f, "a"), want);
    }
    head_failures = 0;
    assert_true(tsdb_maintain_blocking(f->db, &err));
    assert_string_equal(read_name(f, "a"), want);
    assert_int_equal(f->db->head.open_count, 0);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "a"), want);
}

/* LMDB reports a short write as EIO; with a full disk that is want of space, not a broken disk. */
static void short_write_on_full_disk(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "a", NULL);
    struct tsdb_batch *batch = begin(f, TSDB_STATE);
    tsdb_batch_append(batch, a, 1, 1);
    is_disk_full = true;
    write_errno = EIO;
    assert_int_equal(commit_code(batch), ERR_NO_SPACE);
    write_errno = 0;
    is_disk_full = false;
    assert_true(tsdb_health(f->db, &err));
    assert_int_equal(put_code(f, TSDB_INGEST, a, 1), ERR_NONE);
}

/* Below the reserve samples of others wait, the alerting's own state goes on; reads always. */
static void reserve(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "a", NULL);
    assert_int_equal(put_code(f, TSDB_INGEST, a, 1), ERR_NONE);
    struct tsdb_batch *early = begin(f, TSDB_INGEST);
    tsdb_batch_append(early, a, 2, 1);
    is_disk_full = true;
    assert_int_equal(commit_code(early), ERR_NO_SPACE);
    assert_int_equal(put_code(f, TSDB_INGEST, a, 2), ERR_NO_SPACE);
    assert_false(tsdb_health(f->db, &err));
    assert_int_equal(err.code, ERR_NO_SPACE);
    assert_int_equal(put_code(f, TSDB_STATE, a, 2), ERR_NONE);
    assert_string_equal(read_name(f, "a"), "a 1:1 2:1\n");
    is_disk_full = false;
    assert_int_equal(put_code(f, TSDB_INGEST, a, 3), ERR_NONE);
    assert_true(tsdb_health(f->db, &err));
}

/* A failed seal keeps everything where it was. */
static void sealing_fails(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "a", NULL);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(put_code(f, TSDB_INGEST, a, i * HOUR_MS), ERR_NONE);
    }
    const char *want = read_name(f, "a");
    write_errno = ENOSPC;
    assert_false(tsdb_maintain_blocking(f->db, &err));
    assert_int_equal(err.code, ERR_NO_SPACE);
    write_errno = 0;
    assert_string_equal(read_name(f, "a"), want);
    assert_true(tsdb_maintain_blocking(f->db, &err));
    assert_string_equal(read_name(f, "a"), want);
    assert_int_equal(f->db->head.open_count, 0);
}

/* A map that is too small grows while the store is open. */
static void map_grows(void **state) {
    struct err err = ERR_INIT;
    char dir[] = "/tmp/tocsin-env-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct env env;
    struct env_params params = {
        .name = "small",
        .path = dir,
        .map_bytes = 1 << 16,
        .db_count = 1,
    };
    assert_true(env_open(&env, &params, &err));
    const char *name = "t";
    MDB_dbi dbi;
    assert_true(env_open_dbs(&env, &name, 1, &dbi, &err));
    char bytes[5000] = "x";
    size_t grown = 0;
    for (uint32_t i = 0; i < 300;) {
        MDB_txn *txn;
        assert_true(env_write_begin(&env, &txn, &err));
        MDB_val key = { .mv_size = sizeof(i), .mv_data = &i };
        MDB_val value = { .mv_size = sizeof(bytes), .mv_data = bytes };
        int rc = mdb_put(txn, dbi, &key, &value, 0);
        if (rc == 0) {
            rc = mdb_txn_commit(txn);
        } else {
            mdb_txn_abort(txn);
        }
        if (rc == MDB_MAP_FULL) {
            assert_true(env_grow(&env, &err));
            grown++;
            continue;
        }
        assert_int_equal(rc, 0);
        i++;
    }
    assert_true(grown >= 4);
    MDB_txn *txn;
    MDB_stat stat;
    assert_true(env_read_begin(&env, &txn, &err));
    assert_int_equal(mdb_stat(txn, dbi, &stat), 0);
    assert_int_equal(stat.ms_entries, 300);
    env_read_end(&env, txn);
    env_close(&env);
    remove_tree(dir);
}

/* ---- damage ---- */

static void write_sealed(struct fixture *f) {
    for (int s = 0; s < 3; s++) {
        char number[8];
        snprintf(number, sizeof(number), "%d", s);
        series_ref_t ref = make_series(f, "sealed", PAIRS("s", number));
        struct tsdb_batch *batch = begin(f, TSDB_INGEST);
        for (int i = 0; i < 200; i++) {
            tsdb_batch_append(batch, ref, i * 30000, s + i * 0.1);
        }
        assert_int_equal(commit_code(batch), ERR_NONE);
    }
    struct err err = ERR_INIT;
    for (int i = 0; i < 4; i++) {
        assert_true(tsdb_maintain_blocking(f->db, &err));
        fake_clock_advance(&f->clock, 3 * HOUR_MS);
    }
}

/* What is read is right; what damage kept out is warned of. Returns the number of warnings; the
 * first one in `ret`. */
static size_t read_checked(struct fixture *f, char *ret, size_t ret_size) {
    struct err err = ERR_INIT;
    size_t samples = 0;
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "sealed");
    struct tsdb_series_view *views;
    size_t count;
    struct tsdb_column column = { 0 };
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    for (size_t i = 0; i < count; i++) {
        assert_true(tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err));
        int64_t number = views[i].labels.items[1].value.ptr[0] - '0';
        for (size_t s = 0; s < column.count; s++) {
            assert_int_equal(column.t_ms[s] % 30000, 0);
            assert_true(column.values[s] ==
                        (double)number + (double)(column.t_ms[s] / 30000) * 0.1);
        }
        samples += column.count;
    }
    size_t warnings = tsdb_querier_warning_count(querier);
    snprintf(ret, ret_size, "%s", warnings > 0 ? tsdb_querier_warning(querier, 0) : "");
    assert_true((samples == 600) == (warnings == 0));
    tsdb_column_finish(&column);
    matcher_finish(&matcher);
    tsdb_querier_close(querier);
    return warnings;
}

static uint8_t *load_file(const char *path, size_t *ret_len) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *ret_len = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*ret_len);
    assert_int_equal(fread(bytes, 1, *ret_len, file), *ret_len);
    fclose(file);
    return bytes;
}

static void save_byte(const char *path, size_t at, uint8_t byte) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(syscall(SYS_pwrite64, fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

/* A flipped bit inside a segment, wherever it is: its chunks are left out by name, or it was not
 * concerned. */
static void flipped_bits(void **state) {
    struct fixture *f = *state;
    write_sealed(f);
    fixture_close(f);
    char path[100];
    snprintf(path, sizeof(path), "%s/store/data.mdb", f->dir);
    size_t len;
    uint8_t *bytes = load_file(path, &len);
    /* Segments are recognised by their header: version 1, a level, no segment after it. */
    size_t flips = 0;
    size_t errors = 0;
    for (size_t page = 2; page * 4096 < len; page++) {
        const uint8_t *segment = bytes + page * 4096 + 16;
        bool is_segment = segment[4] == 1 && segment[5] <= SEGMENT_TIMES && segment[6] > 0 &&
                          segment[7] == 0 && segment[12] == 0 && segment[13] == 0 &&
                          bytes_le32(segment + 8) > 40 && bytes_le32(segment + 8) < 32768;
        size_t used = is_segment ? bytes_le32(segment + 8) : 0;
        for (size_t at = 0; at < used; at += 23) {
            size_t offset = page * 4096 + 16 + at;
            save_byte(path, offset, bytes[offset] ^ 0x10);
            char warning[600];
            fixture_open(f);
            if (read_checked(f, warning, sizeof(warning)) > 0) {
                assert_non_null(strstr(warning, "sealed{s="));
                assert_non_null(strstr(warning, "1970-01-01T0"));
                errors++;
            }
            fixture_close(f);
            save_byte(path, offset, bytes[offset]);
            flips++;
        }
    }
    free(bytes);
    assert_true(flips > 10);
    assert_true(errors > 10);
    fixture_open(f);
    char warning[600];
    assert_int_equal(read_checked(f, warning, sizeof(warning)), 0);
}

struct told {
    size_t count;
    char last[600];
};

static void remember_damage(void *ctx, const char *what) {
    struct told *told = ctx;
    told->count++;
    snprintf(told->last, sizeof(told->last), "%s", what);
}

/* A damaged journal record is told, kept aside and left out; the records around it are served, and
 * writing goes on. */
static void damaged_journal(void **state) {
    struct fixture *f = *state;
    struct told told = { 0 };
    f->options.on_damage = remember_damage;
    f->options.on_damage_ctx = &told;
    series_ref_t before = make_series(f, "before", NULL);
    series_ref_t a = make_series(f, "journaled_name", NULL);
    assert_int_equal(put_sample(f, before, 1, 1), TSDB_ACCEPTED);
    struct tsdb_batch *batch = begin(f, TSDB_INGEST);
    for (int i = 0; i < 2000; i++) {
        tsdb_batch_append(batch, a, i, i * 0.5);
    }
    assert_int_equal(commit_code(batch), ERR_NONE);
    /* Steps from what the damaged record may have had: unknown until the next epoch. */
    assert_int_equal(put_sample(f, a, 3000, 7), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, before, 2, 2), TSDB_ACCEPTED);
    struct err err = ERR_INIT;
    pthread_mutex_lock(&f->db->apply);
    head_begin_epoch(&f->db->head, f->db->visible_lsn + 1);
    pthread_mutex_unlock(&f->db->apply);
    assert_int_equal(put_sample(f, a, 4000, 7), TSDB_ACCEPTED); /* its labels are lost with them */
    assert_int_equal(put_sample(f, before, 3, 3), TSDB_ACCEPTED);
    fixture_close(f);
    char path[100];
    snprintf(path, sizeof(path), "%s/journal/data.mdb", f->dir);
    size_t len;
    uint8_t *bytes = load_file(path, &len);
    uint8_t *name = memmem(bytes, len, "journaled_name", 14);
    assert_non_null(name);
    size_t offset = (size_t)(name - bytes);
    save_byte(path, offset, 'k');
    for (int i = 0; i < 2; i++) {
        told.count = 0;
        fixture_open(f);
        assert_int_equal(told.count, 4);
        assert_non_null(strstr(told.last, "1 samples"));
        struct tsdb_stats stats;
        tsdb_stats(f->db, &stats);
        assert_int_equal(stats.damage_count, 4);
        assert_string_equal(read_name(f, "before"), "before 1:1 3:3\n");
        assert_string_equal(read_name(f, "journaled_name"), "");
        fixture_close(f);
    }
    char kept[100];
    snprintf(kept, sizeof(kept), "%s/quarantine/journal-record-2", f->dir);
    assert_int_equal(access(kept, R_OK), 0);
    /* The bytes come back: so do the samples. */
    save_byte(path, offset, 'j');
    told.count = 0;
    fixture_open(f);
    assert_int_equal(told.count, 0);
    assert_true(strlen(read_name(f, "journaled_name")) > 2000);
    fixture_close(f);
    /* Damaged for good: new samples and sealing go on over it. */
    save_byte(path, offset, 'k');
    free(bytes);
    fixture_open(f);
    assert_int_equal(put_sample(f, make_series(f, "before", NULL), 4, 4), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, make_series(f, "journaled_name", NULL), 5000, 1), TSDB_ACCEPTED);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "before"), "before 1:1 3:3 4:4\n");
    assert_string_equal(read_name(f, "journaled_name"), "journaled_name 5000:1\n");
    assert_true(tsdb_maintain_blocking(f->db, &err));
    assert_string_equal(read_name(f, "before"), "before 1:1 3:3 4:4\n");
}

/* The newest record is the damaged one: its number is not given to another. */
static void damaged_last_record(void **state) {
    struct fixture *f = *state;
    struct told told = { 0 };
    f->options.on_damage = remember_damage;
    f->options.on_damage_ctx = &told;
    series_ref_t a = make_series(f, "a", NULL);
    assert_int_equal(put_sample(f, a, 1, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, make_series(f, "last_record_name", NULL), 2, 2), TSDB_ACCEPTED);
    fixture_close(f);
    char path[100];
    snprintf(path, sizeof(path), "%s/journal/data.mdb", f->dir);
    size_t len;
    uint8_t *bytes = load_file(path, &len);
    for (uint8_t *at = bytes; (at = memmem(at, len - (size_t)(at - bytes), "last_record_name", 16));
         at++) {
        save_byte(path, (size_t)(at - bytes), 'L');
    }
    free(bytes);
    fixture_open(f);
    assert_int_equal(told.count, 1);
    assert_non_null(strstr(told.last, "record 2"));
    assert_int_equal(put_sample(f, make_series(f, "a", NULL), 3, 3), TSDB_ACCEPTED);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "a"), "a 1:1 3:3\n");
}

static bool count_row(void *ctx, struct str key, struct str value) {
    (*(size_t *)ctx)++;
    assert_true(str_eq_c(key, "other"));
    return true;
}

/* A row of a table, too. */
static void damaged_table(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct kv_store *kv = tsdb_kv(f->db);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, STR("key"), STR("a value to be damaged"));
    batch->put(batch, KV_SILENCE, STR("other"), STR("a whole one"));
    assert_true(kv->commit_blocking(kv, batch, &err));
    fixture_close(f);
    char path[100];
    snprintf(path, sizeof(path), "%s/journal/data.mdb", f->dir);
    size_t len;
    uint8_t *bytes = load_file(path, &len);
    for (uint8_t *at = bytes; (at = memmem(at, len - (size_t)(at - bytes), "to be damaged", 13));
         at++) {
        save_byte(path, (size_t)(at - bytes), 'T');
    }
    free(bytes);
    fixture_open(f);
    kv = tsdb_kv(f->db);
    struct buf got;
    buf_init(&got, 100);
    assert_false(kv->get(kv, KV_SILENCE, STR("key"), &got, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    buf_finish(&got);
    /* A scan gives the rows that are whole. */
    size_t rows = 0;
    err = (struct err)ERR_INIT;
    assert_true(kv->scan(kv, KV_SILENCE, STR(""), STR(""), count_row, &rows, &err));
    assert_int_equal(rows, 1);
    char kept[100];
    snprintf(kept, sizeof(kept), "%s/quarantine/table-silence-6b6579", f->dir);
    assert_int_equal(access(kept, R_OK), 0);
}

/* Data of a format this program does not know is refused, not guessed at. */
static void newer_format(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct kv_store *kv = tsdb_kv(f->db);
    struct kv_batch *batch = kv->begin(kv);
    uint8_t row[20] = { FORMAT_VERSION + 1 };
    batch->put(batch, KV_META, STR("format"), str_n((const char *)row, sizeof(row)));
    assert_true(kv->commit_blocking(kv, batch, &err));
    fixture_close(f);
    assert_false(tsdb_open(&f->options, &f->db, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.msg, "format"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(sync_error_latches),
        TEST(write_error_latches),
        TEST(full_disk_recovers),
        TEST(full_disk_at_head),
        TEST(full_disk_behind_head),
        TEST(sealing_on_full_disk),
        TEST(short_write_on_full_disk),
        TEST(reserve),
        TEST(sealing_fails),
        cmocka_unit_test(map_grows),
        TEST(flipped_bits),
        TEST(damaged_journal),
        TEST(damaged_last_record),
        TEST(damaged_table),
        TEST(newer_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
