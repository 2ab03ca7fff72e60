/* A mock of libnvinfer, TensorRT MAJOR: objects with TensorRT's vtables, in which only the functions
   that bcedge calls are filled, at their places. Its plans are text:

     mockplan MAJOR
     tensor in|out NAME TYPE NDIMS DIMS…        TYPE by TensorRT's numbers, -1: open
     profile MIN OPT MAX                         of the leading dimension; one line each
     scratch BYTES
     weights BYTES
     option plugin|implicit|shape|host|format|late|nograph

   A run makes each output twice its input, row by row, in whatever type. */
#include "mock.h"
#include "slots.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if MAJOR == 8
typedef struct { int32_t n; int32_t d[8]; } Dims;
#else
typedef struct { int32_t n; int64_t d[8]; } Dims;
#endif

enum { TENSORS = 8, PROFILES = 64 };

struct tensor { char name[64]; bool input; int type; Dims shape; };

struct plan {
    struct tensor tensors[TENSORS];
    int tensor_count;
    int profiles[PROFILES][3];
    int profile_count;
    size_t scratch, weights;
    bool plugin, implicit, shape_tensor, host, format, late, no_graph, dynamic;
};

/* Public objects: {vtable, implementation}. What follows the implementation's vtable is ours. */
struct object { void **vtable; struct implementation *implementation; };
struct implementation { void **vtable; enum kind kind; struct object *outer; };

struct runtime { struct implementation base; bool host_code; int engines; };
struct engine {
    struct implementation base;
    struct runtime *runtime;
    struct plan plan;
    uint64_t weights;
    int contexts;
    struct context *users[PROFILES];           /* of the profiles, in 8 */
};
struct context {
    struct implementation base;
    struct engine *engine;
    int profile;
    Dims shapes[TENSORS];
    bool shape_set[TENSORS];
    void *addresses[TENSORS];
    void *scratch;
    size_t scratch_bytes;
    bool pending;                              /* a change that the next run takes up */
    int64_t state;                             /* counts changes */
    int enqueued;                              /* runs under way */
    void *stream;
    bool dead;
};

struct network { struct implementation base; struct plan plan; bool parsed; };
struct config {
    struct implementation base;
    bool flags[32];
    size_t workspace;
    struct profile *profiles[PROFILES];
    int profile_count;
    struct cache *cache;
    void *monitor;
};
struct cache { struct implementation base; char content[256]; size_t bytes; };
struct profile { struct implementation base; char names[TENSORS][64]; Dims dims[TENSORS][3]; int set; };
struct memory { struct implementation base; char *data; size_t bytes; };
struct builder { struct implementation base; struct profile *profiles; };

TABLE(IRuntime) TABLE(ICudaEngine) TABLE(IExecutionContext) TABLE(IBuilder) TABLE(IBuilderConfig)
TABLE(INetworkDefinition) TABLE(ITensor) TABLE(IOptimizationProfile) TABLE(ITimingCache)
TABLE(IHostMemory) TABLE(PublicObject)

static void *logger;

static void say(int severity, const char *format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    void (**table)(void *, int, const char *) = *(void **)logger;
    table[ILogger_log](logger, severity, text);
}

static void *make(size_t bytes, enum kind kind, void **table) {
    struct implementation *made = calloc(1, bytes);
    made->vtable = table;
    made->kind = kind;
    made->outer = calloc(1, sizeof *made->outer);
    made->outer->vtable = PublicObject_table;
    made->outer->implementation = made;
    if (kind < KINDS) mock_live(kind, 1);
    return made;
}

/* ---- plans ---- */

static void parse_line(struct plan *plan, char *line) {
    struct tensor tensor = { 0 };
    char way[8], word[32];
    int used, count, least, best, most;
    if (sscanf(line, "tensor %7s %63s %d %d%n", way, tensor.name, &tensor.type, &count, &used) == 4) {
        tensor.input = strcmp(way, "in") == 0;
        tensor.shape.n = count;
        for (int i = 0; i < count; i++) {
            tensor.shape.d[i] = strtol(line + used, &line, 10);
            used = 0;
            if (tensor.input && tensor.shape.d[i] == -1) plan->dynamic = true;
        }
        plan->tensors[plan->tensor_count++] = tensor;
    } else if (sscanf(line, "profile %d %d %d", &least, &best, &most) == 3) {
        int *profile = plan->profiles[plan->profile_count++];
        profile[0] = least, profile[1] = best, profile[2] = most;
    } else if (sscanf(line, "option %31s", word) == 1) {
        plan->plugin |= !strcmp(word, "plugin");
        plan->implicit |= !strcmp(word, "implicit");
        plan->shape_tensor |= !strcmp(word, "shape");
        plan->host |= !strcmp(word, "host");
        plan->format |= !strcmp(word, "format");
        plan->late |= !strcmp(word, "late");
        plan->no_graph |= !strcmp(word, "nograph");
    }
    sscanf(line, "scratch %zu", &plan->scratch);
    sscanf(line, "weights %zu", &plan->weights);
}

static bool parse(struct plan *plan, const char *blob, size_t bytes) {
    char text[8192];
    int major = 0;
    snprintf(text, sizeof text, "%.*s", (int)bytes, blob);
    if (sscanf(text, "mockplan %d", &major) != 1) {
        say(1, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magicTag mismatch)");
        return false;
    }
    if (major != MAJOR) {
        say(1, "IRuntime::deserializeCudaEngine: Error Code 6: the plan is of version %d", major);
        return false;
    }
    for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        parse_line(plan, line);
    if (plan->profile_count == 0) {
        /* A plan without open dimensions has one all the same. */
        plan->profile_count = 1;
    }
    return true;
}

static int index_of(const struct plan *plan, const char *name) {
    for (int i = 0; i < plan->tensor_count; i++)
        if (!strcmp(plan->tensors[i].name, name)) return i;
    mock_die("there is no tensor '%s'", name);
}

static int64_t elements(Dims shape, int from) {
    int64_t count = 1;
    for (int i = from; i < shape.n; i++) count *= shape.d[i];
    return count;
}

static size_t size_of(int type) {
    static const size_t sizes[] = { 4, 2, 1, 4, 1, 1, 1, 2, 8 };
    return sizes[type];
}

/* ---- IRuntime ---- */

#if MAJOR == 8
static void *deserialize(struct runtime *self, const void *blob, size_t bytes, void *factory) {
    if (factory) mock_die("deserializeCudaEngine: the third argument must be null");
#else
static void *deserialize(struct runtime *self, const void *blob, size_t bytes) {
#endif
    mock_need_context("deserializeCudaEngine");
    struct plan plan = { 0 };
    if (mock_fails("deserializeCudaEngine")) {
        say(2, "this is a warning");
        say(1, "deserializeCudaEngine: fails as asked for");
        return NULL;
    }
    if (!parse(&plan, blob, bytes)) return NULL;
    if (plan.plugin && mock_control()->counts[PLUGIN_INITS] == 0) {
        say(1, "getPluginCreator could not find plugin EfficientNMS_TRT version 1");
        return NULL;
    }
    uint64_t weights = plan.weights ? mock_allocate(plan.weights) : 0;
    if (plan.weights && !weights) {
        say(1, "Requested amount of GPU memory (%zu bytes) could not be allocated.", plan.weights);
        return NULL;
    }
    struct engine *engine = make(sizeof *engine, ENGINE, ICudaEngine_table);
    engine->runtime = self;
    engine->plan = plan;
    engine->weights = weights;
    self->engines++;
    say(3, "Loaded engine size: 0 MiB");
    return engine->base.outer;
}

static void allow_host_code(struct runtime *self, bool allowed) { self->host_code = allowed; }

/* ---- ICudaEngine ---- */

static int nb_tensors(struct engine *self) { return self->plan.tensor_count; }
static const char *tensor_name(struct engine *self, int index) {
    if (index < 0 || index >= self->plan.tensor_count) mock_die("getIOTensorName(%d)", index);
    return self->plan.tensors[index].name;
}
static Dims engine_shape(struct engine *self, const char *name) {
    return self->plan.tensors[index_of(&self->plan, name)].shape;
}
static int tensor_type(struct engine *self, const char *name) {
    return self->plan.tensors[index_of(&self->plan, name)].type;
}
static int tensor_mode(struct engine *self, const char *name) {
    return self->plan.tensors[index_of(&self->plan, name)].input ? 1 : 2;
}
static int tensor_location(struct engine *self, const char *name) {
    return index_of(&self->plan, name) == 0 && self->plan.host;
}
static int tensor_format(struct engine *self, const char *name) {
    return index_of(&self->plan, name) == 0 && self->plan.format ? 2 : 0;
}
static bool is_shape_tensor(struct engine *self, const char *name) {
    return index_of(&self->plan, name) == 0 && self->plan.shape_tensor;
}
static int nb_profiles(struct engine *self) { return self->plan.profile_count; }
static bool implicit_batch(struct engine *self) { return self->plan.implicit; }
static Dims profile_shape(struct engine *self, const char *name, int profile, int select) {
    if (profile < 0 || profile >= self->plan.profile_count) mock_die("getProfileShape(%d)", profile);
    if (select < 0 || select > 2) mock_die("getProfileShape: selector %d", select);
    Dims shape = self->plan.tensors[index_of(&self->plan, name)].shape;
    if (shape.d[0] == -1) shape.d[0] = self->plan.profiles[profile][select];
    return shape;
}
static size_t scratch_size(struct engine *self) { return self->plan.scratch; }
static int64_t scratch_size_v2(struct engine *self) { return (int64_t)self->plan.scratch; }

static void *new_context(struct engine *self) {
    mock_need_context("createExecutionContext");
    if (mock_fails("createExecutionContext")) {
        say(1, "createExecutionContext: fails as asked for");
        return NULL;
    }
    struct context *context = make(sizeof *context, CONTEXT, IExecutionContext_table);
    context->engine = self;
    context->profile = MAJOR == 8 && self->users[0] ? -1 : 0;
    if (MAJOR == 8 && context->profile == 0 && self->plan.dynamic) self->users[0] = context;
    context->pending = true;
    self->contexts++;
    return context->base.outer;
}
static void *new_context_by_strategy(struct engine *self, int strategy) {
    if (strategy != 2) mock_die("createExecutionContext: strategy %d is not USER_MANAGED", strategy);
    return new_context(self);
}

/* ---- IExecutionContext ---- */

static void change(struct context *self) {
    if (self->dead) mock_die("a context that has ended");
    self->state++;
}

static bool set_profile(struct context *self, int profile, void *stream) {
    change(self);
    if (!stream) mock_die("setOptimizationProfileAsync: the default stream");
    if (self->enqueued) mock_die("setOptimizationProfileAsync while a run is under way");
    struct engine *engine = self->engine;
    if (profile < 0 || profile >= engine->plan.profile_count) return false;
    if (MAJOR == 8 && engine->plan.dynamic) {
        if (engine->users[profile] && engine->users[profile] != self) {
            say(1, "Profile %d has been chosen by another IExecutionContext", profile);
            return false;
        }
        for (int i = 0; i < PROFILES; i++) if (engine->users[i] == self) engine->users[i] = NULL;
        engine->users[profile] = self;
    }
    self->profile = profile;
    memset(self->shape_set, 0, sizeof self->shape_set);
    self->pending = true;
    return true;
}

static bool set_input_shape(struct context *self, const char *name, const Dims *dims) {
    change(self);
    const struct plan *plan = &self->engine->plan;
    int index = index_of(plan, name);
    if (mock_fails("setInputShape")) {
        say(1, "setInputShape: fails as asked for");
        return false;
    }
    if (self->profile < 0) {
        say(1, "setInputShape: no optimization profile has been chosen");
        return false;
    }
    Dims declared = plan->tensors[index].shape;
    bool fits = dims->n == declared.n;
    for (int i = 0; fits && i < dims->n; i++)
        fits = declared.d[i] == dims->d[i]
            || (declared.d[i] == -1 && dims->d[i] >= plan->profiles[self->profile][0]
                && dims->d[i] <= plan->profiles[self->profile][2]);
    if (!fits) {
        say(1, "setInputShape: %s: the shape does not satisfy the optimization profile", name);
        return false;
    }
    if (!self->shape_set[index] || memcmp(&self->shapes[index], dims, sizeof *dims))
        self->pending = true;
    self->shapes[index] = *dims;
    self->shape_set[index] = true;
    return true;
}

static Dims shape_now(struct context *self, int index) {
    const struct plan *plan = &self->engine->plan;
    if (self->shape_set[index]) return self->shapes[index];
    Dims shape = plan->tensors[index].shape;
    if (!plan->tensors[index].input && shape.n > 0 && shape.d[0] == -1)
        for (int i = 0; i < plan->tensor_count; i++)
            if (plan->tensors[i].input && self->shape_set[i]) shape.d[0] = self->shapes[i].d[0];
    if (!plan->tensors[index].input && plan->late) shape.d[shape.n - 1] = -1;
    return shape;
}
static Dims context_shape(struct context *self, const char *name) {
    return shape_now(self, index_of(&self->engine->plan, name));
}

static bool set_address(struct context *self, const char *name, void *address) {
    change(self);
    int index = index_of(&self->engine->plan, name);
    if ((uint64_t)address % 256) mock_die("setTensorAddress: %p is not aligned to 256", address);
    mock_memory("setTensorAddress", address, 1);
    self->addresses[index] = address;
    return true;
}

static void set_scratch_v2(struct context *self, void *memory, int64_t bytes) {
    change(self);
    if ((uint64_t)memory % 256) mock_die("setDeviceMemory: not aligned");
    mock_memory("setDeviceMemory", memory, (size_t)bytes);
    if ((size_t)bytes < self->engine->plan.scratch) mock_die("setDeviceMemory: only %ld bytes",
                                                             (long)bytes);
    self->scratch = memory;
    self->scratch_bytes = (size_t)bytes;
}
static void set_scratch(struct context *self, void *memory) {
    change(self);
    mock_memory("setDeviceMemory", memory, self->engine->plan.scratch);
    self->scratch = memory;
    self->scratch_bytes = self->engine->plan.scratch;
}

/* What a run needs to know later, on the stream's thread. */
struct job { struct { int type, source; int64_t rows, row; void *address; } tensors[TENSORS]; };
_Static_assert(sizeof(struct job) <= sizeof(((struct mock_run *)0)->data), "room for a job");

static double read_value(const char *from, int type) {
    switch (type) {
    case 0: { float value; memcpy(&value, from, 4); return value; }
    case 2: return *(const int8_t *)from;
    case 3: { int32_t value; memcpy(&value, from, 4); return value; }
    case 4: case 5: return *(const uint8_t *)from;
    case 8: { int64_t value; memcpy(&value, from, 8); return (double)value; }
    default: return 0;
    }
}
static void write_value(char *to, int type, double value) {
    switch (type) {
    case 0: { float narrow = (float)value; memcpy(to, &narrow, 4); break; }
    case 2: *(int8_t *)to = (int8_t)value; break;
    case 3: { int32_t narrow = (int32_t)value; memcpy(to, &narrow, 4); break; }
    case 4: *(uint8_t *)to = value != 0; break;
    case 5: *(uint8_t *)to = (uint8_t)value; break;
    case 8: { int64_t narrow = (int64_t)value; memcpy(to, &narrow, 8); break; }
    }
}
/* Twice a half-precision number: its exponent plus one. */
static uint16_t twice_half(uint16_t half) { return half & 0x7c00 ? half + 0x0400 : half; }

static void check_run(struct mock_run *run) {
    struct context *context = run->context;
    if (context->dead) mock_die("a run of a context that has ended");
    struct job *job = (struct job *)run->data;
    for (int i = 0; i < context->engine->plan.tensor_count; i++)
        if (context->engine->plan.tensors[i].input)
            mock_consume("a run's input", job->tensors[i].address,
                         (size_t)(job->tensors[i].rows * job->tensors[i].row)
                             * size_of(job->tensors[i].type));
    /* Two runs in one scratch block destroy each other's values. */
    if (context->scratch) {
        _Atomic int *owner = mock_memory("scratch", run->uses[0].address, sizeof(int));
        int free = (int)0xE5E5E5E5, mine = 1;
        if (!atomic_compare_exchange_strong(owner, &free, mine) && free != 0)
            mock_die("two runs at once in one scratch block");
        *owner = 1;
    }
}

static void do_run(struct mock_run *run) {
    struct context *context = run->context;
    struct job *job = (struct job *)run->data;
    for (int i = 0; i < context->engine->plan.tensor_count; i++) {
        if (context->engine->plan.tensors[i].input) continue;
        int from = job->tensors[i].source, type = job->tensors[i].type;
        int source_type = job->tensors[from].type;
        size_t out = size_of(type), in = size_of(source_type);
        int64_t rows = job->tensors[i].rows, row = job->tensors[i].row;
        int64_t in_row = job->tensors[from].row;
        size_t bytes = (size_t)(rows * row) * out;
        char *to = mock_memory("a run's output", job->tensors[i].address, bytes);
        const char *data = mock_memory("a run's input", job->tensors[from].address,
                                       (size_t)(rows * in_row) * in);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t e = 0; e < row; e++) {
                const char *source = data + (size_t)(r * in_row + e % in_row) * in;
                char *place = to + (size_t)(r * row + e) * out;
                if (type == 1 && source_type == 1) {
                    uint16_t half;
                    memcpy(&half, source, 2);
                    half = twice_half(half);
                    memcpy(place, &half, 2);
                } else {
                    write_value(place, type, 2 * read_value(source, source_type));
                }
            }
        mock_produce(job->tensors[i].address, bytes);
    }
    if (context->scratch) {
        _Atomic int *owner = mock_memory("scratch", run->uses[0].address, sizeof(int));
        *owner = 0;
    }
    __atomic_fetch_sub(&context->enqueued, 1, __ATOMIC_SEQ_CST);
    mock_count(RUNS, 1);
}

/* As `check_run`, for a run that was recorded: the context must be as it was then. */
static void check_recorded(struct mock_run *run) {
    struct context *context = run->context;
    if (context->dead) mock_die("a graph of a context that has ended");
    if (context->state != run->context_state) mock_die("a graph of a context that has changed");
    __atomic_fetch_add(&context->enqueued, 1, __ATOMIC_SEQ_CST);
    check_run(run);
}

static bool enqueue(struct context *self, void *stream) {
    mock_need_context("enqueueV3");
    if (self->dead) mock_die("enqueueV3: a context that has ended");
    if (!stream) mock_die("enqueueV3: the default stream");
    if (self->stream && self->stream != stream) mock_die("enqueueV3: another stream than before");
    self->stream = stream;
    const struct plan *plan = &self->engine->plan;
    if (mock_fails("enqueueV3")) {
        say(1, "IExecutionContext::enqueueV3: fails as asked for");
        return false;
    }
    bool capturing = mock_is_capturing(stream);
    struct mock_run run = { .run = do_run, .check = capturing ? check_recorded : check_run };
    run.context = self;
    run.context_state = self->state;
    struct job *job = (struct job *)run.data;
    if (plan->scratch) {
        if (!self->scratch) mock_die("enqueueV3: setDeviceMemory has not been called");
        run.uses[run.uses_count].address = self->scratch;
        run.uses[run.uses_count++].bytes = plan->scratch;
    }
    int inputs = 0, sources[TENSORS];
    for (int i = 0; i < plan->tensor_count; i++)
        if (plan->tensors[i].input) sources[inputs++] = i;
    for (int i = 0, outputs = 0; i < plan->tensor_count; i++) {
        Dims shape = shape_now(self, i);
        for (int d = 0; d < shape.n; d++)
            if (shape.d[d] < 0) mock_die("enqueueV3: '%s' has no shape", plan->tensors[i].name);
        if (!self->addresses[i]) mock_die("enqueueV3: '%s' has no address", plan->tensors[i].name);
        job->tensors[i].type = plan->tensors[i].type;
        job->tensors[i].rows = shape.n > 0 ? shape.d[0] : 1;
        job->tensors[i].row = elements(shape, 1);
        job->tensors[i].address = self->addresses[i];
        if (!plan->tensors[i].input) job->tensors[i].source = sources[outputs++ % inputs];
        run.uses[run.uses_count].address = self->addresses[i];
        run.uses[run.uses_count++].bytes = (size_t)elements(shape, 0) * size_of(plan->tensors[i].type);
    }
    if (capturing) {
        if (self->pending) mock_die("enqueueV3: recorded before its shapes were taken up");
        if (plan->no_graph) mock_spoil_capture(stream);
    } else {
        self->pending = false;
        __atomic_fetch_add(&self->enqueued, 1, __ATOMIC_SEQ_CST);
    }
    mock_launch(stream, &run);
    return true;
}

/* ---- IBuilder and what it makes ---- */

static void *new_network(struct builder *self, uint32_t flags) {
    (void)self;
    if (flags != (MAJOR == 8 ? 1u : 0u)) mock_die("createNetworkV2: flags %u", flags);
    if (mock_fails("createNetworkV2")) return NULL;
    return ((struct network *)make(sizeof(struct network), NETWORK, INetworkDefinition_table))->base.outer;
}
static void *new_config(struct builder *self) {
    (void)self;
    if (mock_fails("createBuilderConfig")) return NULL;
    return ((struct config *)make(sizeof(struct config), BUILDER_CONFIG, IBuilderConfig_table))->base.outer;
}
static void *new_profile(struct builder *self) {
    (void)self;
    if (mock_fails("createOptimizationProfile")) return NULL;
    /* The builder's own: the caller may not end it. */
    struct profile *made = make(sizeof *made, KINDS, IOptimizationProfile_table);
    made->base.outer->vtable = IOptimizationProfile_table;
    return made->base.outer;
}
static bool place_dims(struct profile *self, const char *name, int select, const Dims *dims) {
    int index = 0;
    while (index < self->set && strcmp(self->names[index], name)) index++;
    if (index == self->set) snprintf(self->names[self->set++], 64, "%s", name);
    if (select < 0 || select > 2 || dims->n < 1 || dims->n > 8) mock_die("setDimensions: %d, %d dims",
                                                                        select, dims->n);
    self->dims[index][select] = *dims;
    return true;
}
#if MAJOR == 8
static bool set_dimensions(struct profile *self, const char *name, int select, Dims dims) {
    return place_dims(self, name, select, &dims);
}
#else
static bool set_dimensions(struct profile *self, const char *name, int select, const Dims *dims) {
    return place_dims(self, name, select, dims);
}
#endif
static bool profile_is_valid(struct profile *self) { return self->set > 0; }

static void set_flag(struct config *self, int flag) {
    if (MAJOR == 11 && flag == 0) mock_die("setFlag: 11 has no FP16");
    self->flags[flag] = true;
}
static void clear_flag(struct config *self, int flag) { self->flags[flag] = false; }
static void set_limit(struct config *self, int pool, size_t bytes) {
    if (pool) mock_die("setMemoryPoolLimit: pool %d", pool);
    self->workspace = bytes;
}
static int add_profile(struct config *self, struct object *profile) {
    self->profiles[self->profile_count] = (struct profile *)profile->implementation;
    return self->profile_count++;
}
static void *new_cache(struct config *self, const void *blob, size_t bytes) {
    (void)self;
    if (bytes && strncmp(blob, "mockcache", 9)) {
        say(1, "createTimingCache: the cache is of another version");
        return NULL;
    }
    struct cache *made = make(sizeof *made, TIMING_CACHE, ITimingCache_table);
    made->bytes = (size_t)snprintf(made->content, sizeof made->content, "%.*s", (int)bytes,
                                   (const char *)blob);
    return made->base.outer;
}
static bool set_cache(struct config *self, struct object *cache, bool ignore_mismatch) {
    if (ignore_mismatch) mock_die("setTimingCache: a mismatch must be heard of");
    self->cache = (struct cache *)cache->implementation;
    return true;
}
static void set_monitor(struct config *self, void *monitor) { self->monitor = monitor; }

static struct object *new_memory(const char *data, size_t bytes) {
    struct memory *made = make(sizeof *made, HOST_MEMORY, IHostMemory_table);
    made->data = malloc(bytes);
    memcpy(made->data, data, bytes);
    made->bytes = bytes;
    return made->base.outer;
}
static void *memory_data(struct memory *self) { return self->data; }
static size_t memory_size(struct memory *self) { return self->bytes; }
static void *serialize_cache(struct cache *self) { return new_memory(self->content, self->bytes); }

static int nb_inputs(struct network *self) {
    int inputs = 0;
    for (int i = 0; i < self->plan.tensor_count; i++) inputs += self->plan.tensors[i].input;
    return inputs;
}
struct network_tensor { struct implementation base; struct tensor tensor; };
static void *network_input(struct network *self, int index) {
    struct network_tensor *made = make(sizeof *made, KINDS, ITensor_table);
    made->tensor = self->plan.tensors[index];
    /* It belongs to the network. */
    made->base.outer->vtable = ITensor_table;
    return made->base.outer;
}
static const char *network_tensor_name(struct network_tensor *self) { return self->tensor.name; }
static Dims network_tensor_shape(struct network_tensor *self) { return self->tensor.shape; }

static void report(void *monitor, const char *phase, int steps) {
    void **table = *(void ***)monitor;
    ((void (*)(void *, const char *, const char *, int))table[4])(monitor, phase, NULL, steps);
    for (int step = 0; step < steps; step++)
        if (!((bool (*)(void *, const char *, int))table[5])(monitor, phase, step))
            mock_die("the build was not to be ended");
    ((void (*)(void *, const char *))table[6])(monitor, phase);
}

static void *build(struct builder *self, struct object *network, struct object *config) {
    (void)self;
    mock_need_context("buildSerializedNetwork");
    if (mock_fails("buildSerializedNetwork")) {
        say(1, "buildSerializedNetwork: Error Code 2: fails as asked for");
        return NULL;
    }
    struct network *from = (struct network *)network->implementation;
    struct config *with = (struct config *)config->implementation;
    if (!from->parsed) mock_die("buildSerializedNetwork: an empty network");
    if (with->monitor) report(with->monitor, "Timing the layers", 3);
    char text[4096];
    int used = snprintf(text, sizeof text, "mockplan %d\n", MAJOR);
    bool dynamic = false;
    for (int i = 0; i < from->plan.tensor_count; i++) {
        const struct tensor *tensor = &from->plan.tensors[i];
        used += snprintf(text + used, sizeof text - used, "tensor %s %s %d %d",
                         tensor->input ? "in" : "out", tensor->name, tensor->type, tensor->shape.n);
        for (int d = 0; d < tensor->shape.n; d++) {
            dynamic |= tensor->shape.d[d] == -1;
            used += snprintf(text + used, sizeof text - used, " %ld", (long)tensor->shape.d[d]);
        }
        used += snprintf(text + used, sizeof text - used, "\n");
    }
    if (dynamic && !with->profile_count) mock_die("buildSerializedNetwork: no profile");
    for (int i = 0; i < with->profile_count; i++)
        used += snprintf(text + used, sizeof text - used, "profile %ld %ld %ld\n",
                         (long)with->profiles[i]->dims[0][0].d[0],
                         (long)with->profiles[i]->dims[0][1].d[0],
                         (long)with->profiles[i]->dims[0][2].d[0]);
    used += snprintf(text + used, sizeof text - used, "scratch 65536\nweights 1048576\n");
    for (int flag = 0; flag < 32; flag++)
        if (with->flags[flag]) used += snprintf(text + used, sizeof text - used, "flag %d\n", flag);
    used += snprintf(text + used, sizeof text - used, "workspace %zu\n", with->workspace);
    if (with->cache)
        with->cache->bytes += (size_t)snprintf(with->cache->content + with->cache->bytes,
                                               sizeof with->cache->content - with->cache->bytes,
                                               with->cache->bytes ? "+1" : "mockcache 1");
    return new_memory(text, (size_t)used);
}

/* For the parser's library: what the network is to hold. */
void mock_fill_network(void *network, const char *lines) {
    struct network *to = (struct network *)((struct object *)network)->implementation;
    char text[2048];
    snprintf(text, sizeof text, "%s", lines);
    for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        parse_line(&to->plan, line);
    to->parsed = true;
}

/* ---- the end of an object ---- */

static void delete(struct object *self) {
    struct implementation *inner = self->implementation;
    if (!inner) mock_die("an object that has ended");
    switch (inner->kind) {
    case RUNTIME:
        if (((struct runtime *)inner)->engines) mock_die("the runtime ends before its engines");
        break;
    case ENGINE: {
        struct engine *engine = (struct engine *)inner;
        mock_need_context("the end of an engine");
        if (engine->contexts) mock_die("an engine ends before its contexts");
        if (engine->weights) mock_free(engine->weights);
        engine->runtime->engines--;
        break;
    }
    case CONTEXT: {
        struct context *context = (struct context *)inner;
        mock_need_context("the end of a context");
        if (context->enqueued) mock_die("a context ends while a run is under way");
        for (int i = 0; i < PROFILES; i++)
            if (context->engine->users[i] == context) context->engine->users[i] = NULL;
        context->engine->contexts--;
        context->dead = true;
        break;
    }
    default:
        break;
    }
    mock_live(inner->kind, -1);
    /* Not freed, so that a later use is seen. */
    self->implementation = NULL;
}

/* ---- what the library exports ---- */

#define AT(class, name, function)                                                                \
    do {                                                                                         \
        if (class##_##name >= 0) class##_table[class##_##name] = (void *)(function);             \
    } while (0)

__attribute__((constructor)) static void fill(void) {
    AT(IRuntime, deserializeCudaEngine, deserialize);
    if (VERSION >= 8600) AT(IRuntime, setEngineHostCodeAllowed, allow_host_code);
    if (MAJOR == 8) AT(ICudaEngine, createExecutionContextWithoutDeviceMemory, new_context);
    else AT(ICudaEngine, createExecutionContext, new_context_by_strategy);
    if (VERSION < 100100) AT(ICudaEngine, getDeviceMemorySize, scratch_size);
    if (VERSION >= 100100) AT(ICudaEngine, getDeviceMemorySizeV2, scratch_size_v2);
    AT(ICudaEngine, getNbIOTensors, nb_tensors);
    AT(ICudaEngine, getIOTensorName, tensor_name);
    AT(ICudaEngine, getTensorShape, engine_shape);
    AT(ICudaEngine, getTensorDataType, tensor_type);
    AT(ICudaEngine, getTensorLocation, tensor_location);
    AT(ICudaEngine, isShapeInferenceIO, is_shape_tensor);
    AT(ICudaEngine, getTensorIOMode, tensor_mode);
    AT(ICudaEngine, getTensorFormat, tensor_format);
    AT(ICudaEngine, getProfileShape, profile_shape);
    AT(ICudaEngine, getNbOptimizationProfiles, nb_profiles);
    AT(ICudaEngine, hasImplicitBatchDimension, implicit_batch);
    AT(IExecutionContext, setOptimizationProfileAsync, set_profile);
    AT(IExecutionContext, setInputShape, set_input_shape);
    AT(IExecutionContext, getTensorShape, context_shape);
    AT(IExecutionContext, setTensorAddress, set_address);
    AT(IExecutionContext, enqueueV3, enqueue);
    if (VERSION < 100100) AT(IExecutionContext, setDeviceMemory, set_scratch);
    if (VERSION >= 100100) AT(IExecutionContext, setDeviceMemoryV2, set_scratch_v2);
    AT(IBuilder, createNetworkV2, new_network);
    AT(IBuilder, createBuilderConfig, new_config);
    AT(IBuilder, createOptimizationProfile, new_profile);
    AT(IBuilder, buildSerializedNetwork, build);
    AT(IBuilderConfig, setFlag, set_flag);
    AT(IBuilderConfig, clearFlag, clear_flag);
    AT(IBuilderConfig, setMemoryPoolLimit, set_limit);
    AT(IBuilderConfig, addOptimizationProfile, add_profile);
    AT(IBuilderConfig, createTimingCache, new_cache);
    AT(IBuilderConfig, setTimingCache, set_cache);
    AT(IBuilderConfig, setProgressMonitor, set_monitor);
    AT(ITimingCache, serialize, serialize_cache);
    AT(INetworkDefinition, getNbInputs, nb_inputs);
    AT(INetworkDefinition, getInput, network_input);
    AT(ITensor, getName, network_tensor_name);
    AT(ITensor, getDimensions, network_tensor_shape);
    AT(IOptimizationProfile, setDimensions, set_dimensions);
    AT(IOptimizationProfile, isValid, profile_is_valid);
    AT(IHostMemory, data, memory_data);
    AT(IHostMemory, size, memory_size);
    PublicObject_table[1] = (void *)delete;
}

int getInferLibVersion(void) {
    const char *other = getenv("MOCK_VERSION");
    return other ? atoi(other) : VERSION;
}

void *createInferRuntime_INTERNAL(void *logger_, int version) {
    mock_need_context("createInferRuntime");
    if (version != VERSION) mock_die("createInferRuntime: version %d", version);
    logger = logger_;
    int64_t code = mock_fails("createInferRuntime");
    /* Without a GPU, 10.16 and 11.4 return a small number. */
    if (code) return (void *)(code == 1 ? 0 : code);
    say(3, "a message of the runtime");
    return ((struct runtime *)make(sizeof(struct runtime), RUNTIME, IRuntime_table))->base.outer;
}

#ifndef LEAN
void *createInferBuilder_INTERNAL(void *logger_, int version) {
    mock_need_context("createInferBuilder");
    if (version != VERSION) mock_die("createInferBuilder: version %d", version);
    logger = logger_;
    if (mock_fails("createInferBuilder")) return NULL;
    return ((struct builder *)make(sizeof(struct builder), BUILDER, IBuilder_table))->base.outer;
}
#endif
