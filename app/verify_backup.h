/* The part of tocsin verify that knows backups: manifest, checksums, counts. */
#pragma once

#include "tsdb/tsdb.h"

/*
 * verify_in_child, and when `dir` is a backup, its files against the manifest as well; what differs
 * is a problem. A backup without any is marked as verified; *ret_is_backup tells.
 */
WARN_UNUSED bool verify_directory(const char *dir,
                                  const struct tsdb_verify_visitor *visitor,
                                  struct tsdb_verify_totals *ret,
                                  bool *ret_is_backup,
                                  struct err *err);
