/* The HTTP request of a scrape, and what its reply means. */
#pragma once

#include "ingest/scrape.h"

/* Send it; `done` gets the reply on the client's thread. False: nothing was sent, err says why. */
WARN_UNUSED bool scrape_submit(struct http_client *client,
                               const struct target *target,
                               http_done_fn done,
                               void *ctx,
                               struct err *err);

/* How to read the page; text 0.0.4 when the reply does not say and no fallback is configured. */
enum ingest_scrape_protocol scrape_reply_protocol(const struct scrape_config *config,
                                                  struct str content_type);
