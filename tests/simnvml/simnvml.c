/*
 * A stand-in for libnvidia-ml.so.1: boards whose power is a known function of CLOCK_MONOTONIC.
 *
 * The true energy of any window is therefore known in closed form (tests/simnvml/__init__.py has the same
 * formulas in Python). Configured by the environment variable GREENRAY_SIMNVML, read at nvmlInit: entries
 * "key=value" between spaces, newlines or semicolons. "boards=4" is global, "2.low_w=80" sets board 2,
 * "*.low_w=80" sets all. "control=/path" names a file of the same entries that is read again whenever it
 * changes, so that a test can make a board fail while it is being measured. The keys stand in `set_key`.
 */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
       INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, UNKNOWN = 999 };
enum { FIELD_ENERGY = 83, FIELD_POWER_AVERAGE = 185, FIELD_POWER_INSTANT = 186 };
enum { SCOPE_GPU = 0, SCOPE_MODULE = 1 };
enum { MAX_BOARDS = 32, MAX_PROCESSES = 16, MAX_LIMITS = 64, TEXT = 96 };

typedef struct {
    char name[TEXT], uuid[TEXT], wave[16];
    double low_w, high_w, period_s, duty, phase_s;       /* the waveform */
    double counter_ms, jitter_ms, offset_ms;             /* the energy counter's update grid */
    double base_j;                                       /* counter at the origin of CLOCK_MONOTONIC */
    double gain;                                         /* instant power = gain x true power */
    /* The instant power: renewed every instant_ms (0: at every read) on a grid of its own, or, where instant_in_step is set, at
     * the very moments at which the counter moves; then it is the mean of the last instant_mean_ms (0: of that moment alone). */
    double instant_ms, instant_jitter_ms, instant_offset_ms, instant_mean_ms;
    int instant_in_step;
    double reset_at, frozen_from, lost_from;             /* moments of faults; 0: never */
    double xid_from;                                     /* from then on it tells who it is, and neither energy nor power */
    int no_counter, no_instant, module_scope, no_permission, no_processes, mig, persistence;
    unsigned long long throttle, memory_total, memory_used;
    double limit_w, default_limit_w, temperature_c, heating_c_per_s, heating_from;
    unsigned utilization, clock_mhz, clock2_mhz, bus;    /* clock2_mhz counts as clock_now says */
    double clock2_from, clock_period_s;
    int processes;
    unsigned pid[MAX_PROCESSES];
    unsigned long long pid_bytes[MAX_PROCESSES];
    /* ---- power limits that were set: what is drawn is cut off at the last one ---- */
    struct { double from, watts; } limits[MAX_LIMITS];
    int limits_set, no_limit_permission;
    double least_limit_w, most_limit_w, limit_lag_s;     /* bounds (most: 0 is the default); enforced so much later than set */
    /* ---- hosts and their processes ---- */
    double stall_ms, stall_every_s, stall_at;            /* every call made then returns stall_ms later: at each multiple, or once */
    char namespace[16];                                  /* whose pids are listed; see list_processes */
    char cpus[TEXT];                                     /* processors of the board's NUMA node, "0-15,64-79"; empty: not told */
    double capability;                                   /* compute capability, 8.0 is GA100; power usage follows it */
    double warming_c, warming_tau_s;                     /* from heating_from on: this much warmer in the end, by 1 - exp(-t / tau) */
    double loaded_counter_ms, loaded_from;               /* the counter's step from that moment on */
    unsigned long long memory_reserved;                  /* by the driver; part of memory_used */
    int no_memory_v2;
} Board;

static Board boards[MAX_BOARDS];
static unsigned board_count;
static int users, driver_missing;
static char driver[TEXT], control[1024];
static struct timespec control_changed;
static off_t control_size;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the waveforms ---- */

static double wave_w(const Board *b, double t) {
    double x = (t + b->phase_s) / b->period_s;
    x -= floor(x);
    double swing = b->high_w - b->low_w;
    if (!strcmp(b->wave, "square")) return x < b->duty ? b->high_w : b->low_w;
    if (!strcmp(b->wave, "ramp")) return b->low_w + swing * x;
    if (!strcmp(b->wave, "sine")) return b->low_w + swing * (1 - cos(2 * M_PI * x)) / 2;
    return b->high_w;
}

/* Integral of wave_w from -phase_s to t. */
static double wave_j(const Board *b, double t) {
    double u = (t + b->phase_s) / b->period_s, whole = floor(u), x = u - whole;
    double swing = b->high_w - b->low_w, turn, part;
    if (!strcmp(b->wave, "square")) {
        turn = b->low_w + swing * b->duty;
        part = b->low_w * x + swing * fmin(x, b->duty);
    } else if (!strcmp(b->wave, "ramp")) {
        turn = b->low_w + swing / 2;
        part = b->low_w * x + swing * x * x / 2;
    } else if (!strcmp(b->wave, "sine")) {
        turn = b->low_w + swing / 2;
        part = b->low_w * x + swing * (x / 2 - sin(2 * M_PI * x) / (4 * M_PI));
    } else {
        turn = b->high_w;
        part = b->high_w * x;
    }
    return b->period_s * (whole * turn + part);
}

/* ---- the waveforms under the power limits that were set (exact for constants and squares) ---- */

static Board limited(const Board *b, double watts) {
    Board cut = *b;
    cut.low_w = fmin(cut.low_w, watts);
    cut.high_w = fmin(cut.high_w, watts);
    return cut;
}

static double power_w(const Board *b, double t) {
    int last = b->limits_set - 1;
    while (last >= 0 && b->limits[last].from > t) last--;
    Board cut = limited(b, last < 0 ? INFINITY : b->limits[last].watts);
    return wave_w(&cut, t);
}

/* Integral of power_w from -phase_s to t. */
static double energy_j(const Board *b, double t) {
    double from = b->limits_set ? b->limits[0].from : INFINITY, total = wave_j(b, fmin(t, from));
    for (int i = 0; i < b->limits_set && b->limits[i].from < t; i++) {
        double end = i + 1 < b->limits_set ? fmin(t, b->limits[i + 1].from) : t;
        Board cut = limited(b, b->limits[i].watts);
        total += wave_j(&cut, end) - wave_j(&cut, b->limits[i].from);
    }
    return total;
}

/* A fixed random number in [-1, 1) for update k of a board (splitmix64). */
static double noise(uint64_t board, int64_t k) {
    uint64_t z = (uint64_t)k * 0x9E3779B97F4A7C15ull + (board + 1) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z ^= z >> 31;
    return (double)(z >> 11) / 4503599627370496.0 - 1.0;
}

/* The last moment up to t of a grid whose moments stray by up to jitter_ms. */
static double last_of_grid_s(uint64_t stream, double t, double step_ms, double jitter_ms, double offset_ms) {
    double step = step_ms * 1e-3, offset = offset_ms * 1e-3;
    for (int64_t k = (int64_t)floor((t - offset) / step) + 1;; k--) {
        double moment = offset + step * (double)k + 1e-3 * jitter_ms * noise(stream, k);
        if (moment <= t) return moment;
    }
}

static int failed(double moment, double t) { return moment > 0 && t >= moment; }

static double last_update_by(const Board *b, double t, double step_ms) {
    return last_of_grid_s((uint64_t)(b - boards), t, step_ms, b->jitter_ms, b->offset_ms);
}

/* The last moment up to t at which the counter moved. */
static double last_update_s(const Board *b, double t) {
    if (b->loaded_counter_ms <= 0 || !failed(b->loaded_from, t)) return last_update_by(b, t, b->counter_ms);
    return fmax(last_update_by(b, b->loaded_from, b->counter_ms), last_update_by(b, t, b->loaded_counter_ms));
}

static int counter_mj(const Board *b, unsigned long long *value) {
    double t = now_s();
    if (failed(b->lost_from, t)) return GPU_IS_LOST;
    if (failed(b->xid_from, t)) return UNKNOWN;
    if (b->no_permission) return NO_PERMISSION;
    if (b->no_counter) return NOT_SUPPORTED;
    if (failed(b->frozen_from, t)) t = b->frozen_from;
    double update = last_update_s(b, t), from = b->base_j;
    if (failed(b->reset_at, t)) from = -energy_j(b, b->reset_at);
    *value = (unsigned long long)(1000 * fmax(0, energy_j(b, update) + from));
    return SUCCESS;
}

/* ---- configuration ---- */

static void set_processes(Board *b, const char *value) {   /* "123:1048576,456:0"; "self" is whoever asks */
    b->processes = 0;
    for (const char *at = value; at && *at && b->processes < MAX_PROCESSES;) {
        unsigned pid = 0;
        unsigned long long bytes = 0;
        int self = !strncmp(at, "self", 4);
        if (self) { pid = (unsigned)getpid(); sscanf(at, "self:%llu", &bytes); }
        if (self || (sscanf(at, "%u:%llu", &pid, &bytes) >= 1 && pid)) {
            b->pid[b->processes] = pid;
            b->pid_bytes[b->processes++] = bytes;
        }
        at = strchr(at, ',');
        if (at) at++;
    }
}

static void set_limit(Board *b, double watts, double from) {
    int last = b->limits_set - 1;
    if (last >= 0 && from < b->limits[last].from + 1e-5) return;   /* known, from the file that is read again */
    if (b->limits_set == MAX_LIMITS) return;
    b->limits[b->limits_set].from = from;
    b->limits[b->limits_set++].watts = watts;
}

static void copy_text(char *to, const char *from) {   /* '_' stands for a space */
    snprintf(to, TEXT, "%s", from);
    for (; *to; to++) if (*to == '_') *to = ' ';
}

static int set_key(Board *b, const char *key, const char *value) {
    double number = strtod(value, NULL);
    unsigned long long whole = strtoull(value, NULL, 0);
#define NUMBER(field) if (!strcmp(key, #field)) { b->field = number; return 1; }
#define WHOLE(field) if (!strcmp(key, #field)) { b->field = whole; return 1; }
    NUMBER(low_w) NUMBER(high_w) NUMBER(period_s) NUMBER(duty) NUMBER(phase_s)
    NUMBER(counter_ms) NUMBER(jitter_ms) NUMBER(offset_ms) NUMBER(base_j) NUMBER(gain)
    NUMBER(instant_ms) NUMBER(instant_jitter_ms) NUMBER(instant_offset_ms) NUMBER(instant_mean_ms) WHOLE(instant_in_step)
    NUMBER(reset_at) NUMBER(frozen_from) NUMBER(lost_from) NUMBER(xid_from)
    NUMBER(clock2_from) NUMBER(clock_period_s)
    NUMBER(stall_ms) NUMBER(stall_every_s) NUMBER(stall_at) NUMBER(capability) NUMBER(warming_c) NUMBER(warming_tau_s)
    NUMBER(loaded_counter_ms) NUMBER(loaded_from)
    WHOLE(memory_reserved) WHOLE(no_memory_v2)
    if (!strcmp(key, "namespace")) { snprintf(b->namespace, sizeof b->namespace, "%s", value); return 1; }
    if (!strcmp(key, "cpus")) { snprintf(b->cpus, sizeof b->cpus, "%s", value); return 1; }
    NUMBER(limit_w) NUMBER(default_limit_w) NUMBER(temperature_c) NUMBER(heating_c_per_s) NUMBER(heating_from)
    WHOLE(no_counter) WHOLE(no_instant) WHOLE(module_scope) WHOLE(no_permission) WHOLE(no_processes) WHOLE(mig)
    WHOLE(persistence) WHOLE(throttle) WHOLE(memory_total) WHOLE(memory_used) WHOLE(utilization) WHOLE(clock_mhz) WHOLE(clock2_mhz) WHOLE(bus)
    if (!strcmp(key, "wave")) { copy_text(b->wave, value); b->wave[15] = 0; return 1; }
    if (!strcmp(key, "name")) { copy_text(b->name, value); return 1; }
    if (!strcmp(key, "uuid")) { copy_text(b->uuid, value); return 1; }
    NUMBER(least_limit_w) NUMBER(most_limit_w) NUMBER(limit_lag_s) WHOLE(no_limit_permission)
    if (!strcmp(key, "limit")) {   /* "210@1234.5": set to 210 W at that moment */
        const char *at = strchr(value, '@');
        set_limit(b, number, at ? strtod(at + 1, NULL) : 0);
        return 1;
    }
    if (!strcmp(key, "processes")) { set_processes(b, value); return 1; }
    return 0;
}

static void apply(char *entries) {
    char *rest = NULL;
    for (char *entry = strtok_r(entries, " ;\n\t", &rest); entry; entry = strtok_r(NULL, " ;\n\t", &rest)) {
        char *value = strchr(entry, '=');
        if (!value) continue;
        *value++ = 0;
        char *key = strchr(entry, '.');
        int known = 1;
        if (!strcmp(entry, "boards")) board_count = (unsigned)atoi(value) < MAX_BOARDS ? (unsigned)atoi(value) : MAX_BOARDS;
        else if (!strcmp(entry, "driver")) copy_text(driver, value);
        else if (!strcmp(entry, "driver_missing")) driver_missing = atoi(value);
        else if (!strcmp(entry, "control")) snprintf(control, sizeof control, "%s", value);
        else if (key && entry[0] == '*') for (unsigned i = 0; i < MAX_BOARDS; i++) known = set_key(&boards[i], key + 1, value);
        else if (key && (unsigned)atoi(entry) < MAX_BOARDS) known = set_key(&boards[atoi(entry)], key + 1, value);
        else known = 0;
        if (!known) fprintf(stderr, "simnvml: unknown entry %s=%s\n", entry, value);
    }
}

static void set_defaults(void) {
    board_count = 1;
    driver_missing = 0;
    control[0] = 0;
    memset(&control_changed, 0, sizeof control_changed);
    control_size = -1;
    snprintf(driver, sizeof driver, "570.00.SIM");
    for (unsigned i = 0; i < MAX_BOARDS; i++) {
        Board *b = &boards[i];
        memset(b, 0, sizeof *b);
        snprintf(b->name, TEXT, "NVIDIA SIM100 80GB");
        snprintf(b->uuid, TEXT, "GPU-%08x-0000-4000-8000-%012x", 0x51a00000u + i * 0x1111u, i);
        snprintf(b->wave, sizeof b->wave, "const");
        b->low_w = 80; b->high_w = 300; b->period_s = 1; b->duty = 0.5;
        b->counter_ms = 20; b->base_j = 1e6; b->gain = 1;
        b->limit_w = 700; b->temperature_c = 45; b->utilization = 90; b->clock_mhz = 1980;
        b->memory_total = 80ull << 30; b->memory_used = b->memory_reserved = 512ull << 20;
        b->capability = 9.0; b->warming_tau_s = 60;
        b->bus = 0x10 + i; b->persistence = 1;
        b->least_limit_w = 100;
    }
}

static void read_control(void) {
    struct stat s;
    if (!control[0] || stat(control, &s)) return;
    if (s.st_mtim.tv_sec == control_changed.tv_sec && s.st_mtim.tv_nsec == control_changed.tv_nsec && s.st_size == control_size) return;
    control_changed = s.st_mtim;
    control_size = s.st_size;
    static char text[65536];
    FILE *file = fopen(control, "r");
    if (!file) return;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    apply(text);
}

/* ---- the library ---- */

/* A call stalls, as calls do while another process makes a context: it returns when the stall is over. */
static void stall(const Board *b) {
    if (b->stall_ms <= 0) return;
    double t = now_s(), from = b->stall_at;
    if (b->stall_every_s > 0) from = floor(t / b->stall_every_s) * b->stall_every_s;
    double left = from + 1e-3 * b->stall_ms - t;
    if (from <= 0 || t < from || left <= 0) return;
    struct timespec pause = {(time_t)left, (long)(1e9 * (left - floor(left)))};
    nanosleep(&pause, NULL);
}

/* Every call on a board starts here: is the library up, is the handle one of ours, is the board still there? */
static int check(void *handle, Board **board) {
    pthread_mutex_lock(&lock);
    read_control();
    pthread_mutex_unlock(&lock);
    if (!users) return UNINITIALIZED;
    uintptr_t i = (uintptr_t)handle - 1;
    if (i >= board_count) return INVALID_ARGUMENT;
    *board = &boards[i];
    stall(*board);
    return failed(boards[i].lost_from, now_s()) ? GPU_IS_LOST : SUCCESS;
}
#define BOARD(handle) Board *b; int state = check(handle, &b); if (state) return state

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    if (users++ == 0) {
        set_defaults();
        const char *text = getenv("GREENRAY_SIMNVML");
        char *copy = strdup(text ? text : "");
        apply(copy);
        free(copy);
        read_control();
    }
    int state = driver_missing ? DRIVER_NOT_LOADED : SUCCESS;
    if (state) users--;
    pthread_mutex_unlock(&lock);
    return state;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlInit(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) {
    if (!users) return UNINITIALIZED;
    users--;
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    switch (code) {
        case SUCCESS: return "Success";
        case UNINITIALIZED: return "Uninitialized";
        case INVALID_ARGUMENT: return "Invalid Argument";
        case NOT_SUPPORTED: return "Not Supported";
        case NO_PERMISSION: return "Insufficient Permissions";
        case NOT_FOUND: return "Not Found";
        case INSUFFICIENT_SIZE: return "Insufficient Size";
        case DRIVER_NOT_LOADED: return "Driver Not Loaded";
        case GPU_IS_LOST: return "GPU is lost";
        default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "%s", driver); return SUCCESS; }
int nvmlSystemGetNVMLVersion(char *text, unsigned size) { snprintf(text, size, "12.%s", driver); return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12080; return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (!users) return UNINITIALIZED;
    *count = board_count;
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    if (!users) return UNINITIALIZED;
    if (index >= board_count) return INVALID_ARGUMENT;
    *handle = (void *)(uintptr_t)(index + 1);
    return SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    for (unsigned i = 0; i < board_count; i++)
        if (!strcmp(boards[i].uuid, uuid)) return nvmlDeviceGetHandleByIndex_v2(i, handle);
    return NOT_FOUND;
}
int nvmlDeviceGetIndex(void *handle, unsigned *index) { BOARD(handle); *index = (unsigned)(b - boards); return SUCCESS; }
int nvmlDeviceGetMinorNumber(void *handle, unsigned *index) { return nvmlDeviceGetIndex(handle, index); }
int nvmlDeviceGetName(void *handle, char *text, unsigned size) { BOARD(handle); snprintf(text, size, "%s", b->name); return SUCCESS; }
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) { BOARD(handle); snprintf(text, size, "%s", b->uuid); return SUCCESS; }
int nvmlDeviceGetBrand(void *handle, unsigned *brand) { BOARD(handle); *brand = 14; return SUCCESS; }
int nvmlDeviceGetArchitecture(void *handle, unsigned *arch) { BOARD(handle); *arch = b->capability < 8 ? 5 : b->capability < 8.85 ? 7 : b->capability < 9 ? 8 : 9; return SUCCESS; }
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    BOARD(handle);
    *major = (int)floor(b->capability + 0.01);
    *minor = (int)lround(10 * (b->capability - *major));
    return SUCCESS;
}

typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
int nvmlDeviceGetPciInfo_v3(void *handle, Pci *pci) {
    BOARD(handle);
    memset(pci, 0, sizeof *pci);
    pci->bus = b->bus;
    snprintf(pci->legacy, sizeof pci->legacy, "0000:%02X:00.0", b->bus & 0xff);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", b->bus & 0xff);
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v2(void *handle, Pci *pci) { return nvmlDeviceGetPciInfo_v3(handle, pci); }

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) { BOARD(handle); *current = *pending = (unsigned)b->mig; return SUCCESS; }
int nvmlDeviceGetPersistenceMode(void *handle, unsigned *mode) { BOARD(handle); *mode = (unsigned)b->persistence; return SUCCESS; }

int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *mj) { BOARD(handle); return counter_mj(b, mj); }

static unsigned average_mw(const Board *b) { double t = now_s(); return (unsigned)(1000 * b->gain * (energy_j(b, t) - energy_j(b, t - 1))); }
static unsigned instant_mw(const Board *b) {
    double t = now_s();
    if (b->instant_in_step) t = last_update_s(b, t);
    else if (b->instant_ms > 0)
        t = last_of_grid_s((uint64_t)(b - boards) + MAX_BOARDS, t, b->instant_ms, b->instant_jitter_ms, b->instant_offset_ms);
    double length = b->instant_mean_ms * 1e-3;
    return (unsigned)(1000 * b->gain * (length > 0 ? (energy_j(b, t) - energy_j(b, t - length)) / length : power_w(b, t)));
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned *mw) {   /* instant power up to GA100, afterwards over 1 s */
    BOARD(handle);
    *mw = b->capability < 8.05 ? instant_mw(b) : average_mw(b);
    return SUCCESS;
}
static double limit_at(const Board *b, double t) {
    int last = b->limits_set - 1;
    while (last >= 0 && b->limits[last].from > t) last--;
    return last < 0 ? b->limit_w : b->limits[last].watts;
}
static double default_limit_w(const Board *b) { return b->default_limit_w > 0 ? b->default_limit_w : b->limit_w; }
int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *mw) {
    BOARD(handle);
    *mw = (unsigned)lround(1000 * limit_at(b, now_s() - b->limit_lag_s));
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementDefaultLimit(void *handle, unsigned *mw) {   /* the enforced one unless default_limit_w is set */
    BOARD(handle);
    *mw = (unsigned)(1000 * default_limit_w(b));
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementLimit(void *handle, unsigned *mw) {
    BOARD(handle);
    *mw = (unsigned)lround(1000 * limit_at(b, now_s()));
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementLimitConstraints(void *handle, unsigned *least, unsigned *most) {
    BOARD(handle);
    *least = (unsigned)(1000 * b->least_limit_w);
    *most = (unsigned)(1000 * (b->most_limit_w > 0 ? b->most_limit_w : default_limit_w(b)));
    return SUCCESS;
}
/* Outlives the process, as a real one does, where there is a control file: others read it there. */
int nvmlDeviceSetPowerManagementLimit(void *handle, unsigned mw) {
    BOARD(handle);
    unsigned least, most;
    if (b->no_limit_permission) return NO_PERMISSION;
    nvmlDeviceGetPowerManagementLimitConstraints(handle, &least, &most);
    if (mw < least || mw > most) return INVALID_ARGUMENT;
    double now = now_s();
    set_limit(b, mw / 1000.0, now);
    FILE *file = control[0] ? fopen(control, "a") : NULL;
    if (file) {
        fprintf(file, "%u.limit=%.3f@%.6f\n", (unsigned)(b - boards), mw / 1000.0, now);
        fclose(file);
    }
    return SUCCESS;
}

typedef struct {
    unsigned field, scope;
    int64_t timestamp, latency;
    unsigned type;
    int state;
    union { double real; unsigned u32; unsigned long long u64; } value;
} FieldValue;
int nvmlDeviceGetFieldValues(void *handle, int count, FieldValue *values) {
    BOARD(handle);
    for (int i = 0; i < count; i++) {
        FieldValue *v = &values[i];
        int scope = b->module_scope ? SCOPE_MODULE : SCOPE_GPU;
        v->timestamp = (int64_t)(now_s() * 1e6);
        v->state = NOT_SUPPORTED;
        v->type = 1;
        if (failed(b->xid_from, now_s())) { v->state = UNKNOWN; continue; }
        if (v->field == FIELD_ENERGY) {
            v->type = 3;
            v->state = counter_mj(b, &v->value.u64);
        } else if (v->field == FIELD_POWER_INSTANT && !b->no_instant && (int)v->scope == scope) {
            v->state = SUCCESS;
            v->value.u32 = instant_mw(b);
        } else if (v->field == FIELD_POWER_AVERAGE && (int)v->scope == scope) {
            v->state = SUCCESS;
            v->value.u32 = average_mw(b);
        }
    }
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *handle, unsigned sensor, unsigned *celsius) {
    BOARD(handle);
    (void)sensor;
    double since = b->heating_from > 0 ? fmax(0, now_s() - b->heating_from) : 0;
    double warmer = b->warming_c * (1 - exp(-since / b->warming_tau_s));
    *celsius = (unsigned)(b->temperature_c + b->heating_c_per_s * since + warmer);
    return SUCCESS;
}
/* The SM clock: clock2_mhz from clock2_from on, or in the second half of each clock_period_s; else clock_mhz. */
static unsigned clock_now(const Board *b) {
    double t = now_s();
    if (failed(b->clock2_from, t)) return b->clock2_mhz;
    if (b->clock_period_s > 0 && fmod(t, b->clock_period_s) >= b->clock_period_s / 2) return b->clock2_mhz;
    return b->clock_mhz;
}
int nvmlDeviceGetClockInfo(void *handle, unsigned type, unsigned *mhz) { BOARD(handle); (void)type; *mhz = clock_now(b); return SUCCESS; }
int nvmlDeviceGetMaxClockInfo(void *handle, unsigned type, unsigned *mhz) { return nvmlDeviceGetClockInfo(handle, type, mhz); }
int nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *bits) { BOARD(handle); *bits = b->throttle; return SUCCESS; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *bits) { return nvmlDeviceGetCurrentClocksEventReasons(handle, bits); }

typedef struct { unsigned gpu, memory; } Utilization;
int nvmlDeviceGetUtilizationRates(void *handle, Utilization *u) { BOARD(handle); u->gpu = b->utilization; u->memory = b->utilization / 2; return SUCCESS; }

typedef struct { unsigned long long total, free, used; } Memory;
int nvmlDeviceGetMemoryInfo(void *handle, Memory *m) {
    BOARD(handle);
    m->total = b->memory_total; m->used = b->memory_used; m->free = b->memory_total - b->memory_used;
    return SUCCESS;
}
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;
int nvmlDeviceGetMemoryInfo_v2(void *handle, MemoryV2 *m) {
    BOARD(handle);
    if (b->no_memory_v2) return NOT_SUPPORTED;
    m->total = b->memory_total; m->reserved = b->memory_reserved < b->memory_used ? b->memory_reserved : b->memory_used;
    m->used = b->memory_used - m->reserved; m->free = b->memory_total - b->memory_used;
    return SUCCESS;
}

typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } Process;
/* As configured, or as seen in a container with pids of its own: "own" lists only those that exist for whoever asks (drivers that
 * know of namespaces), "host" lists all by numbers that nobody knows here (those that do not). */
static unsigned list_processes(const Board *b, Process *list) {
    unsigned found = 0;
    for (int i = 0; i < b->processes; i++) {
        unsigned pid = b->pid[i];
        char path[32];
        snprintf(path, sizeof path, "/proc/%u", pid);
        if (!strcmp(b->namespace, "own") && access(path, F_OK)) continue;
        if (!strcmp(b->namespace, "host")) pid += 1u << 23;
        list[found++] = (Process){pid, b->pid_bytes[i], 0xFFFFFFFFu, 0xFFFFFFFFu};
    }
    return found;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, Process *list) {
    BOARD(handle);
    if (b->no_processes) return NOT_SUPPORTED;
    unsigned room = list ? *count : 0;
    Process listed[MAX_PROCESSES];
    *count = list_processes(b, listed);
    if (room < *count) return INSUFFICIENT_SIZE;
    if (*count) memcpy(list, listed, *count * sizeof *list);
    return SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v2(void *handle, unsigned *count, Process *list) { return nvmlDeviceGetComputeRunningProcesses_v3(handle, count, list); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, Process *list) {
    BOARD(handle);
    (void)list;
    *count = 0;
    return SUCCESS;
}
int nvmlDeviceGetGraphicsRunningProcesses_v2(void *handle, unsigned *count, Process *list) { return nvmlDeviceGetGraphicsRunningProcesses_v3(handle, count, list); }
int nvmlDeviceGetMPSComputeRunningProcesses_v3(void *handle, unsigned *count, Process *list) { return nvmlDeviceGetGraphicsRunningProcesses_v3(handle, count, list); }

int nvmlDeviceGetCpuAffinity(void *handle, unsigned size, unsigned long *set) {
    BOARD(handle);
    if (!b->cpus[0]) return NOT_SUPPORTED;
    unsigned bits = 8 * sizeof *set;
    memset(set, 0, size * sizeof *set);
    for (const char *at = b->cpus; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        unsigned first, last, read = (unsigned)sscanf(at, "%u-%u", &first, &last);
        for (unsigned cpu = first; read && cpu <= (read > 1 ? last : first) && cpu < size * bits; cpu++) set[cpu / bits] |= 1ul << cpu % bits;
    }
    return SUCCESS;
}
