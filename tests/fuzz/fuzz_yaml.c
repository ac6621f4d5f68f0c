/* YAML from bytes: parsing, positions, merging with itself and printing never fail an invariant. */
#include <assert.h>
#include <stdint.h>

#include "base/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void visit(const struct yaml_doc *doc, const struct yaml_node *node) {
    struct diag_at at = yaml_at(doc, node);
    assert(at.line >= 1 && at.column >= 1);
    if (node->kind == YAML_SCALAR) {
        for (size_t offset = 0; offset <= node->scalar.len && offset < 64; offset++) {
            assert(yaml_at_offset(doc, node, offset).line >= at.line);
        }
    }
    for (size_t i = 0; i < node->count && node->kind != YAML_SCALAR; i++) {
        if (node->kind == YAML_MAPPING) {
            visit(doc, node->pairs[i].key);
            visit(doc, node->pairs[i].value);
        } else {
            visit(doc, node->items[i]);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = str_n((const char *)data, size);
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    struct yaml_doc *layer = NULL;
    if (yaml_parse("fuzz.yml", text, &doc, &diags)) {
        if (yaml_root(doc) != NULL) {
            visit(doc, yaml_root(doc));
        }
        if (yaml_parse("layer.yml", text, &layer, &diags)) {
            yaml_merge(doc, layer, NULL, 0);
        }
        struct buf out;
        buf_init(&out, 8u << 20);
        yaml_print(doc, NULL, &out);
        buf_finish(&out);
    } else {
        assert(diags.error_count > 0);
    }
    struct buf report;
    buf_init(&report, 8u << 20);
    diag_print(&diags, &report);
    buf_finish(&report);
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
    return 0;
}
