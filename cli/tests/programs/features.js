// What the language and its library do, one line of output for each. `--std` gives `std` and `os`.
import { area, count } from "./shapes.js";

const lines = [];
const say = (name, ...values) => console.log(name, ...values.map((value) =>
    typeof value === "string" ? value : typeof value === "bigint" ? `${value}n` : JSON.stringify(value)));

// Generators, iterators, destructuring.
function* fibonacci() { let [a, b] = [0n, 1n]; for (;;) { yield a; [a, b] = [b, a + b]; } }
function* take(n, it) { try { for (const x of it) { if (n-- <= 0) return; yield x; } } finally { lines.push("closed"); } }
const numbers = [...take(100, fibonacci())];
say("generators", numbers.slice(10, 13).map(String), numbers.at(-1), lines);
const talk = (function* () { const got = yield 1; try { yield got * 2; } catch (e) { yield e.message; } })();
say("messages", talk.next().value, talk.next(21).value, talk.throw(new Error("thrown")).value, talk.next().done);
const { a, b: [, c = 5], ...rest } = { a: 1, b: [2], d: 3, e: 4 };
say("destructuring", a, c, rest);

// BigInt: pi, digit by digit (Gibbons).
function* pi() {
    let [q, r, t, k, n, l] = [1n, 0n, 1n, 1n, 3n, 3n];
    for (;;) {
        if (4n * q + r - t < n * t) {
            yield n;
            [q, r, n] = [10n * q, 10n * (r - n * t), 10n * (3n * q + r) / t - 10n * n];
        } else {
            [q, r, t, k, n, l] = [q * k, (2n * q + r) * l, t * l, k + 1n, (q * (7n * k) + 2n + r * l) / (t * l), l + 2n];
        }
    }
}
say("pi", [...take(300, pi())].join("").slice(-30));
say("powers", 2n ** 127n - 1n, (-7n) / 2n, BigInt.asIntN(8, 255n), 0xffn & ~0xfn, BigInt("0b1010"));
let factorial = 1n;
for (let i = 1n; i <= 200n; i++) factorial *= i;
say("factorial", String(factorial).length, String(factorial).replace(/0+$/, "").slice(-10));

// Regular expressions.
const date = /(?<year>\d{4})-(?<month>\d\d)-(?<day>\d\d)/u;
say("groups", { ..."on 2024-02-29".match(date).groups }, "2024-02-29".replace(date, "$<day>.$<month>.$<year>"));
say("lookaround", "a1b22c333".match(/(?<=[a-z])\d+(?!\d*3)/g), /^(?:(a+)+)$/.test("aaaa"), /(\w)\1/.exec("hello")[0]);
say("unicode", /^\p{Lu}\p{Ll}+$/u.test("Éclair"), "😀".match(/./u)[0].length, "ǅ".toLowerCase(), "ß".toUpperCase());
say("sticky", (() => { const r = /\d/y; r.lastIndex = 1; return [r.test("a1b"), r.lastIndex, r.test("a1b")]; })());
say("matchAll", [..."x=1,y=2".matchAll(/(\w)=(\d)/g)].map((m) => m[1] + m[2]), "a-b_c".split(/[-_]/));

// JSON.
const value = JSON.parse('{"n":[1,-2.5e3,true,null],"s":"\\u00e4\\n\\ud83d\\ude00","o":{}}');
say("json", JSON.stringify(value), JSON.stringify({ x: new Date(0), y: undefined, z: [() => 1] }));
say("reviver", JSON.parse("[1,[2,3]]", (k, v) => typeof v === "number" ? v * 2 : v), JSON.stringify({ b: 1, a: 2 }, ["a"]));
for (const text of ['{"a":}', "[1,]", '"\\x"']) {
    try { JSON.parse(text); say("parsed", text); } catch (e) { say("refused", text, e.name); }
}

// Classes, proxies, symbols, collections, typed arrays.
class Shape { #side; static made = 0; constructor(side) { this.#side = side; Shape.made++; } get area() { return area(this.#side); } }
class Cube extends Shape { get area() { return 6 * super.area; } [Symbol.toPrimitive]() { return "cube"; } }
say("classes", new Cube(2).area, `${new Cube(1)}`, Shape.made, count);
const seen = [];
const proxy = new Proxy({}, { get: (t, k) => (seen.push(k), k.length), has: () => true });
say("proxy", proxy.five + proxy.to, "x" in proxy, seen);
say("collections", [...new Map([[1, "a"], [NaN, "b"]]).keys()].length, [...new Set([3, 1, 3])], Object.groupBy([1, 2, 3], (x) => x % 2 ? "odd" : "even"));
const view = new DataView(new ArrayBuffer(8));
view.setFloat64(0, Math.PI); say("bytes", [...new Uint8Array(view.buffer)], new Float32Array([0.1])[0], Math.fround(5.5), Math.clz32(1));
say("numbers", 0.1 + 0.2, (1234.5678).toFixed(2), (255).toString(36), 1e21, parseFloat("3.14abc"), (25).toPrecision(1), -(2 ** 31) >> 0);
say("sorted", [5, 1, 10].sort(), [5, 1, 10].toSorted((x, y) => x - y), ["b", "a"].at(-1), [1, [2, [3]]].flat(Infinity));
say("time", new Date(Date.UTC(2024, 1, 29, 12)).toISOString(), new Date("2000-01-01T00:00:00Z").getTime());

// Errors: caught, rethrown, of the engine's own.
const caught = (f) => { try { return f(); } catch (e) { return `${e.name}: ${e.message}`; } finally { lines.push("finally"); } };
say("errors", caught(() => null.x), caught(() => nowhere), caught(() => { throw new RangeError("mine", { cause: 1 }); }));
say("syntax", caught(() => new Function("return +")), caught(() => eval("1 +* 2")), caught(() => new Array(-1)), lines.length);

// Promises: in order.
const order = [];
const later = (ms, name) => new Promise((done) => os.setTimeout(() => { order.push(name); done(name); }, ms));
queueMicrotask(() => order.push("micro"));
const all = await Promise.all([later(20, "slow"), later(1, "fast"), Promise.resolve("now")]);
say("promises", all, order, await Promise.race([later(50, "late"), later(1, "early")]));
const settled = await Promise.allSettled([Promise.reject(new Error("no")), (async () => { throw 1; })()]);
say("settled", settled.map((s) => s.status));
const streamed = [];
for await (const x of (async function* () { yield 1; await null; yield 2; })()) streamed.push(x);
say("streamed", streamed);

// Files.
const file = std.open("made.txt", "w");
file.puts("first\nsecond\n"); file.printf("%d\n", 3); file.close();
say("files", std.loadFile("made.txt").split("\n"), os.stat("made.txt")[0].size, std.loadFile("none.txt"));
const problem = {};
say("missing", std.open("none/x", "r", problem), problem.errno !== 0, os.remove("made.txt"));
std.exit(count);
