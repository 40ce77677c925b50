#include "tool/cluster/cluster.h"

#include "base/alloc.h"
#include "base/num.h"
#include "tool/cluster/work.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "usage: larder cluster COMMAND ... [option ...]\n"
    "\n"
    "  create ADDR ADDR ADDR ...      make a cluster of empty nodes: primaries first, then their replicas\n"
    "  status ADDR                    nodes, slots, replication, memory and hits at a glance\n"
    "  add NEW ADDR                   let the empty node NEW join the cluster of ADDR\n"
    "  remove ADDR NODE               give NODE's slots to the others, then forget it\n"
    "  rebalance ADDR                 give every primary its share of the slots: the same, or by --weight\n"
    "  rolling-restart ADDR           restart all nodes, one after the other, while the cluster serves\n"
    "\n"
    "  --replicas N       create: of each primary (default 0)\n"
    "  --replica-of NODE  add: as a replica of this one\n"
    "  --weight NODE=N    rebalance: N times the slots of a node with weight 1 (the default); 0: none; again "
    "for\n"
    "                     others\n"
    "  --command LINE     rolling-restart: a shell's, that restarts the node $HOST:$PORT; without it nodes "
    "are\n"
    "                     told to shut down, and their supervisor starts them again\n"
    "  --since SECONDS    rolling-restart: nodes that were started then (Unix time), or later, are done\n"
    "  --dry-run          show what would be done, and do nothing\n"
    "  --yes              do not ask\n"
    "  --user NAME, --password WORD   for all nodes; or set REDISCLI_AUTH\n"
    "\n"
    "ADDR is host:port of any node, NODE an address, an id or the first digits of one. Slots are moved "
    "while\n"
    "the cluster serves; Ctrl-C stops between two slots, and the same command goes on.\n";

static const struct {
    const char *name, *words;
    int (*run)(struct work *w);
    uint32_t words_min, words_max;
} commands[] = {
    {"create", "ADDR ADDR ADDR ...", cluster_create, 1, WORK_WORDS_MAX},
    {"status", "ADDR", cluster_status, 1, 1},
    {"add", "NEW ADDR", cluster_add, 2, 2},
    {"remove", "ADDR NODE", cluster_remove, 2, 2},
    {"rebalance", "ADDR", cluster_rebalance, 1, 1},
    {"rolling-restart", "ADDR", cluster_rolling_restart, 1, 1},
};

/* The others are for all commands. */
static const struct {
    const char *option, *command;
} belongs[] = {
    {"--replicas", "create"},         {"--replica-of", "add"},        {"--weight", "rebalance"},
    {"--command", "rolling-restart"}, {"--since", "rolling-restart"},
};

static int misused(const char *fmt, ...) PRINTF_LIKE(1, 2);
static int misused(const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "larder cluster: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nTry 'larder cluster --help'.\n");
    return EXIT_USAGE;
}

/* One option with a value: "--name v" or "--name=v". *i moves on. NULL: it is another one. */
static const char *option_value(int argc, char **argv, int *i, const char *name)
{
    size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) != 0)
        return NULL;
    if (argv[*i][n] == '=')
        return argv[*i] + n + 1;
    if (argv[*i][n] != '\0' || *i + 1 >= argc)
        return NULL;
    return argv[++*i];
}

static int read_option(struct work *w, int argc, char **argv, int *i)
{
    const char *v;
    int64_t n;
    if (strcmp(argv[*i], "--dry-run") == 0) {
        w->dry_run = true;
    } else if (strcmp(argv[*i], "--yes") == 0) {
        w->yes = true;
    } else if ((v = option_value(argc, argv, i, "--replicas")) != NULL) {
        if (!num_parse_i64(str_of(v), &n) || n < 0 || n > MAP_NODES_MAX)
            return misused("--replicas wants a number, not '%s'", v);
        w->replicas = (uint32_t)n;
    } else if ((v = option_value(argc, argv, i, "--replica-of")) != NULL) {
        w->replica_of = v;
    } else if ((v = option_value(argc, argv, i, "--weight")) != NULL) {
        if (w->nweights == WORK_WEIGHTS_MAX)
            return misused("--weight can be given %d times", WORK_WEIGHTS_MAX);
        w->weights[w->nweights++] = v;
    } else if ((v = option_value(argc, argv, i, "--command")) != NULL) {
        w->command = v;
    } else if ((v = option_value(argc, argv, i, "--since")) != NULL) {
        if (!num_parse_i64(str_of(v), &n) || n < 1)
            return misused("--since wants seconds since 1970, not '%s'", v);
        w->since = n;
    } else if ((v = option_value(argc, argv, i, "--user")) != NULL) {
        w->secret.user = v;
    } else if ((v = option_value(argc, argv, i, "--password")) != NULL) {
        w->secret.password = v;
    } else {
        return misused("there is no option '%s', or it lacks its value", argv[*i]);
    }
    return 0;
}

static int check_place(const char *word, const char *command)
{
    const struct str name = {word, strcspn(word, "=")};
    for (size_t i = 0; i < ARRAY_LEN(belongs); i++)
        if (str_eq(name, str_of(belongs[i].option)) && strcmp(command, belongs[i].command) != 0)
            return misused("%s belongs to 'larder cluster %s', not to '%s'", belongs[i].option,
                           belongs[i].command, command);
    return 0;
}

static int read_words(struct work *w, int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0) {
            int rc = check_place(argv[i], argv[1]);
            if (rc == 0)
                rc = read_option(w, argc, argv, &i);
            if (rc != 0)
                return rc;
        } else if (w->nwords == WORK_WORDS_MAX) {
            return misused("too many words from '%s' on", argv[i]);
        } else {
            w->words[w->nwords++] = argv[i];
        }
    }
    return 0;
}

int cluster_main(int argc, char **argv)
{
    if (argc < 2) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    for (int i = 1; i < argc && i <= 2; i++) /* of a subcommand, too: it fits on a screen */
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return 0;
        }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        struct work *w = mem_must(mem_zalloc(sizeof *w));
        w->secret.password = getenv("REDISCLI_AUTH");
        int rc = read_words(w, argc, argv);
        if (rc == 0 && (w->nwords < commands[i].words_min || w->nwords > commands[i].words_max))
            rc = misused("it is 'larder cluster %s %s'", commands[i].name, commands[i].words);
        if (rc == 0)
            rc = commands[i].run(w);
        work_release(w);
        mem_free(w);
        return rc;
    }
    return misused("there is no command '%s'", argv[1]);
}
