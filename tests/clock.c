/* The wall clock of one process is set, as somebody sets that of a machine: to be loaded before its libraries (LD_PRELOAD).
   The file that CLOCK_FILE names holds by how many seconds it goes wrong, eight bytes in the machine's order, and may change at any
   time. The clock that only counts on is left alone. A wait until an instant of the wall clock ends when that clock says so, and
   not by the time that has passed: as the kernel has it. Called by tests/clock.sh. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* How often a wait looks at the clock, in nanoseconds. */
#define LOOK 20000000L
/* Since machines are not up for 30 years, and it is later than 2001, this tells instants of the wall clock from others. */
#define IS_WALL(at) ((at)->tv_sec > 1000000000L)

static volatile const int64_t *wrong;

__attribute__((constructor)) static void find(void) {
    const char *name = getenv("CLOCK_FILE");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *there = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *wrong, PROT_READ, MAP_SHARED, file, 0);
    if (there == MAP_FAILED) abort();
    wrong = there;
}

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = next("clock_gettime");
    int result = real(clock, now);
    if (result == 0 && wrong && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *wrong;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *there) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (there) *there = exact.tv_sec;
    return exact.tv_sec;
}

static int is_before(const struct timespec *a, const struct timespec *b) {
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Until when the machine's clock is waited for next: the instant that is meant, as things are now, or the next look. */
static struct timespec until(const struct timespec *meant) {
    struct timespec look, end = *meant;
    clock_gettime(CLOCK_REALTIME, &look);
    int64_t by = *wrong;
    look.tv_sec += (look.tv_nsec + LOOK) / 1000000000L - by;
    look.tv_nsec = (look.tv_nsec + LOOK) % 1000000000L;
    end.tv_sec -= by;
    return is_before(&end, &look) ? end : look;
}

static int is_over(const struct timespec *meant) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return !is_before(&now, meant);
}

/* Whoever waits must expect to be woken for nothing: so each look is one. */
int pthread_cond_timedwait(pthread_cond_t *restrict what, pthread_mutex_t *restrict lock, const struct timespec *restrict meant) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) real = next("pthread_cond_timedwait");
    if (!IS_WALL(meant)) return real(what, lock, meant);
    struct timespec end = until(meant);
    int result = real(what, lock, &end);
    return result == ETIMEDOUT && !is_over(meant) ? 0 : result;
}

int cnd_timedwait(cnd_t *restrict what, mtx_t *restrict lock, const struct timespec *restrict meant) {
    static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
    if (!real) real = next("cnd_timedwait");
    if (!IS_WALL(meant)) return real(what, lock, meant);
    struct timespec end = until(meant);
    int result = real(what, lock, &end);
    return result == thrd_timedout && !is_over(meant) ? thrd_success : result;
}
