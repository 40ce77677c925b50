/* liblarder in libevent: one persistent read event is all it takes.
 *
 *      cc loop_libevent.c $(pkg-config --cflags --libs larder libevent_core) && ./a.out 127.0.0.1:6379 */
#include <event2/event.h>
#include <larder/loop.h>
#include <stdio.h>

struct app {
    struct event_base *base;
    larder_loop *loop;
    int status;
};

static void ready(evutil_socket_t fd, short what, void *arg)
{
    struct app *app = arg;
    (void)fd, (void)what;
    larder_loop_process(app->loop);
}

static void got(void *arg, int status, const larder_reply *reply, const struct larder_error *err)
{
    struct app *app = arg;
    app->status = status;
    puts(status < 0 ? err->text : (const char *)larder_reply_text(reply).p);
    event_base_loopbreak(app->base);
}

static void was_set(void *arg, int status, const larder_reply *reply, const struct larder_error *err)
{
    struct app *app = arg;
    struct larder_error why;
    if (status == 0) {
        err = &why;
        status = larder_loop_get(app->loop, larder_text("greeting"), got, app, &why);
    }
    if (status < 0)
        got(app, status, reply, err);
}

int main(int argc, char **argv)
{
    larder *cache;
    struct larder_error err;
    struct app app = {.base = event_base_new(), .status = LARDER_ERR_CANCELED};
    if (larder_connect(argc > 1 ? argv[1] : "127.0.0.1:6379", &cache, &err) < 0 ||
        larder_loop_new(cache, &app.loop, &err) < 0 ||
        larder_loop_set(app.loop, larder_text("greeting"), larder_text("hello"), LARDER_TTL_DEFAULT, was_set,
                        &app, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    struct event *watch = event_new(app.base, larder_loop_fd(app.loop), EV_READ | EV_PERSIST, ready, &app);
    event_add(watch, NULL);
    event_base_dispatch(app.base);
    event_free(watch);
    event_base_free(app.base);
    larder_loop_free(app.loop);
    larder_close(cache);
    return app.status < 0;
}
