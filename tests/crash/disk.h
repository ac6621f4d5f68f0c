/*
 * A disk as a power loss may leave it, from a trace (trace.h): what was synced is there; every
 * write since may be there or not, in parts of pages or of 512-byte sectors; names appear, move and
 * vanish for good only when their directory is synced, before that in the order they were made.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/crash/trace.h"

#define DISK_SECTOR 512
#define DISK_PAGE   4096

struct disk;

struct disk *disk_create(void);
void disk_destroy(struct disk *disk);

/* Start from the files below `root` as they are, all of it durable. */
void disk_load(struct disk *disk, const char *root);

/* A change was made, but is not durable yet (of syncs: nothing). `bytes` must outlive the disk. */
void disk_change(struct disk *disk, const struct trace_record *record, const uint8_t *bytes);
/* The call returned: what it made durable is. After disk_change() of the same record. */
void disk_settle(struct disk *disk, const struct trace_record *record, const uint8_t *bytes);

enum disk_kind {
    DISK_NONE,    /* nothing but what is durable */
    DISK_ALL,     /* everything, as a killed process leaves it */
    DISK_PREFIX,  /* changes in order up to one of them, which is torn at a sector */
    DISK_PAGES,   /* any pages */
    DISK_SECTORS, /* any sectors */
};

struct disk_choice {
    enum disk_kind kind;
    uint64_t seed; /* which of them */
};

const char *disk_kind_to_string(enum disk_kind kind);

/* Decide what is there; a hash of the outcome. */
uint64_t disk_choose(struct disk *disk, struct disk_choice choice);
/* Write the outcome to a directory, which is emptied first. */
void disk_build(const struct disk *disk, const char *root);
