/*
 * The HTTP and mail client: one thread around one curl multi handle.
 *
 * Hand-over   http_submit() builds the transfer on the caller's thread, appends it to `submitted`
 *             under the mutex and wakes the thread, which alone touches the multi handle and the
 *             list of active transfers. Callbacks run without the mutex.
 * End         http_client_destroy() sets is_stopping under the mutex and wakes the thread; the
 *             thread cancels what is active and what is still submitted, then returns.
 */
#include "base/http.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "base/http_transfer.h"
#include "base/mem.h"

enum {
    CONNECTIONS_MAX = 1024,
    IDLE_POLL_MS = 60000, /* submissions wake the poll; this only bounds one wait */
};

struct transfer_list {
    struct http_transfer *head;
    struct http_transfer *tail;
};

struct http_client {
    /* immutable after create */
    char *user_agent;
    CURLM *multi;
    pthread_t thread;

    pthread_mutex_t mutex;
    struct transfer_list submitted; /* guarded by mutex */
    bool is_stopping;               /* guarded by mutex */

    struct transfer_list active; /* owned by the thread */
};

/* ---- lists ---- */

static void list_append(struct transfer_list *list, struct http_transfer *transfer) {
    transfer->prev = list->tail;
    transfer->next = NULL;
    if (list->tail == NULL) {
        list->head = transfer;
    } else {
        list->tail->next = transfer;
    }
    list->tail = transfer;
}

static void list_remove(struct transfer_list *list, struct http_transfer *transfer) {
    if (transfer->prev == NULL) {
        list->head = transfer->next;
    } else {
        transfer->prev->next = transfer->next;
    }
    if (transfer->next == NULL) {
        list->tail = transfer->prev;
    } else {
        transfer->next->prev = transfer->prev;
    }
    transfer->next = NULL;
    transfer->prev = NULL;
}

static struct http_transfer *list_pop(struct transfer_list *list) {
    struct http_transfer *transfer = list->head;
    if (transfer != NULL) {
        list_remove(list, transfer);
    }
    return transfer;
}

/* ---- the thread ---- */

static void complete(struct http_transfer *transfer, const struct http_response *response) {
    transfer->done(transfer->ctx, response);
    http_transfer_destroy(transfer);
}

static void cancel(struct http_transfer *transfer) {
    struct http_response response = {
        .was_sent = transfer->was_sent,
        .retry_after_ms = -1,
        .body = STR(""),
        .content_type = STR(""),
    };
    err_set(&response.err, ERR_CANCELED, "the HTTP client is shutting down");
    complete(transfer, &response);
}

/* Take over what was submitted; false when the client is to stop. */
static bool start_submitted(struct http_client *client) {
    pthread_mutex_lock(&client->mutex);
    struct transfer_list fresh = client->submitted;
    bool is_stopping = client->is_stopping;
    client->submitted = (struct transfer_list){ 0 };
    pthread_mutex_unlock(&client->mutex);
    for (struct http_transfer *t = list_pop(&fresh); t != NULL; t = list_pop(&fresh)) {
        if (is_stopping) {
            cancel(t);
            continue;
        }
        CURLMcode code = curl_multi_add_handle(client->multi, t->easy);
        if (code != CURLM_OK) {
            BUG("curl_multi_add_handle: %s", curl_multi_strerror(code));
        }
        list_append(&client->active, t);
    }
    return !is_stopping;
}

static void finish_done(struct http_client *client) {
    int left = 0;
    for (CURLMsg *msg = curl_multi_info_read(client->multi, &left); msg != NULL;
         msg = curl_multi_info_read(client->multi, &left)) {
        if (msg->msg != CURLMSG_DONE) {
            continue;
        }
        CURLcode code = msg->data.result;
        char *private = NULL;
        CURLcode info = curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
        assert(info == CURLE_OK && private != NULL);
        (void)info;
        struct http_transfer *transfer = (struct http_transfer *)(void *)private;
        struct http_response response;
        http_transfer_result(transfer, code, &response);
        (void)curl_multi_remove_handle(client->multi, transfer->easy); /* msg is invalid now */
        list_remove(&client->active, transfer);
        complete(transfer, &response);
    }
}

static void *run(void *arg) {
    struct http_client *client = arg;
    while (start_submitted(client)) {
        int running = 0;
        CURLMcode code = curl_multi_perform(client->multi, &running);
        if (code != CURLM_OK) {
            BUG("curl_multi_perform: %s", curl_multi_strerror(code));
        }
        finish_done(client);
        code = curl_multi_poll(client->multi, NULL, 0, IDLE_POLL_MS, NULL);
        if (code != CURLM_OK) {
            BUG("curl_multi_poll: %s", curl_multi_strerror(code));
        }
    }
    for (struct http_transfer *t = list_pop(&client->active); t != NULL;
         t = list_pop(&client->active)) {
        (void)curl_multi_remove_handle(client->multi, t->easy);
        cancel(t);
    }
    return NULL;
}

/* ---- life ---- */

/* Signals are the main thread's business. */
static int start_thread(struct http_client *client) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&client->thread, NULL, run, client);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void free_client(struct http_client *client) {
    if (client->multi != NULL) {
        (void)curl_multi_cleanup(client->multi);
    }
    pthread_mutex_destroy(&client->mutex);
    mem_free(client->user_agent);
    mem_free(client);
    curl_global_cleanup();
}

bool http_client_create(const char *user_agent, struct http_client **ret, struct err *err) {
    if (!http_is_clean(user_agent)) {
        return err_set(err, ERR_INVALID, "the user agent holds a control character");
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return err_set(err, ERR_INTERNAL, "cannot initialise libcurl");
    }
    struct http_client *client = mem_calloc(1, sizeof(*client));
    client->user_agent = mem_strdup(user_agent);
    pthread_mutex_init(&client->mutex, NULL);
    client->multi = curl_multi_init();
    if (client->multi == NULL || curl_multi_wakeup(client->multi) != CURLM_OK) {
        free_client(client);
        return err_set(err, ERR_IO, "cannot create a curl multi handle (file descriptors?)");
    }
    (void)curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTIONS_MAX);
    int rc = start_thread(client);
    if (rc != 0) {
        free_client(client);
        return err_set_errno(err, ERR_IO, rc, "cannot start the HTTP client's thread");
    }
    *ret = client;
    return true;
}

void http_client_destroy(struct http_client *client) {
    if (client == NULL) {
        return;
    }
    pthread_mutex_lock(&client->mutex);
    client->is_stopping = true;
    pthread_mutex_unlock(&client->mutex);
    (void)curl_multi_wakeup(client->multi);
    int rc = pthread_join(client->thread, NULL);
    assert(rc == 0);
    (void)rc;
    assert(client->submitted.head == NULL && client->active.head == NULL);
    free_client(client);
}

bool http_submit(struct http_client *client,
                 const struct http_request *request,
                 http_done_fn done,
                 void *ctx,
                 struct err *err) {
    struct http_transfer *transfer = NULL;
    if (!http_transfer_create(client->user_agent, request, &transfer, err)) {
        return false;
    }
    transfer->done = done;
    transfer->ctx = ctx;
    pthread_mutex_lock(&client->mutex);
    bool is_stopping = client->is_stopping;
    if (!is_stopping) {
        list_append(&client->submitted, transfer);
    }
    pthread_mutex_unlock(&client->mutex);
    if (is_stopping) {
        http_transfer_destroy(transfer);
        return err_set(err, ERR_UNAVAILABLE, "the HTTP client is shutting down");
    }
    (void)curl_multi_wakeup(client->multi);
    return true;
}

/* ---- waiting ---- */

struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_done; /* guarded by mutex, as are the next two */
    struct http_response *response;
    struct buf *body;
};

static void wake_waiter(void *ctx, const struct http_response *response) {
    struct waiter *waiter = ctx;
    pthread_mutex_lock(&waiter->mutex);
    *waiter->response = *response;
    waiter->response->body = STR("");
    waiter->response->content_type = STR("");
    buf_str(waiter->body, response->body);
    waiter->is_done = true;
    pthread_cond_signal(&waiter->changed);
    pthread_mutex_unlock(&waiter->mutex);
}

bool http_perform_blocking(struct http_client *client,
                           const struct http_request *request,
                           struct http_response *ret_response,
                           struct buf *ret_body,
                           struct err *err) {
    assert(!pthread_equal(pthread_self(), client->thread));
    struct waiter waiter = { .response = ret_response, .body = ret_body };
    pthread_mutex_init(&waiter.mutex, NULL);
    pthread_cond_init(&waiter.changed, NULL);
    bool is_submitted = http_submit(client, request, wake_waiter, &waiter, err);
    if (is_submitted) {
        pthread_mutex_lock(&waiter.mutex);
        while (!waiter.is_done) {
            pthread_cond_wait(&waiter.changed, &waiter.mutex);
        }
        pthread_mutex_unlock(&waiter.mutex);
    }
    pthread_cond_destroy(&waiter.changed);
    pthread_mutex_destroy(&waiter.mutex);
    return is_submitted;
}
