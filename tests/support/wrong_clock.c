/* A machine whose clock is wrong, put in front of the C library with LD_PRELOAD.
 *
 * The file named by WRONG_CLOCK holds the seconds that the clock is off, read at each call: it may jump while a
 * program runs. Nothing vouches for the clock: adjtimex says that nobody keeps it right.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timex.h>
#include <time.h>

static long off(void) {
    const char *path = getenv("WRONG_CLOCK");
    long seconds = 0;
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
    fclose(file);
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (!result && clock == CLOCK_REALTIME) time->tv_sec += off();
    return result;
}

int adjtimex(struct timex *unused) {
    (void)unused;
    return TIME_ERROR;
}
