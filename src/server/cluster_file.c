#include "server/cluster_file.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/num.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CONF_MAX = 64 << 20,
    READ_SOME = 64 << 10,
    PATH_ROOM = CLUSTER_FILE_NAME + 16,
    JOURNAL_BYTES = 2 * CLUSTER_JOURNAL_HALF,
};

static const char number_key[] = " larderSaved ", sum_key[] = " larderSum ";

/* ---- seals ----------------------------------------------------------------------------------- */

static bool seal(struct cluster_file *f, struct str text)
{
    struct buf *b = &f->text;
    ASSERT(text.n > 0 && text.p[text.n - 1] == '\n');
    buf_clear(b);
    b->oom = false;
    buf_append(b, text.p, text.n - 1);
    buf_printf(b, "%s%llu", number_key, (unsigned long long)++f->number);
    if (b->oom)
        return errno = ENOMEM, false;
    buf_printf(b, "%s%llu\n", sum_key, (unsigned long long)hash_crc64(0, b->p, b->n));
    return !b->oom || (errno = ENOMEM, false);
}

/* The last `key` in the text and the number behind it, to the text's end. *at: where it begins. */
static bool last_number(struct str text, const char *key, size_t *at, uint64_t *number)
{
    const size_t n = strlen(key);
    for (size_t i = text.n; i-- > 0;)
        if (text.n - i > n && memcmp(text.p + i, key, n) == 0) {
            *at = i;
            return num_parse_u64((struct str){text.p + i + n, text.n - i - n}, number);
        }
    return false;
}

/* Is it as we wrote it? */
static bool is_sealed(struct str text, uint64_t *number)
{
    size_t at;
    uint64_t sum;
    if (text.n == 0 || text.p[text.n - 1] != '\n')
        return false;
    text.n--;
    if (!last_number(text, sum_key, &at, &sum) || hash_crc64(0, text.p, at) != sum)
        return false;
    return last_number((struct str){text.p, at}, number_key, &at, number);
}

/* As a file system may leave it when the power fails; whoever edits a file leaves lines. */
static bool is_torn(struct str text)
{
    return text.n == 0 || text.p[text.n - 1] != '\n';
}

/* ---- the system ------------------------------------------------------------------------------ */

static bool write_whole(int fd, struct str text, off_t at)
{
    while (text.n > 0) {
        ssize_t n = pwrite(fd, text.p, text.n, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text = (struct str){text.p + n, text.n - (size_t)n};
        at += n;
    }
    return true;
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

/* Appends. 0, ERR_NOTFOUND, ERR_IO, ERR_FULL, ERR_OOM. */
static int read_whole(const char *path, struct buf *b)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOTFOUND : ERR_IO;
    int rc = 0;
    for (ssize_t n = 1; rc == 0 && n != 0;) {
        rc = b->n > CONF_MAX ? ERR_FULL : buf_reserve(b, READ_SOME);
        if (rc != 0)
            break;
        n = read(fd, b->p + b->n, READ_SOME);
        if (n < 0)
            rc = ERR_IO;
        else
            b->n += (size_t)n;
    }
    close(fd);
    return rc;
}

/* ---- the journal ----------------------------------------------------------------------------- */

static const char *journal_path(const struct cluster_file *f, char path[PATH_ROOM])
{
    snprintf(path, PATH_ROOM, "%s.journal", f->path);
    return path;
}

static struct str half_of(struct str journal, unsigned half)
{
    size_t at = half * (size_t)CLUSTER_JOURNAL_HALF;
    if (at >= journal.n)
        return (struct str){NULL, 0};
    size_t n = journal.n - at < CLUSTER_JOURNAL_HALF ? journal.n - at : CLUSTER_JOURNAL_HALF;
    return (struct str){journal.p + at, strnlen(journal.p + at, n)};
}

/* The newest text of the journal, NULL: it has none. */
static struct str newest_of(struct cluster_file *f, struct str journal)
{
    struct str found = {NULL, 0};
    for (unsigned half = 0; half < 2; half++) {
        struct str text = half_of(journal, half);
        uint64_t number;
        if (!is_sealed(text, &number) || (found.p != NULL && number < f->number))
            continue;
        found = text;
        f->number = number;
        f->half = 1 - half;
    }
    return found;
}

/* Zeros are written, not only room taken: to fill that the file system would have to note it. */
bool cluster_file_begin_journal(struct cluster_file *f)
{
    char path[PATH_ROOM];
    ASSERT(f->journal < 0);
    f->journal = open(journal_path(f, path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (f->journal < 0)
        return false;
    struct stat st;
    bool ok = fstat(f->journal, &st) == 0;
    char *zeros = NULL;
    if (ok && st.st_size < JOURNAL_BYTES) {
        size_t n = (size_t)(JOURNAL_BYTES - st.st_size);
        zeros = mem_zalloc(n);
        ok = zeros != NULL && write_whole(f->journal, (struct str){zeros, n}, st.st_size);
    }
    ok = ok && fsync(f->journal) == 0;
    mem_free(zeros);
    if (!ok) {
        close(f->journal);
        f->journal = -1;
    }
    return ok;
}

void cluster_file_end_journal(struct cluster_file *f)
{
    char path[PATH_ROOM];
    if (f->journal >= 0)
        close(f->journal);
    f->journal = -1;
    unlink(journal_path(f, path));
}

/* With the NUL that ends it. */
static bool put_in_journal(struct cluster_file *f)
{
    struct buf *b = &f->text;
    if (f->journal < 0 || buf_putc(b, '\0') != 0 || b->n > CLUSTER_JOURNAL_HALF ||
        !write_whole(f->journal, buf_str(b), (off_t)f->half * CLUSTER_JOURNAL_HALF) ||
        fdatasync(f->journal) != 0)
        return false;
    f->half = 1 - f->half;
    return true;
}

/* ---- nodes.conf ------------------------------------------------------------------------------ */

bool cluster_file_write(struct cluster_file *f, struct str text, bool sync)
{
    char fresh[PATH_ROOM];
    snprintf(fresh, sizeof fresh, "%s.new", f->path);
    if (!seal(f, text))
        return false;
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write_whole(fd, buf_str(&f->text), 0) && (!sync || fsync(fd) == 0);
    close(fd);
    return ok && rename(fresh, f->path) == 0 && (!sync || sync_directory());
}

bool cluster_file_keep(struct cluster_file *f, struct str text)
{
    return (seal(f, text) && put_in_journal(f)) || cluster_file_write(f, text, true);
}

int cluster_file_open(struct cluster_file *f, const char *path, struct buf *text,
                      enum cluster_file_found *found)
{
    char beside[PATH_ROOM];
    struct buf journal;
    size_t from = text->n;
    *f = (struct cluster_file){.journal = -1};
    *found = FOUND_NOTHING;
    snprintf(f->path, sizeof f->path, "%s", path);
    buf_init(&f->text);
    buf_init(&journal);
    int rc = read_whole(f->path, text);
    bool gone = rc == ERR_NOTFOUND;
    if (rc == 0 || gone)
        rc = read_whole(journal_path(f, beside), &journal);
    if (rc != 0 && rc != ERR_NOTFOUND)
        goto done;
    struct str file = {text->p + from, text->n - from}, kept = newest_of(f, buf_str(&journal));
    uint64_t number = 0, ours = f->number;
    bool sealed = is_sealed(file, &number);
    if (number > f->number)
        f->number = number;
    rc = 0;
    if (!gone && kept.p != NULL && (sealed ? number < ours : is_torn(file))) {
        text->n = from;
        rc = buf_puts(text, kept);
        *found = FOUND_JOURNAL;
    } else if (file.n > 0) {
        *found = FOUND_FILE;
    }
done:
    buf_release(&journal);
    return rc;
}

void cluster_file_release(struct cluster_file *f)
{
    if (f->journal >= 0)
        close(f->journal);
    f->journal = -1;
    buf_release(&f->text);
}
