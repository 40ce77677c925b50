#include "unit.h"

#include "os/clock.h"
#include "os/thread.h"

#include <pthread.h>
#include <sys/resource.h>

static int niceness(void)
{
    return getpriority(PRIO_PROCESS, 0); /* of the calling thread */
}

static void *give_way(void *arg)
{
    int *after = arg;
    os_thread_give_way();
    *after = niceness();
    return NULL;
}

static void only_who_asks_gives_way(void **state)
{
    int before = niceness(), after = 0;
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, give_way, &after), 0);
    pthread_join(t, NULL);
    assert_true(after > before);
    assert_int_equal(niceness(), before);
}

static void a_nap_is_not_shorter_than_asked(void **state)
{
    int64_t began = os_mono_ns();
    os_nap_us(2000);
    assert_true(os_mono_ns() - began >= 2000 * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_who_asks_gives_way),
        cmocka_unit_test(a_nap_is_not_shorter_than_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
