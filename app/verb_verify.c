/* tocsin verify: is everything in a data directory or backup what was written? */
#include <stdio.h>

#include "app/tool.h"
#include "app/verify_backup.h"
#include "app/verify_child.h"
#include "base/json.h"
#include "base/mem.h"

#define EXIT_UNCHECKED     2 /* as wrong usage: nothing is known */
#define PROBLEMS_SHOWN_MAX 1000

struct verify_args {
    bool is_json;
    bool is_child;
};

struct printer {
    bool is_json;
    struct json_writer json;
    uint64_t count;
};

static void print_problem(void *ctx, const char *place, const char *what) {
    struct printer *printer = ctx;
    if (++printer->count > PROBLEMS_SHOWN_MAX) {
        return;
    }
    if (!printer->is_json) {
        printf("%s: %s\n", place, what);
        return;
    }
    json_object(&printer->json);
    json_key(&printer->json, "place");
    json_str(&printer->json, str_from(place));
    json_key(&printer->json, "problem");
    json_str(&printer->json, str_from(what));
    json_object_end(&printer->json);
}

static const struct {
    const char *key;
    const char *text;
    size_t offset;
} counts[] = {
    { "tableRows", "rows of tables", offsetof(struct tsdb_verify_totals, table_rows) },
    { "journalRecords", "journal records", offsetof(struct tsdb_verify_totals, journal_records) },
    { "journalSamples", "journal samples", offsetof(struct tsdb_verify_totals, journal_samples) },
    { "series", "series", offsetof(struct tsdb_verify_totals, series) },
    { "windows", "windows", offsetof(struct tsdb_verify_totals, windows) },
    { "rows", "rows", offsetof(struct tsdb_verify_totals, rows) },
    { "segments", "segments", offsetof(struct tsdb_verify_totals, segments) },
    { "chunks", "chunks", offsetof(struct tsdb_verify_totals, chunks) },
    { "samples", "samples", offsetof(struct tsdb_verify_totals, samples) },
    { "problemCount", "problems", offsetof(struct tsdb_verify_totals, problems) },
};

static uint64_t count_of(const struct tsdb_verify_totals *totals, size_t i) {
    return *(const uint64_t *)(const void *)((const char *)totals + counts[i].offset);
}

static void print_totals(struct printer *printer, const struct tsdb_verify_totals *totals) {
    if (printer->is_json) {
        json_array_end(&printer->json);
        for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
            json_key(&printer->json, counts[i].key);
            json_u64(&printer->json, count_of(totals, i));
        }
        json_object_end(&printer->json);
        return;
    }
    if (printer->count > PROBLEMS_SHOWN_MAX) {
        printf("%llu more problems are not shown\n",
               (unsigned long long)(printer->count - PROBLEMS_SHOWN_MAX));
    }
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        printf("%s%llu %s", i == 0 ? "" : ", ", (unsigned long long)count_of(totals, i),
               counts[i].text);
    }
    putchar('\n');
}

static int check(const char *dir, bool is_json) {
    CLEANUP(buf_finish) struct buf out;
    buf_init(&out, 8u << 20);
    struct printer printer = { .is_json = is_json };
    struct tsdb_verify_visitor visitor = { .problem = print_problem, .ctx = &printer };
    struct tsdb_verify_totals totals;
    struct err err = ERR_INIT;
    if (is_json) {
        json_init(&printer.json, &out);
        json_object(&printer.json);
        json_key(&printer.json, "problems");
        json_array(&printer.json);
    }
    bool is_backup;
    if (!verify_directory(dir, &visitor, &totals, &is_backup, &err)) {
        (void)tool_fail(&err);
        return EXIT_UNCHECKED;
    }
    print_totals(&printer, &totals);
    if (is_json) {
        printf("%.*s\n", STR_FMT(buf_as_str(&out)));
    }
    if (is_backup && !is_json) {
        printf("%s\n", totals.problems == 0 ? "The backup is whole and now marked as verified"
                                            : "The backup is damaged");
    }
    return totals.problems == 0 ? EXIT_FINE : EXIT_FAILED;
}

int verb_verify(int argc, char *const *argv) {
    static const struct tool_flag flags[] = {
        { "--json", TOOL_BOOL, offsetof(struct verify_args, is_json) },
        { "--child", TOOL_BOOL, offsetof(struct verify_args, is_child) },
    };
    static const struct tool_usage usage = { "verify", flags, ARRAY_LEN(flags), 1 };
    struct verify_args args = { 0 };
    struct str dir = TOOL_DIR_DEFAULT;
    size_t operand_count;
    if (!tool_parse(&usage, argc, argv, &args, &dir, &operand_count)) {
        return EXIT_USAGE;
    }
    char *path = mem_strndup(dir.ptr, dir.len);
    int code = args.is_child ? verify_child_main(path) : check(path, args.is_json);
    mem_free(path);
    return code;
}
