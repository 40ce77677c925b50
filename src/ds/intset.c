#include "ds/intset.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <string.h>

static unsigned width_of(int64_t v)
{
    return v == (int16_t)v ? 2 : v == (int32_t)v ? 4 : 8;
}

static unsigned width(const char *is)
{
    return (unsigned)bytes_get_le(is, 4);
}

static int64_t number_at(const char *is, unsigned w, uint32_t i)
{
    const char *p = is + INTSET_EMPTY + (size_t)i * w;
    switch (w) {
    case 2: return (int16_t)bytes_get_le(p, 2);
    case 4: return (int32_t)bytes_get_le(p, 4);
    default: return (int64_t)bytes_get_le(p, 8);
    }
}

static void put_at(char *is, unsigned w, uint32_t i, int64_t v)
{
    bytes_put_le(is + INTSET_EMPTY + (size_t)i * w, (uint64_t)v, w);
}

static void set_count(char *is, uint32_t n)
{
    bytes_put_le(is + 4, n, 4);
}

void intset_init(char *is)
{
    bytes_put_le(is, 2, 4);
    set_count(is, 0);
}

uint32_t intset_count(const char *is)
{
    return (uint32_t)bytes_get_le(is + 4, 4);
}

size_t intset_bytes(const char *is)
{
    return INTSET_EMPTY + (size_t)intset_count(is) * width(is);
}

int64_t intset_at(const char *is, uint32_t i)
{
    DEBUG_ASSERT(i < intset_count(is));
    return number_at(is, width(is), i);
}

/* The first place whose number is not less than v. */
static uint32_t place_of(const char *is, int64_t v)
{
    unsigned w = width(is);
    uint32_t low = 0, high = intset_count(is);
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (number_at(is, w, mid) < v)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool is_at(const char *is, uint32_t i, int64_t v)
{
    return i < intset_count(is) && intset_at(is, i) == v;
}

bool intset_has(const char *is, int64_t v)
{
    return is_at(is, place_of(is, v), v);
}

size_t intset_room(const char *is, int64_t v)
{
    unsigned w = width(is), needed = width_of(v);
    return INTSET_EMPTY + ((size_t)intset_count(is) + 1) * (needed > w ? needed : w);
}

static void widen(char *is, unsigned to)
{
    unsigned from = width(is);
    for (uint32_t i = intset_count(is); i-- > 0;) /* backwards, so that nothing is overwritten unread */
        put_at(is, to, i, number_at(is, from, i));
    bytes_put_le(is, to, 4);
}

bool intset_add(char *is, int64_t v)
{
    uint32_t n = intset_count(is), i = place_of(is, v);
    if (is_at(is, i, v))
        return false;
    ASSERT(n < INTSET_COUNT_MAX);
    if (width_of(v) > width(is))
        widen(is, width_of(v));
    unsigned w = width(is);
    char *p = is + INTSET_EMPTY + (size_t)i * w;
    memmove(p + w, p, (size_t)(n - i) * w);
    put_at(is, w, i, v);
    set_count(is, n + 1);
    return true;
}

bool intset_remove(char *is, int64_t v)
{
    uint32_t n = intset_count(is), i = place_of(is, v);
    if (!is_at(is, i, v))
        return false;
    unsigned w = width(is);
    char *p = is + INTSET_EMPTY + (size_t)i * w;
    memmove(p, p + w, (size_t)(n - i - 1) * w);
    set_count(is, n - 1);
    return true;
}

bool intset_validate(const char *p, size_t n)
{
    if (n < INTSET_EMPTY)
        return false;
    unsigned w = width(p);
    uint32_t count = intset_count(p);
    if ((w != 2 && w != 4 && w != 8) || count > INTSET_COUNT_MAX || n != INTSET_EMPTY + (size_t)count * w)
        return false;
    for (uint32_t i = 1; i < count; i++)
        if (number_at(p, w, i - 1) >= number_at(p, w, i))
            return false;
    return true;
}
