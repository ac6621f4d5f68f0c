/*
 * tsdb_verify in a process of its own, because a file that is shorter than LMDB thinks kills its
 * reader by SIGBUS: that is a finding then, with the place it happened at.
 */
#pragma once

#include "tsdb/tsdb.h"

/* As tsdb_verify. The child is this program again (`tocsin verify --child DIR`). */
WARN_UNUSED bool verify_in_child(const char *dir,
                                 const struct tsdb_verify_visitor *visitor,
                                 struct tsdb_verify_totals *ret,
                                 struct err *err);

/* The child's side: reports on stdout, one line each. Returns the exit code. */
int verify_child_main(const char *dir);
