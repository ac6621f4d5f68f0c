/* Private to web/: every handler, by the file that holds it. The table is in routes.c. */
#pragma once

#include "web/request.h"

/* api_query.c */
void api_query(struct web_request *request);
void api_query_range(struct web_request *request);
void api_format_query(struct web_request *request);
void api_parse_query(struct web_request *request);
void api_query_exemplars(struct web_request *request);

/* api_series.c */
void api_series(struct web_request *request);
void api_labels(struct web_request *request);
void api_label_values(struct web_request *request);
void api_metadata(struct web_request *request);

/* api_rules.c */
void api_rules(struct web_request *request);
void api_alerts(struct web_request *request);

/* api_targets.c */
void api_targets(struct web_request *request);
void api_targets_metadata(struct web_request *request);
void api_scrape_pools(struct web_request *request);
void api_alertmanagers(struct web_request *request);

/* api_status.c */
void api_buildinfo(struct web_request *request);
void api_config(struct web_request *request);
void api_flags(struct web_request *request);
void api_runtimeinfo(struct web_request *request);
void api_walreplay(struct web_request *request);

/* api_tsdb.c */
void api_tsdb_status(struct web_request *request);

/* api_admin.c */
bool api_admin_is_on(struct web_request *request); /* false after replying that it is not */
void api_admin_snapshot(struct web_request *request);
void api_admin_delete_series(struct web_request *request);
void api_admin_clean_tombstones(struct web_request *request);

/* api_inbox.c */
void api_inbox(struct web_request *request);
void api_dead_letters(struct web_request *request);
void api_notify_status(struct web_request *request);
void api_notify_test(struct web_request *request);

/* doors.c: what comes in */
void door_events(struct web_request *request);
void door_write(struct web_request *request);
void door_import(struct web_request *request);

/* remote_read.c */
void door_read(struct web_request *request);

/* federate.c */
void door_federate(struct web_request *request);

/* health.c */
void page_metrics(struct web_request *request);
void page_health(struct web_request *request);
void page_ready(struct web_request *request);
void page_healthy(struct web_request *request);
void page_is_ready(struct web_request *request);
void page_reload(struct web_request *request);

/* page.c: the overview for people, without scripts */
void page_overview(struct web_request *request);
void page_style(struct web_request *request);
