/* Nodes as they read in the source, for the <...> of error messages. */
#include "base/template_ast.h"
#include "base/template_format.h"

static void print_list(const struct tmpl_nodes *nodes, const char *between, struct buf *out) {
    for (size_t i = 0; i < nodes->count; i++) {
        buf_cstr(out, i > 0 ? between : "");
        tmpl_node_print(nodes->items[i], out);
    }
}

static void print_pipe(const struct tmpl_node *node, struct buf *out) {
    if (node->pipe.variables.count > 0) {
        print_list(&node->pipe.variables, ", ", out);
        buf_cstr(out, node->pipe.is_assign ? " = " : " := ");
    }
    print_list(&node->pipe.commands, " | ", out);
}

static void print_grouped(const struct tmpl_node *node, struct buf *out) {
    bool is_pipe = node->kind == NODE_PIPE;
    buf_cstr(out, is_pipe ? "(" : "");
    tmpl_node_print(node, out);
    buf_cstr(out, is_pipe ? ")" : "");
}

static void print_path(const struct tmpl_node *node, struct buf *out) {
    if (node->kind == NODE_CHAIN) {
        print_grouped(node->path.base, out);
    }
    for (size_t i = 0; i < node->path.count; i++) {
        buf_cstr(out, node->kind != NODE_VARIABLE || i > 0 ? "." : "");
        buf_str(out, node->path.names[i]);
    }
}

static void print_call(const struct tmpl_node *node, struct buf *out) {
    buf_cstr(out, "{{template ");
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    buf_str(out, tmpl_quote(node->call.name, &arena));
    arena_finish(&arena);
    if (node->call.pipe != NULL) {
        buf_putc(out, ' ');
        print_pipe(node->call.pipe, out);
    }
    buf_cstr(out, "}}");
}

void tmpl_node_print(const struct tmpl_node *node, struct buf *out) {
    switch (node->kind) {
    case NODE_TEXT: buf_str(out, node->text); break;
    case NODE_ACTION:
        buf_cstr(out, "{{");
        print_pipe(node->branch.pipe, out);
        buf_cstr(out, "}}");
        break;
    case NODE_IF:
    case NODE_WITH:
    case NODE_RANGE:
        buf_cstr(out, node->kind == NODE_IF     ? "{{if "
                      : node->kind == NODE_WITH ? "{{with "
                                                : "{{range ");
        print_pipe(node->branch.pipe, out);
        buf_cstr(out, "}}");
        break;
    case NODE_BREAK: buf_cstr(out, "{{break}}"); break;
    case NODE_CONTINUE: buf_cstr(out, "{{continue}}"); break;
    case NODE_TEMPLATE: print_call(node, out); break;
    case NODE_END: buf_cstr(out, "{{end}}"); break;
    case NODE_ELSE: buf_cstr(out, "{{else}}"); break;
    case NODE_PIPE: print_pipe(node, out); break;
    case NODE_COMMAND:
        for (size_t i = 0; i < node->args.count; i++) {
            buf_cstr(out, i > 0 ? " " : "");
            print_grouped(node->args.items[i], out);
        }
        break;
    case NODE_IDENTIFIER: buf_str(out, node->identifier.name); break;
    case NODE_VARIABLE:
    case NODE_FIELD:
    case NODE_CHAIN: print_path(node, out); break;
    case NODE_DOT: buf_putc(out, '.'); break;
    case NODE_NIL: buf_cstr(out, "nil"); break;
    case NODE_BOOL: buf_cstr(out, node->boolean ? "true" : "false"); break;
    case NODE_NUMBER: buf_str(out, node->number.text); break;
    case NODE_STRING: buf_str(out, node->string.quoted); break;
    }
}
