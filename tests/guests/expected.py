"""Computes what the guests should answer, without the guests: with Python's own hash, JSON parser,
integers and floats. Prints a line for each call; `README.md` and the tests hold these values.
"""

import functools
import hashlib
import json
import math
import pathlib
import struct

FNV_START, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


def fnv1a(state, items):
    for item in items:
        state = (state ^ item) * FNV_PRIME % 2**64
    return state


def signed(value, bits):
    value %= 2**bits
    return value - 2**bits if value >> (bits - 1) else value


def xorshift32(state=1):
    while True:
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        yield state


def fib(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def primes(n):
    composite = bytearray(n + 1)
    for i in range(2, math.isqrt(n) + 1):
        if not composite[i]:
            composite[i * i :: i] = b"\1" * len(range(i * i, n + 1, i))
    return composite[2:].count(0)


def sha256(rounds):
    random = xorshift32()
    megabyte = struct.pack("<262144I", *(next(random) for _ in range(262144)))
    digest = b""
    for _ in range(rounds):
        digest = hashlib.sha256(digest + megabyte).digest()
    return digest


class Document:
    """The tree of a JSON document, as the guest hashes and counts it."""

    def __init__(self, text):
        self.nodes, self.numbers, self.deepest = 0, [], 0
        out = bytearray()
        self.walk(json.loads(text, object_pairs_hook=tuple, parse_int=float), 0, out)
        self.tree = bytes(out)

    def walk(self, value, depth, out):
        self.nodes += 1
        match value:
            case None:
                out += b"n"
            case bool():
                out += b"t" if value else b"f"
            case float():
                self.numbers.append(value)
                out += b"d" + struct.pack("<d", value)
            case str():
                self.text(value, out)
            case list():
                self.deepest = max(self.deepest, depth + 1)
                out += b"["
                for member in value:
                    self.walk(member, depth + 1, out)
                out += b"]"
            case tuple():
                self.deepest = max(self.deepest, depth + 1)
                out += b"{"
                for key, member in value:
                    self.text(key, out)
                    self.walk(member, depth + 1, out)
                out += b"}"

    @staticmethod
    def text(value, out):
        encoded = value.encode()
        out += b"s" + struct.pack("<I", len(encoded)) + encoded

    def hash(self, times):
        return functools.reduce(lambda state, _: fnv1a(state, self.tree), range(times), FNV_START)


def nbody(steps):
    step, sun = 0.01, 4 * math.pi**2
    bodies = [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, sun]]
    for mass, r, c, s, tc, ts in [
        (1 / 1047.35, 5.203, 0.6, 0.8, 0.9995, 0.0316),
        (1 / 3497.9, 9.537, -0.28, 0.96, 0.999, 0.0447),
        (1 / 22903.0, 19.191, -0.8, -0.6, 0.9999, 0.0141),
        (1 / 19412.0, 30.069, 0.96, -0.28, 0.9995, -0.0316),
    ]:
        v = math.sqrt(sun / r)
        bodies.append([r * c, r * s * tc, r * s * ts, -v * s, v * c * tc, v * c * ts, sun * mass])
    for body in bodies[1:]:
        for axis in 3, 4, 5:
            bodies[0][axis] -= body[axis] * body[6] / sun
    for _ in range(steps):
        for i, a in enumerate(bodies):
            for b in bodies[i + 1 :]:
                apart = [a[axis] - b[axis] for axis in range(3)]
                square = sum(part * part for part in apart)
                pull = step / (square * math.sqrt(square))
                for axis in range(3):
                    a[3 + axis] -= apart[axis] * b[6] * pull
                    b[3 + axis] += apart[axis] * a[6] * pull
        for a in bodies:
            for axis in range(3):
                a[axis] += step * a[3 + axis]
    energy = 0.0
    for i, a in enumerate(bodies):
        energy += 0.5 * a[6] * sum(part * part for part in a[3:6])
        for b in bodies[i + 1 :]:
            energy -= a[6] * b[6] / math.dist(a[:3], b[:3])
    return energy


def x25519(key, point):
    p = 2**255 - 19
    scalar = int.from_bytes(key, "little") & ~7 & (2**255 - 1) | 2**254
    u = int.from_bytes(point, "little") % 2**255
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in range(254, -1, -1):
        swap = scalar >> bit & 1
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a, c * b, a * a, b * b
        x3, z3 = (da + cb) ** 2 % p, u * (da - cb) ** 2 % p
        x2, z2 = aa * bb % p, (aa - bb) * (aa + 121665 * (aa - bb)) % p
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


def x25519_chain(n):
    key = point = (9).to_bytes(32, "little")
    for _ in range(n):
        key, point = x25519(key, point), key
    return key


def sort(n):
    random = xorshift32()
    numbers = [next(random) for _ in range(n)]
    state = FNV_START
    for order in [
        lambda x: x,
        lambda x: -x,
        lambda x: (x.bit_count(), x),
        lambda x: int(f"{x:032b}"[::-1], 2),
    ]:
        numbers.sort(key=order)
        state = fnv1a(state, numbers)
    return state


def ray(w, h):
    dot = lambda a, b: a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    add = lambda a, b: [x + y for x, y in zip(a, b)]
    sub = lambda a, b: [x - y for x, y in zip(a, b)]
    scale = lambda a, by: [x * by for x in a]
    unit = lambda a: scale(a, 1 / math.sqrt(dot(a, a)))
    far, near, lamp = 1e9, 1e-6, [-4, 7, -2]
    spheres = [
        ([0, 1, 4], 1, 0.5, [1, 0.25, 0.25]),
        ([-2.2, 0.8, 5], 0.8, 0.25, [0.25, 0.75, 0.25]),
        ([2.1, 0.7, 3.5], 0.7, 0.75, [0.25, 0.5, 1]),
        ([0.9, 0.3, 2.4], 0.3, 0.125, [1, 0.875, 0.25]),
        ([-0.9, 0.4, 2.8], 0.4, 0.875, [0.875, 0.875, 0.875]),
    ]

    def distance_to(sphere, start, way):
        to = sub(sphere[0], start)
        along = dot(to, way)
        square = along * along - dot(to, to) + sphere[1] * sphere[1]
        if square < 0:
            return far
        half = math.sqrt(square)
        return next((d for d in (along - half, along + half) if d > near), far)

    def trace(start, way):
        distance, sphere = min(((distance_to(s, start, way), s) for s in spheres), key=lambda hit: hit[0])
        floor = -start[1] / way[1] if way[1] < 0 else far
        if near < floor < distance:
            point = add(start, scale(way, floor))
            dark = (math.floor(point[0]) + math.floor(point[2])) & 1
            return floor, point, [0, 1, 0], [0.25 if dark else 0.875] * 3, 0.125
        if distance >= far:
            return None
        point = add(start, scale(way, distance))
        return distance, point, scale(sub(point, sphere[0]), 1 / sphere[1]), sphere[3], sphere[2]

    def light(point, normal, colour, way):
        to_lamp = sub(lamp, point)
        distance = math.sqrt(dot(to_lamp, to_lamp))
        lamp_way = scale(to_lamp, 1 / distance)
        facing = dot(normal, lamp_way)
        if facing <= 0 or any(distance_to(s, point, lamp_way) < distance for s in spheres):
            return scale(colour, 0.125)
        gloss = dot(normal, unit(sub(lamp_way, way)))
        for _ in range(5):
            gloss *= gloss
        return add(scale(colour, 0.125 + 0.75 * facing), [0.5 * gloss] * 3)

    def colour_of(start, way):
        total, share, mirrors = [0, 0, 0], 1, 0
        while hit := trace(start, way):
            _, point, normal, colour, mirror = hit
            mirror = mirror if mirrors < 4 else 0
            total = add(total, scale(light(point, normal, colour, way), share * (1 - mirror)))
            if mirror == 0:
                return total
            share, start, mirrors = share * mirror, point, mirrors + 1
            way = sub(way, scale(normal, 2 * dot(way, normal)))
        sky = 0.5 * (1 + way[1])
        return add(total, scale([1 - 0.5 * sky, 1 - 0.25 * sky, 1], share))

    image = bytearray()
    for row in range(h):
        for column in range(w):
            x, y = (2 * column + 1 - w) / h, (h - 2 * row - 1) / h
            colour = colour_of([0, 1.5, -3], unit([x, y - 0.2, 2]))
            image += bytes(255 if part >= 1 else int(part * 255 + 0.5) for part in colour)
    return fnv1a(FNV_START, image)


def main():
    for n in 10, 20, 30:
        print(f"fib.fib({n}) = {fib(n)}")
    for n in 1000, 100_000, 2_000_000:
        print(f"sieve.run({n}) = {primes(n)}")
    for rounds in 1, 3:
        digest = sha256(rounds)
        print(f"hash.run({rounds}) = {signed(int.from_bytes(digest[:4], 'big'), 32)}, digest {digest.hex()}")
    for steps in 0, 1000, 10_000:
        print(f"nbody.run({steps}) = {nbody(steps)!r}")
    for w, h in (64, 48), (160, 120):
        print(f"ray.render({w}, {h}) = {signed(ray(w, h), 32)}")
    document = Document(pathlib.Path(__file__).with_name("document.json").read_text(encoding="utf-8"))
    for times in 1, 10:
        print(f"json.run({times}) = {signed(document.hash(times), 64)}")
    total = 0.0
    for number in document.numbers:
        total += number
    print(f"json.nodes() = {document.nodes}, sum() = {total!r}, depth() = {document.deepest}")
    for n in 1, 10, 1000:
        key = x25519_chain(n)
        print(f"x25519.run({n}) = {signed(int.from_bytes(key[:4], 'little'), 32)}, key {key.hex()}")
    for n in 1000, 50_000:
        print(f"sort.run({n}) = {signed(sort(n), 64)}")


main()
