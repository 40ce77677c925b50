/* When what the machine says is written, and where: nodes.conf or its journal (cluster_file.h), by the disk's
 * thread (cluster_disk.h).
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

enum { WAIT_MS = 50 };

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
static enum cluster_disk_how how_to_write(const struct cluster_core *core)
{
    if (core->todo.sync || core->unsaved)
        return DISK_SYNC;
    return cluster_must_keep(core) ? DISK_KEEP : DISK_PUT;
}

static bool begin_to_write(struct cluster_core *core)
{
    struct buf *b = &core->text;
    struct cluster_todo *t = &core->todo;
    enum cluster_disk_how how = how_to_write(core);
    if (b->oom) {
        buf_clear(b);
        b->oom = false;
        (void)machine_save(&core->machine, b);
    }
    core->written = (struct cluster_todo){.save = true, .put = t->put, .sync = t->sync};
    t->save = t->put = t->sync = false;
    core->behind = how == DISK_KEEP;
    core->writes = !b->oom && cluster_disk_put(&core->disk, buf_str(b), how, core->file_seq);
    return core->writes;
}

static void did_not_write(struct cluster_core *core, const char *why)
{
    const struct cluster_todo *w = &core->written;
    struct cluster_todo *t = &core->todo;
    if (!core->unsaved)
        log_warning(
            "Cannot write %s in 'dir': %s. Until it can be written this node says nothing to the others, who "
            "will take it for dead.",
            core->disk.file.path, why);
    core->unsaved = core->behind = t->save = true;
    t->put |= w->put;
    t->sync |= w->sync;
}

/* True: what the disk had was written. */
static bool was_written(struct cluster_core *core)
{
    struct cluster_disk *d = &core->disk;
    core->writes = false;
    if (!d->ok) {
        did_not_write(core, strerror(d->error));
        return false;
    }
    core->unsaved = false;
    core->saved_seq = d->seq;
    return true;
}

/* A slow disk is waited for no longer than the others take silence for rest. */
enum cluster_saved cluster_save(struct cluster_core *core)
{
    if (core->writes && cluster_disk_done(&core->disk, 0) && !was_written(core))
        return SAVE_FAILED;
    if (!core->writes && (cluster_must_keep(core) || must_put(core))) {
        if (!begin_to_write(core)) {
            did_not_write(core, "out of memory");
            return SAVE_FAILED;
        }
        if (cluster_disk_done(&core->disk, WAIT_MS) && !was_written(core))
            return SAVE_FAILED;
    }
    bool awaited = core->disk.how != DISK_PUT || cluster_must_keep(core);
    return core->writes && awaited ? SAVE_LATER : SAVE_DONE;
}

static int restore(struct cluster_core *core, struct str text)
{
    unsigned line = 0;
    int rc = machine_restore(&core->machine, &core->config, text, &core->rng, core->now_ms, &line);
    if (rc != 0)
        log_warning("%s in 'dir' cannot be understood from line %u on: %s. It belongs to this node "
                    "alone; if it is "
                    "lost, move it away, and join the cluster anew.",
                    core->disk.file.path, line, err_name(rc));
    else
        log_notice("Node %.*s, as %s says.", NODE_ID, core->machine.self->id.c, core->disk.file.path);
    return rc;
}

int cluster_load(struct cluster_core *core)
{
    struct buf b;
    buf_init(&b);
    enum cluster_file_found found;
    int rc = cluster_file_open(&core->disk.file, core->server->config.cluster_config_file, &b, &found);
    if (rc == 0 && found == FOUND_JOURNAL)
        log_notice("%s.journal is newer than %s, as after a crash: it counts.", core->disk.file.path,
                   core->disk.file.path);
    if (rc == 0 && found != FOUND_NOTHING) {
        rc = restore(core, buf_str(&b));
    } else if (rc == 0) {
        char hex[VIEW_ID + 1];
        struct node_id id;
        os_random_hex(hex, VIEW_ID);
        memcpy(id.c, hex, NODE_ID);
        rc = machine_init(&core->machine, &core->config, &id, &core->rng, core->now_ms);
        log_notice("No %s here: this is a new node, %s.", core->disk.file.path, hex);
    } else {
        log_warning("Cannot read %s, or its journal, in 'dir': %s.", core->disk.file.path,
                    rc == ERR_IO ? strerror(errno) : err_name(rc));
    }
    buf_release(&b);
    if (rc == 0 && !cluster_file_begin_journal(&core->disk.file))
        log_warning("Cannot make %s.journal in 'dir': %s. What the others are promised takes longer to save.",
                    core->disk.file.path, strerror(errno));
    return rc;
}

void cluster_save_last(struct cluster_core *core)
{
    if (core->text.n > 0 && cluster_file_write(&core->disk.file, buf_str(&core->text), true))
        cluster_file_end_journal(&core->disk.file);
    cluster_disk_release(&core->disk);
}
