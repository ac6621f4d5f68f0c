/*
 * RE2 behind C functions. Patterns arrive translated (regex_syntax.c); errors leave in the words
 * of Go's regexp package, which is what users of Prometheus know.
 */
#include <memory>
#include <new>
#include <re2/re2.h>
#include <string>

/* C allows regex_shape() beside struct regex_shape; gcc's C++ calls that shadowing. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"

extern "C" {
#include "base/regex.h"
#include "base/regex_syntax.h"
}

#pragma GCC diagnostic pop

namespace {

/* Matching is linear in text times program: both need a cap. */
constexpr int program_size_max = 10000;
constexpr size_t shape_arena_bytes_max = size_t{ 4 } << 20;

const char *go_message(re2::RE2::ErrorCode code) {
    switch (code) {
    case RE2::NoError: break;
    case RE2::ErrorInternal: return "internal error";
    case RE2::ErrorBadEscape: return "invalid escape sequence";
    case RE2::ErrorBadCharClass: return "invalid character class";
    case RE2::ErrorBadCharRange: return "invalid character class range";
    case RE2::ErrorMissingBracket: return "missing closing ]";
    case RE2::ErrorMissingParen: return "missing closing )";
    case RE2::ErrorUnexpectedParen: return "unexpected )";
    case RE2::ErrorTrailingBackslash: return "trailing backslash at end of expression";
    case RE2::ErrorRepeatArgument: return "missing argument to repetition operator";
    case RE2::ErrorRepeatSize: return "invalid repeat count";
    case RE2::ErrorRepeatOp: return "invalid nested repetition operator";
    case RE2::ErrorBadPerlOp: return "invalid or unsupported Perl syntax";
    case RE2::ErrorBadUTF8: return "invalid UTF-8";
    case RE2::ErrorBadNamedCapture: return "invalid named capture";
    case RE2::ErrorPatternTooLarge: return "expression too large";
    }
    return "unknown error";
}

RE2::Options options() {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_dot_nl(false); /* the anchoring wrapper says (?s: itself */
    return options;
}

/* `pattern` is what the user wrote: the offending part must not show what the translation made of
 * it. */
bool set_error(const RE2 &re, struct str pattern, struct err *err) {
    bool is_large = re.error_code() == RE2::ErrorPatternTooLarge;
    std::string part = re.error_arg();
    if (part.rfind("(?P<", 0) == 0 && str_find(pattern, str_from("(?P<")) == SIZE_MAX) {
        part.erase(2, 1);
    }
    return err_set(err, is_large ? ERR_LIMIT : ERR_INVALID, "error parsing regexp: %s: `%.*s`",
                   go_message(re.error_code()),
                   static_cast<int>(part.size() > 200 ? 200 : part.size()), part.data());
}

re2::StringPiece piece(struct str text) {
    return re2::StringPiece(text.ptr == nullptr ? "" : text.ptr, text.len);
}

} // namespace

struct regex {
    RE2 re;
    struct arena arena; /* the shape's strings */
    struct regex_shape shape;

    explicit regex(const std::string &pattern) : re(pattern, options()), arena(), shape() {
        arena_init(&arena, SIZE_MAX);
        shape.prefix = str_from("");
    }

    ~regex() {
        arena_finish(&arena);
    }

    regex(const regex &) = delete;
    regex &operator=(const regex &) = delete;
};

namespace {

void keep_shape(struct regex *regex, const std::string &pattern) {
    struct arena scratch;
    arena_init(&scratch, shape_arena_bytes_max);
    struct regex_shape shape = regex_analyse(str_n(pattern.data(), pattern.size()), &scratch);
    auto *set =
        static_cast<struct str *>(arena_calloc(&regex->arena, shape.set_count, sizeof(struct str)));
    for (size_t i = 0; i < shape.set_count; i++) {
        set[i] = arena_str(&regex->arena, shape.set[i]);
    }
    regex->shape.set = shape.set_count == 0 ? nullptr : set;
    regex->shape.set_count = shape.set_count;
    regex->shape.prefix = arena_str(&regex->arena, shape.prefix);
    arena_finish(&scratch);
}

bool translate(struct str pattern, std::string *ret, struct err *err) {
    struct buf translated;
    buf_init(&translated, 3 * REGEX_PATTERN_BYTES_MAX);
    bool ok = regex_translate(pattern, &translated, err);
    if (ok) {
        struct str text = buf_as_str(&translated);
        ret->assign(text.ptr, text.len);
    }
    buf_finish(&translated);
    return ok;
}

/* A pattern on its way to RE2. */
struct source {
    struct str pattern;  /* as the user wrote it */
    std::string plain;   /* translated */
    std::string wrapped; /* and anchored, if it is to be */
};

bool compile(const source &source, struct regex **ret, struct err *err) {
    std::unique_ptr<struct regex> regex(new struct regex(source.wrapped));
    if (!regex->re.ok()) {
        /* The error of the unwrapped pattern does not mention the wrapper. */
        RE2 alone(source.plain, options());
        return set_error(alone.ok() ? regex->re : alone, source.pattern, err);
    }
    if (regex->re.ProgramSize() > program_size_max) {
        return err_set(err, ERR_LIMIT,
                       "error parsing regexp: expression too large: %d states exceed the limit "
                       "of %d",
                       regex->re.ProgramSize(), program_size_max);
    }
    *ret = regex.release();
    return true;
}

} // namespace

extern "C" {

bool regex_create(struct str pattern, struct regex **ret, struct err *err) {
    source source = { pattern, "", "" };
    if (!translate(pattern, &source.plain, err)) {
        return false;
    }
    source.wrapped = "^(?s:" + source.plain + ")$";
    if (!compile(source, ret, err)) {
        return false;
    }
    keep_shape(*ret, source.plain);
    return true;
}

bool regex_create_unanchored(struct str pattern, struct regex **ret, struct err *err) {
    source source = { pattern, "", "" };
    if (!translate(pattern, &source.plain, err)) {
        return false;
    }
    source.wrapped = source.plain;
    return compile(source, ret, err);
}

void regex_destroy(struct regex *regex) {
    delete regex;
}

bool regex_matches(const struct regex *regex, struct str text) {
    return regex->re.Match(piece(text), 0, text.len, RE2::UNANCHORED, nullptr, 0);
}

size_t regex_groups_from(const struct regex *regex,
                         struct str text,
                         size_t start,
                         struct str ret_groups[REGEX_GROUPS_MAX]) {
    re2::StringPiece groups[REGEX_GROUPS_MAX];
    int count = regex->re.NumberOfCapturingGroups() + 1;
    if (count > REGEX_GROUPS_MAX) {
        count = REGEX_GROUPS_MAX;
    }
    if (!regex->re.Match(piece(text), start, text.len, RE2::UNANCHORED, groups, count)) {
        return 0;
    }
    for (int i = 0; i < count; i++) {
        ret_groups[i] = str_n(groups[i].data(), groups[i].size());
    }
    return static_cast<size_t>(count);
}

size_t regex_groups(const struct regex *regex,
                    struct str text,
                    struct str ret_groups[REGEX_GROUPS_MAX]) {
    return regex_groups_from(regex, text, 0, ret_groups);
}

size_t regex_group_index(const struct regex *regex, struct str name) {
    const auto &names = regex->re.NamedCapturingGroups();
    auto found = names.find(std::string(name.len == 0 ? "" : name.ptr, name.len));
    return found == names.end() ? SIZE_MAX : static_cast<size_t>(found->second);
}

bool regex_group_has_name(const struct regex *regex, size_t index, struct str name) {
    const auto &names = regex->re.CapturingGroupNames();
    auto found = names.find(static_cast<int>(index));
    return found != names.end() && str_eq(str_n(found->second.data(), found->second.size()), name);
}

size_t regex_word_bytes(struct str text) {
    /* Immutable after its one construction, and never destroyed: other threads may still match
     * while the process exits. */
    static const RE2 &word = *new RE2("^[\\pL\\p{Nd}_]+", options());
    re2::StringPiece match;
    return word.Match(piece(text), 0, text.len, RE2::UNANCHORED, &match, 1) ? match.size() : 0;
}

const struct regex_shape *regex_shape(const struct regex *regex) {
    return &regex->shape;
}
}
