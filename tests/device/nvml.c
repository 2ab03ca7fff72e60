/* A stand-in for NVIDIA's management library: two GPUs, one of them old and silent. The numbers of
 * functions, errors and structures are those of nvml.h. What it is to tell stands in the file
 * BEHAVIOUR, as words: "no-driver", "lost", "hot". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NO_DRIVER = 9, LOST = 15 };

static int open_calls;

static int is_told(const char *word) {
    char text[256] = "";
    FILE *file = fopen(BEHAVIOUR, "r");
    if (file) {
        size_t n = fread(text, 1, sizeof text - 1, file);
        text[n] = 0;
        fclose(file);
    }
    return strstr(text, word) != NULL;
}

/* Handles are 1 and 2. The second GPU tells its name and nothing else. */
static int check(void *gpu) {
    if (open_calls != 1) abort();
    if (gpu != (void *)1 && gpu != (void *)2) abort();
    if (is_told("lost")) return LOST;
    return gpu == (void *)1 ? OK : NOT_SUPPORTED;
}

int nvmlInit_v2(void) {
    if (is_told("no-driver")) return NO_DRIVER;
    open_calls++;
    return OK;
}

int nvmlShutdown(void) {
    open_calls--;
    return OK;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 2;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) {
    if (index > 1) return INVALID;
    if (index == 1 && is_told("lost")) return LOST;
    *gpu = (void *)(size_t)(index + 1);
    return OK;
}

int nvmlDeviceGetName(void *gpu, char *name, unsigned size) {
    if (is_told("lost")) return LOST;
    snprintf(name, size, gpu == (void *)1 ? "NVIDIA A2" : "Quadro K600");
    return OK;
}

int nvmlDeviceGetUUID(void *gpu, char *uuid, unsigned size) {
    snprintf(uuid, size, "GPU-8e7a");
    return check(gpu);
}

int nvmlDeviceGetUtilizationRates(void *gpu, unsigned *gpu_and_memory) {
    gpu_and_memory[0] = 73;
    gpu_and_memory[1] = 40;
    return check(gpu);
}

struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

int nvmlDeviceGetMemoryInfo_v2(void *gpu, struct memory_v2 *memory) {
    if (memory->version != (sizeof *memory | 2u << 24)) abort();
    memory->total = 16ull << 30;
    memory->reserved = 256ull << 20;
    memory->used = 5ull << 30;
    memory->free = memory->total - memory->reserved - memory->used;
    return check(gpu);
}

int nvmlDeviceGetTemperature(void *gpu, unsigned sensor, unsigned *celsius) {
    if (sensor != 0) abort();
    *celsius = 64;
    return check(gpu);
}

int nvmlDeviceGetPowerUsage(void *gpu, unsigned *milliwatts) {
    *milliwatts = 41500;
    return check(gpu);
}

int nvmlDeviceGetEnforcedPowerLimit(void *gpu, unsigned *milliwatts) {
    *milliwatts = is_told("hot") ? 40000 : 60000;
    return check(gpu);
}

/* Grows by 41.5 J from call to call. */
int nvmlDeviceGetTotalEnergyConsumption(void *gpu, unsigned long long *millijoules) {
    static unsigned long long total = 123456789;
    *millijoules = total += gpu == (void *)1 ? 41500 : 0;
    return check(gpu);
}

int nvmlDeviceGetClockInfo(void *gpu, unsigned kind, unsigned *mhz) {
    if (kind != 0) abort();
    *mhz = 1410;
    return check(gpu);
}

int nvmlDeviceGetMaxClockInfo(void *gpu, unsigned kind, unsigned *mhz) {
    if (kind != 0) abort();
    *mhz = 1770;
    return check(gpu);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *gpu, unsigned long long *reasons) {
    /* Hardware slowdown, and for heat; else that nothing runs. */
    *reasons = is_told("hot") ? 0x48 : 0x1;
    return check(gpu);
}
