/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The libtdb side of `make bench-tdb`: does what it is told, as tests/src/bin/bench_tdb/worker.rs
 * does on our engine, loop for loop.
 *
 *   tdb_worker FILE TDB_FLAGS HASH_SIZE ORDER_FILE VALUE_BYTES [LABEL=]WORK[:COUNT]...
 *
 * The order file holds the numbers of the keys, 32 bits each (little-endian), in the order in which every pass goes
 * over them. What has a label is timed and printed at the end as one JSON object:
 *
 *   {"LABEL": {"ops": N, "ns": processor time, "wall_ns": time, "sum": of what was read}, ...}
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <tdb.h>

#define KEY_BYTES 16
#define TRANSACTION_STORES 10
#define MAX_VALUE 65536
#define MAX_LABELS 32

struct worker {
	struct tdb_context *tdb;
	const uint32_t *order;
	uint64_t keys;
	unsigned char key[KEY_BYTES];
	unsigned char value[MAX_VALUE];
	size_t value_bytes;
	uint32_t step;
	uint64_t sum;
};

static void fail(struct worker *w, const char *what)
{
	fprintf(stderr, "%s: %s\n", what, tdb_errorstr(w->tdb));
	exit(1);
}

static TDB_DATA key_of(struct worker *w, uint32_t number)
{
	memcpy(w->key + 8, &number, sizeof(number));
	return (TDB_DATA){ .dptr = w->key, .dsize = KEY_BYTES };
}

/* Never the same twice, or a store over itself would write nothing. */
static TDB_DATA next_value(struct worker *w, size_t bytes)
{
	w->step++;
	memcpy(w->value, &w->step, sizeof(w->step));
	return (TDB_DATA){ .dptr = w->value, .dsize = bytes };
}

static int look(TDB_DATA key, TDB_DATA data, void *private_data)
{
	struct worker *w = private_data;

	(void)key;
	w->sum += data.dptr[0] + data.dsize;
	return 0;
}

static int look_all(struct tdb_context *tdb, TDB_DATA key, TDB_DATA data, void *private_data)
{
	(void)tdb;
	return look(key, data, private_data);
}

/* Each function does `count` passes, unless its comment says otherwise, and returns how many
 * operations that were. */

static uint64_t store(struct worker *w, uint64_t count, int flag)
{
	for (uint64_t pass = 0; pass < count; pass++) {
		for (uint64_t i = 0; i < w->keys; i++) {
			TDB_DATA key = key_of(w, w->order[i]);

			if (tdb_store(w->tdb, key, next_value(w, w->value_bytes), flag) != 0) {
				fail(w, "store");
			}
		}
	}
	return count * w->keys;
}

static uint64_t delete(struct worker *w, uint64_t count)
{
	for (uint64_t pass = 0; pass < count; pass++) {
		for (uint64_t i = 0; i < w->keys; i++) {
			if (tdb_delete(w->tdb, key_of(w, w->order[i])) != 0) {
				fail(w, "delete");
			}
		}
	}
	return count * w->keys;
}

static uint64_t read_records(struct worker *w, uint64_t count)
{
	for (uint64_t pass = 0; pass < count; pass++) {
		for (uint64_t i = 0; i < w->keys; i++) {
			if (tdb_parse_record(w->tdb, key_of(w, w->order[i]), look, w) != 0) {
				fail(w, "parse_record");
			}
		}
	}
	return count * w->keys;
}

static uint64_t lock_read(struct worker *w, uint64_t count)
{
	for (uint64_t pass = 0; pass < count; pass++) {
		for (uint64_t i = 0; i < w->keys; i++) {
			TDB_DATA key = key_of(w, w->order[i]);

			if (tdb_chainlock(w->tdb, key) != 0) {
				fail(w, "chainlock");
			}
			if (tdb_parse_record(w->tdb, key, look, w) != 0) {
				fail(w, "parse_record");
			}
			tdb_chainunlock(w->tdb, key);
		}
	}
	return count * w->keys;
}

static void lock_read_store_one(struct worker *w, uint32_t number)
{
	TDB_DATA key = key_of(w, number);

	if (tdb_chainlock(w->tdb, key) != 0) {
		fail(w, "chainlock");
	}
	if (tdb_parse_record(w->tdb, key, look, w) != 0) {
		fail(w, "parse_record");
	}
	if (tdb_store(w->tdb, key, next_value(w, w->value_bytes), TDB_REPLACE) != 0) {
		fail(w, "store");
	}
	tdb_chainunlock(w->tdb, key);
}

static uint64_t lock_read_store(struct worker *w, uint64_t count)
{
	for (uint64_t pass = 0; pass < count; pass++) {
		for (uint64_t i = 0; i < w->keys; i++) {
			lock_read_store_one(w, w->order[i]);
		}
	}
	return count * w->keys;
}

static uint64_t traverse(struct worker *w, uint64_t count)
{
	uint64_t visited = 0;

	for (uint64_t pass = 0; pass < count; pass++) {
		int records = tdb_traverse_read(w->tdb, look_all, w);

		if (records < 0) {
			fail(w, "traverse_read");
		}
		visited += (uint64_t)records;
	}
	return visited;
}

/* `count` transactions of ten stores each. */
static uint64_t transactions(struct worker *w, uint64_t count)
{
	uint64_t at = 0;

	for (uint64_t done = 0; done < count; done++) {
		if (tdb_transaction_start(w->tdb) != 0) {
			fail(w, "transaction_start");
		}
		for (int i = 0; i < TRANSACTION_STORES; i++) {
			TDB_DATA key = key_of(w, w->order[at]);

			at = at + 1 == w->keys ? 0 : at + 1;
			if (tdb_store(w->tdb, key, next_value(w, w->value_bytes), TDB_REPLACE) != 0) {
				fail(w, "store");
			}
		}
		if (tdb_transaction_commit(w->tdb) != 0) {
			fail(w, "transaction_commit");
		}
	}
	return count;
}

/* Here each word of the order is a key (low half) and the size of its new value (high half, 0 to
 * delete it). */
static uint64_t churn(struct worker *w, uint64_t count)
{
	for (uint64_t pass = 0; pass < count; pass++) {
		for (uint64_t i = 0; i < w->keys; i++) {
			TDB_DATA key = key_of(w, w->order[i] & 0xFFFF);
			size_t size = w->order[i] >> 16;

			if (size == 0) {
				if (tdb_delete(w->tdb, key) != 0 && tdb_error(w->tdb) != TDB_ERR_NOEXIST) {
					fail(w, "delete");
				}
			} else if (tdb_store(w->tdb, key, next_value(w, size), TDB_REPLACE) != 0) {
				fail(w, "store");
			}
		}
	}
	return count * w->keys;
}

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* As lock_read_store, for `count` milliseconds. */
static uint64_t contend(struct worker *w, uint64_t count)
{
	uint64_t end = now(CLOCK_MONOTONIC) + count * 1000000;
	uint64_t at = w->step % w->keys, done = 0;

	while (now(CLOCK_MONOTONIC) < end) {
		for (int i = 0; i < 16; i++, done++) {
			lock_read_store_one(w, w->order[at]);
			at = at + 1 == w->keys ? 0 : at + 1;
		}
	}
	return done;
}

/* Says that it is ready and waits until it is told to go on. */
static void wait_for_word(void)
{
	char line[16];

	printf("ready\n");
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) == NULL) {
		exit(1);
	}
}

static uint64_t work(struct worker *w, const char *name, uint64_t count)
{
	if (strcmp(name, "insert") == 0) return store(w, count, TDB_INSERT);
	if (strcmp(name, "replace") == 0) return store(w, count, TDB_REPLACE);
	if (strcmp(name, "delete") == 0) return delete(w, count);
	if (strcmp(name, "read") == 0) return read_records(w, count);
	if (strcmp(name, "lock-read") == 0) return lock_read(w, count);
	/* the C interface has nothing that looks up a record only once under a lock */
	if (strcmp(name, "record-read") == 0) return lock_read(w, count);
	if (strcmp(name, "lock-read-store") == 0) return lock_read_store(w, count);
	if (strcmp(name, "record-read-store") == 0) return lock_read_store(w, count);
	if (strcmp(name, "traverse") == 0) return traverse(w, count);
	if (strcmp(name, "transactions") == 0) return transactions(w, count);
	if (strcmp(name, "churn") == 0) return churn(w, count);
	if (strcmp(name, "contend") == 0) return contend(w, count);
	if (strcmp(name, "step") == 0) {
		w->step = (uint32_t)count;
		return 0;
	}
	if (strcmp(name, "wait") == 0) {
		wait_for_word();
		return 0;
	}
	if (strcmp(name, "lock-all") == 0 && tdb_lockall(w->tdb) == 0) return 1;
	if (strcmp(name, "unlock-all") == 0 && tdb_unlockall(w->tdb) == 0) return 1;
	if (strcmp(name, "check") == 0 && tdb_check(w->tdb, NULL, NULL) == 0) return 1;
	fail(w, name);
	return 0;
}

static struct figure {
	char label[64];
	uint64_t ops, ns, wall_ns, sum;
} figures[MAX_LABELS];

static struct figure *figure_of(const char *label, size_t length)
{
	for (int i = 0; i < MAX_LABELS; i++) {
		if (figures[i].label[0] == 0 && length < sizeof(figures[i].label)) {
			memcpy(figures[i].label, label, length);
		}
		if (strncmp(figures[i].label, label, length) == 0 && figures[i].label[length] == 0) {
			return &figures[i];
		}
	}
	fprintf(stderr, "too many labels\n");
	exit(1);
}

static void phase(struct worker *w, char *word)
{
	char *equals = strchr(word, '='), *name = equals ? equals + 1 : word;
	char *colon = strchr(name, ':');
	uint64_t count = 1, ops, ns, wall_ns, sum = w->sum;

	if (colon) {
		*colon = 0;
		count = strtoull(colon + 1, NULL, 10);
	}
	ns = now(CLOCK_PROCESS_CPUTIME_ID);
	wall_ns = now(CLOCK_MONOTONIC);
	ops = work(w, name, count);
	wall_ns = now(CLOCK_MONOTONIC) - wall_ns;
	ns = now(CLOCK_PROCESS_CPUTIME_ID) - ns;
	if (equals) {
		struct figure *figure = figure_of(word, (size_t)(equals - word));

		figure->ops += ops;
		figure->ns += ns;
		figure->wall_ns += wall_ns;
		figure->sum += w->sum - sum;
	}
}

static void read_order(struct worker *w, const char *path)
{
	FILE *file = fopen(path, "r");
	struct stat st;
	uint32_t *order;

	if (file == NULL || fstat(fileno(file), &st) != 0) {
		perror(path);
		exit(1);
	}
	w->keys = (uint64_t)st.st_size / sizeof(uint32_t);
	order = malloc((size_t)st.st_size + 1);
	if (order == NULL || fread(order, sizeof(uint32_t), w->keys, file) != w->keys) {
		perror(path);
		exit(1);
	}
	fclose(file);
	w->order = order;
}

int main(int argc, char **argv)
{
	static struct worker w;

	if (argc < 6) {
		fprintf(stderr, "usage: tdb_worker FILE TDB_FLAGS HASH_SIZE ORDER_FILE VALUE_BYTES WORK...\n");
		return 1;
	}
	memcpy(w.key, "key-000000000000", KEY_BYTES);
	memset(w.value, 7, sizeof(w.value));
	read_order(&w, argv[4]);
	w.value_bytes = strtoul(argv[5], NULL, 10);
	if (w.keys == 0 || w.value_bytes > MAX_VALUE) {
		fprintf(stderr, "no keys, or values too long\n");
		return 1;
	}
	w.tdb = tdb_open(argv[1], atoi(argv[3]), atoi(argv[2]), O_RDWR | O_CREAT, 0600);
	if (w.tdb == NULL) {
		perror(argv[1]);
		return 1;
	}
	for (int i = 6; i < argc; i++) {
		phase(&w, argv[i]);
	}
	printf("{");
	for (int i = 0; i < MAX_LABELS && figures[i].label[0] != 0; i++) {
		printf("%s\"%s\": {\"ops\": %llu, \"ns\": %llu, \"wall_ns\": %llu, \"sum\": %llu}",
		       i ? ", " : "", figures[i].label, (unsigned long long)figures[i].ops,
		       (unsigned long long)figures[i].ns, (unsigned long long)figures[i].wall_ns,
		       (unsigned long long)figures[i].sum);
	}
	printf("}\n");
	return tdb_close(w.tdb) == 0 ? 0 : 1;
}
