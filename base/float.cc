/*
 * Doubles as text and back, identical to Go's strconv. std::to_chars supplies the shortest digits
 * and std::from_chars the correctly rounded value; everything about layout and accepted syntax is
 * decided here, because the two libraries disagree with Go on both.
 */
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

extern "C" {
#include "base/float.h"
}

namespace {

/* Shortest decimal digits d1 d2 … dn and the position of the point: 0.d1d2…dn × 10^point. */
struct digits {
    char text[24];
    int count;
    int point;
    bool is_negative;
};

digits shortest_digits(double value) {
    char sci[40];
    std::to_chars_result end =
        std::to_chars(sci, sci + sizeof(sci), value, std::chars_format::scientific);
    digits result = {};
    const char *at = sci;
    if (*at == '-') {
        result.is_negative = true;
        at++;
    }
    for (; *at != 'e'; at++) {
        if (*at != '.') {
            result.text[result.count++] = *at;
        }
    }
    at++;
    if (*at == '+') {
        at++;
    }
    int exponent = 0;
    std::from_chars(at, end.ptr, exponent);
    while (result.count > 1 && result.text[result.count - 1] == '0') {
        result.count--;
    }
    result.point = exponent + 1;
    if (value == 0) {
        result.point = 1;
    }
    return result;
}

size_t write_special(double value, char *out) {
    const char *text = std::isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
    size_t len = std::strlen(text);
    std::memcpy(out, text, len + 1);
    return len;
}

size_t write_fixed(const digits &d, char *out) {
    char *at = out;
    if (d.is_negative) {
        *at++ = '-';
    }
    if (d.point <= 0) {
        *at++ = '0';
    }
    for (int i = 0; i < d.point; i++) {
        *at++ = i < d.count ? d.text[i] : '0';
    }
    if (d.count > d.point) {
        *at++ = '.';
        for (int i = d.point; i < 0; i++) {
            *at++ = '0';
        }
        for (int i = d.point > 0 ? d.point : 0; i < d.count; i++) {
            *at++ = d.text[i];
        }
    }
    *at = '\0';
    return static_cast<size_t>(at - out);
}

/* Go prints at least two exponent digits. */
size_t write_exponent(const digits &d, char *out) {
    char *at = out;
    if (d.is_negative) {
        *at++ = '-';
    }
    *at++ = d.text[0];
    if (d.count > 1) {
        *at++ = '.';
        for (int i = 1; i < d.count; i++) {
            *at++ = d.text[i];
        }
    }
    int exponent = d.point - 1;
    *at++ = 'e';
    *at++ = exponent < 0 ? '-' : '+';
    if (exponent < 0) {
        exponent = -exponent;
    }
    if (exponent < 10) {
        *at++ = '0';
    }
    std::to_chars_result end = std::to_chars(at, at + 4, exponent);
    *end.ptr = '\0';
    return static_cast<size_t>(end.ptr - out);
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_hex_digit(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* A number cut into its parts, with enough about its magnitude to tell overflow from underflow. */
struct syntax {
    bool is_hex;
    const char *first; /* mantissa, without "0x" */
    const char *last;
    bool is_zero;
    long magnitude; /* digits between the first non-zero digit and the point, plus exponent */
};

constexpr long exponent_cap = 1000000;

/* One mantissa: digits with at most one point and at least one digit. */
const char *scan_mantissa(const char *at, const char *end, syntax *ret) {
    bool has_digit = false;
    bool has_point = false;
    long magnitude = 0;
    ret->is_zero = true;
    for (; at != end; at++) {
        if (*at == '.' && !has_point) {
            has_point = true;
            continue;
        }
        if (!(ret->is_hex ? is_hex_digit(*at) : is_digit(*at))) {
            break;
        }
        has_digit = true;
        if (ret->is_zero && *at != '0') {
            ret->is_zero = false;
            magnitude += has_point ? 0 : 1;
        } else if (ret->is_zero) {
            magnitude -= has_point ? 1 : 0;
        } else {
            magnitude += has_point ? 0 : 1;
        }
    }
    ret->magnitude = ret->is_hex ? magnitude * 4 : magnitude;
    return has_digit ? at : nullptr;
}

const char *scan_exponent(const char *at, const char *end, syntax *ret) {
    bool is_negative = false;
    if (at != end && (*at == '+' || *at == '-')) {
        is_negative = *at == '-';
        at++;
    }
    if (at == end || !is_digit(*at)) {
        return nullptr;
    }
    long exponent = 0;
    for (; at != end && is_digit(*at); at++) {
        if (exponent < exponent_cap) {
            exponent = exponent * 10 + (*at - '0');
        }
    }
    ret->magnitude += is_negative ? -exponent : exponent;
    return at;
}

/* [0-9.]+ ([eE][+-]?[0-9]+)?  or  0[xX][0-9a-fA-F.]+ [pP][+-]?[0-9]+  over the whole text. */
bool scan_number(const char *at, const char *end, syntax *ret) {
    ret->is_hex = end - at > 2 && at[0] == '0' && (at[1] == 'x' || at[1] == 'X');
    if (ret->is_hex) {
        at += 2;
    }
    ret->first = at;
    ret->last = end;
    at = scan_mantissa(at, end, ret);
    if (at == nullptr) {
        return false;
    }
    char mark = ret->is_hex ? 'p' : 'e';
    if (at != end && (*at == mark || *at == mark - 'a' + 'A')) {
        at = scan_exponent(at + 1, end, ret);
        return at == end;
    }
    return at == end && !ret->is_hex;
}

} // namespace

extern "C" {

size_t float_to_text(double value, char out[FLOAT_TEXT_MAX]) {
    if (!std::isfinite(value)) {
        return write_special(value, out);
    }
    return write_fixed(shortest_digits(value), out);
}

size_t float_to_exponent(double value, char out[FLOAT_TEXT_MAX]) {
    if (!std::isfinite(value)) {
        return write_special(value, out);
    }
    return write_exponent(shortest_digits(value), out);
}

size_t float_to_json(double value, char out[FLOAT_TEXT_MAX]) {
    double magnitude = std::fabs(value);
    bool is_extreme = magnitude != 0 && (magnitude < 1e-6 || magnitude >= 1e21);
    return is_extreme ? float_to_exponent(value, out) : float_to_text(value, out);
}

size_t float_to_general(double value, char out[FLOAT_TEXT_MAX]) {
    if (!std::isfinite(value)) {
        return write_special(value, out);
    }
    digits d = shortest_digits(value);
    int exponent = d.point - 1;
    /* strconv decides as if the precision were 6 when it was asked for the shortest text. */
    return exponent < -4 || exponent >= 6 ? write_exponent(d, out) : write_fixed(d, out);
}

void buf_float_text(struct buf *buf, double value) {
    char text[FLOAT_TEXT_MAX];
    buf_append(buf, text, float_to_text(value, text));
}

void buf_float_json(struct buf *buf, double value) {
    char text[FLOAT_TEXT_MAX];
    buf_append(buf, text, float_to_json(value, text));
}

void buf_float_general(struct buf *buf, double value) {
    char text[FLOAT_TEXT_MAX];
    buf_append(buf, text, float_to_general(value, text));
}

bool str_parse_f64(struct str text, double *ret) {
    const char *at = text.ptr;
    const char *end = text.ptr + text.len;
    bool is_negative = false;
    bool has_sign = text.len > 0 && (*at == '+' || *at == '-');
    if (has_sign) {
        is_negative = *at == '-';
        at++;
    }
    struct str body = { at, static_cast<size_t>(end - at) };
    if (str_eq_nocase(body, str_from("inf")) || str_eq_nocase(body, str_from("infinity"))) {
        double infinity = std::numeric_limits<double>::infinity();
        *ret = is_negative ? -infinity : infinity;
        return true;
    }
    if (!has_sign && str_eq_nocase(body, str_from("nan"))) {
        /* Go's NaN, which is also the value Prometheus calls the normal one. */
        const uint64_t bits = UINT64_C(0x7ff8000000000001);
        std::memcpy(ret, &bits, sizeof(bits));
        return true;
    }
    syntax number = {};
    if (!scan_number(at, end, &number)) {
        return false;
    }
    double value = 0;
    if (!number.is_zero) {
        std::chars_format format =
            number.is_hex ? std::chars_format::hex : std::chars_format::general;
        std::from_chars_result result = std::from_chars(number.first, number.last, value, format);
        if (result.ec == std::errc::result_out_of_range) {
            value = number.magnitude > 0 ? std::numeric_limits<double>::infinity() : 0;
        } else if (result.ec != std::errc() || result.ptr != number.last) {
            return false;
        }
    }
    *ret = is_negative ? -value : value;
    return true;
}
}
