/* `larder cluster`: make, look at and change a cluster of larder or Redis nodes. */
#ifndef LARDER_TOOL_CLUSTER_CLUSTER_H
#define LARDER_TOOL_CLUSTER_CLUSTER_H

/* Returns the exit code: 0, 1 for what failed, 2 for a command line without sense, 130 after Ctrl-C. */
int cluster_main(int argc, char **argv);

#endif
