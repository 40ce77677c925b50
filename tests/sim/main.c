/* sim [--moves] [SEED [RUNS]]: so many histories from that seed on; says the seed of the first that breaks.
 * sim [--moves] --mutant NAME [RUNS]: the same with a planted bug, which must be found.
 * With --moves slots move from primary to primary; each seed is another history then. */
#include "sim.h"

#include "cluster/mutant.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef CLUSTER_MUTANTS
static enum cluster_mutant living;

enum cluster_mutant cluster_mutant(void)
{
    return living;
}

static int find_mutant(const char *name)
{
    static const char *const names[] = {"",
#define X(word) #word,
                                        CLUSTER_MUTANT_LIST(X)
#undef X
    };
    for (int i = 1; i < MUTANT_END; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return 0;
}
#endif

int main(int argc, char **argv)
{
    bool moving = argc > 1 && strcmp(argv[1], "--moves") == 0;
    int at = moving ? 2 : 1;
    bool mutant = argc > at + 1 && strcmp(argv[at], "--mutant") == 0;
#ifdef CLUSTER_MUTANTS
    if (mutant && (living = (enum cluster_mutant)find_mutant(argv[at + 1])) == MUTANT_NONE)
        return fprintf(stderr, "sim: no such mutant: %s\n", argv[at + 1]), 2;
#endif
    at += mutant ? 2 : 0;
    uint64_t seed = mutant ? 1 : argc > at ? strtoull(argv[at++], NULL, 10) : 1;
    uint64_t runs = argc > at ? strtoull(argv[at], NULL, 10) : 100, steps = 0, elections = 0, given = 0,
             kept = 0;
    static struct sim s;
    for (uint64_t i = 0; i < runs; i++) {
        bool good = sim_run(&s, seed + i, moving, runs == 1);
        steps += s.steps;
        elections += s.elections;
        given += s.given;
        kept += s.kept;
        if (good)
            continue;
        printf("seed %llu: %s\n", (unsigned long long)(seed + i), s.failure);
        return mutant ? 0 : 1;
    }
    printf("%llu runs from seed %llu, %llu steps, %llu promotions, %llu moves and %llu called back: "
           "no invariant broke\n",
           (unsigned long long)runs, (unsigned long long)seed, (unsigned long long)steps,
           (unsigned long long)elections, (unsigned long long)given, (unsigned long long)kept);
    return mutant ? 1 : 0;
}
