/* The reader of mime_read.h. */
#include "tests/notify/mime_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tests/unit.h"

/* CRLF line ends only, ASCII only, lines of at most 998 bytes. */
static void check_lines(const char *text) {
    size_t column = 0;
    for (const char *c = text; *c != '\0'; c++) {
        assert_true((unsigned char)*c < 0x80);
        if (*c == '\r') {
            assert_int_equal(c[1], '\n');
        } else if (*c == '\n') {
            assert_true(c > text && c[-1] == '\r');
            assert_true(column <= 998);
            column = 0;
        } else {
            assert_true(*c >= ' ' || *c == '\t');
            column++;
        }
    }
    assert_int_equal(column, 0); /* the last line is complete */
}

static int base64_digit(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

static void decode_base64(const char *text, size_t len, struct buf *out) {
    assert_int_equal(len % 4, 0);
    for (size_t i = 0; i < len; i += 4) {
        unsigned bits = 0;
        size_t bytes = 3;
        for (size_t k = 0; k < 4; k++) {
            int digit = base64_digit(text[i + k]);
            if (text[i + k] == '=') {
                assert_true(i + 4 == len && k >= 2);
                bytes = bytes == 3 || k == 2 ? k - 1 : bytes;
                digit = 0;
            }
            assert_true(digit >= 0);
            bits = bits << 6 | (unsigned)digit;
        }
        for (size_t k = 0; k < bytes; k++) {
            buf_putc(out, (char)(unsigned char)(bits >> (16 - 8 * k)));
        }
    }
}

/* Encoded words of at most 75 characters; blanks between two of them vanish. */
static char *decode_words(const char *text) {
    struct buf out;
    buf_init(&out, 1 << 20);
    bool was_word = false;
    while (*text != '\0') {
        const char *blanks = text;
        while (*text == ' ') {
            text++;
        }
        if (strncmp(text, "=?UTF-8?B?", 10) == 0) {
            const char *end = strstr(text + 10, "?=");
            assert_non_null(end);
            assert_true(end + 2 - text <= 75);
            if (!was_word) {
                buf_append(&out, blanks, (size_t)(text - blanks));
            }
            size_t before = out.len;
            decode_base64(text + 10, (size_t)(end - text - 10), &out);
            assert_true(str_is_utf8(str_n(out.ptr + before, out.len - before)));
            text = end + 2;
            was_word = true;
        } else {
            buf_append(&out, blanks, (size_t)(text - blanks));
            while (*text != '\0' && *text != ' ') {
                buf_putc(&out, *text++);
            }
            was_word = false;
        }
    }
    buf_cstr(&out, "");
    return buf_take(&out, NULL);
}

/* One header, folded lines joined; returns what follows it. */
static const char *read_header(const char *at, struct mime_header_line *ret) {
    const char *colon = strchr(at, ':');
    assert_non_null(colon);
    for (const char *c = at; c < colon; c++) {
        assert_true(*c > ' ' && *c < 0x7f);
    }
    ret->name = mem_strndup(at, (size_t)(colon - at));
    struct buf value;
    buf_init(&value, 1 << 20);
    at = colon + 1;
    for (;;) {
        const char *end = strstr(at, "\r\n");
        assert_non_null(end);
        buf_append(&value, at, (size_t)(end - at));
        at = end + 2;
        if (*at != ' ' && *at != '\t') {
            break;
        }
        assert_true(strncmp(at, " \r\n", 3) != 0); /* no blank continuation */
    }
    buf_cstr(&value, "");
    char *decoded = decode_words(value.ptr == NULL ? "" : value.ptr);
    size_t skip = decoded[0] == ' ' ? 1 : 0;
    ret->value = mem_strdup(decoded + skip);
    mem_free(decoded);
    buf_finish(&value);
    return at;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static char *decode_quoted_printable(const char *text, size_t len) {
    struct buf out;
    buf_init(&out, 16 << 20);
    size_t column = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r') {
            assert_true(i == 0 || (text[i - 1] != ' ' && text[i - 1] != '\t'));
            assert_true(column <= 76);
            column = 0;
            buf_putc(&out, '\n');
            i++;
        } else if (text[i] == '=' && text[i + 1] == '\r') {
            assert_true(column + 1 <= 76);
            column = 0;
            i += 2;
        } else if (text[i] == '=') {
            int high = hex_digit(text[i + 1]);
            int low = hex_digit(text[i + 2]);
            assert_true(high >= 0 && low >= 0);
            buf_putc(&out, (char)(unsigned char)(high * 16 + low));
            i += 2;
            column += 3;
        } else {
            buf_putc(&out, text[i]);
            column++;
        }
    }
    buf_cstr(&out, "");
    return buf_take(&out, NULL);
}

/* A part from behind its delimiter up to the next one. */
static void read_part(const char *at, const char *end, struct mime_part *ret) {
    bool is_quoted_printable = false;
    while (strncmp(at, "\r\n", 2) != 0) {
        struct mime_header_line header;
        at = read_header(at, &header);
        if (strcmp(header.name, "Content-Type") == 0) {
            ret->content_type = mem_strdup(header.value);
        } else {
            assert_string_equal(header.name, "Content-Transfer-Encoding");
            assert_string_equal(header.value, "quoted-printable");
            is_quoted_printable = true;
        }
        mem_free(header.name);
        mem_free(header.value);
    }
    assert_true(is_quoted_printable && ret->content_type != NULL);
    at += 2;
    ret->text = decode_quoted_printable(at, (size_t)(end - at));
}

static void read_parts(const char *body, const char *boundary, struct mime_mail *ret) {
    char delimiter[300];
    (void)snprintf(delimiter, sizeof(delimiter), "--%s", boundary);
    size_t len = strlen(delimiter);
    const char *at = body;
    assert_int_equal(strncmp(at, delimiter, len), 0);
    while (strncmp(at + len, "--\r\n", 4) != 0) {
        assert_int_equal(strncmp(at + len, "\r\n", 2), 0);
        const char *start = at + len + 2;
        const char *next = start;
        do {
            next = strstr(next, "\r\n--");
            assert_non_null(next);
            next += 2;
        } while (strncmp(next, delimiter, len) != 0);
        assert_true(ret->part_count < 4);
        read_part(start, next - 2, &ret->parts[ret->part_count++]);
        at = next;
    }
    assert_string_equal(at + len, "--\r\n");
}

void mime_read(const char *text, struct mime_mail *ret) {
    *ret = (struct mime_mail){ 0 };
    check_lines(text);
    const char *at = text;
    while (strncmp(at, "\r\n", 2) != 0) {
        assert_true(ret->header_count < 40);
        at = read_header(at, &ret->headers[ret->header_count++]);
    }
    const char *type = mime_header(ret, "Content-Type");
    static const char expected[] = "multipart/alternative; boundary=\"";
    assert_int_equal(strncmp(type, expected, sizeof(expected) - 1), 0);
    char *boundary = mem_strdup(type + sizeof(expected) - 1);
    assert_int_equal(boundary[strlen(boundary) - 1], '"');
    boundary[strlen(boundary) - 1] = '\0';
    read_parts(at + 2, boundary, ret);
    mem_free(boundary);
}

void mime_finish(struct mime_mail *mail) {
    for (size_t i = 0; i < mail->header_count; i++) {
        mem_free(mail->headers[i].name);
        mem_free(mail->headers[i].value);
    }
    for (size_t i = 0; i < mail->part_count; i++) {
        mem_free(mail->parts[i].content_type);
        mem_free(mail->parts[i].text);
    }
}

const char *mime_header(const struct mime_mail *mail, const char *name) {
    const char *found = NULL;
    for (size_t i = 0; i < mail->header_count; i++) {
        if (strcmp(mail->headers[i].name, name) == 0) {
            assert_null(found);
            found = mail->headers[i].value;
        }
    }
    assert_non_null(found);
    return found;
}
