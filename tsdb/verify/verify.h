/*
 * The inside of tsdb_verify (tsdb.h): what its files share. verify.c opens the environments, walks
 * the journal and the tables that stand alone; verify_window.c walks one window in one transaction,
 * so that what refers to each other is seen at one moment.
 */
#pragma once

#include "tsdb/db.h"

struct verify {
    const struct tsdb_verify_visitor *visitor;
    struct tsdb_verify_totals totals;
    const char *table; /* being walked, for messages */
    struct env journal;
    MDB_dbi log;
    MDB_dbi kv_dbis[KV_TABLE_COUNT];
    struct store store;
    bool has_table[STORE_TABLE_COUNT]; /* older formats have fewer */
    int64_t block_ms;                  /* 0: not known */
    MDB_txn *txn;                      /* of the environment being walked */
    struct arena arena;                /* of one row */
};

/* Name the table in what follows. */
void verify_enter(struct verify *verify, const char *table);

/* One problem; `where` says which row ("series 7"). */
PRINTF_LIKE(3, 4)
void verify_problem(struct verify *verify, const char *where, const char *fmt, ...);

/* Look through the pages of the file in `path`. False: it must not be mapped, and either that is a
 * problem told or err is set. */
WARN_UNUSED bool verify_pages(struct verify *verify,
                              const char *path,
                              const char *name,
                              struct err *err);

/* Walk the rows of a table of the store whose keys begin with `prefix`; `check` gets the body of
 * those whose checksum is right (an empty one in tables without values). */
typedef void (*verify_row_fn)(struct verify *verify, void *ctx, struct str key, struct str body);
void verify_walk(struct verify *verify,
                 enum store_table table,
                 struct str prefix,
                 verify_row_fn check,
                 void *ctx);

/* Every window that has rows in some table. */
WARN_UNUSED bool verify_windows(struct verify *verify, struct err *err);

/* The labels of a series, in verify->arena. False when there is no whole row of it. */
bool verify_labels(struct verify *verify, uint64_t id, struct labels *ret);
