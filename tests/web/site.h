/*
 * Shared by the server's tests: a web server over real modules in a directory of its own, and a
 * client that sends bytes as they are.
 *
 * Time of the modules is a clock that the test moves; the server's threads run in real time. Rules,
 * notifier and ingest have no threads here: the test ticks them.
 */
#pragma once

#include "tests/tsdb/fixture.h"
#include "web/web.h"

enum {
    SITE_LOOK_EVERY_MS = 20, /* real time between two looks of the server at its connections */
};

struct site {
    struct fixture store;
    struct metric_registry *metrics;
    struct notify *notify;
    struct rules *rules;
    struct ingest *ingest;
    struct web_options options; /* set between site_init and site_open */
    struct web *web;
    int send_buffer_bytes;    /* of the server's sockets; 0 = the kernel's choice */
    int receive_buffer_bytes; /* of later clients; 0 = the kernel's choice */
};

void site_init(struct site *site);
void site_open(struct site *site);
void site_close(struct site *site); /* stops and destroys all but the directory */
void site_finish(struct site *site);

/* Import text 0.0.4 through the front door. */
void site_load(struct site *site, const char *text);
/* Our own counter or gauge, over all its instances. */
double site_metric(struct site *site, const char *name);
/* Poll (in real time) until the metric has at least that value; fails after 20 s. */
void site_wait_metric(struct site *site, const char *name, double at_least);
/* Poll /health until that many requests are under way, itself included. */
void site_wait_active(struct site *site, int count);

/* Until the server has once more looked at all its connections. */
void site_wait_look(struct site *site);

/* ---- client ---- */

/* A str in a static table; may hold NULs. */
#define BYTES(literal) \
    { .ptr = (literal), .len = sizeof(literal) - 1 }

struct reply {
    int status; /* 0: the connection ended before a reply */
    char head[8192];
    struct buf body;      /* decoded from chunks */
    bool is_cut;          /* the connection ended before the body did */
    bool has_closed;      /* no Content-Length, no chunks: ended by close */
    unsigned interim_100; /* 100 Continue seen before it */
};

/* A connected socket whose operations time out after 20 s. */
int client_open(struct site *site);
void client_close(int fd);
/* False when the peer has closed. */
bool client_send(int fd, const void *bytes, size_t len);
bool client_send_text(int fd, const char *text);
/* Read one reply; `is_head`: to a HEAD request. */
void client_read(int fd, bool is_head, struct reply *ret);
/* True when the peer closes within timeout_ms; what it still sends is dropped. */
bool client_is_closed(int fd, int timeout_ms);
/* A header's value in *ret (empty when absent). */
struct str reply_header(const struct reply *reply, const char *name);
void reply_finish(struct reply *reply);

/* One request on a connection of its own. `headers`: lines with CR LF, or "". */
void ask(struct site *site,
         const char *method,
         const char *target,
         const char *headers,
         struct str body,
         struct reply *ret);
/* Raw bytes on a connection of their own, and the first reply to them. */
void ask_raw(struct site *site, struct str bytes, struct reply *ret);

/* GET, and compare: the whole body, or a part of it when `expected` begins with "…". */
void assert_get(struct site *site, const char *target, int status, const char *expected);

/* Milliseconds of real time. */
int64_t real_ms(void);

/* Sanitizers cost time: bounds on durations are this much wider under them. */
extern const int64_t patience;
