#include "unit/unit.h"

#include "base/alloc.h"

#include <pthread.h>
#include <string.h>

static void zero_bytes_are_a_block(void **state)
{
    void *p = mem_alloc(0), *z = mem_zalloc(0);
    assert_non_null(p);
    assert_non_null(z);
    p = mem_realloc(p, 0); /* glibc's own would free it and say NULL */
    assert_non_null(p);
    mem_free(p);
    mem_free(z);
    mem_free(NULL);
}

static void usable_covers_what_was_asked(void **state)
{
    for (size_t n = 1; n < 100000; n = n * 3 / 2 + 1) {
        char *p = mem_alloc(n);
        assert_non_null(p);
        assert_true(mem_usable(p) >= n);
        memset(p, 0xa5, n);
        mem_free(p);
    }
}

static void zalloc_is_zero_and_realloc_keeps(void **state)
{
    for (int round = 0; round < 100; round++) {
        char *p = mem_zalloc(1000);
        assert_non_null(p);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(p[i], 0);
        memset(p, round + 1, 1000);
        p = mem_realloc(p, 200000);
        assert_non_null(p);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(p[i], round + 1);
        mem_free(p);
    }
}

static void aligned_is_aligned(void **state)
{
    for (size_t align = 16; align <= 2 * 1024 * 1024; align *= 2) {
        void *p = mem_aligned(align, 100);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p & (align - 1), 0);
        mem_free(p);
    }
}

static void strndup_ends_with_nul(void **state)
{
    char *p = mem_strndup("hello", 3), *empty = mem_strndup(NULL, 0);
    assert_string_equal(p, "hel");
    assert_string_equal(empty, "");
    assert_null(mem_strndup("x", SIZE_MAX));
    mem_free(p);
    mem_free(empty);
}

static void statistics_see_a_large_block(void **state)
{
    struct mem_stats before, with, after;
    mem_stats_read(&before);
    char *p = mem_alloc(64 << 20);
    assert_non_null(p);
    memset(p, 1, 64 << 20);
    mem_stats_read(&with);
    mem_free(p);
    mem_purge();
    mem_stats_read(&after);
#ifdef LARDER_JEMALLOC
    assert_in_range(with.allocated - before.allocated, 64 << 20, 72 << 20);
    assert_true(with.active >= with.allocated);
    assert_true(with.resident >= before.resident + (60u << 20));
    assert_true(after.resident + (60u << 20) <= with.resident);
#else
    assert_int_equal(with.allocated + after.resident, 0);
#endif
}

/* What a thread has freed and keeps for itself goes back, too. */
static void a_purge_empties_the_threads_cache(void **state)
{
    enum { N = 20, BYTES = 10 << 10 };
    void *p[N];
    struct mem_stats before, freed, after;
    mem_purge();
    mem_stats_read(&before);
    for (int i = 0; i < N; i++)
        p[i] = mem_must(mem_alloc(BYTES));
    for (int i = 0; i < N; i++)
        mem_free(p[i]);
    mem_stats_read(&freed);
    mem_purge();
    mem_stats_read(&after);
#ifdef LARDER_JEMALLOC
    assert_true(freed.allocated >= before.allocated + BYTES);
#endif
    assert_in_range(after.allocated, 0, before.allocated + BYTES - 1);
}

#ifdef LARDER_DEBUG
static void the_nth_allocation_fails_once(void **state)
{
    for (int n = 1; n <= 5; n++) {
        alloc_fail_after(n);
        for (int i = 1; i <= 8; i++) {
            void *p = i % 2 ? mem_alloc(10) : mem_zalloc(10);
            assert_int_equal(p == NULL, i == n);
            mem_free(p);
        }
    }
    alloc_fail_after(1);
    alloc_fail_after(0);
    void *p = mem_alloc(1);
    assert_non_null(p);
    alloc_fail_after(1);
    assert_null(mem_realloc(p, 1000));
    alloc_fail_after(1);
    assert_null(mem_aligned(64, 64));
    alloc_fail_after(1);
    assert_null(mem_strndup("a", 1));
    mem_free(p);
}

enum { THREADS = 4, ALLOCATIONS = 20000 };

static void *allocate_often(void *arg)
{
    intptr_t failed = 0;
    for (int i = 0; i < ALLOCATIONS; i++) {
        void *p = mem_alloc(16);
        failed += p == NULL;
        mem_free(p);
    }
    return (void *)failed;
}

static void one_thread_alone_meets_the_failure(void **state)
{
    pthread_t threads[THREADS];
    intptr_t failed = 0;
    alloc_fail_after(THREADS * ALLOCATIONS / 2);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, allocate_often, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        failed += (intptr_t)result;
    }
    alloc_fail_after(0);
    assert_int_equal(failed, 1);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_bytes_are_a_block),
        cmocka_unit_test(usable_covers_what_was_asked),
        cmocka_unit_test(zalloc_is_zero_and_realloc_keeps),
        cmocka_unit_test(aligned_is_aligned),
        cmocka_unit_test(strndup_ends_with_nul),
        cmocka_unit_test(statistics_see_a_large_block),
        cmocka_unit_test(a_purge_empties_the_threads_cache),
#ifdef LARDER_DEBUG
        cmocka_unit_test(the_nth_allocation_fails_once),
        cmocka_unit_test(one_thread_alone_meets_the_failure),
#endif
    };
    return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}
