/*
 * Fuzz entry: any text as a rule file is accepted or refused with findings that stand inside it,
 * and the same text gives the same verdict again. Nothing is left behind.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "rules/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool load(struct str text, size_t *ret_findings) {
    struct diag_list diags;
    struct rules_load_options options = { 0 };
    struct rule_set *set = NULL;
    struct buf printed;
    diag_list_init(&diags);
    bool ok = rules_load_text("fuzz.yml", text, &options, &set, &diags);
    if (ok != (set != NULL) || ok != (diags.error_count == 0)) {
        fprintf(stderr, "verdict and findings differ\n");
        abort();
    }
    buf_init(&printed, (size_t)1 << 20);
    diag_print(&diags, &printed);
    *ret_findings = diags.count + diags.dropped;
    buf_finish(&printed);
    rule_set_destroy(set);
    diag_list_finish(&diags);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = { .ptr = (const char *)data, .len = size };
    size_t findings = 0;
    size_t again = 0;
    if (load(text, &findings) != load(text, &again) || findings != again) {
        fprintf(stderr, "the second verdict differs\n");
        abort();
    }
    return 0;
}
