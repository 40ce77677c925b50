/* Options: defaults, every kind of value, and an error that names the cause. */
#include "tool/bench/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORDS_MAX = 16 };

/* Parse words, NULL at the end; the command line's own name comes first. */
static enum options_verdict parse(struct options *o, struct options_error *err, const char *const *words)
{
    char *argv[WORDS_MAX + 2] = {(char *)(uintptr_t) "bench"};
    int argc = 1;
    for (; words[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    return options_parse(argc, argv, o, err);
}

#define PARSE(o, err, ...) parse(o, err, (const char *const[]){__VA_ARGS__, NULL})

static void refused(const char *text, const char *const *words)
{
    struct options o;
    struct options_error err = {""};
    enum options_verdict v = parse(&o, &err, words);
    options_release(&o);
    if (v != OPTIONS_WRONG || strstr(err.text, text) == NULL)
        fail_msg("%s %s: '%s' instead of '%s'", words[0], words[1] ? words[1] : "", err.text, text);
}

#define REFUSED(text, ...) refused(text, (const char *const[]){__VA_ARGS__, NULL})

static void nothing_given_means_the_defaults(void **state)
{
    (void)state;
    struct options o;
    struct options_error err;
    assert_int_equal(parse(&o, &err, (const char *const[]){NULL}), OPTIONS_OK);
    assert_string_equal(o.host, "127.0.0.1");
    assert_int_equal(o.port, 6379);
    assert_int_equal(o.clients, 50);
    assert_int_equal(o.pipeline, 1);
    assert_int_equal(o.gets, 10);
    assert_int_equal(o.sets, 1);
    assert_true(o.seconds == 10 && o.rate == 0);
    assert_int_equal(o.requests, UINT64_MAX);
    assert_int_equal(o.distribution, KEYDIST_UNIFORM);
    assert_false(o.load || o.pinned || o.quiet || o.resp3);
    options_release(&o);
}

static void every_kind_of_value_is_taken(void **state)
{
    (void)state;
    struct options o;
    struct options_error err;
    assert_int_equal(PARSE(&o, &err, "--host=::1", "-p", "7000", "--rate", "1e6", "-P16", "--load"),
                     OPTIONS_WRONG);
    options_release(&o);
    assert_int_equal(PARSE(&o, &err, "--host=::1", "-p", "7000", "--rate", "1e6", "-P", "16", "--load",
                           "--ratio", "0:1", "--keys=2m", "--distribution", "ZIPF", "--output", "json"),
                     OPTIONS_OK);
    assert_string_equal(o.host, "::1");
    assert_int_equal(o.port, 7000);
    assert_true(o.rate == 1e6 && o.load);
    assert_int_equal(o.pipeline, 16);
    assert_int_equal(o.gets, 0);
    assert_int_equal(o.sets, 1);
    assert_int_equal(o.keys, 2000000);
    assert_int_equal(o.distribution, KEYDIST_ZIPF);
    assert_int_equal(o.output, OUTPUT_JSON);
    char address[64];
    options_address(&o, address, sizeof address);
    assert_string_equal(address, "[::1]:7000");
    options_release(&o);
}

static void memcached_has_its_own_port(void **state)
{
    (void)state;
    struct options o;
    struct options_error err;
    assert_int_equal(PARSE(&o, &err, "--protocol", "memcached"), OPTIONS_OK);
    assert_int_equal(o.port, 11211);
    options_release(&o);
}

static void cpu_lists(void **state)
{
    (void)state;
    struct options o;
    struct options_error err;
    assert_int_equal(PARSE(&o, &err, "--cpu", "1,3-5"), OPTIONS_OK);
    assert_true(o.pinned);
    for (int cpu = 0; cpu < 8; cpu++)
        assert_int_equal(CPU_ISSET(cpu, &o.cpus) != 0, cpu == 1 || (cpu >= 3 && cpu <= 5));
    options_release(&o);
    REFUSED("--cpu x is not a list", "--cpu", "x");
    REFUSED("is not a list", "--cpu", "-1");
    REFUSED("is not a list", "--cpu", "3-1");
    REFUSED("is not a list", "--cpu", "1,");
    REFUSED("is not a list", "--cpu", "1;2");
    REFUSED("is not a list", "--cpu", "99999");
    REFUSED("is not a list", "--cpu", "");
}

static void a_command_is_split_into_words(void **state)
{
    (void)state;
    struct options o;
    struct options_error err;
    assert_int_equal(PARSE(&o, &err, "--command", "SET __key__ \"a b\""), OPTIONS_OK);
    assert_int_equal(o.nwords, 3);
    assert_true(str_eq(o.words[2], STR("a b")));
    options_release(&o);
    REFUSED("unbalanced quotes", "--command", "SET \"a");
    REFUSED("--command is empty", "--command", " ");
}

static void the_password_may_come_from_the_environment(void **state)
{
    (void)state;
    struct options o;
    struct options_error err;
    setenv("REDISCLI_AUTH", "secret", 1);
    assert_int_equal(parse(&o, &err, (const char *const[]){NULL}), OPTIONS_OK);
    assert_string_equal(o.password, "secret");
    options_release(&o);
    assert_int_equal(PARSE(&o, &err, "-a", "given"), OPTIONS_OK);
    assert_string_equal(o.password, "given");
    options_release(&o);
    assert_int_equal(PARSE(&o, &err, "--protocol", "memcached"), OPTIONS_OK);
    options_release(&o);
    unsetenv("REDISCLI_AUTH");
}

static void errors_name_option_value_and_bounds(void **state)
{
    (void)state;
    REFUSED("there is no option --clinets; did you mean --clients?", "--clinets", "5");
    REFUSED("there is no option --xyzzyx", "--xyzzyx");
    REFUSED("-z is not an option", "-z");
    REFUSED("50 is not an option", "50");
    REFUSED("--clients needs a value: N", "--clients");
    REFUSED("--load takes no value", "--load=yes");
    REFUSED("--clients 0 is outside 1 to 100000", "--clients", "0");
    REFUSED("--clients -1 is not a whole number", "--clients", "-1");
    REFUSED("--clients 5x is not a whole number", "--clients", "5x");
    REFUSED("--port 65536 is outside 1 to 65535", "--port", "65536");
    REFUSED("--rate fast is not a number", "--rate", "fast");
    REFUSED("--rate 0 is outside", "--rate", "0");
    REFUSED("--rate nan", "--rate", "nan");
    REFUSED("--theta 9 is outside 0.01 to 4", "--theta", "9");
    REFUSED("--distribution zip is none of uniform|zipf|sequential", "--distribution", "zip");
    REFUSED("--value-size big is neither", "--value-size", "big");
    REFUSED("--value-size 17mb: sizes run from 0 to 16777216", "--value-size", "17mb");
    REFUSED("--ttl 0: sizes run from 1", "--ttl", "0");
    REFUSED("--ratio 10 is not GETS:SETS", "--ratio", "10");
    REFUSED("--ratio 0:0: each side", "--ratio", "0:0");
    REFUSED("--ratio 1:99999: each side", "--ratio", "1:99999");
}

static void options_that_contradict_each_other(void **state)
{
    (void)state;
    REFUSED("exclude each other", "-n", "5", "--seconds", "5");
    REFUSED("nothing to do without --load", "-n", "0");
    REFUSED("every thread needs a connection", "-t", "3", "-c", "2");
    REFUSED("--user needs a --password", "--user", "u");
    REFUSED("cannot hold the prefix 'key:' and the 6 digits of 1000000 keys; make it 10", "--keys", "1m",
            "--key-size", "9");
    REFUSED("at most 250 bytes", "--protocol", "memcached", "--key-size", "251");
    REFUSED("hold no spaces", "--protocol", "memcached", "--key-prefix", "a b");
    REFUSED("belong to --protocol resp", "--protocol", "memcached", "--command", "x");
    REFUSED("takes more than 30 days", "--protocol", "memcached", "--ttl", "2592001");
    REFUSED("a median of at most 1048576", "--value-size", "lognormal:2mb:1");
}

static void help_is_asked_for_anywhere(void **state)
{
    (void)state;
    struct options o;
    struct options_error err;
    assert_int_equal(PARSE(&o, &err, "-c", "5", "--help"), OPTIONS_HELP);
    options_release(&o);
}

int main(void)
{
    unsetenv("REDISCLI_AUTH");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_given_means_the_defaults),
        cmocka_unit_test(every_kind_of_value_is_taken),
        cmocka_unit_test(memcached_has_its_own_port),
        cmocka_unit_test(cpu_lists),
        cmocka_unit_test(a_command_is_split_into_words),
        cmocka_unit_test(the_password_may_come_from_the_environment),
        cmocka_unit_test(errors_name_option_value_and_bounds),
        cmocka_unit_test(options_that_contradict_each_other),
        cmocka_unit_test(help_is_asked_for_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
