/*
 * Rows that can be made again from what they were made of, when sealing meets a damaged one: the
 * chunk references of a series from the segments of the window, a window's counts from its rows.
 * Runs inside the caller's transaction of the store.
 */
#pragma once

#include "tsdb/parts/store.h"

/* `row` gets every chunk of the series in segments `floor` .. `end` - 1. Its newest sample in order
 * is not known (has_last false). Damaged segments are left out. */
WARN_UNUSED bool rebuild_row(struct store *store,
                             MDB_txn *txn,
                             int64_t window,
                             uint64_t id,
                             uint64_t floor,
                             uint64_t end,
                             struct store_row *row,
                             struct err *err);

/* Counts and bounds; floor and time of change, which rows do not tell, are 0. Damaged rows are left
 * out. */
WARN_UNUSED bool rebuild_window(struct store *store,
                                MDB_txn *txn,
                                int64_t window,
                                struct store_window *ret,
                                struct err *err);
