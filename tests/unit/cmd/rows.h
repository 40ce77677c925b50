/* The rows of commands.def without the code behind them, for tests of the table. */
#ifndef LARDER_TESTS_CMD_ROWS_H
#define LARDER_TESTS_CMD_ROWS_H

#define ROW_HANDLER(f) test_no_handler
#define ROW_COST(f) NULL
#include "cmd/rows.h"

void test_no_handler(struct cmd_ctx *c);

#endif
