/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A process on the C library, driven by lines on stdin: "COMMAND ARG ...", byte strings in hex
 * ("-" is empty). Each command is answered by one line: "ok ..." or "err TDBCODE ERRNO". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <tdb.h>

static struct tdb_context *tdb;
static bool quiet;

static TDB_DATA unhex(const char *s)
{
	TDB_DATA d = { .dptr = malloc(strlen(s) / 2 + 1), .dsize = 0 };
	if (s[0] == '-') return d;
	for (; s[0] && s[1]; s += 2) {
		unsigned v;
		sscanf(s, "%2x", &v);
		d.dptr[d.dsize++] = v;
	}
	return d;
}

static void answer(int ret)
{
	if (ret == 0) printf("ok\n");
	else printf("err %d %d\n", tdb ? (int)tdb_error(tdb) : -1, errno);
}

static void logger(struct tdb_context *t, enum tdb_debug_level level, const char *fmt, ...)
{
	if (quiet || level > TDB_DEBUG_WARNING) return;
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "libtdb: ");
	vfprintf(stderr, fmt, ap);
	va_end(ap);
}

/* The value of key number k, version v: recognisable, of a length that varies. */
static TDB_DATA make_value(uint32_t k, uint32_t v)
{
	static uint8_t buf[8192];
	uint32_t len = 12 + (v * 2654435761u >> 16) % 400;
	memcpy(buf, &k, 4);
	memcpy(buf + 4, &v, 4);
	memcpy(buf + 8, &len, 4);
	for (uint32_t i = 12; i < len; i++) buf[i] = (uint8_t)(k + v + i);
	return (TDB_DATA){ .dptr = buf, .dsize = len };
}

static bool good_value(uint32_t k, TDB_DATA d)
{
	uint32_t h[3];
	if (d.dsize < 12) return false;
	memcpy(h, d.dptr, 12);
	if (h[0] != k || h[2] != d.dsize) return false;
	TDB_DATA want = make_value(k, h[1]);
	return want.dsize == d.dsize && memcmp(want.dptr, d.dptr, d.dsize) == 0;
}

static unsigned long bad;

static int check_parser(TDB_DATA key, TDB_DATA data, void *priv)
{
	uint32_t k;
	memcpy(&k, key.dptr, 4);
	if (!good_value(k, data)) bad++;
	return 0;
}

static int check_traverse(struct tdb_context *t, TDB_DATA key, TDB_DATA data, void *priv)
{
	if (key.dsize == 4) return check_parser(key, data, priv);
	return 0;
}

/* An order-independent digest of the content: the sum of a number for each record. */
static uint64_t digest;

static uint64_t fnv(uint64_t h, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001B3ull;
	return h;
}

static int digest_traverse(struct tdb_context *t, TDB_DATA key, TDB_DATA data, void *priv)
{
	uint8_t len[4] = { key.dsize, key.dsize >> 8, key.dsize >> 16, key.dsize >> 24 };
	uint64_t h = fnv(0xCBF29CE484222325ull, len, 4);
	digest += fnv(fnv(h, key.dptr, key.dsize), data.dptr, data.dsize);
	return 0;
}

static int rescued;

static void rescue_walk(TDB_DATA key, TDB_DATA data, void *priv)
{
	rescued++;
	digest_traverse(NULL, key, data, NULL);
}

static unsigned int custom_hash(TDB_DATA *key)
{
	unsigned int sum = 7;
	for (size_t i = 0; i < key->dsize; i++) sum = sum * 31 + key->dptr[i];
	return sum;
}

static int delete_odd(struct tdb_context *t, TDB_DATA key, TDB_DATA data, void *priv)
{
	return key.dsize && (key.dptr[0] & 1) ? tdb_delete(t, key) : 0;
}

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Random work on keys 0..nkeys for a time; every value read is checked. No tdb_lockall: two C
 * processes of which one traverses and one locks everything deadlock (spec/tdb.md 17.7). */
static void stress(unsigned seed, double seconds, uint32_t nkeys, bool transactions)
{
	double end = now() + seconds;
	unsigned long ops = 0;
	unsigned s = seed;
	bad = 0;
	while (now() < end) {
		for (int i = 0; i < 50; i++, ops++) {
			uint32_t k = rand_r(&s) % nkeys;
			TDB_DATA key = { .dptr = (uint8_t *)&k, .dsize = 4 };
			switch (rand_r(&s) % 10) {
			case 0: case 1: case 2:
				if (tdb_store(tdb, key, make_value(k, rand_r(&s)), TDB_REPLACE) != 0) {
					fprintf(stderr, "store: %s\n", tdb_errorstr(tdb));
					bad++;
				}
				break;
			case 3: case 4:
				if (tdb_delete(tdb, key) != 0 && tdb_error(tdb) != TDB_ERR_NOEXIST) {
					fprintf(stderr, "delete: %s\n", tdb_errorstr(tdb));
					bad++;
				}
				break;
			case 5:
				if (tdb_chainlock(tdb, key) != 0) { bad++; break; }
				tdb_parse_record(tdb, key, check_parser, NULL);
				tdb_store(tdb, key, make_value(k, rand_r(&s)), TDB_MODIFY);
				tdb_chainunlock(tdb, key);
				break;
			default:
				tdb_parse_record(tdb, key, check_parser, NULL);
			}
		}
		unsigned what = rand_r(&s) % 200;
		if (what == 0) {
			if (tdb_traverse_read(tdb, check_traverse, NULL) < 0) {
				fprintf(stderr, "traverse: %s\n", tdb_errorstr(tdb));
				bad++;
			}
		} else if (transactions && what < 20) {
			if (tdb_transaction_start(tdb) != 0) { bad++; continue; }
			for (int i = 0; i < 10; i++) {
				uint32_t k = rand_r(&s) % nkeys;
				TDB_DATA key = { .dptr = (uint8_t *)&k, .dsize = 4 };
				tdb_store(tdb, key, make_value(k, rand_r(&s)), TDB_REPLACE);
			}
			if (what % 4 == 0) tdb_transaction_cancel(tdb);
			else if (tdb_transaction_commit(tdb) != 0) {
				fprintf(stderr, "commit: %s\n", tdb_errorstr(tdb));
				bad++;
			}
		}
	}
	printf("ok %lu %lu\n", bad, ops);
}

/* Unmaps every mapping of the file, with whatever mutexes are held, and exits. */
static void vanish(void)
{
	struct stat st;
	fstat(tdb_fd(tdb), &st);
	FILE *f = fopen("/proc/self/maps", "r");
	char line[1024];
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to, ino;
		if (sscanf(line, "%lx-%lx %*s %*s %*s %lu", &from, &to, &ino) == 3 &&
		    ino == st.st_ino) {
			munmap((void *)from, to - from);
		}
	}
	printf("ok\n");
	fflush(stdout);
	_exit(0);
}

int main(void)
{
	static char line[1 << 20];
	static char a[4][1 << 18];
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		char cmd[64] = "";
		for (int i = 0; i < 4; i++) strcpy(a[i], "-");
		sscanf(line, "%63s %262143s %262143s %262143s %262143s", cmd, a[0], a[1], a[2], a[3]);
		TDB_DATA k = unhex(a[0]), v = unhex(a[1]);
		errno = 0;
		if (!strcmp(cmd, "open")) {
			struct tdb_logging_context log = { logger, NULL };
			tdb = tdb_open_ex(a[0], atoi(a[1]), atoi(a[2]), O_RDWR | O_CREAT, 0600, &log, NULL);
			if (tdb) printf("ok\n"); else printf("err -1 %d\n", errno);
		} else if (!strcmp(cmd, "open_custom")) {
			tdb = tdb_open_ex(a[0], atoi(a[1]), atoi(a[2]), O_RDWR | O_CREAT, 0600, NULL, custom_hash);
			if (tdb) printf("ok\n"); else printf("err -1 %d\n", errno);
		} else if (!strcmp(cmd, "open_ro")) {
			tdb = tdb_open(a[0], 0, atoi(a[1]), O_RDONLY, 0);
			if (tdb) printf("ok\n"); else printf("err -1 %d\n", errno);
		} else if (!strcmp(cmd, "max_dead")) { tdb_set_max_dead(tdb, atoi(a[0])); answer(0); }
		else if (!strcmp(cmd, "close")) { answer(tdb_close(tdb)); tdb = NULL; }
		else if (!strcmp(cmd, "store")) answer(tdb_store(tdb, k, v, atoi(a[2])));
		else if (!strcmp(cmd, "append")) answer(tdb_append(tdb, k, v));
		else if (!strcmp(cmd, "delete")) answer(tdb_delete(tdb, k));
		else if (!strcmp(cmd, "fetch")) {
			TDB_DATA d = tdb_fetch(tdb, k);
			if (!d.dptr) answer(-1);
			else {
				printf("ok ");
				for (size_t i = 0; i < d.dsize; i++) printf("%02x", d.dptr[i]);
				printf("%s\n", d.dsize ? "" : "-");
				free(d.dptr);
			}
		}
		else if (!strcmp(cmd, "lock")) answer(tdb_chainlock(tdb, k));
		else if (!strcmp(cmd, "lock_nb")) answer(tdb_chainlock_nonblock(tdb, k));
		else if (!strcmp(cmd, "unlock")) answer(tdb_chainunlock(tdb, k));
		else if (!strcmp(cmd, "rlock")) answer(tdb_chainlock_read(tdb, k));
		else if (!strcmp(cmd, "rlock_nb")) answer(tdb_chainlock_read_nonblock(tdb, k));
		else if (!strcmp(cmd, "runlock")) answer(tdb_chainunlock_read(tdb, k));
		else if (!strcmp(cmd, "lockall")) answer(tdb_lockall(tdb));
		else if (!strcmp(cmd, "lockall_nb")) answer(tdb_lockall_nonblock(tdb));
		else if (!strcmp(cmd, "unlockall")) answer(tdb_unlockall(tdb));
		else if (!strcmp(cmd, "rlockall")) answer(tdb_lockall_read(tdb));
		else if (!strcmp(cmd, "rlockall_nb")) answer(tdb_lockall_read_nonblock(tdb));
		else if (!strcmp(cmd, "runlockall")) answer(tdb_unlockall_read(tdb));
		else if (!strcmp(cmd, "tstart")) answer(tdb_transaction_start(tdb));
		else if (!strcmp(cmd, "tstart_nb")) answer(tdb_transaction_start_nonblock(tdb));
		else if (!strcmp(cmd, "tprepare")) answer(tdb_transaction_prepare_commit(tdb));
		else if (!strcmp(cmd, "tcommit")) answer(tdb_transaction_commit(tdb));
		else if (!strcmp(cmd, "tcancel")) answer(tdb_transaction_cancel(tdb));
		else if (!strcmp(cmd, "firstkey")) { free(tdb_firstkey(tdb).dptr); answer(0); }
		else if (!strcmp(cmd, "wipe")) answer(tdb_wipe_all(tdb));
		else if (!strcmp(cmd, "repack")) answer(tdb_repack(tdb));
		else if (!strcmp(cmd, "seqnum")) printf("ok %d\n", tdb_get_seqnum(tdb));
		else if (!strcmp(cmd, "flags")) printf("ok %d\n", tdb_get_flags(tdb));
		else if (!strcmp(cmd, "freelist")) printf("ok %d\n", tdb_freelist_size(tdb));
		else if (!strcmp(cmd, "count")) printf("ok %d\n", tdb_traverse_read(tdb, NULL, NULL));
		else if (!strcmp(cmd, "verify")) {
			bad = 0;
			int n = tdb_traverse_read(tdb, check_traverse, NULL);
			printf("ok %d %lu\n", n, bad);
		}
		else if (!strcmp(cmd, "digest")) {
			digest = 0;
			int n = tdb_traverse_read(tdb, digest_traverse, NULL);
			printf("ok %d %016llx\n", n, (unsigned long long)digest);
		}
		else if (!strcmp(cmd, "summary")) {
			char *text = tdb_summary(tdb);
			if (!text) answer(-1);
			else {
				printf("ok ");
				for (char *p = text; *p; p++) printf("%02x", (uint8_t)*p);
				printf("\n");
				free(text);
			}
		}
		else if (!strcmp(cmd, "rescue")) {
			digest = rescued = 0;
			if (tdb_rescue(tdb, rescue_walk, NULL) != 0) answer(-1);
			else printf("ok %d %016llx\n", rescued, (unsigned long long)digest);
		}
		else if (!strcmp(cmd, "validate_freelist")) {
			int n = 0;
			if (tdb_validate_freelist(tdb, &n) != 0) answer(-1);
			else printf("ok %d\n", n);
		}
		else if (!strcmp(cmd, "delete_odd")) printf("ok %d\n", tdb_traverse(tdb, delete_odd, NULL));
		else if (!strcmp(cmd, "check")) answer(tdb_check(tdb, NULL, NULL));
		else if (!strcmp(cmd, "stress")) stress(atoi(a[0]), atof(a[1]), atoi(a[2]), atoi(a[3]));
		else if (!strcmp(cmd, "quiet")) { quiet = true; answer(0); }
		else if (!strcmp(cmd, "die")) kill(getpid(), SIGKILL);
		else if (!strcmp(cmd, "vanish")) vanish();
		else printf("err unknown command\n");
		free(k.dptr);
		free(v.dptr);
		fflush(stdout);
	}
	return 0;
}
