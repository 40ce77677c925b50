/* `larder bench`: a load generator for Redis-speaking servers and memcached. */
#ifndef LARDER_TOOL_BENCH_BENCH_H
#define LARDER_TOOL_BENCH_BENCH_H

/* argv[0] is "bench". Prints to stdout and stderr. Returns the exit code: 0, 1 when the
 * run failed or got errors, 2 for wrong options, 130 when interrupted. */
int bench_main(int argc, char **argv);

#endif
