-- A shop: tables, triggers, views, and what people ask of them.
.bail off
.headers on
.mode list
CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, born TEXT);
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price REAL CHECK (price > 0));
CREATE TABLE sale(customer INTEGER REFERENCES customer, item INTEGER REFERENCES item, n INTEGER DEFAULT 1, at TEXT);
CREATE INDEX sale_at ON sale(at);
CREATE TABLE journal(what TEXT);
CREATE TRIGGER told AFTER INSERT ON sale BEGIN INSERT INTO journal VALUES ('sold ' || new.n || ' of ' || new.item); END;
CREATE VIEW revenue AS SELECT item.name, sum(n * price) AS total FROM sale JOIN item ON item.id = sale.item GROUP BY item.id;
PRAGMA foreign_keys = ON;
BEGIN;
INSERT INTO customer(name, born) VALUES ('Ada', '1815-12-10'), ('Grace', '1906-12-09'), ('O''Hara', NULL), ('Zoë', '1980-02-29');
INSERT INTO item(name, price) VALUES ('wick', 0.25), ('lamp', 19.5), ('oil', 4.75);
INSERT INTO sale SELECT c.id, i.id, c.id * i.id % 3 + 1, date('2024-01-30', (c.id * i.id) || ' days') FROM customer c, item i;
COMMIT;
SELECT * FROM revenue ORDER BY total DESC;
SELECT name, count(*) AS sales, total(n) AS pieces, group_concat(item, '+') AS items FROM sale JOIN customer ON customer.id = customer GROUP BY name HAVING sales > 1 ORDER BY name COLLATE NOCASE DESC;
SELECT at, n, sum(n) OVER (ORDER BY at, item ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS moving, rank() OVER (ORDER BY n DESC) AS place FROM sale ORDER BY at, item LIMIT 4;
WITH RECURSIVE prime(n, d) AS (SELECT 2, 2 UNION ALL SELECT CASE WHEN n % d = 0 OR d * d > n THEN n + 1 ELSE n END, CASE WHEN n % d = 0 OR d * d > n THEN 2 ELSE d + 1 END FROM prime WHERE n < 40)
  SELECT group_concat(n, ' ') AS primes FROM (SELECT DISTINCT n FROM prime p WHERE NOT EXISTS (SELECT 1 FROM prime q WHERE q.n < p.n AND p.n % q.n = 0) ORDER BY n);
SELECT count(*) AS told, max(what) AS last FROM journal;
SELECT strftime('%j', born) AS day, julianday('2000-01-01') - julianday(born) AS days FROM customer WHERE born IS NOT NULL ORDER BY 1;
SELECT printf('%08.3f|%-5s|%x', avg(price), 'ab', 255) AS formatted, round(sqrt(2), 6) AS root, 7 / 2, 7 / 2.0, 9223372036854775807 + 1 AS big FROM item;
SELECT name, length(name) AS chars, length(CAST(name AS BLOB)) AS bytes, hex(name) AS hex, upper(name) AS upper FROM customer WHERE name LIKE 'z%' OR name GLOB 'O*';
SELECT json_group_object(name, price) AS prices, json_extract('{"a":[1,{"b":"x"}]}', '$.a[1].b') AS b FROM item;
EXPLAIN QUERY PLAN SELECT * FROM sale WHERE at BETWEEN '2024-02-01' AND '2024-02-05';
INSERT INTO item(name, price) VALUES ('free', 0);
INSERT INTO sale(customer, item) VALUES (99, 1);
INSERT INTO customer(name) VALUES ('Ada');
SELECT nothing FROM nowhere;
SAVEPOINT a; DELETE FROM sale; SELECT count(*) AS inside FROM sale; ROLLBACK TO a; RELEASE a;
SELECT count(*) AS after FROM sale;
UPDATE item SET price = price * 2 WHERE name = 'oil' RETURNING name, price;
CREATE TEMP TABLE squares AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i, i * i AS s FROM n;
SELECT sum(s), avg(s), max(i) FROM squares;
CREATE VIRTUAL TABLE box USING rtree(id, x0, x1, y0, y1);
PRAGMA integrity_check;
.tables
.schema item
.mode csv
SELECT * FROM customer WHERE id > 2;
.mode box
SELECT id, name FROM item WHERE id < 3;
.import --csv -v given.csv given
.mode line
SELECT * FROM given ORDER BY a DESC LIMIT 1;
.output said.txt
SELECT 'to a file' AS x;
.output stdout
.read said.sql
.quit
