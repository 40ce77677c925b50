#include "client/load.h"

#include "base/alloc.h"
#include "client/error.h"
#include "client/loaded.h"
#include "client/tags.h"
#include "os/clock.h"

static bool copy_tags(struct load *ld, const struct larder_bytes *tags, size_t n)
{
    size_t bytes = n * sizeof *tags;
    if (n == 0)
        return true;
    for (size_t i = 0; i < n; i++)
        bytes += tags[i].n;
    ld->tags = mem_alloc(bytes);
    if (ld->tags == NULL)
        return false;
    char *at = (char *)(ld->tags + n);
    for (size_t i = 0; i < n; i++) {
        if (tags[i].n > 0)
            memcpy(at, tags[i].p, tags[i].n);
        ld->tags[i] = larder_bytes(at, tags[i].n);
        at += tags[i].n;
    }
    ld->ntags = n;
    return true;
}

struct load *load_new(larder *l, struct flight *f, larder_loader loader, void *arg,
                      const struct lease_answer *lease, const struct larder_fetch_options *o)
{
    struct load *ld = mem_alloc(sizeof *ld);
    if (ld == NULL)
        return NULL;
    *ld = (struct load){.l = l, .loader = loader, .arg = arg, .ttl_ms = o->ttl_ms, .grace_ms = o->grace_ms};
    ld->negative_ttl_ms = o->negative_ttl_ms;
    ld->retry_ms = o->retry_ms;
    ld->lock_ms = o->lock_ms;
    memcpy(ld->token, lease->token, sizeof ld->token);
    ld->by_script = lease->by_script;
    buf_init(&ld->tag_block);
    if (!copy_tags(ld, o->tags, o->ntags)) {
        mem_free(ld);
        return NULL;
    }
    ld->flight = flight_get(&l->flights, f);
    return ld;
}

static void free_load(struct load *ld)
{
    flight_put(&ld->l->flights, ld->flight);
    mem_free(ld->tags);
    buf_release(&ld->tag_block);
    mem_free(ld);
}

static void give_back(struct load *ld, int64_t retry_ms)
{
    struct larder_error ignored;
    if (ld->token[0] != '\0')
        (void)lease_fail(ld->l, flight_key(ld->flight), ld->token, retry_ms, ld->ntags == 0, &ignored);
    ld->token[0] = '\0';
}

/* What was not stored with its tags could not be invalidated by them: so it is not stored. */
static void begin_tags(struct load *ld)
{
    struct larder_error ignored;
    int64_t life_ms = ld->ttl_ms > 0 ? ld->ttl_ms + ld->grace_ms + ld->lock_ms : 0;
    if (ld->ntags == 0 || !ld->by_script || ld->token[0] == '\0')
        return;
    if (tags_begin(ld->l, flight_key(ld->flight), ld->tags, ld->ntags, life_ms, &ld->tag_block, &ignored) < 0)
        give_back(ld, 0);
}

/* The cache may refuse it, or be gone: neither concerns whoever asked, but he must not share what the
 * cache says has been overtaken. */
static void store(struct load *ld, const struct larder_loaded *got, bool negative, int64_t cost_ms,
                  struct flight_end *end)
{
    enum lease_fill fill = LEASE_LOST;
    struct larder_error ignored;
    struct str key = flight_key(ld->flight);
    if (negative && ld->negative_ttl_ms == 0)
        give_back(ld, 0);
    if (ld->token[0] == '\0')
        return;
    struct lease_value v = {.bytes = buf_str(&got->bytes),
                            .token = ld->token,
                            .ttl_ms = ld->ttl_ms,
                            .grace_ms = ld->grace_ms,
                            .cost_ms = cost_ms,
                            .version = got->version,
                            .negative = negative,
                            .tags = ld->tags,
                            .ntags = ld->ntags,
                            .tag_block = buf_str(&ld->tag_block),
                            .stand_in = ld->ntags == 0};
    if (negative)
        v.ttl_ms = ld->negative_ttl_ms;
    else if (got->ttl_ms != LARDER_TTL_DEFAULT)
        v.ttl_ms = got->ttl_ms;
    int status = lease_fill(ld->l, key, &v, &fill, &ignored);
    end->again = status == LARDER_OK && fill != LEASE_STORED;
    /* A tag may have been invalidated while this was loaded; who asked after that must not be given it. */
    if (status == LARDER_OK && fill == LEASE_STORED && ld->ntags > 0)
        end->again = !lease_is_current(ld->l, key, &v);
}

void load_run(void *arg)
{
    struct load *ld = arg;
    struct larder_loaded got;
    struct flight_end end = {.again = false};
    struct flights *fs = &ld->l->flights;
    struct str key = flight_key(ld->flight);
    loaded_init(&got);
    begin_tags(ld);
    int64_t begun_ns = os_mono_ns();
    int said = ld->loader(ld->arg, larder_bytes(key.p, key.n), &got);
    int64_t cost_ms = (os_mono_ns() - begun_ns) / 1000000;
    flight_close(fs, ld->flight); /* who comes from now on must see what is stored */
    if (said == LARDER_MISS || (said == LARDER_OK && got.there)) {
        end.status = said;
        end.version = got.version;
        store(ld, &got, said == LARDER_MISS, cost_ms, &end);
        if (said == LARDER_OK) {
            end.value = (struct larder_value){mem_strndup(got.bytes.p, got.bytes.n), got.bytes.n};
            if (end.value.p == NULL)
                end.status = fail(&end.err, LARDER_ERR_MEMORY, "out of memory");
        }
    } else {
        end.status = fail(&end.err, LARDER_ERR_LOAD, "the loader %s: %s",
                          said < 0 ? "failed" : "gave no value and no reason", larder_status_name(said));
        give_back(ld, ld->retry_ms);
    }
    flight_finish(fs, ld->flight, &end);
    loaded_release(&got);
    free_load(ld);
}
