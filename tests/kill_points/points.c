/* LD_PRELOAD layer that counts the calls which change a disk, below one directory.
 *
 * `points_arm(root, kill_at, half, trace)` begins to count: at the call number `kill_at` the process ends as by
 * SIGKILL, before the call, or, with `half`, after half of what it writes. Where `trace` names a file, each call that
 * succeeded is written there for `power_cut.py`: op, lengths of two paths, offset, length of data, then all three.
 * `points_fill(root, at)` fills the disk instead: from that call on each that needs room fails with ENOSPC, after half
 * of what the first one writes. What is written over needs none.
 * Writes to mapped memory (SQLite's -shm) are not seen: nothing may depend on them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[4096];
static size_t root_length;
static long count, kill_at;
static int half, trace = -1, filling, full;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)

long points_count(void) { return count; }

void points_arm(const char *where, long at, int half_write, const char *trace_path) {
  REAL(int, "open", const char *, int, ...);
  trace = *trace_path ? real(trace_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
  count = 0; kill_at = at; half = half_write; filling = full = 0;
  snprintf(root, sizeof root, "%s", where);
  root_length = strlen(root);
}

void points_fill(const char *where, long at) {
  points_arm(where, at, 0, "");
  filling = 1;
}

void points_disarm(void) { root_length = 0; full = 0; }

static int inside(const char *path) {
  return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int of_fd(int fd, char *out) { /* its path; 0 where it is not below the root, or has no name any more */
  char link[64];
  if (!root_length || fd == trace) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, out, 4095);
  if (n <= 0) return 0;
  out[n] = 0;
  return inside(out) && !(n > 10 && !strcmp(out + n - 10, " (deleted)"));
}

static int of_path(int at, const char *path, char *out) {
  if (!root_length) return 0;
  if (*path == '/') snprintf(out, 4096, "%s", path);
  else {
    char base[2048];
    if (at == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
    else {
      char link[64];
      snprintf(link, sizeof link, "/proc/self/fd/%d", at);
      ssize_t n = readlink(link, base, sizeof base - 1);
      if (n <= 0) return 0;
      base[n] = 0;
    }
    snprintf(out, 4096, "%s/%.2000s", base, path);
  }
  return inside(out);
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

static int begin(int writes) { /* counts; tells whether half is to be written before the end */
  pthread_mutex_lock(&lock);
  if (++count == kill_at) {
    if (filling) { full = 1; return writes ? 1 : 0; }
    if (half && writes) return 1;
    die();
  }
  return 0;
}

static int refused(void) { /* after begin(): whether the disk has no room for it; lets the next one in then */
  if (!full) return 0;
  pthread_mutex_unlock(&lock);
  errno = ENOSPC;
  return 1;
}

static int grows(int fd, off64_t offset, size_t size) {
  struct stat64 known;
  return !fstat64(fd, &known) && offset + (off64_t)size > known.st_size;
}

static ssize_t short_write(ssize_t r) { /* half of it, which the disk had room for; or the end */
  if (!filling) die();
  pthread_mutex_unlock(&lock);
  return r;
}

static void end(int ok, char op, const char *a, const char *b, uint64_t offset, const void *data, uint64_t size) {
  REAL(ssize_t, "writev", int, const struct iovec *, int);
  if (ok && trace >= 0) {
    uint16_t lengths[2] = {strlen(a), b ? strlen(b) : 0};
    struct iovec parts[] = {{&op, 1}, {lengths, 4}, {&offset, 8}, {&size, 8}, {(void *)a, lengths[0]},
                            {(void *)(b ? b : ""), lengths[1]}, {(void *)data, data ? size : 0}};
    if (real(trace, parts, 7) < 0) abort();
  }
  pthread_mutex_unlock(&lock);
}

#define PATH1(at, path) char p[4096]; int in = of_path(at, path, p)
#define FD1(fd) char p[4096]; int in = of_fd(fd, p)

/* Opening: a point where it makes or empties a file. */

static int opened(int at, const char *path, int flags, mode_t mode) {
  REAL(int, "openat", int, const char *, int, ...);
  PATH1(at, path);
  struct stat known;
  int there = in && !fstatat(at, path, &known, 0);
  int changes = in && !(flags & O_DIRECTORY && (flags & O_TMPFILE) != O_TMPFILE)
    && ((flags & O_CREAT && !there) || (flags & O_TRUNC && there));
  if (!changes) return real(at, path, flags, mode);
  begin(0);
  if (!there && refused()) return -1;
  int r = real(at, path, flags, mode);
  int e = errno;
  if (there) end(r >= 0, 'T', p, NULL, 0, NULL, 0); else end(r >= 0, 'C', p, NULL, 0, NULL, 0);
  errno = e;
  return r;
}

#define MODE va_list more; va_start(more, flags); mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; va_end(more)
int open(const char *path, int flags, ...) { MODE; return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE; return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int at, const char *path, int flags, ...) { MODE; return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE; return opened(at, path, flags | O_LARGEFILE, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* Writing. */

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  FD1(fd);
  if (!in) return real(fd, data, size, offset);
  if (begin(1) && size > 1) return short_write(real(fd, data, size / 2, offset));
  if (grows(fd, offset, size) && refused()) return -1;
  ssize_t r = real(fd, data, size, offset);
  int e = errno;
  end(r > 0, 'W', p, NULL, offset, data, r > 0 ? r : 0);
  errno = e;
  return r;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

ssize_t write(int fd, const void *data, size_t size) {
  REAL(ssize_t, "write", int, const void *, size_t);
  FD1(fd);
  if (!in) return real(fd, data, size);
  if (begin(1) && size > 1) return short_write(real(fd, data, size / 2));
  if (grows(fd, lseek64(fd, 0, SEEK_CUR), size) && refused()) return -1;
  ssize_t r = real(fd, data, size);
  int e = errno;
  end(r > 0, 'W', p, NULL, r > 0 ? lseek64(fd, 0, SEEK_CUR) - r : 0, data, r > 0 ? r : 0);
  errno = e;
  return r;
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
  REAL(ssize_t, "writev", int, const struct iovec *, int);
  FD1(fd);
  if (!in) return real(fd, parts, n);
  /* One after the other: as much as one call may have done. */
  ssize_t all = 0;
  for (int i = 0; i < n; i++) {
    ssize_t r = write(fd, parts[i].iov_base, parts[i].iov_len);
    if (r < 0) return all ? all : r;
    all += r;
    if ((size_t)r < parts[i].iov_len) break;
  }
  return all;
}

/* What nothing here does is not understood: it says so, and the test fails. */
ssize_t sendfile64(int to, int from, off64_t *offset, size_t size) {
  REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t);
  FD1(to);
  if (in) abort();
  return real(to, from, offset, size);
}
ssize_t sendfile(int to, int from, off_t *offset, size_t size) { return sendfile64(to, from, offset, size); }
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t size, unsigned flags) {
  REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
  FD1(to);
  if (in) abort();
  return real(from, a, to, b, size, flags);
}

int ftruncate64(int fd, off64_t size) {
  REAL(int, "ftruncate64", int, off64_t);
  FD1(fd);
  if (!in) return real(fd, size);
  begin(0);
  int r = real(fd, size), e = errno;
  end(!r, 'T', p, NULL, size, NULL, 0);
  errno = e;
  return r;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
int posix_fallocate64(int fd, off64_t offset, off64_t size) {
  REAL(int, "posix_fallocate64", int, off64_t, off64_t);
  FD1(fd);
  if (in) { struct stat known; if (!fstat(fd, &known) && known.st_size < offset + size) return full ? ENOSPC : ftruncate64(fd, offset + size); return 0; }
  return real(fd, offset, size);
}
int posix_fallocate(int fd, off_t offset, off_t size) { return posix_fallocate64(fd, offset, size); }

#include <sys/statvfs.h>
int statvfs64(const char *path, struct statvfs64 *found) {
  REAL(int, "statvfs64", const char *, struct statvfs64 *);
  PATH1(AT_FDCWD, path);
  int r = real(path, found);
  if (!r && in && full) found->f_bavail = found->f_bfree = 0;
  return r;
}
int statvfs(const char *path, struct statvfs *found) { return statvfs64(path, (struct statvfs64 *)found); }

/* Names. */

#define NAMING(signature, name, types, call, at, path, op, offset) \
  int signature { \
    REAL(int, name, types); \
    PATH1(at, path); \
    if (!in) return real call; \
    begin(0); \
    if (op == 'D' && refused()) return -1; \
    int r = real call, e = errno; \
    end(!r, op, p, NULL, offset, NULL, 0); \
    errno = e; \
    return r; \
  }
#define COMMA ,
NAMING(unlink(const char *path), "unlink", const char *, (path), AT_FDCWD, path, 'U', 0)
NAMING(rmdir(const char *path), "rmdir", const char *, (path), AT_FDCWD, path, 'U', 0)
NAMING(unlinkat(int at, const char *path, int flags), "unlinkat", int COMMA const char * COMMA int, (at, path, flags), at, path, 'U', 0)
NAMING(mkdir(const char *path, mode_t mode), "mkdir", const char * COMMA mode_t, (path, mode), AT_FDCWD, path, 'D', 0)
NAMING(mkdirat(int at, const char *path, mode_t mode), "mkdirat", int COMMA const char * COMMA mode_t, (at, path, mode), at, path, 'D', 0)
NAMING(chmod(const char *path, mode_t mode), "chmod", const char * COMMA mode_t, (path, mode), AT_FDCWD, path, 'M', mode)
NAMING(fchmodat(int at, const char *path, mode_t mode, int flags), "fchmodat", int COMMA const char * COMMA mode_t COMMA int, (at, path, mode, flags), at, path, 'M', mode)

int fchmod(int fd, mode_t mode) {
  REAL(int, "fchmod", int, mode_t);
  FD1(fd);
  if (!in) return real(fd, mode);
  begin(0);
  int r = real(fd, mode), e = errno;
  end(!r, 'M', p, NULL, mode, NULL, 0);
  errno = e;
  return r;
}

static int renamed(int from_at, const char *from, int to_at, const char *to, unsigned flags, int hard) {
  REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
  static int (*link_real)(int, const char *, int, const char *, int);
  if (!link_real) link_real = dlsym(RTLD_NEXT, "linkat");
  char p[4096], q[4096];
  int in = of_path(from_at, from, p) & of_path(to_at, to, q);
  if (!in) return hard ? link_real(from_at, from, to_at, to, flags) : real(from_at, from, to_at, to, flags);
  begin(0);
  int r = hard ? link_real(from_at, from, to_at, to, flags) : real(from_at, from, to_at, to, flags), e = errno;
  end(!r, hard ? 'L' : 'R', p, q, 0, NULL, 0);
  errno = e;
  return r;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags, 0); }
int link(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0, 1); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return renamed(a, from, b, to, flags, 1); }

/* Syncing. */

#define SYNCING(name) \
  int name(int fd) { \
    REAL(int, #name, int); \
    FD1(fd); \
    if (!in) return real(fd); \
    begin(0); \
    end(1, 'S', p, NULL, 0, NULL, 0); \
    return 0; \
  }
SYNCING(fsync)
SYNCING(fdatasync)
void sync(void) {
  if (!root_length) return;
  begin(0);
  end(1, 'Y', root, NULL, 0, NULL, 0);
}
