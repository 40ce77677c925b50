/* Between the files of the configuration; nobody else includes it. */
#ifndef LARDER_SERVER_CONFIG_INTERNAL_H
#define LARDER_SERVER_CONFIG_INTERNAL_H

#include "server/config.h"

enum option_type {
    OPTION_BOOL,
    OPTION_INT,
    OPTION_BYTES,
    OPTION_PERCENT_BYTES,
    OPTION_OCTAL,
    OPTION_ENUM,
    OPTION_FLAGS,
    OPTION_EVENTS,
    OPTION_STRING,
    OPTION_SECRET,
    OPTION_PRIMARY,
    OPTION_WORDS,
    OPTION_SAVE,
    OPTION_BUDGETS,
    OPTION_PERCENTILES,
    OPTION_OUTPUT,
    OPTION_OOM_VALUES,
    OPTION_TYPES,
};

enum option_flags {
    IMMUTABLE = 1, /* CONFIG SET may not */
    PROTECTED = 2, /* CONFIG SET only for the trusted */
    SENSITIVE = 4, /* its value stays out of logs */
    HIDDEN = 8,    /* CONFIG GET by exact name only */
    CPUS = 16,     /* "auto" is the number of CPUs we may run on */
};

enum option_status { OPTION_IMPLEMENTED, OPTION_ACCEPTED, OPTION_REFUSED };

struct choice {
    const char *name; /* NULL ends the list */
    int value;
};

struct option {
    const char *name, *alias; /* name NULL: a section of the table, help is its title */
    const char *dflt;         /* as a file would write it, words separated by one space */
    const char *help;         /* what it does, one line */
    const char *note;         /* accepted: what it means here; refused: why */
    const struct choice *choices;
    bool (*check)(const struct option *o, const char *value, struct config_error *e); /* strings */
    int64_t min;
    uint64_t max;      /* bytes use all 64 bits, other numbers 63 */
    int64_t low, high; /* high != 0: values in bounds are moved into [low, high] */
    uint16_t offset;
    uint8_t type, flags, group, status;
};

/* How the values of a type behave. A value is movable: memcpy it and forget the source. */
struct option_ops {
    uint16_t size;
    bool multi; /* several words on a line */
    /* Make a value in *out from the words of a line. `old` is the value so far or NULL;
     * with `more` the line continues one of the same load. Returns 0 or negative, e filled. */
    int (*parse)(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                 void *out, struct config_error *e);
    /* CONFIG GET's text. Trouble shows in b->oom. */
    void (*format)(const struct option *o, const void *value, struct buf *b);
    /* The value as lines of a file; NULL: one line of name and format()'s text. */
    void (*write)(const struct option *o, const void *value, struct buf *b);
    void (*release)(void *value); /* may be NULL */
};

/* config_budgets.c */
int config_parse_budgets(const struct option *o, const struct str *argv, uint32_t n, const void *old,
                         bool more, void *out, struct config_error *e);
void config_format_budgets(const struct option *o, const void *value, struct buf *b);
void config_write_budgets(const struct option *o, const void *value, struct buf *b);

/* config_secret.c */
int config_parse_secret(const struct option *o, const struct str *argv, uint32_t n, const void *old,
                        bool more, void *out, struct config_error *e);
void config_format_secret(const struct option *o, const void *value, struct buf *b);
void config_write_secret(const struct option *o, const void *value, struct buf *b);
void config_release_secret(void *value);

extern const struct option option_table[];
extern const uint32_t option_count;
extern const struct option_ops option_ops[OPTION_TYPES];

/* What happened to an option during the load. */
enum option_seen { SEEN = 1, SEEN_IN_INCLUDE = 2, WARNED = 4 };

struct config_own {
    char *path; /* of the file, absolute; NULL without one */
    struct config_rename *renames;
    uint32_t nrenames;
    struct buf warnings;
    struct {
        config_hook_fn *fn;
        void *ctx;
    } hooks[CONFIG_GROUPS];
    uint8_t seen[]; /* enum option_seen, by row of option_table */
};

/* Room for a value of any type. */
union option_value {
    char *string;
    struct config_secret secret;
    struct config_words words;
    struct config_save save;
    struct config_budgets budgets;
    struct config_percentiles percentiles;
    struct config_output output;
    struct config_oom_values oom;
    uint64_t number;
};

static inline void *option_field(const struct config *cfg, const struct option *o)
{
    return (char *)cfg + o->offset;
}

static inline const struct option_ops *option_ops_of(const struct option *o)
{
    return &option_ops[o->type];
}

/* Lines of a file that are no options: they have no value to read or to set. */
struct directive {
    const char *name;
    uint32_t words; /* behind the name; 0 = any number */
    const char *help;
    const char *note; /* why it is refused or ignored; NULL: it works */
    bool ignored;     /* accepted with the note as a warning; else a note refuses */
};
extern const struct directive directive_table[];
extern const uint32_t directive_count;

/* By name or alias, any case; NULL when there is none. */
const struct option *option_find(struct str name);

/* Parse words as the option's value into *out, refusals included. Returns 0 or negative
 * with e->text set. *out is then the caller's, to store or to release. */
int option_parse(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                 union option_value *out, struct config_error *e);
void option_value_release(const struct option *o, void *value);

/* Do two values read the same? */
bool option_same(const struct option *o, const void *a, const void *b);
/* Is this value what the table's default says? */
bool option_is_default(const struct option *o, const void *value);

/* Move *value into the field and free what was there. */
void option_store(struct config *cfg, const struct option *o, union option_value *value);

/* Append a whole file. ERR_FULL beyond CONFIG_FILE_MAX; ERR_IO with errno. */
int config_read_file(const char *path, struct buf *b);

/* Printf into e->text; returns `err`, so that a failure is one line. */
int config_fail(struct config_error *e, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);
#define CONFIG_NO_MEMORY "out of memory: nothing was changed"

/* The words of the table's default, split at spaces: at most CONFIG_DEFAULT_WORDS. */
enum { CONFIG_DEFAULT_WORDS = 16 };
uint32_t option_split(struct str text, struct str *argv, uint32_t max);

#endif
