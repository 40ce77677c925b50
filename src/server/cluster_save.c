/* When what the machine says is written, and where: nodes.conf or its journal (cluster_file.h).
 *
 * What it waits for goes into the journal at once. The rest, and nodes.conf behind the journal, is written
 * with the next tick: several nodes of one machine hear of a new epoch in the moment in which clients wait
 * for the slots that go with it. */
#include "base/log.h"
#include "os/random.h"
#include "server/cluster_core.h"
#include "server/server.h"

#include <errno.h>
#include <string.h>

bool cluster_must_keep(const struct cluster_core *core)
{
    return core->todo.save && (core->unsaved || machine_awaits_disk(&core->machine));
}

static bool must_put(const struct cluster_core *core)
{
    return core->behind && (core->todo.put || core->todo.sync);
}

/* What must be on the disk is so in the journal, and nodes.conf follows. If that did not work, it goes first.
 */
static bool write_text(struct cluster_core *core)
{
    struct str text = buf_str(&core->text);
    bool sync = core->todo.sync || core->unsaved;
    if (!sync && cluster_must_keep(core))
        return cluster_file_keep(&core->file, text);
    bool ok = cluster_file_write(&core->file, text, sync);
    core->behind &= !ok;
    return ok;
}

bool cluster_save(struct cluster_core *core)
{
    struct buf *b = &core->text;
    if (!cluster_must_keep(core) && !must_put(core))
        return true;
    if (b->oom) {
        buf_clear(b);
        b->oom = false;
        (void)machine_save(&core->machine, b);
    }
    bool ok = !b->oom && write_text(core);
    if (!ok && !core->unsaved)
        log_warning(
            "Cannot write %s in 'dir': %s. Until it can be written this node says nothing to the others, who "
            "will take it for dead.",
            core->file.path, b->oom ? "out of memory" : strerror(errno));
    core->unsaved = !ok;
    core->todo.save = !ok;
    core->todo.put &= !ok;
    core->todo.sync &= !ok;
    return ok;
}

static int restore(struct cluster_core *core, struct str text)
{
    unsigned line = 0;
    int rc = machine_restore(&core->machine, &core->config, text, &core->rng, core->now_ms, &line);
    if (rc != 0)
        log_warning("%s in 'dir' cannot be understood from line %u on: %s. It belongs to this node "
                    "alone; if it is "
                    "lost, move it away, and join the cluster anew.",
                    core->file.path, line, err_name(rc));
    else
        log_notice("Node %.*s, as %s says.", NODE_ID, core->machine.self->id.c, core->file.path);
    return rc;
}

int cluster_load(struct cluster_core *core)
{
    struct buf b;
    buf_init(&b);
    enum cluster_file_found found;
    int rc = cluster_file_open(&core->file, core->server->config.cluster_config_file, &b, &found);
    if (rc == 0 && found == FOUND_JOURNAL)
        log_notice("%s.journal is newer than %s, as after a crash: it counts.", core->file.path,
                   core->file.path);
    if (rc == 0 && found != FOUND_NOTHING) {
        rc = restore(core, buf_str(&b));
    } else if (rc == 0) {
        char hex[VIEW_ID + 1];
        struct node_id id;
        os_random_hex(hex, VIEW_ID);
        memcpy(id.c, hex, NODE_ID);
        rc = machine_init(&core->machine, &core->config, &id, &core->rng, core->now_ms);
        log_notice("No %s here: this is a new node, %s.", core->file.path, hex);
    } else {
        log_warning("Cannot read %s, or its journal, in 'dir': %s.", core->file.path,
                    rc == ERR_IO ? strerror(errno) : err_name(rc));
    }
    buf_release(&b);
    if (rc == 0 && !cluster_file_begin_journal(&core->file))
        log_warning("Cannot make %s.journal in 'dir': %s. What the others are promised takes longer to save.",
                    core->file.path, strerror(errno));
    return rc;
}

void cluster_save_last(struct cluster_core *core)
{
    if (core->text.n > 0 && cluster_file_write(&core->file, buf_str(&core->text), true))
        cluster_file_end_journal(&core->file);
    cluster_file_release(&core->file);
}
