#include "os/proc.h"

#include "base/err.h"
#include "base/num.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int proc_number(const char *path, unsigned field, int64_t *out)
{
    char line[PROC_LINE_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR_IO;
    ssize_t got = read(fd, line, sizeof line - 1);
    close(fd);
    if (got < 0)
        return ERR_IO;
    line[got] = '\0';
    line[strcspn(line, "\n")] = '\0';
    const char *at = line + strspn(line, " \t");
    for (; field > 0 && *at != '\0'; field--) {
        at += strcspn(at, " \t");
        at += strspn(at, " \t");
    }
    return num_parse_i64((struct str){at, strcspn(at, " \t")}, out) ? 0 : ERR_SYNTAX;
}
