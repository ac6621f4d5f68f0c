/* tocsin check: every finding at once, as file:line:col with the line and a caret. */
#include <stdio.h>

#include "app/config.h"
#include "app/verbs.h"
#include "rules/rules.h"

static int report(const struct diag_list *diags, const char *success) {
    CLEANUP(buf_finish) struct buf out;
    buf_init(&out, 4u << 20);
    diag_print(diags, &out);
    if (out.len > 0) {
        fwrite(out.ptr, 1, out.len, stderr);
    }
    if (diags->error_count > 0) {
        fprintf(stderr, "%zu error%s\n", diags->error_count, diags->error_count == 1 ? "" : "s");
        return EXIT_FAILED;
    }
    printf("%s\n", success);
    return EXIT_FINE;
}

static bool load_rule_files(char *const *globs,
                            size_t count,
                            const struct rules_load_options *options,
                            struct buf *summary,
                            struct diag_list *diags) {
    struct rule_set *set = NULL;
    if (!rules_load((const char *const *)globs, count, options, &set, diags)) {
        return false;
    }
    for (size_t i = 0; i < rule_set_file_count(set); i++) {
        struct rule_file_info file = rule_set_file(set, i);
        buf_printf(summary, "%s%s: %zu groups, %zu rules", summary->len == 0 ? "" : "\n", file.path,
                   file.group_count, file.rule_count);
    }
    rule_set_destroy(set);
    return true;
}

int verb_check_rules(int argc, char *const *argv) {
    if (argc == 0) {
        fprintf(stderr, "usage: tocsin check rules FILE...\n");
        return EXIT_USAGE;
    }
    struct diag_list diags;
    diag_list_init(&diags);
    CLEANUP(buf_finish) struct buf summary;
    buf_init(&summary, 1u << 20);
    struct rules_load_options options = { 0 };
    bool is_ok = load_rule_files(argv, (size_t)argc, &options, &summary, &diags);
    int code = report(&diags, is_ok ? buf_as_str(&summary).ptr : "");
    diag_list_finish(&diags);
    return code;
}

int verb_check_config(int argc, char *const *argv) {
    if (argc == 0) {
        fprintf(stderr, "usage: tocsin check config FILE...\n");
        return EXIT_USAGE;
    }
    struct options options = { 0 };
    for (int i = 0; i < argc; i++) {
        string_list_add(&options.config_files, str_from(argv[i]));
    }
    struct diag_list diags;
    diag_list_init(&diags);
    struct config config;
    struct config_params params = { .external_url = "http://localhost:9090",
                                    .hello = "localhost",
                                    .env = process_env };
    bool is_ok = config_load(&options, &params, &config, &diags);
    CLEANUP(buf_finish) struct buf summary;
    buf_init(&summary, 1u << 20);
    buf_printf(&summary, "%s: ok", argv[argc - 1]);
    if (is_ok && config.rule_files.count > 0) {
        struct rules_load_options rule_options = { .interval_ms = config.evaluation_interval_ms,
                                                   .external_labels = config.external_labels };
        is_ok = load_rule_files(config.rule_files.items, config.rule_files.count, &rule_options,
                                &summary, &diags);
    }
    int code = report(&diags, is_ok ? summary.ptr : "");
    config_finish(&config);
    options_finish(&options);
    diag_list_finish(&diags);
    return code;
}
