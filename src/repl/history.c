#include "repl/history.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"

#include <string.h>

static const char no_id[HISTORY_ID + 1] = "0000000000000000000000000000000000000000";

static void put_id(char dst[HISTORY_ID + 1], const char *id)
{
    memcpy(dst, id, HISTORY_ID);
    dst[HISTORY_ID] = '\0';
}

bool history_id_ok(struct str id)
{
    if (id.n != HISTORY_ID)
        return false;
    for (size_t i = 0; i < id.n; i++)
        if (!(id.p[i] >= '0' && id.p[i] <= '9') && !(id.p[i] >= 'a' && id.p[i] <= 'f'))
            return false;
    return true;
}

void history_init(struct history *h, const char *id)
{
    put_id(h->id, id);
    put_id(h->id2, no_id);
    h->second = -1;
}

bool history_covers(const struct history *h, struct str id, int64_t from)
{
    if (str_eq(id, str_of(h->id)))
        return true;
    return h->second >= 0 && str_eq(id, str_of(h->id2)) && from <= h->second;
}

void history_branch(struct history *h, const char *id, uint64_t offset)
{
    put_id(h->id2, h->id);
    h->second = (int64_t)offset + 1;
    put_id(h->id, id);
}

void history_follow(struct history *h, struct str id, uint64_t offset)
{
    ASSERT(history_id_ok(id));
    if (!str_eq(id, str_of(h->id)))
        history_branch(h, id.p, offset);
}

/* ---- the record ---- */

int history_format(struct buf *b, const struct history_record *r)
{
    char text[LINEAGE_TEXT];
    int n = (int)lineage_put(&r->lineage, text);
    return buf_printf(
        b, "larder-history 2\nid %s\nid2 %s\nsecond %lld\noffset %llu\nkeys %llu\ndataset %.*s\nend\n",
        r->history.id, r->history.id2, (long long)r->history.second, (unsigned long long)r->offset,
        (unsigned long long)r->keys, n, text);
}

/* The next line's value; the line must begin with `name`. */
static bool take(struct str *text, const char *name, struct str *value)
{
    size_t n = strlen(name);
    const char *end = memchr(text->p, '\n', text->n);
    if (end == NULL || (size_t)(end - text->p) < n || memcmp(text->p, name, n) != 0)
        return false;
    *value = (struct str){text->p + n, (size_t)(end - text->p) - n};
    text->n -= (size_t)(end - text->p) + 1;
    text->p = end + 1;
    return true;
}

static bool take_id(struct str *text, const char *name, char dst[HISTORY_ID + 1])
{
    struct str v;
    if (!take(text, name, &v) || !history_id_ok(v))
        return false;
    put_id(dst, v.p);
    return true;
}

int history_parse(struct str text, struct history_record *r)
{
    struct str v;
    bool ok = take(&text, "larder-history ", &v) && v.n == 1 && (v.p[0] == '1' || v.p[0] == '2');
    bool has_lineage = ok && v.p[0] == '2';
    lineage_forget(&r->lineage);
    ok = ok && take_id(&text, "id ", r->history.id) && take_id(&text, "id2 ", r->history.id2) &&
         take(&text, "second ", &v) && num_parse_i64(v, &r->history.second) && take(&text, "offset ", &v) &&
         num_parse_u64(v, &r->offset) && take(&text, "keys ", &v) && num_parse_u64(v, &r->keys) &&
         (!has_lineage || (take(&text, "dataset ", &v) && (v.n == 0 || lineage_parse(v, &r->lineage)))) &&
         take(&text, "end", &v);
    return ok ? 0 : ERR_CORRUPT;
}

bool history_was_ahead(const struct history_record *r, const struct history_place *p)
{
    bool related = p != NULL && (strcmp(p->id, r->history.id) == 0 || strcmp(p->id, r->history.id2) == 0);
    return r->keys > 0 && (!related || r->offset > p->offset);
}
