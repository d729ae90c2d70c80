/* libpoisonctl: the retire list of a machine, for programs that start kernels or give out memory:
 * kexec tools, virtual machine monitors, allocators. What 'poisonctl plan' and 'poisonctl emit'
 * print, without a process and a parser.
 *
 * Everything is read when a list is opened; nothing is ever written, no file stays open, and no
 * environment variable changes what is read. A list and a plan do not change any more: any number
 * of threads may use one at the same time, and only closing needs the other calls to be over. No
 * call keeps state of its own, changes signals, the locale or the umask, or ends the process.
 *
 * Addresses and sizes are physical bytes as the processor sees them (HPA), below 2^56. Texts are
 * UTF-8 and end with a NUL; unless it says otherwise they belong to the object that they come from
 * and live as long as it.
 *
 * libpoisonctl(3) is the manual. Symbols have versions: a program that runs with one
 * libpoisonctl.so.1 runs with every later one.
 */
#ifndef POISONCTL_POISONCTL_H
#define POISONCTL_POISONCTL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What can go wrong: the classes of failure that poisonctl's exit statuses tell apart. Later
 * versions may add some. */
enum poisonctl_status {
  POISONCTL_OK = 0,
  /* The call asks for something that cannot be. */
  POISONCTL_ERROR_USAGE = 1,
  /* A file was read and is not what it should be. */
  POISONCTL_ERROR_BAD_DATA = 2,
  /* No registry, or one of another version ('poisonctl upgrade' renews an older one). */
  POISONCTL_ERROR_UNKNOWN_FORM = 3,
  /* There is no registry, or no machine. */
  POISONCTL_ERROR_NO_INPUT = 4,
  /* This machine lacks what the backend needs. */
  POISONCTL_ERROR_NOT_AVAILABLE = 5,
  /* A mistake in this library. */
  POISONCTL_ERROR_BUG = 6,
  /* Not for this user: the memory map, for one, is for the superuser to see. */
  POISONCTL_ERROR_NO_PRIVILEGE = 7,
  /* A read failed midway. */
  POISONCTL_ERROR_IO = 8,
  /* Another process kept the registry locked for 5 seconds: try again. */
  POISONCTL_ERROR_LOCKED = 9,
  /* It could be done and must not be. */
  POISONCTL_ERROR_REFUSED = 10,
  /* This process has no memory left. */
  POISONCTL_ERROR_NO_MEMORY = 11
};

/* The bytes of a message, its NUL included. What is longer is cut, never within a character. */
#define POISONCTL_MESSAGE_SIZE 1024

/* Filled in by a call that fails, and left alone by one that does not. The caller's own; wherever
 * one is asked for, NULL will do. */
struct poisonctl_error {
  int32_t status;   /* enum poisonctl_status */
  int32_t os_error; /* the errno behind it, or 0 */
  /* For people: what was read and where, what was expected, what to do. */
  char message[POISONCTL_MESSAGE_SIZE];
};

/* The bytes from address to address + size - 1. `size` is at least 1, but for an index that there
 * is not: then both are 0. */
struct poisonctl_range {
  uint64_t address;
  uint64_t size;
};

/* The version of the library that runs, such as "0.1.0". Lives as long as the library. */
const char *poisonctl_version(void);

/* ------ The list: what must be kept out of the next kernel, as 'poisonctl plan' has it. ------ */

typedef struct poisonctl_list poisonctl_list;

enum poisonctl_list_flags {
  POISONCTL_LIST_INCLUDE_INJECTED = 1 /* also what a test put there (--include-injected) */
};

/* Reads the registry, checks it against the machine, and bounds it by the machine's configuration.
 *
 * `registry` is the file; NULL stands for /var/lib/poisonctl/registry.db. `sysroot` is the folder
 * of a captured machine; NULL stands for the machine that this runs on, whose memory map takes
 * CAP_SYS_ADMIN to read. `flags` are of enum poisonctl_list_flags, or 0; others are
 * POISONCTL_ERROR_USAGE. `*list` becomes the list, which the caller closes, or NULL where the call
 * fails.
 *
 * An empty list is no error; a registry that is not there is one (POISONCTL_ERROR_NO_INPUT).
 * Returns POISONCTL_OK or what is in error->status. What is recorded later is in the next list that
 * is opened. */
int poisonctl_list_open(const char *registry, const char *sysroot, unsigned int flags,
                        poisonctl_list **list, struct poisonctl_error *error);

/* Ends the list, and whatever texts came from it. Its plans live on. NULL is nothing to close. */
void poisonctl_list_close(poisonctl_list *list);

/* Grows whenever something is recorded that can change the list; never shrinks. */
uint64_t poisonctl_list_generation(const poisonctl_list *list);

/* Bytes of a page of the machine: a power of two from 4096 to 262144. */
uint64_t poisonctl_list_page_size(const poisonctl_list *list);

/* The ranges: whole pages, sorted by address, disjoint, not adjacent; index from 0 to count - 1. */
size_t poisonctl_list_count(const poisonctl_list *list);
struct poisonctl_range poisonctl_list_range(const poisonctl_list *list, size_t index);

/* What the registry calls faulty and no backend is to act on, sorted by address, and why (the
 * text). NULL, and an empty range, for an index that there is not; `range` may be NULL. */
size_t poisonctl_list_refused_count(const poisonctl_list *list);
const char *poisonctl_list_refused(const poisonctl_list *list, size_t index,
                                   struct poisonctl_range *range);

/* What could not be looked at, and so was not checked: one sentence each. NULL for an index that
 * there is not. */
size_t poisonctl_list_warning_count(const poisonctl_list *list);
const char *poisonctl_list_warning(const poisonctl_list *list, size_t index);

/* What poisonctl_list_check finds. */
enum poisonctl_finding {
  /* No range: its size is 0, or it ends beyond 2^56. */
  POISONCTL_INVALID = -1,
  /* None of its bytes is known to be faulty. */
  POISONCTL_CLEAN = 0,
  /* A byte of it is on the list: do not use it. */
  POISONCTL_RETIRED = 1,
  /* None is on the list, but one is among what was refused: faulty, and nothing keeps it out. */
  POISONCTL_REFUSED = 2
};

/* Logarithmic in the ranges of the list, linear in the refused ones. */
int poisonctl_list_check(const poisonctl_list *list, uint64_t address, uint64_t size);

/* ------ A plan: what one backend makes of the list, as 'poisonctl emit' writes it. ------ */

typedef struct poisonctl_plan poisonctl_plan;

/* Plans for a backend that keeps frames out of the next kernel: "e820", "devicetree" or "offline"
 * (poisonctl-backends(7)). Those that carry a signed list there are POISONCTL_ERROR_USAGE: nothing
 * is signed here, 'poisonctl emit' does that.
 *
 * `form` is for e820: "badram", "cutmem", "bcdedit", "table" or "setup-data"; NULL is the option
 * memmap=. `command_line`, for that option only, is what the next kernel is to be started with,
 * without a line end; the artifact is then all of it with the option in place of an older one, byte
 * for byte otherwise. NULL: the option alone. `*plan` becomes the plan, which the caller frees, or
 * NULL where the call fails.
 *
 * The limits are those of kexec, which are the tightest. Reads what the backend must know of the
 * machine. Returns POISONCTL_OK or what is in error->status. */
int poisonctl_plan_make(const poisonctl_list *list, const char *backend, const char *form,
                        const char *command_line, poisonctl_plan **plan,
                        struct poisonctl_error *error);

/* Ends the plan, and whatever texts came from it. NULL is nothing to free. */
void poisonctl_plan_free(poisonctl_plan *plan);

/* What the backend needs: the bytes that 'poisonctl emit' writes, the last line end included. Those
 * of "table", "setup-data" and "devicetree" are no text: they have `size` bytes, then a NUL that
 * does not count. `size` may be NULL. Empty where there is nothing to write. */
const char *poisonctl_plan_artifact(const poisonctl_plan *plan, size_t *size);

/* What the artifact keeps out, and what it does not, and why, as with a list. Together they are
 * exactly the list and what the list had refused. A plan that refuses something is no error. */
size_t poisonctl_plan_covered_count(const poisonctl_plan *plan);
struct poisonctl_range poisonctl_plan_covered(const poisonctl_plan *plan, size_t index);
size_t poisonctl_plan_refused_count(const poisonctl_plan *plan);
const char *poisonctl_plan_refused(const poisonctl_plan *plan, size_t index,
                                   struct poisonctl_range *range);

/* What else changes with it, one sentence each. NULL for an index that there is not. */
size_t poisonctl_plan_side_effect_count(const poisonctl_plan *plan);
const char *poisonctl_plan_side_effect(const poisonctl_plan *plan, size_t index);

#ifdef __cplusplus
}
#endif

#endif
