/* tocsin: the command line. A verb, sometimes two words; `serve` when the first word is a flag. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/verbs.h"
#include "base/mem.h"

struct verb {
    const char *first;
    const char *second; /* NULL = one word */
    int (*run)(int argc, char *const *argv);
    const char *usage;
    const char *help;
};

static const struct verb verbs[] = {
    { "serve", NULL, verb_serve, "[flags]", "Run the engine." },
    { "check", "config", verb_check_config, "FILE...",
      "Check configuration files (as layers) and the rule files they name." },
    { "check", "rules", verb_check_rules, "FILE...", "Check rule files." },
    { "query", "instant", verb_query_instant, "[--time=T] [-o promql|json] URL EXPR",
      "Evaluate an expression once." },
    { "query", "range", verb_query_range,
      "[--start=T] [--end=T] [--step=D] [-o promql|json] URL EXPR",
      "Evaluate an expression at every step of a range; default the last hour." },
    { "tsdb", "list", verb_tsdb_list, "[--json] [DIR]",
      "Show the windows of a data directory with their sizes." },
    { "tsdb", "analyze", verb_tsdb_analyze,
      "[--match=S]... [--min-time=T] [--max-time=T] [--limit=N] [--json] [DIR]",
      "Show which labels and metrics the data is made of, which churn, how it grows." },
    { "tsdb", "bench", verb_tsdb_bench, "[--series=N] [--samples=N] [--json] [DIR]",
      "Measure what the store does on the disk of DIR: syncs, commits, ingest, queries." },
    { "tsdb", "dump", verb_tsdb_dump, "[--match=S]... [--min-time=T] [--max-time=T] [--bits] [DIR]",
      "Print every sample of a data directory, one per line." },
    { "tsdb", "export", verb_tsdb_export,
      "[--format=openmetrics|jsonl] [-o FILE] [--match=S]... [--min-time=T] [--max-time=T] [DIR]\n"
      "        or --url=URL --format=jsonl --min-time=T [the same flags]",
      "Write samples as OpenMetrics text or as VictoriaMetrics' lines of JSON." },
    { "tsdb", "import", verb_tsdb_import,
      "[--format=openmetrics|text|jsonl] [--url=URL] FILE|- [DIR]\n"
      "        or --remote-read=URL --min-time=T [--max-time=T] [--match=S]... [--url=URL] [DIR]",
      "Write samples of a file or another server into a directory, or into a running server." },
    { "backup", "ls", verb_backup_ls, "[--json] [--check-policy] [--max-age=D] DIR",
      "List the backups in a directory; with --check-policy fail unless the newest verified one "
      "is young enough (26h)." },
    { "backup", NULL, verb_backup,
      "[--storage.path=DATA] [--skip-head] [--max-growth=SIZE] [--quiet] [--background] DIR|-",
      "Copy a data directory, also under a running server, to a new directory or as tar to "
      "standard output." },
    { "restore", NULL, verb_restore, "--into=DATA [--to=T] [--journal=SHIPDIR] [--force] BACKUP|-",
      "Make a data directory from a backup, a tar stream, or the newest fitting one of a directory "
      "of backups." },
    { "verify", NULL, verb_verify, "[--json] [DIR]",
      "Check every byte of a data directory or backup (also as `tsdb verify`)." },
    { "tsdb", "verify", verb_verify, "[--json] [DIR]", "The same." },
    { "version", NULL, verb_version, "", "Print the version." },
    { "help", NULL, verb_help, "", "Print this text." },
};

const char *process_env(void *ctx, const char *name) {
    (void)ctx;
    return getenv(name);
}

int verb_version(int argc, char *const *argv) {
    (void)argv;
    if (argc > 0) {
        fprintf(stderr, "tocsin version takes no arguments\n");
        return EXIT_USAGE;
    }
    printf("tocsin, version %s\n", TOCSIN_VERSION);
    return EXIT_FINE;
}

int verb_help(int argc, char *const *argv) {
    (void)argc;
    (void)argv;
    printf("tocsin: metrics in, alerts out, one process.\n\nUsage:\n");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        const struct verb *verb = &verbs[i];
        printf("  tocsin %s%s%s %s\n        %s\n", verb->first, verb->second == NULL ? "" : " ",
               verb->second == NULL ? "" : verb->second, verb->usage, verb->help);
    }
    CLEANUP(buf_finish) struct buf flags;
    buf_init(&flags, 1u << 16);
    options_help(&flags);
    printf("\nFlags of serve (each also as an environment variable: --web.listen-address is\n"
           "TOCSIN_WEB_LISTEN_ADDRESS):\n%s",
           flags.ptr);
    return EXIT_FINE;
}

static const struct verb *find_verb(int argc, char *const *argv, int *ret_words) {
    struct str first = str_from(argc > 1 ? argv[1] : "");
    struct str second = str_from(argc > 2 ? argv[2] : "");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        const struct verb *verb = &verbs[i];
        if (str_eq_c(first, verb->first) &&
            (verb->second == NULL || str_eq_c(second, verb->second))) {
            *ret_words = verb->second == NULL ? 1 : 2;
            return verb;
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    mem_configure();
    struct str first = str_from(argc > 1 ? argv[1] : "serve");
    if (str_eq(first, STR("-h")) || str_eq(first, STR("--help"))) {
        return verb_help(0, NULL);
    }
    if (str_eq(first, STR("--version"))) {
        return verb_version(0, NULL);
    }
    if (argc == 1 || str_starts_with(first, STR("--"))) {
        return verb_serve(argc - 1, argv + 1);
    }
    int words = 0;
    const struct verb *verb = find_verb(argc, argv, &words);
    if (verb == NULL) {
        fprintf(stderr, "tocsin: unknown verb \"%s%s%s\" (see tocsin help)\n", argv[1],
                argc > 2 ? " " : "", argc > 2 ? argv[2] : "");
        return EXIT_USAGE;
    }
    return verb->run(argc - 1 - words, argv + 1 + words);
}
