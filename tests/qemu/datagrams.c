/* Stands in for the sockets of systemd in a guest: prints each datagram that comes to one.
 *
 *   datagrams PATH   until it is killed; a line "--" after each
 *
 * Exit status 1 with a message when there can be no such socket. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) {
    fprintf(stderr, "usage: datagrams PATH\n");
    return 1;
  }
  memcpy(address.sun_path, argv[1], strlen(argv[1]));
  const int server = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (server < 0 || bind(server, (const struct sockaddr *)&address, sizeof address) != 0) {
    fprintf(stderr, "datagrams: %s: %s\n", argv[1], strerror(errno));
    return 1;
  }
  char data[65536];
  ssize_t size;
  while ((size = recv(server, data, sizeof data, 0)) >= 0) {
    fwrite(data, 1, (size_t)size, stdout);
    fputs(size > 0 && data[size - 1] == '\n' ? "--\n" : "\n--\n", stdout);
    fflush(stdout);
  }
  return 1;
}
