#include "unit/unit.h"

#include "base/annotate.h"
#include "base/rng.h"
#include "proto/slot.h"

#include <stdlib.h>
#include <string.h>

static uint16_t crc16_reference(const unsigned char *p, size_t n)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        crc ^= (uint16_t)(p[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

static void known_answers(void **state)
{
    assert_int_equal(slot_crc16("123456789", 9), 0x31c3); /* the specification's own check */
    assert_int_equal(slot_crc16("", 0), 0);
    /* CLUSTER KEYSLOT of redis-server 7.0.15. */
    static const struct {
        struct str key;
        uint16_t slot;
    } slots[] = {
        {STR(""), 0},
        {STR("a"), 15495},
        {STR("foo"), 12182},
        {STR("bar"), 5061},
        {STR("hello"), 866},
        {STR("123456789"), 12739},
        {STR("{user1000}.following"), 3443},
        {STR("{user1000}.followers"), 3443},
        {STR("user1000"), 3443},
        {STR("foo{}{bar}"), 8363},
        {STR("foo{{bar}}zap"), 4015},
        {STR("foo{bar}{zap}"), 5061},
        {STR("key:000000000042"), 7803},
    };
    for (size_t i = 0; i < ARRAY_LEN(slots); i++)
        assert_int_equal(slot_of(slots[i].key), slots[i].slot);
}

static void hash_part_is_the_first_tag(void **state)
{
    static const struct {
        struct str key, part;
    } tags[] = {
        {STR(""), STR("")},
        {STR("plain"), STR("plain")},
        {STR("{tag}"), STR("tag")},
        {STR("a{tag}b"), STR("tag")},
        {STR("a{b}{c}"), STR("b")},
        {STR("{}"), STR("{}")},
        {STR("a{}{b}"), STR("a{}{b}")},
        {STR("{{b}}"), STR("{b")},
        {STR("}{b}"), STR("b")},
        {STR("a{b"), STR("a{b")},
        {STR("a}b"), STR("a}b")},
        {STR("{"), STR("{")},
        {STR("a{\0}b"), STR("\0")},
    };
    for (size_t i = 0; i < ARRAY_LEN(tags); i++)
        assert_str(slot_hash_part(tags[i].key), tags[i].part);
    assert_str(slot_hash_part((struct str){NULL, 0}), STR(""));
    assert_int_equal(slot_of((struct str){NULL, 0}), 0);
}

/* Keys of every length up to 70 in blocks of their own size, with braces anywhere. */
static void equals_the_reference(void **state)
{
    struct rng rng;
    unsigned tagged = 0;
    rng_init(&rng, 41);
    for (int i = 0; i < 300000; i++) {
        size_t n = rng_below(&rng, 71);
        unsigned char *p = malloc(n > 0 ? n : 1);
        for (size_t j = 0; j < n; j++)
            p[j] = (unsigned char)rng_u64(&rng);
        for (int braces = i % 4; braces > 0 && n > 0; braces--)
            p[rng_below(&rng, n)] = "{}"[rng_below(&rng, 2)];
        struct str key = {(char *)p, n}, part = slot_hash_part(key);
        assert_int_equal(slot_crc16(p, n), crc16_reference(p, n));
        assert_int_equal(slot_of(key), crc16_reference((const unsigned char *)part.p, part.n) % SLOT_COUNT);
        tagged += part.n != n;
        free(p);
    }
    assert_true(tagged > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(hash_part_is_the_first_tag),
        cmocka_unit_test(equals_the_reference),
    };
    return cmocka_run_group_tests_name("slot", tests, NULL, NULL);
}
