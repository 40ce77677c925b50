#include "os/random.h"

#include "base/assert.h"

#include <errno.h>
#include <stdint.h>
#include <sys/random.h>

void os_random(void *p, size_t n)
{
    unsigned char *at = p;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        ASSERT(got > 0); /* there is no safe way on without randomness */
        at += got;
        n -= (size_t)got;
    }
}

void os_random_hex(char *dst, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    os_random(dst, n);
    for (size_t i = 0; i < n; i++)
        dst[i] = hex[(unsigned char)dst[i] & 15];
    dst[n] = '\0';
}
