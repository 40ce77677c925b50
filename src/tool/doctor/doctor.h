/* `larder doctor`: how is this node, in words, and what is to be done? */
#ifndef LARDER_TOOL_DOCTOR_DOCTOR_H
#define LARDER_TOOL_DOCTOR_DOCTOR_H

/* argv[0] is "doctor". Returns the exit code: 0 nothing needs attention, 1 something does or the node cannot
 * be reached, 2 for wrong options. */
int doctor_main(int argc, char **argv);

#endif
