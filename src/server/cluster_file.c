#include "server/cluster_file.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { CONF_MAX = 64 << 20, PATH_ROOM = 4096 };

static bool write_whole(int fd, struct str text, bool sync)
{
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text = (struct str){text.p + n, text.n - (size_t)n};
    }
    return !sync || fsync(fd) == 0;
}

static bool sync_directory(void)
{
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = fsync(fd) == 0;
    close(fd);
    return ok;
}

bool cluster_file_write(const char *path, struct str text, bool sync)
{
    char fresh[PATH_ROOM];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write_whole(fd, text, sync);
    close(fd);
    return ok && rename(fresh, path) == 0 && (!sync || sync_directory());
}

int cluster_file_read(const char *path, struct buf *b)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOTFOUND : ERR_IO;
    int rc = 0;
    for (ssize_t n = 1; rc == 0 && n != 0;) {
        rc = b->n > CONF_MAX ? ERR_FULL : buf_reserve(b, 64 * 1024);
        if (rc != 0)
            break;
        n = read(fd, b->p + b->n, 64 * 1024);
        if (n < 0)
            rc = ERR_IO;
        else
            b->n += (size_t)n;
    }
    close(fd);
    return rc == 0 && b->n == 0 ? ERR_NOTFOUND : rc;
}
