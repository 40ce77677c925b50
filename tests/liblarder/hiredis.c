/* A program of another client library's, against the server: what hiredis does must work here. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void expect(redisContext *c, redisReply *r, int type, const char *text, long long number)
{
    if (r == NULL)
        printf("no reply: %s\n", c->errstr);
    else if (r->type != type || (text != NULL && strcmp(r->str, text) != 0) ||
             (text == NULL && r->integer != number))
        printf("type %d '%s' %lld\n", r->type, r->str != NULL ? r->str : "", r->integer);
    else {
        freeReplyObject(r);
        return;
    }
    failures++;
    if (r != NULL)
        freeReplyObject(r);
}

int main(int argc, char **argv)
{
    redisReply *r;
    redisContext *c = redisConnect("127.0.0.1", argc > 1 ? atoi(argv[1]) : 6379);
    if (c == NULL || c->err)
        return 2;
    expect(c, redisCommand(c, "PING"), REDIS_REPLY_STATUS, "PONG", 0);
    expect(c, redisCommand(c, "SET %s %b", "k", "a\0b", (size_t)3), REDIS_REPLY_STATUS, "OK", 0);
    expect(c, redisCommand(c, "STRLEN k"), REDIS_REPLY_INTEGER, NULL, 3);
    expect(c, redisCommand(c, "GET nope"), REDIS_REPLY_NIL, NULL, 0);
    expect(c, redisCommand(c, "INCRBY n %d", 42), REDIS_REPLY_INTEGER, NULL, 42);
    expect(c, redisCommand(c, "NOSUCH"), REDIS_REPLY_ERROR, NULL, 0);
    for (int i = 0; i < 1000; i++)
        redisAppendCommand(c, "INCR piped");
    for (int i = 0; i < 1000; i++) {
        if (redisGetReply(c, (void **)&r) != REDIS_OK)
            return 3;
        expect(c, r, REDIS_REPLY_INTEGER, NULL, i + 1);
    }
    r = redisCommand(c, "MGET k n nope");
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 3 || r->element[0]->len != 3 ||
        strcmp(r->element[1]->str, "42") != 0 || r->element[2]->type != REDIS_REPLY_NIL)
        failures++;
    freeReplyObject(r);
    expect(c, redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, "OK", 0);
    expect(c, redisCommand(c, "INCR n"), REDIS_REPLY_STATUS, "QUEUED", 0);
    r = redisCommand(c, "EXEC");
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 1 || r->element[0]->integer != 43)
        failures++;
    freeReplyObject(r);
    redisFree(c);
    printf("%d failures\n", failures);
    return failures != 0;
}
