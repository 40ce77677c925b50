/* liblarder in libuv: one poll handle is all it takes.
 *
 *      cc loop_libuv.c $(pkg-config --cflags --libs larder libuv) && ./a.out 127.0.0.1:6379 */
#include <larder/loop.h>
#include <stdio.h>
#include <uv.h>

struct app {
    larder_loop *loop;
    uv_poll_t poll;
    int status;
};

static void ready(uv_poll_t *poll, int status, int events)
{
    struct app *app = poll->data;
    (void)status, (void)events;
    larder_loop_process(app->loop);
}

static void got(void *arg, int status, const larder_reply *reply, const struct larder_error *err)
{
    struct app *app = arg;
    app->status = status;
    puts(status < 0 ? err->text : (const char *)larder_reply_text(reply).p);
    uv_poll_stop(&app->poll); /* nothing else keeps this program running */
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
    struct app app = {.status = LARDER_ERR_CANCELED};
    if (larder_connect(argc > 1 ? argv[1] : "127.0.0.1:6379", &cache, &err) < 0 ||
        larder_loop_new(cache, &app.loop, &err) < 0 ||
        larder_loop_set(app.loop, larder_text("greeting"), larder_text("hello"), LARDER_TTL_DEFAULT, was_set,
                        &app, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    uv_loop_t *uv = uv_default_loop();
    uv_poll_init(uv, &app.poll, larder_loop_fd(app.loop));
    app.poll.data = &app;
    uv_poll_start(&app.poll, UV_READABLE, ready);
    uv_run(uv, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&app.poll, NULL);
    uv_run(uv, UV_RUN_DEFAULT);
    uv_loop_close(uv);
    larder_loop_free(app.loop);
    larder_close(cache);
    return app.status < 0;
}
