/* Jobs that a thread of its own takes from the lane or from a worker: MIGRATE's, the cluster's. */
#ifndef LARDER_SERVER_JOB_QUEUE_H
#define LARDER_SERVER_JOB_QUEUE_H

#include "server/lane.h"

struct job_queue {
    pthread_mutex_t mutex; /* leaf */
    pthread_cond_t more;
    struct lane_job *head, **tail; /* through next */
    bool closed;
};

void job_queue_init(struct job_queue *q);
void job_queue_release(struct job_queue *q); /* empty */
/* Takes the job. False when it is closed: the job is still the caller's. */
bool job_queue_put(struct job_queue *q, struct lane_job *job);
/* The first one, or NULL; `wait`: for one to come, or for the end. */
struct lane_job *job_queue_take(struct job_queue *q, bool wait);
/* No more jobs come; those that are there can still be taken. */
void job_queue_close(struct job_queue *q);

#endif
