/* Reads a golden vector whole. */
#ifndef LARDER_TESTS_CLUSTER_GOLDEN_H
#define LARDER_TESTS_CLUSTER_GOLDEN_H

#include <stdio.h>

#include "unit.h"

static inline struct str golden(const char *path, char *buf, size_t cap)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(buf, 1, cap, f);
    fclose(f);
    assert_true(n > 0 && n < cap);
    return (struct str){buf, n};
}

#endif
