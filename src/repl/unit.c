#include "repl/unit.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"

#include <string.h>

enum { HEADER_ROOM = NUM_I64_TEXT_MAX + 3 };

static const struct str multi = {"*1\r\n$5\r\nMULTI\r\n", 15};
static const struct str exec = {"*1\r\n$4\r\nEXEC\r\n", 14};

void unit_init(struct unit *u, struct changelog *log, uint32_t writer)
{
    *u = (struct unit){.log = log, .writer = writer};
    buf_init(&u->bytes);
}

void unit_release(struct unit *u)
{
    buf_release(&u->bytes);
}

/* "*3\r\n" or "$5\r\n" */
static unsigned put_header(char *dst, char kind, uint64_t n)
{
    dst[0] = kind;
    unsigned at = 1 + num_put_u64(dst + 1, n);
    dst[at] = '\r';
    dst[at + 1] = '\n';
    return at + 2;
}

static uint64_t header_size(uint64_t n)
{
    return 1 + num_digits(n) + 2;
}

static uint64_t bulk_size(struct str s)
{
    return header_size(s.n) + s.n + 2;
}

static int put_named(struct buf *b, struct str name, const struct str *argv, uint32_t argc)
{
    char text[HEADER_ROOM];
    size_t n = put_header(text, '*', argc) + bulk_size(name);
    for (uint32_t i = 1; i < argc; i++)
        n += bulk_size(argv[i]);
    if (buf_reserve(b, n) != 0)
        return ERR_OOM;
    buf_append(b, text, put_header(text, '*', argc));
    for (uint32_t i = 0; i < argc; i++) {
        struct str s = i == 0 ? name : argv[i];
        buf_append(b, text, put_header(text, '$', s.n));
        buf_puts(b, s);
        buf_puts(b, STR("\r\n"));
    }
    return 0;
}

int unit_put_command(struct buf *b, const struct str *argv, uint32_t argc)
{
    return put_named(b, argv[0], argv, argc);
}

void unit_open(struct unit *u)
{
    ASSERT(!u->open && !u->reserved);
    u->open = true;
    u->lost = u->verbatim = false;
    u->ncommands = 0;
    buf_clear(&u->bytes);
}

/* A SELECT within the unit when the command is about another database than the one before. */
static int select_db(struct unit *u, uint32_t db)
{
    if (u->ncommands == 0)
        u->first_db = u->db = db;
    if (u->db == db)
        return 0;
    char digits[NUM_I64_TEXT_MAX];
    const struct str argv[] = {STR("SELECT"), {digits, num_put_u64(digits, db)}};
    u->db = db;
    u->ncommands++;
    return unit_put_command(&u->bytes, argv, 2);
}

static void append(struct unit *u, uint32_t db, const struct str *argv, uint32_t argc)
{
    if (select_db(u, db) != 0 || unit_put_command(&u->bytes, argv, argc) != 0)
        u->lost = true;
    u->ncommands++;
}

/* It is not the only one after all. */
static void settle_request(struct unit *u)
{
    if (!u->verbatim)
        return;
    u->verbatim = false;
    if (put_named(&u->bytes, u->name, u->argv, u->argc) != 0)
        u->lost = true;
}

void unit_add(struct unit *u, uint32_t db, const struct str *argv, uint32_t argc)
{
    bool alone = !u->open;
    if (alone)
        unit_open(u);
    settle_request(u);
    append(u, db, argv, argc);
    if (alone) {
        unit_reserve(u);
        unit_publish(u);
    }
}

void unit_add_request(struct unit *u, uint32_t db, struct str name, const struct str *argv, uint32_t argc)
{
    ASSERT(u->open && argc > 0);
    settle_request(u);
    if (select_db(u, db) != 0)
        u->lost = true;
    u->ncommands++;
    u->verbatim = true;
    u->name = name;
    u->argv = argv;
    u->argc = argc;
    if (u->ncommands > 1)
        settle_request(u); /* its arguments need not live as long as the unit then */
}

static uint64_t request_size(const struct unit *u)
{
    uint64_t n = header_size(u->argc) + bulk_size(u->name);
    for (uint32_t i = 1; i < u->argc; i++)
        n += bulk_size(u->argv[i]);
    return n;
}

void unit_reserve(struct unit *u)
{
    ASSERT(u->open && !u->reserved);
    u->open = false;
    if (u->ncommands == 0)
        return;
    if (unlikely(u->lost)) {
        changelog_break(u->log);
        return;
    }
    u->payload = u->verbatim ? request_size(u) : u->bytes.n;
    if (u->ncommands > 1)
        u->payload += multi.n + exec.n;
    changelog_reserve(u->log, u->writer, u->first_db, u->db, u->payload, &u->place);
    u->reserved = true;
}

/* To *at, which goes on; NULL: the log takes it piece by piece. */
static void write_piece(struct unit *u, char **at, const char *p, size_t n)
{
    if (unlikely(*at == NULL)) {
        changelog_write(u->log, &u->place, p, n);
        return;
    }
    memcpy(*at, p, n);
    *at += n;
}

static void write_header(struct unit *u, char **at, char kind, uint64_t n)
{
    char text[HEADER_ROOM];
    if (likely(*at != NULL))
        *at += put_header(*at, kind, n);
    else
        changelog_write(u->log, &u->place, text, put_header(text, kind, n));
}

static void write_bulk(struct unit *u, char **at, struct str s)
{
    write_header(u, at, '$', s.n);
    write_piece(u, at, s.p, s.n);
    write_piece(u, at, "\r\n", 2);
}

/* Nearly always all of it lies in one chunk. */
static void write_request(struct unit *u)
{
    char *room = changelog_room(u->log, &u->place, u->payload), *at = room;
    write_header(u, &at, '*', u->argc);
    write_bulk(u, &at, u->name);
    for (uint32_t i = 1; i < u->argc; i++)
        write_bulk(u, &at, u->argv[i]);
    ASSERT(room == NULL || at == room + u->payload);
}

void unit_publish(struct unit *u)
{
    if (!u->reserved)
        return;
    changelog_begin_write(u->log, u->first_db, u->payload, &u->place);
    if (u->ncommands > 1)
        changelog_write(u->log, &u->place, multi.p, multi.n);
    if (u->verbatim)
        write_request(u); /* then it is the only one */
    else
        changelog_write(u->log, &u->place, u->bytes.p, u->bytes.n);
    if (u->ncommands > 1)
        changelog_write(u->log, &u->place, exec.p, exec.n);
    changelog_publish(u->log, u->writer, &u->place);
    u->reserved = false;
    u->fresh = true;
    u->last_end = u->place.end;
    if (u->bytes.cap > UNIT_KEEP)
        buf_release(&u->bytes);
}
