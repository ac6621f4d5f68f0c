/* Private to base/yaml*.c: syntax errors in words, with the usual cause where it can be told. */
#pragma once

#include <yaml.h>

#include "base/yaml_doc.h"

/* Add the finding for a parser that stopped. `last_event_line` (1-based) is where the last thing
 * it understood ended. */
void yaml_report_syntax(const struct yaml_doc *doc,
                        const yaml_parser_t *parser,
                        uint32_t last_event_line,
                        struct diag_list *diags);

/* True when "{{" stands there: an unquoted template. */
bool yaml_is_template_at(const struct yaml_doc *doc, struct diag_at at);
