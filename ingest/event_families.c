/* Which series an event becomes: families, and the outputs of every kind. */
#include <assert.h>

#include "ingest/event.h"

static const double request_bounds[] = { 0.1, 0.25, 0.5, 1, 2.5, 5, 10 };
static const double llm_bounds[] = { 1, 2, 5, 10, 20, 30 };
static const double first_token_bounds[] = { 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60 };
static const double dependency_bounds[] = { 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60 };

#define BOUNDS(array) .bounds = (array), .bound_count = ARRAY_LEN(array)

const struct event_family_def event_families[EVENT_FAMILY_COUNT] = {
    [FAMILY_REQUESTS] = { "_requests_total", FAMILY_COUNTER, "HTTP requests finished.", NULL, 0 },
    [FAMILY_REQUEST_DURATION] = { "_request_duration_seconds", FAMILY_HISTOGRAM,
                                  "Time to the end of the response.", BOUNDS(request_bounds) },
    [FAMILY_REQUEST_TTFB] = { "_request_ttfb_seconds", FAMILY_HISTOGRAM,
                              "Time to the first byte of the response.", BOUNDS(request_bounds) },
    [FAMILY_REQUEST_OUTCOMES] = { "_request_outcomes_total", FAMILY_COUNTER,
                                  "Requests by what became of them, whatever the status said.",
                                  NULL, 0 },
    [FAMILY_RESPONSE_BYTES] = { "_response_bytes_total", FAMILY_COUNTER,
                                "Bytes of response bodies.", NULL, 0 },
    [FAMILY_LLM_CALLS] = { "_llm_calls_total", FAMILY_COUNTER, "LLM calls finished.", NULL, 0 },
    [FAMILY_LLM_DURATION] = { "_llm_response_duration_seconds", FAMILY_HISTOGRAM,
                              "Duration of LLM calls, retries included.", BOUNDS(llm_bounds) },
    [FAMILY_LLM_TTFT] = { "_llm_ttft_seconds", FAMILY_HISTOGRAM, "Time to the first token.",
                          BOUNDS(first_token_bounds) },
    [FAMILY_LLM_OUTCOMES] = { "_llm_call_outcomes_total", FAMILY_COUNTER, "LLM calls by outcome.",
                              NULL, 0 },
    [FAMILY_LLM_ERRORS] = { "_llm_errors_total", FAMILY_COUNTER,
                            "LLM calls that met an error, by its type.", NULL, 0 },
    [FAMILY_LLM_ATTEMPTS] = { "_llm_attempts_total", FAMILY_COUNTER, "Attempts made by LLM calls.",
                              NULL, 0 },
    [FAMILY_LLM_TOKENS] = { "_llm_tokens_total", FAMILY_COUNTER, "Tokens, by type.", NULL, 0 },
    [FAMILY_LLM_COST] = { "_llm_cost_usd_total", FAMILY_COUNTER,
                          "Cost of LLM calls in US dollars, as stated by the sender.", NULL, 0 },
    [FAMILY_LLM_CACHE_HITS] = { "_llm_cache_hits_total", FAMILY_COUNTER,
                                "LLM calls answered from the app's own cache.", NULL, 0 },
    [FAMILY_LLM_FALLBACKS] = { "_llm_fallbacks_total", FAMILY_COUNTER,
                               "LLM calls that took over from another model.", NULL, 0 },
    [FAMILY_LLM_RATELIMIT_LIMIT] = { "_llm_ratelimit_limit", FAMILY_GAUGE,
                                     "Rate limit as last stated by the provider.", NULL, 0 },
    [FAMILY_LLM_RATELIMIT_REMAINING] = { "_llm_ratelimit_remaining", FAMILY_GAUGE,
                                         "What is left of the rate limit, as last stated.", NULL,
                                         0 },
    [FAMILY_LLM_AVAILABLE] = { "_llm_provider_available", FAMILY_GAUGE,
                               "0 after three failed calls in a row, 1 from the next success on.",
                               NULL, 0 },
    [FAMILY_DEPENDENCY_CALLS] = { "_dependency_calls_total", FAMILY_COUNTER,
                                  "Calls of other services, by outcome.", NULL, 0 },
    [FAMILY_DEPENDENCY_DURATION] = { "_dependency_duration_seconds", FAMILY_HISTOGRAM,
                                     "Duration of calls of other services.",
                                     BOUNDS(dependency_bounds) },
    [FAMILY_REQUESTS_STARTED] = { "_requests_started_total", FAMILY_COUNTER, "HTTP requests begun.",
                                  NULL, 0 },
    [FAMILY_LLM_STARTED] = { "_llm_started_total", FAMILY_COUNTER, "LLM calls begun.", NULL, 0 },
    [FAMILY_DEPENDENCY_STARTED] = { "_dependency_started_total", FAMILY_COUNTER,
                                    "Calls of other services begun.", NULL, 0 },
    [FAMILY_CPU] = { "_cpu_usage_seconds", FAMILY_COUNTER,
                     "CPU time of all workers, those that ended included.", NULL, 0 },
    [FAMILY_LAST_EVENT] = { "_last_event_timestamp_seconds", FAMILY_GAUGE,
                            "When an event of this app was last heard.", NULL, 0 },
};

#define BY_ENDPOINT \
    { "endpoint", EVENT_ENDPOINT }
#define BY_PROVIDER \
    { "provider", EVENT_PROVIDER }
#define BY_MODEL \
    { "model", EVENT_MODEL }

const struct event_output event_outputs[] = {
    /* request */
    { EVENT_REQUEST, FAMILY_REQUESTS, EVENT_VALUE_WEIGHT,
      .labels = { { "method", EVENT_METHOD }, BY_ENDPOINT, { "status", EVENT_STATUS } } },
    { EVENT_REQUEST, FAMILY_REQUEST_DURATION, EVENT_DURATION_S, .labels = { BY_ENDPOINT } },
    { EVENT_REQUEST, FAMILY_REQUEST_TTFB, EVENT_TTFB_S, .labels = { BY_ENDPOINT } },
    { EVENT_REQUEST, FAMILY_REQUEST_OUTCOMES, EVENT_VALUE_WEIGHT,
      .labels = { BY_ENDPOINT, { "outcome", EVENT_OUTCOME } } },
    { EVENT_REQUEST, FAMILY_RESPONSE_BYTES, EVENT_BYTES, .labels = { BY_ENDPOINT } },

    /* llm; availability is kept by event_state.c */
    { EVENT_LLM, FAMILY_LLM_CALLS, EVENT_VALUE_WEIGHT, .labels = { BY_PROVIDER, BY_MODEL } },
    { EVENT_LLM, FAMILY_LLM_DURATION, EVENT_DURATION_S, .labels = { BY_PROVIDER, BY_MODEL } },
    { EVENT_LLM, FAMILY_LLM_TTFT, EVENT_TTFT_S, .labels = { BY_PROVIDER, BY_MODEL } },
    { EVENT_LLM, FAMILY_LLM_OUTCOMES, EVENT_VALUE_WEIGHT,
      .labels = { BY_PROVIDER, BY_MODEL, { "outcome", EVENT_OUTCOME } } },
    { EVENT_LLM, FAMILY_LLM_ERRORS, EVENT_VALUE_WEIGHT,
      .labels = { BY_PROVIDER, BY_MODEL, { "error_type", EVENT_ERROR_TYPE } } },
    { EVENT_LLM, FAMILY_LLM_ATTEMPTS, EVENT_ATTEMPTS, .labels = { BY_PROVIDER, BY_MODEL } },
    { EVENT_LLM, FAMILY_LLM_TOKENS, EVENT_TOKENS_IN, .labels = { BY_PROVIDER, BY_MODEL },
      .fixed_name = "type", .fixed_value = "input" },
    { EVENT_LLM, FAMILY_LLM_TOKENS, EVENT_TOKENS_OUT, .labels = { BY_PROVIDER, BY_MODEL },
      .fixed_name = "type", .fixed_value = "output" },
    { EVENT_LLM, FAMILY_LLM_TOKENS, EVENT_TOKENS_CACHE_READ, .labels = { BY_PROVIDER, BY_MODEL },
      .fixed_name = "type", .fixed_value = "cache_read" },
    { EVENT_LLM, FAMILY_LLM_TOKENS, EVENT_TOKENS_CACHE_WRITE, .labels = { BY_PROVIDER, BY_MODEL },
      .fixed_name = "type", .fixed_value = "cache_write" },
    { EVENT_LLM, FAMILY_LLM_TOKENS, EVENT_TOKENS_REASONING, .labels = { BY_PROVIDER, BY_MODEL },
      .fixed_name = "type", .fixed_value = "reasoning" },
    { EVENT_LLM, FAMILY_LLM_COST, EVENT_COST_USD, .labels = { BY_PROVIDER, BY_MODEL } },
    { EVENT_LLM, FAMILY_LLM_CACHE_HITS, EVENT_CACHE_HIT, .labels = { BY_PROVIDER, BY_MODEL } },
    { EVENT_LLM, FAMILY_LLM_FALLBACKS, EVENT_VALUE_WEIGHT,
      .labels = { BY_PROVIDER, BY_MODEL, { "fallback_from", EVENT_FALLBACK_FROM } } },
    { EVENT_LLM, FAMILY_LLM_RATELIMIT_LIMIT, EVENT_RATELIMIT_LIMIT,
      .labels = { BY_PROVIDER, BY_MODEL } },
    { EVENT_LLM, FAMILY_LLM_RATELIMIT_REMAINING, EVENT_RATELIMIT_REMAINING,
      .labels = { BY_PROVIDER, BY_MODEL } },

    /* dependency */
    { EVENT_DEPENDENCY, FAMILY_DEPENDENCY_CALLS, EVENT_VALUE_WEIGHT,
      .labels = { { "dependency", EVENT_DEPENDENCY_NAME }, { "outcome", EVENT_OUTCOME } } },
    { EVENT_DEPENDENCY, FAMILY_DEPENDENCY_DURATION, EVENT_DURATION_S,
      .labels = { { "dependency", EVENT_DEPENDENCY_NAME } } },

    /* begin */
    { EVENT_BEGIN, FAMILY_REQUESTS_STARTED, EVENT_VALUE_WEIGHT,
      .labels = { { "method", EVENT_METHOD }, BY_ENDPOINT }, .only_of = "request" },
    { EVENT_BEGIN, FAMILY_LLM_STARTED, EVENT_VALUE_WEIGHT, .labels = { BY_PROVIDER, BY_MODEL },
      .only_of = "llm" },
    { EVENT_BEGIN, FAMILY_DEPENDENCY_STARTED, EVENT_VALUE_WEIGHT,
      .labels = { { "dependency", EVENT_DEPENDENCY_NAME } }, .only_of = "dependency" },
};
const size_t event_output_count = ARRAY_LEN(event_outputs);
