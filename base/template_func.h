/* Private to base/template_*: the common functions, to be put into one table. */
#pragma once

#include "base/template_format.h"

bool tmpl_call_humanize(void *ctx,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err);
bool tmpl_call_humanize1024(void *ctx,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err);
bool tmpl_call_humanize_duration(void *ctx,
                                 const struct tmpl_value *args,
                                 size_t arg_count,
                                 struct arena *arena,
                                 struct tmpl_value *ret,
                                 struct err *err);
bool tmpl_call_humanize_percentage(void *ctx,
                                   const struct tmpl_value *args,
                                   size_t arg_count,
                                   struct arena *arena,
                                   struct tmpl_value *ret,
                                   struct err *err);
bool tmpl_call_humanize_timestamp(void *ctx,
                                  const struct tmpl_value *args,
                                  size_t arg_count,
                                  struct arena *arena,
                                  struct tmpl_value *ret,
                                  struct err *err);
bool tmpl_call_to_time(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err);
bool tmpl_call_to_duration(void *ctx,
                           const struct tmpl_value *args,
                           size_t arg_count,
                           struct arena *arena,
                           struct tmpl_value *ret,
                           struct err *err);
bool tmpl_call_parse_duration(void *ctx,
                              const struct tmpl_value *args,
                              size_t arg_count,
                              struct arena *arena,
                              struct tmpl_value *ret,
                              struct err *err);
bool tmpl_call_date(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err);

bool tmpl_call_to_upper(void *ctx,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err);
bool tmpl_call_to_lower(void *ctx,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err);
bool tmpl_call_title(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err);
bool tmpl_call_trim_space(void *ctx,
                          const struct tmpl_value *args,
                          size_t arg_count,
                          struct arena *arena,
                          struct tmpl_value *ret,
                          struct err *err);
bool tmpl_call_join(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err);
bool tmpl_call_match(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err);
bool tmpl_call_re_replace_all(void *ctx,
                              const struct tmpl_value *args,
                              size_t arg_count,
                              struct arena *arena,
                              struct tmpl_value *ret,
                              struct err *err);
bool tmpl_call_safe_html(void *ctx,
                         const struct tmpl_value *args,
                         size_t arg_count,
                         struct arena *arena,
                         struct tmpl_value *ret,
                         struct err *err);
bool tmpl_call_safe_url(void *ctx,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err);
bool tmpl_call_url_unescape(void *ctx,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err);
bool tmpl_call_base64_encode(void *ctx,
                             const struct tmpl_value *args,
                             size_t arg_count,
                             struct arena *arena,
                             struct tmpl_value *ret,
                             struct err *err);
bool tmpl_call_base64_decode(void *ctx,
                             const struct tmpl_value *args,
                             size_t arg_count,
                             struct arena *arena,
                             struct tmpl_value *ret,
                             struct err *err);
bool tmpl_call_strip_port(void *ctx,
                          const struct tmpl_value *args,
                          size_t arg_count,
                          struct arena *arena,
                          struct tmpl_value *ret,
                          struct err *err);
bool tmpl_call_strip_domain(void *ctx,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err);

bool tmpl_call_string_slice(void *ctx,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err);
bool tmpl_call_args(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err);
bool tmpl_call_list(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err);
bool tmpl_call_append(void *ctx,
                      const struct tmpl_value *args,
                      size_t arg_count,
                      struct arena *arena,
                      struct tmpl_value *ret,
                      struct err *err);
bool tmpl_call_dict(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err);
bool tmpl_call_to_json(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err);
bool tmpl_call_first(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err);
bool tmpl_call_label(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err);
bool tmpl_call_value(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err);
bool tmpl_call_strvalue(void *ctx,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err);
bool tmpl_call_sort_by_label(void *ctx,
                             const struct tmpl_value *args,
                             size_t arg_count,
                             struct arena *arena,
                             struct tmpl_value *ret,
                             struct err *err);

/* All arguments from `first` on are strings; false with the error otherwise. */
bool tmpl_want_strings(const struct tmpl_value *args, size_t first, size_t count, struct err *err);
