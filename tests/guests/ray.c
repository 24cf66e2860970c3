// A small ray tracer: spheres that mirror each other above a chequered floor, one lamp.
// Branches, f64 arithmetic and structs that pass through memory.
#include "guest.h"

#define MOST_PIXELS (512 * 512)
#define MOST_MIRRORS 4
#define FAR 1e9
#define NEAR 1e-6

// The last image: rows from the top, three bytes for each pixel (red, green, blue).
EXPORT_ADDRESS uint8_t pixels[MOST_PIXELS * 3];

typedef struct {
    double x, y, z;
} vector;

static vector add(vector a, vector b) {
    return (vector){a.x + b.x, a.y + b.y, a.z + b.z};
}

static vector sub(vector a, vector b) {
    return (vector){a.x - b.x, a.y - b.y, a.z - b.z};
}

static vector scale(vector a, double by) {
    return (vector){a.x * by, a.y * by, a.z * by};
}

static double dot(vector a, vector b) {
    return a.x * b.x + a.y * b.y + a.z * b.z;
}

static vector unit(vector a) {
    return scale(a, 1 / __builtin_sqrt(dot(a, a)));
}

static const struct sphere {
    vector middle;
    double radius, mirror; // `mirror` is the share of light that is reflected
    vector colour;
} SPHERES[] = {
    {{0, 1, 4}, 1, 0.5, {1, 0.25, 0.25}},
    {{-2.2, 0.8, 5}, 0.8, 0.25, {0.25, 0.75, 0.25}},
    {{2.1, 0.7, 3.5}, 0.7, 0.75, {0.25, 0.5, 1}},
    {{0.9, 0.3, 2.4}, 0.3, 0.125, {1, 0.875, 0.25}},
    {{-0.9, 0.4, 2.8}, 0.4, 0.875, {0.875, 0.875, 0.875}},
};
#define SPHERE_COUNT ((int)(sizeof SPHERES / sizeof *SPHERES))

static const vector LAMP = {-4, 7, -2};

struct hit {
    double distance; // FAR for none
    vector point, normal, colour;
    double mirror;
};

static double sphere_distance(const struct sphere *sphere, vector from, vector way) {
    vector to = sub(sphere->middle, from);
    double along = dot(to, way);
    double square = along * along - dot(to, to) + sphere->radius * sphere->radius;
    if (square < 0) return FAR;
    double half = __builtin_sqrt(square);
    if (along - half > NEAR) return along - half;
    if (along + half > NEAR) return along + half;
    return FAR;
}

static struct hit trace(vector from, vector way) {
    struct hit hit = {.distance = FAR};
    for (int i = 0; i < SPHERE_COUNT; i++) {
        double distance = sphere_distance(&SPHERES[i], from, way);
        if (distance >= hit.distance) continue;
        hit.distance = distance;
        hit.point = add(from, scale(way, distance));
        hit.normal = scale(sub(hit.point, SPHERES[i].middle), 1 / SPHERES[i].radius);
        hit.colour = SPHERES[i].colour;
        hit.mirror = SPHERES[i].mirror;
    }
    double floor = way.y < 0 ? -from.y / way.y : FAR;
    if (floor > NEAR && floor < hit.distance) {
        vector point = add(from, scale(way, floor));
        bool dark = ((int32_t)__builtin_floor(point.x) + (int32_t)__builtin_floor(point.z)) & 1;
        double shade = dark ? 0.25 : 0.875;
        hit = (struct hit){floor, point, {0, 1, 0}, {shade, shade, shade}, 0.125};
    }
    return hit;
}

static bool in_shadow(vector point, vector way, double distance) {
    for (int i = 0; i < SPHERE_COUNT; i++) {
        if (sphere_distance(&SPHERES[i], point, way) < distance) return true;
    }
    return false;
}

static vector light(struct hit *hit, vector way) {
    vector to_lamp = sub(LAMP, hit->point);
    double distance = __builtin_sqrt(dot(to_lamp, to_lamp));
    vector lamp_way = scale(to_lamp, 1 / distance);
    double facing = dot(hit->normal, lamp_way);
    if (facing <= 0 || in_shadow(hit->point, lamp_way, distance)) return scale(hit->colour, 0.125);
    vector half = unit(sub(lamp_way, way));
    double gloss = dot(hit->normal, half);
    for (int i = 0; i < 5; i++) gloss *= gloss; // to the power of 32
    vector colour = scale(hit->colour, 0.125 + 0.75 * facing);
    return add(colour, (vector){0.5 * gloss, 0.5 * gloss, 0.5 * gloss});
}

static vector colour_of(vector from, vector way) {
    vector sum = {0, 0, 0};
    double share = 1;
    for (int mirrors = 0;; mirrors++) {
        struct hit hit = trace(from, way);
        if (hit.distance >= FAR) {
            double sky = 0.5 * (1 + way.y);
            return add(sum, scale((vector){1 - 0.5 * sky, 1 - 0.25 * sky, 1}, share));
        }
        double mirror = mirrors < MOST_MIRRORS ? hit.mirror : 0;
        sum = add(sum, scale(light(&hit, way), share * (1 - mirror)));
        if (mirror == 0) return sum;
        share *= mirror;
        from = hit.point;
        way = sub(way, scale(hit.normal, 2 * dot(way, hit.normal)));
    }
}

static uint8_t byte_of(double part) {
    if (part >= 1) return 255;
    return (uint8_t)(int32_t)(part * 255 + 0.5);
}

// Draws an image of `w` times `h` pixels and answers a checksum: the lower half of FNV-1a with
// 64 bits over its bytes. 0 where the image has no pixel or more than 512 times 512.
EXPORT(render) int32_t render(int32_t w, int32_t h) {
    if (w <= 0 || h <= 0 || w > MOST_PIXELS / h) return 0;
    uint8_t *to = pixels;
    vector eye = {0, 1.5, -3};
    for (int32_t row = 0; row < h; row++) {
        for (int32_t column = 0; column < w; column++) {
            double x = (2 * column + 1 - w) / (double)h;
            double y = (h - 2 * row - 1) / (double)h;
            vector colour = colour_of(eye, unit((vector){x, y - 0.2, 2}));
            *to++ = byte_of(colour.x);
            *to++ = byte_of(colour.y);
            *to++ = byte_of(colour.z);
        }
    }
    return (int32_t)fnv1a(FNV1A_START, pixels, (size_t)w * h * 3);
}
