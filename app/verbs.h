/*
 * The verbs of the command line. Each takes what follows its words and returns the exit code:
 * 0 fine, 1 the check or the request failed, 2 wrong usage, 4 the server cannot be reached.
 */
#pragma once

#include "app/options.h"

enum exit_code {
    EXIT_FINE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_UNREACHABLE = 4,
};

int verb_serve(int argc, char *const *argv);
int verb_check_config(int argc, char *const *argv);
int verb_check_rules(int argc, char *const *argv);
int verb_query_instant(int argc, char *const *argv);
int verb_query_range(int argc, char *const *argv);
int verb_tsdb_analyze(int argc, char *const *argv);
int verb_tsdb_bench(int argc, char *const *argv);
int verb_tsdb_list(int argc, char *const *argv);
int verb_tsdb_dump(int argc, char *const *argv);
int verb_tsdb_export(int argc, char *const *argv);
int verb_tsdb_import(int argc, char *const *argv);
int verb_backup(int argc, char *const *argv);
int verb_backup_ls(int argc, char *const *argv);
int verb_restore(int argc, char *const *argv);
int verb_verify(int argc, char *const *argv);
int verb_version(int argc, char *const *argv);
int verb_help(int argc, char *const *argv);

/* The process environment as an env_fn. */
const char *process_env(void *ctx, const char *name);
