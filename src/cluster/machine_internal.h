/* What the rooms of the machine share. For this folder only. */
#ifndef LARDER_CLUSTER_MACHINE_INTERNAL_H
#define LARDER_CLUSTER_MACHINE_INTERNAL_H

#include "cluster/machine.h"
#include "cluster/mutant.h"

/* machine.c: actions and small questions. */
struct machine_action *machine_act(struct machine *m, enum machine_action_kind kind); /* NULL: no room */
void machine_dirty(struct machine *m);                  /* nodes.conf changed: a PERSIST ends this step */
uint64_t machine_persist_next(const struct machine *m); /* the number of that PERSIST */
void machine_hold(
    struct machine *m); /* our role or config epoch changed: nothing is sent before it is on the disk */
void machine_view(struct machine *m);
bool machine_is_primary(const struct machine *m);
struct node *machine_link_node(const struct machine *m, uint32_t link);
int machine_fail_command(struct machine *m, int err, const char *text);
void machine_drop_moves_of(struct machine *m, const struct node_id *id);
void machine_drop_move(struct machine *m, unsigned slot);
void machine_random_id(struct machine *m, struct node_id *id);

/* bus.c: links and frames. */
void bus_header(struct machine *m, enum frame_type type, struct frame_header *h);
void bus_frame(struct machine *m, const struct frame *f, uint32_t link);
void bus_ping(struct machine *m, struct node *n, enum frame_type type, uint32_t link, uint32_t seq);
void bus_update(struct machine *m, const struct node *n, uint32_t link); /* tell who n is */
void bus_send(struct machine *m, enum frame_type type, const struct node *n);
void bus_vote(struct machine *m, struct node *n); /* AUTH_ACK, and a promise with it */
void bus_broadcast(struct machine *m, enum frame_type type);
void bus_pong_all(struct machine *m);
void bus_fail_all(struct machine *m, const struct node *failing);
void bus_publish(struct machine *m, const struct machine_event *e);
int bus_meet(struct machine *m, struct str ip, uint16_t port, uint16_t cport);
void bus_forget(struct machine *m, struct node *n, uint64_t ms);
void bus_close(struct machine *m, uint32_t *link);
/* handshake.c */
bool bus_forgotten(const struct machine *m, const struct node_id *id);
bool handshake_frame(struct machine *m, const struct frame *f, uint32_t link, struct node **sender);
int handshake_start(struct machine *m, struct str ip, uint16_t port, uint16_t cport, uint32_t flags);
/* cron.c */
void bus_tick(struct machine *m);

/* electorate.c: whose promises and votes count. `says`: n has given what is counted, by `at`. */
enum { ELECTORATE_OUT_MAX = 32 };
typedef bool electorate_says(const struct machine *m, const struct node *n, uint64_t at);
struct electorate {
    const struct node *out[ELECTORATE_OUT_MAX]; /* disputed by those who say so, or by us */
    unsigned n;
    bool full; /* too many: nobody counts */
};
void electorate_vote(struct machine *m, const struct node *about, const struct node *by, uint64_t epoch);
bool electorate_disputes(const struct machine *m, const struct node *n); /* we do */
/* `to` claims slots of `from`: what we voted for later bars it, too. */
void electorate_move(struct machine *m, const struct node *from, const struct node *to, uint64_t epoch);
void electorate_heard(struct machine *m, const struct node *n,
                      const struct frame *f); /* was it not elected? */
/* n is a primary and was a replica of `was` until now: what if this is the epoch that we voted in? */
void electorate_elected(struct machine *m, const struct node *n, struct node *was);
/* We may promise nothing and vote for nobody: we have voted for our own replacement, or do not know the end
 * of too many votes. */
bool electorate_is_barred(const struct machine *m);
void electorate_put(const struct machine *m, struct frame_writer *w);
/* What the sender disputes is noted; true if it sees the same voters. Else it is told what we see. */
bool electorate_read(struct machine *m, struct node *sender, const struct frame *f);
/* epoch: of the election that is counted, 0 for promises. */
void electorate_hear(struct electorate *e, const struct machine *m, electorate_says *says, uint64_t at,
                     uint64_t epoch);
bool electorate_counts(const struct electorate *e, const struct node *n);
struct tally {
    unsigned said, counted;       /* by how many voters; of those, whom nobody of them disputes */
    const struct node *first_out; /* of the others, the smallest id; NULL: none */
};
struct tally electorate_tally(const struct machine *m, electorate_says *says, uint64_t at, uint64_t epoch);
/* What the frame's sender disputes we dispute, whatever voters it sees. */
void electorate_inherit(struct machine *m, const struct frame *f);
void electorate_adopt(struct machine *m, electorate_says *says,
                      uint64_t at); /* their disputes are ours from now on */

/* failure.c */
void failure_report(struct machine *m, struct node *about, const struct node *by);
void failure_withdraw(struct node *about, const struct node *by);
void failure_judge(struct machine *m, struct node *n); /* FAIL if a majority says so */
void failure_heard(struct machine *m, struct node *n); /* PFAIL off; FAIL off if the rules allow */
void failure_said(struct machine *m, struct node *n);  /* a FAIL frame about n */
void failure_ask(struct machine *m);                   /* the voters for promises, now */
void failure_ask_one(struct machine *m, struct node *n);
/* After a frame of n: whoever has become a voter is asked for a promise at once. Its shard's old primary,
 * whose promise we had, counts no more. */
void failure_meet(struct machine *m, struct node *n);
void failure_tick(struct machine *m);
void failure_state(struct machine *m);
/* ms that we promise n, a primary or whom we vote for; 0: nothing. */
uint64_t failure_promise(struct machine *m, struct node *n);
uint64_t failure_promise_elected(struct machine *m, struct node *n);
/* A promise counts from when it was asked for, and is short of what was said by what clocks may differ in. */
void failure_lease_from(struct node *voter, uint64_t asked_ms, uint32_t promise_ms);
uint64_t failure_lease(const struct machine *m);
void failure_give_back(struct machine *m);      /* our lease; no answer to an older ping renews it */
bool failure_is_mixed(const struct machine *m); /* a voter is a Redis */
bool failure_promised(const struct machine *m, const struct node *n, uint64_t at); /* until after `at` */

/* ownership.c */
void ownership_disown(struct machine *m, const struct node *sender, const struct frame *f);
void ownership_claim(struct machine *m, struct node *sender, uint64_t epoch, const uint8_t *slots);
void ownership_keep(struct machine *m, struct node *n, const uint8_t *slots);
/* Another was elected in n's place in this epoch: what n claims in an older one is void. */
void ownership_depose(struct machine *m, struct node *n, uint64_t epoch);
void ownership_answer(struct machine *m, const struct node *sender, const struct frame *f, uint32_t link);
void ownership_collision(struct machine *m, const struct node *sender, uint64_t sender_epoch);
bool ownership_bump(struct machine *m); /* a new epoch without agreement, if ours is not the greatest */
void ownership_follow(struct machine *m, struct node *primary);
/* Of whatever cause; NULL: it is nobody's. */
void ownership_assign(struct machine *m, unsigned slot, struct node *n);
void ownership_tick(struct machine *m);   /* who claims none of its slots has none */
void ownership_settle(struct machine *m); /* follows m->successor, as soon as we may */
void ownership_primary(struct node *n);   /* make it one in the table */
void ownership_replica(struct machine *m, struct node *n, struct node *primary);
void ownership_lost(struct machine *m); /* ends a step: ACT_DROP */

/* election.c, vote.c */
void election_tick(struct machine *m);
void election_ack(struct machine *m, struct node *sender, const struct frame *f);
void election_abort(struct machine *m);
uint64_t election_collect_ms(const struct machine *m); /* so long a candidate counts votes, also a Redis */
void election_promote(struct machine *m);
bool election_ahead(const struct node *a, const struct node *b);
void vote_persisted(struct machine *m);
void vote_request(struct machine *m, struct node *sender, const struct frame *f);
void election_persisted(struct machine *m);
void migration_tick(struct machine *m);

/* manual.c */
void manual_start(struct machine *m, struct node *replica);
void manual_heard(struct machine *m, const struct node *primary, const struct frame *f);
void manual_tick(struct machine *m);
void manual_stopped(struct machine *m);
void manual_reset(struct machine *m);
int manual_command(struct machine *m, enum failover_how how);
int manual_offer(struct machine *m);

/* taking.c */
const uint8_t *taking_claims(struct machine *m); /* what our frames claim */
bool taking_any(const struct machine *m);        /* it claims slots that the file does not say it owns */
bool taking_awaits_disk(const struct machine *m);
void taking_persisted(struct machine *m);
int taking_begin(struct machine *m, const struct machine_command *c);
int taking_ready(struct machine *m, const struct machine_command *c);
bool taking_readies(const struct machine *m); /* it is on its way to the disk */
/* False: what is taken already comes first. */
bool taking_start(struct machine *m, const struct node_id *from, const uint8_t *slots, uint64_t epoch);
void taking_restore(struct machine *m);
void taking_forget(struct machine *m);        /* it is over */
void taking_put_under_way(struct machine *m); /* it is so from now on, or was before a restart */
bool taking_pins_epoch(struct machine *m);    /* our config epoch may not rise */
/* Our config epoch from now on. */
void taking_rise(struct machine *m, uint64_t epoch);
void taking_reset(struct machine *m);
void taking_ask(struct machine *m, bool at_once);
void taking_check(struct machine *m);
void taking_heard(struct machine *m, struct node *sender, const struct frame *f);
/* Every slot has an owner, or is claimed by us: who has given its last ones away has none. */
bool taking_covers(const struct machine *m);
/* Has n a vote once what we claim is ours? So sees it who has heard our claim. */
bool taking_votes(const struct machine *m, const struct node *n);
/* May we promise? From our claim on, as others need it; but in the place of another voter only when that has
 * conceded. */
bool taking_promises(const struct machine *m);

/* taking_told.c */
void taking_note_ended(struct machine *m, const struct handover *h);
/* A replica: its primary has said what it takes, or that it takes nothing. */
void taking_heard_primary(struct machine *m, const struct node *sender, const struct frame *f);
/* A replica: its primary claims, in that epoch, a slot that another has. */
void taking_note(struct machine *m, unsigned slot, const struct node *from, uint64_t epoch);
/* We have just got all that our primary had: what it was taking is not ours yet, we take it. */
void taking_inherit(struct machine *m);
/* What `to` must know of claims: which are over and were never served; a replica, which we take. */
void taking_put(const struct machine *m, struct frame_writer *w, const struct node *to);
/* Is it said of that claim, or of one in an older epoch? */
bool taking_is_ended(const struct frame *f, const struct node_claim *c, bool or_before);

/* unowned.c */
void unowned_note(struct machine *m, const struct handover *ended);
void unowned_tick(struct machine *m);
void unowned_put(const struct machine *m, struct frame_writer *w);
void unowned_heard(struct machine *m, const struct node *sender, const struct frame *f);

/* giving.c */
bool machine_owns_all(const struct machine *m, const uint8_t *slots, const struct node *n);
int giving_offer(struct machine *m, const struct machine_command *c);
int giving_reclaim(struct machine *m, const struct machine_command *c);
void giving_lost(struct machine *m, const struct node *to,
                 uint64_t epoch); /* slots of ours, m->lost, by that claim */
/* A replica: `to` claims these of our primary's. */
void giving_seen(struct machine *m, const struct node *to, uint64_t epoch, const uint8_t *slots);
/* We have given slots whose taker does not say yet that it serves them. */
bool giving_any(const struct machine *m);
/* As if we had given them, and heard the claim; not if our epoch may be one of the offer's. */
void giving_adopt(struct machine *m, const struct handover *h);
void giving_heard(struct machine *m, struct node *sender, const struct frame *f);
void giving_add(const struct machine *m, uint8_t *slots); /* those that nobody may know yet that we gave */
void giving_check(struct machine *m);
void giving_persisted(struct machine *m);
bool giving_awaits_disk(const struct machine *m);
bool giving_offers_in(const struct machine *m, uint64_t epoch); /* is it one of our last offer's? */
void giving_restore(struct machine *m, uint64_t offered);

/* command.c */
int command_run(struct machine *m, const struct machine_command *c);

#endif
