/* YAML documents: loading, life, positions and look-ups. The tree is built in yaml_tree.c. */
#include "base/yaml.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "base/yaml_doc.h"

#define YAML_BYTES_MAX ((size_t)4 << 20)

/* Bytes of the line break at `pos`, 0 when there is none: libyaml's CR LF, CR, LF, NEL, LS, PS. */
static size_t break_length(struct str text, size_t pos) {
    const unsigned char *c = (const unsigned char *)text.ptr + pos;
    size_t left = text.len - pos;
    if (c[0] == '\n') {
        return 1;
    }
    if (c[0] == '\r') {
        return left > 1 && c[1] == '\n' ? 2 : 1;
    }
    if (c[0] == 0xc2 && left > 1 && c[1] == 0x85) {
        return 2;
    }
    if (c[0] == 0xe2 && left > 2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9)) {
        return 3;
    }
    return 0;
}

static void index_lines(struct yaml_doc *doc) {
    size_t cap = 0;
    doc->line_offsets = vec_grow(NULL, &cap, 1, sizeof(doc->line_offsets[0]));
    doc->line_offsets[doc->line_count++] = 0;
    for (size_t pos = 0; pos < doc->text.len;) {
        size_t len = break_length(doc->text, pos);
        pos += len == 0 ? 1 : len;
        if (len > 0) {
            doc->line_offsets = vec_grow(doc->line_offsets, &cap, doc->line_count + 1,
                                         sizeof(doc->line_offsets[0]));
            doc->line_offsets[doc->line_count++] = pos;
        }
    }
}

bool yaml_parse(const char *file, struct str text, struct yaml_doc **ret, struct diag_list *diags) {
    if (text.len > YAML_BYTES_MAX) {
        diag_add(diags, DIAG_ERROR, (struct diag_at){ .file = file }, "larger than %zu MiB",
                 YAML_BYTES_MAX >> 20);
        return false;
    }
    if (str_starts_with(text, STR("\xef\xbb\xbf"))) {
        text = str_n(text.ptr + 3, text.len - 3);
    }
    struct yaml_doc *doc = mem_calloc(1, sizeof(*doc));
    arena_init(&doc->arena, SIZE_MAX);
    doc->file = mem_strdup(file);
    doc->source = mem_alloc(text.len + 1);
    if (text.len > 0) {
        memcpy(doc->source, text.ptr, text.len);
    }
    doc->source[text.len] = '\0';
    doc->text = str_n(doc->source, text.len);
    index_lines(doc);
    if (!yaml_build_tree(doc, diags)) {
        yaml_doc_destroy(doc);
        return false;
    }
    *ret = doc;
    return true;
}

static bool read_file(const char *path, struct buf *out, struct err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "cannot open the file");
    }
    bool ok = true;
    for (;;) {
        /* One byte past the cap is room enough to notice a larger file. */
        size_t want = out->bytes_max - out->len < 65536 ? out->bytes_max - out->len : 65536;
        char *room = want == 0 ? NULL : buf_reserve(out, want);
        if (room == NULL) {
            break;
        }
        ssize_t got = read(fd, room, want);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            ok = err_set_errno(err, ERR_IO, errno, "cannot read the file");
        }
        if (got <= 0) {
            break;
        }
        out->len += (size_t)got;
    }
    (void)close(fd);
    return ok;
}

bool yaml_load(const char *path, struct yaml_doc **ret, struct diag_list *diags) {
    struct buf text;
    buf_init(&text, YAML_BYTES_MAX + 1);
    struct err err = ERR_INIT;
    bool ok = read_file(path, &text, &err);
    if (!ok) {
        diag_add(diags, DIAG_ERROR, (struct diag_at){ .file = path }, "%s", err.msg);
    } else {
        ok = yaml_parse(path, buf_as_str(&text), ret, diags);
    }
    buf_finish(&text);
    return ok;
}

void yaml_doc_destroy(struct yaml_doc *doc) {
    if (doc == NULL) {
        return;
    }
    yaml_doc_destroy(doc->merged);
    arena_finish(&doc->arena);
    mem_free(doc->file);
    mem_free(doc->source);
    mem_free(doc->line_offsets);
    mem_free(doc);
}

const struct yaml_node *yaml_root(const struct yaml_doc *doc) {
    return doc->root;
}

const char *yaml_file(const struct yaml_doc *doc) {
    return doc->file;
}

struct diag_at yaml_at(const struct yaml_doc *doc, const struct yaml_node *node) {
    if (node != NULL) {
        doc = yaml_full_const(node)->doc;
    }
    return (struct diag_at){
        .file = doc->file,
        .line = node == NULL ? 0 : node->line,
        .column = node == NULL ? 0 : node->column,
        .text = doc->text,
    };
}

struct diag_at yaml_at_byte(const struct yaml_doc *doc, size_t pos) {
    assert(doc->line_count > 0);
    if (pos > doc->text.len) {
        pos = doc->text.len;
    }
    size_t low = 0; /* line_offsets[low] <= pos < line_offsets[high] */
    size_t high = doc->line_count;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (doc->line_offsets[mid] <= pos) {
            low = mid;
        } else {
            high = mid;
        }
    }
    size_t start = doc->line_offsets[low];
    struct str before = str_n(doc->text.ptr + start, pos - start);
    return (struct diag_at){
        .file = doc->file,
        .line = (uint32_t)low + 1,
        .column = (uint32_t)utf8_count(before) + 1,
        .text = doc->text,
    };
}

const struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key) {
    if (mapping == NULL || mapping->kind != YAML_MAPPING) {
        return NULL;
    }
    for (size_t i = 0; i < mapping->count; i++) {
        if (str_eq_c(mapping->pairs[i].key->scalar, key)) {
            return mapping->pairs[i].value;
        }
    }
    return NULL;
}

bool yaml_is_null(const struct yaml_node *node) {
    if (node == NULL) {
        return true;
    }
    if (node->kind != YAML_SCALAR || node->is_quoted) {
        return false;
    }
    static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };
    for (size_t i = 0; i < ARRAY_LEN(nulls); i++) {
        if (str_eq_c(node->scalar, nulls[i])) {
            return true;
        }
    }
    return false;
}
