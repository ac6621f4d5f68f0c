/*
 * What the crash tests share: opening a directory in a child process, comparing it with the truth,
 * writing on and comparing again; seeds; small file work.
 */
#pragma once

#include "tests/crash/oracle.h"

struct rig_check {
    const char *dir;
    uint64_t acked;       /* batches acknowledged: must be there */
    uint64_t submitted;   /* batches handed over: more must not be there */
    unsigned more;        /* batches to write afterwards */
    bool has_deletions;   /* those after acknowledged batches may be half done, too */
    bool has_maintenance; /* seal, index and delete between them */
    bool has_reopening;   /* and look once more after closing */
};

/* In memory shared with the child. */
struct rig_verdict {
    bool is_ok;
    uint64_t n;        /* batches durable when found */
    uint64_t n_end;    /* … when left */
    uint64_t samples;  /* compared */
    char message[800]; /* what is wrong */
};

struct rig_verdict *rig_verdict_create(void);

/* The oracle stands at or before check->acked and stays as it is: advance it to verdict->n_end. */
bool rig_run(const struct oracle *oracle,
             const struct rig_check *check,
             struct rig_verdict *verdict);
/* The same in this process. */
void rig_run_here(struct oracle *oracle,
                  const struct rig_check *check,
                  struct rig_verdict *verdict);

/* Run a program without its output; its wait status, -1 when it does not start. */
int rig_spawn(char *const *argv);
/* `tocsin verify DIR` finds nothing. */
bool rig_verify(const char *tocsin, const char *dir);

/* A work directory, in memory when the machine offers that; mem_free the name. */
char *rig_work_dir(const char *name);
void rig_remove_tree(const char *dir);
/* The last number in a file of lines that are numbers; 0 when there is none. */
uint64_t rig_last_line(const char *path);

/* "--name value" or "--name" among the arguments; NULL when it is not there. */
const char *rig_option(int argc, char **argv, const char *name);
uint64_t rig_number(int argc, char **argv, const char *name, uint64_t otherwise);
bool rig_flag(int argc, char **argv, const char *name);
