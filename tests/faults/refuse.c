/* Preloaded into a run: lets one call of the system below a folder fail, or kills the process that makes it.
 *
 * FAULT_ROOT   folder; calls on other files are passed on and not counted
 * FAULT_STATE  file of eight zero bytes: the counter of all processes of the run
 * FAULT_CALLS  names of the calls that count, between commas: open, read, write, fsync, rename
 * FAULT_AT     number of the call that fails; 0 only counts
 * FAULT_ERROR  errno that it fails with; 0 kills the process instead, by SIGKILL
 * FAULT_STAYS  1: all counted calls after it fail too, as on a disk that stays full
 * FAULT_LOG    file that a line is added to for each counted call: its number, name and path
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *root;
static const char *calls;
static long at;
static int error, stays, record = -1;
static volatile long *counter;

__attribute__((constructor)) static void begin(void) {
  const char *state = getenv("FAULT_STATE"), *log = getenv("FAULT_LOG");
  root = getenv("FAULT_ROOT");
  calls = getenv("FAULT_CALLS");
  if (!root || !state || !calls) return;
  at = atol(getenv("FAULT_AT") ?: "0");
  error = atoi(getenv("FAULT_ERROR") ?: "0");
  stays = atoi(getenv("FAULT_STAYS") ?: "0");
  if (log) record = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  int file = (int)syscall(SYS_openat, AT_FDCWD, state, O_RDWR | O_CLOEXEC, 0);
  if (file < 0) return;
  void *memory = mmap(NULL, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory != MAP_FAILED) counter = memory;
  syscall(SYS_close, file);
}

/* Whether the call on this path fails now. */
static int fails(const char *call, const char *path) {
  char line[PATH_MAX + 64];
  if (!counter || !path || strncmp(path, root, strlen(root)) || !strstr(calls, call)) return 0;
  long number = __sync_add_and_fetch(counter, 1);
  if (record >= 0) {
    int length = snprintf(line, sizeof line, "%ld %s %s\n", number, call, path + strlen(root));
    syscall(SYS_write, record, line, (size_t)length);
  }
  if (!at || number < at || (number > at && !stays)) return 0;
  if (!error) syscall(SYS_kill, getpid(), SIGKILL);
  errno = error;
  return 1;
}

/* The same for the file of a descriptor, ordinary files and folders only. */
static int fails_on(const char *call, int descriptor) {
  char name[64], path[PATH_MAX];
  if (!counter) return 0;
  snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
  ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, name, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return fails(call, path);
}

#define NEXT(result, name, ...) \
  static result (*next)(__VA_ARGS__); \
  if (!next) next = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define MODE \
  mode_t mode = 0; \
  if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = (mode_t)va_arg(rest, int); va_end(rest); }

int open(const char *path, int flags, ...) {
  MODE
  NEXT(int, "open", const char *, int, ...);
  return fails("open", path) ? -1 : next(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  MODE
  NEXT(int, "open64", const char *, int, ...);
  return fails("open", path) ? -1 : next(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
  MODE
  NEXT(int, "openat", int, const char *, int, ...);
  return fails("open", path) ? -1 : next(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
  MODE
  NEXT(int, "openat64", int, const char *, int, ...);
  return fails("open", path) ? -1 : next(folder, path, flags, mode);
}
ssize_t read(int descriptor, void *to, size_t size) {
  NEXT(ssize_t, "read", int, void *, size_t);
  return fails_on("read", descriptor) ? -1 : next(descriptor, to, size);
}
ssize_t write(int descriptor, const void *from, size_t size) {
  NEXT(ssize_t, "write", int, const void *, size_t);
  return fails_on("write", descriptor) ? -1 : next(descriptor, from, size);
}
ssize_t writev(int descriptor, const struct iovec *from, int count) {
  NEXT(ssize_t, "writev", int, const struct iovec *, int);
  return fails_on("write", descriptor) ? -1 : next(descriptor, from, count);
}
ssize_t pwrite64(int descriptor, const void *from, size_t size, off64_t place) {
  NEXT(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  return fails_on("write", descriptor) ? -1 : next(descriptor, from, size, place);
}
int fsync(int descriptor) {
  NEXT(int, "fsync", int);
  return fails_on("fsync", descriptor) ? -1 : next(descriptor);
}
int rename(const char *from, const char *to) {
  NEXT(int, "rename", const char *, const char *);
  return fails("rename", to) ? -1 : next(from, to);
}
