/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What `ctdb-bench fetch-lock` does, as a C client does it on libtdb: lock the chain of a record
 * that is already here, check its header, store a changed value in place, unlock.
 *
 *   fetch_lock FILE KEY PNN VALUE_BYTES SECONDS      prints {"value": rounds per second}
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include <tdb.h>

/* rsn u64, dmaster u32, reserved u32, flags u32, padding: spec/wire.md 9.1 */
#define HEADER 24
#define DMASTER 8
#define BATCH 256

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct record {
	unsigned char header[HEADER];
	bool found;
};

static int copy_header(TDB_DATA key, TDB_DATA data, void *private_data)
{
	struct record *record = private_data;

	(void)key;
	if (data.dsize >= HEADER) {
		memcpy(record->header, data.dptr, HEADER);
		record->found = true;
	}
	return 0;
}

static int one_round(struct tdb_context *tdb, TDB_DATA key, uint32_t pnn, TDB_DATA value)
{
	struct record record = { .found = false };
	uint32_t dmaster;

	if (tdb_chainlock(tdb, key) != 0) {
		return -1;
	}
	tdb_parse_record(tdb, key, copy_header, &record);
	memcpy(&dmaster, record.header + DMASTER, sizeof(dmaster));
	if (!record.found || dmaster != pnn) {
		fprintf(stderr, "the record is not here\n");
		return -1;
	}
	memcpy(value.dptr, record.header, HEADER);
	if (tdb_store(tdb, key, value, TDB_REPLACE) != 0) {
		return -1;
	}
	return tdb_chainunlock(tdb, key);
}

int main(int argc, char **argv)
{
	struct tdb_context *tdb;
	TDB_DATA key, value;
	uint32_t pnn;
	uint64_t count = 0;
	double begin, end;

	if (argc != 6) {
		fprintf(stderr, "usage: fetch_lock FILE KEY PNN VALUE_BYTES SECONDS\n");
		return 2;
	}
	tdb = tdb_open(argv[1], 0, TDB_NOSYNC | TDB_CLEAR_IF_FIRST | TDB_MUTEX_LOCKING, O_RDWR, 0600);
	if (tdb == NULL) {
		perror(argv[1]);
		return 1;
	}
	key.dptr = (unsigned char *)argv[2];
	key.dsize = strlen(argv[2]);
	pnn = (uint32_t)atoi(argv[3]);
	value.dsize = HEADER + (size_t)atoi(argv[4]);
	value.dptr = calloc(1, value.dsize + sizeof(count));
	if (value.dptr == NULL) {
		return 1;
	}
	begin = now();
	end = begin + atof(argv[5]);
	while (now() < end) {
		for (int i = 0; i < BATCH; i++, count++) {
			memcpy(value.dptr + HEADER, &count, sizeof(count));
			if (one_round(tdb, key, pnn, value) != 0) {
				fprintf(stderr, "%s: %s\n", argv[1], tdb_errorstr(tdb));
				return 1;
			}
		}
	}
	printf("{\"value\": %f}\n", (double)count / (now() - begin));
	free(value.dptr);
	tdb_close(tdb);
	return 0;
}
