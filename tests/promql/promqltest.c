/*
 * promqltest [--list-skips] [--green LIST] [--directory DIR] [FILE…]
 *
 * Runs scripts and prints, per file, how many evaluations passed, failed and were skipped; as TAP,
 * one test per file. LIST names the files that must be green, one per line with the number of
 * skips it may have: more skips are a failure, so that they cannot grow unseen. With a list, files
 * that are not on it are run for information only. DIR stands for all .test files in it; when it
 * does not exist the whole test is skipped.
 */
#include "tests/promql/promqltest.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define FILE_BYTES_MAX (16 * 1024 * 1024)
#define FILES_MAX      1024

struct totals {
    size_t passed;
    size_t failed;
    size_t skips[PQT_SKIP_COUNT];
};

struct options {
    bool lists_skips;
    const char *green_path;
    const char *directory;
    char *files[FILES_MAX]; /* owned */
    size_t file_count;
};

/* ---- files ---- */

static bool read_file(const char *path, struct buf *ret, struct err *err) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return err_set_errno(err, ERR_IO, errno, "opening %s", path);
    }
    char chunk[65536];
    size_t len;
    while ((len = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        buf_append(ret, chunk, len);
    }
    bool is_read = !ferror(file) && !ret->is_over;
    fclose(file);
    return is_read || err_set(err, ERR_IO, "reading %s failed", path);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static int compare_paths(const void *a, const void *b) {
    const char *const *left = a;
    const char *const *right = b;
    return strcmp(*left, *right);
}

static void add_file(struct options *options, char *path) {
    if (options->file_count == FILES_MAX) {
        fprintf(stderr, "promqltest: more than %d files\n", FILES_MAX);
        exit(2);
    }
    options->files[options->file_count++] = path;
}

/* False when there is no such directory. */
static bool add_directory(struct options *options, const char *path) {
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return false;
    }
    size_t first = options->file_count;
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (!str_ends_with(str_from(entry->d_name), STR(".test"))) {
            continue;
        }
        size_t bytes = strlen(path) + strlen(entry->d_name) + 2;
        char *file = mem_alloc(bytes);
        snprintf(file, bytes, "%s/%s", path, entry->d_name);
        add_file(options, file);
    }
    closedir(dir);
    qsort(&options->files[first], options->file_count - first, sizeof(char *), compare_paths);
    return true;
}

/* ---- running a script ---- */

struct run {
    const struct options *options;
    const char *name;
    struct pqt_store store;
    bool is_open;
    struct totals totals;
};

static void report_failure(struct run *run, size_t line, const char *text) {
    run->totals.failed++;
    printf("# %s:%zu: %s\n", run->name, line, text);
}

static bool ensure_open(struct run *run, size_t line) {
    struct err err = ERR_INIT;
    if (!run->is_open) {
        run->is_open = pqt_store_open(&run->store, &err);
        if (!run->is_open) {
            report_failure(run, line, err.msg);
        }
    }
    return run->is_open;
}

static void close_store(struct run *run) {
    if (run->is_open) {
        pqt_store_close(&run->store);
        run->is_open = false;
    }
}

static void run_eval(struct run *run, const struct pqt_command *command) {
    struct err err = ERR_INIT;
    enum pqt_skip skip = PQT_SKIP_NONE;
    switch (pqt_eval_run(&command->eval, &run->store, &skip, &err)) {
    case PQT_PASSED: run->totals.passed++; return;
    case PQT_SKIPPED:
        run->totals.skips[skip]++;
        if (run->options->lists_skips) {
            printf("# %s:%zu: skipped, %s: %.*s\n", run->name, command->line,
                   pqt_skip_to_string(skip), STR_FMT(command->eval.expr));
        }
        return;
    case PQT_FAILED:
        report_failure(run, command->line, err.msg);
        printf("#   %.*s\n", STR_FMT(command->eval.expr));
        return;
    }
}

static void run_command(struct run *run, const struct pqt_command *command) {
    struct err err = ERR_INIT;
    if (command->kind == PQT_CLEAR) {
        close_store(run);
        return;
    }
    if (!ensure_open(run, command->line)) {
        return;
    }
    if (command->kind == PQT_EVAL) {
        run_eval(run, command);
    } else if (!pqt_store_load(&run->store, &command->load, &err)) {
        report_failure(run, command->line, err.msg);
    }
}

static struct totals run_file(const struct options *options, const char *path) {
    struct run run = { .options = options, .name = base_name(path) };
    struct err err = ERR_INIT;
    struct buf text;
    struct pqt_script script;
    buf_init(&text, FILE_BYTES_MAX);
    if (!read_file(path, &text, &err) || !pqt_script_parse(buf_as_str(&text), &script, &err)) {
        report_failure(&run, 0, err.msg);
        buf_finish(&text);
        return run.totals;
    }
    for (size_t i = 0; i < script.count; i++) {
        run_command(&run, &script.commands[i]);
    }
    close_store(&run);
    pqt_script_finish(&script);
    buf_finish(&text);
    return run.totals;
}

/* ---- verdicts ---- */

static size_t count_skips(const struct totals *totals) {
    size_t count = 0;
    for (size_t i = 0; i < PQT_SKIP_COUNT; i++) {
        count += totals->skips[i];
    }
    return count;
}

static void print_skips(const struct totals *totals) {
    for (size_t i = 0; i < PQT_SKIP_COUNT; i++) {
        if (totals->skips[i] > 0) {
            printf("#   skipped %zu: %s\n", totals->skips[i], pqt_skip_to_string((enum pqt_skip)i));
        }
    }
}

/* The next line "NAME SKIPS" of the list. */
static bool next_green(struct str *list, struct str *ret_name, uint64_t *ret_skips) {
    while (list->len > 0) {
        struct str line;
        struct str number;
        str_cut(*list, '\n', &line, list);
        str_cut(line, ' ', ret_name, &number);
        if (!str_starts_with(line, STR("#")) && str_parse_u64(number, ret_skips)) {
            return true;
        }
    }
    return false;
}

/* False when the file is not on the list. */
static bool find_green(struct str list, const char *name, uint64_t *ret_skips) {
    struct str listed;
    while (next_green(&list, &listed, ret_skips)) {
        if (str_eq_c(listed, name)) {
            return true;
        }
    }
    return false;
}

/* A listed file that was renamed or lost would otherwise go unnoticed. */
static bool report_missing(const struct options *options, struct str list) {
    bool is_complete = true;
    struct str listed;
    uint64_t skips;
    while (next_green(&list, &listed, &skips)) {
        bool is_there = false;
        for (size_t i = 0; i < options->file_count && !is_there; i++) {
            is_there = str_eq_c(listed, base_name(options->files[i]));
        }
        if (!is_there) {
            printf("# %.*s is on the green list but was not run\n", STR_FMT(listed));
            is_complete = false;
        }
    }
    return is_complete;
}

static bool report_file(size_t number,
                        const char *name,
                        const struct totals *totals,
                        const struct str *list) {
    size_t skipped = count_skips(totals);
    uint64_t skips_max = SIZE_MAX;
    bool is_listed = list == NULL || find_green(*list, name, &skips_max);
    bool is_green = totals->failed == 0 && skipped <= skips_max;
    printf("%s %zu - %s: %zu passed, %zu failed, %zu skipped%s\n",
           is_green || !is_listed ? "ok" : "not ok", number, name, totals->passed, totals->failed,
           skipped, is_listed ? "" : " # SKIP not on the green list");
    print_skips(totals);
    if (is_listed && skipped > skips_max) {
        printf("#   more skips than the %" PRIu64 " on the green list\n", skips_max);
    } else if (is_listed && list != NULL && skipped < skips_max) {
        printf("#   fewer skips than the %" PRIu64 " on the green list: lower it\n", skips_max);
    }
    fflush(stdout);
    return is_green || !is_listed;
}

static bool parse_options(int argc, char **argv, struct options *options) {
    for (int i = 1; i < argc; i++) {
        struct str arg = str_from(argv[i]);
        if (str_eq_c(arg, "--list-skips")) {
            options->lists_skips = true;
        } else if (str_eq_c(arg, "--green") && i + 1 < argc) {
            options->green_path = argv[++i];
        } else if (str_eq_c(arg, "--directory") && i + 1 < argc) {
            options->directory = argv[++i];
        } else if (str_starts_with(arg, STR("-"))) {
            fprintf(stderr, "usage: promqltest [--list-skips] [--green LIST] [--directory DIR]"
                            " [FILE…]\n");
            return false;
        } else {
            add_file(options, mem_strdup(argv[i]));
        }
    }
    return true;
}

static bool run_files(const struct options *options, const struct str *list) {
    bool is_fine = true;
    struct totals all = { .passed = 0 };
    printf("1..%zu\n", options->file_count);
    for (size_t i = 0; i < options->file_count; i++) {
        struct totals totals = run_file(options, options->files[i]);
        is_fine = report_file(i + 1, base_name(options->files[i]), &totals, list) && is_fine;
        all.passed += totals.passed;
        all.failed += totals.failed;
        all.skips[0] += count_skips(&totals);
    }
    printf("# total: %zu passed, %zu failed, %zu skipped\n", all.passed, all.failed, all.skips[0]);
    return list == NULL ? is_fine : report_missing(options, *list) && is_fine;
}

int main(int argc, char **argv) {
    struct options options = { .lists_skips = false };
    struct err err = ERR_INIT;
    struct buf green;
    int status = 2;
    buf_init(&green, FILE_BYTES_MAX);
    if (!parse_options(argc, argv, &options)) {
        status = 2;
    } else if (options.directory != NULL && !add_directory(&options, options.directory)) {
        printf("1..0 # SKIP upstream's files are not there: %s\n", options.directory);
        status = 0;
    } else if (options.green_path != NULL && !read_file(options.green_path, &green, &err)) {
        fprintf(stderr, "promqltest: %s\n", err.msg);
    } else {
        struct str list = buf_as_str(&green);
        status = run_files(&options, options.green_path == NULL ? NULL : &list) ? 0 : 1;
    }
    for (size_t i = 0; i < options.file_count; i++) {
        mem_free(options.files[i]);
    }
    buf_finish(&green);
    return status;
}
