/* Redis's snapshot format, as far as it is not the inside of a value.
 *
 *      "REDIS" "0010" | AUX name value ... | SELECT db | RESIZE keys expires |
 *          [EXPIRE_MS t] [IDLE s | FREQ n] type key value ... | EOF | CRC-64
 *
 * Numbers of fixed size are little endian, lengths as value/rdb_string.h says. AUX fields may stand anywhere
 * between keys; readers skip those they do not know. That is the place for what the format does not know
 * about a key: the field RDB_EXTRA_NAME belongs to the key that follows it, and its value is the entry's
 * cache extension and its end (store/cut.h). Whoever gives entries extensions need not do anything for
 * files and full copies but take them back when they are loaded (persist/load.h, load_extra_fn). */
#ifndef LARDER_PERSIST_RDB_H
#define LARDER_PERSIST_RDB_H

#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum rdb_format {
    RDB_VERSION_MIN = 1,
    RDB_VERSION_WRITTEN = 10, /* Redis 7.0, and everything since */
    RDB_VERSION_MAX = 11,     /* Redis 7.2, Valkey 7.2 and 8 */
    RDB_VERSION_SUMMED = 5,   /* the first with a checksum at the end */
    RDB_HEADER = 9,
    RDB_TRAILER = 8,

    RDB_STRING = 0, /* type byte */

    RDB_FUNCTION2 = 0xf5,
    RDB_FUNCTION_OLD = 0xf6,
    RDB_MODULE_AUX = 0xf7,
    RDB_IDLE = 0xf8,
    RDB_FREQ = 0xf9,
    RDB_AUX = 0xfa,
    RDB_RESIZE = 0xfb,
    RDB_EXPIRE_MS = 0xfc,
    RDB_EXPIRE_S = 0xfd,
    RDB_SELECT = 0xfe,
    RDB_EOF = 0xff,
};

#define RDB_EXTRA_NAME STR("larder-key")
/* An entry that plain commands do not see (stale, negative) is a field of its own, with nothing behind it, so
 * that for Redis there is no key: u32 n, u32 m, n bytes of key, m bytes of extension, the value. */
#define RDB_ENTRY_NAME STR("larder-entry")
enum { RDB_ENTRY_HEAD = 8 };
/* At the head, beside Redis's repl-id and repl-offset: which data set this is (repl/lineage.h). */
#define RDB_DATASET_NAME STR("larder-dataset")
/* Fields at the end of the keys: what belongs to the data and to no key (cache/state.h). */
#define RDB_STATE_NAME STR("larder-state")

/* These append; 0 or ERR_OOM. */
int rdb_put_header(struct buf *b, uint32_t version);
int rdb_put_aux(struct buf *b, struct str name, struct str value);
int rdb_put_select(struct buf *b, uint32_t db);
int rdb_put_resize(struct buf *b, uint64_t keys, uint64_t expires);
/* What stands before a value: deadline (0 = none), type and key. */
int rdb_put_key(struct buf *b, int64_t expire_ms, uint8_t type, struct str key, bool compress);
int rdb_put_string(struct buf *b, struct str s, bool compress);
int rdb_put_length(struct buf *b, uint64_t n);      /* of a string whose bytes follow as they are */
int rdb_put_extra(struct buf *b, struct str extra); /* before the key's deadline, as this: */
int rdb_put_entry(struct buf *b, struct str key, struct str extra, size_t n); /* n bytes of value follow */
int rdb_put_use(struct buf *b, int64_t idle_s, int64_t freq);                 /* -1: not known */
int rdb_put_end(struct buf *b);                                               /* EOF, without the sum */
int rdb_put_sum(struct buf *b, uint64_t sum); /* over everything before; 0: not summed */

/* A word for people: "list", "a module's"; what kind of value a type byte announces. */
const char *rdb_type_name(uint8_t type);

#endif
