/* The recorded corpus as a longer recording than it is; see disk_recorded.c. */
#pragma once

#include "bench/recorded.h"

/* Write it `rounds` times in a row into a new store, settle it, say what the directory takes. */
void disk_recorded(const struct recorded *recorded, size_t rounds, bool with_tables);
