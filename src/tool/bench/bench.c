#include "tool/bench/bench.h"

#include "base/alloc.h"
#include "tool/bench/options.h"
#include "tool/bench/report.h"
#include "tool/bench/run.h"

#include <stdio.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

static int bench(const struct options *o)
{
    struct outcome *out = mem_must(mem_zalloc(sizeof *out));
    int rc = run(o, out);
    if (out->measured)
        report(o, out, stdout);
    if (rc < 0)
        fprintf(stderr, "larder bench: %s\n", out->failure);
    int code = rc < 0 || out->errors ? EXIT_FAILED : out->interrupted ? EXIT_INTERRUPTED : 0;
    mem_free(out);
    return code;
}

int bench_main(int argc, char **argv)
{
    struct options o;
    struct options_error err;
    int code = 0;
    switch (options_parse(argc, argv, &o, &err)) {
    case OPTIONS_OK: code = bench(&o); break;
    case OPTIONS_HELP: options_help(stdout); break;
    case OPTIONS_WRONG:
        fprintf(stderr, "larder bench: %s\nTry 'larder bench --help'.\n", err.text);
        code = EXIT_USAGE;
        break;
    }
    options_release(&o);
    return code;
}
