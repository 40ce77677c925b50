/* Preloaded into a server: while its working directory has a file `slow`, which holds a number of seconds,
 * each fdatasync takes so long before it does anything, and leaves a byte in `flushes` as it begins. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int fdatasync(int fd)
{
    char seconds[8] = "";
    int slow = open("slow", O_RDONLY | O_CLOEXEC);
    if (slow >= 0 && read(slow, seconds, sizeof seconds - 1) > 0) {
        int flushes = open("flushes", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        struct timespec left = {.tv_sec = atoi(seconds)};
        if (flushes >= 0 && write(flushes, ".", 1) == 1)
            close(flushes);
        while (nanosleep(&left, &left) != 0)
            ;
    }
    if (slow >= 0)
        close(slow);
    return (int)syscall(SYS_fdatasync, fd);
}
