#include "os/proc.h"

#include "base/err.h"
#include "base/num.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int first_line(const char *path, char line[PROC_LINE_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR_IO;
    ssize_t got = read(fd, line, PROC_LINE_MAX - 1);
    close(fd);
    if (got < 0)
        return ERR_IO;
    line[got] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return 0;
}

bool proc_says(const char *path, const char *word)
{
    char line[PROC_LINE_MAX];
    return first_line(path, line) == 0 && strstr(line, word) != NULL;
}

int proc_number(const char *path, unsigned field, int64_t *out)
{
    char line[PROC_LINE_MAX];
    int err = first_line(path, line);
    if (err != 0)
        return err;
    const char *at = line + strspn(line, " \t");
    for (; field > 0 && *at != '\0'; field--) {
        at += strcspn(at, " \t");
        at += strspn(at, " \t");
    }
    return num_parse_i64((struct str){at, strcspn(at, " \t")}, out) ? 0 : ERR_SYNTAX;
}
