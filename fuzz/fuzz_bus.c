/* The cluster bus from an enemy who can reach its port: frames, and a machine that knows the sender of the
 * corpus.
 *
 * What decodes lies within the input and is written back to the same bytes' length; the machine's table stays
 * whole. The input is a stream: it is cut at the lengths that it claims. */
#include "base/assert.h"
#include "base/err.h"
#include "cluster/machine.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SELF "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PRIMARY "74aed1dd88569e49182b813e4450be468d60e703"
#define SENDER "06658faf2df747b512d7f08d79beb7c5e3124b28"

static const char conf[] = SELF " 127.0.0.1:1@10001 myself,master - 0 0 3 connected 8192-16383\n" PRIMARY
                                " 127.0.0.1:2@10002 master - 0 0 1 connected 0-8191\n" SENDER
                                " 127.0.0.1:3@10003 slave " PRIMARY " 0 0 0 connected\n"
                                "vars currentEpoch 3 lastVoteEpoch 0\n";

static void read_all(const struct frame *f, struct str in)
{
    struct frame_gossip g;
    struct frame_ext e;
    char text[NODE_HOST_MAX];
    size_t at = 0;
    for (unsigned i = 0; i < f->ngossip; i++) {
        frame_gossip_at(f, i, &g);
        ASSERT(node_id_valid(node_id_str(&g.id)) && strlen(g.ip) < NODE_IP_MAX);
    }
    while (frame_ext_next(f, &at, &e)) {
        ASSERT(e.data.n == 0 || (e.data.p >= in.p && e.data.p + e.data.n <= in.p + in.n));
        (void)frame_ext_text(&e, text);
    }
    ASSERT(f->message.n == 0 || f->message.p + f->message.n == in.p + in.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine m;
    struct rng rng;
    struct machine_config c = {.node_timeout_ms = 1000, .full_coverage = true, .port = 1, .cport = 10001};
    unsigned line;
    uint64_t now = 1000;
    struct str in = {(const char *)data, size};
    rng_init(&rng, 1);
    ASSERT(machine_restore(&m, &c, str_of(conf), &rng, now, &line) == 0);
    machine_step(&m, &(struct machine_event){.kind = EV_TICK}, now); /* opens links 1 and 2 */
    machine_step(&m, &(struct machine_event){.kind = EV_LINK_UP, .link = 1}, now);
    machine_step(&m, &(struct machine_event){.kind = EV_LINK_UP, .link = 2}, now);
    for (unsigned i = 0; in.n > 0; i++) {
        struct frame f;
        size_t n = 0;
        if (frame_length(in, &n) != 0 || n > in.n)
            n = in.n;
        char *exact = malloc(n); /* a byte beyond it is seen */
        memcpy(exact, in.p, n);
        struct str one = {exact, n};
        if (frame_decode(one, &f) == 0)
            read_all(&f, one);
        struct machine_event e = {
            .kind = EV_FRAME, .link = i % 3 == 0 ? LINK_INBOUND | 1u : i % 3, .bytes = one};
        e.ip = e.local_ip = STR("127.0.0.1");
        machine_step(&m, &e, now += 50);
        free(exact);
        machine_step(&m, &(struct machine_event){.kind = EV_PERSISTED, .seq = m.persist_seq}, now);
        machine_step(&m, &(struct machine_event){.kind = EV_TICK}, now += 200);
        in = (struct str){in.p + n, in.n - n};
    }
    ASSERT(slotmap_check(&m.map));
    machine_release(&m);
    return 0;
}
