/* sim [SEED [RUNS]]: so many histories from that seed on; says the seed of the first that breaks.
 * sim --mutant NAME [RUNS]: the same with a planted bug, which must be found. */
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
    bool mutant = argc > 2 && strcmp(argv[1], "--mutant") == 0;
    int at = mutant ? 3 : 1;
    uint64_t seed = mutant ? 1 : argc > at ? strtoull(argv[at++], NULL, 10) : 1;
    uint64_t runs = argc > at ? strtoull(argv[at], NULL, 10) : 100, steps = 0, elections = 0;
    static struct sim s;
#ifdef CLUSTER_MUTANTS
    if (mutant && (living = (enum cluster_mutant)find_mutant(argv[2])) == MUTANT_NONE)
        return fprintf(stderr, "sim: no such mutant: %s\n", argv[2]), 2;
#endif
    for (uint64_t i = 0; i < runs; i++) {
        bool good = sim_run(&s, seed + i, runs == 1);
        steps += s.steps;
        elections += s.elections;
        if (good)
            continue;
        printf("seed %llu: %s\n", (unsigned long long)(seed + i), s.failure);
        return mutant ? 0 : 1;
    }
    printf("%llu runs from seed %llu, %llu steps, %llu promotions: no invariant broke\n",
           (unsigned long long)runs, (unsigned long long)seed, (unsigned long long)steps,
           (unsigned long long)elections);
    return mutant ? 1 : 0;
}
