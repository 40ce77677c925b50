/* Planted bugs: the simulator must find each of them, or it proves nothing. Without CLUSTER_MUTANTS, as
 * everywhere but in the simulator's second copy of the machine, MUTANT() is the constant false and no code
 * comes of it. */
#ifndef LARDER_CLUSTER_MUTANT_H
#define LARDER_CLUSTER_MUTANT_H

#define CLUSTER_MUTANT_LIST(X)                                                                               \
    X(VOTE_TWICE)                                                                                            \
    X(EARLY_VOTE)                                                                                            \
    X(OLD_SLOTS)                                                                                             \
    X(COLLIDE)                                                                                               \
    X(NO_MAJORITY)                                                                                           \
    X(NO_LEASE)                                                                                              \
    X(BREAK_PROMISE)                                                                                         \
    X(VOTE_AT_ONCE)                                                                                          \
    X(WIPE)                                                                                                  \
    X(CLAIM_EQUAL)                                                                                           \
    X(EMPTY_ELECTED)                                                                                         \
    X(NO_UPDATE)                                                                                             \
    X(EARLY_ANNOUNCE)                                                                                        \
    X(FAIL_ALONE)                                                                                            \
    X(ANY_DATA)                                                                                              \
    X(ANY_VIEW)                                                                                              \
    X(NO_DISPUTE)                                                                                            \
    X(VOTE_ON)                                                                                               \
    X(VOTE_NEW)                                                                                              \
    X(NO_ADOPTION)                                                                                           \
    X(TAKE_AT_ONCE)                                                                                          \
    X(TAKE_ALONE)                                                                                            \
    X(TAKE_ANY_EPOCH)                                                                                        \
    X(TAKE_ANYWAY)                                                                                           \
    X(CLAIM_ON_DISK)                                                                                         \
    X(KEEP_EPOCH)                                                                                            \
    X(OFFER_ANYWAY)                                                                                          \
    X(NO_HOLD)                                                                                               \
    X(OFFER_AT_ONCE)                                                                                         \
    X(GIVE_AND_FORGET)                                                                                       \
    X(KEEP_LOST)                                                                                             \
    X(KEEP_DISOWNED)                                                                                         \
    X(KEEP_REPLACED)                                                                                         \
    X(TAKE_AND_FORGET)                                                                                       \
    X(OFFER_LOST)                                                                                            \
    X(GIVE_EARLY)                                                                                            \
    X(RENEW_AT_ONCE)                                                                                         \
    X(TAKE_UNREADY)                                                                                          \
    X(SERVE_INHERITED)

enum cluster_mutant {
    MUTANT_NONE,
#define X(name) MUTANT_##name,
    CLUSTER_MUTANT_LIST(X)
#undef X
        MUTANT_END
};

#ifdef CLUSTER_MUTANTS
enum cluster_mutant cluster_mutant(void); /* the one that lives */
#define MUTANT(name) (cluster_mutant() == MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif
