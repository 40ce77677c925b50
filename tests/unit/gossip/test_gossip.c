/* Messages and nodes.conf there and back, nonsense of both refused, and what a lone machine does with frames
 * that nobody sane would send. */
#include "gossip/gossip.h"

#include "base/err.h"
#include "base/rng.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "cccccccccccccccccccccccccccccccccccccccc"

static uint32_t sent, last_type;
static struct packet seen;

static void io_send(void *ctx, uint64_t link, const void *p, size_t n)
{
    sent++;
    assert_int_equal(packet_read(&seen, p, n), 0);
    last_type = seen.type;
}

static uint64_t io_open(void *ctx, const char *ip, int port)
{
    return 0;
}

static void io_close(void *ctx, uint64_t link)
{
}

static bool io_ip(void *ctx, uint64_t link, char out[PACKET_IP])
{
    memset(out, 0, PACKET_IP);
    memcpy(out, "127.0.0.1", 9);
    return true;
}

static void start(struct gossip *g, const char *conf)
{
    static const struct gossip_io io = {NULL, io_send, io_open, io_close, io_ip, io_ip};
    const struct gossip_options opt = {
        .timeout_ms = 1000, .full_coverage = true, .port = 7000, .cport = 17000};
    uint32_t line;
    assert_int_equal(gossip_init(g, &io, &opt, 1, 1700000000000), 0);
    assert_int_equal(gossip_load(g, str_of(conf), &line), 0);
    sent = 0;
}

static void fill(struct packet *k, enum packet_type type, const char *sender)
{
    memset(k, 0, sizeof *k);
    k->type = (uint16_t)type;
    k->flags = NODE_PRIMARY;
    memcpy(k->sender, sender, PACKET_ID + 1);
    k->port = 7001;
    k->cport = 17001;
}

static const struct packet_gossip entry = {
    .id = C, .ip = "10.0.0.3", .ping_s = 5, .pong_s = 6, .port = 7003, .cport = 17003, .flags = NODE_PRIMARY};

static void make_ping(struct buf *b)
{
    struct packet k;
    fill(&k, PACKET_PING, B);
    k.count = 1;
    k.current_epoch = 9;
    k.config_epoch = 8;
    k.offset = 77;
    k.flags0 = PACKET_EXTENDS;
    memcpy(k.primary, A, sizeof k.primary);
    memcpy(k.hostname, "host.example", 13);
    packet_set_slot(k.slots, 16383, true);
    buf_init(b);
    assert_int_equal(packet_write(b, &k, &entry), 0);
}

static void test_a_message_comes_back(void **state)
{
    struct buf b;
    struct packet k;
    struct packet_gossip e;
    make_ping(&b);
    assert_int_equal(b.n, PACKET_HEADER + PACKET_GOSSIP + 8 + 16);
    assert_int_equal(packet_read(&k, (uint8_t *)b.p, b.n), 0);
    assert_string_equal(k.sender, B);
    assert_string_equal(k.primary, A);
    assert_string_equal(k.hostname, "host.example");
    assert_true(k.current_epoch == 9 && k.config_epoch == 8 && k.offset == 77 && k.port == 7001);
    assert_true(packet_has_slot(k.slots, 16383) && !packet_has_slot(k.slots, 0));
    packet_gossip_at(&k, 0, &e);
    assert_string_equal(e.id, C);
    assert_string_equal(e.ip, "10.0.0.3");
    assert_true(e.ping_s == 5 && e.pong_s == 6 && e.port == 7003 && e.cport == 17003 &&
                e.flags == NODE_PRIMARY);
    buf_release(&b);
}

static void test_cut_and_stretched(void **state)
{
    struct buf b;
    struct packet k;
    make_ping(&b);
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(packet_read(&k, (uint8_t *)b.p, n), ERR_PROTO);
    b.p[15]++; /* one more entry than there is */
    assert_int_equal(packet_read(&k, (uint8_t *)b.p, b.n), ERR_PROTO);
    buf_release(&b);
}

/* Any byte may be anything: no crash, and what passes can be used. */
static void test_mutated(void **state)
{
    struct rng rng;
    struct gossip *g = calloc(1, sizeof *g);
    rng_init(&rng, 7);
    start(g, A
          " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5000\n" B
          " 127.0.0.1:7001@17001 master - 0 0 2 connected 5001-16383\nvars currentEpoch 3 lastVoteEpoch 0\n");
    for (unsigned round = 0; round < 20000; round++) {
        struct buf b;
        make_ping(&b);
        b.p[13] = (char)rng_below(&rng, 12);
        for (unsigned i = 0; i <= rng_below(&rng, 4); i++)
            b.p[8 + rng_below(&rng, b.n - 8)] = (char)rng_below(&rng, 256);
        if (gossip_frame(g, 1, (uint8_t *)b.p, b.n) == 0)
            gossip_tick(g);
        g->now_ms += 10;
        assert_true(g->nnodes >= 1 && g->nnodes <= GOSSIP_NODES_MAX);
        buf_release(&b);
    }
    uint32_t owned = 0;
    for (const struct node *n = g->nodes; n != NULL; n = n->next)
        owned += n->nslots;
    for (uint32_t i = 0; i < PACKET_SLOTS; i++)
        owned -= g->owner[i] != NULL;
    assert_int_equal(owned, 0);
    gossip_release(g);
    free(g);
}

static void test_the_file_comes_back(void **state)
{
    static const char conf[] =
        A " 127.0.0.1:7000@17000,host myself,master - 0 0 4 connected 0-99 200 [5->-" B "] [300-<-" B "]\n" B
          " 127.0.0.1:7001@17001 master,fail - 0 5 3 connected 101-199 300\n" C
          " 127.0.0.1:7002@17002 slave " B " 0 0 3 connected\nvars currentEpoch 6 lastVoteEpoch 5\n";
    struct gossip *g = calloc(1, sizeof *g);
    struct buf b;
    start(g, conf);
    assert_true(g->current_epoch == 6 && g->voted_epoch == 5 && g->myself->nslots == 101);
    assert_string_equal(g->to[5]->id, B);
    assert_string_equal(g->from[300]->id, B);
    buf_init(&b);
    gossip_put_conf(g, &b);
    for (const char *part = conf; *part != '\0'; part = strchr(part, '\n') + 1) {
        size_t n = (size_t)(strchr(part, '\n') - part);
        if (strncmp(part, B, 40) != 0 && strncmp(part, C, 40) != 0) /* these are not connected now */
            assert_non_null(memmem(b.p, b.n, part, n));
    }
    buf_release(&b);
    gossip_release(g);
    free(g);
}

static void test_bad_files(void **state)
{
    static const char *const bad[] = {
        "",
        "vars currentEpoch 1 lastVoteEpoch 0\n",
        A " 127.0.0.1:7000@17000 master - 0 0 4 connected\n",
        A " 127.0.0.1:7000@17000 myself,master - 0 0 4\n",
        A " 127.0.0.1:7000@17000 myself,what - 0 0 4 connected\n",
        A " nonsense myself,master - 0 0 4 connected\n",
        A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 5-4\n",
        A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 16384\n",
        A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected [5->" B "]\n",
        A " 127.0.0.1:7000@17000 myself,slave " A " 0 0 4 connected\n",
        A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected\n" A
          " 127.0.0.1:7000@17000 master - 0 0 4 connected\n",
        A " 127.0.0.1:7000@17000 myself,slave " B " 0 0 4 connected\n",
        "xyz 127.0.0.1:7000@17000 myself,master - 0 0 4 connected\n",
        A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected\nvars currentEpoch x\n",
    };
    static const struct gossip_io io = {NULL, io_send, io_open, io_close, io_ip, io_ip};
    const struct gossip_options opt = {0};
    struct gossip *g = calloc(1, sizeof *g);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint32_t line;
        gossip_init(g, &io, &opt, 1, 1);
        if (gossip_load(g, str_of(bad[i]), &line) == 0)
            fail_msg("accepted: %s", bad[i]);
        gossip_release(g);
    }
    free(g);
}

static int vote_asked(struct gossip *g, uint64_t epoch, uint64_t config_epoch, bool force)
{
    struct packet k;
    struct buf b;
    fill(&k, PACKET_AUTH_REQUEST, C);
    k.flags = NODE_REPLICA;
    memcpy(k.primary, B, sizeof k.primary);
    k.current_epoch = epoch;
    k.config_epoch = config_epoch;
    k.flags0 = force ? PACKET_FORCEACK : 0;
    for (uint32_t i = 5001; i < PACKET_SLOTS; i++)
        packet_set_slot(k.slots, i, true);
    buf_init(&b);
    packet_write(&b, &k, NULL);
    sent = 0;
    gossip_frame(g, 1, (uint8_t *)b.p, b.n);
    buf_release(&b);
    return sent > 0 && last_type == PACKET_AUTH_ACK;
}

/* Once in an epoch, for a failed primary, with fresh claims; and the vote is to be saved before it leaves. */
static void test_votes(void **state)
{
    static const char conf[] =
        A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 0-5000\n" B
          " 127.0.0.1:7001@17001 master%s - 0 0 3 connected 5001-16383\n" C " 127.0.0.1:7002@17002 slave " B
          " 0 0 3 connected\nvars currentEpoch 6 lastVoteEpoch 5\n";
    struct gossip *g = calloc(1, sizeof *g);
    char text[1000];
    snprintf(text, sizeof text, conf, "");
    start(g, text);
    gossip_find(g, C)->inbound = 1;
    assert_false(vote_asked(g, 7, 3, false)); /* it has not failed */
    assert_true(vote_asked(g, 7, 3, true));
    assert_true(g->todo.save && g->todo.sync);
    assert_int_equal(g->voted_epoch, 7);
    assert_false(vote_asked(g, 7, 3, true)); /* twice */
    gossip_release(g);
    snprintf(text, sizeof text, conf, ",fail");
    start(g, text);
    gossip_find(g, C)->inbound = 1;
    assert_false(vote_asked(g, 5, 3, false)); /* an old epoch */
    assert_false(vote_asked(g, 7, 2, false)); /* old news of the slots */
    assert_true(vote_asked(g, 8, 3, false));
    gossip_release(g);
    free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_message_comes_back),
        cmocka_unit_test(test_cut_and_stretched),
        cmocka_unit_test(test_mutated),
        cmocka_unit_test(test_the_file_comes_back),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_votes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
