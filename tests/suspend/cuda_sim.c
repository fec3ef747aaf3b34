/* A stand-in for the CUDA driver's library, for tests: the part of its public interface that the suspend test asks for.
 *
 * Built as libcuda.so.1. It shares the folder named by SWANGPU_CUDA_SIM with the stand-in of cuda-checkpoint, where the
 * files are described. "Device memory" is ordinary memory of the process; what it holds is written to <pid>.mem, so that
 * every process sees how much of a device is free. <pid>.corrupt makes what is read differ from what was written.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100 };

static char uuid[64];
static size_t total, held;

static FILE *open_file(const char *name, const char *mode) {
    char path[1024];
    const char *folder = getenv("SWANGPU_CUDA_SIM");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "/nowhere", name);
    return fopen(path, mode);
}

static FILE *file_of(long pid, const char *kind, const char *mode) {
    char name[64];
    snprintf(name, sizeof name, "%ld.%s", pid, kind);
    return open_file(name, mode);
}

static int there(long pid, const char *kind) {
    FILE *f = file_of(pid, kind, "r");
    if (f) fclose(f);
    return f != NULL;
}

int cuInit(unsigned flags) {
    char line[256], name[64];
    const char *wanted = getenv("CUDA_VISIBLE_DEVICES");
    unsigned long long bytes;
    FILE *f = open_file("devices", "r");
    (void)flags;
    if (!f) return NO_DEVICE;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "%63s %llu", name, &bytes) == 2 && (!wanted || !strcmp(wanted, name))) {
            snprintf(uuid, sizeof uuid, "%s", name);
            total = bytes;
            break;
        }
    fclose(f);
    return uuid[0] ? OK : NO_DEVICE;
}

int cuDeviceGet(int *device, int ordinal) {
    *device = 0;
    return ordinal ? INVALID : OK;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    *context = &total;
    return OK;
}

int cuCtxSetCurrent(void *context) { return context ? OK : INVALID; }

/* What others hold counts unless they are suspended. */
static size_t used(void) {
    size_t sum = 0;
    const char *folder = getenv("SWANGPU_CUDA_SIM");
    DIR *entries = opendir(folder ? folder : "/nowhere");
    struct dirent *entry;
    while (entries && (entry = readdir(entries))) {
        char on[64], state[32] = "running";
        char *end;
        unsigned long long bytes;
        long pid = strtol(entry->d_name, &end, 10);
        FILE *f;
        if (pid <= 0 || strcmp(end, ".mem") || (kill((pid_t)pid, 0) && errno == ESRCH)) continue;
        if ((f = file_of(pid, "state", "r"))) {
            if (fscanf(f, "%31s", state) != 1) state[0] = 0;
            fclose(f);
        }
        if (!strcmp(state, "checkpointed") && !there(pid, "kept")) continue;
        if (!(f = file_of(pid, "mem", "r"))) continue;
        while (fscanf(f, "%63s %llu", on, &bytes) == 2)
            if (!strcmp(on, uuid)) sum += bytes;
        fclose(f);
    }
    if (entries) closedir(entries);
    return sum;
}

int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
    size_t now = used();
    *free_bytes = now < total ? total - now : 0;
    *total_bytes = total;
    return OK;
}

int cuMemAlloc_v2(uint64_t *address, size_t size) {
    FILE *f;
    void *memory = used() + size <= total ? malloc(size) : NULL;
    if (!memory) return OUT_OF_MEMORY;
    held += size;
    if (!(f = file_of((long)getpid(), "mem", "w"))) return INVALID;
    fprintf(f, "%s %zu\n", uuid, held);
    fclose(f);
    *address = (uint64_t)(uintptr_t)memory;
    return OK;
}

int cuMemcpyHtoD_v2(uint64_t address, const void *from, size_t size) {
    memcpy((void *)(uintptr_t)address, from, size);
    return OK;
}

int cuMemcpyDtoH_v2(void *to, uint64_t address, size_t size) {
    memcpy(to, (void *)(uintptr_t)address, size);
    if (size && there((long)getpid(), "corrupt")) ((char *)to)[size / 2] ^= 1;
    return OK;
}

int cuGetErrorString(int code, const char **text) {
    *text = code == NO_DEVICE ? "no CUDA-capable device is detected" : code == OUT_OF_MEMORY ? "out of memory" : "invalid argument";
    return OK;
}
