#include "client/tags.h"

#include "base/alloc.h"
#include "base/num.h"
#include "client/error.h"
#include "os/random.h"

static const char prefix[] = "larder:tag:";

enum {
    GETS_A_TAG = 3,                 /* commands of tags_begin() for one tag; the last is its GET */
    TOKEN_LIFE_MORE_MS = 60 * 1000, /* beyond the life of the values that carry it */
};

int tags_check(const struct larder_bytes *tags, size_t n, struct larder_error *err)
{
    if (n > LARDER_TAGS_MAX)
        return fail(err, LARDER_ERR_ARGUMENT, "a value has at most %d tags", LARDER_TAGS_MAX);
    for (size_t i = 0; i < n; i++)
        if (tags[i].n - 1 >= LARDER_TAG_BYTES)
            return fail(err, LARDER_ERR_ARGUMENT, "a tag has from 1 to %d bytes", LARDER_TAG_BYTES);
    return 0;
}

static struct str name_key(char *out, struct str tag)
{
    memcpy(out, prefix, sizeof prefix - 1);
    memcpy(out + sizeof prefix - 1, tag.p, tag.n);
    return (struct str){out, sizeof prefix - 1 + tag.n};
}

/* The node that holds the token of a value's tag; negative: that of the tag's own slot. */
static int32_t node_of(larder *l, struct str key)
{
    return larder_topology_of(l) == LARDER_TOPOLOGY_RING ? topo_owner(&l->topo, key) : -1;
}

static struct str *add(struct batch *b, uint32_t argc, int32_t node, const char *name, struct str key)
{
    struct cmd *cmd = batch_add(b, argc);
    struct str *argv = b->argv[b->n - 1];
    cmd->node = node;
    argv[0] = str_of(name);
    argv[1] = key;
    return argv;
}

/* ---- looking up ---- */

static void note_names(struct tag_lookup *t, const struct larder_bytes *tags, size_t n)
{
    t->n = (unsigned)n;
    for (size_t i = 0; i < n; i++)
        t->tags[i] = (struct envelope_tag){.name = str_from(tags[i])};
}

static void ask_noted(struct tag_lookup *t, struct batch *b, struct str key)
{
    int32_t node = node_of(b->l, key);
    t->at = b->n;
    for (unsigned i = 0; i < t->n; i++)
        add(b, 2, node, "GET", name_key(t->keys[i], t->tags[i].name));
}

void tags_ask(struct tag_lookup *t, struct batch *b, struct str key, const struct larder_bytes *tags,
              size_t n)
{
    note_names(t, tags, n);
    ask_noted(t, b, key);
}

static void read_token(struct envelope_tag *tag, const larder_reply *reply)
{
    struct larder_bytes text = larder_reply_text(reply);
    tag->token[0] = '\0';
    if (larder_reply_kind(reply) == LARDER_STRING && text.n == ENVELOPE_TOKEN)
        memcpy(tag->token, text.p, ENVELOPE_TOKEN + 1);
}

void tags_read(struct tag_lookup *t, const struct batch *b)
{
    for (unsigned i = 0; i < t->n; i++)
        read_token(&t->tags[i], b->replies[t->at + i]);
}

/* ---- is it current? ---- */

enum token_is { TOKEN_SAME, TOKEN_ANOTHER, TOKEN_NOT_KNOWN };

static enum token_is compare(const struct tag_lookup *known, const struct envelope_tag *tag)
{
    for (unsigned i = 0; known != NULL && i < known->n; i++)
        if (str_eq(known->tags[i].name, tag->name))
            return strcmp(known->tags[i].token, tag->token) == 0 ? TOKEN_SAME : TOKEN_ANOTHER;
    return TOKEN_NOT_KNOWN;
}

/* What `known` says of the whole block. */
static enum token_is compare_all(const struct tag_lookup *known, struct str block)
{
    enum token_is all = TOKEN_SAME;
    struct envelope_tag tag;
    for (struct str left = envelope_tag_entries(block); envelope_next_tag(&left, &tag);) {
        enum token_is one = compare(known, &tag);
        if (one == TOKEN_ANOTHER)
            return one;
        all = one == TOKEN_NOT_KNOWN ? one : all;
    }
    return all;
}

int tags_are_current(larder *l, struct str key, struct str block, const struct tag_lookup *known,
                     bool *current, struct larder_error *err)
{
    enum token_is is = compare_all(known, block);
    struct batch b;
    struct tag_lookup t = {.n = 0};
    int status = LARDER_OK;
    if (is == TOKEN_NOT_KNOWN) {
        struct str left = envelope_tag_entries(block);
        while (t.n < LARDER_TAGS_MAX && envelope_next_tag(&left, &t.tags[t.n]))
            t.n++;
        batch_init(&b, l);
        ask_noted(&t, &b, key);
        status = batch_run(&b, err);
        tags_read(&t, &b);
        batch_release(&b);
        is = compare_all(&t, block);
    }
    *current = status == LARDER_OK && is == TOKEN_SAME;
    return status;
}

/* ---- before a load ---- */

/* A token is told once: told again late, after an invalidation, it would bring back what was loaded under it.
 * Its life only ever grows; servers before 7.0 do not know GT, and let it end earlier. */
static void add_begin(struct batch *b, int32_t node, struct str key, struct str token, struct str life)
{
    struct str *argv = add(b, life.n > 0 ? 6 : 4, node, "SET", key);
    b->cmds[b->n - 1].flags = 0;
    argv[2] = token;
    argv[3] = STR("NX");
    if (life.n > 0) {
        argv[4] = STR("PX");
        argv[5] = life;
        argv = add(b, 4, node, "PEXPIRE", key);
        argv[2] = life;
        argv[3] = STR("GT");
    } else {
        add(b, 2, node, "PERSIST", key);
    }
    b->optional[b->n - 1] = true;
    add(b, 2, node, "GET", key);
}

int tags_begin(larder *l, struct str key, const struct larder_bytes *tags, size_t n, int64_t life_ms,
               struct buf *block, struct larder_error *err)
{
    char tokens[LARDER_TAGS_MAX][ENVELOPE_TOKEN + 1], number[NUM_I64_TEXT_MAX];
    struct str life = {number, life_ms > 0 ? num_put_i64(number, life_ms + TOKEN_LIFE_MORE_MS) : 0};
    struct tag_lookup t;
    struct batch b;
    int32_t node = node_of(l, key);
    batch_init(&b, l);
    note_names(&t, tags, n);
    for (unsigned i = 0; i < t.n; i++) {
        os_random_hex(tokens[i], ENVELOPE_TOKEN);
        add_begin(&b, node, name_key(t.keys[i], t.tags[i].name), (struct str){tokens[i], ENVELOPE_TOKEN},
                  life);
    }
    int status = batch_run(&b, err);
    for (unsigned i = 0; i < t.n && status == LARDER_OK; i++) {
        read_token(&t.tags[i], b.replies[GETS_A_TAG * i + GETS_A_TAG - 1]);
        if (t.tags[i].token[0] == '\0')
            status = fail(err, LARDER_ERR_UNAVAILABLE, "a tag was invalidated just now");
    }
    if (status == LARDER_OK && envelope_put_tags(block, t.tags, t.n) < 0)
        status = fail(err, LARDER_ERR_MEMORY, "out of memory");
    batch_release(&b);
    return status;
}

/* ---- invalidation ---- */

int tags_forget(larder *l, struct larder_bytes tag, struct larder_error *err)
{
    char key[sizeof prefix + LARDER_TAG_BYTES];
    struct str name = name_key(key, str_from(tag));
    uint32_t own = 0, *nodes = &own;
    unsigned n = 1;
    int status = LARDER_OK;
    bool ring = larder_topology_of(l) == LARDER_TOPOLOGY_RING;
    if (ring) {
        nodes = mem_alloc(TOPO_NODES_MAX * sizeof *nodes);
        if (nodes == NULL)
            return fail(err, LARDER_ERR_MEMORY, "out of memory");
        n = topo_primaries(&l->topo, nodes, TOPO_NODES_MAX);
    }
    for (unsigned done = 0; done < n;) {
        struct larder_error why;
        struct batch b;
        batch_init(&b, l);
        for (; b.n < BATCH_MAX && done < n; done++)
            add(&b, 2, ring ? (int32_t)nodes[done] : -1, "DEL", name);
        int one = batch_run(&b, &why);
        if (one < 0 && status == LARDER_OK)
            status = fail(err, one, "%s", why.text); /* and the rest all the same */
        batch_release(&b);
    }
    if (ring)
        mem_free(nodes);
    return status;
}
