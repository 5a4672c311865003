/* Runs a program and prints its exit status and its peak of memory in bytes to descriptor 3.
 *
 *   peak_of PROGRAM ARGUMENT...
 *
 * A process counts as its own what its parent had in memory when it was started: this one has next
 * to nothing. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words) {
  if (count < 2) return 2;
  pid_t process = fork();
  if (process < 0) return 2;
  if (process == 0) {
    close(3);
    execv(words[1], words + 1);
    _exit(127);
  }
  int status = 0;
  struct rusage usage;
  if (wait4(process, &status, 0, &usage) < 0) return 2;
  int ended = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  dprintf(3, "%d %ld\n", ended, usage.ru_maxrss * 1024);
  return 0;
}
