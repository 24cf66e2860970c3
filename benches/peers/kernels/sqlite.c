// SQLite in memory: a table with an index, filled, joined, aggregated, updated and sorted.
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>

#define EXPORT(name) __attribute__((export_name(#name)))

// A file system without files: the database is in memory, and so is whatever is temporary.
static int open_nothing(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *out) {
    (void)vfs, (void)name, (void)file, (void)flags, (void)out;
    return SQLITE_CANTOPEN;
}
static int delete_nothing(sqlite3_vfs *vfs, const char *name, int sync) {
    (void)vfs, (void)name, (void)sync;
    return SQLITE_OK;
}
static int nothing_is_there(sqlite3_vfs *vfs, const char *name, int flags, int *out) {
    (void)vfs, (void)name, (void)flags;
    *out = 0;
    return SQLITE_OK;
}
static int full_name(sqlite3_vfs *vfs, const char *name, int length, char *out) {
    (void)vfs;
    sqlite3_snprintf(length, out, "%s", name);
    return SQLITE_OK;
}
static int randomness(sqlite3_vfs *vfs, int length, char *out) {
    (void)vfs;
    for (int i = 0; i < length; i++) out[i] = (char)(i * 37 + 11);
    return length;
}
static int no_sleep(sqlite3_vfs *vfs, int microseconds) {
    (void)vfs;
    return microseconds;
}
static int epoch(sqlite3_vfs *vfs, double *out) {
    (void)vfs;
    *out = 2440587.5;
    return SQLITE_OK;
}

int sqlite3_os_init(void) {
    static sqlite3_vfs vfs = {
        .iVersion = 1, .szOsFile = sizeof(sqlite3_file), .mxPathname = 64, .zName = "none",
        .xOpen = open_nothing, .xDelete = delete_nothing, .xAccess = nothing_is_there,
        .xFullPathname = full_name, .xRandomness = randomness, .xSleep = no_sleep, .xCurrentTime = epoch,
    };
    return sqlite3_vfs_register(&vfs, 1);
}
int sqlite3_os_end(void) { return SQLITE_OK; }

static const char *const SETUP =
    "CREATE TABLE item (id INTEGER PRIMARY KEY, kind INT, price INT, name TEXT);"
    "CREATE TABLE sale (item INT, amount INT);";

// `?1` is how many rows there are to be.
static const char *const STEPS[] = {
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)"
    " INSERT INTO item SELECT i, i * 7919 % 97, i * 31 % 1009, printf('item %d', i * 613 % 10007) FROM n",
    "CREATE INDEX item_by_kind ON item (kind, price)",
    "INSERT INTO sale SELECT id * 17 % ?1 + 1, id % 13 FROM item",
    "UPDATE item SET price = price + 1 WHERE kind < 40",
    "DELETE FROM sale WHERE amount = 5",
    0,
};
static const char *const QUESTION =
    "SELECT sum(total * length(name) + rank) FROM ("
    " SELECT name, sum(price * amount) AS total, row_number() OVER (ORDER BY name) AS rank"
    " FROM item JOIN sale ON item.id = sale.item WHERE name LIKE '%1%' GROUP BY name)"
    " WHERE ?1 > 0";

static int64_t step(sqlite3 *db, const char *sql, int32_t rows) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, 0) != SQLITE_OK) return -1;
    if (sqlite3_bind_parameter_count(statement) > 0) sqlite3_bind_int(statement, 1, rows);
    int64_t answer = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    return sqlite3_finalize(statement) == SQLITE_OK ? answer : -1;
}

// What the question answers about a database of so many rows; -1 where a step fails.
EXPORT(run) int64_t run(int32_t rows) {
    sqlite3 *db;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK) return -1;
    int64_t answer = sqlite3_exec(db, SETUP, 0, 0, 0) == SQLITE_OK ? 0 : -1;
    for (int i = 0; STEPS[i] && answer >= 0; i++) answer = step(db, STEPS[i], rows);
    if (answer >= 0) answer = step(db, QUESTION, rows);
    sqlite3_close(db);
    return answer;
}
