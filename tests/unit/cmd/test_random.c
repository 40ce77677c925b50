/* Random edits and questions about one string, small enough for a segment or large enough
 * for a block, against a plain array of bytes and the slowest code that could be right. */
#include "harness.h"

#include "base/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIZE_MAX_ = 24 * 1024, ROUNDS = 60, STEPS = 300 };

static struct rng rng;
static struct harness h;
static uint8_t model[SIZE_MAX_ * 2];
static size_t size;
static struct buf want;
static char line[SIZE_MAX_ * 5];

static int64_t between(int64_t lo, int64_t hi)
{
    return lo + (int64_t)rng_below(&rng, (uint64_t)(hi - lo + 1));
}

static unsigned bit_at(uint64_t i)
{
    return i / 8 < size ? model[i / 8] >> (7 - i % 8) & 1u : 0;
}

static void set_bit(uint64_t i, unsigned bit)
{
    if (i / 8 >= size) {
        memset(model + size, 0, i / 8 + 1 - size);
        size = i / 8 + 1;
    }
    model[i / 8] = (uint8_t)((model[i / 8] & ~(0x80u >> i % 8)) | (bit ? 0x80u >> i % 8 : 0));
}

static void ask(void)
{
    assert_false(want.oom);
    struct str got = harness_line(&h, line);
    if (!str_eq(got, buf_str(&want)))
        fail_msg("%.200s\nexpected %.*s\ngot %.*s", line, (int)(want.n < 200 ? want.n : 200), want.p,
                 (int)(got.n < 200 ? got.n : 200), got.p);
}

static void want_int(int64_t v)
{
    buf_printf(&want, ":%" PRId64 "\r\n", v);
}

/* n bytes as the line's last argument, and into the model at `at`. */
static void put_bytes(size_t at, size_t n)
{
    char *p = line + strlen(line);
    *p++ = '"';
    uint8_t base = (uint8_t)rng_u64(&rng);
    for (size_t i = 0; i < n; i++) {
        model[at + i] = (uint8_t)(rng_below(&rng, 4) == 0 ? rng_u64(&rng) : base);
        p += sprintf(p, "\\x%02x", model[at + i]);
    }
    *p++ = '"';
    *p = '\0';
}

/* ---- edits ------------------------------------------------------------------------- */

static void append(void)
{
    size_t n = (size_t)between(0, rng_below(&rng, 8) == 0 ? SIZE_MAX_ / 2 : 40);
    if (size + n > SIZE_MAX_)
        return;
    strcpy(line, "APPEND k ");
    put_bytes(size, n);
    size += n;
    want_int((int64_t)size);
    ask();
}

static void set_range(void)
{
    size_t at = (size_t)between(0, (int64_t)size + 20), n = (size_t)between(0, 60);
    if (at + n > SIZE_MAX_)
        return;
    sprintf(line, "SETRANGE k %zu ", at);
    if (n > 0 && at > size)
        memset(model + size, 0, at - size);
    put_bytes(at, n);
    if (n > 0 && at + n > size)
        size = at + n;
    want_int((int64_t)size);
    ask();
}

static void set_bit_step(void)
{
    uint64_t at = (uint64_t)between(0, (int64_t)size * 8 + 30);
    unsigned bit = rng_below(&rng, 2);
    sprintf(line, "SETBIT k %" PRIu64 " %u", at, bit);
    want_int(bit_at(at));
    set_bit(at, bit);
    ask();
}

static void start_again(void)
{
    strcpy(line, "SET k ");
    size = (size_t)between(0, rng_below(&rng, 2) == 0 ? 30 : SIZE_MAX_);
    put_bytes(0, size);
    buf_puts(&want, STR("+OK\r\n"));
    ask();
}

/* One field, all three overflow rules, in 128 bits. */
static void bit_field(void)
{
    static const char *const rules[] = {"WRAP", "SAT", "FAIL"};
    bool is_signed = rng_below(&rng, 2) == 0, set = rng_below(&rng, 2) == 0;
    unsigned bits = (unsigned)between(1, is_signed ? 64 : 63), rule = rng_below(&rng, 3);
    uint64_t at = (uint64_t)between(0, (int64_t)size * 8 + 70), raw = 0;
    /* SET stays within a few bits of the field: far beyond, Redis saturates in the wrong direction. */
    unsigned width = bits + 2 > 63 || !set ? 63 : bits + 2;
    int64_t value = (int64_t)(rng_u64(&rng) >> (64 - width)) - (int64_t)(1ull << (width - 1));
    if (!is_signed && set && value < 0)
        value = -(value + 1);
    for (unsigned i = 0; i < bits; i++)
        raw = raw << 1 | bit_at(at + i);
    int64_t old = is_signed ? (int64_t)(raw << (64 - bits)) >> (64 - bits) : (int64_t)raw;
    __int128 max = ((__int128)1 << (is_signed ? bits - 1 : bits)) - 1, min = is_signed ? -max - 1 : 0;
    __int128 sum = (set ? 0 : (__int128)old) + value;
    bool refused = (sum > max || sum < min) && rule == 2;
    if (rule == 1)
        sum = sum > max ? max : sum < min ? min : sum;
    uint64_t fresh = (uint64_t)sum << (64 - bits) >> (64 - bits);
    sprintf(line, "BITFIELD k OVERFLOW %s %s %c%u %" PRIu64 " %" PRId64, rules[rule], set ? "SET" : "INCRBY",
            is_signed ? 'i' : 'u', bits, at, value);
    set_bit(at + bits - 1, bit_at(at + bits - 1)); /* grows even when it refuses */
    for (unsigned i = 0; i < bits && !refused; i++)
        set_bit(at + i, fresh >> (bits - 1 - i) & 1);
    int64_t shown = is_signed ? (int64_t)(fresh << (64 - bits)) >> (64 - bits) : (int64_t)fresh;
    if (refused)
        buf_puts(&want, STR("*1\r\n$-1\r\n"));
    else
        buf_printf(&want, "*1\r\n:%" PRId64 "\r\n", set ? old : shown);
    ask();
}

/* ---- questions --------------------------------------------------------------------- */

/* What Redis means by start and end in n things. */
static bool clamp(int64_t *start, int64_t *end, int64_t n)
{
    *start = *start < 0 ? *start + n : *start;
    *end = *end < 0 ? *end + n : *end;
    *start = *start < 0 ? 0 : *start;
    *end = *end < 0 ? 0 : *end;
    *end = *end >= n ? n - 1 : *end;
    return *start <= *end;
}

static void pick_range(int64_t *start, int64_t *end, int64_t n)
{
    *start = between(-n - 3, n + 3);
    *end = between(-n - 3, n + 3);
}

static void get_range(void)
{
    int64_t start, end;
    pick_range(&start, &end, (int64_t)size);
    sprintf(line, "GETRANGE k %" PRId64 " %" PRId64, start, end);
    bool backwards = start < 0 && end < 0 && start > end;
    bool any = clamp(&start, &end, (int64_t)size) && !backwards;
    size_t n = any ? (size_t)(end - start + 1) : 0;
    buf_printf(&want, "$%zu\r\n", n);
    buf_append(&want, model + (any ? start : 0), n);
    buf_puts(&want, STR("\r\n"));
    ask();
}

static void bit_count(void)
{
    int64_t start, end, n = 0;
    bool in_bits = rng_below(&rng, 2) == 0;
    pick_range(&start, &end, (int64_t)size * (in_bits ? 8 : 1));
    sprintf(line, "BITCOUNT k %" PRId64 " %" PRId64 " %s", start, end, in_bits ? "BIT" : "BYTE");
    bool backwards = start < 0 && end < 0 && start > end;
    if (clamp(&start, &end, (int64_t)size * (in_bits ? 8 : 1)) && !backwards)
        for (int64_t i = start * (in_bits ? 1 : 8); i <= (in_bits ? end : end * 8 + 7); i++)
            n += bit_at((uint64_t)i);
    want_int(n);
    ask();
}

static void bit_pos(void)
{
    int64_t start, end, at = -1;
    unsigned bit = rng_below(&rng, 2), form = rng_below(&rng, 4);
    bool in_bits = form == 3, has_end = form >= 2;
    pick_range(&start, &end, (int64_t)size * (in_bits ? 8 : 1));
    int used = sprintf(line, "BITPOS k %u", bit);
    if (form == 0)
        start = 0;
    else
        used += sprintf(line + used, " %" PRId64, start);
    if (has_end)
        used += sprintf(line + used, " %" PRId64, end);
    else
        end = -1;
    if (in_bits)
        sprintf(line + used, " BIT");
    if (clamp(&start, &end, (int64_t)size * (in_bits ? 8 : 1))) {
        int64_t last = in_bits ? end : end * 8 + 7;
        for (int64_t i = start * (in_bits ? 1 : 8); i <= last && at < 0; i++)
            if (bit_at((uint64_t)i) == bit)
                at = i;
        if (at < 0 && bit == 0 && !has_end)
            at = (int64_t)size * 8;
    }
    want_int(at);
    ask();
}

static void strings_behave_like_arrays(void **state)
{
    static void (*const steps[])(void) = {append,    append,    set_range, set_bit_step, bit_field,
                                          bit_field, get_range, get_range, bit_count,    bit_pos};
    harness_start(&h);
    buf_init(&want);
    for (int round = 0; round < ROUNDS; round++) {
        buf_clear(&want);
        start_again();
        for (int i = 0; i < STEPS; i++) {
            buf_clear(&want);
            steps[rng_below(&rng, ARRAY_LEN(steps))]();
            if (size > SIZE_MAX_ - 100)
                break;
        }
        store_check(h.store);
    }
    buf_release(&want);
    harness_stop(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_behave_like_arrays),
    };
    rng_init(&rng, 23);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
