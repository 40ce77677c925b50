/* What the parts of the shell share: the handle, the line, and how answers are written. */
#ifndef LARDER_TEST_PROMPT_H
#define LARDER_TEST_PROMPT_H

#include <larder/cache.h>
#include <stdbool.h>

enum { WORDS_MAX = 20000, SLACK_MS = 20000 };

struct prompt {
    larder *l;
    struct larder_options options;
    struct larder_error err;
    char *words[WORDS_MAX]; /* the verb, then its arguments */
    int n;
};

struct verb {
    const char *name;
    void (*run)(struct prompt *p);
    bool timed; /* one call, which ends at its deadline */
};

/* Ends with a name of NULL. */
extern const struct verb call_verbs[];    /* calls.c */
extern const struct verb pattern_verbs[]; /* patterns.c */

/* The i-th word, empty and 0 beyond the last. */
struct larder_bytes word(const struct prompt *p, int i);
int64_t number(const struct prompt *p, int i);
/* "name=value" at word i, cut in two; NULL behind the last. */
const char *setting(struct prompt *p, int i, const char **name);

/* The word for a status, with dashes; behind an error its message. */
void say_status(const struct prompt *p, int status);
void say_bytes(struct larder_bytes b);
void sleep_ms(int ms);
int64_t now_ms(void);

#endif
