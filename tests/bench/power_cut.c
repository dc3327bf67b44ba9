/* LD_PRELOAD layer that stands in for a power cut: beside a directory it keeps another that has only what was
 * synced. Whoever starts a program on that one after a SIGKILL sees the worst that a power cut may leave.
 *
 * POWER_CUT_DATA names the directory (its files, not those below), POWER_CUT_MIRROR the other one, which must be
 * a copy of it at the start. Writes and truncations are noted, and carried over at fsync and fdatasync; files that
 * are removed stay. Memory-mapped ones (SQLite's -shm) are not carried over: nothing may depend on them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define FILES 64
#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)

typedef struct { off64_t at; size_t length; } range; /* a length of 0: the file was cut here */
typedef struct { char name[256]; range *ranges; size_t count, room; } file;

static file files[FILES];
static int used;
static char data[4096], mirror[4096];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
  const char *d = getenv("POWER_CUT_DATA"), *m = getenv("POWER_CUT_MIRROR");
  if (d && m && realpath(d, data)) snprintf(mirror, sizeof mirror, "%s", m);
}

static const char *name_of(const char *path) { /* of a file directly in the directory */
  size_t n = strlen(data);
  if (!n || !*mirror || strncmp(path, data, n) || path[n] != '/' || strchr(path + n + 1, '/')) return NULL;
  return path + n + 1;
}

static file *file_of(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return NULL;
  path[n] = 0;
  const char *name = name_of(path);
  if (!name || strlen(name) > 255) return NULL;
  for (int i = 0; i < used; i++) if (!strcmp(files[i].name, name)) return &files[i];
  if (used == FILES) return NULL;
  strcpy(files[used].name, name);
  return &files[used++];
}

static void note(int fd, off64_t at, size_t length) {
  if (!*mirror) return;
  pthread_mutex_lock(&lock);
  file *f = file_of(fd);
  if (f) {
    if (f->count == f->room) f->ranges = realloc(f->ranges, (f->room = f->room ? 2 * f->room : 64) * sizeof(range));
    f->ranges[f->count++] = (range){at, length};
  }
  pthread_mutex_unlock(&lock);
}

static void carry_over(int fd) { /* what was written since the last time, as it is now: after a sync it is on disk */
  if (!*mirror) return;
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  static int (*cut)(int, off64_t);
  if (!cut) cut = dlsym(RTLD_NEXT, "ftruncate64");
  pthread_mutex_lock(&lock);
  file *f = file_of(fd);
  if (f) {
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", mirror, f->name);
    int to = open(path, O_RDWR | O_CREAT, 0600);
    for (size_t i = 0; to >= 0 && i < f->count; i++) {
      range *r = &f->ranges[i];
      if (!r->length) { if (cut(to, r->at)) abort(); continue; }
      char *b = malloc(r->length);
      ssize_t n = pread64(fd, b, r->length, r->at);
      if (n > 0 && real(to, b, n, r->at) != n) abort();
      free(b);
    }
    if (to >= 0) close(to);
    f->count = 0;
  }
  pthread_mutex_unlock(&lock);
}

int fsync(int fd) { REAL(int, "fsync", int); int r = real(fd); if (!r) carry_over(fd); return r; }
int fdatasync(int fd) { REAL(int, "fdatasync", int); int r = real(fd); if (!r) carry_over(fd); return r; }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t at) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  ssize_t r = real(fd, b, n, at);
  if (r > 0) note(fd, at, r);
  return r;
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t at) { return pwrite64(fd, b, n, at); }
ssize_t write(int fd, const void *b, size_t n) {
  REAL(ssize_t, "write", int, const void *, size_t);
  off64_t at = *mirror ? lseek64(fd, 0, SEEK_CUR) : -1;
  ssize_t r = real(fd, b, n);
  if (r > 0 && at >= 0) note(fd, lseek64(fd, 0, SEEK_CUR) - r, r);
  return r;
}
int ftruncate64(int fd, off64_t length) {
  REAL(int, "ftruncate64", int, off64_t);
  int r = real(fd, length);
  if (!r) note(fd, length, 0);
  return r;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
