/* A disk that takes its time, for one process: to be loaded before its libraries (LD_PRELOAD). Whatever is forced to the disk takes
   SLOW_MS milliseconds longer, so that what is between two such steps can be met by somebody who looks from outside.
   Called by tests/zombie.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int slowly(const char *name, int file) {
    const char *set = getenv("SLOW_MS");
    long ms = set ? atol(set) : 0;
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (!real || ms <= 0) abort();
    struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&wait, NULL);
    return real(file);
}

int fsync(int file) { return slowly("fsync", file); }
int fdatasync(int file) { return slowly("fdatasync", file); }
