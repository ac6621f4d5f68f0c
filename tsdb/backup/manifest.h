/*
 * manifest.json of a backup: what it holds, how large each file is, its SHA-256. It is written
 * last, so a directory or stream without it is no backup. The last member is a CRC-32C over the
 * bytes before it.
 */
#pragma once

#include "base/buf.h"
#include "tsdb/tsdb.h"

#define MANIFEST_NAME      "manifest.json"
#define MANIFEST_BYTES_MAX (1u << 20)
#define MANIFEST_VERSION   1

void manifest_print(const struct tsdb_backup_info *info, struct buf *out);
/* ERR_CORRUPT, ERR_INVALID (a newer version). */
WARN_UNUSED bool manifest_parse(struct str text, struct tsdb_backup_info *ret, struct err *err);
