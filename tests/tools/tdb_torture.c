/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A process on libtdb that does what tests/src/tdb_torture/worker.rs does on our engine: random
 * work on keys of its own, each batch written into a journal before it is done and after.
 *
 *   tdb_torture FILE TDB_FLAGS HASH_SIZE DIRECTORY ID SEED SCENE MAX_DEAD
 *
 * tests/src/tdb_torture/mod.rs says what the scene, the journal and the values are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tdb.h>

enum { PLAIN = 1, TRANSACTIONS = 2, WHOLE = 4, CHECKED = 8 };

#define KEYS 300
#define COUNTERS 4
#define GENERATION 100
#define MAX_BATCH 16
#define APPENDED 0x80000000u

static struct tdb_context *tdb;
static uint32_t own_id, scene;
static uint64_t random_state;
static int journal = -1;
static char stop_file[4096];

struct op {
	char what;
	uint32_t number, version;
};

static void die(const char *what)
{
	fprintf(stderr, "C worker %u: %s: %s\n", own_id, what, tdb ? tdb_errorstr(tdb) : "");
	exit(1);
}

static uint32_t below(uint32_t bound)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(random_state >> 33) % bound;
}

struct key {
	uint32_t id, number;
};

static TDB_DATA key_data(struct key *key)
{
	return (TDB_DATA){ .dptr = (uint8_t *)key, .dsize = sizeof(*key) };
}

static TDB_DATA make_value(uint32_t number, uint32_t version)
{
	static uint8_t value[1024];
	uint32_t length = 12 + (version * 2654435761u >> 16) % 400;

	memcpy(value, &number, 4);
	memcpy(value + 4, &version, 4);
	memcpy(value + 8, &length, 4);
	for (uint32_t i = 12; i < length; i++) {
		value[i] = (uint8_t)(number + version + i);
	}
	return (TDB_DATA){ .dptr = value, .dsize = length };
}

static bool well_formed(uint32_t number, TDB_DATA data)
{
	uint32_t word[3];
	size_t at = 0;

	if (data.dsize < 8) {
		return false;
	}
	memcpy(word, data.dptr, 8);
	if (!(word[1] & APPENDED)) {
		TDB_DATA want = make_value(number, word[1]);

		if (data.dsize < want.dsize || memcmp(want.dptr, data.dptr, want.dsize) != 0) {
			return false;
		}
		at = want.dsize;
	}
	for (; at + 8 <= data.dsize; at += 8) {
		memcpy(word, data.dptr + at, 8);
		if (word[0] != number || !(word[1] & APPENDED)) {
			return false;
		}
	}
	return at == data.dsize;
}

static int look(TDB_DATA key, TDB_DATA data, void *private_data)
{
	struct key k;

	(void)private_data;
	if (key.dsize != sizeof(k)) {
		die("a key that nobody stored");
	}
	memcpy(&k, key.dptr, sizeof(k));
	if (k.id != 0 && (scene & CHECKED) && !well_formed(k.number, data)) {
		die("a value that nobody stored");
	}
	return 0;
}

static int look_all(struct tdb_context *t, TDB_DATA key, TDB_DATA data, void *private_data)
{
	(void)t;
	return look(key, data, private_data);
}

static int read_word(TDB_DATA key, TDB_DATA data, void *private_data)
{
	(void)key;
	if (data.dsize == 4) {
		memcpy(private_data, data.dptr, 4);
	}
	return 0;
}

static uint32_t word_at(uint32_t number)
{
	struct key key = { 0, number };
	uint32_t word = 0;

	if (tdb_parse_record(tdb, key_data(&key), read_word, &word) != 0 &&
	    tdb_error(tdb) != TDB_ERR_NOEXIST) {
		die("read of a counter");
	}
	return word;
}

static void store_word(uint32_t number, uint32_t word)
{
	struct key key = { 0, number };
	TDB_DATA data = { .dptr = (uint8_t *)&word, .dsize = 4 };

	if (tdb_store(tdb, key_data(&key), data, TDB_REPLACE) != 0) {
		die("store of a counter");
	}
}

static void do_one(const struct op *op, bool locks)
{
	struct key key = { op->what == 'i' ? 0 : own_id, op->number };
	TDB_DATA k = key_data(&key);
	uint32_t chunk[2] = { op->number, op->version | APPENDED };
	TDB_DATA appended = { .dptr = (uint8_t *)chunk, .dsize = sizeof(chunk) };

	locks = locks && (op->what == 'm' || op->what == 'i');
	if (locks && tdb_chainlock(tdb, k) != 0) {
		die("chainlock");
	}
	switch (op->what) {
	case 's':
		if (tdb_store(tdb, k, make_value(op->number, op->version), TDB_REPLACE) != 0) {
			die("store");
		}
		break;
	case 'm': {
		int flag = tdb_parse_record(tdb, k, look, NULL) == 0 ? TDB_MODIFY : TDB_INSERT;

		if (tdb_store(tdb, k, make_value(op->number, op->version), flag) != 0) {
			die("store under a lock");
		}
		break;
	}
	case 'd':
		if (tdb_delete(tdb, k) != 0 && tdb_error(tdb) != TDB_ERR_NOEXIST) {
			die("delete");
		}
		break;
	case 'a':
		if (tdb_append(tdb, k, appended) != 0) {
			die("append");
		}
		break;
	default:
		store_word(op->number, word_at(op->number) + 1);
	}
	if (locks && tdb_chainunlock(tdb, k) != 0) {
		die("chainunlock");
	}
}

static void note(const char *line, size_t length)
{
	if (write(journal, line, length) != (ssize_t)length) {
		die("journal");
	}
}

static void batch(char kind)
{
	static uint32_t version;
	struct op ops[MAX_BATCH];
	uint32_t count = 1 + below(MAX_BATCH), first = below(KEYS);
	char line[1024];
	int length = snprintf(line, sizeof(line), "+ %c %u", kind, word_at(GENERATION));

	for (uint32_t i = 0; i < count; i++) {
		ops[i].what = "ssmmdai"[below(7)];
		ops[i].number = ops[i].what == 'i' ? below(COUNTERS) : (first + i) % KEYS;
		ops[i].version = ++version;
		length += snprintf(line + length, sizeof(line) - (size_t)length, " %c%u:%u",
				   ops[i].what, ops[i].number, ops[i].version);
	}
	length += snprintf(line + length, sizeof(line) - (size_t)length, "\n");
	note(line, (size_t)length);
	if (kind != 'p' && tdb_transaction_start(tdb) != 0) {
		die("transaction_start");
	}
	for (uint32_t i = 0; i < count; i++) {
		do_one(&ops[i], kind == 'p');
	}
	if (kind == 't' && tdb_transaction_commit(tdb) != 0) {
		die("transaction_commit");
	}
	if (kind == 'c' && tdb_transaction_cancel(tdb) != 0) {
		die("transaction_cancel");
	}
	length = snprintf(line, sizeof(line), "= %u\n", word_at(GENERATION));
	note(line, (size_t)length);
}

static void wipe(void)
{
	uint32_t generation;

	note("+ w\n", 4);
	if (tdb_transaction_start(tdb) != 0) {
		die("transaction_start");
	}
	generation = word_at(GENERATION);
	if (tdb_wipe_all(tdb) != 0) {
		die("wipe_all");
	}
	store_word(GENERATION, generation + 1);
	if (tdb_transaction_commit(tdb) != 0) {
		die("transaction_commit");
	}
	note("= w\n", 4);
}

static void whole_database(void)
{
	switch (below(300)) {
	case 0:
		wipe();
		break;
	case 1: case 2: case 3: case 4: case 5: case 6: case 7: case 8:
		if (tdb_repack(tdb) != 0) {
			die("repack");
		}
		break;
	default:
		if (tdb_lockall(tdb) != 0) {
			die("lockall");
		}
		if (tdb_unlockall(tdb) != 0) {
			die("unlockall");
		}
	}
}

/* Chain by chain: tdb_traverse and tdb_lockall of two C processes deadlock (spec/tdb.md 17.7). */
static void traverse(void)
{
	for (int chain = 0; chain < tdb_hash_size(tdb); chain++) {
		if (tdb_traverse_chain(tdb, (unsigned)chain, look_all, NULL) < 0) {
			die("traverse_chain");
		}
	}
}

static void work(void)
{
	uint32_t choice = below(100);

	if ((scene & TRANSACTIONS) && (!(scene & PLAIN) || choice < 20)) {
		batch(below(5) == 0 ? 'c' : 't');
	} else {
		batch('p');
	}
	if (choice == 0) {
		traverse();
	} else if (choice < 4 && (scene & WHOLE)) {
		whole_database();
	}
}

static void logger(struct tdb_context *t, enum tdb_debug_level level, const char *format, ...)
{
	va_list args;

	(void)t;
	if (level > TDB_DEBUG_ERROR) {
		return;
	}
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
}

int main(int argc, char **argv)
{
	struct tdb_logging_context log = { logger, NULL };
	char path[4096];

	if (argc != 9) {
		fprintf(stderr, "usage: tdb_torture FILE FLAGS HASH_SIZE DIRECTORY ID SEED SCENE MAX_DEAD\n");
		return 1;
	}
	own_id = (uint32_t)strtoul(argv[5], NULL, 10);
	random_state = strtoull(argv[6], NULL, 10);
	scene = (uint32_t)strtoul(argv[7], NULL, 10);
	snprintf(path, sizeof(path), "%s/journal.%u", argv[4], own_id);
	snprintf(stop_file, sizeof(stop_file), "%s/stop", argv[4]);
	journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (journal < 0) {
		die(path);
	}
	tdb = tdb_open_ex(argv[1], atoi(argv[3]), atoi(argv[2]), O_RDWR, 0600, &log, NULL);
	if (tdb == NULL) {
		die("open");
	}
	tdb_set_max_dead(tdb, atoi(argv[8]));
	while (access(stop_file, F_OK) != 0) {
		work();
	}
	return tdb_close(tdb) == 0 ? 0 : 1;
}
