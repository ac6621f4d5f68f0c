/*
 * Mail addresses as people write them: `Ops <ops@example.org>, "On, call" <oncall@example.org>`.
 * What is returned cannot inject anything into an envelope or a header.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

struct address {
    struct str name;     /* display name, decoded; may be empty; no control characters */
    const char *mailbox; /* local@domain, ASCII, NUL-terminated */
};

struct address_list {
    struct address *items;
    size_t count;
};

#define ADDRESS_COUNT_MAX 100

/* At least one address. ERR_INVALID says what is wrong and where; ERR_LIMIT. */
WARN_UNUSED bool address_list_parse(struct str text,
                                    struct arena *arena,
                                    struct address_list *ret,
                                    struct err *err);
