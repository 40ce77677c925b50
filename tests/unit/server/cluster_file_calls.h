/* Included before src/server/cluster_file.c for its test: its system calls are the test's. */
#ifndef LARDER_TESTS_CLUSTER_FILE_CALLS_H
#define LARDER_TESTS_CLUSTER_FILE_CALLS_H

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int try_open(const char *path, int flags, ...);
ssize_t try_pwrite(int fd, const void *p, size_t n, off_t at);
ssize_t try_read(int fd, void *p, size_t n);
int try_fsync(int fd);
int try_fdatasync(int fd);
int try_rename(const char *from, const char *to);

#ifdef TRIED
#define open try_open
#define pwrite try_pwrite
#define read try_read
#define fsync try_fsync
#define fdatasync try_fdatasync
#define rename try_rename
#endif

#endif
