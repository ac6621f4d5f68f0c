/*
 * Goal: certificates are checked for HTTPS and for STARTTLS unless the operator says otherwise, and
 * nothing is sent to a peer that fails the check. Method: a GnuTLS server on loopback with a
 * certificate made here, met with different trust settings.
 */
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/http.h"
#include "tests/base/stub_server.h"
#include "tests/unit.h"

struct identity {
    gnutls_certificate_credentials_t credentials;
    char ca_path[64];
};

/* A self-signed certificate for "stub.example", which is its own authority. */
static void make_identity(struct identity *identity) {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t cert;
    gnutls_x509_privkey_init(&key);
    gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                 GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    gnutls_x509_crt_init(&cert);
    gnutls_x509_crt_set_version(cert, 3);
    gnutls_x509_crt_set_serial(cert, "\x01", 1);
    gnutls_x509_crt_set_activation_time(cert, time(NULL) - 3600);
    gnutls_x509_crt_set_expiration_time(cert, time(NULL) + 3600);
    gnutls_x509_crt_set_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, "stub", 4);
    gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_DNSNAME, "stub.example", 12,
                                         GNUTLS_FSAN_SET);
    gnutls_x509_crt_set_basic_constraints(cert, 1, -1);
    gnutls_x509_crt_set_key(cert, key);
    assert_int_equal(gnutls_x509_crt_sign2(cert, cert, key, GNUTLS_DIG_SHA256, 0), 0);
    gnutls_certificate_allocate_credentials(&identity->credentials);
    assert_int_equal(gnutls_certificate_set_x509_key(identity->credentials, &cert, 1, key), 0);

    gnutls_datum_t pem;
    assert_int_equal(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &pem), 0);
    snprintf(identity->ca_path, sizeof(identity->ca_path), "/tmp/tocsin-test-ca-XXXXXX");
    int fd = mkstemp(identity->ca_path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, pem.data, pem.size), (ssize_t)pem.size);
    close(fd);
    gnutls_free(pem.data);
    gnutls_x509_crt_deinit(cert);
    gnutls_x509_privkey_deinit(key);
}

static void drop_identity(struct identity *identity) {
    unlink(identity->ca_path);
    gnutls_certificate_free_credentials(identity->credentials);
}

struct server {
    struct identity identity;
    bool is_smtp;
    char heard[8192]; /* inside TLS */
};

static bool hear(gnutls_session_t tls, struct server *server, const char *end) {
    size_t start = strlen(server->heard);
    size_t len = start;
    while (strstr(server->heard + start, end) == NULL && len + 1 < sizeof(server->heard)) {
        ssize_t got = gnutls_record_recv(tls, server->heard + len, 1);
        if (got <= 0) {
            return false;
        }
        server->heard[++len] = '\0';
    }
    return true;
}

static void say(gnutls_session_t tls, const char *text) {
    (void)gnutls_record_send(tls, text, strlen(text));
}

static void talk_smtp(gnutls_session_t tls, struct server *server) {
    static const char *const replies[] = { "250 stub", "250 ok", "250 ok", "354 go" };
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        if (!hear(tls, server, "\r\n")) {
            return;
        }
        say(tls, replies[i]);
        say(tls, "\r\n");
    }
    if (hear(tls, server, "\r\n.\r\n")) {
        say(tls, "250 queued\r\n");
        if (hear(tls, server, "QUIT\r\n")) {
            say(tls, "221 bye\r\n");
        }
    }
}

static bool start_smtp(int fd) {
    char line[1024];
    return stub_write(fd, "220 stub\r\n") && stub_read_until(fd, "\r\n", line, sizeof(line)) > 0 &&
           stub_write(fd, "250-stub\r\n250 STARTTLS\r\n") &&
           stub_read_until(fd, "STARTTLS\r\n", line, sizeof(line)) > 0 &&
           stub_write(fd, "220 go ahead\r\n");
}

static void serve_tls(void *ctx, int fd, int connection) {
    struct server *server = ctx;
    (void)connection;
    if (server->is_smtp && !start_smtp(fd)) {
        return;
    }
    gnutls_session_t tls;
    gnutls_init(&tls, GNUTLS_SERVER | GNUTLS_NO_SIGNAL);
    gnutls_set_default_priority(tls);
    gnutls_credentials_set(tls, GNUTLS_CRD_CERTIFICATE, server->identity.credentials);
    gnutls_transport_set_int(tls, fd);
    int rc = 0;
    do {
        rc = gnutls_handshake(tls);
    } while (rc < 0 && gnutls_error_is_fatal(rc) == 0);
    if (rc == 0 && server->is_smtp) {
        talk_smtp(tls, server);
    } else if (rc == 0 && hear(tls, server, "\r\n\r\n")) {
        say(tls, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret");
        (void)gnutls_bye(tls, GNUTLS_SHUT_WR);
    }
    gnutls_deinit(tls);
}

static const char *const recipients[] = { "a@example.com", NULL };

static struct http_response run_case(struct server *server, const struct http_tls *tls) {
    struct http_client *client = NULL;
    struct err err = ERR_INIT;
    server->heard[0] = '\0';
    assert_true(http_client_create("x", &client, &err));
    struct stub *stub = stub_start(serve_tls, server);
    char url[100];
    snprintf(url, sizeof(url), "%s://127.0.0.1:%d/", server->is_smtp ? "smtp" : "https",
             stub_port(stub));
    struct http_request request = {
        .url = url,
        .tls = *tls,
        .timeout_ms = 10000,
        .response_bytes_max = 1000,
    };
    if (server->is_smtp) {
        request.mail_from = "x@example.com";
        request.mail_recipients = recipients;
        request.mail_require_tls = true;
        request.body = STR("Subject: x\r\n\r\nhello\r\n");
    }
    struct http_response response;
    struct buf body;
    buf_init(&body, 1000);
    assert_true(http_perform_blocking(client, &request, &response, &body, &err));
    assert_string_equal(buf_as_str(&body).ptr,
                        response.is_ok ? server->is_smtp ? "250 queued" : "secret" : "");
    buf_finish(&body);
    http_client_destroy(client);
    stub_stop(stub);
    return response;
}

static void check(bool is_smtp) {
    struct server server = { .is_smtp = is_smtp };
    make_identity(&server.identity);
    const char *ca = server.identity.ca_path;

    const struct {
        struct http_tls tls;
        bool is_ok;
    } cases[] = {
        { { .ca_file = NULL }, false },
        { { .ca_file = ca }, false }, /* trusted, but not for 127.0.0.1 */
        { { .ca_file = ca, .server_name = "stub.example" }, true },
        { { .ca_file = ca, .server_name = "other.example" }, false },
        { { .server_name = "stub.example" }, false },
        { { .ca_file = "/nonexistent" }, false },
        { { .insecure_skip_verify = true }, true },
        { { .insecure_skip_verify = true, .server_name = "other.example" }, true },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_response response = run_case(&server, &cases[i].tls);
        if (response.is_ok != cases[i].is_ok) {
            fail_msg("case %zu: ok %d, %s", i, response.is_ok, response.err.msg);
        }
        if (!cases[i].is_ok) {
            assert_int_equal(response.err.code, ERR_IO);
            assert_false(response.was_sent);
            assert_string_equal(server.heard, "");
        }
        if (cases[i].is_ok && cases[i].tls.server_name != NULL && !is_smtp) {
            assert_non_null(strstr(server.heard, "Host: 127.0.0.1:"));
        }
    }
    drop_identity(&server.identity);
}

static void https_is_verified(void **state) {
    check(false);
}

static void starttls_is_verified(void **state) {
    check(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(https_is_verified),
        cmocka_unit_test(starttls_is_verified),
    };
    return cmocka_run_group_tests_name("base/http_tls", tests, NULL, NULL);
}
