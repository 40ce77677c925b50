/* `larder doctor`: each state of a node, and whether it needs somebody. */
#include "tool/doctor/report.h"

#include "base/annotate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct row {
    const char *info;
    uint32_t warnings, troubles;
    const char *says; /* part of it */
};

#define PRIMARY                                                                                              \
    "role:master\r\nmaster_failover_state:no-failover\r\nmaster_repl_offset:50000000\r\nrepl_backlog_size:"  \
    "1048576\r\n"

static const struct row rows[] = {
    {"", 0, 0, ""},
    {"nonsense\r\n:\r\nrole:\r\nslave0:\r\n\r\n", 0, 0, ""},
    {PRIMARY "connected_slaves:0\r\n", 1, 0, "without a replica"},
    {PRIMARY "connected_slaves:1\r\nslave0:ip=10.0.0.1,port=7,state=online,offset=50000000,lag=0\r\n", 0, 0,
     "ok    Replica 10.0.0.1:7 is in step, 0B behind"},
    {PRIMARY "connected_slaves:1\nslave0:ip=10.0.0.1,port=7,state=online,offset=49999000,lag=60\n", 0, 1,
     "60 s ago"},
    {PRIMARY "connected_slaves:1\r\nslave0:ip=10.0.0.1,port=7,state=online,offset=1,lag=1\r\n", 0, 1,
     "more than repl-backlog-size (1.00M)"},
    {PRIMARY "connected_slaves:1\r\nslave0:ip=10.0.0.1,port=7,state=wait_bgsave,offset=0,lag=0\r\n", 1, 0,
     "waits for"},
    {PRIMARY "connected_slaves:1\r\nslave0:ip=10.0.0.1,port=7,state=send_bulk,offset=0,lag=0\r\n", 1, 0,
     "being given"},
    {PRIMARY "connected_slaves:1\r\nslave0:state=\x1b[2J\r\n", 1, 0, "'?[2J'"},
    {PRIMARY "connected_slaves:1\r\nmin_slaves_good_slaves:0\r\n", 0, 1, "NOREPLICAS"},
    {PRIMARY "connected_slaves:1\r\nlarder_restarted_behind:1\r\nlarder_replicas_ahead_refused:0\r\n", 1, 0,
     "left alone"},
    {PRIMARY "connected_slaves:1\r\nlarder_restarted_behind:0\r\nlarder_replicas_ahead_refused:3\r\n", 0, 1,
     "refuses to overwrite"},
    {PRIMARY "connected_slaves:9999999999999\r\n", 0, 0, "9999999999999 replicas"},
    {"role:master\r\nconnected_slaves:1\r\nmaster_failover_state:waiting-for-sync\r\n", 1, 0,
     "FAILOVER ABORT"},
    {"role:slave\r\nmaster_host:h\r\nmaster_port:1\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:"
     "1\r\n",
     0, 0, "replica of h:1; the link is up"},
    {"role:slave\r\nmaster_host:h\r\nmaster_port:1\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:"
     "50\r\n",
     1, 0, "50 s ago"},
    {"role:slave\r\nmaster_link_status:down\r\nmaster_link_down_since_seconds:7\r\nlarder_master_link_stage:"
     "auth\r\n",
     0, 1, "down for 7 s (stage: auth)"},
    {"role:slave\r\nmaster_link_status:down\r\nmaster_sync_in_progress:1\r\nmaster_sync_total_bytes:2048\r\n"
     "master_sync_read_bytes:1024\r\n",
     1, 0, "1.00K of 2.00K"},
    {"role:slave\r\nmaster_link_status:up\r\nslave_read_only:0\r\n", 1, 0, "may write here"},
    {"used_memory:1000\r\nmaxmemory:0\r\n", 1, 0, "no maxmemory"},
    {"used_memory:960\r\nmaxmemory:1000\r\nmaxmemory_policy:noeviction\r\n", 0, 1, "Memory is full"},
    {"used_memory:960\r\nmaxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n", 0, 0, "(allkeys-lru)"},
    {"rdb_last_bgsave_status:err\r\n", 0, 1, "snapshot failed"},
    {"aof_enabled:1\r\naof_last_write_status:err\r\n", 0, 1, "append-only file"},
    {"rdb_changes_since_last_save:5\r\n", 0, 0, "5 changes"},
    {"loading:1\r\n", 1, 0, "LOADING"},
    {"connected_clients:95\r\nmaxclients:100\r\nrejected_connections:3\r\n", 1, 1, "95 clients"},
};

static void each_state_is_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out;
        struct report r = {.out = &out};
        buf_init(&out);
        report_write(&r, str_of(rows[i].info));
        buf_putc(&out, '\0');
        assert_false(out.oom);
        if (r.warnings != rows[i].warnings || r.troubles != rows[i].troubles ||
            strstr(out.p, rows[i].says) == NULL)
            fail_msg("row %zu: %u %u: %s", i, r.warnings, r.troubles, out.p);
        buf_release(&out);
    }
}

static void fields_are_found_whole(void **state)
{
    (void)state;
    struct str info = STR("ab:1\r\na:2\nabc:\r\nz:9");
    assert_true(str_eq(report_field(info, "a"), STR("2")));
    assert_true(str_eq(report_field(info, "abc"), STR("")) && report_field(info, "abc").p != NULL);
    assert_true(str_eq(report_field(info, "z"), STR("9")));
    assert_null(report_field(info, "b").p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_state_is_judged),
        cmocka_unit_test(fields_are_found_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
