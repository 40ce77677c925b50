#include "client/resolve.h"

#include "base/alloc.h"
#include "client/settings.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct resolve_job {
    char host[HOST_MAX], port[PORT_TEXT_MAX];
    int fd; /* eventfd, written once by the thread */
    _Atomic int owners;
    int status;            /* written by the thread before it rings */
    struct addrinfo *list; /* likewise */
};

static int look_up(const char *host, const char *port, int flags, struct addrinfo **list)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    return getaddrinfo(host, port, &hints, list);
}

static void put(struct resolve_job *job)
{
    if (atomic_fetch_sub(&job->owners, 1) > 1)
        return;
    if (job->list != NULL)
        freeaddrinfo(job->list);
    close(job->fd);
    mem_free(job);
}

static void *run(void *arg)
{
    struct resolve_job *job = arg;
    uint64_t one = 1;
    job->status = look_up(job->host, job->port, 0, &job->list);
    ssize_t wrote = write(job->fd, &one, sizeof one);
    (void)wrote; /* an eventfd takes its first 1 */
    put(job);
    return NULL;
}

/* With every signal blocked: handlers are the program's, and belong on its own threads. */
static int start_thread(struct resolve_job *job)
{
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&thread, &attr, run, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return err;
}

int resolve_start(const char *host, const char *port, struct addrinfo **list, struct resolve_job **out)
{
    *list = NULL;
    *out = NULL;
    int status = look_up(host, port, AI_NUMERICHOST, list);
    if (status != EAI_NONAME)
        return status > 0 ? EAI_FAIL : status;
    struct resolve_job *job = mem_zalloc(sizeof *job);
    if (job == NULL)
        return EAI_MEMORY;
    snprintf(job->host, sizeof job->host, "%s", host);
    snprintf(job->port, sizeof job->port, "%s", port);
    atomic_init(&job->owners, 2);
    job->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (job->fd < 0 || start_thread(job) != 0) {
        if (job->fd >= 0)
            close(job->fd);
        mem_free(job);
        return EAI_AGAIN;
    }
    *out = job;
    return 1;
}

int resolve_fd(const struct resolve_job *job)
{
    return job->fd;
}

int resolve_finish(struct resolve_job *job, struct addrinfo **list)
{
    uint64_t rung;
    ssize_t got = read(job->fd, &rung, sizeof rung); /* after this the thread's writes are seen */
    int status = got == sizeof rung ? job->status : EAI_AGAIN;
    *list = NULL;
    if (status == 0) {
        *list = job->list;
        job->list = NULL;
    }
    put(job);
    return status;
}

void resolve_abandon(struct resolve_job *job)
{
    if (job != NULL)
        put(job);
}
