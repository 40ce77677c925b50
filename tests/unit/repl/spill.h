/* A file that is an array, and counts what is done to it. */
#ifndef LARDER_TESTS_REPL_SPILL_H
#define LARDER_TESTS_REPL_SPILL_H

#include "unit.h"

#include "base/err.h"
#include "repl/changelog.h"

#include <string.h>

enum { SPILL_ROOM = 8 << 20 };

struct fake_spill {
    char bytes[SPILL_ROOM];
    uint64_t written, dropped;
    bool full;
};

static int fake_write(void *arg, uint64_t at, const void *p, size_t n)
{
    struct fake_spill *f = arg;
    if (f->full)
        return ERR_IO;
    for (size_t i = 0; i < n; i++)
        f->bytes[(at + i) % SPILL_ROOM] = ((const char *)p)[i];
    f->written += n;
    return 0;
}

static int fake_read(void *arg, uint64_t at, void *p, size_t n)
{
    struct fake_spill *f = arg;
    for (size_t i = 0; i < n; i++)
        ((char *)p)[i] = f->bytes[(at + i) % SPILL_ROOM];
    return 0;
}

static void fake_drop(void *arg, uint64_t at, size_t n)
{
    struct fake_spill *f = arg;
    f->dropped += n;
    for (size_t i = 0; i < n; i++)
        f->bytes[(at + i) % SPILL_ROOM] = '#';
}

static struct changelog_spill fake_spill_of(struct fake_spill *f)
{
    memset(f, 0, sizeof *f);
    return (struct changelog_spill){fake_write, fake_read, fake_drop, f, SPILL_ROOM};
}

#endif
