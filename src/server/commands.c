#include "server/commands.h"

#include "cmd/rows.h"

#include <stdio.h>

static struct command rows[] = {
#include "cmd/commands.def"
};

static size_t read_renames(const struct config *cfg, struct command_rename *out)
{
    struct config_rename r;
    uint32_t n = 0;
    while (n < CONFIG_RENAMES_MAX && config_rename_at(cfg, n, &r)) {
        out[n] = (struct command_rename){str_of(r.from), str_of(r.to)};
        n++;
    }
    return n;
}

int commands_init(const struct config *cfg)
{
    static struct command_rename renames[CONFIG_RENAMES_MAX];
    size_t bad = 0, n = read_renames(cfg, renames);
    int rc = command_table_init(rows, ARRAY_LEN(rows), renames, n, &bad);
    struct config_rename r;
    if (rc != 0 && config_rename_at(cfg, (uint32_t)bad, &r))
        fprintf(stderr, "larder-server: %s: rename-command %s %s: %s\n", r.where, r.from, r.to,
                rc == ERR_NOTFOUND ? "there is no such command"
                : rc == ERR_EXISTS ? "a command of the new name exists already"
                                   : "the new name is too long");
    return rc;
}
