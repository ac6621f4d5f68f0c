/*
 * What this process samples by itself: its own metrics (job="tocsin"), the machine it runs on
 * (job="node", names of node_exporter).
 */
#pragma once

#include "ingest/internal.h"
#include "ingest/sampler.h"

struct monitor *monitor_create(struct ingest *ingest, const struct ingest_options *options);
void monitor_destroy(struct monitor *monitor); /* NULL ok */
void monitor_set_instance(struct monitor *monitor, const char *instance);
/* Sample what is due; returns when the next thing is. Waits for the store. */
int64_t monitor_tick(struct monitor *monitor, int64_t now_ms);
/* Bring process_* of the registry up to date. Any thread. */
void monitor_refresh(struct monitor *monitor);

/* ---- host.c ---- */

struct host {
    char *proc_path;
    struct buf file; /* contents of the file being read */
};

void host_init(struct host *host, const char *proc_path);
void host_finish(struct host *host);
/* Put everything that can be read; what cannot is left out. */
void host_sample(struct host *host,
                 struct sampler *sampler,
                 struct tsdb_batch *batch,
                 struct labels common);

/* Whole small file under the proc directory; empty when it cannot be read. */
struct str proc_read(const char *proc_path, const char *name, struct buf *buf);
