/* The arguments of a command, written once in its row as a person would write them,
 * read by machines as COMMAND DOCS's nested maps.
 *
 *      key:key value [condition: NX | XX]@2.6.12 [GET]@6.2.0 [DB destination-db:int]
 *
 *      name  name:type     a value; types: string (if not said) int double pattern time
 *                          key, and key1, key2... for a key of that key spec
 *      WORD  'word'        a literal: all capitals, or quoted. Before a value or a <group>
 *                          it is that argument's token, else it stands for itself
 *      WORD(name)          the same, where its own name in small letters will not do
 *      [x]                 x may be left out
 *      [label: x | y]      one of several, optional;   <label: x | y>  one of several
 *      [label: x y]        a block, optional;          <label: x y>    a block
 *      ...  +...           after a word or bracket: may be repeated; repeated with its token
 *      @7.0.0  !6.2.0      after a word or bracket: since that version; deprecated since
 *      name=text           how help shows the value, if not by its name: addr=ip:port
 *
 * Words and brackets are separated by single spaces. Pure functions; nothing is allocated. */
#ifndef LARDER_CMD_SYNTAX_H
#define LARDER_CMD_SYNTAX_H

#include "base/annotate.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum syntax_limits { SYNTAX_ARGS_MAX = 64, SYNTAX_DEPTH_MAX = 8 };

enum syntax_type {
    SYNTAX_STRING,
    SYNTAX_INTEGER,
    SYNTAX_DOUBLE,
    SYNTAX_KEY,
    SYNTAX_PATTERN,
    SYNTAX_TIME,
    SYNTAX_TOKEN, /* nothing but its token */
    SYNTAX_ONEOF,
    SYNTAX_BLOCK,
};

enum { SYNTAX_NONE = -1 };

/* All text is borrowed from what was parsed; absent text has p NULL. */
struct syntax_arg {
    struct str name; /* of a SYNTAX_TOKEN: maybe in capitals, to be shown in small letters */
    struct str token, display, since, deprecated;
    uint8_t type; /* enum syntax_type */
    bool optional, multiple, multiple_token;
    int8_t key_spec;    /* which key spec finds this key, or SYNTAX_NONE */
    int8_t child, next; /* places in args[], or SYNTAX_NONE */
    uint8_t nchildren;
};

struct syntax {
    struct syntax_arg args[SYNTAX_ARGS_MAX];
    uint8_t nargs;  /* places used, nested ones included */
    int8_t first;   /* the first argument of the command */
    uint8_t ntop;   /* how many stand side by side with it */
    uint16_t error; /* after an error: where in the text */
};

/* Returns 0, ERR_SYNTAX, or ERR_FULL beyond the limits. Borrows text. */
int syntax_parse(struct str text, struct syntax *out);

/* "pure-token", "unix-time", ... as COMMAND DOCS names the type. */
const char *syntax_type_name(enum syntax_type type);

#endif
