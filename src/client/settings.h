/* A handle's options, checked, completed and owned: constant once the handle is open, so any thread
 * may read them. And addresses as people write them. */
#ifndef LARDER_CLIENT_SETTINGS_H
#define LARDER_CLIENT_SETTINGS_H

#include "base/annotate.h"
#include "base/str.h"
#include "client/breaker.h"
#include "larder/larder.h"

#include <stdbool.h>

enum settings_limits { HOST_MAX = 256, PORT_TEXT_MAX = 8, ADDRESS_MAX = HOST_MAX + PORT_TEXT_MAX + 4 };

struct settings {
    struct larder_options o; /* the texts in it are owned copies */
    int64_t connect_ns, command_ns, deadline_ns, backoff_ns, backoff_max_ns;
    struct breaker_rule breaker;
};

/* options NULL means the defaults. 0, LARDER_ERR_ARGUMENT or LARDER_ERR_MEMORY, with err. */
int settings_init(struct settings *s, const struct larder_options *options,
                  struct larder_error *err) MUST_CHECK;
void settings_release(struct settings *s);

struct address {
    char host[HOST_MAX], port[PORT_TEXT_MAX];
    char name[ADDRESS_MAX]; /* "host:port", "[v6]:port" */
};

/* One address out of "host:port,host:port"; *text moves behind it. 0, or LARDER_ERR_ARGUMENT. */
int address_next(struct str *text, struct address *out, struct larder_error *err) MUST_CHECK;
/* From its parts. False when the host is too long or the port out of bounds. */
bool address_make(struct str host, int64_t port, struct address *out);

#endif
