/*
 * A strict little reader of the mails we write, independent of the writer: it fails the test on
 * anything a careful mail system would object to.
 */
#pragma once

#include <stddef.h>

struct mime_header_line {
    char *name;
    char *value; /* unfolded, encoded words decoded */
};

struct mime_part {
    char *content_type;
    char *text; /* decoded, lines ended by \n */
};

struct mime_mail {
    struct mime_header_line headers[40];
    size_t header_count;
    struct mime_part parts[4];
    size_t part_count;
};

void mime_read(const char *text, struct mime_mail *ret);
void mime_finish(struct mime_mail *mail);
/* The value of the only header of that name. */
const char *mime_header(const struct mime_mail *mail, const char *name);
