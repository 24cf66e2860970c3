// X25519 (RFC 7748): multiplications of 64 bits, the heart of most signatures and handshakes.
#include "guest.h"

// A number modulo p = 2^255 - 19 in ten limbs of 26 and 25 bits by turns: limb i weighs
// 2^ceil(25.5 * i). Limbs are signed, so that sums and differences need no carries.
typedef struct {
    int64_t limb[10];
} field;

static int bits_of(int i) {
    return i % 2 ? 25 : 26;
}

static field add(field a, field b) {
    for (int i = 0; i < 10; i++) a.limb[i] += b.limb[i];
    return a;
}

static field sub(field a, field b) {
    for (int i = 0; i < 10; i++) a.limb[i] -= b.limb[i];
    return a;
}

// Brings limbs of up to 2^62 back to at most 26 bits and a sign.
static field carry(field a) {
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 10; i++) {
            int bits = bits_of(i);
            int64_t over = (a.limb[i] + (1LL << (bits - 1))) >> bits;
            a.limb[i] -= over << bits;
            if (i < 9) a.limb[i + 1] += over;
            else a.limb[0] += 19 * over; // 2^255 = 19
        }
    }
    return a;
}

// Two odd limbs meet half a bit above their place, hence the 2; what passes 2^255 comes
// back times 19.
static field mul(field a, field b) {
    field r = {{0}};
#pragma unroll
    for (int i = 0; i < 10; i++) {
#pragma unroll
        for (int j = 0; j < 10; j++) {
            int64_t times = (i % 2 && j % 2 ? 2 : 1) * (i + j >= 10 ? 19 : 1);
            r.limb[(i + j) % 10] += a.limb[i] * (times * b.limb[j]);
        }
    }
    return carry(r);
}

static field square(field a) {
    return mul(a, a);
}

static field small(field a, int32_t by) {
    for (int i = 0; i < 10; i++) a.limb[i] *= by;
    return carry(a);
}

static field squares(field a, int times) {
    for (int i = 0; i < times; i++) a = square(a);
    return a;
}

// a^(p - 2), which is 1 / a: the exponent is 250 ones followed by 01011. The variables are
// named after how many ones their exponent has.
static field invert(field a) {
    field two = mul(squares(a, 1), a);
    field four = mul(squares(two, 2), two);
    field eight = mul(squares(four, 4), four);
    field ten = mul(squares(eight, 2), two);
    field twenty = mul(squares(ten, 10), ten);
    field forty = mul(squares(twenty, 20), twenty);
    field fifty = mul(squares(forty, 10), ten);
    field hundred = mul(squares(fifty, 50), fifty);
    field two_hundred = mul(squares(hundred, 100), hundred);
    field power = mul(squares(two_hundred, 50), fifty);
    power = mul(squares(power, 2), a);
    power = mul(squares(power, 2), a);
    return mul(squares(power, 1), a);
}

static field load(const uint8_t bytes[32]) {
    field r;
    int at = 0;
    for (int i = 0; i < 10; i++) {
        uint64_t word = 0;
        for (int byte = 0; byte < 5 && at / 8 + byte < 32; byte++) word |= (uint64_t)bytes[at / 8 + byte] << (8 * byte);
        r.limb[i] = word >> (at % 8) & ((1 << bits_of(i)) - 1);
        at += bits_of(i);
    }
    return r;
}

static void store(uint8_t bytes[32], field a) {
    a = carry(a);
    // Now -p < a < 2p. Add p - that makes it positive - and subtract it while it fits.
    static const int64_t P[10] = {
        0x3ffffed, 0x1ffffff, 0x3ffffff, 0x1ffffff, 0x3ffffff, 0x1ffffff, 0x3ffffff, 0x1ffffff, 0x3ffffff, 0x1ffffff,
    };
    for (int i = 0; i < 10; i++) a.limb[i] += P[i];
    for (int i = 0; i < 9; i++) {
        a.limb[i + 1] += a.limb[i] >> bits_of(i);
        a.limb[i] &= (1 << bits_of(i)) - 1;
    }
    for (int round = 0; round < 2; round++) {
        field less;
        int64_t borrow = 0;
        for (int i = 0; i < 10; i++) {
            int64_t limb = a.limb[i] - P[i] + borrow;
            borrow = i < 9 ? limb >> bits_of(i) : limb;
            less.limb[i] = i < 9 ? limb & ((1 << bits_of(i)) - 1) : limb;
        }
        if (borrow >= 0) a = less;
    }
    __builtin_memset(bytes, 0, 32);
    int at = 0;
    for (int i = 0; i < 10; i++) {
        uint64_t word = (uint64_t)a.limb[i] << (at % 8);
        for (int byte = 0; byte < 5 && at / 8 + byte < 32; byte++) bytes[at / 8 + byte] |= word >> (8 * byte);
        at += bits_of(i);
    }
}

// Swaps without a branch, so that time tells nothing of the key.
static void swap(int64_t bit, field *a, field *b) {
    for (int i = 0; i < 10; i++) {
        int64_t change = -bit & (a->limb[i] ^ b->limb[i]);
        a->limb[i] ^= change;
        b->limb[i] ^= change;
    }
}

// The Montgomery ladder of RFC 7748, section 5.
static void x25519(uint8_t out[32], const uint8_t scalar[32], const uint8_t point[32]) {
    uint8_t key[32];
    __builtin_memcpy(key, scalar, 32);
    key[0] &= 248, key[31] &= 127, key[31] |= 64;
    field x1 = load(point), x2 = {{1}}, z2 = {{0}}, x3 = x1, z3 = {{1}};
    int64_t swapped = 0;
    for (int t = 254; t >= 0; t--) {
        int64_t bit = key[t / 8] >> (t % 8) & 1;
        swap(swapped ^ bit, &x2, &x3);
        swap(swapped ^ bit, &z2, &z3);
        swapped = bit;
        field a = add(x2, z2), b = sub(x2, z2);
        field aa = square(a), bb = square(b);
        field e = sub(aa, bb);
        field da = mul(sub(x3, z3), a), cb = mul(add(x3, z3), b);
        x3 = square(add(da, cb));
        z3 = mul(x1, square(sub(da, cb)));
        x2 = mul(aa, bb);
        z2 = mul(e, add(aa, small(e, 121665)));
    }
    swap(swapped, &x2, &x3);
    swap(swapped, &z2, &z3);
    store(out, mul(x2, invert(z2)));
}

static void from_hex(uint8_t to[32], const char *hex) {
    for (int i = 0; i < 64; i++) {
        int digit = hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10;
        to[i / 2] = i % 2 ? to[i / 2] | digit : digit << 4;
    }
}

// RFC 7748, sections 5.2 and 6.1: scalar, point, result.
static const char *const VECTORS[][3] = {
    {"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
     "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
     "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
    {"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
     "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
     "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
    {"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
     "0900000000000000000000000000000000000000000000000000000000000000",
     "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"},
    {"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
     "0900000000000000000000000000000000000000000000000000000000000000",
     "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"},
    {"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
     "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
     "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"},
};

// 0 when the RFC's vectors come out right, else the number, from 1, of the first that does not.
EXPORT(x25519_test) int32_t x25519_test(void) {
    for (int i = 0; i < (int)(sizeof VECTORS / sizeof *VECTORS); i++) {
        uint8_t scalar[32], point[32], expected[32], out[32];
        from_hex(scalar, VECTORS[i][0]);
        from_hex(point, VECTORS[i][1]);
        from_hex(expected, VECTORS[i][2]);
        x25519(out, scalar, point);
        for (int j = 0; j < 32; j++) {
            if (out[j] != expected[j]) return i + 1;
        }
    }
    return 0;
}

// The key of the last run.
EXPORT_ADDRESS uint8_t key[32];

// The RFC's iteration (section 5.2), `n` times: key and point start as 9, each result is the next
// key, each key the next point. Leaves the key in `key` and answers its first word, little-endian.
EXPORT(run) int32_t run(int32_t n) {
    uint8_t point[32] = {9};
    __builtin_memcpy(key, point, 32);
    for (int32_t i = 0; i < n; i++) {
        uint8_t out[32];
        x25519(out, key, point);
        __builtin_memcpy(point, key, 32);
        __builtin_memcpy(key, out, 32);
    }
    int32_t word;
    __builtin_memcpy(&word, key, 4);
    return word;
}
