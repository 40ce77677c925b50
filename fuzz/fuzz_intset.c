/* An intset from anybody: refused, or ascending and complete. What is sound is then edited by the rest of the
 * input, each step held against a plain array of numbers.
 *
 *      u16 bytes of intset | intset | steps of 9 bytes: op, number */
#include "base/assert.h"
#include "ds/intset.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NUMBERS_MAX = 1000, STEP = 9 };

struct model {
    int64_t of[NUMBERS_MAX]; /* in any order */
    uint32_t n;
};

static uint32_t model_find(const struct model *m, int64_t v)
{
    uint32_t i = 0;
    while (i < m->n && m->of[i] != v)
        i++;
    return i;
}

static void compare(const char *is, const struct model *m)
{
    ASSERT(intset_validate(is, intset_bytes(is)) && intset_count(is) == m->n);
    for (uint32_t i = 0; i < m->n; i++) {
        ASSERT(i == 0 || intset_at(is, i - 1) < intset_at(is, i));
        ASSERT(intset_has(is, m->of[i]) && model_find(m, intset_at(is, i)) < m->n);
    }
}

/* Narrow numbers, too, so that all widths come up. */
static int64_t number(const uint8_t *p)
{
    int64_t v;
    memcpy(&v, p + 1, sizeof v);
    switch (p[0] >> 6) {
    case 0: return (int8_t)v;
    case 1: return (int16_t)v;
    case 2: return (int32_t)v;
    default: return v;
    }
}

/* `is` has room for just what it holds, and is made larger by just what is asked for. */
static char *step(char *is, struct model *m, const uint8_t *p)
{
    int64_t v = number(p);
    uint32_t i = model_find(m, v);
    ASSERT(intset_has(is, v) == (i < m->n));
    if (p[0] % 2 == 0 && m->n < NUMBERS_MAX) {
        size_t room = intset_room(is, v), all = room > intset_bytes(is) ? room : intset_bytes(is);
        is = realloc(is, all);
        ASSERT(is != NULL);
        ASSERT(intset_add(is, v) == (i == m->n));
        ASSERT(intset_bytes(is) <= all);
        if (i == m->n)
            m->of[m->n++] = v;
    } else if (p[0] % 2 == 1) {
        ASSERT(intset_remove(is, v) == (i < m->n));
        if (i < m->n)
            m->of[i] = m->of[--m->n];
    }
    return is;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model m;
    if (size < 2)
        return 0;
    size_t n = data[0] | (size_t)data[1] << 8;
    data += 2;
    size -= 2;
    n = n < size ? n : size;
    char *is = malloc(n > INTSET_EMPTY ? n : INTSET_EMPTY);
    ASSERT(is != NULL);
    memcpy(is, data, n);
    m.n = 0;
    if (!intset_validate(is, n) || intset_count(is) > NUMBERS_MAX)
        intset_init(is);
    for (uint32_t i = 0; i < intset_count(is); i++)
        m.of[m.n++] = intset_at(is, i);
    compare(is, &m);
    for (const uint8_t *p = data + n; (size_t)(data + size - p) >= STEP; p += STEP) {
        is = step(is, &m, p);
        compare(is, &m);
    }
    free(is);
    return 0;
}
