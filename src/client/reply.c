/*      [ reply 0 (root) | reply 1 | ... reply n-1 | texts, each with a NUL behind it ]
 *
 * Counted first, then filled: one allocation, one free. Children of a reply stand side by side. */
#include "client/reply.h"

#include "base/alloc.h"
#include "base/assert.h"

struct larder_reply {
    enum larder_kind kind;
    struct larder_bytes text;
    int64_t integer;
    double number;
    size_t n;
    const struct larder_reply *children;
};

static void count(const struct reader_value *v, size_t *replies, size_t *bytes)
{
    *replies += 1;
    *bytes += v->text.n + 1;
    for (uint64_t i = 0; i < v->n; i++)
        count(&v->children[i], replies, bytes);
}

static enum larder_kind kind_of(enum reader_kind kind)
{
    switch (kind) {
    case READ_STATUS: return LARDER_STATUS;
    case READ_ERROR:
    case READ_BLOB_ERROR: return LARDER_ERROR;
    case READ_INT: return LARDER_INTEGER;
    case READ_DOUBLE: return LARDER_DOUBLE;
    case READ_BOOL: return LARDER_BOOLEAN;
    case READ_MAP: return LARDER_MAP;
    case READ_ARRAY:
    case READ_SET:
    case READ_PUSH:
    case READ_ATTRIBUTE: return LARDER_ARRAY;
    case READ_BULK:
    case READ_VERBATIM:
    case READ_BIGNUM: return LARDER_STRING;
    case READ_NULL: break;
    }
    return LARDER_NULL;
}

struct filling {
    struct larder_reply *replies; /* the next free ones */
    char *text;
};

static void fill(struct filling *f, struct larder_reply *out, const struct reader_value *v)
{
    struct larder_reply *children = f->replies;
    *out = (struct larder_reply){
        .kind = kind_of(v->kind), .integer = v->integer, .number = v->number, .n = v->n};
    if (v->kind == READ_INT)
        out->number = (double)v->integer;
    if (v->text.n > 0)
        memcpy(f->text, v->text.p, v->text.n);
    f->text[v->text.n] = '\0';
    out->text = (struct larder_bytes){f->text, v->text.n};
    f->text += v->text.n + 1;
    f->replies += v->n;
    out->children = children;
    for (uint64_t i = 0; i < v->n; i++)
        fill(f, &children[i], &v->children[i]);
}

larder_reply *reply_copy(const struct reader_value *v)
{
    size_t replies = 0, bytes = 0;
    count(v, &replies, &bytes);
    struct larder_reply *root = mem_alloc(replies * sizeof *root + bytes);
    if (root == NULL)
        return NULL;
    struct filling f = {root + 1, (char *)(root + replies)};
    fill(&f, root, v);
    ASSERT(f.replies == root + replies && f.text == (char *)(root + replies) + bytes);
    return root;
}

void larder_reply_free(larder_reply *r)
{
    mem_free(r);
}

enum larder_kind larder_reply_kind(const larder_reply *r)
{
    return r != NULL ? r->kind : LARDER_NULL;
}

struct larder_bytes larder_reply_text(const larder_reply *r)
{
    return r != NULL ? r->text : (struct larder_bytes){"", 0};
}

int64_t larder_reply_integer(const larder_reply *r)
{
    return r != NULL ? r->integer : 0;
}

double larder_reply_double(const larder_reply *r)
{
    return r != NULL ? r->number : 0;
}

size_t larder_reply_count(const larder_reply *r)
{
    return r != NULL ? r->n : 0;
}

const larder_reply *larder_reply_child(const larder_reply *r, size_t i)
{
    return r != NULL && i < r->n ? &r->children[i] : NULL;
}
