/*
 * Pieces of an RFC 5322 message. Whatever goes in, what comes out stays within its header or body:
 * no line break, no line longer than 998 bytes, ASCII only.
 */
#pragma once

#include "base/buf.h"
#include "notify/address.h"

/* "Name: value\r\n" for free text: folded, RFC 2047 encoded words when it is not plain ASCII;
 * control characters become blanks. */
void mime_text_header(struct buf *out, const char *name, struct str value);
/* "Name: addresses\r\n", one per line. */
void mime_address_header(struct buf *out, const char *name, const struct address_list *addresses);
/* "Name: value\r\n" for values of our own making: asserts that they are plain and short. */
void mime_plain_header(struct buf *out, const char *name, struct str value);
/* "Fri, 02 Jan 2026 15:04:05 +0000" */
void mime_date(struct buf *out, int64_t t_ms);
/* Quoted-printable with CRLF line ends; ends with a line end. */
void mime_quoted_printable(struct buf *out, struct str text);
/* `host` if it can stand in a Message-ID, else "localhost". */
struct str mime_host(struct str host);
