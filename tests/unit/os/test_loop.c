#include "unit/unit.h"

#include "base/mpsc.h"
#include "os/loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NO_WAIT = 0, FOR_EVER = -1 };

struct pair {
    int here, there;
};

static struct pair new_pair(void)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    return (struct pair){fd[0], fd[1]};
}

static void close_pair(struct pair *p)
{
    close(p->here);
    close(p->there);
}

static bool with_ring; /* all tests run once without and, where the kernel has it, once with */

static struct loop *new_loop(void)
{
    struct loop *l = NULL;
    assert_int_equal(loop_new(&l, with_ring), 0);
    return l;
}

static void readable_until_read(void **state)
{
    struct loop *l = new_loop();
    struct pair p = new_pair();
    char byte;
    assert_int_equal(loop_add(l, p.here, LOOP_READ, &p), 0);
    assert_int_equal(loop_wait(l, NO_WAIT), 0);
    assert_int_equal(write(p.there, "x", 1), 1);
    for (int i = 0; i < 3; i++) { /* level-triggered */
        assert_int_equal(loop_wait(l, FOR_EVER), 1);
        struct loop_event ev = loop_event(l, 0);
        assert_ptr_equal(ev.tag, &p);
        assert_true(ev.readable);
        assert_false(ev.writable);
        assert_false(ev.hangup);
    }
    assert_int_equal(read(p.here, &byte, 1), 1);
    assert_int_equal(loop_wait(l, NO_WAIT), 0);
    close_pair(&p);
    loop_free(l);
}

static void interest_changes_and_ends(void **state)
{
    struct loop *l = new_loop();
    struct pair p = new_pair();
    int other;
    assert_int_equal(loop_add(l, p.here, LOOP_READ | LOOP_WRITE, &p), 0);
    assert_int_equal(loop_wait(l, NO_WAIT), 1);
    assert_true(loop_event(l, 0).writable);
    assert_false(loop_event(l, 0).readable);
    assert_int_equal(loop_change(l, p.here, LOOP_READ, &other), 0);
    assert_int_equal(loop_wait(l, NO_WAIT), 0);
    assert_int_equal(write(p.there, "x", 1), 1);
    assert_int_equal(loop_wait(l, NO_WAIT), 1);
    assert_ptr_equal(loop_event(l, 0).tag, &other);
    assert_int_equal(loop_change(l, p.here, 0, &p), 0);
    assert_int_equal(loop_wait(l, NO_WAIT), 0);
    loop_remove(l, p.here);
    assert_true(loop_change(l, p.here, LOOP_READ, &p) < 0);
    assert_true(loop_add(l, -1, LOOP_READ, &p) < 0);
    close_pair(&p);
    loop_free(l);
}

/* A half-closed peer is still owed replies: that is an end of input, not a hang-up. */
static void half_close_is_readable_and_full_close_hangs_up(void **state)
{
    struct loop *l = new_loop();
    struct pair p = new_pair();
    assert_int_equal(loop_add(l, p.here, LOOP_READ, &p), 0);
    shutdown(p.there, SHUT_WR);
    assert_int_equal(loop_wait(l, NO_WAIT), 1);
    assert_true(loop_event(l, 0).readable);
    assert_false(loop_event(l, 0).hangup);
    close(p.there);
    assert_int_equal(loop_wait(l, NO_WAIT), 1);
    assert_true(loop_event(l, 0).hangup);
    assert_int_equal(loop_change(l, p.here, 0, &p), 0);
    assert_int_equal(loop_wait(l, NO_WAIT), 1); /* told even to who asked for nothing */
    close(p.here);
    loop_free(l);
}

static void forgotten_events_vanish(void **state)
{
    enum { PAIRS = 10 };
    struct loop *l = new_loop();
    struct pair p[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        p[i] = new_pair();
        assert_int_equal(loop_add(l, p[i].here, LOOP_WRITE, &p[i]), 0);
    }
    assert_int_equal(loop_wait(l, NO_WAIT), PAIRS);
    loop_forget(l, &p[3]);
    for (int i = 0; i < PAIRS; i++) {
        struct loop_event ev = loop_event(l, i);
        assert_true(ev.tag != &p[3]);
        if (ev.tag == NULL)
            assert_false(ev.readable || ev.writable || ev.hangup);
        else
            assert_true(ev.writable);
    }
    assert_int_equal(loop_wait(l, NO_WAIT), PAIRS); /* of that round only */
    for (int i = 0; i < PAIRS; i++)
        close_pair(&p[i]);
    loop_free(l);
}

/* More descriptors ready than fit one round: all are seen in the following ones. */
static void nobody_starves_beyond_a_full_round(void **state)
{
    enum { PIPES = LOOP_EVENTS_MAX + 50 };
    struct loop *l = new_loop();
    static struct pair p[PIPES];
    static int seen[PIPES];
    for (int i = 0; i < PIPES; i++) {
        int fd[2];
        assert_int_equal(pipe2(fd, O_NONBLOCK | O_CLOEXEC), 0);
        p[i] = (struct pair){fd[0], fd[1]};
        assert_int_equal(loop_add(l, p[i].here, LOOP_READ, &p[i]), 0);
        assert_int_equal(write(p[i].there, "x", 1), 1);
    }
    loop_wake(l);
    for (int round = 0; round < 3; round++) {
        int n = loop_wait(l, NO_WAIT);
        assert_in_range(n, LOOP_EVENTS_MAX - 1, LOOP_EVENTS_MAX); /* one may have been the wake-up */
        for (int i = 0; i < n; i++)
            seen[(struct pair *)loop_event(l, i).tag - p]++;
    }
    for (int i = 0; i < PIPES; i++) {
        assert_true(seen[i] > 0);
        close_pair(&p[i]);
    }
    loop_free(l);
}

static void a_wake_up_ends_one_wait_and_is_swallowed(void **state)
{
    struct loop *l = new_loop();
    for (int round = 0; round < 3; round++) {
        loop_wake(l);
        loop_wake(l);
        loop_wake(l);
        assert_int_equal(loop_wait(l, FOR_EVER), 0); /* would not return without it */
        assert_int_equal(loop_wait(l, NO_WAIT), 0);
    }
    loop_free(l);
}

struct mail {
    struct mpsc_node node;
};

struct mailbox {
    struct loop *loop;
    struct mpsc queue;
};

enum { PRODUCERS = 3, LETTERS = 20000 };

static void *send_mail(void *arg)
{
    struct mailbox *box = arg;
    for (int i = 0; i < LETTERS; i++) {
        struct mail *m = malloc(sizeof *m);
        mpsc_push(&box->queue, &m->node);
        loop_wake(box->loop);
    }
    return NULL;
}

/* The owner sleeps for ever whenever its mailbox looks empty: one wake-up lost, or one
 * coalesced with a wake-up that was already spent, and this does not end. */
static void no_wake_up_is_lost(void **state)
{
    struct mailbox box;
    pthread_t threads[PRODUCERS];
    box.loop = new_loop();
    mpsc_init(&box.queue);
    for (int i = 0; i < PRODUCERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_mail, &box), 0);
    for (int got = 0; got < PRODUCERS * LETTERS;) {
        assert_int_equal(loop_wait(box.loop, FOR_EVER), 0);
        for (struct mpsc_node *n; (n = mpsc_pop(&box.queue)) != NULL; got++)
            free(container_of(n, struct mail, node));
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    loop_free(box.loop);
}

static void exclusive_listeners_can_be_added(void **state)
{
    struct loop *l = new_loop(), *m = new_loop();
    struct pair p = new_pair();
    assert_int_equal(loop_add(l, p.here, LOOP_READ | LOOP_EXCLUSIVE, &p), 0);
    assert_int_equal(loop_add(m, p.here, LOOP_READ | LOOP_EXCLUSIVE, &p), 0);
    assert_int_equal(write(p.there, "x", 1), 1);
    assert_true(loop_wait(l, NO_WAIT) + loop_wait(m, NO_WAIT) >= 1);
    close_pair(&p);
    loop_free(l);
    loop_free(m);
    loop_free(NULL);
}

/* ---- streams ---- */

/* Collects what arrives until `n` bytes are there; returns the last event's n. */
static int receive(struct loop *l, void *tag, char *into, int n)
{
    int got = 0;
    while (got < n) {
        int events = loop_wait(l, FOR_EVER);
        for (int i = 0; i < events; i++) {
            struct loop_event ev = loop_event(l, i);
            assert_ptr_equal(ev.tag, tag);
            assert_true(ev.received);
            if (ev.n <= 0)
                return ev.n;
            assert_true(got + ev.n <= n);
            memcpy(into + got, ev.data, (size_t)ev.n);
            got += ev.n;
        }
    }
    return got;
}

static void streams_deliver_in_order_then_end(void **state)
{
    enum { BYTES = 3 << 20 };
    if (!with_ring)
        return;
    struct loop *l = new_loop();
    struct pair p = new_pair();
    char *sent = malloc(BYTES), *got = malloc(BYTES);
    for (int i = 0; i < BYTES; i++)
        sent[i] = (char)(i * 31 + i / 1000);
    assert_int_equal(loop_add(l, p.here, LOOP_READ | LOOP_STREAM, &p), 0);
    assert_int_equal(loop_wait(l, NO_WAIT), 0);
    for (int at = 0; at < BYTES;) { /* more than the socket holds, less than all buffers */
        ssize_t n = write(p.there, sent + at, (size_t)(BYTES - at < 100000 ? BYTES - at : 100000));
        assert_true(n > 0);
        assert_int_equal(receive(l, &p, got + at, (int)n), n);
        at += (int)n;
    }
    assert_memory_equal(sent, got, BYTES);
    close(p.there);
    assert_int_equal(receive(l, &p, got, 1), 0);
    loop_remove(l, p.here);
    close(p.here);
    assert_int_equal(loop_wait(l, NO_WAIT), 0);
    loop_free(l);
    free(sent);
    free(got);
}

/* All that a hundred streams bring arrives, in rounds of no more than a bounded ring's buffers. */
static void reading_is_bounded(void **state)
{
    enum { STREAMS = 100, TIMES = 3, EACH = 64 << 10, LEAST = 16 * (16 << 10) };
    static const char bytes[EACH];
    static struct pair p[STREAMS];
    if (!with_ring)
        return;
    struct loop *l = new_loop();
    loop_bound_reading(l, 1);
    for (int i = 0; i < STREAMS; i++) {
        p[i] = new_pair();
        assert_int_equal(loop_add(l, p[i].here, LOOP_READ | LOOP_STREAM, &p[i]), 0);
    }
    assert_int_equal(loop_wait(l, NO_WAIT), 0);
    for (int time = 0; time < TIMES; time++) {
        for (int i = 0; i < STREAMS; i++)
            assert_int_equal(write(p[i].there, bytes, EACH), EACH);
        for (int left = STREAMS * EACH; left > 0;) {
            int n = loop_wait(l, FOR_EVER), round = 0;
            for (int i = 0; i < n; i++)
                round += loop_event(l, i).n;
            assert_in_range(round, 0, LEAST);
            left -= round;
        }
    }
    for (int i = 0; i < STREAMS; i++) {
        loop_remove(l, p[i].here);
        close_pair(&p[i]);
    }
    loop_free(l);
}

static void a_stream_pauses_and_goes_on(void **state)
{
    if (!with_ring)
        return;
    struct loop *l = new_loop();
    struct pair p = new_pair();
    char got[8];
    assert_int_equal(loop_add(l, p.here, LOOP_READ | LOOP_STREAM, &p), 0);
    assert_int_equal(loop_wait(l, NO_WAIT), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(loop_change(l, p.here, 0, &p), 0);
        for (int j = 0; j < 3; j++)
            assert_int_equal(loop_wait(l, NO_WAIT), 0);
        assert_int_equal(write(p.there, "abc", 3), 3);
        assert_int_equal(loop_wait(l, NO_WAIT), 0);
        assert_int_equal(loop_change(l, p.here, LOOP_READ, &p), 0);
        assert_int_equal(receive(l, &p, got, 3), 3);
    }
    /* To write as well: epoll says so, and the stream goes on. */
    assert_int_equal(loop_change(l, p.here, LOOP_READ | LOOP_WRITE, &p), 0);
    struct loop_event ev = {0};
    while (!ev.writable)
        ev = loop_wait(l, FOR_EVER) > 0 ? loop_event(l, 0) : ev;
    assert_ptr_equal(ev.tag, &p);
    assert_int_equal(loop_change(l, p.here, LOOP_READ, &p), 0);
    assert_int_equal(write(p.there, "xyz", 3), 3);
    assert_int_equal(receive(l, &p, got, 3), 3);
    /* Paused, it still tells when the peer is gone. */
    assert_int_equal(loop_change(l, p.here, 0, &p), 0);
    close(p.there);
    bool hangup = false;
    while (!hangup)
        hangup = loop_wait(l, FOR_EVER) > 0 && loop_event(l, 0).hangup;
    loop_remove(l, p.here);
    close(p.here);
    loop_free(l);
}

static void a_dropped_stream_is_silent_and_its_number_free(void **state)
{
    if (!with_ring)
        return;
    struct loop *l = new_loop();
    char got[8];
    for (int i = 0; i < 500; i++) { /* the same descriptor again and again */
        struct pair p = new_pair();
        assert_int_equal(loop_add(l, p.here, LOOP_READ | LOOP_STREAM, &p), 0);
        if (i % 2)
            assert_int_equal(loop_wait(l, NO_WAIT), 0);
        assert_int_equal(write(p.there, "abc", 3), 3);
        if (i % 3)
            assert_int_equal(receive(l, &p, got, 3), 3);
        loop_remove(l, p.here);
        close_pair(&p);
        if (i % 5 == 0)
            assert_int_equal(loop_wait(l, NO_WAIT), 0);
    }
    loop_free(l);
}

static void many_streams_share_the_buffers(void **state)
{
    enum { STREAMS = 700, ROUNDS = 20 };
    if (!with_ring)
        return;
    struct loop *l = new_loop();
    static struct pair pairs[STREAMS];
    static int got[STREAMS];
    memset(got, 0, sizeof got);
    for (int i = 0; i < STREAMS; i++) {
        pairs[i] = new_pair();
        assert_int_equal(loop_add(l, pairs[i].here, LOOP_READ | LOOP_STREAM, &pairs[i]), 0);
    }
    for (int round = 1; round <= ROUNDS; round++) {
        for (int i = 0; i < STREAMS; i++)
            assert_int_equal(write(pairs[i].there, "12345", 5), 5);
        for (int all = 0; all < STREAMS * 5;) {
            int n = loop_wait(l, FOR_EVER);
            for (int i = 0; i < n; i++) {
                struct loop_event ev = loop_event(l, i);
                assert_true(ev.received && ev.n > 0);
                got[(struct pair *)ev.tag - pairs] += ev.n;
                all += ev.n;
            }
        }
        for (int i = 0; i < STREAMS; i++)
            assert_int_equal(got[i], 5 * round);
    }
    for (int i = 0; i < STREAMS; i++)
        close_pair(&pairs[i]);
    loop_free(l);
}

/* However few at a time the kernel hands over: a round serves everybody who has sent something. */
static void a_round_has_all_that_is_there(void **state)
{
    enum { STREAMS = 150, TIMES = 6 };
    static struct pair pairs[STREAMS];
    int n = 0;
    if (!with_ring)
        return;
    struct loop *l = new_loop();
    for (int i = 0; i < STREAMS; i++) {
        pairs[i] = new_pair();
        assert_int_equal(loop_add(l, pairs[i].here, LOOP_READ | LOOP_STREAM, &pairs[i]), 0);
    }
    assert_int_equal(loop_wait(l, NO_WAIT), 0);
    for (int time = 0; time < TIMES; time++) { /* the first ones find too few buffers */
        for (int i = 0; i < STREAMS; i++)
            assert_int_equal(write(pairs[i].there, "x", 1), 1);
        n = loop_wait(l, FOR_EVER);
        for (int all = n; all < STREAMS; all += loop_wait(l, FOR_EVER))
            ;
        assert_int_equal(loop_wait(l, NO_WAIT), 0);
    }
    assert_int_equal(n, STREAMS);
    for (int i = 0; i < STREAMS; i++)
        close_pair(&pairs[i]);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readable_until_read),
        cmocka_unit_test(interest_changes_and_ends),
        cmocka_unit_test(half_close_is_readable_and_full_close_hangs_up),
        cmocka_unit_test(forgotten_events_vanish),
        cmocka_unit_test(nobody_starves_beyond_a_full_round),
        cmocka_unit_test(a_wake_up_ends_one_wait_and_is_swallowed),
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(exclusive_listeners_can_be_added),
        cmocka_unit_test(streams_deliver_in_order_then_end),
        cmocka_unit_test(reading_is_bounded),
        cmocka_unit_test(a_stream_pauses_and_goes_on),
        cmocka_unit_test(a_dropped_stream_is_silent_and_its_number_free),
        cmocka_unit_test(many_streams_share_the_buffers),
        cmocka_unit_test(a_round_has_all_that_is_there),
    };
    int failed = cmocka_run_group_tests_name("loop", tests, NULL, NULL);
    with_ring = true;
    struct loop *l = new_loop();
    with_ring = loop_has_ring(l); /* elsewhere these are epoll's tests again */
    loop_free(l);
    return failed + cmocka_run_group_tests_name("loop with ring", tests, NULL, NULL);
}
