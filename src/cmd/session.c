#include "cmd/session.h"

#include "base/alloc.h"

bool session_name_ok(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '!' || s.p[i] > '~')
            return false;
    return true;
}

bool session_set_name(struct session *ss, char **slot, struct str s)
{
    char *copy = s.n == 0 ? NULL : mem_strndup(s.p, s.n);
    if (s.n > 0 && copy == NULL)
        return false;
    ss->names_bytes += s.n;
    ss->names_bytes -= *slot != NULL ? strlen(*slot) : 0;
    mem_free(*slot);
    *slot = copy;
    return true;
}

void session_release(struct session *s, struct store *store)
{
    txn_release(&s->txn, store);
    mem_free(s->name);
    mem_free(s->lib_name);
    mem_free(s->lib_ver);
    s->name = s->lib_name = s->lib_ver = NULL;
}
