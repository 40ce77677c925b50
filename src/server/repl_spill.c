/* The file behind the change log: what slow replicas still need and memory should not hold. It has no name,
 * so nothing of it outlives the process. Offsets of the log are places in the file, modulo SPILL_SPAN; what
 * is dropped becomes a hole. */
#include "server/repl.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define SPILL_SPAN ((uint64_t)1 << 42)
#define SPILL_MAX ((uint64_t)64 << 30)

static int open_file(struct repl *r)
{
    char name[64];
    if (r->spill_fd >= 0)
        return 0;
    snprintf(name, sizeof name, "temp-%d-log", (int)getpid());
    r->spill_fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (r->spill_fd < 0)
        return ERR_IO;
    unlink(name);
    return 0;
}

static int spill_write(void *arg, uint64_t at, const void *p, size_t n)
{
    struct repl *r = arg;
    if (open_file(r) != 0)
        return ERR_IO;
    for (size_t done = 0; done < n;) {
        ssize_t k = pwrite(r->spill_fd, (const char *)p + done, n - done, (off_t)((at + done) % SPILL_SPAN));
        if (k < 0 && errno != EINTR)
            return ERR_IO;
        done += k > 0 ? (size_t)k : 0;
    }
    return 0;
}

static int spill_read(void *arg, uint64_t at, void *p, size_t n)
{
    struct repl *r = arg;
    for (size_t done = 0; done < n;) {
        ssize_t k = pread(r->spill_fd, (char *)p + done, n - done, (off_t)((at + done) % SPILL_SPAN));
        if (k == 0 || (k < 0 && errno != EINTR))
            return ERR_IO;
        done += k > 0 ? (size_t)k : 0;
    }
    return 0;
}

static void spill_drop(void *arg, uint64_t at, size_t n)
{
    struct repl *r = arg;
    (void)fallocate(r->spill_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(at % SPILL_SPAN),
                    (off_t)n);
}

struct changelog_spill repl_spill(struct repl *r)
{
    r->spill_fd = -1;
    return (struct changelog_spill){spill_write, spill_read, spill_drop, r, SPILL_MAX};
}
