/* tocsin tsdb dump: every sample as a line, as promtool tsdb dump prints it. */
#include "app/tool.h"
#include "base/float.h"

struct dump_args {
    struct tool_range range;
    bool is_exact;
};

struct dump {
    struct tool_out out;
    struct buf labels; /* of the current series */
    bool is_exact;
};

static void print_labels(struct labels labels, struct buf *out) {
    buf_reset(out);
    buf_putc(out, '{');
    for (size_t i = 0; i < labels.count; i++) {
        const struct label *label = &labels.items[i];
        buf_cstr(out, i == 0 ? "" : ", ");
        if (label_name_is_valid_legacy(label->name)) {
            buf_str(out, label->name);
        } else {
            label_quote(label->name, out);
        }
        buf_putc(out, '=');
        label_quote(label->value, out);
    }
    buf_putc(out, '}');
}

static bool dump_samples(void *ctx,
                         struct labels labels,
                         bool is_first,
                         const struct tsdb_column *samples,
                         struct err *err) {
    struct dump *dump = ctx;
    if (is_first) {
        print_labels(labels, &dump->labels);
    }
    struct buf *out = &dump->out.text;
    for (size_t i = 0; i < samples->count; i++) {
        buf_str(out, buf_as_str(&dump->labels));
        buf_putc(out, ' ');
        if (dump->is_exact) {
            buf_printf(out, "%016llx", (unsigned long long)double_bits(samples->values[i]));
        } else {
            buf_float_general(out, samples->values[i]);
        }
        buf_putc(out, ' ');
        buf_i64(out, samples->t_ms[i]);
        buf_putc(out, '\n');
        if (!tool_out_flush(&dump->out, err)) {
            return false;
        }
    }
    return true;
}

int verb_tsdb_dump(int argc, char *const *argv) {
    static const struct tool_flag flags[] = {
        { "--match", TOOL_LIST, offsetof(struct dump_args, range.match) },
        { "--min-time", TOOL_TIME, offsetof(struct dump_args, range.t_min_ms) },
        { "--max-time", TOOL_TIME, offsetof(struct dump_args, range.t_max_ms) },
        { "--bits", TOOL_BOOL, offsetof(struct dump_args, is_exact) },
    };
    static const struct tool_usage usage = { "tsdb dump", flags, ARRAY_LEN(flags), 1 };

    struct dump_args args = { .range = TOOL_RANGE_INIT };
    struct str dir = TOOL_DIR_DEFAULT;
    if (!tool_parse(&usage, argc, argv, &args, &dir, NULL)) {
        string_list_finish(&args.range.match);
        return EXIT_USAGE;
    }
    struct dump dump = { .is_exact = args.is_exact };
    buf_init(&dump.labels, SIZE_MAX);
    struct tsdb *db = NULL;
    struct err err = ERR_INIT;
    bool is_ok = tool_out_open(&dump.out, STR(""), &err) && tool_open(dir, &db, &err) &&
                 tool_visit(db, &args.range, dump_samples, &dump, &err) &&
                 tool_out_commit(&dump.out, &err);
    tsdb_close(db);
    tool_out_finish(&dump.out);
    buf_finish(&dump.labels);
    string_list_finish(&args.range.match);
    return is_ok ? EXIT_FINE : tool_fail(&err);
}
