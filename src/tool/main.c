/* `larder`, the operator's tool: one program, a subcommand for each trade. A subcommand
 * is a row here and a folder beside this file. */
#include "base/annotate.h"
#include "base/str.h"
#include "tool/bench/bench.h"
#include "tool/cluster/cluster.h"

#include <stdio.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

static const struct {
    const char *name, *help;
    int (*main)(int argc, char **argv);
} commands[] = {
    {"bench", "drive a cache server, measure its latency and throughput", bench_main},
    {"cluster", "make, look at and change a cluster", cluster_main},
};

static void help(FILE *to)
{
    fprintf(to, "larder: the operator's tool for larder nodes\n\nusage: larder COMMAND [option ...]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(to,
            "\n'larder COMMAND --help' tells the options of a command, 'larder --version' the version.\n");
}

static int unknown(const char *word)
{
    const unsigned far = 4;
    fprintf(stderr, "larder: there is no command '%s'", word);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_distance(str_of(word), str_of(commands[i].name), far) < far)
            fprintf(stderr, "; did you mean '%s'?", commands[i].name);
    fprintf(stderr, "\nTry 'larder --help'.\n");
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0) {
        printf("larder %s\n", LARDER_VERSION);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].main(argc - 1, argv + 1);
    return unknown(argv[1]);
}
