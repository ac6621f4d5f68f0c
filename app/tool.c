/* Flags and output of the offline tools. */
#include "app/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/duration.h"
#include "base/mem.h"

#define FLUSH_BYTES ((size_t)256 << 10)

/* ---- flags ---- */

static bool parse_time(struct str text, int64_t *ret_ms, struct err *err) {
    return str_parse_i64(text, ret_ms) || rfc3339_to_ms(text, ret_ms) ||
           err_set(err, ERR_INVALID,
                   "expected Unix milliseconds or a time like 2026-01-02T03:04:05Z, got \"%.*s\"",
                   STR_FMT(text));
}

static bool set_flag(const struct tool_flag *flag, void *args, struct str text, struct err *err) {
    void *at = (char *)args + flag->offset;
    switch (flag->type) {
    case TOOL_TEXT: *(struct str *)at = text; return true;
    case TOOL_LIST: string_list_add(at, text); return true;
    case TOOL_BOOL: *(bool *)at = true; return true;
    case TOOL_COUNT:
        return str_parse_u64(text, at) ||
               err_set(err, ERR_INVALID, "not a whole number: \"%.*s\"", STR_FMT(text));
    case TOOL_DURATION: return duration_parse(text, at, err);
    case TOOL_TIME: return parse_time(text, at, err);
    }
    BUG("flag type %d", (int)flag->type);
}

static bool unknown_flag(const struct tool_usage *usage, struct str name, struct err *err) {
    const char *names[32];
    size_t count = 0;
    for (; count < usage->flag_count && count < ARRAY_LEN(names); count++) {
        names[count] = usage->flags[count].name;
    }
    const char *near = str_nearest(name, names, count);
    return err_set(err, ERR_INVALID, "unknown flag %.*s%s%s (see tocsin help)", STR_FMT(name),
                   near == NULL ? "" : ", did you mean ", near == NULL ? "" : near);
}

/* argv[*index] is a flag; *index moves to its last word. */
static bool take_flag(const struct tool_usage *usage,
                      int argc,
                      char *const *argv,
                      int *index,
                      void *args,
                      struct err *err) {
    struct str name;
    struct str value;
    bool has_value = str_cut(str_from(argv[*index]), '=', &name, &value);
    const struct tool_flag *flag = NULL;
    for (size_t i = 0; flag == NULL && i < usage->flag_count; i++) {
        flag = str_eq_c(name, usage->flags[i].name) ? &usage->flags[i] : NULL;
    }
    if (flag == NULL) {
        return unknown_flag(usage, name, err);
    }
    if (flag->type == TOOL_BOOL && has_value) {
        return err_set(err, ERR_INVALID, "%s takes no value", flag->name);
    }
    if (flag->type != TOOL_BOOL && !has_value) {
        if (*index + 1 >= argc) {
            return err_set(err, ERR_INVALID, "%s needs a value", flag->name);
        }
        value = str_from(argv[++*index]);
    }
    return set_flag(flag, args, value, err) || err_wrap(err, "%s", flag->name);
}

bool tool_parse(const struct tool_usage *usage,
                int argc,
                char *const *argv,
                void *args,
                struct str *operands,
                size_t *ret_operand_count) {
    struct err err = ERR_INIT;
    bool is_ok = true;
    size_t count = 0;
    for (int i = 0; is_ok && i < argc; i++) {
        bool is_flag = argv[i][0] == '-' && argv[i][1] != '\0';
        if (is_flag) {
            is_ok = take_flag(usage, argc, argv, &i, args, &err);
        } else if (count == usage->operands_max) {
            is_ok = err_set(&err, ERR_INVALID, "unexpected argument \"%s\"", argv[i]);
        } else {
            operands[count++] = str_from(argv[i]);
        }
    }
    if (!is_ok) {
        fprintf(stderr, "tocsin %s: %s\n", usage->verb, err.msg);
    }
    if (ret_operand_count != NULL) {
        *ret_operand_count = count;
    }
    return is_ok;
}

int tool_fail(const struct err *err) {
    fprintf(stderr, "tocsin: %s\n", err->msg);
    return err->code == ERR_UNAVAILABLE ? EXIT_UNREACHABLE : EXIT_FAILED;
}

/* ---- output ---- */

bool tool_out_open(struct tool_out *out, struct str path, struct err *err) {
    *out = (struct tool_out){ .fd = STDOUT_FILENO };
    buf_init(&out->text, SIZE_MAX);
    if (path.len == 0 || str_eq_c(path, "-")) {
        return true;
    }
    out->path = mem_strndup(path.ptr, path.len);
    struct stat st;
    if (stat(out->path, &st) == 0 && !S_ISREG(st.st_mode)) {
        /* A device or a pipe is written to, never replaced. */
        out->fd = open(out->path, O_WRONLY | O_CLOEXEC);
        return out->fd >= 0 || err_set_errno(err, ERR_IO, errno, "opening %s", out->path);
    }
    struct buf partial;
    buf_init(&partial, SIZE_MAX);
    buf_printf(&partial, "%.*s.partial", STR_FMT(path));
    out->path_partial = buf_take(&partial, NULL);
    out->fd = open(out->path_partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    return out->fd >= 0 || err_set_errno(err, ERR_IO, errno, "creating %s", out->path_partial);
}

static bool write_all(struct tool_out *out, struct err *err) {
    size_t done = 0;
    while (done < out->text.len) {
        ssize_t wrote = write(out->fd, out->text.ptr + done, out->text.len - done);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            return err_set_errno(err, ERR_IO, errno, "writing %s",
                                 out->path == NULL ? "the output" : out->path);
        }
        done += (size_t)wrote;
    }
    buf_reset(&out->text);
    return true;
}

bool tool_out_flush(struct tool_out *out, struct err *err) {
    return out->text.len < FLUSH_BYTES || write_all(out, err);
}

bool tool_out_commit(struct tool_out *out, struct err *err) {
    if (!write_all(out, err)) {
        return false;
    }
    if (out->path_partial == NULL) {
        return true;
    }
    bool is_ok = fsync(out->fd) == 0 && rename(out->path_partial, out->path) == 0;
    if (!is_ok) {
        return err_set_errno(err, ERR_IO, errno, "finishing %s", out->path);
    }
    mem_free(out->path_partial);
    out->path_partial = NULL;
    return true;
}

void tool_out_finish(struct tool_out *out) {
    if (out->path != NULL && out->fd >= 0) {
        close(out->fd);
    }
    if (out->path_partial != NULL) {
        (void)unlink(out->path_partial);
    }
    mem_free(out->path);
    mem_free(out->path_partial);
    buf_finish(&out->text);
}
