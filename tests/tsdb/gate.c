/* See gate.h. */
#include "tests/tsdb/gate.h"

#include <stdio.h>
#include <stdlib.h>

#define DAMAGED_NAME "to_be_damaged"

static void hold_replay(void *ctx, uint64_t lsn) {
    struct gate *gate = ctx;
    if (atomic_exchange(&gate->holds_next, false)) {
        sem_post(&gate->reached);
        sem_wait(&gate->passed);
    }
}

/* Change `text` in the journal behind the store's back. */
static void damage_journal(struct fixture *f, const char *text) {
    char path[100];
    snprintf(path, sizeof(path), "%s/journal/data.mdb", f->dir);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size_t len = (size_t)ftell(file);
    char *bytes = malloc(len);
    rewind(file);
    assert_int_equal(fread(bytes, 1, len, file), len);
    size_t found = 0;
    for (char *at = bytes; (at = memmem(at, len - (size_t)(at - bytes), text, strlen(text)));
         at++) {
        assert_int_equal(fseek(file, at - bytes, SEEK_SET), 0);
        assert_int_equal(fputc('#', file), '#');
        found++;
    }
    assert_true(found > 0);
    fclose(file);
    free(bytes);
}

void gate_damage(struct gate *gate) {
    struct fixture *f = &gate->f;
    assert_int_equal(put_sample(f, make_series(f, DAMAGED_NAME, NULL), 1, 1), TSDB_ACCEPTED);
    fixture_close(f);
    damage_journal(f, DAMAGED_NAME);
}

void gate_init(struct gate *gate) {
    struct fixture *f = &gate->f;
    sem_init(&gate->reached, 0, 0);
    sem_init(&gate->passed, 0, 0);
    fixture_init(f);
    fixture_open(f);
    assert_int_equal(put_sample(f, make_series(f, "a", NULL), 1, 1), TSDB_ACCEPTED);
    fixture_reopen(f);
    assert_int_equal(put_sample(f, make_series(f, "a", NULL), 2, 2), TSDB_ACCEPTED);
    fixture_close(f);
}

void gate_finish(struct gate *gate) {
    fixture_finish(&gate->f);
    sem_destroy(&gate->reached);
    sem_destroy(&gate->passed);
}

void gate_open_held(struct gate *gate) {
    struct err err = ERR_INIT;
    atomic_store(&gate->holds_next, true);
    gate->f.options.on_replay = hold_replay;
    gate->f.options.on_replay_ctx = gate;
    assert_true(tsdb_open(&gate->f.options, &gate->f.db, &err));
    sem_wait(&gate->reached);
    gate->f.options.on_replay = NULL;
}

void gate_pass(struct gate *gate) {
    struct err err = ERR_INIT;
    sem_post(&gate->passed);
    assert_true(tsdb_wait_ready(gate->f.db, &err));
}
