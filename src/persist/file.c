#include "persist/file.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int failed(struct snapshot_file *f, const char *what)
{
    if (f->what == NULL) {
        f->error = errno;
        f->what = what;
    }
    return ERR_IO;
}

static int write_all(struct snapshot_sink *sink, const char *p, size_t n)
{
    struct snapshot_file *f = (struct snapshot_file *)sink;
    f->unsynced += n;
    while (n > 0) {
        ssize_t rc = write(f->fd, p, n);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0)
            return failed(f, "write to");
        p += rc;
        n -= (size_t)rc;
    }
    if (!f->sync_often || f->unsynced < FILE_SYNC_BYTES)
        return 0;
    f->unsynced = 0;
    return fdatasync(f->fd) == 0 ? 0 : failed(f, "sync");
}

static void close_directory(struct snapshot_file *f)
{
    if (f->dir >= 0)
        close(f->dir);
    f->dir = -1;
}

int snapshot_file_begin(struct snapshot_file *f, const char *prefix, const char *name, bool sync_often)
{
    *f = (struct snapshot_file){.sink = {write_all}, .fd = -1, .sync_often = sync_often};
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->temporary, sizeof f->temporary, "temp-%s%s", prefix, name);
    f->dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->dir < 0)
        return failed(f, "open the directory of");
    f->fd = openat(f->dir, f->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (f->fd >= 0)
        return 0;
    int rc = failed(f, "create");
    close_directory(f);
    return rc;
}

static int sync_directory(struct snapshot_file *f)
{
    if (fsync(f->dir) != 0 && errno != EINVAL) /* some file systems cannot, and need not */
        return failed(f, "sync the directory of");
    return 0;
}

int snapshot_file_commit(struct snapshot_file *f)
{
    int rc = fsync(f->fd) == 0 ? 0 : failed(f, "sync");
    if (close(f->fd) != 0 && rc == 0)
        rc = failed(f, "close");
    f->fd = -1;
    if (rc == 0 && renameat(f->dir, f->temporary, f->dir, f->name) != 0)
        rc = failed(f, "rename");
    if (rc != 0) {
        snapshot_file_abort(f);
        return rc;
    }
    rc = sync_directory(f);
    close_directory(f);
    return rc;
}

void snapshot_file_abort(struct snapshot_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    if (f->dir >= 0)
        unlinkat(f->dir, f->temporary, 0);
    close_directory(f);
}
