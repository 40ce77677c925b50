/* Redis's own frames are understood and written back byte for byte; every cut, every wrong length is refused.
 */
#include "golden.h"

#include "base/err.h"
#include "cluster/frame.h"

static void copy_frame(const struct frame *f, struct buf *out)
{
    struct frame_writer w;
    struct frame_gossip g;
    struct frame_ext e;
    size_t at = 0;
    frame_begin(&w, out, &f->h);
    for (unsigned i = 0; i < f->ngossip; i++) {
        frame_gossip_at(f, i, &g);
        frame_put_gossip(&w, &g);
    }
    while (frame_ext_next(f, &at, &e))
        frame_put_ext(&w, e.type, e.data);
    if (f->h.type == FRAME_PUBLISH)
        frame_put_publish(&w, f->channel, f->message);
    assert_int_equal(frame_end(&w), 0);
}

static void redis_frames_come_back(void **state)
{
    static const char *const names[] = {GOLDEN "meet.bin", GOLDEN "ping.bin", GOLDEN "publish.bin"};
    char bytes[8192];
    for (int i = 0; i < 3; i++) {
        struct str in = golden(names[i], bytes, sizeof(bytes));
        struct frame f;
        struct buf out;
        buf_init(&out);
        assert_int_equal(frame_decode(in, &f), 0);
        copy_frame(&f, &out);
        assert_str(buf_str(&out), in);
        buf_release(&out);
    }
}

static void a_ping_says_what_redis_said(void **state)
{
    char bytes[8192], host[NODE_HOST_MAX];
    struct frame f;
    struct frame_ext e;
    struct frame_gossip g;
    size_t at = 0;
    assert_int_equal(frame_decode(golden(GOLDEN "ping.bin", bytes, sizeof(bytes)), &f), 0);
    assert_int_equal(f.h.type, FRAME_PING);
    assert_int_equal(f.h.port, 27703);
    assert_int_equal(f.h.cport, 37703);
    assert_true(f.h.flags & NODE_REPLICA);
    assert_true(f.h.mflags[0] & FRAME_EXTENSIONS);
    assert_false(f.h.larder.is);
    assert_str(node_id_str(&f.h.sender), STR("06658faf2df747b512d7f08d79beb7c5e3124b28"));
    assert_str(node_id_str(&f.h.primary), STR("74aed1dd88569e49182b813e4450be468d60e703"));
    assert_true(slots_has(f.h.slots, 0) && slots_has(f.h.slots, 8191) && !slots_has(f.h.slots, 8192));
    assert_int_equal(f.ngossip, 2);
    frame_gossip_at(&f, 0, &g);
    assert_string_equal(g.ip, "127.0.0.1");
    assert_true(g.port == 27701 || g.port == 27702);
    assert_true(frame_ext_next(&f, &at, &e) && e.type == EXT_HOSTNAME && frame_ext_text(&e, host));
    assert_string_equal(host, "node-27703.example");
    assert_false(frame_ext_next(&f, &at, &e));
    assert_int_equal(frame_decode(golden(GOLDEN "publish.bin", bytes, sizeof(bytes)), &f), 0);
    assert_str(f.channel, STR("news"));
    assert_str(f.message, STR("hello"));
}

/* Whatever one byte becomes: no crash, and a length that does not fit is refused. */
static void broken_frames_are_refused(void **state)
{
    static const char *const names[] = {GOLDEN "ping.bin", GOLDEN "publish.bin"};
    char bytes[8192];
    struct frame f;
    for (int k = 0; k < 2; k++) {
        struct str in = golden(names[k], bytes, sizeof(bytes));
        for (size_t n = 0; n < in.n; n++)
            assert_int_equal(frame_decode((struct str){in.p, n}, &f), ERR_PROTO);
        for (size_t n = FRAME_LIGHT_HEADER; n < in.n; n++) { /* cut, but consistent with its own length */
            char was[4];
            memcpy(was, bytes + 4, 4);
            bytes[4] = bytes[5] = 0;
            bytes[6] = (char)(n >> 8);
            bytes[7] = (char)n;
            assert_int_equal(frame_decode((struct str){in.p, n}, &f), ERR_PROTO);
            memcpy(bytes + 4, was, 4);
        }
        for (size_t at = 0; at < in.n; at++) {
            char was = bytes[at];
            for (int b = 1; b < 256; b += 23) {
                bytes[at] = (char)(was ^ b);
                int err = frame_decode(in, &f);
                assert_true(err == 0 || err == ERR_PROTO || err == ERR_NOTFOUND);
            }
            bytes[at] = was;
        }
    }
}

static void lengths_are_told_early(void **state)
{
    size_t n = 0;
    assert_int_equal(frame_length(STR("RCm"), &n), ERR_AGAIN);
    assert_int_equal(frame_length(STR("RCx"), &n), ERR_PROTO);
    assert_int_equal(frame_length((struct str){"RCmb\0\0\0\1", 8}, &n), ERR_PROTO);
    assert_int_equal(frame_length((struct str){"RCmb\xff\xff\xff\xff", 8}, &n), ERR_PROTO);
    assert_int_equal(frame_length((struct str){"RCmb\0\0\x08\xd0", 8}, &n), 0);
    assert_int_equal(n, FRAME_HEADER);
}

static void larder_and_the_small_ones_come_back(void **state)
{
    struct buf b;
    struct frame f;
    struct frame_writer w;
    struct frame_header h = {
        .type = FRAME_PONG,
        .larder = {.is = true, .promise_ms = 2000, .seq = 7, .data_epoch = 9, .replid = 11}};
    struct node node = {.config_epoch = 77};
    memset(h.sender.c, 'a', NODE_ID);
    memset(node.id.c, 'b', NODE_ID);
    slots_set(node.slots, 16383, true);
    buf_init(&b);
    frame_begin(&w, &b, &h);
    assert_int_equal(frame_end(&w), 0);
    assert_int_equal(frame_decode(buf_str(&b), &f), 0);
    assert_memory_equal(&f.h.larder, &h.larder, sizeof(h.larder));
    buf_clear(&b);
    h.type = FRAME_UPDATE;
    frame_begin(&w, &b, &h);
    frame_put_update(&w, &node, node.slots);
    assert_int_equal(frame_end(&w), 0);
    assert_int_equal(frame_decode(buf_str(&b), &f), 0);
    assert_true(f.update_epoch == 77 && slots_has(f.update_slots, 16383) && node_id_eq(&f.node, &node.id));
    buf_clear(&b);
    assert_int_equal(frame_light_publish(&b, true, STR("c"), STR("message")), 0);
    assert_int_equal(b.n, FRAME_LIGHT_HEADER + 8 + 8);
    assert_int_equal(frame_decode(buf_str(&b), &f), 0);
    assert_true(f.light && f.h.type == FRAME_PUBLISHSHARD);
    assert_str(f.message, STR("message"));
    b.p[23]++;
    assert_int_equal(frame_decode(buf_str(&b), &f), ERR_PROTO);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(redis_frames_come_back),
        cmocka_unit_test(a_ping_says_what_redis_said),
        cmocka_unit_test(broken_frames_are_refused),
        cmocka_unit_test(lengths_are_told_early),
        cmocka_unit_test(larder_and_the_small_ones_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
