/* Numbers that the kernel tells as text: /proc and /sys. */
#ifndef LARDER_OS_PROC_H
#define LARDER_OS_PROC_H

#include "base/annotate.h"

#include <stdbool.h>
#include <stdint.h>

enum proc_limits { PROC_LINE_MAX = 1024 };

/* The number that is word `field` (0 = the first) of the file's first line. 0, ERR_IO when the
 * file cannot be read, ERR_SYNTAX when there is no number at that place. */
int proc_number(const char *path, unsigned field, int64_t *out) MUST_CHECK;

/* Does the file's first line contain the word? False when it cannot be read. */
bool proc_says(const char *path, const char *word);

#endif
