#include "server/slowlog.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

void slowlog_init(struct slowlog *s)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->mutex, NULL);
}

static void drop_beyond(struct slowlog *s, uint64_t keep)
{
    struct slowlog_entry **at = &s->newest;
    for (uint64_t i = 0; i < keep && *at != NULL; i++)
        at = &(*at)->older;
    while (*at != NULL) {
        struct slowlog_entry *old = *at;
        *at = old->older;
        mem_free(old);
        s->n--;
    }
}

void slowlog_release(struct slowlog *s)
{
    drop_beyond(s, 0);
    pthread_mutex_destroy(&s->mutex);
}

void slowlog_reset(struct slowlog *s)
{
    pthread_mutex_lock(&s->mutex);
    drop_beyond(s, 0);
    pthread_mutex_unlock(&s->mutex);
}

/* What is kept of argument i: long ones and what is behind the last place are summarised. */
static size_t keep_arg(char *dst, const struct str *argv, uint32_t argc, uint32_t i)
{
    char more[64];
    if (i == SLOWLOG_ARGS_MAX - 1 && argc > SLOWLOG_ARGS_MAX) {
        int n = snprintf(more, sizeof more, "... (%u more arguments)", argc - SLOWLOG_ARGS_MAX + 1);
        memcpy(dst, more, (size_t)n);
        return (size_t)n;
    }
    if (argv[i].n <= SLOWLOG_ARG_BYTES_MAX) {
        memcpy(dst, argv[i].p, argv[i].n);
        return argv[i].n;
    }
    memcpy(dst, argv[i].p, SLOWLOG_ARG_BYTES_MAX);
    int n = snprintf(more, sizeof more, "... (%zu more bytes)", argv[i].n - SLOWLOG_ARG_BYTES_MAX);
    memcpy(dst + SLOWLOG_ARG_BYTES_MAX, more, (size_t)n);
    return SLOWLOG_ARG_BYTES_MAX + (size_t)n;
}

void slowlog_add(struct slowlog *s, int64_t wall_s, uint64_t us, const struct str *argv, uint32_t argc,
                 const char *peer, const char *name, uint64_t max_len)
{
    uint32_t kept = argc < SLOWLOG_ARGS_MAX ? argc : SLOWLOG_ARGS_MAX;
    struct slowlog_entry *e = mem_zalloc(sizeof *e + kept * (SLOWLOG_ARG_BYTES_MAX + 64));
    if (e == NULL || max_len == 0) {
        mem_free(e);
        return;
    }
    e->at_s = wall_s;
    e->us = us;
    e->argc = kept;
    snprintf(e->peer, sizeof e->peer, "%s", peer);
    snprintf(e->name, sizeof e->name, "%s", name);
    char *at = e->bytes;
    for (uint32_t i = 0; i < kept; i++) {
        size_t n = keep_arg(at, argv, argc, i);
        e->argv[i] = (struct str){at, n};
        at += n;
    }
    pthread_mutex_lock(&s->mutex);
    e->id = s->next_id++;
    e->older = s->newest;
    s->newest = e;
    s->n++;
    drop_beyond(s, max_len);
    pthread_mutex_unlock(&s->mutex);
}
