/* A listpack from anybody: refused, or sound in both directions. What is sound is then edited by the rest of
 * the input, each step held against a plain array of strings.
 *
 *      u16 bytes of listpack | listpack | steps: op, place, length, bytes of the member */
#include "base/assert.h"
#include "ds/listpack.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRIES_MAX = 300, BYTES_MAX = 1 << 18 };

struct feed {
    const uint8_t *p;
    size_t n;
};

struct model {
    struct str of[ENTRIES_MAX]; /* owned */
    uint32_t n;
};

static uint8_t take(struct feed *f)
{
    if (f->n == 0)
        return 0;
    f->n--;
    return *f->p++;
}

static struct str own(struct str s)
{
    char *p = malloc(s.n + 1);
    ASSERT(p != NULL);
    memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

static void model_insert(struct model *m, uint32_t i, struct str s)
{
    memmove(m->of + i + 1, m->of + i, (m->n - i) * sizeof *m->of);
    m->of[i] = own(s);
    m->n++;
}

static void model_remove(struct model *m, uint32_t i)
{
    free((char *)(uintptr_t)m->of[i].p);
    m->n--;
    memmove(m->of + i, m->of + i + 1, (m->n - i) * sizeof *m->of);
}

/* Forwards and backwards the same, and each entry where seek() says it is. */
static void compare(const char *lp, const struct model *m)
{
    char text[NUM_I64_TEXT_MAX];
    uint32_t count, i = 0;
    ASSERT(listpack_validate(lp, listpack_bytes(lp), &count) && count == m->n);
    ASSERT(listpack_count(lp) == m->n);
    for (size_t at = listpack_first(lp); at != 0; at = listpack_next(lp, at), i++) {
        ASSERT(i < m->n && str_eq(listpack_get(lp, at, text), m->of[i]));
        ASSERT(listpack_seek(lp, i) == at);
    }
    ASSERT(i == m->n);
    for (size_t at = listpack_last(lp); at != 0; at = listpack_prev(lp, at))
        ASSERT(i > 0 && str_eq(listpack_get(lp, at, text), m->of[--i]));
    ASSERT(i == 0);
}

static void step(char *lp, struct model *m, struct feed *f)
{
    uint8_t op = take(f), place = take(f);
    size_t n = take(f) * (op % 16 == 0 ? 40u : 1u), have = n < f->n ? n : f->n;
    struct str s = {(const char *)f->p, have};
    uint32_t i = m->n == 0 ? 0 : place % m->n;
    f->p += have;
    f->n -= have;
    if (op % 3 == 0 && m->n > 0) {
        listpack_remove(lp, listpack_seek(lp, i), 1);
        model_remove(m, i);
    } else if (op % 3 == 1) {
        size_t at = listpack_find(lp, listpack_first(lp), s, 0);
        uint32_t k = 0;
        while (k < m->n && !str_eq(m->of[k], s))
            k++;
        ASSERT(at == (k < m->n ? listpack_seek(lp, k) : 0));
    } else if (m->n < ENTRIES_MAX && listpack_bytes(lp) + listpack_room(s) <= BYTES_MAX) {
        size_t before = listpack_bytes(lp);
        bool last = op % 2 == 0 || m->n == 0;
        listpack_insert(lp, last ? 0 : listpack_seek(lp, i), s);
        ASSERT(listpack_bytes(lp) == before + listpack_room(s));
        model_insert(m, last ? m->n : i, s);
    }
}

/* The stranger's entries, or false when they are too many for the model. */
static bool learn(const char *lp, struct model *m)
{
    char text[NUM_I64_TEXT_MAX];
    for (size_t at = listpack_first(lp); at != 0; at = listpack_next(lp, at)) {
        if (m->n == ENTRIES_MAX)
            return false;
        model_insert(m, m->n, listpack_get(lp, at, text));
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model m;
    struct feed f = {data, size};
    size_t n = take(&f);
    n |= (size_t)take(&f) << 8;
    n = n < f.n ? n : f.n;
    char *given = malloc(n + 1), *lp = malloc(BYTES_MAX); /* of its very size, so that ASan sees its end */
    ASSERT(given != NULL && lp != NULL);
    memcpy(given, f.p, n);
    given = realloc(given, n > 0 ? n : 1);
    uint32_t count = 0;
    f.p += n;
    f.n -= n;
    listpack_init(lp);
    bool sound = listpack_validate(given, n, &count);
    if (sound) {
        ASSERT(listpack_bytes(given) == n && listpack_count(given) == count);
        memcpy(lp, given, n);
    }
    if (!sound || learn(lp, &m)) {
        /* Others may write a number or a length in more bytes than are needed; what is learned must hold. */
        compare(lp, &m);
        for (int i = 0; f.n > 0 && i < 1000; i++) {
            step(lp, &m, &f);
            compare(lp, &m);
        }
    }
    while (m.n > 0)
        model_remove(&m, m.n - 1);
    free(given);
    free(lp);
    return 0;
}
