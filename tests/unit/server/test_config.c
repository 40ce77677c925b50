/* The table and its values: every row's default, bounds and wrong values, CONFIG GET. */
#include "config_test.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdlib.h>

/* A value as a line of a file, loaded into a fresh configuration. */
static int load_value(struct config *cfg, const struct option *o, const char *value, struct config_error *e)
{
    char line[512];
    snprintf(line, sizeof(line), "%s %s", o->name, value);
    assert_int_equal(config_init(cfg), 0);
    return load(cfg, line, e);
}

static void assert_accepts(const struct option *o, const char *value, const char *expected)
{
    struct config cfg;
    struct config_error e;
    if (load_value(&cfg, o, value, &e) < 0)
        print_error("%s\n", e.text);
    assert_value(&cfg, o->name, expected);
    config_release(&cfg);
}

static void assert_rejects(const struct option *o, const char *value, const char *why)
{
    char line[512];
    snprintf(line, sizeof(line), "%s %s", o->name, value);
    assert_load_fails(line, why);
}

static void rows_are_well_formed(void **state)
{
    uint32_t sections = 0;
    assert_null(option_table[0].name);
    for (const struct option *o = option_table; o < option_table + option_count; o++) {
        sections += o->name == NULL;
        if (o->name == NULL)
            continue;
        assert_ptr_equal(option_find(str_of(o->name)), o);
        if (o->alias != NULL)
            assert_ptr_equal(option_find(str_of(o->alias)), o);
        assert_true((o->note != NULL) == (o->status != OPTION_IMPLEMENTED));
        assert_true((o->choices != NULL) == (o->type == OPTION_ENUM || o->type == OPTION_FLAGS));
        assert_true(o->help[0] != '\0' && o->help[strlen(o->help) - 1] != '.');
        if (o->type == OPTION_INT || o->type == OPTION_BYTES || o->type == OPTION_OCTAL)
            assert_true(o->max > 0);
        for (const char *p = o->name; *p != '\0'; p++)
            assert_true((*p >= 'a' && *p <= 'z') || *p == '-' || *p == '_');
    }
    assert_int_equal(sections, 15);
    assert_ptr_equal(option_find(STR("MaxMemory")), option_find(STR("maxmemory")));
    assert_null(option_find(STR("maxmemor")));
    assert_null(option_find(STR("")));
}

/* What a default formats to, its file lines read back to. */
static void defaults_round_trip(void **state)
{
    struct config dflt;
    assert_int_equal(config_init(&dflt), 0);
    for_each_option(o)
    {
        assert_true(option_is_default(o, option_field(&dflt, o)));
        struct buf lines;
        buf_init(&lines);
        if (option_ops_of(o)->write != NULL) {
            option_ops_of(o)->write(o, option_field(&dflt, o), &lines);
        } else {
            buf_printf(&lines, "%s ", o->name);
            option_ops_of(o)->format(o, option_field(&dflt, o), &lines);
            buf_putc(&lines, '\n');
        }
        buf_putc(&lines, '\0');
        struct config again;
        assert_int_equal(config_init(&again), 0);
        assert_loads(&again, lines.p);
        assert_same_config(&dflt, &again);
        config_release(&again);
        buf_release(&lines);
    }
    struct buf warnings;
    buf_init(&warnings);
    assert_int_equal(config_take_warnings(&dflt, &warnings), 0);
    assert_int_equal(warnings.n, 0);
    config_release(&dflt);
}

/* The fields that the server reads, under their C types. */
static void defaults_have_their_types(void **state)
{
    struct config cfg;
    assert_int_equal(config_init(&cfg), 0);
    assert_int_equal(cfg.port, 6379);
    assert_true(cfg.protected_mode);
    assert_int_equal(cfg.bind.n, 2);
    assert_string_equal(cfg.bind.v[1], "-::*");
    assert_int_equal(cfg.loglevel, LOG_NOTICE);
    assert_int_equal(cfg.maxmemory, 0);
    assert_int_equal(cfg.maxmemory_policy, POLICY_NOEVICTION);
    assert_int_equal(cfg.proto_max_bulk_len, 512 << 20);
    assert_int_equal(cfg.client_output_buffer_limit.of[CONFIG_CLASS_NORMAL].hard, 1 << 30);
    assert_int_equal(cfg.client_output_buffer_limit.of[CONFIG_CLASS_REPLICA].soft, 64 << 20);
    assert_int_equal(cfg.client_output_buffer_limit.of[CONFIG_CLASS_PUBSUB].soft_seconds, 60);
    assert_int_equal(cfg.latency_tracking_info_percentiles.n, 3);
    assert_true(cfg.latency_tracking_info_percentiles.v[2] == 99.9);
    assert_int_equal(cfg.supervised, SUPERVISED_NO);
    assert_int_equal(cfg.save.n, 0);
    assert_int_equal(cfg.requirepass.n, 0);
    assert_in_range(cfg.workers, 1, 128);
    config_release(&cfg);
}

static void number_text(char out[32], const struct option *o, __int128 v)
{
    char digits[48];
    int n = 0;
    bool negative = v < 0;
    unsigned base = o->type == OPTION_OCTAL ? 8 : 10;
    unsigned __int128 u = negative ? -(unsigned __int128)v : (unsigned __int128)v;
    do {
        digits[n++] = (char)('0' + (int)(u % base));
        u /= base;
    } while (u > 0);
    char *p = out;
    if (negative)
        *p++ = '-';
    while (n > 0)
        *p++ = digits[--n];
    *p = '\0';
}

static void bounds_hold_to_the_number(void **state)
{
    uint32_t checked = 0;
    for_each_option(o)
    {
        if (o->type != OPTION_INT && o->type != OPTION_BYTES && o->type != OPTION_OCTAL)
            continue;
        if (o->status == OPTION_REFUSED || o->high != 0)
            continue;
        checked++;
        char text[32], range[128];
        snprintf(range, sizeof(range),
                 o->type == OPTION_OCTAL ? "argument must be between %llo and %llo inclusive"
                                         : "argument must be between %lld and %llu inclusive",
                 (long long)o->min, (unsigned long long)o->max);
        number_text(text, o, o->min);
        assert_accepts(o, text, text);
        number_text(text, o, o->max);
        assert_accepts(o, text, text);
        number_text(text, o, (__int128)o->min + 1);
        assert_accepts(o, text, text);
        number_text(text, o, (__int128)o->max + 1);
        assert_rejects(o, text,
                       o->type == OPTION_BYTES && o->max == UINT64_MAX ? "argument must be a memory value"
                       : o->type == OPTION_INT && o->max == INT64_MAX
                           ? "argument couldn't be parsed into an integer"
                           : range);
        number_text(text, o, (__int128)o->min - 1);
        assert_rejects(o, text,
                       o->type == OPTION_OCTAL ? "argument couldn't be parsed as an octal number"
                       : o->type == OPTION_BYTES && o->min == 0 ? "argument must be a memory value"
                                                                : range);
    }
    assert_true(checked >= 70);
}

static void numbers_with_units(void **state)
{
    const struct option *o = option_find(STR("maxmemory"));
    assert_accepts(o, "100", "100");
    assert_accepts(o, "1b", "1");
    assert_accepts(o, "10k", "10000");
    assert_accepts(o, "10KB", "10240");
    assert_accepts(o, "3m", "3000000");
    assert_accepts(o, "64mb", "67108864");
    assert_accepts(o, "2g", "2000000000");
    assert_accepts(o, "2Gb", "2147483648");
    o = option_find(STR("maxmemory-clients"));
    assert_accepts(o, "0%", "0");
    assert_accepts(o, "5%", "5%");
    assert_accepts(o, "100%", "100%");
    assert_accepts(o, "1mb", "1048576");
    assert_rejects(o, "101%", "percentage argument must be less or equal to 100");
    assert_rejects(o, "-5", "argument must be a memory or percent value");
    assert_rejects(o, "-5%", "argument must be a memory or percent value");
    assert_rejects(o, "%", "argument must be a memory or percent value");
    assert_rejects(o, "9223372036854775808",
                   "argument must be between -100 and 9223372036854775807 inclusive");
    o = option_find(STR("hz"));
    assert_accepts(o, "0", "1");
    assert_accepts(o, "2147483647", "500");
    assert_accepts(o, "77", "77");
    assert_rejects(o, "-1", "argument must be between 0 and 2147483647 inclusive");
    o = option_find(STR("unixsocketperm"));
    assert_accepts(o, "0770", "770");
    assert_accepts(o, "00000000000000000000000000000777", "777");
    assert_rejects(o, "999", "argument couldn't be parsed as an octal number");
    assert_rejects(o, "77777777777777777777777777777", "argument couldn't be parsed as an octal number");
    struct config cfg;
    struct config_error e;
    assert_int_equal(load_value(&cfg, o, "660", &e), 0);
    assert_int_equal(cfg.unixsocketperm, 0660);
    config_release(&cfg);
    o = option_find(STR("workers"));
    char cpus[32];
    assert_int_equal(config_init(&cfg), 0);
    snprintf(cpus, sizeof(cpus), "%lld", (long long)cfg.workers);
    config_release(&cfg);
    assert_accepts(o, "AUTO", cpus);
    assert_rejects(option_find(STR("io-threads")), "auto", "argument couldn't be parsed into an integer");
}

static const struct wrong {
    enum option_type type;
    const char *value, *why; /* why NULL: the text depends on the option */
} wrong_values[] = {
    {OPTION_BOOL, "maybe", "argument must be 'yes' or 'no'"},
    {OPTION_BOOL, "1", "argument must be 'yes' or 'no'"},
    {OPTION_BOOL, "\"\"", "argument must be 'yes' or 'no'"},
    {OPTION_INT, "abc", "argument couldn't be parsed into an integer"},
    {OPTION_INT, "0x10", "argument couldn't be parsed into an integer"},
    {OPTION_INT, "+5", "argument couldn't be parsed into an integer"},
    {OPTION_INT, "1e2", "argument couldn't be parsed into an integer"},
    {OPTION_INT, "\" 5\"", "argument couldn't be parsed into an integer"},
    {OPTION_INT, "\"\"", "argument couldn't be parsed into an integer"},
    {OPTION_INT, "99999999999999999999", "argument couldn't be parsed into an integer"},
    {OPTION_BYTES, "1x", "argument must be a memory value"},
    {OPTION_BYTES, "-1", "argument must be a memory value"},
    {OPTION_BYTES, "1.5gb", "argument must be a memory value"},
    {OPTION_BYTES, "10%", "argument must be a memory value"},
    {OPTION_BYTES, "gb", "argument must be a memory value"},
    {OPTION_BYTES, "17179869184gb", "argument must be a memory value"},
    {OPTION_OCTAL, "8", "argument couldn't be parsed as an octal number"},
    {OPTION_OCTAL, "-1", "argument couldn't be parsed as an octal number"},
    {OPTION_ENUM, "nosuch", NULL},
    {OPTION_ENUM, "\"\"", NULL},
    {OPTION_FLAGS, "now nosuch", NULL},
    {OPTION_FLAGS, "save nosave", "shutdown options SAVE and NOSAVE can't be used simultaneously"},
    {OPTION_EVENTS, "Q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."},
    {OPTION_STRING, "\"a\\x00b\"", "argument must not contain a NUL byte"},
    {OPTION_PRIMARY, "127.0.0.1", "wrong number of arguments"},
    {OPTION_PRIMARY, "127.0.0.1 abc", "Invalid master port"},
    {OPTION_PRIMARY, "127.0.0.1 65536", "Invalid master port"},
    {OPTION_WORDS, "a b c d e f g h i j k l m n o p q", "Too many bind addresses specified."},
    {OPTION_SAVE, "1", "Invalid save parameters"},
    {OPTION_SAVE, "1 2 3", "Invalid save parameters"},
    {OPTION_SAVE, "0 1", "Invalid save parameters"},
    {OPTION_SAVE, "1 -1", "Invalid save parameters"},
    {OPTION_SAVE, "a b", "Invalid save parameters"},
    {OPTION_BUDGETS, "user:", "give pairs: a prefix and the number of leases, as in user: 50 page: 10"},
    {OPTION_BUDGETS, "user: 0", "a budget is a number of leases from 1 to 2147483647"},
    {OPTION_BUDGETS, "user: x", "a budget is a number of leases from 1 to 2147483647"},
    {OPTION_BUDGETS, "\"a b\" 1", "a prefix has 1 to 64 bytes, none of them a blank, a quote or '#'"},
    {OPTION_BUDGETS, "\"\" 1", "a prefix has 1 to 64 bytes, none of them a blank, a quote or '#'"},
    {OPTION_PERCENTILES, "101",
     "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"},
    {OPTION_PERCENTILES, "50 -1",
     "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"},
    {OPTION_PERCENTILES, "nan", "Invalid latency-tracking-info-percentiles parameters"},
    {OPTION_PERCENTILES, "50 x", "Invalid latency-tracking-info-percentiles parameters"},
    {OPTION_OUTPUT, "normal 1 2", "Wrong number of arguments in buffer limit configuration."},
    {OPTION_OUTPUT, "foo 1 2 3", "Invalid client class specified in buffer limit configuration."},
    {OPTION_OUTPUT, "master 1 2 3", "Invalid client class specified in buffer limit configuration."},
    {OPTION_OUTPUT, "normal a 2 3",
     "Error in hard, soft or soft_seconds setting in buffer limit configuration."},
    {OPTION_OUTPUT, "normal 1 2 -3",
     "Error in hard, soft or soft_seconds setting in buffer limit configuration."},
    {OPTION_OOM_VALUES, "1 2", "wrong number of arguments"},
    {OPTION_OOM_VALUES, "1 2 2001", "Invalid oom-score-adj-values, elements must be between -2000 and 2000."},
};

static void wrong_values_are_named(void **state)
{
    for_each_option(o)
    {
        for (size_t i = 0; i < ARRAY_LEN(wrong_values); i++) {
            const struct wrong *w = &wrong_values[i];
            if (w->type != o->type)
                continue;
            if (w->why != NULL) {
                assert_rejects(o, w->value, w->why);
                continue;
            }
            char why[512] = "argument(s) must be one of the following: ";
            for (const struct choice *c = o->choices; c->name != NULL; c++)
                snprintf(why + strlen(why), sizeof(why) - strlen(why), "%s%s", c == o->choices ? "" : ", ",
                         c->name);
            assert_rejects(o, w->value, why);
        }
        /* For others none is as good as one that is empty: a bare `save`. */
        if (!option_ops_of(o)->multi || o->type == OPTION_PRIMARY)
            assert_rejects(o, "", "wrong number of arguments");
        if (!option_ops_of(o)->multi)
            assert_rejects(o, "yes 2", "wrong number of arguments");
    }
}

static void strings_with_rules(void **state)
{
    assert_load_fails("dbfilename a/b", "dbfilename can't be a path, just a filename");
    assert_load_fails("appendfilename a/b", "appendfilename can't be a path, just a filename");
    assert_load_fails("appendfilename \"\"", "appendfilename can't be empty");
    assert_load_fails("appenddirname a/b", "appenddirname can't be a path, just a dirname");
    assert_load_fails("dir \"\"", "dir can't be empty");
    assert_load_fails("cluster-announce-hostname a_b",
                      "Hostnames may only contain alphanumeric characters, hyphens or dots");
    assert_load_fails("cluster-announce-human-nodename a=b",
                      "Announced human node name contained invalid character");
    assert_load_fails("cluster-announce-human-nodename \"a b\"",
                      "Announced human node name contained invalid character");
    assert_load_fails("proc-title-template {foo}",
                      "template format is invalid or contains unknown variables");
    assert_load_fails("proc-title-template {title",
                      "template format is invalid or contains unknown variables");
    assert_load_fails("proc-title-template \"\"", "template format is invalid or contains unknown variables");
    struct config cfg;
    assert_int_equal(config_init(&cfg), 0);
    assert_loads(&cfg,
                 "proc-title-template \"{title} } {port}{tls-port} {config-file}\"\n"
                 "cluster-announce-hostname a-b.example.ORG\ncluster-announce-human-nodename node-7.a_b\n");
    config_release(&cfg);
    char line[400] = "cluster-announce-hostname ";
    memset(line + strlen(line), 'a', 256);
    assert_load_fails(line, "Hostnames must be less than 256 characters");
}

static void choices_read_and_show(void **state)
{
    for_each_option(o)
    {
        if (o->type != OPTION_ENUM || o->status == OPTION_REFUSED)
            continue;
        for (const struct choice *c = o->choices; c->name != NULL; c++) {
            char upper[64];
            const char *shown = c->name;
            for (const struct choice *first = o->choices; first < c && shown == c->name; first++)
                if (first->value == c->value)
                    shown = first->name; /* oom-score-adj: relative shows as yes */
            snprintf(upper, sizeof(upper), "%s", c->name);
            for (char *p = upper; *p != '\0'; p++)
                *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
            assert_accepts(o, c->name, shown);
            assert_accepts(o, upper, shown);
        }
    }
    const struct option *o = option_find(STR("shutdown-on-sigterm"));
    assert_accepts(o, "now nosave", "nosave now");
    assert_accepts(o, "default now", "now");
    assert_accepts(o, "default", "default");
    assert_accepts(o, "FORCE SAVE now", "save now force");
    o = option_find(STR("notify-keyspace-events"));
    assert_accepts(o, "KEA", "AKE");
    assert_accepts(o, "g$lshzxetdmnKE", "AKEm");
    assert_accepts(o, "nmEKdtxg", "gxtdnKEm");
    assert_accepts(o, "\"\"", "");
}

static void lists_read_and_show(void **state)
{
    const struct option *o = option_find(STR("save"));
    assert_accepts(o, "3600 1 300 100", "3600 1 300 100");
    assert_accepts(o, "60 0\nsave 300 10", "60 0 300 10");
    assert_accepts(o, "60 0\nsave \"\"\nsave 1 2", "1 2");
    char many[1024] = "";
    for (int i = 0; i < CONFIG_SAVE_MAX; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "%s1 %d", i > 0 ? " " : "", i);
    assert_accepts(o, many, many);
    strncat(many, " 1 1", sizeof(many) - strlen(many) - 1);
    assert_rejects(o, many, "Too many save points: 32 is the most");
    o = option_find(STR("latency-tracking-info-percentiles"));
    assert_accepts(o, "50 99.9 100 0.001 3.0 -0", "50 99.9 100 0.001 3 0");
    assert_accepts(o, "\"\"", "");
    o = option_find(STR("client-output-buffer-limit"));
    assert_accepts(o, "slave 1mb 2kb 3",
                   "normal 1073741824 0 0 slave 1048576 2048 3 pubsub 33554432 8388608 60");
    assert_accepts(o, "normal 0 0 0\nclient-output-buffer-limit pubsub 1 1 1 NORMAL 5 0 0",
                   "normal 5 0 0 slave 268435456 67108864 60 pubsub 1 1 1");
    o = option_find(STR("bind"));
    assert_accepts(o, "127.0.0.1 -::1", "127.0.0.1 -::1");
    assert_accepts(o, "\"\"", "");
    assert_accepts(o, "a b c d e f g h i j k l m n o p", "a b c d e f g h i j k l m n o p");
    o = option_find(STR("oom-score-adj-values"));
    assert_accepts(o, "-2000 0 2000", "-2000 0 2000");
}

/* Refused rows take their default, and nothing else, with the table's reason. */
static void refusals_say_why(void **state)
{
    static const char *const other[][2] = {
        {"appendonly", "yes"},      {"aclfile", "/etc/users.acl"}, {"tls-port", "6380"},
        {"tls-replication", "yes"}, {"tls-cluster", "yes"},
    };
    uint32_t refused = 0;
    for_each_option(o) refused += o->status == OPTION_REFUSED;
    assert_int_equal(refused, ARRAY_LEN(other));
    for (size_t i = 0; i < ARRAY_LEN(other); i++) {
        const struct option *o = option_find(str_of(other[i][0]));
        char why[512];
        snprintf(why, sizeof(why), "'%s' is refused: %s", o->name, o->note);
        assert_rejects(o, other[i][1], why);
        assert_accepts(o, o->dflt[0] != '\0' ? o->dflt : "\"\"", o->dflt);
    }
    assert_accepts(option_find(STR("slaveof")), "no one", "");
}

/* ---- CONFIG GET ------------------------------------------------------------------------ */

struct answers {
    char text[64 * 1024];
    uint32_t n;
};

static void collect(void *ctx, struct str name, struct str value)
{
    struct answers *a = ctx;
    size_t used = strlen(a->text);
    snprintf(a->text + used, sizeof(a->text) - used, "%.*s=%.*s\n", (int)name.n, name.p, (int)value.n,
             value.p);
    a->n++;
}

static void assert_get(const struct config *cfg, const char *patterns, const char *expected)
{
    struct str argv[8];
    uint32_t n = option_split(str_of(patterns), argv, 8);
    static struct answers a;
    memset(&a, 0, sizeof(a));
    assert_int_equal(config_get(cfg, argv, n, collect, &a), 0);
    assert_string_equal(a.text, expected);
}

static void get_matches_names(void **state)
{
    struct config cfg;
    assert_int_equal(config_init(&cfg), 0);
    assert_loads(&cfg, "maxmemory 1mb\nslave-priority 7\n");
    assert_get(&cfg, "maxmemory", "maxmemory=1048576\n");
    assert_get(&cfg, "MaxMemory", "MaxMemory=1048576\n");
    assert_get(&cfg, "maxmemory MAXMEMORY maxmemory", "maxmemory=1048576\n");
    assert_get(&cfg, "nosuch", "");
    assert_get(&cfg, "h?", "hz=10\n");
    assert_get(&cfg, "[hH]z hz h*z", "hz=10\n");
    assert_get(&cfg, "*-priority", "replica-priority=7\nslave-priority=7\n");
    assert_get(&cfg, "slave-priority", "slave-priority=7\n");
    assert_get(&cfg, "LUA-time-limi? port", "lua-time-limit=5000\nport=6379\n");
    assert_get(&cfg, "port p?rt timeout time*", "port=6379\ntimeout=0\n");
    assert_get(&cfg, "key-*", "");
    assert_get(&cfg, "key-load-delay", "key-load-delay=0\n");
    assert_get(&cfg, "key-*-delay key-load-delay", "key-load-delay=0\n");
    assert_get(&cfg, "save bind", "save=\nbind=* -::*\n");
    config_release(&cfg);
}

static void get_star_is_everything(void **state)
{
    struct config cfg;
    assert_int_equal(config_init(&cfg), 0);
    uint32_t expected = 0;
    for_each_option(o) if (!(o->flags & HIDDEN)) expected += 1 + (o->alias != NULL);
    struct str star = STR("*");
    static struct answers a;
    memset(&a, 0, sizeof(a));
    assert_int_equal(config_get(&cfg, &star, 1, collect, &a), 0);
    assert_int_equal(a.n, expected);
    config_release(&cfg);
}

static void warnings_come_once(void **state)
{
    struct config cfg;
    struct buf b;
    buf_init(&b);
    assert_int_equal(config_init(&cfg), 0);
    assert_loads(&cfg,
                 "io-threads 4\nrdbcompression yes\nmaxmemory 1gb\nlua-replicate-commands yes\nsave 60 1\n"
                 "appendonly no\nrdb-del-sync-files yes\n");
    assert_int_equal(config_take_warnings(&cfg, &b), 0);
    buf_putc(&b, '\0');
    assert_string_equal(
        b.p,
        "'lua-replicate-commands' is accepted but changes nothing: it has no meaning any more, in Redis "
        "neither\n"
        "Option 'io-threads' is accepted but changes nothing: every worker reads, executes and writes by "
        "itself; set 'workers'\n"
        "Option 'rdb-del-sync-files' is accepted but changes nothing: files for replication have no name and "
        "are gone when they are sent\n");
    buf_clear(&b);
    assert_loads(&cfg, "io-threads 8\n");
    assert_int_equal(config_take_warnings(&cfg, &b), 0);
    assert_int_equal(b.n, 0);
    buf_release(&b);
    config_release(&cfg);
}

#ifdef LARDER_DEBUG
/* Memory may end at any allocation of a load. */
static void loading_survives_no_memory(void **state)
{
    static const char text[] =
        "bind 127.0.0.1 ::1\nrequirepass \"a b\"\nrename-command GET FETCH\nsave 60 1\n"
        "client-output-buffer-limit normal 1mb 1kb 5\nlua-replicate-commands no\n";
    int err = ERR_OOM;
    for (int n = 1; err == ERR_OOM; n++) {
        struct config cfg;
        struct config_error e;
        assert_true(n < 10000);
        alloc_fail_after(n);
        err = config_init(&cfg);
        if (err == 0)
            err = load(&cfg, text, &e);
        alloc_fail_after(0);
        assert_true(err == 0 || err == ERR_OOM);
        if (err == 0)
            assert_value(&cfg, "requirepass", "a b");
        config_release(&cfg);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_well_formed),       cmocka_unit_test(defaults_round_trip),
        cmocka_unit_test(defaults_have_their_types),  cmocka_unit_test(bounds_hold_to_the_number),
        cmocka_unit_test(numbers_with_units),         cmocka_unit_test(wrong_values_are_named),
        cmocka_unit_test(strings_with_rules),         cmocka_unit_test(choices_read_and_show),
        cmocka_unit_test(lists_read_and_show),        cmocka_unit_test(refusals_say_why),
        cmocka_unit_test(get_matches_names),          cmocka_unit_test(get_star_is_everything),
        cmocka_unit_test(warnings_come_once),
#ifdef LARDER_DEBUG
        cmocka_unit_test(loading_survives_no_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
