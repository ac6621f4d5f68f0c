/*
 * A TCP server on loopback for tests: one thread accepts connections one after the other and hands
 * each to a function, which talks to the client and returns to close it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct stub;

/* `connection` counts from 0. */
typedef void (*stub_serve_fn)(void *ctx, int fd, int connection);

struct stub *stub_start(stub_serve_fn serve, void *ctx);
void stub_stop(struct stub *stub); /* ends a serve function blocked in read, joins */
int stub_port(const struct stub *stub);
int stub_connections(struct stub *stub);

/* Read until `end` has been seen; returns what was read (NUL-terminated, at most cap - 1 bytes). */
size_t stub_read_until(int fd, const char *end, char *out, size_t cap);
/* Read a whole HTTP request, its body by Content-Length. */
size_t stub_read_request(int fd, char *out, size_t cap);
bool stub_write(int fd, const char *text);
/* Block until the client closes the connection. */
void stub_wait_closed(int fd);

/* A port nobody listens on. */
int stub_dead_port(void);
