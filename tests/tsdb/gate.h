/* A replay that is held for as long as a test likes, at the first record of the journal. */
#pragma once

#include <semaphore.h>
#include <stdatomic.h>

#include "tests/tsdb/fixture.h"

struct gate {
    struct fixture f;
    atomic_bool holds_next; /* the next record holds the replay */
    sem_t reached;
    sem_t passed;
};

/* Init the fixture and write the journal: a 1:1, then in another epoch a 2:2. Nothing is open. */
void gate_init(struct gate *gate);
void gate_finish(struct gate *gate);

/* Commit a sample of a series of its own and damage its record; the store is open before and
 * closed afterwards. */
void gate_damage(struct gate *gate);

/* Open, and the replay is held, until … */
void gate_open_held(struct gate *gate);
/* … this, which waits for its end. */
void gate_pass(struct gate *gate);
