/* Passwords: `requirepass` and `masterauth`.
 *
 * Unlike a path or an address a password may hold any byte, so it has a length. Files say the bytes that
 * cannot be written as they are by \xHH in quotes. */
#include "base/alloc.h"
#include "server/config_internal.h"

int config_parse_secret(const struct option *o, const struct str *argv, uint32_t n, const void *old,
                        bool more, void *out, struct config_error *e)
{
    struct config_secret s = {.p = mem_strndup(argv[0].p, argv[0].n), .n = argv[0].n};
    if (s.p == NULL)
        return config_fail(e, ERR_OOM, CONFIG_NO_MEMORY);
    *(struct config_secret *)out = s;
    return 0;
}

void config_format_secret(const struct option *o, const void *value, struct buf *b)
{
    buf_puts(b, config_secret_str(value));
}

void config_write_secret(const struct option *o, const void *value, struct buf *b)
{
    buf_printf(b, "%s ", o->name);
    buf_put_quoted(b, config_secret_str(value));
    buf_putc(b, '\n');
}

void config_release_secret(void *value)
{
    mem_free(((struct config_secret *)value)->p);
}
