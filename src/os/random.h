/* The system's randomness, for seeds, ids and tokens. */
#ifndef LARDER_OS_RANDOM_H
#define LARDER_OS_RANDOM_H

#include <stddef.h>

void os_random(void *p, size_t n);
/* n lower-case hex digits and a NUL. */
void os_random_hex(char *dst, size_t n);

#endif
