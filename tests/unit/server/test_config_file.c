/* Loading: files, includes, standard input, arguments, and what the operator reads
 * when something is wrong. */
#include "config_test.h"

#include "base/alloc.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/larder-config-XXXXXX";
static struct config cfg;
static struct config_error e;

static int make_folder(void **state)
{
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"a.conf", "b.conf", "c.conf", "d/1.conf", "d/2.conf", "d/x.txt", "d"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        remove(path);
    }
    return rmdir(folder);
}

static int setup(void **state)
{
    return config_init(&cfg);
}

static int teardown(void **state)
{
    config_release(&cfg);
    return 0;
}

/* Write folder/name; "%s" in the text stands for the folder. Returns its path. */
static const char *put_file(const char *name, const char *text)
{
    static char path[4][PATH_MAX];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, PATH_MAX, "%s/%s", folder, name);
    FILE *f = fopen(p, "w");
    assert_non_null(f);
    for (const char *at = text; *at != '\0'; at++) {
        if (at[0] == '%' && at[1] == 's') {
            fputs(folder, f);
            at++;
        } else {
            fputc(*at, f);
        }
    }
    assert_int_equal(fclose(f), 0);
    return p;
}

/* e.text with the folder's name as "DIR". */
static void assert_message(const char *expected)
{
    static char text[2 * CONFIG_ERROR_MAX];
    size_t n = 0;
    for (const char *at = e.text; *at != '\0'; at++) {
        if (strncmp(at, folder, strlen(folder)) == 0) {
            n += (size_t)snprintf(text + n, sizeof(text) - n, "DIR");
            at += strlen(folder) - 1;
        } else {
            text[n++] = *at;
        }
    }
    text[n] = '\0';
    assert_string_equal(text, expected);
}

#define HEAD "\n*** FATAL CONFIG FILE ERROR (larder " LARDER_VERSION ") ***\n"

/* ---- files ---------------------------------------------------------------------------------- */

static void a_file_is_read(void **state)
{
    const char *path =
        put_file("a.conf", "# comment\n\n  \t\r\nport 7000\r\n\tTIMEOUT   5  \n'requirepass' \"a\\x20b\\n\"\n"
                           "masterauth 'it\\'s'\nlogfile \"\"\n  # port 1\nproto-max-bulk-len 2mb");
    assert_int_equal(config_load_file(&cfg, path, &e), 0);
    assert_int_equal(cfg.port, 7000);
    assert_int_equal(cfg.timeout, 5);
    assert_true(str_eq(config_secret_str(&cfg.requirepass), STR("a b\n")));
    assert_true(str_eq(config_secret_str(&cfg.masterauth), STR("it's")));
    assert_int_equal(cfg.proto_max_bulk_len, 2 << 20);
    assert_string_equal(config_path(&cfg), path);
}

static void the_path_is_absolute(void **state)
{
    put_file("a.conf", "port 7000\n");
    char cwd[PATH_MAX];
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(config_load_file(&cfg, "./a.conf", &e), 0);
    assert_int_equal(chdir(cwd), 0);
    char expected[PATH_MAX];
    snprintf(expected, sizeof(expected), "%s/a.conf", folder);
    assert_string_equal(config_path(&cfg), expected);
}

static void errors_say_where_and_what(void **state)
{
    const char *path = put_file("a.conf", "port 7000\n\n# x\n  maxmemry 1gb \n");
    assert_int_equal(config_load_file(&cfg, path, &e), ERR_NOTFOUND);
    assert_message(HEAD "Reading the configuration file DIR/a.conf, at line 4\n>>> 'maxmemry 1gb'\n"
                        "Bad directive or wrong number of arguments: did you mean 'maxmemory'?");
    path = put_file("a.conf", "port \"70000");
    assert_int_equal(config_load_file(&cfg, path, &e), ERR_SYNTAX);
    assert_message(HEAD "Reading the configuration file DIR/a.conf, at line 1\n>>> 'port \"70000'\n"
                        "Unbalanced quotes in configuration line");
    path = put_file("a.conf", "requirepass my secret");
    assert_int_equal(config_load_file(&cfg, path, &e), ERR_SYNTAX);
    assert_message(HEAD "Reading the configuration file DIR/a.conf, at line 1\n>>> 'requirepass (hidden)'\n"
                        "wrong number of arguments");
    assert_int_equal(config_load_file(&cfg, "/nonexistent/x", &e), ERR_IO);
    assert_message(HEAD "can't open config file '/nonexistent/x': No such file or directory");
    assert_int_equal(config_load_file(&cfg, folder, &e), ERR_IO);
    assert_message(HEAD "can't open config file 'DIR': Is a directory");
}

static void suggestions_are_near(void **state)
{
    assert_load_fails("prot 1", "Bad directive or wrong number of arguments: did you mean 'port'?");
    assert_load_fails("slave-prority 1",
                      "Bad directive or wrong number of arguments: did you mean 'slave-priority'?");
    assert_load_fails("inculde x", "Bad directive or wrong number of arguments: did you mean 'include'?");
    assert_load_fails("maxmemory_policy noeviction",
                      "Bad directive or wrong number of arguments: did you mean 'maxmemory-policy'?");
    assert_load_fails("somethingelse 1", "Bad directive or wrong number of arguments");
    assert_load_fails("x 1", "Bad directive or wrong number of arguments");
    assert_load_fails("yes", "Bad directive or wrong number of arguments");
    assert_load_fails("\"\" 1", "Bad directive or wrong number of arguments");
    assert_load_fails("search.timeout 1",
                      "Bad directive: a name with a dot belongs to a module, and larder loads none");
}

static void directives(void **state)
{
    assert_loads(&cfg, "rename-command CONFIG \"\"\n\nRename-Command get fetch\nlist-max-ziplist-value 64\n");
    struct config_rename r;
    assert_true(config_rename_at(&cfg, 0, &r));
    assert_string_equal(r.from, "CONFIG");
    assert_string_equal(r.to, "");
    assert_string_equal(r.where, "a test, at line 1");
    assert_true(config_rename_at(&cfg, 1, &r));
    assert_string_equal(r.to, "fetch");
    assert_string_equal(r.where, "a test, at line 3");
    assert_false(config_rename_at(&cfg, 2, &r));
    assert_load_fails("rename-command a", "Bad directive or wrong number of arguments");
    assert_load_fails("include", "Bad directive or wrong number of arguments");
    assert_load_fails("loadmodule", "Bad directive or wrong number of arguments");
    assert_load_fails("loadmodule x.so a b", "'loadmodule' is refused: larder loads no modules");
    assert_load_fails("sentinel monitor x", "'sentinel' is refused: larder-server is no Sentinel");
    assert_load_fails(
        "user alice on nopass ~* +@all",
        "'user' is refused: users and their rights are not in this version yet, and ignoring them "
        "would open the server");
    static char many[CONFIG_RENAMES_MAX * 24 + 100];
    size_t n = 0;
    for (int i = 0; i <= CONFIG_RENAMES_MAX; i++)
        n += (size_t)snprintf(many + n, sizeof(many) - n, "rename-command a%d b\n", i);
    assert_load_fails(many, "too many rename-command lines: 1024 is the most");
    static char words[4 * CONFIG_LINE_ARGS_MAX] = "bind";
    while (strlen(words) < 2 * CONFIG_LINE_ARGS_MAX + 4)
        strncat(words, " a", 3);
    assert_load_fails(words, "too many words: 1024 is the most");
}

static void includes_stand_where_they_are_written(void **state)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/d", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    put_file("b.conf", "port 1\ntimeout 1\ninclude %s/c.conf\n");
    put_file("c.conf", "tcp-keepalive 7\n");
    put_file("d/1.conf", "maxclients 1\n");
    put_file("d/2.conf", "maxclients 2\n");
    put_file("d/x.txt", "maxclients 3\n");
    const char *a = put_file("a.conf", "timeout 9\ninclude %s/b.conf\nport 2\ninclude \"%s/d/*.conf\"\n"
                                       "include %s/nothing/*.conf\n");
    assert_int_equal(config_load_file(&cfg, a, &e), 0);
    assert_int_equal(cfg.timeout, 1);
    assert_int_equal(cfg.port, 2);
    assert_int_equal(cfg.tcp_keepalive, 7);
    assert_int_equal(cfg.maxclients, 2);
    assert_string_equal(config_path(&cfg), a);

    put_file("c.conf", "\ntcp-keepalive x\n");
    assert_int_equal(config_load_file(&cfg, a, &e), ERR_SYNTAX);
    assert_message(HEAD "Reading the configuration file DIR/c.conf, at line 2\n>>> 'tcp-keepalive x'\n"
                        "argument couldn't be parsed into an integer");
    put_file("c.conf", "include %s/missing.conf\n");
    assert_int_equal(config_load_file(&cfg, a, &e), ERR_IO);
    assert_message(HEAD "Reading the configuration file DIR/c.conf, at line 1\n"
                        "can't open config file 'DIR/missing.conf': No such file or directory");
    /* a, b, c, b, c ...: c is read at depth 2, 4, 6 up to 16. */
    put_file("c.conf", "rename-command x y\ninclude %s/b.conf\n");
    assert_int_equal(config_load_file(&cfg, a, &e), ERR_FULL);
    struct config_rename r;
    assert_true(config_rename_at(&cfg, 7, &r));
    assert_false(config_rename_at(&cfg, 8, &r));
    assert_non_null(strstr(e.text, "files include each other more than 16 deep"));
    assert_true(config_load_text(&cfg, STR("include x"), "a test", false, &e) < 0);
    assert_message(HEAD "Reading a test, at line 1\n>>> 'include x'\ninclude is not allowed here");
}

static void entering_the_folder(void **state)
{
    char cwd[PATH_MAX], line[PATH_MAX];
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    snprintf(line, sizeof(line), "dir %s/.", folder);
    assert_loads(&cfg, line);
    assert_int_equal(config_enter_dir(&cfg), 0);
    assert_string_equal(cfg.dir, folder);
    assert_int_equal(chdir(cwd), 0);
    assert_loads(&cfg, "dir /nonexistent");
    assert_int_equal(config_enter_dir(&cfg), ERR_IO);
    assert_string_equal(cfg.dir, "/nonexistent");
}

/* ---- real files ------------------------------------------------------------------------------- */

static void every_option_stands_once(void **state)
{
    struct config dflt;
    struct buf b, warnings;
    buf_init(&b);
    buf_init(&warnings);
    assert_int_equal(config_init(&dflt), 0);
    const char *path = TEST_SOURCE_ROOT "/tests/unit/server/every_option.conf";
    if (config_load_file(&cfg, path, &e) < 0)
        print_error("%s\n", e.text);
    assert_same_config(&cfg, &dflt);
    assert_int_equal(config_take_warnings(&cfg, &warnings), 0);
    assert_int_equal(warnings.n, 0);
    assert_int_equal(config_read_file(path, &b), 0);
    buf_putc(&b, '\0');
    for_each_option(o)
    {
        char line[128];
        snprintf(line, sizeof(line), "\n%s ", o->name);
        const char *at = strstr(b.p, line);
        assert_non_null(at);
        if (o->type != OPTION_OUTPUT)
            assert_null(strstr(at + 1, line));
    }
    config_release(&dflt);
    buf_release(&b);
    buf_release(&warnings);
}

/* The lines of Debian 12's /etc/redis/redis.conf that are no comments. */
static const char debian[] =
    "bind 127.0.0.1 -::1\nprotected-mode yes\nport 6379\ntcp-backlog 511\ntimeout 0\ntcp-keepalive 300\n"
    "daemonize yes\npidfile /run/redis/redis-server.pid\nloglevel notice\n"
    "logfile /var/log/redis/redis-server.log\ndatabases 16\nalways-show-logo no\nset-proc-title yes\n"
    "proc-title-template \"{title} {listen-addr} {server-mode}\"\nstop-writes-on-bgsave-error yes\n"
    "rdbcompression yes\nrdbchecksum yes\ndbfilename dump.rdb\nrdb-del-sync-files no\ndir /var/lib/redis\n"
    "replica-serve-stale-data yes\nreplica-read-only yes\nrepl-diskless-sync yes\nrepl-diskless-sync-delay "
    "5\n"
    "repl-diskless-sync-max-replicas 0\nrepl-diskless-load disabled\nrepl-disable-tcp-nodelay no\n"
    "replica-priority 100\nacllog-max-len 128\nlazyfree-lazy-eviction no\nlazyfree-lazy-expire no\n"
    "lazyfree-lazy-server-del no\nreplica-lazy-flush no\nlazyfree-lazy-user-del no\n"
    "lazyfree-lazy-user-flush no\noom-score-adj no\noom-score-adj-values 0 200 800\ndisable-thp yes\n"
    "appendonly no\nappendfilename \"appendonly.aof\"\nappenddirname \"appendonlydir\"\nappendfsync "
    "everysec\n"
    "no-appendfsync-on-rewrite no\nauto-aof-rewrite-percentage 100\nauto-aof-rewrite-min-size 64mb\n"
    "aof-load-truncated yes\naof-use-rdb-preamble yes\naof-timestamp-enabled no\n \n"
    "slowlog-log-slower-than 10000\nslowlog-max-len 128\nlatency-monitor-threshold 0\n"
    "notify-keyspace-events \"\"\nhash-max-listpack-entries 512\nhash-max-listpack-value 64\n"
    "list-max-listpack-size -2\nlist-compress-depth 0\nset-max-intset-entries 512\n"
    "zset-max-listpack-entries 128\nzset-max-listpack-value 64\nhll-sparse-max-bytes 3000\n"
    "stream-node-max-bytes 4096\nstream-node-max-entries 100\nactiverehashing yes\n"
    "client-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 256mb 64mb 60\n"
    "client-output-buffer-limit pubsub 32mb 8mb 60\nhz 10\ndynamic-hz yes\naof-rewrite-incremental-fsync "
    "yes\n"
    "rdb-save-incremental-fsync yes\njemalloc-bg-thread yes\n";

static void assert_is_debians(void)
{
    assert_true(cfg.daemonize);
    assert_value(&cfg, "bind", "127.0.0.1 -::1");
    assert_string_equal(cfg.dir, "/var/lib/redis");
    assert_int_equal(cfg.client_output_buffer_limit.of[CONFIG_CLASS_NORMAL].hard, 0);
    struct buf warnings;
    buf_init(&warnings);
    assert_int_equal(config_take_warnings(&cfg, &warnings), 0);
    assert_int_equal(warnings.n, 0);
    buf_release(&warnings);
}

static void debians_lines_load(void **state)
{
    assert_loads(&cfg, debian);
    assert_is_debians();
}

/* The installed file itself, where there is one that we may read. */
static void debians_file_loads(void **state)
{
    const char *path = "/etc/redis/redis.conf";
    if (access(path, R_OK) < 0) {
        print_message("%s is not here: its lines were loaded by the test before\n", path);
        return;
    }
    if (config_load_file(&cfg, path, &e) < 0)
        print_error("%s\n", e.text);
    assert_is_debians();
}

/* ---- arguments ----------------------------------------------------------------------------------- */

static int apply(const char *const *words)
{
    int n = 0;
    while (words[n] != NULL)
        n++;
    return config_apply_args(&cfg, n, (char *const *)words, &e);
}
#define ARGS(...) apply((const char *const[]){__VA_ARGS__, NULL})

static void arguments_are_lines(void **state)
{
    const char *path = put_file("a.conf", "port 1\ntimeout 3\nsave 5 5\n");
    assert_int_equal(ARGS(path, "--port", "7000", "--save", "900", "1", "--client-output-buffer-limit",
                          "normal", "1mb", "0", "0", "pubsub", "2mb", "1mb", "5"),
                     0);
    assert_int_equal(cfg.port, 7000);
    assert_int_equal(cfg.timeout, 3);
    assert_value(&cfg, "save", "5 5 900 1");
    path = put_file("a.conf", "save 5 5\nsave 6 6\nsave\n");
    assert_int_equal(ARGS(path), 0);
    assert_value(&cfg, "save", "");
    assert_load_fails("shutdown-on-sigint",
                      "argument(s) must be one of the following: default, save, nosave, now, force");
    assert_load_fails("replicaof", "wrong number of arguments");
    path = put_file("a.conf", "port 1\ntimeout 3\nsave 5 5\n");
    assert_int_equal(cfg.client_output_buffer_limit.of[CONFIG_CLASS_PUBSUB].soft, 1 << 20);
    assert_string_equal(config_path(&cfg), path);
    assert_int_equal(
        ARGS("--requirepass", "--a \"b\" \\x", "--logfile", "", "--port 7001", "--bind", "a", "b"), 0);
    assert_true(str_eq(config_secret_str(&cfg.requirepass), STR("--a \"b\" \\x")));
    assert_int_equal(cfg.port, 7001);
    assert_value(&cfg, "bind", "a b");
    assert_int_equal(ARGS("--save", "--port", "7002"), 0);
    assert_value(&cfg, "save", "");
    assert_int_equal(cfg.port, 7002);
    assert_int_equal(ARGS("--port", "7003", "--save"), 0);
    assert_int_equal(ARGS("--save", ""), 0);
    assert_int_equal(cfg.port, 7003);
    assert_int_equal(config_apply_args(&cfg, 0, NULL, &e), 0);
}

static void wrong_arguments(void **state)
{
    assert_true(ARGS("--timeout", "1", "--prot", "7000") < 0);
    assert_message(HEAD "Reading the command line, at line 2\n>>> 'prot \"7000\"'\n"
                        "Bad directive or wrong number of arguments: did you mean 'port'?");
    assert_true(ARGS("--daemonize") < 0);
    assert_message(HEAD "Reading the command line, at line 1\n>>> 'daemonize'\nwrong number of arguments");
    assert_true(ARGS("--port", "--timeout", "5") < 0);
    assert_message(HEAD "Reading the command line, at line 1\n>>> 'port \"--timeout\" \"5\"'\n"
                        "wrong number of arguments");
    assert_true(ARGS("/nonexistent.conf", "--port", "1") < 0);
    assert_message(HEAD "can't open config file '/nonexistent.conf': No such file or directory");
    assert_true(ARGS("-x") < 0);
    assert_true(ARGS("--") < 0);
}

/* Run with `text` as standard input. */
static void with_stdin(const char *text)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
    close(ends[1]);
    assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    close(ends[0]);
}

static void standard_input_comes_between(void **state)
{
    int saved = dup(STDIN_FILENO);
    with_stdin("port 2\ntimeout 2\n");
    const char *path = put_file("a.conf", "port 1\ntimeout 1\ntcp-keepalive 1\n");
    assert_int_equal(ARGS(path, "--port", "3", "-"), 0);
    assert_int_equal(cfg.port, 3);
    assert_int_equal(cfg.timeout, 2);
    assert_int_equal(cfg.tcp_keepalive, 1);
    with_stdin("port 9\n");
    assert_int_equal(ARGS("-"), 0);
    assert_int_equal(cfg.port, 9);
    with_stdin("port 8\n");
    assert_int_equal(ARGS("-", "--timeout", "4"), 0);
    assert_int_equal(cfg.port, 8);
    assert_int_equal(cfg.timeout, 4);
    with_stdin("\nport x\n");
    assert_true(ARGS("-") < 0);
    assert_message(HEAD "Reading the configuration from standard input, at line 2\n>>> 'port x'\n"
                        "argument couldn't be parsed into an integer");
    if (saved >= 0) {
        dup2(saved, STDIN_FILENO);
        close(saved);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_read),
        TEST(the_path_is_absolute),
        TEST(errors_say_where_and_what),
        TEST(suggestions_are_near),
        TEST(directives),
        TEST(includes_stand_where_they_are_written),
        TEST(entering_the_folder),
        TEST(every_option_stands_once),
        TEST(debians_lines_load),
        TEST(debians_file_loads),
        TEST(arguments_are_lines),
        TEST(wrong_arguments),
        TEST(standard_input_comes_between),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
