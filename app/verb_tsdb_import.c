/* tocsin tsdb import: a file, a pipe or another server into a directory or a running server. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/import.h"
#include "base/mem.h"

struct import_args {
    struct tool_range range;
    struct str format;
    struct str url;         /* empty: into a directory */
    struct str remote_read; /* empty: from a file */
    struct str file;
    struct str dir;
};

/* ---- files ---- */

struct mapping {
    void *bytes;
    size_t len;
};

/* A pipe has no pages to map: its bytes go to a file without a name first. */
static bool spool(int *fd, struct err *err) {
    FILE *file = tmpfile();
    if (file == NULL) {
        return err_set_errno(err, ERR_IO, errno, "creating a temporary file");
    }
    char *block = mem_alloc(1u << 20);
    ssize_t got;
    bool is_ok = true;
    while (is_ok && (got = read(*fd, block, 1u << 20)) != 0) {
        is_ok = got > 0 ? fwrite(block, 1, (size_t)got, file) == (size_t)got : errno == EINTR;
    }
    is_ok = is_ok && fflush(file) == 0;
    mem_free(block);
    if (!is_ok) {
        err_set_errno(err, ERR_IO, errno, "reading the input into a temporary file");
    }
    int copy = is_ok ? dup(fileno(file)) : -1;
    (void)fclose(file);
    close(*fd);
    *fd = copy;
    return is_ok && (copy >= 0 || err_set_errno(err, ERR_IO, errno, "a temporary file"));
}

static bool map_file(const char *path, struct mapping *ret, struct err *err) {
    *ret = (struct mapping){ 0 };
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        err_set_errno(err, ERR_IO, errno, "opening %s", path);
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    bool is_ok = S_ISREG(st.st_mode) || spool(&fd, err);
    if (is_ok && fstat(fd, &st) != 0) {
        is_ok = err_set_errno(err, ERR_IO, errno, "opening %s", path);
    }
    if (is_ok && st.st_size > 0) {
        ret->len = (size_t)st.st_size;
        ret->bytes = mmap(NULL, ret->len, PROT_READ, MAP_PRIVATE, fd, 0);
        if (ret->bytes == MAP_FAILED) {
            ret->bytes = NULL;
            is_ok = err_set_errno(err, ERR_IO, errno, "mapping %s", path);
        } else {
            (void)madvise(ret->bytes, ret->len, MADV_SEQUENTIAL);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return is_ok;
}

static void unmap_file(struct mapping *mapping) {
    if (mapping->bytes != NULL) {
        munmap(mapping->bytes, mapping->len);
    }
}

static bool parse_format(struct str text, enum ingest_file_format *ret, struct err *err) {
    static const char *const names[INGEST_FILE_FORMAT_COUNT] = {
        [INGEST_FILE_OPENMETRICS] = "openmetrics",
        [INGEST_FILE_TEXT] = "text",
        [INGEST_FILE_JSONL] = "jsonl",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq_c(text, names[i])) {
            *ret = (enum ingest_file_format)i;
            return true;
        }
    }
    return err_set(err, ERR_INVALID, "--format is openmetrics, text or jsonl, not \"%.*s\"",
                   STR_FMT(text));
}

static bool read_file(const struct import_args *args, struct importer *importer, struct err *err) {
    enum ingest_file_format format;
    struct mapping mapping = { 0 };
    bool is_ok =
        parse_format(args->format, &format, err) && map_file(args->file.ptr, &mapping, err);
    is_ok =
        is_ok && ingest_read_file(format, importer->source,
                                  str_n(mapping.bytes == NULL ? "" : mapping.bytes, mapping.len),
                                  importer_take, importer, err);
    unmap_file(&mapping);
    return is_ok;
}

/* ---- the verb ---- */

/* Operands: FILE unless another server is read, then DIR unless one is written to. */
static bool assign_operands(struct import_args *args,
                            const struct str *operands,
                            size_t count,
                            struct err *err) {
    size_t at = 0;
    args->dir = TOOL_DIR_DEFAULT;
    if (args->remote_read.len == 0) {
        if (count == 0) {
            return err_set(err, ERR_INVALID, "name a FILE (- is stdin) or --remote-read=URL");
        }
        args->file = operands[at++];
    } else if (args->range.t_min_ms == INT64_MIN) {
        return err_set(err, ERR_INVALID, "--remote-read needs --min-time");
    }
    if (at < count && args->url.len == 0) {
        args->dir = operands[at++];
    }
    enum ingest_file_format ignored;
    return at == count
               ? parse_format(args->format, &ignored, err)
               : err_set(err, ERR_INVALID, "unexpected argument \"%.*s\"", STR_FMT(operands[at]));
}

static int run(struct import_args *args) {
    bool is_file = args->remote_read.len == 0;
    const char *source = !is_file                    ? args->remote_read.ptr
                         : str_eq_c(args->file, "-") ? "stdin"
                                                     : args->file.ptr;
    struct err err = ERR_INIT;
    struct importer importer;
    bool is_open = args->url.len > 0 ? importer_open_url(&importer, source, args->url, &err)
                                     : importer_open_dir(&importer, source, args->dir, &err);
    if (!is_open) {
        importer_close(&importer);
        return tool_fail(&err);
    }
    bool is_read = is_file ? read_file(args, &importer, &err)
                           : tool_read_remote(source, &args->range, importer_take, &importer, &err);
    if (!is_read) {
        fprintf(stderr, "tocsin: %s\n", err.msg);
    }
    /* What was read before the fault is kept: the next run finds it there. */
    struct err late = ERR_INIT;
    bool is_kept = importer_finish(&importer, &late);
    if (!is_kept) {
        fprintf(stderr, "tocsin: %s\n", late.msg);
    }
    bool is_clean = importer_report(&importer);
    importer_close(&importer);
    if (is_read && is_kept) {
        return is_clean ? EXIT_FINE : EXIT_FAILED;
    }
    enum err_code code = is_read ? late.code : err.code;
    return code == ERR_UNAVAILABLE ? EXIT_UNREACHABLE : EXIT_FAILED;
}

int verb_tsdb_import(int argc, char *const *argv) {
    static const struct tool_flag flags[] = {
        { "--format", TOOL_TEXT, offsetof(struct import_args, format) },
        { "--url", TOOL_TEXT, offsetof(struct import_args, url) },
        { "--remote-read", TOOL_TEXT, offsetof(struct import_args, remote_read) },
        { "--match", TOOL_LIST, offsetof(struct import_args, range.match) },
        { "--min-time", TOOL_TIME, offsetof(struct import_args, range.t_min_ms) },
        { "--max-time", TOOL_TIME, offsetof(struct import_args, range.t_max_ms) },
    };
    static const struct tool_usage usage = { "tsdb import", flags, ARRAY_LEN(flags), 2 };

    struct import_args args = { .range = TOOL_RANGE_INIT, .format = STR("openmetrics") };
    struct str operands[2];
    size_t count = 0;
    struct err err = ERR_INIT;
    int code = EXIT_USAGE;
    if (tool_parse(&usage, argc, argv, &args, operands, &count)) {
        if (assign_operands(&args, operands, count, &err)) {
            code = run(&args);
        } else {
            fprintf(stderr, "tocsin tsdb import: %s\n", err.msg);
        }
    }
    string_list_finish(&args.range.match);
    return code;
}
