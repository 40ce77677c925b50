#include <larder/larder.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    larder *cache;
    struct larder_error err;
    struct larder_value v;
    if (larder_connect(argc > 1 ? argv[1] : "127.0.0.1:6379", &cache, &err) < 0 ||
        larder_set(cache, larder_text("greeting"), larder_text("hello"), LARDER_TTL_DEFAULT, &err) < 0 ||
        larder_get(cache, larder_text("greeting"), &v, &err) < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    puts(v.p);
    larder_value_free(&v);
    larder_close(cache);
    return 0;
}
