/* A disk that fails on demand, put in front of the C library with LD_PRELOAD.
 *
 * While the file named by FAILING_DISK exists, the calls it names fail with the error it gives, for files of a
 * store only: "pwrite 28" (no space), "fdatasync 5" (I/O error), and so on; one a line.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(const char *call, int fd) {
    const char *plan = getenv("FAILING_DISK");
    char link[64], path[512], name[64];
    int error;
    if (!plan) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    if (!strstr(path, "relay.db")) return 0;
    FILE *file = fopen(plan, "r");
    if (!file) return 0;
    while (fscanf(file, "%63s %d", name, &error) == 2)
        if (!strcmp(name, call)) {
            fclose(file);
            errno = error;
            return 1;
        }
    fclose(file);
    return 0;
}

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    if (fails("pwrite", fd)) return -1;
    return REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t)(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (fails("pwrite", fd)) return -1;
    return REAL(ssize_t, "pwrite", int, const void *, size_t, off_t)(fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (fails("pwrite", fd)) return -1;
    return REAL(ssize_t, "write", int, const void *, size_t)(fd, data, size);
}

int fdatasync(int fd) {
    if (fails("fdatasync", fd)) return -1;
    return REAL(int, "fdatasync", int)(fd);
}

int fsync(int fd) {
    if (fails("fdatasync", fd)) return -1;
    return REAL(int, "fsync", int)(fd);
}
