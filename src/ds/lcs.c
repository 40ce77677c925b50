#include "ds/lcs.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"

#include <string.h>

enum { WORD_BITS = 64, BYTES = 256 };

/* For each byte that occurs in a: the columns of b that hold it. */
struct columns {
    uint64_t *bits;
    size_t words;
    int16_t row[BYTES]; /* -1: not in a */
};

static int columns_init(struct columns *c, struct str a, struct str b, size_t words)
{
    int16_t n = 0;
    memset(c->row, 0xff, sizeof c->row);
    for (size_t i = 0; i < a.n; i++) {
        int16_t *row = &c->row[(uint8_t)a.p[i]];
        if (*row < 0)
            *row = n++;
    }
    c->words = words;
    c->bits = mem_zalloc((size_t)n * words * sizeof(uint64_t));
    if (c->bits == NULL)
        return ERR_OOM;
    for (size_t j = 0; j < b.n; j++) {
        int16_t row = c->row[(uint8_t)b.p[j]];
        if (row >= 0)
            c->bits[(size_t)row * words + j / WORD_BITS] |= 1ULL << (j % WORD_BITS);
    }
    return 0;
}

static const uint64_t *columns_of(const struct columns *c, char byte)
{
    return c->bits + (size_t)c->row[(uint8_t)byte] * c->words;
}

/* to = the row below `from`; the two may be the same. */
static void next_row(uint64_t *to, const uint64_t *from, const uint64_t *match, size_t words)
{
    unsigned carry = 0;
    for (size_t w = 0; w < words; w++) {
        uint64_t v = from[w], u = v & match[w], sum;
        bool over = __builtin_add_overflow(v, u, &sum);
        over |= __builtin_add_overflow(sum, carry, &sum);
        carry = over;
        to[w] = sum | (v - u);
    }
}

static uint32_t count_rises(const uint64_t *row, size_t columns)
{
    uint64_t n = 0;
    size_t w = 0;
    for (; w < columns / WORD_BITS; w++)
        n += (uint64_t)__builtin_popcountll(~row[w]);
    if (columns % WORD_BITS != 0)
        n += (uint64_t)__builtin_popcountll(~row[w] & ((1ULL << (columns % WORD_BITS)) - 1));
    return (uint32_t)n;
}

int lcs_compute(struct lcs *l, struct str a, struct str b, bool length_only)
{
    ASSERT(a.n < UINT32_MAX && b.n < UINT32_MAX);
    *l = (struct lcs){.a = a, .b = b, .words = b.n / WORD_BITS + 1};
    if (a.n == 0 || b.n == 0)
        return 0;
    struct columns columns;
    if (columns_init(&columns, a, b, l->words) != 0)
        return ERR_OOM;
    size_t kept = length_only ? 1 : a.n;
    uint64_t *rows = mem_alloc(kept * l->words * sizeof(uint64_t));
    if (rows == NULL) {
        mem_free(columns.bits);
        return ERR_OOM;
    }
    /* Above the first row nothing rises. */
    memset(rows, 0xff, l->words * sizeof(uint64_t));
    uint64_t *row = rows;
    const uint64_t *above = rows;
    for (size_t i = 0; i < a.n; i++) {
        next_row(row, above, columns_of(&columns, a.p[i]), l->words);
        above = row;
        row += length_only || i + 1 == a.n ? 0 : l->words;
    }
    l->length = count_rises(above, b.n);
    mem_free(columns.bits);
    if (length_only)
        mem_free(rows);
    else
        l->rows = rows;
    return 0;
}

void lcs_release(struct lcs *l)
{
    mem_free(l->rows);
    l->rows = NULL;
}

uint64_t lcs_steps(size_t a, size_t b)
{
    return (uint64_t)a * (b / WORD_BITS + 1) + b;
}

/* One step of the way back from cell (i, j): what the bytes before it say. */
enum step { STEP_MATCH, STEP_UP, STEP_LEFT };

static enum step step_back(const struct lcs *l, size_t i, size_t j)
{
    if (l->a.p[i - 1] == l->b.p[j - 1])
        return STEP_MATCH;
    const uint64_t *row = l->rows + (i - 1) * l->words;
    bool rises = !(row[(j - 1) / WORD_BITS] >> ((j - 1) % WORD_BITS) & 1);
    return rises ? STEP_UP : STEP_LEFT;
}

void lcs_text(const struct lcs *l, char *dst)
{
    size_t i = l->a.n, j = l->b.n, left = l->length;
    while (left > 0) {
        switch (step_back(l, i, j)) {
        case STEP_MATCH:
            dst[--left] = l->a.p[--i];
            j--;
            break;
        case STEP_UP: i--; break;
        case STEP_LEFT: j--; break;
        }
    }
}

void lcs_ranges(const struct lcs *l, lcs_range_fn *fn, void *arg)
{
    size_t i = l->a.n, j = l->b.n;
    struct lcs_range r = {0};
    bool open = false;
    while (i > 0 && j > 0) {
        enum step step = step_back(l, i, j);
        if (step == STEP_MATCH) {
            i--, j--;
            if (!open)
                r = (struct lcs_range){(uint32_t)i, (uint32_t)i, (uint32_t)j, (uint32_t)j};
            else
                r.a_first--, r.b_first--;
            open = true;
            if (i > 0 && j > 0)
                continue;
        } else {
            i -= step == STEP_UP;
            j -= step == STEP_LEFT;
        }
        if (open)
            fn(arg, &r);
        open = false;
    }
}
