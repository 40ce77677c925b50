/* What a value is called: by TYPE and SCAN, and by OBJECT ENCODING. */
#ifndef LARDER_CMD_TYPES_H
#define LARDER_CMD_TYPES_H

#include "store/entry.h"

/* "string", "set". */
const char *type_name(const struct entry *e);

/* "int", "embstr" or "raw", as Redis would hold a string; a collection's own. */
const char *type_encoding(const struct entry *e);

/* Is this string "raw": edited, or too long for anything else? `word` is its entry's. */
bool string_is_raw(uint32_t word, struct str value);

#endif
