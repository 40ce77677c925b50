/* An outcome told to a person (text), a spreadsheet (CSV) or a program (JSON). */
#ifndef LARDER_TOOL_BENCH_REPORT_H
#define LARDER_TOOL_BENCH_REPORT_H

#include "tool/bench/run.h"

#include <stdio.h>

void report(const struct options *o, const struct outcome *out, FILE *to);

#endif
