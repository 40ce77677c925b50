#include "cmd/edit.h"

#include "base/assert.h"

int edit_begin(struct cmd_ctx *c, struct entry *e, bool copy, struct edit *ed)
{
    struct object *o = entry_object(e);
    store_save_entry_first(&c->a, e);
    *ed = (struct edit){.e = e, .o = o, .own = o, .before = object_type(o)->bytes(o)};
    if (!copy && object_is_private(o))
        return 0;
    ed->from = o;
    ed->o = object_type(o)->copy(o);
    return ed->o != NULL ? 0 : ERR_OOM;
}

void edit_end(struct cmd_ctx *c, struct edit *ed, uint32_t k, bool changed)
{
    struct store *s = c->a.store;
    if (ed->from == NULL) {
        /* Even without a change it may have moved. */
        if (changed || ed->o != ed->own || object_type(ed->o)->bytes(ed->o) != ed->before)
            store_object_changed(&c->a, &c->keys[k], ed->e, ed->o, ed->before);
    } else if (changed) {
        store_object_changed(&c->a, &c->keys[k], ed->e, ed->o, ed->before);
        store_release_object(s, ed->from);
    } else {
        store_release_object(s, ed->o);
    }
}

uint64_t edit_cost(const struct cmd_ctx *c, uint32_t k)
{
    const struct entry *e = store_peek(&c->a, &c->keys[k]);
    const struct object *o = e != NULL ? entry_object(e) : NULL;
    return o != NULL ? object_type(o)->copy_cost(o) : 0;
}
