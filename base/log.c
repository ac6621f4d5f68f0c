/* Log lines: built in one buffer, written by one write(2), so that lines never mix. */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/float.h"
#include "base/mem.h"
#include "base/utf8.h"

/* A longer line is cut between fields and says so. */
enum {
    LINE_BYTES_MAX = 64 * 1024
};

struct log {
    /* immutable after create */
    int fd;
    enum log_format format;
    enum log_level level_min;
};

struct level_names {
    const char *json;   /* Python's names */
    const char *logfmt; /* Go's names */
};

static const struct level_names level_names[] = {
    [LOG_LEVEL_DEBUG] = { .json = "DEBUG", .logfmt = "debug" },
    [LOG_LEVEL_INFO] = { .json = "INFO", .logfmt = "info" },
    [LOG_LEVEL_WARNING] = { .json = "WARNING", .logfmt = "warn" },
    [LOG_LEVEL_ERROR] = { .json = "ERROR", .logfmt = "error" },
    [LOG_LEVEL_CRITICAL] = { .json = "CRITICAL", .logfmt = "critical" },
};
static_assert(ARRAY_LEN(level_names) == LOG_LEVEL_COUNT, "one name per level");

struct log *log_create(int fd, enum log_format format, enum log_level level_min) {
    struct log *log = mem_alloc(sizeof(*log));
    *log = (struct log){ .fd = fd, .format = format, .level_min = level_min };
    return log;
}

void log_destroy(struct log *log) {
    mem_free(log);
}

bool log_level_parse(struct str text, enum log_level *ret) {
    static const struct {
        const char *name;
        enum log_level level;
    } names[] = {
        { "debug", LOG_LEVEL_DEBUG },    { "info", LOG_LEVEL_INFO },
        { "warn", LOG_LEVEL_WARNING },   { "warning", LOG_LEVEL_WARNING },
        { "error", LOG_LEVEL_ERROR },    { "critical", LOG_LEVEL_CRITICAL },
        { "fatal", LOG_LEVEL_CRITICAL },
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq_nocase(text, str_from(names[i].name))) {
            *ret = names[i].level;
            return true;
        }
    }
    return false;
}

const char *log_level_to_string(enum log_level level) {
    if ((size_t)level >= ARRAY_LEN(level_names)) {
        BUG("unknown log level %d", (int)level);
    }
    return level_names[level].json;
}

static void put_control(struct buf *line, uint32_t rune) {
    static const char hex[] = "0123456789abcdef";
    switch (rune) {
    case '\n': buf_cstr(line, "\\n"); return;
    case '\r': buf_cstr(line, "\\r"); return;
    case '\t': buf_cstr(line, "\\t"); return;
    default:
        buf_cstr(line, "\\u00");
        buf_putc(line, hex[rune >> 4]);
        buf_putc(line, hex[rune & 15]);
    }
}

/* Inside quotes, for both formats: JSON's escapes are also what logfmt readers undo. Stricter than
 * JSON asks for: DEL and the C1 controls could steer the terminal that shows the log. */
static void put_escaped(struct buf *line, struct str text) {
    for (size_t at = 0; at < text.len;) {
        uint32_t rune;
        size_t len = utf8_decode(text, at, &rune);
        if (rune < 0x20 || (rune >= 0x7f && rune < 0xa0)) {
            put_control(line, rune);
        } else if (rune == UTF8_INVALID) {
            utf8_append(line, UTF8_REPLACEMENT);
        } else {
            if (rune == '"' || rune == '\\') {
                buf_putc(line, '\\');
            }
            buf_append(line, text.ptr + at, len);
        }
        at += len;
    }
}

static void put_quoted(struct buf *line, struct str text) {
    buf_putc(line, '"');
    put_escaped(line, text);
    buf_putc(line, '"');
}

static bool needs_quotes(struct str text) {
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f) {
            return true;
        }
    }
    return text.len == 0;
}

static void put_logfmt_str(struct buf *line, struct str text) {
    if (needs_quotes(text)) {
        put_quoted(line, text);
    } else {
        buf_str(line, text);
    }
}

static void put_value(struct buf *line, enum log_format format, const struct log_field *field) {
    switch (field->type) {
    case LOG_FIELD_STR:
        if (format == LOG_FORMAT_JSON) {
            put_quoted(line, field->str);
        } else {
            put_logfmt_str(line, field->str);
        }
        return;
    case LOG_FIELD_I64: buf_i64(line, field->i64); return;
    case LOG_FIELD_F64: {
        /* JSON has no number for these. */
        bool is_number = field->f64 - field->f64 == 0;
        bool quote = format == LOG_FORMAT_JSON && !is_number;
        buf_cstr(line, quote ? "\"" : "");
        buf_float_json(line, field->f64);
        buf_cstr(line, quote ? "\"" : "");
        return;
    }
    case LOG_FIELD_BOOL: buf_cstr(line, field->i64 != 0 ? "true" : "false"); return;
    }
    BUG("unknown log field type %d", (int)field->type);
}

static void put_field(struct buf *line, enum log_format format, const struct log_field *field) {
    if (format == LOG_FORMAT_JSON) {
        buf_putc(line, ',');
        put_quoted(line, str_from(field->key));
        buf_putc(line, ':');
    } else {
        buf_putc(line, ' ');
        buf_cstr(line, field->key);
        buf_putc(line, '=');
    }
    put_value(line, format, field);
}

static void put_head(struct buf *line,
                     enum log_format format,
                     enum log_level level,
                     const char *source,
                     struct str message) {
    char now[RFC3339_TEXT_MAX];
    rfc3339_from_ms(clock_wall_ms(clock_system()), now);
    if (format == LOG_FORMAT_JSON) {
        buf_cstr(line, "{\"asctime\":\"");
        buf_cstr(line, now);
        buf_cstr(line, "\",\"name\":\"tocsin.");
        put_escaped(line, str_from(source));
        buf_cstr(line, "\",\"levelname\":\"");
        buf_cstr(line, level_names[level].json);
        buf_cstr(line, "\",\"message\":");
        put_quoted(line, message);
    } else {
        buf_cstr(line, "time=");
        buf_cstr(line, now);
        buf_cstr(line, " level=");
        buf_cstr(line, level_names[level].logfmt);
        buf_cstr(line, " source=");
        put_logfmt_str(line, str_from(source));
        buf_cstr(line, " msg=");
        put_quoted(line, message);
    }
}

/* There is nobody to tell when the log itself cannot be written. */
static void write_line(int fd, struct str line) {
    while (line.len > 0) {
        ssize_t written = write(fd, line.ptr, line.len);
        if (written < 0) {
            if (errno == EINTR) {
                continue;
            }
            return;
        }
        line = str_n(line.ptr + written, line.len - (size_t)written);
    }
}

/* Room kept free while fields are added: the mark of a cut line and the end. */
static const struct log_field cut_mark = { .key = "truncated", .type = LOG_FIELD_BOOL, .i64 = 1 };

enum {
    LINE_TAIL_BYTES = 64
};

void log_write(struct log *log,
               enum log_level level,
               const char *source,
               const char *message,
               const struct log_field *fields) {
    if (log == NULL || level < log->level_min) {
        return;
    }
    assert(level < LOG_LEVEL_COUNT);
    struct str text = str_from(message);
    bool is_cut = text.len > LINE_BYTES_MAX / 8; /* escaping makes at most six bytes of one */
    if (is_cut) {
        text.len = LINE_BYTES_MAX / 8;
    }
    struct buf line;
    buf_init(&line, LINE_BYTES_MAX - LINE_TAIL_BYTES);
    put_head(&line, log->format, level, source, text);
    for (; fields != NULL && fields->key != NULL; fields++) {
        size_t before = line.len;
        put_field(&line, log->format, fields);
        if (line.is_over) {
            line.len = before;
            line.is_over = false;
            is_cut = true;
        }
    }
    line.bytes_max = LINE_BYTES_MAX;
    if (is_cut) {
        put_field(&line, log->format, &cut_mark);
    }
    buf_cstr(&line, log->format == LOG_FORMAT_JSON ? "}\n" : "\n");
    write_line(log->fd, buf_as_str(&line));
    buf_finish(&line);
}
