/* A mock of the CUDA driver library: memory that is the host's, streams that are threads, and an end
   with a message wherever real CUDA would be undefined.

   MOCK_DEVICES (1), MOCK_DRIVER (12020), MOCK_MEMORY_MIB (8192), MOCK_INTEGRATED (0), MOCK_FAIL
   (`name@after[=code][*times],…`) say what kind of machine it is. MOCK_INPUTS_STAY (0): what was
   copied in once may be used by many runs, as a loop without copies does. */
#define _GNU_SOURCE
#include "mock.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int CUresult;
enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101,
       INVALID_CONTEXT = 201, NOT_READY = 600, CAPTURE_UNSUPPORTED = 900,
       CAPTURE_INVALIDATED = 901 };

/* Device addresses are not the host's: who uses one for the other crashes. */
#define DEVICE_BIT ((uint64_t)1 << 62)

/* ---- the control block and the end ---- */

static int64_t setting(const char *name, int64_t otherwise) {
    const char *text = getenv(name);
    return text && *text ? atoll(text) : otherwise;
}

/* Once for all processes that share the block. */
static void read_failures(struct control *control) {
    if (control->failures[0].name[0]) return;
    char text[512];
    const char *from = getenv("MOCK_FAIL");
    snprintf(text, sizeof text, "%s", from ? from : "");
    int at = 0;
    for (char *save, *one = strtok_r(text, ",", &save); one && at < FAILURES;
         one = strtok_r(NULL, ",", &save), at++) {
        struct failure *failure = &control->failures[at];
        char *after = strchr(one, '@'), *code = strchr(one, '='), *times = strchr(one, '*');
        failure->after = after ? atoll(after + 1) : 0;
        failure->code = code ? atoll(code + 1) : 1;
        failure->times = times ? atoll(times + 1) : 1;
        snprintf(failure->name, sizeof failure->name, "%.*s", (int)strcspn(one, "@=*"), one);
    }
}

_Atomic int64_t mock_own[KINDS];

struct control *mock_control(void) {
    static _Atomic(struct control *) control;
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    if (control) return control;
    pthread_mutex_lock(&once);
    if (!control) {
        const char *file = getenv("MOCK_CONTROL");
        int fd = file ? open(file, O_RDWR | O_CREAT, 0600) : -1;
        if (fd >= 0 && ftruncate(fd, sizeof(struct control))) mock_die("MOCK_CONTROL");
        int flags = fd >= 0 ? MAP_SHARED : MAP_SHARED | MAP_ANONYMOUS;
        struct control *mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, flags, fd, 0);
        if (mapped == MAP_FAILED) abort();
        read_failures(mapped);
        control = mapped;
    }
    pthread_mutex_unlock(&once);
    return control;
}

_Noreturn void mock_die(const char *what, ...) {
    va_list list;
    va_start(list, what);
    fprintf(stderr, "MOCK MISUSED: ");
    vfprintf(stderr, what, list);
    fprintf(stderr, "\n");
    fflush(stderr);
    abort();
}

int64_t mock_fails(const char *name) {
    struct control *control = mock_control();
    for (int i = 0; i < FAILURES; i++) {
        struct failure *failure = &control->failures[i];
        if (strncmp(failure->name, name, sizeof failure->name) || failure->times <= 0) continue;
        if (failure->after-- > 0) continue;
        failure->times--;
        mock_count(FAILED_CALLS, 1);
        return failure->code;
    }
    return 0;
}

/* ---- the state of the device ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int lost;                       /* the error after which nothing works any more */
static int retained;                   /* of the primary context */
static int primary;                    /* its address is its handle */
static __thread void *current;
static int runs_now;                   /* that are going on */
static int runs_enqueued;              /* and those that are not over */

static bool is_sticky(int64_t code) {
    return (code >= 700 && code <= 720 && code != 701 && code != 703 && code != 704 && code != 705)
        || code == 999 || code == 214;
}

/* How a call begins: fails if it is to, or if the device is lost. */
#define BEGIN(name)                                                                              \
    do {                                                                                         \
        int64_t code_ = mock_fails(name);                                                        \
        if (is_sticky(code_)) lost = (int)code_;                                                 \
        if (lost) return lost;                                                                   \
        if (code_) return (CUresult)code_;                                                       \
    } while (0)
#define BEGIN_IN_CONTEXT(name) do { mock_need_context(name); BEGIN(name); } while (0)

void mock_need_context(const char *who) {
    if (current != &primary || retained == 0) mock_die("%s: no context is bound", who);
}

/* ---- memory ---- */

struct block {
    struct block *next;
    uint64_t address;                  /* on the device; 0 for host memory that is not mapped */
    char *host;
    size_t bytes;
    bool pinned, write_combined, freed;
    int users;                         /* enqueued work */
    size_t fresh, produced;
};
static struct block *blocks;

/* The block that holds all of it. Called with the lock held. */
static struct block *find(const char *who, uint64_t address, size_t bytes) {
    for (struct block *b = blocks; b; b = b->next) {
        uint64_t start = address & DEVICE_BIT ? b->address : (uint64_t)b->host;
        if (!start || address < start || address >= start + b->bytes) continue;
        if (b->freed) mock_die("%s: memory that has been freed", who);
        if (address - start + bytes > b->bytes) mock_die("%s: %zu bytes of a block of %zu", who,
                                                         bytes, b->bytes);
        return b;
    }
    mock_die("%s: unknown memory %#lx", who, (unsigned long)address);
}

static struct block *add(size_t bytes) {
    struct block *block = calloc(1, sizeof *block);
    /* TensorRT wants 256; a page is what CUDA gives. */
    if (posix_memalign((void **)&block->host, 4096, bytes + 4096)) abort();
    memset(block->host, 0xE5, bytes);
    block->bytes = bytes;
    block->next = blocks;
    blocks = block;
    return block;
}

static bool integrated(void) { return setting("MOCK_INTEGRATED", 0) != 0; }
static int64_t total_bytes(void) { return setting("MOCK_MEMORY_MIB", 8192) << 20; }

static void take_bytes(int64_t bytes) {
    struct control *control = mock_control();
    int64_t now = control->counts[DEVICE_BYTES] += bytes;
    if (now > control->counts[MOST_DEVICE_BYTES]) control->counts[MOST_DEVICE_BYTES] = now;
}

static uint64_t allocate(size_t bytes) {
    if (bytes == 0) mock_die("cuMemAlloc of nothing");
    if (mock_control()->counts[DEVICE_BYTES] + (int64_t)bytes > total_bytes()) return 0;
    struct block *block = add(bytes);
    block->address = (uint64_t)block->host | DEVICE_BIT;
    mock_live(DEVICE_MEMORY, 1);
    take_bytes((int64_t)bytes);
    return block->address;
}

static void release(const char *who, uint64_t address) {
    struct block *block = find(who, address, 1);
    if (block->users) mock_die("%s: memory that a stream still uses", who);
    uint64_t start = block->pinned ? (uint64_t)block->host : block->address;
    if (address != start) mock_die("%s: not the start of a block", who);
    block->freed = true;
    /* Its content is gone; its address stays known, so that a use of it is seen. */
    memset(block->host, 0xDD, block->bytes);
    mock_live(block->pinned ? PINNED_MEMORY : DEVICE_MEMORY, -1);
    if (!block->pinned || integrated()) take_bytes(-(int64_t)block->bytes);
}

uint64_t mock_allocate(size_t bytes) {
    pthread_mutex_lock(&lock);
    uint64_t address = allocate(bytes);
    pthread_mutex_unlock(&lock);
    return address;
}

void mock_free(uint64_t address) {
    pthread_mutex_lock(&lock);
    release("a library's memory", address);
    pthread_mutex_unlock(&lock);
}

void *mock_memory(const char *who, void *address, size_t bytes) {
    pthread_mutex_lock(&lock);
    struct block *block = find(who, (uint64_t)address, bytes);
    uint64_t start = (uint64_t)address & DEVICE_BIT ? block->address : (uint64_t)block->host;
    if (!((uint64_t)address & DEVICE_BIT)) mock_die("%s: a host address for the device", who);
    void *host = block->host + ((uint64_t)address - start);
    pthread_mutex_unlock(&lock);
    return host;
}

void mock_consume(const char *who, void *address, size_t bytes) {
    pthread_mutex_lock(&lock);
    struct block *block = find(who, (uint64_t)address, bytes);
    if (!block->pinned) {
        if (block->fresh < bytes) mock_die("%s: only %zu of %zu bytes have been copied in", who,
                                           block->fresh, bytes);
        if (!setting("MOCK_INPUTS_STAY", 0)) block->fresh = 0;
    }
    pthread_mutex_unlock(&lock);
}

void mock_produce(void *address, size_t bytes) {
    pthread_mutex_lock(&lock);
    find("a run's output", (uint64_t)address, bytes)->produced = bytes;
    pthread_mutex_unlock(&lock);
}

CUresult cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    BEGIN_IN_CONTEXT("cuMemAlloc_v2");
    *address = mock_allocate(bytes);
    return *address ? 0 : OUT_OF_MEMORY;
}

CUresult cuMemFree_v2(uint64_t address) {
    BEGIN_IN_CONTEXT("cuMemFree_v2");
    mock_free(address);
    return 0;
}

CUresult cuMemHostAlloc(void **host, size_t bytes, unsigned flags) {
    BEGIN_IN_CONTEXT("cuMemHostAlloc");
    if (((flags & 2) != 0) != integrated()) mock_die("cuMemHostAlloc: flags %#x", flags);
    pthread_mutex_lock(&lock);
    struct block *block = add(bytes);
    block->pinned = true;
    block->write_combined = flags & 4;
    if (flags & 2) block->address = (uint64_t)block->host | DEVICE_BIT;
    pthread_mutex_unlock(&lock);
    mock_live(PINNED_MEMORY, 1);
    if (integrated()) take_bytes((int64_t)bytes);
    if (flags & 4) mock_count(WRITE_COMBINED, 1);
    *host = block->host;
    return 0;
}

CUresult cuMemFreeHost(void *host) {
    BEGIN_IN_CONTEXT("cuMemFreeHost");
    pthread_mutex_lock(&lock);
    release("cuMemFreeHost", (uint64_t)host);
    pthread_mutex_unlock(&lock);
    return 0;
}

CUresult cuMemHostGetDevicePointer_v2(uint64_t *address, void *host, unsigned flags) {
    BEGIN_IN_CONTEXT("cuMemHostGetDevicePointer_v2");
    pthread_mutex_lock(&lock);
    struct block *block = find("cuMemHostGetDevicePointer", (uint64_t)host, 1);
    if (flags || !block->address) mock_die("cuMemHostGetDevicePointer: not mapped");
    *address = block->address;
    pthread_mutex_unlock(&lock);
    return 0;
}

CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
    BEGIN_IN_CONTEXT("cuMemGetInfo_v2");
    *total = (size_t)total_bytes();
    *free = *total - (size_t)mock_control()->counts[DEVICE_BYTES];
    return 0;
}

/* ---- streams, events, graphs ---- */

enum what { COPY_IN, COPY_OUT, RECORD, WAIT, CALL, RUN };

struct event { bool dead; int64_t recorded, done; };

struct op {
    struct op *next;
    enum what what;
    struct block *from, *to;
    size_t from_at, to_at, bytes;
    struct event *event;
    int64_t generation;
    void (*call)(void *);
    void *argument;
    struct mock_run run;
};

struct graph { struct op *ops; bool spoilt; };

struct stream {
    pthread_t thread;
    struct op *first, **last;
    bool busy, ending;
    struct graph *capture;
    bool dead;
};

/* Counts the memory of an operation as used, or no longer. Called with the lock held. */
static void use(struct op *op, int by) {
    if (op->what == RUN)
        for (int i = 0; i < op->run.uses_count; i++)
            find("a run", (uint64_t)op->run.uses[i].address, op->run.uses[i].bytes)->users += by;
    if (op->from) op->from->users += by;
    if (op->to) op->to->users += by;
}

static void carry_out(struct op *op) {
    switch (op->what) {
    case COPY_IN:
        if (runs_enqueued > 0) mock_count(COPIES_BESIDE_A_RUN, 1);
        memcpy(op->to->host + op->to_at, op->from->host + op->from_at, op->bytes);
        op->to->fresh = op->bytes;
        break;
    case COPY_OUT:
        if (op->from->produced < op->bytes) mock_die("an output is copied before it is there");
        memcpy(op->to->host + op->to_at, op->from->host + op->from_at, op->bytes);
        op->from->produced = 0;
        break;
    case CALL:
        mock_count(WAKES, 1);
        op->call(op->argument);
        break;
    case RUN: {
        struct control *control = mock_control();
        pthread_mutex_lock(&lock);
        if (++runs_now > control->counts[MOST_RUNS_AT_ONCE])
            control->counts[MOST_RUNS_AT_ONCE] = runs_now;
        pthread_mutex_unlock(&lock);
        op->run.check(&op->run);
        if (control->run_us > 0) usleep((useconds_t)control->run_us);
        op->run.run(&op->run);
        pthread_mutex_lock(&lock);
        runs_now--;
        runs_enqueued--;
        pthread_mutex_unlock(&lock);
        break;
    }
    case RECORD:
    case WAIT:
        break;
    }
}

static void *work(void *argument) {
    struct stream *stream = argument;
    pthread_mutex_lock(&lock);
    for (;;) {
        struct op *op = stream->first;
        bool ready = op && !(op->what == WAIT && op->event->done < op->generation);
        if (!ready) {
            if (!op && stream->ending) break;
            pthread_cond_wait(&changed, &lock);
            continue;
        }
        stream->busy = true;
        pthread_mutex_unlock(&lock);
        int64_t code = op->what == RUN ? mock_fails("a run on the device") : 0;
        if (code) lost = (int)code;
        if (!lost) carry_out(op);
        pthread_mutex_lock(&lock);
        if (op->what == RECORD) op->event->done = op->generation;
        use(op, -1);
        stream->first = op->next;
        if (!stream->first) stream->last = &stream->first;
        stream->busy = false;
        free(op);
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static struct stream *alive(const char *who, void *stream) {
    if (!stream) mock_die("%s: the default stream", who);
    if (((struct stream *)stream)->dead) mock_die("%s: a stream that has ended", who);
    return stream;
}

static void append(struct op **list, struct op *op) {
    while (*list) list = &(*list)->next;
    *list = op;
}

static void enqueue(struct stream *stream, struct op op) {
    struct op *copy = malloc(sizeof op);
    *copy = op;
    copy->next = NULL;
    pthread_mutex_lock(&lock);
    if (stream->capture) {
        if (op.what != RUN) stream->capture->spoilt = true;
        append(&stream->capture->ops, copy);
    } else {
        use(copy, 1);
        if (op.what == RUN) runs_enqueued++;
        *stream->last = copy;
        stream->last = &copy->next;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
}

CUresult cuStreamCreate(void **made, unsigned flags) {
    BEGIN_IN_CONTEXT("cuStreamCreate");
    if (flags != 1) mock_die("cuStreamCreate: a stream that waits for the default one");
    struct stream *stream = calloc(1, sizeof *stream);
    stream->last = &stream->first;
    if (pthread_create(&stream->thread, NULL, work, stream)) abort();
    mock_live(STREAM, 1);
    *made = stream;
    return 0;
}

CUresult cuStreamDestroy_v2(void *handle) {
    struct stream *stream = alive("cuStreamDestroy", handle);
    BEGIN_IN_CONTEXT("cuStreamDestroy_v2");
    pthread_mutex_lock(&lock);
    if (stream->first) mock_die("cuStreamDestroy: work is still under way");
    stream->ending = stream->dead = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(stream->thread, NULL);
    mock_live(STREAM, -1);
    return 0;
}

CUresult cuStreamSynchronize(void *handle) {
    struct stream *stream = alive("cuStreamSynchronize", handle);
    BEGIN_IN_CONTEXT("cuStreamSynchronize");
    if (stream->capture) {
        stream->capture->spoilt = true;
        return CAPTURE_UNSUPPORTED;
    }
    pthread_mutex_lock(&lock);
    while (stream->first && !lost) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return lost;
}

CUresult cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *handle) {
    struct stream *stream = alive("cuMemcpyHtoDAsync", handle);
    BEGIN_IN_CONTEXT("cuMemcpyHtoDAsync_v2");
    if (integrated()) mock_die("a copy on an integrated GPU");
    struct op op = { .what = COPY_IN, .bytes = bytes };
    pthread_mutex_lock(&lock);
    op.from = find("cuMemcpyHtoDAsync", (uint64_t)from, bytes);
    op.to = find("cuMemcpyHtoDAsync", to, bytes);
    if (!op.from->pinned || !op.from->write_combined) mock_die("an input is staged elsewhere");
    op.from_at = (size_t)((char *)from - op.from->host);
    op.to_at = to - op.to->address;
    pthread_mutex_unlock(&lock);
    mock_count(COPIES_IN, 1);
    enqueue(stream, op);
    return 0;
}

CUresult cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *handle) {
    struct stream *stream = alive("cuMemcpyDtoHAsync", handle);
    BEGIN_IN_CONTEXT("cuMemcpyDtoHAsync_v2");
    if (integrated()) mock_die("a copy on an integrated GPU");
    struct op op = { .what = COPY_OUT, .bytes = bytes };
    pthread_mutex_lock(&lock);
    op.from = find("cuMemcpyDtoHAsync", from, bytes);
    op.to = find("cuMemcpyDtoHAsync", (uint64_t)to, bytes);
    if (!op.to->pinned || op.to->write_combined) mock_die("an output that the host reads slowly");
    op.from_at = from - op.from->address;
    op.to_at = (size_t)((char *)to - op.to->host);
    /* Who reads it too early gets this. */
    memset(to, 0xA5, bytes);
    pthread_mutex_unlock(&lock);
    mock_count(COPIES_OUT, 1);
    enqueue(stream, op);
    return 0;
}

CUresult cuLaunchHostFunc(void *handle, void (*call)(void *), void *argument) {
    struct stream *stream = alive("cuLaunchHostFunc", handle);
    BEGIN_IN_CONTEXT("cuLaunchHostFunc");
    enqueue(stream, (struct op){ .what = CALL, .call = call, .argument = argument });
    return 0;
}

void mock_launch(void *handle, const struct mock_run *run) {
    struct op op = { .what = RUN };
    op.run = *run;
    enqueue(alive("enqueueV3", handle), op);
}

bool mock_is_capturing(void *stream) { return alive("enqueueV3", stream)->capture != NULL; }
void mock_spoil_capture(void *stream) { alive("enqueueV3", stream)->capture->spoilt = true; }

static struct event *living(const char *who, void *event) {
    if (!event || ((struct event *)event)->dead) mock_die("%s: an event that has ended", who);
    return event;
}

CUresult cuEventCreate(void **made, unsigned flags) {
    BEGIN_IN_CONTEXT("cuEventCreate");
    if (flags != 3) mock_die("cuEventCreate: flags %u, not blocking and without timing", flags);
    *made = calloc(1, sizeof(struct event));
    mock_live(EVENT, 1);
    return 0;
}

CUresult cuEventDestroy_v2(void *handle) {
    struct event *event = living("cuEventDestroy", handle);
    BEGIN_IN_CONTEXT("cuEventDestroy_v2");
    event->dead = true;
    mock_live(EVENT, -1);
    return 0;
}

CUresult cuEventRecord(void *handle, void *stream) {
    struct event *event = living("cuEventRecord", handle);
    struct stream *on = alive("cuEventRecord", stream);
    BEGIN_IN_CONTEXT("cuEventRecord");
    pthread_mutex_lock(&lock);
    int64_t generation = ++event->recorded;
    pthread_mutex_unlock(&lock);
    enqueue(on, (struct op){ .what = RECORD, .event = event, .generation = generation });
    return 0;
}

CUresult cuStreamWaitEvent(void *stream, void *handle, unsigned flags) {
    struct event *event = living("cuStreamWaitEvent", handle);
    struct stream *on = alive("cuStreamWaitEvent", stream);
    BEGIN_IN_CONTEXT("cuStreamWaitEvent");
    if (flags) mock_die("cuStreamWaitEvent: flags");
    pthread_mutex_lock(&lock);
    int64_t generation = event->recorded;
    pthread_mutex_unlock(&lock);
    enqueue(on, (struct op){ .what = WAIT, .event = event, .generation = generation });
    return 0;
}

CUresult cuEventQuery(void *handle) {
    struct event *event = living("cuEventQuery", handle);
    BEGIN_IN_CONTEXT("cuEventQuery");
    pthread_mutex_lock(&lock);
    bool done = event->done == event->recorded;
    pthread_mutex_unlock(&lock);
    return done ? 0 : NOT_READY;
}

CUresult cuEventSynchronize(void *handle) {
    struct event *event = living("cuEventSynchronize", handle);
    BEGIN_IN_CONTEXT("cuEventSynchronize");
    pthread_mutex_lock(&lock);
    while (event->done != event->recorded && !lost) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return lost;
}

CUresult cuStreamBeginCapture_v2(void *handle, int mode) {
    struct stream *stream = alive("cuStreamBeginCapture", handle);
    BEGIN_IN_CONTEXT("cuStreamBeginCapture_v2");
    if (mode != 1) mock_die("cuStreamBeginCapture: other threads would be disturbed");
    if (stream->capture) mock_die("cuStreamBeginCapture: twice");
    pthread_mutex_lock(&lock);
    stream->capture = calloc(1, sizeof(struct graph));
    pthread_mutex_unlock(&lock);
    mock_live(GRAPH, 1);
    return 0;
}

static void free_graph(struct graph *graph) {
    for (struct op *op = graph->ops, *next; op; op = next) {
        next = op->next;
        free(op);
    }
    free(graph);
}

CUresult cuStreamEndCapture(void *handle, void **graph) {
    struct stream *stream = alive("cuStreamEndCapture", handle);
    pthread_mutex_lock(&lock);
    struct graph *captured = stream->capture;
    stream->capture = NULL;
    pthread_mutex_unlock(&lock);
    if (!captured) mock_die("cuStreamEndCapture: none was begun");
    *graph = NULL;
    int64_t code = mock_fails("cuStreamEndCapture");
    if (code || captured->spoilt || lost) {
        free_graph(captured);
        mock_live(GRAPH, -1);
        return lost ? lost : code ? (CUresult)code : CAPTURE_INVALIDATED;
    }
    mock_count(CAPTURES, 1);
    *graph = captured;
    return 0;
}

CUresult cuGraphDestroy(void *graph) {
    free_graph(graph);
    mock_live(GRAPH, -1);
    return 0;
}

CUresult cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags) {
    BEGIN_IN_CONTEXT("cuGraphInstantiateWithFlags");
    if (flags) mock_die("cuGraphInstantiateWithFlags: flags");
    struct graph *copy = calloc(1, sizeof *copy);
    for (struct op *op = ((struct graph *)graph)->ops; op; op = op->next) {
        struct op *one = malloc(sizeof *one);
        *one = *op;
        one->next = NULL;
        append(&copy->ops, one);
    }
    mock_live(GRAPH_EXEC, 1);
    *exec = copy;
    return 0;
}

CUresult cuGraphExecDestroy(void *exec) {
    BEGIN_IN_CONTEXT("cuGraphExecDestroy");
    free_graph(exec);
    mock_live(GRAPH_EXEC, -1);
    return 0;
}

CUresult cuGraphLaunch(void *exec, void *handle) {
    struct stream *stream = alive("cuGraphLaunch", handle);
    BEGIN_IN_CONTEXT("cuGraphLaunch");
    mock_count(GRAPH_LAUNCHES, 1);
    for (struct op *op = ((struct graph *)exec)->ops; op; op = op->next) enqueue(stream, *op);
    return 0;
}

/* ---- the device and its context ---- */

CUresult cuInit(unsigned flags) {
    (void)flags;
    BEGIN("cuInit");
    return setting("MOCK_DEVICES", 1) ? 0 : NO_DEVICE;
}

CUresult cuDriverGetVersion(int *version) {
    BEGIN("cuDriverGetVersion");
    *version = (int)setting("MOCK_DRIVER", 12020);
    return 0;
}

CUresult cuDeviceGetCount(int *count) {
    BEGIN("cuDeviceGetCount");
    *count = (int)setting("MOCK_DEVICES", 1);
    return 0;
}

CUresult cuDeviceGet(int *device, int ordinal) {
    BEGIN("cuDeviceGet");
    if (ordinal >= setting("MOCK_DEVICES", 1)) return INVALID_DEVICE;
    *device = ordinal;
    return 0;
}

CUresult cuDeviceGetName(char *name, int bytes, int device) {
    BEGIN("cuDeviceGetName");
    snprintf(name, (size_t)bytes, "Mock GPU %d", device);
    return 0;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    BEGIN("cuDeviceGetAttribute");
    switch (attribute) {
    case 18: *value = integrated(); break;      /* INTEGRATED */
    case 19: *value = 1; break;                 /* CAN_MAP_HOST_MEMORY */
    case 75: *value = 8; break;                 /* COMPUTE_CAPABILITY_MAJOR */
    case 76: *value = 7; break;                 /* COMPUTE_CAPABILITY_MINOR */
    default: mock_die("cuDeviceGetAttribute: %d", attribute);
    }
    return 0;
}

CUresult cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    BEGIN("cuDevicePrimaryCtxRetain");
    pthread_mutex_lock(&lock);
    retained++;
    pthread_mutex_unlock(&lock);
    mock_live(PRIMARY_CONTEXT, 1);
    *context = &primary;
    return 0;
}

CUresult cuDevicePrimaryCtxRelease_v2(int device) {
    (void)device;
    BEGIN("cuDevicePrimaryCtxRelease_v2");
    pthread_mutex_lock(&lock);
    if (--retained < 0) mock_die("the context is released more often than retained");
    if (retained == 0)
        for (int kind = 0; kind < KINDS; kind++)
            if (kind != PRIMARY_CONTEXT && mock_own[kind])
                mock_die("the context is released with %ld objects of kind %d in it",
                         (long)mock_own[kind], kind);
    pthread_mutex_unlock(&lock);
    mock_live(PRIMARY_CONTEXT, -1);
    return 0;
}

CUresult cuCtxSetCurrent(void *context) {
    BEGIN("cuCtxSetCurrent");
    if (context != &primary || !retained) return INVALID_CONTEXT;
    current = context;
    return 0;
}

CUresult cuGetErrorName(int code, const char **name) {
    static __thread char text[32];
    switch (code) {
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; break;
    case 700: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
    case 719: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
    default:
        snprintf(text, sizeof text, "CUDA_ERROR_%d", code);
        *name = text;
    }
    return 0;
}

CUresult cuGetErrorString(int code, const char **name) {
    static __thread char text[32];
    snprintf(text, sizeof text, "mock error %d", code);
    *name = text;
    return 0;
}
