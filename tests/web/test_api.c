/*
 * Goal: the query API, federation and the pages answer as Prometheus 3.14 does, byte by byte where
 * clients look. Method: a table of targets over a small store whose clock stands still.
 */
#include <stdio.h>

#include "tests/web/site.h"

#define OK(data)  "{\"status\":\"success\",\"data\":" data "}"
#define BAD(text) "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"" text "\"}"

#define SELECTOR(type, name)                                                                \
    "{\"type\":\"" type "\",\"name\":\"" name "\",\"matchers\":[{\"type\":\"=\",\"name\":"  \
    "\"__name__\",\"value\":\"" name "\"}],\"offset\":0,\"offsetExpr\":null,\"timestamp\":" \
    "null,\"startOrEnd\":null,\"anchored\":false,\"smoothed\":false"
#define JOIN_LEFT  SELECTOR("vectorSelector", "a")
#define JOIN_RIGHT SELECTOR("vectorSelector", "d")

static const char rules_text[] =
    "groups:\n"
    "- name: first\n"
    "  interval: 10s\n"
    "  rules:\n"
    "  - {alert: Up, expr: up == 1, for: 20s, labels: {severity: page},\n"
    "     annotations: {summary: '<b>{{ $labels.job }}</b>'}}\n"
    "  - {record: 'job:up:sum', expr: sum by (job) (up)}\n"
    "- name: second\n"
    "  interval: 10s\n"
    "  rules:\n"
    "  - {alert: Never, expr: vector(1) > 2}\n";

static void tick_rules(struct site *site, int64_t seconds) {
    for (int64_t i = 0; i < seconds; i++) {
        fake_clock_advance(&site->store.clock, 1000);
        (void)rules_tick(site->rules, FIXTURE_NOW_MS + (i + 1) * 1000);
    }
}

static int setup(void **state) {
    static struct site site;
    site_init(&site);
    site_open(&site);
    site_load(&site, "# HELP up One when it answers.\n# TYPE up gauge\n"
                     "up{job=\"a\",instance=\"i:1\"} 1 1700000000000\n"
                     "up{job=\"b\",instance=\"i:2\"} 0 1700000000000\n"
                     "# TYPE old counter\nold 5 1600000000000\n"
                     "two 1 1699999990000\ntwo 2 1700000000000\n"
                     "odd{x=\"<script>\\\"\\\\\\n\"} NaN 1700000000000\n");
    struct diag_list diags;
    struct rule_set *set = NULL;
    struct rules_load_options options = { 0 };
    diag_list_init(&diags);
    assert_true(rules_load_text("r.yml", str_from(rules_text), &options, &set, &diags));
    diag_list_finish(&diags);
    rules_apply(site.rules, set, FIXTURE_NOW_MS);
    *state = &site;
    return 0;
}

static int teardown(void **state) {
    site_finish(*state);
    return 0;
}

struct answer {
    const char *target;
    int status;
    const char *body; /* "…" before a part of it */
};

static void assert_answers(struct site *site, const struct answer *answers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        assert_get(site, answers[i].target, answers[i].status, answers[i].body);
    }
}

#define Q  "/api/v1/query?time=1700000000&query="
#define QR "/api/v1/query_range?query="

static void test_query(void **state) {
    static const struct answer answers[] = {
        { Q "1", 200, OK("{\"resultType\":\"scalar\",\"result\":[1700000000,\"1\"]}") },
        { Q "%22x%22", 200, OK("{\"resultType\":\"string\",\"result\":[1700000000,\"x\"]}") },
        { Q "none", 200, OK("{\"resultType\":\"vector\",\"result\":[]}") },
        { Q "up%7Bjob=%22a%22%7D", 200,
          OK("{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":\"up\",\"instance\":"
             "\"i:1\",\"job\":\"a\"},\"value\":[1700000000,\"1\"]}]}") },
        { Q "up%7Bjob=%22a%22%7D[1m]", 200,
          OK("{\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"__name__\":\"up\",\"instance\":"
             "\"i:1\",\"job\":\"a\"},\"values\":[[1700000000,\"1\"]]}]}") },
        { "/api/v1/query?time=2023-11-14T22:13:20.5Z&query=time()", 200,
          OK("{\"resultType\":\"scalar\",\"result\":[1700000000.500,\"1700000000.5\"]}") },
        { "/api/v1/query?query=time()", 200,
          OK("{\"resultType\":\"scalar\",\"result\":[1700000000,\"1700000000\"]}") },
        { Q "1e-7", 200, "…\"1e-07\"" },
        { Q "-1/0", 200, "…\"-Inf\"" },
        { Q "odd", 200,
          "…{\"__name__\":\"odd\",\"x\":\"<script>\\\"\\\\\\n\"},\"value\":"
          "[1700000000,\"NaN\"]" },
        { Q "up&limit=1", 200, "…\"warnings\":[\"results truncated due to limit\"]" },
        { Q "up&limit=2", 200, "…\"value\":[1700000000,\"0\"]}]}}" },
        { Q "1&limit=1", 200, "…[1700000000,\"1\"]}}" },
        { Q "up&stats=true", 200,
          "…\"stats\":{\"timings\":{},\"samples\":{\"totalQueryableSamples\":2,"
          "\"peakSamples\":" },
        { Q "rate(two[5m])", 200,
          "…\"infos\":[\"PromQL info: metric might not be a counter, name "
          "does not end in _total/_sum/_count/_bucket: \\\"two\\\" (1:6)\"]" },
        { Q "up&lookback_delta=1ms", 200, "…\"result\":[{" },
        { "/api/v1/query?time=1700000010&query=up&lookback_delta=5s", 200, "…\"result\":[]" },
        { Q "sum(", 400,
          "…\"error\":\"invalid parameter \\\"query\\\": 1:5: parse error: unclosed "
          "left parenthesis" },
        { "/api/v1/query?query=1&time=x", 400,
          BAD("invalid parameter \\\"time\\\": invalid time value for 'time': cannot parse "
              "\\\"x\\\" "
              "to a valid timestamp") },
        { Q "1&timeout=x", 400,
          BAD("invalid parameter \\\"timeout\\\": cannot parse \\\"x\\\" to a valid duration") },
        { Q "1&limit=-1", 400, BAD("invalid parameter \\\"limit\\\": limit must be non-negative") },
        { Q "1&lookback_delta=x", 400,
          BAD("error parsing lookback delta duration: cannot parse \\\"x\\\" to a valid "
              "duration") },
        { Q "count_over_time(up[1d:1s])&timeout=0", 503, "…\"errorType\":\"timeout\"" },
        { Q "label_replace(up,%22a%22,%22b%22,%22c%22,%22(%22)", 422,
          "…\"errorType\":\"execution\"" },
    };
    assert_answers(*state, answers, ARRAY_LEN(answers));
}

static void test_query_range(void **state) {
    static const struct answer answers[] = {
        { QR "up%7Bjob=%22a%22%7D&start=1699999990&end=1700000020&step=15", 200,
          OK("{\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"__name__\":\"up\",\"instance\":"
             "\"i:1\",\"job\":\"a\"},\"values\":[[1700000005,\"1\"],[1700000020,\"1\"]]}]}") },
        { QR "1&start=0&end=11000&step=1", 200, "…[11000,\"1\"]]}]}}" },
        { QR "1&start=0&end=11001&step=1", 400,
          BAD("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the "
              "query resolution (?step=XX)") },
        { QR "1&end=1&step=1", 400,
          BAD("invalid parameter \\\"start\\\": cannot parse \\\"\\\" to a valid timestamp") },
        { QR "1&start=0&step=1", 400,
          BAD("invalid parameter \\\"end\\\": cannot parse \\\"\\\" to a valid timestamp") },
        { QR "1&start=0&end=1", 400,
          BAD("invalid parameter \\\"step\\\": cannot parse \\\"\\\" to a valid duration") },
        { QR "1&start=2&end=1&step=1", 400,
          BAD("invalid parameter \\\"end\\\": end timestamp must not be before start time") },
        { QR "1&start=0&end=1&step=-1", 400,
          BAD("invalid parameter \\\"step\\\": zero or negative query resolution step widths "
              "are not "
              "accepted. Try a positive integer") },
        { QR "up[1m]&start=0&end=1&step=1", 400,
          BAD("invalid parameter \\\"query\\\": invalid expression type \\\"range "
              "vector\\\" for range "
              "query, must be Scalar or instant Vector") },
        { QR "1&start=0&end=1&step=1e30", 400, "…It overflows int64" },
        { QR "1&start=9.1e15&end=9.1e15&step=1", 400, "…too far from the present" },
        { QR "up+offset+5m&start=-9.1e15&end=-9.1e15&step=1", 400, "…too far from the present" },
        { QR "none&start=0&end=1&step=1", 200, OK("{\"resultType\":\"matrix\",\"result\":[]}") },
    };
    assert_answers(*state, answers, ARRAY_LEN(answers));
}

static void test_series(void **state) {
    static const struct answer answers[] = {
        { "/api/v1/series?match[]=up", 200,
          OK("[{\"__name__\":\"up\",\"instance\":\"i:1\",\"job\":\"a\"},{\"__name__\":\"up\","
             "\"instance\":\"i:2\",\"job\":\"b\"}]") },
        { "/api/v1/series?match[]=up%7Bjob=%22b%22%7D&match[]=up", 200,
          OK("[{\"__name__\":\"up\",\"instance\":\"i:1\",\"job\":\"a\"},{\"__name__\":\"up\","
             "\"instance\":\"i:2\",\"job\":\"b\"}]") },
        { "/api/v1/series?match[]=none", 200, OK("[]") },
        { "/api/v1/series?match[]=up&start=1700003600", 200, OK("[]") },
        { "/api/v1/series?match[]=up&end=1690000000", 200, OK("[]") },
        { "/api/v1/series?match[]=up&start=-292273086-05-16T16:47:06Z&end=292277025-08-18T07:12:54."
          "999999999Z&limit=1",
          200,
          "{\"status\":\"success\",\"data\":"
          "[{\"__name__\":\"up\",\"instance\":\"i:1\",\"job\":\"a\"}],"
          "\"warnings\":[\"results truncated due to limit\"]}" },
        { "/api/v1/series", 400, BAD("no match[] parameter provided") },
        { "/api/v1/series?match[]=%7B%7D", 400,
          BAD("invalid parameter \\\"match[]\\\": match[] must contain at least one non-empty "
              "matcher") },
        { "/api/v1/series?match[]=%7Ba=~%22.*%22%7D", 400, "…at least one non-empty matcher" },
        { "/api/v1/series?match[]=up%7B", 400, "…invalid parameter \\\"match[]\\\": 1:" },
        { "/api/v1/series?match[]=up&start=2&end=1", 400, "…end" },
        { "/api/v1/labels", 200, OK("[\"__name__\",\"instance\",\"job\",\"x\"]") },
        { "/api/v1/labels?match[]=up&limit=1", 200,
          "{\"status\":\"success\",\"data\":[\"__name__\"],\"warnings\":[\"results truncated "
          "due to "
          "limit\"]}" },
        { "/api/v1/labels?match[]=none", 200, OK("[]") },
        { "/api/v1/labels?match[]=%7B%7D", 400,
          BAD("match[] must contain at least one non-empty matcher") },
        { "/api/v1/label/job/values", 200, OK("[\"a\",\"b\"]") },
        { "/api/v1/label/job/values?match[]=up%7Bjob=%22b%22%7D&match[]=odd", 200, OK("[\"b\"]") },
        { "/api/v1/label/U__job/values", 200, OK("[\"a\",\"b\"]") },
        { "/api/v1/label/U___6a_ob/values", 200, OK("[\"a\",\"b\"]") },
        { "/api/v1/label/U___6A_ob/values", 200, OK("[\"a\",\"b\"]") },
        { "/api/v1/label/U___zz_/values", 200, OK("[]") },
        { "/api/v1/label/%6aob/values", 200, OK("[\"a\",\"b\"]") },
        { "/api/v1/label/%ff/values", 400, "…invalid label name: " },
        { "/api/v1/metadata?metric=up", 200,
          OK("{\"up\":[{\"type\":\"gauge\",\"help\":\"One when it answers.\",\"unit\":\"\"}]}") },
        { "/api/v1/metadata?metric=none", 200, OK("{}") },
        { "/api/v1/metadata?limit=0", 200, OK("{}") },
        { "/api/v1/metadata?limit=1", 200,
          OK("{\"old\":[{\"type\":\"counter\",\"help\":\"\",\"unit\":\"\"}]}") },
        { "/api/v1/metadata?limit=x", 400, BAD("limit must be a number") },
        { "/api/v1/metadata?limit_per_metric=x", 400, BAD("limit_per_metric must be a number") },
    };
    assert_answers(*state, answers, ARRAY_LEN(answers));
}

#define LHS_A SELECTOR("vectorSelector", "a") "},\"rhs\":"

static void test_expressions(void **state) {
    static const struct answer answers[] = {
        { "/api/v1/format_query?query=sum(up)by(job)", 200, OK("\"sum by (job) (up)\"") },
        { "/api/v1/format_query?query=sum(", 400, "…invalid parameter \\\"query\\\": 1:5" },
        { "/api/v1/parse_query?query=up", 200, OK(SELECTOR("vectorSelector", "up") "}") },
        { "/api/v1/parse_query?query=sum+by(a)(rate(x[5m]))", 200,
          OK("{\"type\":\"aggregation\",\"op\":\"sum\",\"expr\":{\"type\":\"call\",\"func\":"
             "{\"name\":\"rate\",\"argTypes\":[\"matrix\"],\"variadic\":0,\"returnType\":"
             "\"vector\"},\"args\":[" SELECTOR(
                 "matrixSelector", "x") ",\"range\":300000,"
                                        "\"rangeExpr\":null}]},\"param\":null,\"grouping\":[\"a\"],"
                                        "\"without\":false}") },
        { "/api/v1/parse_query?query=a+*+on(b)+group_left(c)+d", 200,
          OK("{\"type\":\"binaryExpr\",\"op\":\"*\",\"lhs\":" JOIN_LEFT "},\"rhs\":" JOIN_RIGHT
             "},\"matching\":{\"card\":\"many-to-one\",\"labels\":[\"b\"],\"on\":true,"
             "\"include\":[\"c\"],\"fillValues\":{\"lhs\":null,\"rhs\":null}},"
             "\"bool\":false}") },
        { "/api/v1/parse_query?query=(1+%3E+bool+2e21)", 200,
          OK("{\"type\":\"parenExpr\",\"expr\":{\"type\":\"binaryExpr\",\"op\":\">\",\"lhs\":"
             "{\"type\":\"numberLiteral\",\"val\":\"1\"},\"rhs\":{\"type\":\"numberLiteral\","
             "\"val\":\"2000000000000000000000\"},\"matching\":null,\"bool\":true}}") },
        { "/api/v1/parse_query?query=-a[1h:5m]+offset+1m+@+end()", 400, "…parse error" },
        { "/api/v1/parse_query?query=max_over_time(a[1h:5m]+offset+1m+@+end())", 200,
          "…,\"range\":3600000,\"rangeExpr\":null,\"step\":300000,\"stepExpr\":null,"
          "\"offset\":60000,"
          "\"offsetExpr\":null,\"timestamp\":null,\"startOrEnd\":\"end\"}" },
        { "/api/v1/parse_query?query=-up+@+4", 200, "…{\"type\":\"unaryExpr\",\"op\":\"-\"," },
        { "/api/v1/parse_query?query=%22a%5C%22%22", 200,
          OK("{\"type\":\"stringLiteral\",\"val\":\"a\\\"\"}") },
        { "/api/v1/parse_query?query=(", 400, "…parse error" },
        { "/api/v1/query_exemplars?query=up&start=0&end=1", 200, OK("[]") },
        { "/api/v1/query_exemplars?query=sum(&start=0&end=1", 400, "…parse error" },
        { "/api/v1/query_exemplars?query=up&start=2&end=1", 400,
          BAD("end timestamp must not be before start timestamp") },
    };
    assert_answers(*state, answers, ARRAY_LEN(answers));
}

static void test_rules(void **state) {
    struct site *site = *state;
    static const struct answer before[] = {
        { "/api/v1/alerts", 200, OK("{\"alerts\":[]}") },
        { "/api/v1/rules?rule_group[]=second", 200,
          "…{\"groups\":[{\"name\":\"second\",\"file\":\"r.yml\",\"rules\":[{" },
        { "/api/v1/rules?rule_group[]=none", 200, OK("{\"groups\":[]}") },
        { "/api/v1/rules?file[]=other.yml", 200, OK("{\"groups\":[]}") },
        { "/api/v1/rules?type=record&rule_name[]=Up", 200, OK("{\"groups\":[]}") },
        { "/api/v1/rules?type=ALERT&rule_name[]=Up", 200, "…\"name\":\"Up\"" },
        { "/api/v1/rules?type=other", 400,
          BAD("invalid parameter \\\"type\\\": not supported value \\\"other\\\"") },
        { "/api/v1/rules?exclude_alerts=maybe", 400, "…invalid parameter \\\"exclude_alerts\\\"" },
        { "/api/v1/rules?match[]=%7Bseverity=%22page%22%7D", 200, "…\"name\":\"Up\"" },
        { "/api/v1/rules?match[]=%7Bseverity=%22none%22%7D", 200, OK("{\"groups\":[]}") },
        { "/api/v1/rules?match[]=%7B", 400, "…\"error\":\"1:" },
        { "/api/v1/rules?group_limit=0", 400,
          BAD("invalid parameter \\\"group_limit\\\": group_limit needs to be greater than 0") },
        { "/api/v1/rules?group_limit=x", 400, "…group_limit needs to be a valid number" },
        { "/api/v1/rules?group_next_token=x", 400, "…group_limit needs to be present" },
        { "/api/v1/rules?group_limit=1&group_next_token=x", 400,
          BAD("invalid parameter \\\"group_next_token\\\": invalid group_next_token 'x'. were rule "
              "groups changed?") },
    };
    assert_answers(site, before, ARRAY_LEN(before));
    /* Pages: the first names the second, the second is the last. */
    struct reply reply;
    ask(site, "GET", "/api/v1/rules?group_limit=1", "", STR(""), &reply);
    const char *token = strstr(reply.body.ptr, "\"groupNextToken\":\"");
    assert_non_null(token);
    char target[256];
    snprintf(target, sizeof(target), "/api/v1/rules?group_limit=1&group_next_token=%.64s",
             token + 18);
    reply_finish(&reply);
    ask(site, "GET", target, "", STR(""), &reply);
    assert_non_null(strstr(reply.body.ptr, "{\"groups\":[{\"name\":\"second\""));
    assert_null(strstr(reply.body.ptr, "groupNextToken"));
    reply_finish(&reply);

    tick_rules(site, 45);
    static const struct answer after[] = {
        { "/api/v1/alerts", 200,
          "…{\"alerts\":[{\"labels\":{\"alertname\":\"Up\",\"instance\":\"i:1\",\"job\":\"a\","
          "\"severity\":\"page\"},\"annotations\":{\"summary\":\"<b>a</b>\"},\"state\":\"firing\","
          "\"activeAt\":\"2023-11-14T22:13:" },
        { "/api/v1/alerts", 200, "…\"value\":\"1e+00\"" },
        { "/api/v1/rules?rule_name[]=Up", 200,
          "…\"state\":\"firing\",\"duration\":20,\"keepFiringFor\":0,\"annotations\":{\"summary\":"
          "\"<b>{{ $labels.job }}</b>\"},\"alerts\":[{" },
        { "/api/v1/rules?rule_name[]=Up&exclude_alerts=true", 200, "…\"alerts\":[]" },
        { "/api/v1/rules?rule_name[]=Never", 200, "…\"state\":\"inactive\"" },
        { "/api/v1/rules", 200,
          "…{\"name\":\"job:up:sum\",\"query\":\"sum by (job) (up)\","
          "\"labels\":{},\"health\":\"ok\",\"evaluationTime\":" },
    };
    assert_answers(site, after, ARRAY_LEN(after));
}

static void test_status(void **state) {
    static const struct answer answers[] = {
        { "/api/v1/status/buildinfo", 200, "…{\"status\":\"success\",\"data\":{\"version\":\"3." },
        { "/api/v1/status/flags", 200, OK("{}") },
        { "/api/v1/status/config", 200, OK("{\"yaml\":\"\"}") },
        { "/api/v1/status/walreplay", 200, "…\"state\":\"done\"}" },
        { "/api/v1/status/runtimeinfo", 200, "…\"startTime\":\"2023-11-14T22:13:20" },
        { "/api/v1/status/tsdb?limit=2", 200,
          "…\"seriesCountByMetricName\":[{\"name\":\"up\",\"value\":2},"
          "{\"name\":\"odd\",\"value\":1}],"
          "\"labelValueCountByLabelName\":[{\"name\":\"__name__\",\"value\":4},"
          "{\"name\":\"instance\","
          "\"value\":2}],\"memoryInBytesByLabelName\":[{\"name\":\"__name__\",\"value\":13},"
          "{\"name\":\"x\",\"value\":11}],"
          "\"seriesCountByLabelValuePair\":[{\"name\":\"__name__=up\","
          "\"value\":2}" },
        { "/api/v1/status/tsdb?limit=0", 400, BAD("limit must be a positive number") },
        { "/api/v1/status/tsdb?limit=10001", 400, BAD("limit must not exceed 10000") },
        { "/api/v1/targets", 200,
          OK("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}") },
        { "/api/v1/targets?state=other", 200,
          OK("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}") },
        { "/api/v1/targets/metadata", 200, OK("[]") },
        { "/api/v1/scrape_pools", 200, OK("{\"scrapePools\":[]}") },
        { "/api/v1/alertmanagers", 200,
          OK("{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}") },
        { "/api/v1/inbox", 200, OK("{\"total\":0,\"messages\":[]}") },
        { "/api/v1/inbox?offset=x", 400, "…invalid parameter \\\"offset\\\"" },
        { "/api/v1/notify/dead_letters", 200, OK("[]") },
        { "/api/v1/notify/status", 200, "…\"receivers\":[" },
        { "/health", 200, "…{\"status\":\"healthy\",\"uptime_seconds\":" },
        { "/-/healthy", 200, "tocsin is Healthy.\n" },
        { "/-/ready", 200, "tocsin is Ready.\n" },
        { "/metrics", 200, "…tocsin_http_requests_total{code=\"2xx\"} " },
    };
    assert_answers(*state, answers, ARRAY_LEN(answers));
}

static void test_federate(void **state) {
    static const struct answer answers[] = {
        { "/federate", 200, "" },
        { "/federate?match[]=none", 200, "" },
        { "/federate?match[]=old", 200, "" },
        { "/federate?match[]=up%7Bjob=%22a%22%7D&match[]=up", 200,
          "# TYPE up untyped\nup{instance=\"i:1\",job=\"a\"} 1 1700000000000\n"
          "up{instance=\"i:2\",job=\"b\"} 0 1700000000000\n" },
        { "/federate?match[]=odd", 200,
          "# TYPE odd untyped\nodd{instance=\"\",x=\"<script>\\\"\\\\\\n\"} NaN 1700000000000\n" },
        { "/federate?match[]=%7B%7D", 200, "…up{instance=\"i:2\",job=\"b\"} 0" },
        { "/federate?match[]=%7B", 400, "…1:2: parse error" },
    };
    assert_answers(*state, answers, ARRAY_LEN(answers));
}

/* What came from outside stays text. */
static void test_overview(void **state) {
    struct site *site = *state;
    struct reply reply;
    ask(site, "GET", "/", "", STR(""), &reply);
    assert_int_equal(reply.status, 200);
    assert_true(str_eq_c(reply_header(&reply, "Content-Type"), "text/html; charset=utf-8"));
    assert_non_null(strstr(reply.body.ptr, "&lt;b&gt;a&lt;/b&gt;"));
    assert_null(strstr(reply.body.ptr, "<b>a</b>"));
    assert_null(strstr(reply.body.ptr, "<script"));
    reply_finish(&reply);
}

static void test_doors(void **state) {
    struct site *site = *state;

    static const struct {
        const char *target;
        const char *headers;
        const char *body;
        int status;
        const char *needle;
    } cases[] = {
        { "/v1/events", "", "{\"kind\":\"beat\",\"app\":\"x\"}\n", 202, "\"accepted\":1" },
        { "/v1/events", "", "not json\n", 400, "\"line\":1" },
        { "/v1/events", "Content-Encoding: br\r\n", "x", 400, "br" },
        { "/api/v1/import/prometheus", "", "m 1 1700000000000\n", 204, "" },
        { "/api/v1/import/prometheus", "", "m{ 1\n", 400, "1:" },
        { "/api/v1/write", "", "", 400, "" },
        { "/api/v1/write", "Content-Encoding: snappy\r\nContent-Type: text/plain\r\n", "x", 415,
          "" },
        { "/api/v1/write", "Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n",
          "x", 400, "" },
        { "/api/v1/query", "Content-Type: application/json\r\n", "query=7&time=4", 200,
          "[4,\"7\"]" },
        { "/api/v1/query?query=8&time=4", "Content-Type: application/json\r\n", "", 200,
          "[4,\"8\"]" },
        { "/api/v1/query?query=8&time=4", "", "query=9", 200, "[4,\"9\"]" }, /* the form wins */
        { "/api/v1/query", "", "query=%4", 400, "malformed escape" },
        { "/api/v1/notify/test", "", "", 400, "receiver" },
        { "/api/v1/notify/test", "", "receiver=none", 404, "none" },
        { "/-/reload", "", "", 403, "Lifecycle API is not enabled." },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reply reply;
        ask(site, "POST", cases[i].target, cases[i].headers, str_from(cases[i].body), &reply);
        if (reply.status != cases[i].status ||
            str_find(buf_as_str(&reply.body), str_from(cases[i].needle)) == SIZE_MAX) {
            fail_msg("%zu %s: %d %s", i, cases[i].target, reply.status, reply.body.ptr);
        }
        reply_finish(&reply);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query),  cmocka_unit_test(test_query_range),
        cmocka_unit_test(test_series), cmocka_unit_test(test_expressions),
        cmocka_unit_test(test_status), cmocka_unit_test(test_federate),
        cmocka_unit_test(test_rules),  cmocka_unit_test(test_overview),
        cmocka_unit_test(test_doors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
