/* Each finding of MEMORY DOCTOR: there when its figures are bad, with them and a remedy; gone when not. */
#include "unit.h"

#include "server/doctor.h"

#include <string.h>

#define MB ((uint64_t)1 << 20)

/* A node in good health, one GB of data. */
static struct doctor_facts healthy(void)
{
    return (struct doctor_facts){
        .data = {.used = 1000 * MB,
                 .segments = 800 * MB,
                 .live = 750 * MB,
                 .dead = 50 * MB,
                 .tables = 100 * MB,
                 .blocks = 100 * MB,
                 .keys = 8000000},
        .heap = {.allocated = 110 * MB, .active = 115 * MB, .resident = 120 * MB},
        .maxmemory = 2000 * MB,
        .rss = 1050 * MB,
        .machine = 16384 * MB,
        .clients = 50,
        .clients_bytes = MB,
        .threads = 3,
        .segment_size = 512 << 10,
        .hits = 100000,
        .misses = 100,
    };
}

/* The report mentions the word, or says that all is well when there is none. */
static void expect(const struct doctor_facts *f, const char *word)
{
    struct buf out;
    buf_init(&out);
    doctor_report(f, &out);
    assert_int_equal(buf_putc(&out, '\0'), 0);
    if (strstr(out.p, word != NULL ? word : "No problem found.") == NULL)
        fail_msg("no \"%s\" in: %s", word != NULL ? word : "No problem found.", out.p);
    for (const char *line = out.p; word != NULL && *line != '\0'; line = strchr(line, '\n') + 1)
        assert_true(*line == '*'); /* each finding is one line */
    buf_release(&out);
}

static void healthy_is_told_so(void **state)
{
    struct doctor_facts f = healthy();
    expect(&f, NULL);
    f.data = (struct store_memory){.used = MB};
    struct buf out;
    buf_init(&out);
    doctor_report(&f, &out);
    assert_true(str_eq(buf_str(&out), STR("Almost nothing is stored, so there is nothing to judge.\n")));
    buf_release(&out);
}

static void full_memory(void **state)
{
    struct doctor_facts f = healthy();
    f.maxmemory = 900 * MB;
    expect(&f, "Memory is full: the data takes 1000.00M and maxmemory is 900.00M");
    expect(&f, "CONFIG SET maxmemory-policy allkeys-auto");
    f.maxmemory = 1020 * MB;
    expect(&f, "almost full");
    f.evicts = true;
    expect(&f, NULL);
}

static void machine_too_small(void **state)
{
    struct doctor_facts f = healthy();
    f.maxmemory = 16000 * MB;
    expect(&f, "maxmemory is 15.62G on a machine with 16.00G");
    f.maxmemory = 0;
    expect(&f, NULL);
    f.machine = 1100 * MB;
    expect(&f, "There is no maxmemory");
}

static void resident_differs(void **state)
{
    struct doctor_facts f = healthy();
    f.data.rss_gap = (int64_t)(200 * MB);
    f.data.rss_excess = 100 * MB;
    expect(&f, "200.00M are resident beyond");
    expect(&f, "100.00M of it count against maxmemory");
    f.data.rss_gap = -(int64_t)(300 * MB);
    expect(&f, "300.00M of what is committed are not resident");
    f.data.rss_gap = -(int64_t)(30 * MB);
    expect(&f, NULL);
}

static void dead_and_expired(void **state)
{
    struct doctor_facts f = healthy();
    f.data.dead = 400 * MB;
    expect(&f, "50 % of the segments (400.00M) is dead space");
    f = healthy();
    f.expired_resident = 50 * MB;
    expect(&f, "50.00M (5 % of the data) has expired");
    f.expired_resident = 5 * MB;
    expect(&f, NULL);
}

static void heap_and_tables(void **state)
{
    struct doctor_facts f = healthy();
    f.heap.active = 220 * MB;
    expect(&f, "The heap holds 2.00 times");
    f = healthy();
    f.data.tables = 900 * MB;
    expect(&f, "The tables (900.00M)");
}

static void small_for_its_workers(void **state)
{
    struct doctor_facts f = healthy();
    f.data.used = MB;
    f.maxmemory = 16 * MB;
    expect(&f, "small for 2 workers");
    expect(&f, "Segments are of 512.00K");
    f.segment_size = 64 << 10;
    f.threads = 17;
    expect(&f, "fewer workers");
}

static void clients(void **state)
{
    struct doctor_facts f = healthy();
    f.clients_bytes = 500 * MB;
    expect(&f, "50 clients have buffers of 500.00M, 50 % of");
    f.data.used = MB; /* even when hardly anything is stored */
    expect(&f, "CLIENT LIST");
}

static void misses_of_the_evicted(void **state)
{
    struct doctor_facts f = healthy();
    f.hits = 800000;
    f.misses = 200000;
    f.evicted = 100000;
    f.ghost_hits = 50000;
    expect(&f, "More memory would pay: 80 % of lookups hit, and 50000 of 200000 misses");
    f.ghost_hits = 1000; /* most misses are first accesses: no memory would help */
    expect(&f, NULL);
    f.ghost_hits = 50000;
    f.hits = 100000000;
    expect(&f, NULL);
}

static void small_pages(void **state)
{
    struct doctor_facts f = healthy();
    f.huge_pages_off = true;
    expect(&f, "Huge pages are off");
    f.data.used = 100 * MB;
    expect(&f, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(healthy_is_told_so),    cmocka_unit_test(full_memory),
        cmocka_unit_test(machine_too_small),     cmocka_unit_test(resident_differs),
        cmocka_unit_test(dead_and_expired),      cmocka_unit_test(heap_and_tables),
        cmocka_unit_test(small_for_its_workers), cmocka_unit_test(clients),
        cmocka_unit_test(misses_of_the_evicted), cmocka_unit_test(small_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
