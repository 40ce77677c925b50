/* Going on where a snapshot stands: the place in a history that its head names.
 *
 *      as a replica    the data are that history's, up to there: PSYNC asks for what follows
 *      as a primary    a history of our own begins there; who has come exactly as far goes on with it
 *      further on      is who was fed by this node before it was restarted. Nobody gives it a copy of less
 *                      than it has (is_ahead_of_us() in cmd_psync.c), until somebody has decided
 *
 * What has been loaded is not fresh: between the snapshot and now others may have purged it. Only a replica
 * that its primary lets go on knows that nothing is missing; whoever serves for itself calls all cached
 * values stale first (cache_doubt()). */
#include "server/repl.h"

#include "cache/cache.h"
#include "os/clock.h"
#include "server/server.h"

#include <string.h>

enum { OFFSET_MAX_SHIFT = 12 }; /* as from a primary's FULLRESYNC */

bool repl_place(const struct repl *r, struct history_place *out)
{
    if (!r->has_history || !changelog_is_on(&r->log) || changelog_is_broken(&r->log))
        return false;
    uint32_t db = r->is_replica ? r->session.db : changelog_db(&r->log);
    *out = (struct history_place){.offset = repl_offset(r), .db = db != CHANGELOG_NO_DB ? db : 0};
    memcpy(out->id, r->history.id, sizeof out->id);
    return true;
}

void repl_loaded(struct repl *r, const char *id, int64_t offset, int64_t db, const char *dataset)
{
    struct lineage l;
    if (lineage_parse(str_of(dataset), &l))
        repl_lineage_set(r, &l);
    r->from_file = true;
    r->has_place = history_id_ok(str_of(id)) && offset >= 0 && offset <= INT64_MAX >> OFFSET_MAX_SHIFT &&
                   db >= 0 && db < r->server->limits.databases;
    r->place = (struct history_place){.offset = (uint64_t)offset, .db = (uint32_t)db};
    if (r->has_place)
        memcpy(r->place.id, id, sizeof r->place.id);
}

void repl_resume_as_replica(struct repl *r)
{
    bool untouched = r->resumed && changelog_is_on(&r->log) && repl_offset(r) == r->place.offset;
    r->resumed = false;
    if (!r->has_place && !untouched)
        return;
    if (r->has_place) {
        changelog_start(&r->log, r->place.offset);
        r->named_anew =
            false; /* by the configuration, long ago: an empty primary may not take the data away */
    }
    r->has_place = false;
    history_init(&r->history, r->place.id);
    r->has_history = true;
    r->session.db = r->place.db;
}

void repl_resume_as_primary(struct repl *r, const char *id)
{
    if (!r->has_place)
        return;
    r->has_place = false;
    history_init(&r->history, r->place.id);
    history_branch(&r->history, id, r->place.offset);
    changelog_start(&r->log, r->place.offset);
    r->has_history = r->resumed = true;
    r->alone_since_ms = os_wall_ms();
    server_care_set(r->server, CARE_KEEP_EXPIRED, false);
}

void repl_doubt(struct repl *r)
{
    r->from_file = false;
    uint64_t seq = cache_doubt(r->server->cache);
    if (seq != 0 && !r->is_replica)
        purge_tell(r, 0, seq, true);
}
