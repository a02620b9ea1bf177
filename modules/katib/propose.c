// Where a Gaussian process looks next: the maximum of what a point promises.
#include "gp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RANDOM_POINTS = 1500, NEIGHBOURS = 500, STARTS = 6, ROUNDS = 120 };

// --- random numbers: splitmix64 -----------------------------------------------------------------

static uint64_t next_random(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15U);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

static double uniform(uint64_t *state) {
  return (double)(next_random(state) >> 11) * 0x1p-53;
}

static double normal(uint64_t *state) {
  double u = uniform(state) + 0x1p-54, v = uniform(state);
  return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

// --- what a point promises ----------------------------------------------------------------------

// The log of z Φ(z) + φ(z), also far to the left, where both vanish.
static double log_improvement(double z) {
  if (z > -6) return log(z * 0.5 * erfc(-z / M_SQRT2) + exp(-z * z / 2) / 2.5066282746310002);
  return -z * z / 2 - log(2.5066282746310002) - 2 * log(-z);
}

static double log_probability(double z) {
  if (z > -6) return log(0.5 * erfc(-z / M_SQRT2));
  return -z * z / 2 - log(2.5066282746310002) - log(-z);
}

static double promise(struct kf_gp *gp, enum kf_gp_criterion criterion, double best,
                      const double *point) {
  double mean, deviation;
  kf_gp_predict(gp, point, &mean, &deviation);
  double z = (best - mean) / deviation;
  switch (criterion) {
    case KF_GP_EI: return log_improvement(z) + log(deviation);
    case KF_GP_LCB: return 1.96 * deviation - mean;
    case KF_GP_PI: return log_probability(z - 0.01 / deviation);
  }
  return 0;
}

// --- candidates ---------------------------------------------------------------------------------

static double snap(int levels, double value) {
  double inside = fmin(fmax(value, 0), 1);
  if (levels == 0) return inside;
  double most = abs(levels) - 1;
  return most > 0 ? round(inside * most) / most : 0.5;
}

static void random_point(const struct kf_gp *gp, uint64_t *state, double *point) {
  for (size_t d = 0; d < gp->dims; d++) {
    double u = uniform(state);
    int levels = abs(gp->levels[d]);
    // Each of the values is as likely as the others, the outer ones too.
    if (levels > 1) u = fmin(floor(u * levels), levels - 1) / (levels - 1);
    point[d] = snap(gp->levels[d], u);
  }
}

// Moves some of the coordinates, at least one.
static void neighbour(const struct kf_gp *gp, uint64_t *state, double width, const double *from,
                      double *point) {
  size_t sure = (size_t)(uniform(state) * (double)gp->dims);
  double share = 2.0 / (double)gp->dims;
  for (size_t d = 0; d < gp->dims; d++) {
    point[d] = from[d];
    if (d != sure && uniform(state) > fmax(share, 0.4)) continue;
    if (gp->levels[d] < 0) point[d] = snap(gp->levels[d], uniform(state));
    else if (gp->levels[d] > 1) {
      double one = 1.0 / (gp->levels[d] - 1);
      point[d] = snap(gp->levels[d], from[d] + fmax(width, one) * normal(state));
    } else point[d] = snap(0, from[d] + width * normal(state));
  }
}

struct candidate {
  double value;
  double *point;
};

// Keeps the best STARTS candidates, the best one first.
static void consider(struct candidate *kept, size_t dims, double value, const double *point) {
  if (value <= kept[STARTS - 1].value) return;
  size_t at = STARTS - 1;
  double *room = kept[at].point;
  for (; at > 0 && kept[at - 1].value < value; at--) kept[at] = kept[at - 1];
  kept[at] = (struct candidate){value, room};
  memcpy(room, point, dims * sizeof *point);
}

static const double *lowest_point(const struct kf_gp *gp) {
  size_t lowest = 0;
  for (size_t i = 1; i < gp->count; i++) {
    if (gp->targets[i] < gp->targets[lowest]) lowest = i;
  }
  return gp->points + lowest * gp->dims;
}

static void refine(struct kf_gp *gp, enum kf_gp_criterion criterion, double best, uint64_t *state,
                   struct candidate *candidate, double *trial) {
  double width = 0.1;
  for (int round = 0; round < ROUNDS && width > 1e-5; round++) {
    neighbour(gp, state, width, candidate->point, trial);
    double value = promise(gp, criterion, best, trial);
    if (value > candidate->value) {
      candidate->value = value;
      memcpy(candidate->point, trial, gp->dims * sizeof *trial);
      width *= 1.5;
    } else {
      width *= 0.88;
    }
  }
}

static void search(struct kf_gp *gp, enum kf_gp_criterion criterion, double best, uint64_t seed,
                   struct candidate *kept, double *trial) {
  const double *lowest = lowest_point(gp);
  for (int i = 0; i < RANDOM_POINTS + NEIGHBOURS; i++) {
    if (i < RANDOM_POINTS) random_point(gp, &seed, trial);
    else neighbour(gp, &seed, i % 2 ? 0.02 : 0.1, lowest, trial);
    consider(kept, gp->dims, promise(gp, criterion, best, trial), trial);
  }
  for (int i = 0; i < STARTS; i++) refine(gp, criterion, best, &seed, kept + i, trial);
}

bool kf_gp_propose(struct kf_gp *gp, enum kf_gp_criterion criterion, double best, uint64_t seed,
                   double *point) {
  struct candidate kept[STARTS];
  double *space = calloc((STARTS + 1) * gp->dims, sizeof *space);
  if (!space) return false;
  for (size_t i = 0; i < STARTS; i++)
    kept[i] = (struct candidate){-INFINITY, space + i * gp->dims};
  search(gp, criterion, best, seed, kept, space + STARTS * gp->dims);
  size_t top = 0;
  for (size_t i = 1; i < STARTS; i++) {
    if (kept[i].value > kept[top].value) top = i;
  }
  memcpy(point, kept[top].point, gp->dims * sizeof *point);
  free(space);
  return true;
}
