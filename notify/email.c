/*
 * Mail: multipart/alternative of plain text and HTML. The Message-ID is the message's key, so that
 * a repeated attempt is the same mail; References tie the mails of one incident together.
 */
#include "notify/message.h"
#include "notify/mime.h"

enum {
    BODY_BYTES_MAX = 4 * 1024 * 1024,
};

/* ---- envelope ---- */

static bool addresses(const struct render *render,
                      const struct template_text *text,
                      const char *what,
                      struct address_list *ret,
                      struct err *err) {
    struct str value;
    if (!render_template(render, text, false, &value, err) ||
        !address_list_parse(value, render->arena, ret, err)) {
        return err_wrap(err, "\"%s\" of the email receiver", what);
    }
    return true;
}

bool render_envelope(const struct render *render, struct mail_envelope *ret, struct err *err) {
    const struct email_config *email = &render->integration->email;
    struct mail_envelope envelope;
    if (!addresses(render, &email->from, "from", &envelope.from, err) ||
        !addresses(render, &email->to, "to", &envelope.to, err)) {
        return false;
    }
    if (envelope.from.count != 1) {
        return err_set(err, ERR_INVALID, "\"from\" must be one address, it has %zu",
                       envelope.from.count);
    }
    *ret = envelope;
    return true;
}

/* ---- headers ---- */

static const struct email_header *find_header(const struct render *render, const char *name) {
    const struct email_config *email = &render->integration->email;
    for (size_t i = 0; !render->is_default && i < email->header_count; i++) {
        if (strcmp(email->headers[i].name, name) == 0) {
            return &email->headers[i];
        }
    }
    return NULL;
}

static bool put_custom_headers(const struct render *render, struct buf *out, struct err *err) {
    /* what the message's own structure needs is not for changing */
    static const char *const reserved[] = { "Content-Type", "Content-Transfer-Encoding",
                                            "Mime-Version", "Date", "Bcc" };
    const struct email_config *email = &render->integration->email;
    for (size_t i = 0; !render->is_default && i < email->header_count; i++) {
        bool is_reserved = false;
        for (size_t k = 0; k < ARRAY_LEN(reserved); k++) {
            is_reserved |= strcmp(email->headers[i].name, reserved[k]) == 0;
        }
        struct str value;
        if (!render_template(render, &email->headers[i].value, false, &value, err)) {
            return err_wrap(err, "header %s", email->headers[i].name);
        }
        if (!is_reserved && value.len > 0) {
            mime_text_header(out, email->headers[i].name, value);
        }
    }
    return true;
}

static void put_thread(const struct render *render, struct str host, struct buf *out) {
    const struct notification *n = render->n;
    if (find_header(render, "References") != NULL || find_header(render, "In-Reply-To") != NULL) {
        return;
    }
    struct str root = STR("");
    switch (render->integration->email.threading) {
    case EMAIL_THREAD_INCIDENT:
        root = arena_printf(render->arena, "<%s.incident@%.*s>", n->thread_key, STR_FMT(host));
        break;
    case EMAIL_THREAD_GROUP:
        root = arena_printf(render->arena, "<%s.group@%.*s>", n->group_thread_key, STR_FMT(host));
        break;
    case EMAIL_THREAD_DAILY:
        root = arena_printf(render->arena, "<%s.%lld@%.*s>", n->group_thread_key,
                            (long long)(n->now_ms / 86400000), STR_FMT(host));
        break;
    }
    mime_plain_header(out, "References", root);
    mime_plain_header(out, "In-Reply-To", root);
}

static bool put_headers(const struct render *render,
                        const struct mail_envelope *envelope,
                        struct buf *out,
                        struct err *err) {
    const struct notification *n = render->n;
    struct str host = mime_host(n->hello);
    if (find_header(render, "From") == NULL) {
        mime_address_header(out, "From", &envelope->from);
    }
    if (find_header(render, "To") == NULL) {
        mime_address_header(out, "To", &envelope->to);
    }
    if (find_header(render, "Subject") == NULL) {
        mime_text_header(out, "Subject", notification_title(n, render->arena));
    }
    if (find_header(render, "Message-Id") == NULL) {
        mime_plain_header(out, "Message-ID",
                          arena_printf(render->arena, "<%s@%.*s>", n->key, STR_FMT(host)));
    }
    put_thread(render, host, out);
    struct buf date;
    buf_init(&date, 64);
    mime_date(&date, n->now_ms);
    mime_plain_header(out, "Date", buf_as_str(&date));
    buf_finish(&date);
    if (find_header(render, "Auto-Submitted") == NULL) {
        mime_plain_header(out, "Auto-Submitted", STR("auto-generated")); /* RFC 3834 */
    }
    return put_custom_headers(render, out, err);
}

/* ---- body ---- */

/* Empty when the configuration says there shall be no such part. */
static bool part_text(const struct render *render, struct buf *out, struct err *err) {
    const struct template_text *text = &render->integration->email.text;
    struct str value = STR("");
    if (!render->is_default && text->text != NULL && text->text[0] != '\0') {
        if (!render_template(render, text, false, &value, err)) {
            return err_wrap(err, "text");
        }
        buf_str(out, value);
        return true;
    }
    render_text(render->n, render->arena, out);
    return true;
}

static bool part_html(const struct render *render, struct buf *out, struct err *err) {
    const struct template_text *html = &render->integration->email.html;
    struct str value = STR("");
    if (render->is_default || html->text == NULL) {
        render_html(render->n, render->arena, out);
        return true;
    }
    if (!render_template(render, html, true, &value, err)) {
        return err_wrap(err, "html");
    }
    buf_str(out, value);
    return true;
}

static void put_part(struct buf *out,
                     const char *boundary,
                     const char *content_type,
                     struct str text) {
    buf_printf(out,
               "--%s\r\nContent-Type: %s; charset=utf-8\r\n"
               "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
               boundary, content_type);
    mime_quoted_printable(out, text);
    buf_cstr(out, "\r\n");
}

bool render_email(const struct render *render,
                  const struct mail_envelope *envelope,
                  struct buf *out,
                  struct err *err) {
    struct buf text;
    struct buf html;
    buf_init(&text, BODY_BYTES_MAX);
    buf_init(&html, BODY_BYTES_MAX);
    bool is_ok = put_headers(render, envelope, out, err) && part_text(render, &text, err) &&
                 part_html(render, &html, err);
    if (is_ok && (text.is_over || html.is_over)) {
        is_ok = err_set(err, ERR_LIMIT, "mail text larger than %d bytes", BODY_BYTES_MAX);
    }
    if (is_ok) {
        /* "=_" never occurs in quoted-printable text */
        const char *boundary = arena_printf(render->arena, "=_tocsin_%s", render->n->key).ptr;
        buf_printf(out,
                   "MIME-Version: 1.0\r\nContent-Type: multipart/alternative;\r\n"
                   " boundary=\"%s\"\r\n\r\n",
                   boundary);
        put_part(out, boundary, "text/plain", buf_as_str(&text));
        if (html.len > 0) {
            put_part(out, boundary, "text/html", buf_as_str(&html));
        }
        buf_printf(out, "--%s--\r\n", boundary);
    }
    buf_finish(&text);
    buf_finish(&html);
    return is_ok;
}
