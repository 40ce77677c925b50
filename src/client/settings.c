#include "client/settings.h"

#include "base/alloc.h"
#include "base/num.h"
#include "client/error.h"

#include <stdio.h>

enum {
    DEFAULT_PORT = 6379,
    TIMEOUT_MS_MAX = 24 * 3600 * 1000,
    CONNECTIONS_MAX = 10000,
    RETRIES_MAX = 100,
    OPTIONS_SIZE_MIN = 64, /* of the first version's struct, roughly: below is a mistake */
};

#define MS_TO_NS(ms) ((int64_t)(ms)*1000000)

void larder_options_init(struct larder_options *o)
{
    *o = (struct larder_options){
        .size = sizeof *o,
        .resp = 3,
        .connect_timeout_ms = 1000,
        .command_timeout_ms = 1000,
        .deadline_ms = 3000,
        .retries = 3,
        .backoff_ms = 20,
        .backoff_max_ms = 500,
        .retry_percent = 20,
        .connections = 50,
        .keepalive_s = 60,
        .ttl_ms = 3600 * 1000,
        .breaker_failures = 5,
        .breaker_ms = 1000,
        .failover = 1,
        .standin_ttl_ms = 10 * 1000,
        .ring_points = LARDER_RING_POINTS,
        .reply_max = (size_t)512 << 20,
    };
}

static const char *fault(const struct larder_options *o)
{
    if ((unsigned)o->topology > LARDER_TOPOLOGY_CLUSTER)
        return "topology: no such one";
    if (o->user != NULL && o->password == NULL)
        return "user: needs a password";
    if (o->database < 0 || (o->database > 0 && o->topology == LARDER_TOPOLOGY_CLUSTER))
        return "database: must be 0 in a cluster, and not negative";
    if (o->resp != 2 && o->resp != 3)
        return "resp: must be 2 or 3";
    if (o->connect_timeout_ms - 1 >= TIMEOUT_MS_MAX || o->command_timeout_ms - 1 >= TIMEOUT_MS_MAX ||
        o->deadline_ms - 1 >= TIMEOUT_MS_MAX || o->backoff_ms > TIMEOUT_MS_MAX ||
        o->backoff_max_ms > TIMEOUT_MS_MAX)
        return "timeouts: must be from 1 ms to a day";
    if (o->retries > RETRIES_MAX || o->retry_percent > 100)
        return "retries: at most 100, and at most 100 percent";
    if (o->connections == 0 || o->connections > CONNECTIONS_MAX)
        return "connections: must be from 1 to 10000";
    if (o->ttl_ms <= 0 || o->standin_ttl_ms <= 0)
        return "ttl_ms, standin_ttl_ms: must be above 0";
    if (o->breaker_ms == 0 || o->breaker_ms > TIMEOUT_MS_MAX)
        return "breaker_ms: must be from 1 ms to a day";
    if ((unsigned)o->read_from > LARDER_READ_ANY || (unsigned)o->placement > LARDER_PLACEMENT_KETAMA)
        return "read_from, placement: no such one";
    if (o->ring_points > LARDER_RING_POINTS_MAX)
        return "ring_points: too many";
    if (o->reply_max == 0)
        return "reply_max: must be above 0";
    return NULL;
}

static bool own(const char **text)
{
    if (*text != NULL)
        *text = mem_strndup(*text, strlen(*text));
    return *text != NULL;
}

int settings_init(struct settings *s, const struct larder_options *options, struct larder_error *err)
{
    *s = (struct settings){0};
    larder_options_init(&s->o);
    if (options != NULL) {
        if (options->size < OPTIONS_SIZE_MIN)
            return fail(err, LARDER_ERR_ARGUMENT, "options: start from larder_options_init()");
        memcpy(&s->o, options, options->size < sizeof s->o ? options->size : sizeof s->o);
    }
    const char *wrong = fault(&s->o);
    struct larder_options given = s->o;
    s->o.user = s->o.password = s->o.client_name = NULL;
    if (wrong != NULL)
        return fail(err, LARDER_ERR_ARGUMENT, "options: %s", wrong);
    s->connect_ns = MS_TO_NS(s->o.connect_timeout_ms);
    s->command_ns = MS_TO_NS(s->o.command_timeout_ms);
    s->deadline_ns = MS_TO_NS(s->o.deadline_ms);
    s->backoff_ns = MS_TO_NS(s->o.backoff_ms);
    s->backoff_max_ns = MS_TO_NS(s->o.backoff_max_ms);
    s->breaker = (struct breaker_rule){s->o.breaker_failures, MS_TO_NS(s->o.breaker_ms)};
    const char *texts[] = {given.user, given.password, given.client_name};
    const char **places[] = {&s->o.user, &s->o.password, &s->o.client_name};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        *places[i] = texts[i];
        if (texts[i] != NULL && !own(places[i])) {
            settings_release(s);
            return fail(err, LARDER_ERR_MEMORY, "out of memory");
        }
    }
    return 0;
}

void settings_release(struct settings *s)
{
    mem_free((char *)s->o.user);
    mem_free((char *)s->o.password);
    mem_free((char *)s->o.client_name);
    *s = (struct settings){0};
}

bool address_make(struct str host, int64_t port, struct address *out)
{
    if (host.n == 0 || host.n >= HOST_MAX || port <= 0 || port > 65535 ||
        memchr(host.p, '\0', host.n) != NULL)
        return false;
    memcpy(out->host, host.p, host.n);
    out->host[host.n] = '\0';
    snprintf(out->port, sizeof out->port, "%d", (int)port);
    bool v6 = memchr(host.p, ':', host.n) != NULL;
    snprintf(out->name, sizeof out->name, v6 ? "[%s]:%s" : "%s:%s", out->host, out->port);
    return true;
}

static struct str trimmed(struct str s)
{
    while (s.n > 0 && s.p[0] == ' ')
        s = (struct str){s.p + 1, s.n - 1};
    while (s.n > 0 && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

int address_next(struct str *text, struct address *out, struct larder_error *err)
{
    const char *comma = memchr(text->p, ',', text->n);
    size_t n = comma != NULL ? (size_t)(comma - text->p) : text->n;
    struct str one = trimmed((struct str){text->p, n}), host = one, port = {NULL, 0};
    *text = (struct str){text->p + n + (comma != NULL), text->n - n - (comma != NULL)};
    const char *colon = memrchr(one.p, ':', one.n), *bracket = memrchr(one.p, ']', one.n);
    if (one.n > 0 && one.p[0] == '[' && bracket != NULL) {
        host = (struct str){one.p + 1, (size_t)(bracket - one.p) - 1};
        colon = colon > bracket ? colon : NULL;
    } else if (colon != NULL) {
        host.n = (size_t)(colon - one.p);
    }
    int64_t number = DEFAULT_PORT;
    if (colon != NULL)
        port = (struct str){colon + 1, (size_t)(one.p + one.n - colon) - 1};
    if ((colon != NULL && !num_parse_i64(port, &number)) || !address_make(host, number, out))
        return fail(err, LARDER_ERR_ARGUMENT, "'%.*s' is no address: write host:port",
                    (int)(one.n < 100 ? one.n : 100), one.p);
    return 0;
}
