/* Two GPUs as the driver's library shows them; the first has used 1.5 J, the second 2000 J, and 700 J more at each look. */
#include <string.h>

static int gpus[2];

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *number) { *number = NUMBER; return 0; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) {
    *gpu = &gpus[index % 2];
    return index < NUMBER ? 0 : 2;
}

int nvmlDeviceGetHandleByUUID(const char *name, void **gpu) {
    *gpu = &gpus[1];
    return strcmp(name, "GPU-second") ? 6 : 0;
}

#ifndef MIG
#define MIG 0
#endif

/* A GPU that can't be divided answers "not supported". */
int nvmlDeviceGetMigMode(void *gpu, unsigned *now, unsigned *then) {
    *now = *then = MIG;
    return MIG ? 0 : 3;
}

int nvmlDeviceGetTotalEnergyConsumption(void *gpu, unsigned long long *millijoules) {
    static unsigned long long more;
    *millijoules = (gpu == &gpus[0] ? 1500 : 2000000) + more;
    more += 700000;
    return 0;
}
