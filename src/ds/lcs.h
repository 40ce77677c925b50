/* The longest common subsequence of two byte strings, 64 cells of the classic table
 * at a time.
 *
 * In row i of that table the numbers rise by 0 or 1 from one column to the next. One
 * bit a column says all: 0 where it rises. Row i follows from row i-1 and the
 * columns that hold a[i] by one addition and three logical operations a word (Hyyrö,
 * "Bit-parallel LCS-length computation revisited", 2004):
 *
 *      u = v & columns[a[i]]
 *      v = (v + u) | (v - u)
 *
 * Walking back needs nothing else: where a[i] and b[j] differ, the path goes up if row i
 * rises at j, and left if not. So the history is one bit a cell where the table takes
 * 32, and both time and memory are far below what Redis needs for the same answer. */
#ifndef LARDER_DS_LCS_H
#define LARDER_DS_LCS_H

#include "base/annotate.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/* One run of bytes that both strings share; the last byte counted in. */
struct lcs_range {
    uint32_t a_first, a_last, b_first, b_last;
};

struct lcs {
    struct str a, b; /* borrowed */
    uint32_t length; /* of the subsequence */
    size_t words;    /* of a row */
    uint64_t *rows;  /* one a byte of a; NULL when only the length was asked for */
};

/* Returns 0 or ERR_OOM; lcs_release() only after 0. Takes lcs_steps(), and at most
 * a.n * b.n / 4 + 8 * a.n bytes and a little. Both lengths must be below 2^32 - 1. */
int lcs_compute(struct lcs *l, struct str a, struct str b, bool length_only) MUST_CHECK;
void lcs_release(struct lcs *l);

/* For an estimate of time: a step takes 1-2 ns, and its 8 bytes of history as long as fresh memory takes. */
uint64_t lcs_steps(size_t a, size_t b);

/* The subsequence itself: l->length bytes. */
void lcs_text(const struct lcs *l, char *dst);

/* The runs, from the last to the first, as Redis cuts them. */
typedef void lcs_range_fn(void *arg, const struct lcs_range *r);
void lcs_ranges(const struct lcs *l, lcs_range_fn *fn, void *arg);

#endif
