/* What every unit test includes: cmocka and the headers it wants before it, and a few
 * checks on the project's own types. */
#ifndef LARDER_TESTS_UNIT_H
#define LARDER_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/str.h"

/* Shows the text when it differs, which assert_true(str_eq()) would not. */
#define assert_str(s, expected)                                                                              \
    do {                                                                                                     \
        struct str got_ = (s), want_ = (expected);                                                           \
        assert_int_equal(got_.n, want_.n);                                                                   \
        if (want_.n > 0)                                                                                     \
            assert_memory_equal(got_.p, want_.p, want_.n);                                                   \
    } while (0)

/* Of a random walk beside a model: as many steps as `make model` asks for, or the usual number. */
static inline uint64_t unit_model_steps(uint64_t usual)
{
    const char *text = getenv("LARDER_MODEL_STEPS");
    return text != NULL ? strtoull(text, NULL, 10) : usual;
}

/* Where its random numbers begin: another walk for each LARDER_MODEL_SEED. */
static inline uint64_t unit_model_seed(uint64_t usual)
{
    const char *text = getenv("LARDER_MODEL_SEED");
    return text != NULL ? usual + 1000 * strtoull(text, NULL, 10) : usual;
}

#endif
