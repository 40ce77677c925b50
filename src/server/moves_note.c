/* Which slots are on their way here, for this node's replicas: a PING in the stream, which Redis ignores. One
 * that takes over in the middle of a copy then knows that these keys are nobody's business, and drops them;
 * without that it could not tell them from keys that MIGRATE has brought, which are nowhere else. The same
 * goes for slots that were given away, and are kept until they are served there, and for those that are being
 * emptied (cluster_drop.c). It is said before the first key comes, when it changes, once a second, for
 * whoever has made a full copy meanwhile, and after a restart. But not while writes are paused, nor before a
 * restarted primary knows that no replica has more than it. */
#include "repl/unit.h"
#include "server/cluster_core.h"
#include "server/server.h"

#include <string.h>

#define NOTE_MAGIC "larder.arriving.1:"

enum { NOTE_MAGIC_BYTES = sizeof NOTE_MAGIC - 1, NOTE_BYTES = NOTE_MAGIC_BYTES + SLOT_BYTES };

bool moves_take_note(struct repl *r, struct str note)
{
    if (note.n != NOTE_BYTES || memcmp(note.p, NOTE_MAGIC, NOTE_MAGIC_BYTES) != 0)
        return false;
    memcpy(r->arriving, note.p + NOTE_MAGIC_BYTES, SLOT_BYTES);
    return true;
}

/* Arriving, given away and kept, or being emptied. */
static void nobodys(const struct cluster_core *core, uint8_t *slots)
{
    memcpy(slots, core->moving.arriving, SLOT_BYTES);
    slots_add(slots, core->dropping.kept);
    slots_add(slots, core->dropping.slots);
}

/* ---- the lane -------------------------------------------------------------------------------- */

static void put_note(struct cmd_ctx *c, const uint8_t *slots)
{
    char note[NOTE_BYTES];
    const struct str say[] = {STR("PING"), {note, sizeof note}};
    if (c->unit == NULL)
        return;
    memcpy(note, NOTE_MAGIC, NOTE_MAGIC_BYTES);
    memcpy(note + NOTE_MAGIC_BYTES, slots, SLOT_BYTES);
    unit_add(c->unit, 0, say, ARRAY_LEN(say));
}

static void tell(void *arg)
{
    struct cluster_core *core = arg;
    core->moving.unsaid = server_is_paused(core->server); /* since it was sent out */
    if (!core->moving.unsaid)
        put_note(&core->server->lane.ctx, core->moving.told);
}

/* The cluster's thread waits for it. */
static void tell_at_once(void *arg)
{
    struct cluster_core *core = arg;
    uint8_t slots[SLOT_BYTES];
    nobodys(core, slots);
    put_note(&core->server->lane.ctx, slots);
}

/* ---- the cluster's thread -------------------------------------------------------------------- */

void moves_tell_now(struct cluster_core *core)
{
    (void)lane_call_shared(&core->server->lane, tell_at_once, core);
}

void moves_tell_replicas(struct cluster_core *core)
{
    struct moving *mo = &core->moving;
    struct lane *lane = &core->server->lane;
    uint8_t slots[SLOT_BYTES];
    if (mo->telling && !lane_is_done(lane, &mo->tell))
        return;
    mo->telling = false;
    nobodys(core, slots);
    bool same = !mo->unsaid && memcmp(mo->told, slots, SLOT_BYTES) == 0;
    bool due = slots_any(slots) && core->now_ms >= mo->tell_ms;
    if (server_is_paused(core->server) || core->machine.mute || (same && !due))
        return;
    memcpy(mo->told, slots, SLOT_BYTES);
    mo->tell_ms = core->now_ms + MOVES_TELL_MS;
    mo->tell = (struct lane_job){.call = tell, .arg = core};
    mo->telling = true;
    lane_post(lane, &mo->tell, core->loop);
}
