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

int snapshot_file_begin(struct snapshot_file *f, const char *prefix, const char *name, bool sync_often)
{
    *f = (struct snapshot_file){.sink = {write_all}, .sync_often = sync_often};
    snprintf(f->temporary, sizeof f->temporary, "temp-%s%s", prefix, name);
    f->fd = open(f->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    return f->fd >= 0 ? 0 : failed(f, "create");
}

static int sync_directory(struct snapshot_file *f)
{
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    if (fd < 0)
        return failed(f, "open the directory of");
    if (fsync(fd) != 0 && errno != EINVAL) /* some file systems cannot, and need not */
        rc = failed(f, "sync the directory of");
    close(fd);
    return rc;
}

int snapshot_file_commit(struct snapshot_file *f, const char *name)
{
    int rc = fsync(f->fd) == 0 ? 0 : failed(f, "sync");
    if (close(f->fd) != 0 && rc == 0)
        rc = failed(f, "close");
    f->fd = -1;
    if (rc == 0 && rename(f->temporary, name) != 0)
        rc = failed(f, "rename");
    if (rc == 0)
        return sync_directory(f);
    snapshot_file_abort(f);
    return rc;
}

void snapshot_file_abort(struct snapshot_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    unlink(f->temporary);
}
