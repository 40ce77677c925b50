/* Reading text: one pass that parses a line and numbers its key through an open-addressed
 * table, then one that spreads the requests of each second. Times are told in seconds and
 * a busy trace has thousands in each, so without spreading they would come in bursts. */
#include "bench/replay/trace.h"

#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/num.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_BYTES = 1024, FIELDS = 4 };

struct header {
    char magic[8];
    uint64_t requests, keys, key_bytes;
};

static const char magic[8] = {'L', 'T', 'R', 'A', 'C', 'E', '1', '\n'};

/* Names to numbers. A slot holds the name's 64-bit fingerprint and its number + 1. */
struct naming {
    uint64_t *print;
    uint32_t *number;
    uint64_t slots, used;
};

static void naming_resize(struct naming *t, uint64_t slots)
{
    struct naming old = *t;
    t->print = mem_must(mem_alloc(slots * sizeof *t->print));
    t->number = mem_must(mem_zalloc(slots * sizeof *t->number));
    t->slots = slots;
    for (uint64_t i = 0; i < old.slots; i++) {
        if (old.number[i] == 0)
            continue;
        uint64_t at = old.print[i] & (slots - 1);
        while (t->number[at] != 0)
            at = (at + 1) & (slots - 1);
        t->print[at] = old.print[i];
        t->number[at] = old.number[i];
    }
    mem_free(old.print);
    mem_free(old.number);
}

/* Two texts share a fingerprint with probability 2^-64: not in any trace that fits here. */
static uint32_t naming_number(struct naming *t, struct str name)
{
    static const struct hash_seed seed = {0x6c61726465722d74, 0x726163652d6b6579};
    if (t->used * 2 >= t->slots)
        naming_resize(t, t->slots ? t->slots * 2 : 1 << 16);
    uint64_t print = hash_sip13(name.p, name.n, &seed), at = print & (t->slots - 1);
    while (t->number[at] != 0 && t->print[at] != print)
        at = (at + 1) & (t->slots - 1);
    if (t->number[at] == 0) {
        t->print[at] = print;
        t->number[at] = (uint32_t)++t->used;
    }
    return t->number[at] - 1;
}

static int wrong(struct trace_err *err, uint64_t line, const char *what)
{
    snprintf(err->text, sizeof err->text, "line %lu: %s", (unsigned long)line, what);
    return ERR_SYNTAX;
}

static int split(char *line, struct str field[FIELDS])
{
    size_t n = strcspn(line, "\r\n");
    line[n] = 0;
    for (int i = 0; i < FIELDS; i++) {
        size_t length = strcspn(line, ",");
        field[i] = (struct str){line, length};
        line += length;
        if (*line == ',')
            line++;
        else if (i < FIELDS - 1)
            return ERR_SYNTAX;
    }
    return *line == 0 ? 0 : ERR_SYNTAX;
}

struct reading {
    struct naming names;
    uint64_t first_s, last_s, line;
};

static int parse_line(struct reading *rd, char *line, struct trace_request *out, struct trace_err *err)
{
    struct str field[FIELDS];
    uint64_t seconds, bytes, ttl;
    if (split(line, field) != 0 || field[1].n == 0)
        return wrong(err, rd->line, "is not seconds,key,value_bytes,ttl_seconds");
    if (!num_parse_u64(field[0], &seconds) || !num_parse_u64(field[2], &bytes) ||
        !num_parse_u64(field[3], &ttl))
        return wrong(err, rd->line, "seconds, value_bytes and ttl_seconds are whole numbers");
    if (rd->line == 1)
        rd->first_s = rd->last_s = seconds;
    if (seconds < rd->last_s)
        return wrong(err, rd->line, "is earlier than the line before it: sort the trace by time");
    rd->last_s = seconds;
    if (seconds - rd->first_s >= UINT32_MAX / 1000 || ttl > UINT32_MAX)
        return wrong(err, rd->line, "lies more than 49 days after the first");
    *out = (struct trace_request){
        .at_ms = (uint32_t)(seconds - rd->first_s) * 1000,
        .key = naming_number(&rd->names, field[1]),
        .bytes = bytes < TRACE_VALUE_MAX ? (uint32_t)bytes : TRACE_VALUE_MAX,
        .ttl_s = (uint32_t)ttl,
    };
    return 0;
}

static void spread_seconds(struct trace *t)
{
    for (uint64_t i = 0, end; i < t->n; i = end) {
        for (end = i + 1; end < t->n && t->requests[end].at_ms == t->requests[i].at_ms;)
            end++;
        for (uint64_t j = i; j < end; j++)
            t->requests[j].at_ms += (uint32_t)((j - i) * 1000 / (end - i));
    }
}

int trace_read_text(FILE *from, uint32_t key_bytes, struct trace *out, struct trace_err *err)
{
    struct reading rd = {0};
    char line[LINE_BYTES];
    uint64_t room = 0;
    int rc = 0;
    *out = (struct trace){.key_bytes = key_bytes};
    while (rc == 0 && fgets(line, sizeof line, from) != NULL) {
        rd.line++;
        if (out->n == room) {
            room = room ? room * 2 : 1 << 16;
            out->requests = mem_must(mem_realloc(out->requests, room * sizeof *out->requests));
        }
        rc = parse_line(&rd, line, &out->requests[out->n], err);
        out->n += rc == 0;
    }
    out->keys = rd.names.used;
    mem_free(rd.names.print);
    mem_free(rd.names.number);
    if (rc == 0 && out->n == 0)
        rc = wrong(err, 1, "there is no request");
    if (rc != 0)
        trace_release(out);
    else
        spread_seconds(out);
    return rc;
}

static int failed(struct trace_err *err, const char *path, const char *why)
{
    snprintf(err->text, sizeof err->text, "%s: %s", path, why);
    return ERR_IO;
}

/* A file that lies about its lengths must not be read beyond its end. */
static int check_map(const struct trace *t, const struct header *h)
{
    if (t->mapped_bytes < sizeof *h || memcmp(h->magic, magic, sizeof magic) != 0)
        return ERR_CORRUPT;
    if (h->requests == 0 || h->requests != (t->mapped_bytes - sizeof *h) / sizeof *t->requests)
        return ERR_CORRUPT;
    if (h->keys == 0 || h->keys > h->requests || h->key_bytes < TRACE_KEY_BYTES_MIN ||
        h->key_bytes > TRACE_KEY_BYTES_MAX)
        return ERR_CORRUPT;
    return 0;
}

int trace_load(const char *path, struct trace *out, struct trace_err *err)
{
    struct stat st;
    *out = (struct trace){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return failed(err, path, strerror(errno));
    void *p = fstat(fd, &st) == 0 && st.st_size > 0
                  ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0)
                  : MAP_FAILED;
    close(fd);
    if (p == MAP_FAILED)
        return failed(err, path, "cannot be mapped");
    const struct header *h = p;
    out->mapped = p;
    out->mapped_bytes = (size_t)st.st_size;
    if (check_map(out, h) != 0) {
        trace_release(out);
        return failed(err, path, "is no packed trace: make one with 'replay pack' or 'replay make'");
    }
    out->requests = (struct trace_request *)((char *)p + sizeof *h);
    out->n = h->requests;
    out->keys = h->keys;
    out->key_bytes = (uint32_t)h->key_bytes;
    for (uint64_t i = 0; i < out->n; i++)
        if (out->requests[i].key >= out->keys || out->requests[i].bytes > TRACE_VALUE_MAX) {
            trace_release(out);
            return failed(err, path, "has a request that is out of bounds");
        }
    return 0;
}

int trace_save(const struct trace *t, const char *path, struct trace_err *err)
{
    struct header h = {.requests = t->n, .keys = t->keys, .key_bytes = t->key_bytes};
    memcpy(h.magic, magic, sizeof magic);
    FILE *f = fopen(path, "we");
    if (f == NULL)
        return failed(err, path, strerror(errno));
    bool written =
        fwrite(&h, sizeof h, 1, f) == 1 && fwrite(t->requests, sizeof *t->requests, t->n, f) == t->n;
    if (fclose(f) != 0 || !written)
        return failed(err, path, "could not be written whole");
    return 0;
}

void trace_release(struct trace *t)
{
    if (t->mapped != NULL)
        munmap(t->mapped, t->mapped_bytes);
    else
        mem_free(t->requests);
    *t = (struct trace){0};
}
