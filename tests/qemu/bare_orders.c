/* The floor that poison-replay is measured against: opens hard_offline_page once and writes every
 * address of a file to it, with the console quiet.
 *
 *   bare_orders FILE      addresses, one a line, each with 0x; prints how many and the microseconds
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <time.h>
#include <unistd.h>

static long long now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

int main(int argc, char **argv) {
  static char lines[20000][24];
  FILE *const list = argc == 2 ? fopen(argv[1], "re") : NULL;
  const int orders = open("/sys/devices/system/memory/hard_offline_page", O_WRONLY | O_CLOEXEC);
  if (list == NULL || orders < 0) {
    fprintf(stderr, "bare_orders: needs a file of addresses, and root\n");
    return 1;
  }
  int count = 0;
  while (count < 20000 && fgets(lines[count], sizeof lines[count], list) != NULL) ++count;
  fclose(list);
  klogctl(6, NULL, 0); /* SYSLOG_ACTION_CONSOLE_OFF */
  const long long start = now_us();
  int failed = 0;
  for (int i = 0; i < count; ++i) {
    if (write(orders, lines[i], strlen(lines[i])) < 0) ++failed;
  }
  const long long took = now_us() - start;
  klogctl(7, NULL, 0); /* SYSLOG_ACTION_CONSOLE_ON */
  printf("%d %lld %d\n", count, took, failed);
  return 0;
}
