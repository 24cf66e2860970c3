// A sun and four planets under gravity: chains of f64 arithmetic, square roots, divisions.
// Units: astronomical units, years, the mass of the sun times 4π².
#include "guest.h"

#define BODIES 5
#define STEP 0.01
#define SUN 39.47841760435743 // 4π²

struct body {
    double x, y, z, vx, vy, vz, mass;
};

static struct body bodies[BODIES];

// A planet on a circle of radius `r` around the sun. Its place on the circle is the angle
// with cosine `c` and sine `s`, its orbit is tilted by the angle with cosine `tc`, sine `ts`.
static struct body planet(double mass, double r, double c, double s, double tc, double ts) {
    double v = __builtin_sqrt(SUN / r);
    return (struct body){r * c, r * s * tc, r * s * ts, -v * s, v * c * tc, v * c * ts, SUN * mass};
}

static void set_up(void) {
    bodies[0] = (struct body){.mass = SUN};
    bodies[1] = planet(1 / 1047.35, 5.203, 0.6, 0.8, 0.9995, 0.0316);
    bodies[2] = planet(1 / 3497.9, 9.537, -0.28, 0.96, 0.999, 0.0447);
    bodies[3] = planet(1 / 22903.0, 19.191, -0.8, -0.6, 0.9999, 0.0141);
    bodies[4] = planet(1 / 19412.0, 30.069, 0.96, -0.28, 0.9995, -0.0316);
    // The sun moves so that the whole stands still.
    for (int i = 1; i < BODIES; i++) {
        bodies[0].vx -= bodies[i].vx * bodies[i].mass / SUN;
        bodies[0].vy -= bodies[i].vy * bodies[i].mass / SUN;
        bodies[0].vz -= bodies[i].vz * bodies[i].mass / SUN;
    }
}

static void advance(void) {
    for (int i = 0; i < BODIES; i++) {
        struct body *a = &bodies[i];
        for (int j = i + 1; j < BODIES; j++) {
            struct body *b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            double square = dx * dx + dy * dy + dz * dz;
            double pull = STEP / (square * __builtin_sqrt(square));
            a->vx -= dx * b->mass * pull;
            a->vy -= dy * b->mass * pull;
            a->vz -= dz * b->mass * pull;
            b->vx += dx * a->mass * pull;
            b->vy += dy * a->mass * pull;
            b->vz += dz * a->mass * pull;
        }
    }
    for (int i = 0; i < BODIES; i++) {
        struct body *a = &bodies[i];
        a->x += STEP * a->vx;
        a->y += STEP * a->vy;
        a->z += STEP * a->vz;
    }
}

static double energy(void) {
    double sum = 0;
    for (int i = 0; i < BODIES; i++) {
        struct body *a = &bodies[i];
        sum += 0.5 * a->mass * (a->vx * a->vx + a->vy * a->vy + a->vz * a->vz);
        for (int j = i + 1; j < BODIES; j++) {
            struct body *b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            sum -= a->mass * b->mass / __builtin_sqrt(dx * dx + dy * dy + dz * dz);
        }
    }
    return sum;
}

// The energy of the system after `steps` steps of a hundredth of a year from its start.
EXPORT(run) double run(int32_t steps) {
    set_up();
    for (int32_t i = 0; i < steps; i++) advance();
    return energy();
}
