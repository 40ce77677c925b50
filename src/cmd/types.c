#include "cmd/types.h"

#include "base/num.h"

enum {
    EMBSTR_MAX = 44, /* bytes that Redis allocates together with their header */
};

const char *type_name(const struct entry *e)
{
    const struct object *o = entry_object(e);
    return o != NULL ? object_type(o)->name : "string";
}

bool string_is_raw(uint32_t word, struct str value)
{
    return (word & ENTRY_RAW) || value.n > EMBSTR_MAX;
}

/* Redis chooses the encoding when a string is set, and changes it to raw when it is edited.
 * We hold all strings alike and say what Redis would have chosen. */
const char *type_encoding(const struct entry *e)
{
    const struct object *o = entry_object(e);
    if (o != NULL)
        return object_type(o)->encoding(o);
    uint32_t word = entry_word(e);
    struct block *block;
    struct str value = entry_string(e, &block);
    int64_t number;
    if (string_is_raw(word, value))
        return "raw";
    if (!(word & ENTRY_TEXT) && num_parse_i64(value, &number))
        return "int";
    return "embstr";
}
