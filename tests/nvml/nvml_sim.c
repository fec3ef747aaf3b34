/* A stand-in for the NVIDIA management library, for tests: the part of its public interface that swangpu asks for.
 *
 * Built as libnvidia-ml.so.1. Its state is a text file named by SWANGPU_NVML_SIM, read again whenever it changes, so
 * that a test loses a device or hangs a call while a program runs. One setting a line:
 *
 *   driver 575.57.08                  the driver's version
 *   gpus 8                            how many devices there are
 *   gpu.0.name NVIDIA A100-SXM4-40GB
 *   gpu.0.uuid GPU-...
 *   gpu.0.memory_mib 40960
 *   gpu.0.used_mib 512
 *   gpu.0.util 57                     percent
 *   gpu.0.power_mw 250000
 *   gpu.0.temperature_c 61
 *   gpu.0.samples 10 20 90            what the driver samples in turns, six times a second (else always "util")
 *   gpu.0.rates 1000 2000 300 400     bytes/s: PCIe sent and received, NVLink sent and received (else not supported)
 *   gpu.0.reasons 68                  why the clocks are low, as bits
 *   gpu.0.ecc 2                       uncorrected memory errors
 *   gpu.0.xid 79                      an error of the driver, told once each time this changes
 *   gpu.0.sm 33                       there is GPM, and so many percent of the multiprocessors are busy
 *   gpu.0.lost 1                      comes back after the library was shut down and initialized again
 *   gpu.0.mig 7 1g.5gb 4864           MIG devices of this profile and memory (MiB); absent: MIG is off
 *   gpu.0.proc 4242 1024 3            pid, MiB used, MIG device (-1: none); may be repeated
 *   fail nvmlInitWithFlags 9          this function answers this error code, for all devices
 *   gpu.0.fail nvmlDeviceGetUtilizationRates 3      for one device ("*" is every function)
 *   hang nvmlInitWithFlags 10         this function takes so many seconds
 *   delay_us 200                      every function takes so many microseconds
 *   gpu.0.hang nvmlDeviceGetMemoryInfo_v2 10
 *
 * The file is looked at in each call, or at most every SWANGPU_NVML_SIM_LOOK_US microseconds.
 * Each call appends "function thread-id" to the file named by SWANGPU_NVML_SIM_CALLS, and counts itself in the file named
 * by SWANGPU_NVML_SIM_COUNT: two numbers of eight bytes, all calls and those of the main thread.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifndef __APPLE__
#include <sys/syscall.h>
#endif

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, LOST = 15, UNKNOWN = 999 };
enum { MAX_GPUS = 32, MAX_MIG = 7, MAX_PROCS = 64, MAX_RULES = 64, MAX_SAMPLES = 120, MAX_EVENTS = 32 };
#define MIB (1024ULL * 1024ULL)

typedef struct { int gpu, mig; } handle_t; /* mig is -1 for a device */
typedef struct { unsigned pid; unsigned long long mib; int mig; } proc_t;
typedef struct { int gpu, hang; char function[64]; int value; } rule_t; /* gpu is -1 for all */
typedef struct {
    char name[96], uuid[96], profile[32];
    unsigned long long memory_mib, used_mib, mig_memory_mib;
    unsigned util, power_mw;
    int temperature_c, lost, migs, nprocs, nsamples, sm, has_rates, ecc, xid;
    int refused_field, refused_code; /* one field of a batch, and what it answers instead */
    unsigned samples[32];
    unsigned long long rates[4], reasons;
    proc_t procs[MAX_PROCS];
} gpu_t;

static handle_t handles[MAX_GPUS][MAX_MIG + 1];
static gpu_t gpus[MAX_GPUS];
static rule_t rules[MAX_RULES];
static unsigned delay_us;
static unsigned long long here[2], *counted;
static int told_xid[MAX_GPUS], events[MAX_EVENTS][2], nevents, registered[MAX_GPUS];
static long long looked_at_us, look_us = -1;
static int ngpus, nrules, initialized, generation, lost_in[MAX_GPUS];
static char driver_version[80];
static struct timespec read_at;
static long long read_size = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void reset(void) {
    ngpus = nrules = 0;
    delay_us = 0;
    strcpy(driver_version, "575.57.08");
    memset(gpus, 0, sizeof gpus);
    for (int i = 0; i < MAX_GPUS; i++) {
        snprintf(gpus[i].name, sizeof gpus[i].name, "Tesla T4");
        snprintf(gpus[i].uuid, sizeof gpus[i].uuid, "GPU-00000000-0000-0000-0000-%012d", i);
        gpus[i].memory_mib = 15360;
        gpus[i].power_mw = 30000;
        gpus[i].temperature_c = 40;
        gpus[i].sm = -1;
        for (int m = 0; m <= MAX_MIG; m++) {
            handles[i][m].gpu = i;
            handles[i][m].mig = m - 1;
        }
    }
}

static void add_rule(int gpu, int hang, const char *text) {
    rule_t *r = &rules[nrules];
    if (nrules < MAX_RULES && sscanf(text, "%63s %d", r->function, &r->value) == 2) {
        r->gpu = gpu;
        r->hang = hang;
        nrules++;
    }
}

static void set_gpu(int i, const char *key, const char *text) {
    gpu_t *g = &gpus[i];
    if (!strcmp(key, "name")) snprintf(g->name, sizeof g->name, "%s", text);
    else if (!strcmp(key, "uuid")) snprintf(g->uuid, sizeof g->uuid, "%s", text);
    else if (!strcmp(key, "memory_mib")) g->memory_mib = strtoull(text, NULL, 10);
    else if (!strcmp(key, "used_mib")) g->used_mib = strtoull(text, NULL, 10);
    else if (!strcmp(key, "util")) g->util = (unsigned)atoi(text);
    else if (!strcmp(key, "power_mw")) g->power_mw = (unsigned)atoi(text);
    else if (!strcmp(key, "temperature_c")) g->temperature_c = atoi(text);
    else if (!strcmp(key, "sm")) g->sm = atoi(text);
    else if (!strcmp(key, "ecc")) g->ecc = atoi(text);
    else if (!strcmp(key, "refuse")) sscanf(text, "%d %d", &g->refused_field, &g->refused_code);
    else if (!strcmp(key, "xid")) g->xid = atoi(text);
    else if (!strcmp(key, "reasons")) g->reasons = strtoull(text, NULL, 10);
    else if (!strcmp(key, "rates"))
        g->has_rates = sscanf(text, "%llu %llu %llu %llu", &g->rates[0], &g->rates[1], &g->rates[2], &g->rates[3]) == 4;
    else if (!strcmp(key, "samples")) {
        char *end;
        while (g->nsamples < 32) {
            unsigned long value = strtoul(text, &end, 10);
            if (end == text) break;
            g->samples[g->nsamples++] = (unsigned)value;
            text = end;
        }
    }
    else if (!strcmp(key, "lost")) g->lost = atoi(text);
    else if (!strcmp(key, "mig")) sscanf(text, "%d %31s %llu", &g->migs, g->profile, &g->mig_memory_mib);
    else if (!strcmp(key, "fail")) add_rule(i, 0, text);
    else if (!strcmp(key, "hang")) add_rule(i, 1, text);
    else if (!strcmp(key, "proc") && g->nprocs < MAX_PROCS) {
        proc_t *p = &g->procs[g->nprocs];
        p->mig = -1;
        if (sscanf(text, "%u %llu %d", &p->pid, &p->mib, &p->mig) >= 2) g->nprocs++;
    }
}

static long long clock_us(clockid_t which) {
    struct timespec t;
    clock_gettime(which, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

/* Called with the lock held. */
static void read_state(void) {
    const char *path = getenv("SWANGPU_NVML_SIM");
    struct stat st;
    char line[512], key[64];
    FILE *f;
    long long now = clock_us(CLOCK_MONOTONIC);
    if (look_us < 0) {
        const char *given = getenv("SWANGPU_NVML_SIM_LOOK_US");
        look_us = given ? atoll(given) : 0;
    }
    if (looked_at_us && now - looked_at_us < look_us) return;
    looked_at_us = now;
    if (!path || stat(path, &st)) {
        if (read_size == -1) { reset(); read_size = -2; }
        return;
    }
#ifdef __APPLE__
    struct timespec changed = st.st_mtimespec;
#else
    struct timespec changed = st.st_mtim;
#endif
    if (st.st_size == read_size && changed.tv_sec == read_at.tv_sec && changed.tv_nsec == read_at.tv_nsec) return;
    if (!(f = fopen(path, "r"))) return;
    reset();
    while (fgets(line, sizeof line, f)) {
        int i, n = 0;
        line[strcspn(line, "\r\n")] = 0;
        if (sscanf(line, "gpu.%d.%63s %n", &i, key, &n) >= 2 && n && i >= 0 && i < MAX_GPUS) set_gpu(i, key, line + n);
        else if (sscanf(line, "gpus %d", &n) == 1) ngpus = n < MAX_GPUS ? n : MAX_GPUS;
        else if (sscanf(line, "delay_us %d", &n) == 1) delay_us = (unsigned)n;
        else if (!strncmp(line, "driver ", 7)) snprintf(driver_version, sizeof driver_version, "%.79s", line + 7);
        else if (!strncmp(line, "fail ", 5)) add_rule(-1, 0, line + 5);
        else if (!strncmp(line, "hang ", 5)) add_rule(-1, 1, line + 5);
    }
    fclose(f);
    read_size = st.st_size;
    read_at = changed;
    for (int i = 0; i < MAX_GPUS; i++) {
        if (gpus[i].lost) lost_in[i] = generation;
        if (gpus[i].xid != told_xid[i] && gpus[i].xid && nevents < MAX_EVENTS) {
            events[nevents][0] = i;
            events[nevents++][1] = gpus[i].xid;
        }
        told_xid[i] = gpus[i].xid;
    }
}

static int on_main_thread(void) {
#ifdef __APPLE__
    return pthread_main_np();
#else
    return getpid() == (pid_t)syscall(SYS_gettid);
#endif
}

__attribute__((constructor)) static void loaded(void) {
    const char *path = getenv("SWANGPU_NVML_SIM_COUNT");
    int file = path ? open(path, O_RDWR | O_CREAT, 0600) : -1;
    counted = here;
    if (file < 0) return;
    if (!ftruncate(file, sizeof here)) {
        void *found = mmap(NULL, sizeof here, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (found != MAP_FAILED) counted = found;
    }
    close(file);
}

static void count(const char *function) {
    counted[0]++;
    if (on_main_thread()) counted[1]++;
    const char *path = getenv("SWANGPU_NVML_SIM_CALLS");
    FILE *f = path ? fopen(path, "a") : NULL;
    if (!f) return;
    fprintf(f, "%s %llu\n", function, (unsigned long long)(uintptr_t)pthread_self());
    fclose(f);
}

/* What every call does first: count it, read the state, hang or fail as told. The answer is an NVML error code. */
static int enter(const char *function, int gpu) {
    int code = OK, seconds = 0;
    pthread_mutex_lock(&lock);
    count(function);
    read_state();
    for (int i = 0; i < nrules; i++) {
        rule_t *r = &rules[i];
        if ((r->gpu != -1 && r->gpu != gpu) || (strcmp(r->function, "*") && strcmp(r->function, function))) continue;
        if (r->hang) seconds = r->value;
        else code = r->value;
    }
    if (code == OK && gpu >= 0 && (gpus[gpu].lost || (generation && lost_in[gpu] == generation))) code = LOST;
    if (code == OK && !initialized && strncmp(function, "nvmlInit", 8)) code = UNINITIALIZED;
    unsigned wait_us = delay_us;
    pthread_mutex_unlock(&lock);
    if (wait_us) usleep(wait_us);
    if (seconds) sleep((unsigned)seconds);
    return code;
}

#define ENTER(gpu) do { int code_ = enter(__func__, (gpu)); if (code_) return code_; } while (0)
#define GPU(h) (&gpus[(h)->gpu])

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    ENTER(-1);
    pthread_mutex_lock(&lock);
    if (initialized++ == 0) generation++;
    for (int i = 0; i < MAX_GPUS; i++)
        if (gpus[i].lost) lost_in[i] = generation;
    pthread_mutex_unlock(&lock);
    return OK;
}

int nvmlShutdown(void) {
    ENTER(-1);
    pthread_mutex_lock(&lock);
    initialized--;
    pthread_mutex_unlock(&lock);
    return OK;
}

const char *nvmlErrorString(int code) {
    (void)code;
    return "simulated error";
}

int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    ENTER(-1);
    snprintf(out, size, "%s", driver_version);
    return OK;
}

int nvmlDeviceGetCount_v2(unsigned *out) {
    ENTER(-1);
    *out = (unsigned)ngpus;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle_t **out) {
    if (index >= MAX_GPUS) return INVALID;
    ENTER((int)index);
    if ((int)index >= ngpus) return INVALID;
    *out = &handles[index][0];
    return OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, handle_t **out) {
    for (int i = 0; i < ngpus; i++)
        if (!strcmp(gpus[i].uuid, uuid)) {
            ENTER(i);
            *out = &handles[i][0];
            return OK;
        }
    ENTER(-1);
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(handle_t *h, char *out, unsigned size) {
    ENTER(h->gpu);
    if (h->mig < 0) snprintf(out, size, "%s", GPU(h)->uuid);
    else snprintf(out, size, "MIG-%08x-%s", h->mig + 1, GPU(h)->uuid + 13);
    return OK;
}

int nvmlDeviceGetName(handle_t *h, char *out, unsigned size) {
    ENTER(h->gpu);
    if (h->mig < 0) snprintf(out, size, "%s", GPU(h)->name);
    else snprintf(out, size, "%s MIG %s", GPU(h)->name, GPU(h)->profile);
    return OK;
}

static void memory_of(handle_t *h, unsigned long long *total, unsigned long long *used) {
    gpu_t *g = GPU(h);
    *total = (h->mig < 0 ? g->memory_mib : g->mig_memory_mib) * MIB;
    *used = h->mig < 0 ? g->used_mib * MIB : 0;
    if (h->mig >= 0)
        for (int i = 0; i < g->nprocs; i++)
            if (g->procs[i].mig == h->mig) *used += g->procs[i].mib * MIB;
}

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;

int nvmlDeviceGetMemoryInfo(handle_t *h, memory_t *out) {
    ENTER(h->gpu);
    memory_of(h, &out->total, &out->used);
    out->free = out->total - out->used;
    return OK;
}

int nvmlDeviceGetMemoryInfo_v2(handle_t *h, memory_v2_t *out) {
    ENTER(h->gpu);
    if (out->version != (sizeof *out | 2u << 24)) return 25;
    memory_of(h, &out->total, &out->used);
    out->reserved = 0;
    out->free = out->total - out->used;
    return OK;
}

int nvmlDeviceGetUtilizationRates(handle_t *h, unsigned out[2]) {
    ENTER(h->gpu);
    if (GPU(h)->migs) return NOT_SUPPORTED; /* as on an A100 with MIG on */
    out[0] = GPU(h)->util;
    out[1] = 0;
    return OK;
}

/* What other tools ask for beside, and this driver does not have. */
#define ABSENT(name) int name(handle_t *h) { ENTER(h->gpu); return NOT_SUPPORTED; }
ABSENT(nvmlDeviceGetFanSpeed)
ABSENT(nvmlDeviceGetEncoderUtilization)
ABSENT(nvmlDeviceGetDecoderUtilization)
ABSENT(nvmlDeviceGetMaxClockInfo)
ABSENT(nvmlDeviceGetPowerManagementLimit)
ABSENT(nvmlDeviceGetDisplayActive)
ABSENT(nvmlDeviceGetDisplayMode)
ABSENT(nvmlDeviceGetPersistenceMode)
ABSENT(nvmlDeviceGetPerformanceState)
ABSENT(nvmlDeviceGetTotalEccErrors)
ABSENT(nvmlDeviceGetComputeMode)
ABSENT(nvmlDeviceGetCudaComputeCapability)
ABSENT(nvmlDeviceGetPciInfo_v3)
ABSENT(nvmlDeviceGetDriverModel)

int nvmlDeviceGetNvLinkVersion(handle_t *h, unsigned link, unsigned *out) {
    (void)link;
    (void)out;
    ENTER(h->gpu);
    return NOT_SUPPORTED;
}

int nvmlDeviceGetMaxPcieLinkGeneration(handle_t *h, unsigned *out) {
    ENTER(h->gpu);
    *out = 4;
    return OK;
}

int nvmlDeviceGetMaxPcieLinkWidth(handle_t *h, unsigned *out) {
    ENTER(h->gpu);
    *out = 16;
    return OK;
}

int nvmlDeviceGetEnforcedPowerLimit(handle_t *h, unsigned *out) {
    ENTER(h->gpu);
    *out = 400000;
    return OK;
}

int nvmlDeviceGetIndex(handle_t *h, unsigned *out) {
    ENTER(h->gpu);
    *out = (unsigned)h->gpu;
    return OK;
}

typedef struct { unsigned long long at; unsigned long long value; } sample_t;

/* Six a second, on the clock's sixths, of the last twenty seconds. */
int nvmlDeviceGetSamples(handle_t *h, int which, unsigned long long since, unsigned *type, unsigned *count_, sample_t *out) {
    const unsigned long long step = 1000000 / 6;
    gpu_t *g;
    unsigned n = 0;
    unsigned long long now = (unsigned long long)clock_us(CLOCK_REALTIME), at;
    (void)which;
    ENTER(h->gpu);
    g = GPU(h);
    if (g->migs) return NOT_SUPPORTED;
    *type = 1;
    at = now / step * step;
    at -= (MAX_SAMPLES - 1) * step;
    for (; at <= now; at += step) {
        if (at <= since) continue;
        if (out && n < *count_) {
            out[n].at = at;
            out[n].value = g->nsamples ? g->samples[at / step % (unsigned)g->nsamples] : g->util;
        }
        n++;
    }
    if (out && n > *count_) n = *count_;
    *count_ = n;
    return n ? OK : NOT_FOUND;
}

int nvmlDeviceGetCurrentClocksEventReasons(handle_t *h, unsigned long long *out) {
    ENTER(h->gpu);
    *out = GPU(h)->reasons;
    return OK;
}

/* Events: one set is enough. */
typedef struct { handle_t *device; unsigned long long type, data; unsigned gpu_instance, compute_instance; } event_t;

int nvmlEventSetCreate(void **out) {
    ENTER(-1);
    memset(registered, 0, sizeof registered);
    *out = (void *)registered;
    return OK;
}

int nvmlDeviceRegisterEvents(handle_t *h, unsigned long long types, void *set) {
    (void)set;
    ENTER(h->gpu);
    registered[h->gpu] = (types & 8) != 0;
    return OK;
}

int nvmlEventSetWait_v2(void *set, event_t *out, unsigned timeout_ms) {
    int code = 10; /* timeout */
    (void)set;
    (void)timeout_ms;
    ENTER(-1);
    pthread_mutex_lock(&lock);
    while (nevents && code) {
        int gpu = events[0][0];
        memset(out, 0, sizeof *out);
        out->device = &handles[gpu][0];
        out->type = 8;
        out->data = (unsigned long long)events[0][1];
        memmove(events[0], events[1], sizeof events[0] * (size_t)--nevents);
        if (registered[gpu]) code = OK;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

int nvmlEventSetFree(void *set) {
    (void)set;
    ENTER(-1);
    memset(registered, 0, sizeof registered);
    return OK;
}

/* GPM: a sample holds the device and the time it was taken at. */
typedef struct { int gpu, mig, sm; long long at_us; } gpm_sample_t;
typedef struct { unsigned id; int code; double value; const char *names[3]; } gpm_metric_t;
typedef struct { unsigned version, count; gpm_sample_t *before, *after; gpm_metric_t metrics[477]; } gpm_metrics_t;
typedef struct { unsigned version, supported; } gpm_support_t;

int nvmlGpmQueryDeviceSupport(handle_t *h, gpm_support_t *out) {
    ENTER(h->gpu);
    out->supported = GPU(h)->sm >= 0;
    return OK;
}

int nvmlGpmSampleAlloc(gpm_sample_t **out) {
    ENTER(-1);
    *out = calloc(1, sizeof **out);
    return *out ? OK : UNKNOWN;
}

int nvmlGpmSampleFree(gpm_sample_t *sample) {
    ENTER(-1);
    free(sample);
    return OK;
}

static int gpm_take(handle_t *h, int mig, gpm_sample_t *out) {
    if (GPU(h)->sm < 0) return NOT_SUPPORTED;
    out->gpu = h->gpu;
    out->mig = mig;
    out->sm = GPU(h)->sm;
    out->at_us = clock_us(CLOCK_MONOTONIC);
    return OK;
}

int nvmlGpmSampleGet(handle_t *h, gpm_sample_t *out) {
    ENTER(h->gpu);
    return gpm_take(h, -1, out);
}

int nvmlGpmMigSampleGet(handle_t *h, unsigned instance, gpm_sample_t *out) {
    ENTER(h->gpu);
    return gpm_take(h, (int)instance, out);
}

int nvmlGpmMetricsGet(gpm_metrics_t *out) {
    ENTER(-1);
    if (!out->before || !out->after || out->before->gpu != out->after->gpu || out->after->at_us < out->before->at_us)
        return INVALID;
    for (unsigned i = 0; i < out->count; i++) {
        gpm_metric_t *m = &out->metrics[i];
        m->code = m->id == 1 || m->id == 2 ? OK : NOT_SUPPORTED;
        m->value = m->id == 1 ? (out->after->sm ? 100.0 : 0.0) : out->after->sm;
    }
    return OK;
}

int nvmlDeviceGetGpuInstanceId(handle_t *h, unsigned *out) {
    ENTER(h->gpu);
    if (h->mig < 0) return INVALID;
    *out = (unsigned)h->mig + 7;
    return OK;
}

int nvmlDeviceGetMigMode(handle_t *h, unsigned *current, unsigned *pending) {
    ENTER(h->gpu);
    if (strstr(GPU(h)->name, "T4")) return NOT_SUPPORTED;
    *current = *pending = GPU(h)->migs > 0;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(handle_t *h, unsigned *out) {
    ENTER(h->gpu);
    *out = GPU(h)->migs ? MAX_MIG : 0;
    return OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(handle_t *h, unsigned index, handle_t **out) {
    ENTER(h->gpu);
    if (index >= MAX_MIG || (int)index >= GPU(h)->migs) return NOT_FOUND;
    *out = &handles[h->gpu][index + 1];
    return OK;
}

typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process_t;

int nvmlDeviceGetComputeRunningProcesses_v3(handle_t *h, unsigned *count_, process_t *out) {
    gpu_t *g;
    unsigned n = 0, room = *count_;
    ENTER(h->gpu);
    g = GPU(h);
    for (int i = 0; i < g->nprocs; i++) {
        if (h->mig >= 0 && g->procs[i].mig != h->mig) continue;
        if (out && n < room) {
            out[n].pid = g->procs[i].pid;
            out[n].used = g->procs[i].mib * MIB;
            out[n].gpu_instance = out[n].compute_instance = 0xffffffffu;
        }
        n++;
    }
    *count_ = n;
    return n > room ? TOO_SMALL : OK;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(handle_t *h, unsigned *count_, process_t *out) {
    (void)out;
    ENTER(h->gpu);
    *count_ = 0;
    return OK;
}

typedef struct { unsigned long long at; unsigned pid, sm, mem, enc, dec, jpg, ofa; } use_t;
typedef struct { unsigned version, count; unsigned long long since; use_t *uses; } uses_t;

int nvmlDeviceGetProcessesUtilizationInfo(handle_t *h, uses_t *out) {
    gpu_t *g;
    ENTER(h->gpu);
    g = GPU(h);
    if (g->migs) return NOT_SUPPORTED;
    if (!g->nprocs) return NOT_FOUND;
    if ((int)out->count < g->nprocs || !out->uses) {
        out->count = (unsigned)g->nprocs;
        return TOO_SMALL;
    }
    out->count = (unsigned)g->nprocs;
    for (int i = 0; i < g->nprocs; i++) {
        memset(&out->uses[i], 0, sizeof(use_t));
        out->uses[i].at = out->since + 1000000;
        out->uses[i].pid = g->procs[i].pid;
        out->uses[i].sm = g->util / (unsigned)g->nprocs;
    }
    return OK;
}

typedef struct {
    unsigned field, scope;
    long long at, latency;
    unsigned type;
    int code;
    union { double d; unsigned u; unsigned long long ull; } value;
} field_t;

int nvmlDeviceGetFieldValues(handle_t *h, int n, field_t *fields) {
    ENTER(h->gpu);
    for (int i = 0; i < n; i++) {
        fields[i].code = OK;
        if (GPU(h)->refused_field && (int)fields[i].field == GPU(h)->refused_field) {
            fields[i].code = GPU(h)->refused_code;
        } else if (fields[i].field == 186) { /* power now, mW */
            fields[i].type = 1;
            fields[i].value.u = GPU(h)->power_mw;
        } else if (fields[i].field == 83) { /* energy since the driver was loaded, mJ */
            fields[i].type = 3;
            fields[i].value.ull = 123456789ULL + GPU(h)->power_mw;
        } else if (fields[i].field == 4) { /* uncorrected memory errors */
            fields[i].type = 3;
            fields[i].value.ull = (unsigned long long)GPU(h)->ecc;
        } else if (GPU(h)->has_rates && (fields[i].field == 197 || fields[i].field == 198)) { /* PCIe bytes */
            fields[i].type = 3;
            fields[i].value.ull = (unsigned long long)(GPU(h)->rates[fields[i].field - 197] * 1e-6 * clock_us(CLOCK_MONOTONIC));
        } else if (GPU(h)->has_rates && (fields[i].field == 138 || fields[i].field == 139)) { /* NVLink KiB */
            fields[i].type = 3;
            fields[i].value.ull = (unsigned long long)(GPU(h)->rates[fields[i].field - 136] / 1024e6 * clock_us(CLOCK_MONOTONIC));
        } else {
            fields[i].code = NOT_SUPPORTED;
        }
    }
    return OK;
}

int nvmlDeviceGetPowerUsage(handle_t *h, unsigned *out) {
    ENTER(h->gpu);
    *out = GPU(h)->power_mw;
    return OK;
}

typedef struct { unsigned version, sensor; int value; } temperature_t;

int nvmlDeviceGetTemperatureV(handle_t *h, temperature_t *out) {
    ENTER(h->gpu);
    out->value = GPU(h)->temperature_c;
    return OK;
}

int nvmlDeviceGetTemperature(handle_t *h, unsigned sensor, unsigned *out) {
    (void)sensor;
    ENTER(h->gpu);
    *out = (unsigned)GPU(h)->temperature_c;
    return OK;
}

int nvmlDeviceGetClockInfo(handle_t *h, unsigned which, unsigned *out) {
    (void)which;
    ENTER(h->gpu);
    *out = 1410;
    return OK;
}

/* Here only to be seen in the counts: it takes 20 ms on real hardware and must never be called. */
int nvmlDeviceGetPcieThroughput(handle_t *h, unsigned which, unsigned *out) {
    (void)which;
    ENTER(h->gpu);
    *out = 0;
    return OK;
}
