/* What the mock libraries share: a control block that the test maps too, and the words with which a
   mock ends the process when it is used wrongly.

   The block is the file named by MOCK_CONTROL; tests/support/mocks.rs knows the same layout. */
#ifndef MOCK_H
#define MOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Objects that are alive. */
enum kind {
    DEVICE_MEMORY, PINNED_MEMORY, STREAM, EVENT, GRAPH, GRAPH_EXEC, PRIMARY_CONTEXT,
    RUNTIME, ENGINE, CONTEXT, BUILDER, NETWORK, BUILDER_CONFIG, TIMING_CACHE, HOST_MEMORY, PARSER,
    KINDS = 24
};

/* Things that happened. A copy in is beside a run when that was enqueued before and is not over. */
enum count {
    COPIES_IN, COPIES_OUT, RUNS, GRAPH_LAUNCHES, CAPTURES, COPIES_BESIDE_A_RUN, WAKES,
    MOST_RUNS_AT_ONCE, DEVICE_BYTES, MOST_DEVICE_BYTES, WRITE_COMBINED, PLUGIN_INITS, FAILED_CALLS,
    COUNTS = 24
};

/* A call that is to fail: the one after `after` more of that name, and every later one until
   `times` have failed. */
struct failure {
    char name[40];
    _Atomic int64_t after;
    _Atomic int64_t times;
    _Atomic int64_t code;
};

enum { FAILURES = 4 };

struct control {
    _Atomic int64_t live[KINDS];
    _Atomic int64_t counts[COUNTS];
    /* How long a run takes, in microseconds. */
    _Atomic int64_t run_us;
    int64_t unused[15];
    struct failure failures[FAILURES];
};

struct control *mock_control(void);

/* Ends the process with a message that the test looks for. */
_Noreturn void mock_die(const char *what, ...) __attribute__((format(printf, 1, 2)));

/* The code with which this call is to fail; 0 when it is not to. */
int64_t mock_fails(const char *name);

/* Ends the process unless the calling thread has bound the device. */
void mock_need_context(const char *who);

static inline void mock_count(enum count what, int64_t by) { mock_control()->counts[what] += by; }
/* What is alive in this process; the control block has the sum over all that share it. */
extern _Atomic int64_t mock_own[KINDS];
static inline void mock_live(enum kind what, int64_t by) {
    mock_own[what] += by;
    mock_control()->live[what] += by;
}

/* Work for a stream that is a run of a plan. */
struct mock_run {
    void (*run)(struct mock_run *self);
    /* Ends the process unless the run may go ahead. */
    void (*check)(struct mock_run *self);
    void *context;
    int64_t context_state;
    /* Memory it uses, for as long as it is enqueued. */
    struct { void *address; size_t bytes; } uses[20];
    int uses_count;
    unsigned char data[2048];
};

/* Enqueues a run, or records it while the stream is captured. */
void mock_launch(void *stream, const struct mock_run *run);
/* Whether the stream is being captured. */
bool mock_is_capturing(void *stream);
/* Makes the capture under way worthless. */
void mock_spoil_capture(void *stream);
/* Host address of device memory; ends the process when that is not all of one living block. */
void *mock_memory(const char *who, void *address, size_t bytes);
/* For a run: what it reads has been copied in since the last run, and is not any more after. */
void mock_consume(const char *who, void *address, size_t bytes);
/* For a run: what it writes may be copied out. */
void mock_produce(void *address, size_t bytes);
/* Device memory for a library's own use. */
uint64_t mock_allocate(size_t bytes);
void mock_free(uint64_t address);

#endif
