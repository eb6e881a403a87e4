/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A client of libtdb that takes the chain lock of a record in a node's database file and ends
 * without giving it back, in one of the ways in which real clients do.
 *
 *   hold_chain FILE KEY mutex|fcntl wait     keep it until killed
 *   hold_chain FILE KEY mutex|fcntl unmap    unmap the file with the lock held, then exit: the
 *                                            kernel cannot mark a mutex that is not mapped any more
 *
 * Prints LOCKED once it has the lock.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <tdb.h>

static int unmap_file(const char *path)
{
	char line[4096];
	int unmapped = 0;
	FILE *maps = fopen("/proc/self/maps", "r");

	if (maps == NULL) {
		return 0;
	}
	while (fgets(line, sizeof(line), maps) != NULL) {
		unsigned long from, to;

		if (strstr(line, path) != NULL && sscanf(line, "%lx-%lx", &from, &to) == 2 &&
		    munmap((void *)from, to - from) == 0) {
			unmapped++;
		}
	}
	fclose(maps);
	return unmapped;
}

int main(int argc, char **argv)
{
	struct tdb_context *tdb;
	TDB_DATA key;
	int flags = TDB_NOSYNC | TDB_CLEAR_IF_FIRST;

	if (argc != 5) {
		fprintf(stderr, "usage: hold_chain FILE KEY mutex|fcntl wait|unmap\n");
		return 2;
	}
	if (strcmp(argv[3], "mutex") == 0) {
		flags |= TDB_MUTEX_LOCKING;
	}
	tdb = tdb_open(argv[1], 0, flags, O_RDWR, 0600);
	if (tdb == NULL) {
		perror(argv[1]);
		return 1;
	}
	key.dptr = (unsigned char *)argv[2];
	key.dsize = strlen(argv[2]);
	if (tdb_chainlock(tdb, key) != 0) {
		fprintf(stderr, "%s: %s\n", argv[1], tdb_errorstr(tdb));
		return 1;
	}
	puts("LOCKED");
	fflush(stdout);
	if (strcmp(argv[4], "unmap") == 0) {
		if (unmap_file(argv[1]) == 0) {
			fprintf(stderr, "%s: not mapped\n", argv[1]);
			_exit(1);
		}
		_exit(0);
	}
	for (;;) {
		pause();
	}
}
