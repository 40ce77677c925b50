#include "server/job_queue.h"

void job_queue_init(struct job_queue *q)
{
    pthread_mutex_init(&q->mutex, NULL);
    pthread_cond_init(&q->more, NULL);
    q->head = NULL;
    q->tail = &q->head;
    q->closed = false;
}

void job_queue_release(struct job_queue *q)
{
    pthread_cond_destroy(&q->more);
    pthread_mutex_destroy(&q->mutex);
}

bool job_queue_put(struct job_queue *q, struct lane_job *job)
{
    pthread_mutex_lock(&q->mutex);
    bool open = !q->closed;
    if (open) {
        job->next = NULL;
        *q->tail = job;
        q->tail = &job->next;
        pthread_cond_signal(&q->more);
    }
    pthread_mutex_unlock(&q->mutex);
    return open;
}

struct lane_job *job_queue_take(struct job_queue *q, bool wait)
{
    pthread_mutex_lock(&q->mutex);
    while (wait && q->head == NULL && !q->closed)
        pthread_cond_wait(&q->more, &q->mutex);
    struct lane_job *job = q->head;
    if (job != NULL) {
        q->head = job->next;
        if (q->head == NULL)
            q->tail = &q->head;
        job->next = NULL;
    }
    pthread_mutex_unlock(&q->mutex);
    return job;
}

void job_queue_close(struct job_queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->closed = true;
    pthread_cond_signal(&q->more);
    pthread_mutex_unlock(&q->mutex);
}
