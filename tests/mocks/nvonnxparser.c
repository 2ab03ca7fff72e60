/* A mock of libnvonnxparser and of libnvinfer_plugin. It reads no ONNX: whatever the file, the
   network is the one of tests/data/double.onnx, or the lines in MOCK_NETWORK. */
#include "mock.h"
#include "slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mock_fill_network(void *network, const char *lines);

struct parser { void **vtable; void *network; bool native_norm, failed; };
struct error { void **vtable; };

TABLE(IParser) TABLE(IParserError)

static bool parse_file(struct parser *self, const char *path, int verbosity) {
    if (verbosity != 2) mock_die("parseFromFile: verbosity %d", verbosity);
    FILE *file = fopen(path, "rb");
    if (!file) mock_die("parseFromFile: '%s' is not there", path);
    fclose(file);
    if (mock_fails("parseFromFile")) {
        self->failed = true;
        return false;
    }
    const char *lines = getenv("MOCK_NETWORK");
    mock_fill_network(self->network, lines ? lines
        : "tensor in INPUT0 0 2 -1 16\ntensor out OUTPUT0 0 2 -1 16\n");
    return true;
}

static int nb_errors(struct parser *self) { return self->failed; }
static const char *describe(struct error *self) {
    (void)self;
    return "No importer registered for op: Frobnicate";
}
static int node(struct error *self) {
    (void)self;
    return 17;
}
static void *get_error(struct parser *self, int index) {
    static struct error error = { IParserError_table };
    if (!self->failed || index) mock_die("getError(%d)", index);
    return &error;
}
static void set_flag(struct parser *self, int flag) {
    if (flag) mock_die("setFlag: %d", flag);
    self->native_norm = true;
}
static void delete(struct parser *self) {
    if (!self->network) mock_die("a parser that has ended");
    self->network = NULL;
    mock_live(PARSER, -1);
}

void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) {
    if (!network || !logger) mock_die("createNvOnnxParser: no network or logger");
    if (version != 100) mock_die("createNvOnnxParser: version %d", version);
    if (mock_fails("createNvOnnxParser")) return NULL;
    IParser_table[IParser_parseFromFile] = (void *)parse_file;
    IParser_table[IParser_getNbErrors] = (void *)nb_errors;
    IParser_table[IParser_getError] = (void *)get_error;
    IParser_table[IParser_setFlag] = (void *)set_flag;
    IParser_table[IParser_delete] = (void *)delete;
    IParserError_table[IParserError_desc] = (void *)describe;
    IParserError_table[IParserError_node] = (void *)node;
    struct parser *made = calloc(1, sizeof *made);
    made->vtable = IParser_table;
    made->network = network;
    mock_live(PARSER, 1);
    return made;
}

bool initLibNvInferPlugins(void *logger, const char *name_space) {
    if (!logger || strcmp(name_space, "")) mock_die("initLibNvInferPlugins: '%s'", name_space);
    mock_count(PLUGIN_INITS, 1);
    return true;
}
