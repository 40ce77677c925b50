#include "server/cluster_view.h"

#include "base/alloc.h"

#include <string.h>

struct cluster_view *cluster_view_new(uint32_t nnodes)
{
    struct cluster_view *v = mem_zalloc(sizeof *v);
    if (v == NULL)
        return NULL;
    v->nodes = mem_zalloc(nnodes * sizeof *v->nodes);
    v->nnodes = nnodes;
    if (v->nodes != NULL)
        return v;
    mem_free(v);
    return NULL;
}

void cluster_view_free(struct cluster_view *v)
{
    if (v == NULL)
        return;
    mem_free(v->nodes);
    mem_free(v);
}

void cluster_view_seal(struct cluster_view *v)
{
    memset(v->here, 0, sizeof v->here);
    for (uint32_t i = 0; v->up && !v->replica && i < SLOT_COUNT; i++)
        if (v->owner[i] == v->me && v->me != VIEW_NOBODY && v->to[i] == VIEW_NOBODY && !view_holds(v, i))
            slots_set(v->here, i, true);
}
