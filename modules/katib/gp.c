#include "gp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double noise_floor = 1e-6;

bool kf_gp_start(struct kf_gp *gp, size_t count, size_t dims) {
  size_t square = count * count;
  *gp = (struct kf_gp){.count = count, .dims = dims};
  gp->scales = calloc(dims + 1, sizeof(double));
  gp->factor = calloc(square, sizeof(double));
  gp->inverse = calloc(square, sizeof(double));
  gp->weights = calloc(count, sizeof(double));
  gp->work = calloc(count, sizeof(double));
  return gp->scales && gp->factor && gp->inverse && gp->weights && gp->work;
}

void kf_gp_free(struct kf_gp *gp) {
  free(gp->scales);
  free(gp->factor);
  free(gp->inverse);
  free(gp->weights);
  free(gp->work);
  *gp = (struct kf_gp){0};
}

// --- correlations -------------------------------------------------------------------------------

static double gap(const struct kf_gp *gp, size_t dim, double a, double b) {
  if (gp->levels[dim] < 0) return a == b ? 0 : 1;
  return a - b;
}

static double distance2(const struct kf_gp *gp, const double *a, const double *b) {
  double sum = 0;
  for (size_t d = 0; d < gp->dims; d++) {
    double g = gap(gp, d, a[d], b[d]);
    if (g != 0) sum += g * g * exp(-2 * gp->scales[d]);
  }
  return sum;
}

static double matern(double square) {
  double r = sqrt(5 * square);
  return (1 + r + r * r / 3) * exp(-r);
}

static double noise_of(const struct kf_gp *gp) { return exp(gp->scales[gp->dims]) + noise_floor; }

static void fill(struct kf_gp *gp, double *matrix) {
  size_t n = gp->count;
  double noise = noise_of(gp);
  for (size_t i = 0; i < n; i++) {
    const double *a = gp->points + i * gp->dims;
    for (size_t j = 0; j < i; j++)
      matrix[i * n + j] = matern(distance2(gp, a, gp->points + j * gp->dims));
    matrix[i * n + i] = 1 + noise;
  }
}

// The lower factor of a symmetric matrix, in its place.
static bool factorize(double *matrix, size_t n) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j <= i; j++) {
      double sum = matrix[i * n + j];
      for (size_t k = 0; k < j; k++) sum -= matrix[i * n + k] * matrix[j * n + k];
      if (i != j) matrix[i * n + j] = sum / matrix[j * n + j];
      else if (sum <= 0) return false;
      else matrix[i * n + i] = sqrt(sum);
    }
  }
  return true;
}

static void invert_lower(const double *factor, double *inverse, size_t n) {
  for (size_t j = 0; j < n; j++) {
    inverse[j * n + j] = 1 / factor[j * n + j];
    for (size_t i = j + 1; i < n; i++) {
      double sum = 0;
      for (size_t k = j; k < i; k++) sum += factor[i * n + k] * inverse[k * n + j];
      inverse[i * n + j] = -sum / factor[i * n + i];
    }
  }
}

// out = inverse × vector, or its transpose × vector
static void multiply(const struct kf_gp *gp, const double *vector, double *out, bool transposed) {
  size_t n = gp->count;
  memset(out, 0, n * sizeof *out);
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j <= i; j++) {
      if (transposed) out[j] += gp->inverse[i * n + j] * vector[i];
      else out[i] += gp->inverse[i * n + j] * vector[j];
    }
  }
}

// correlations⁻¹ × vector
static void solve(struct kf_gp *gp, const double *vector, double *out) {
  multiply(gp, vector, gp->work, false);
  multiply(gp, gp->work, out, true);
}

// The mean that fits best: 1ᵀ R⁻¹ y / 1ᵀ R⁻¹ 1.
static void find_mean(struct kf_gp *gp, double *ones) {
  double top = 0, bottom = 0;
  for (size_t i = 0; i < gp->count; i++) ones[i] = 1;
  solve(gp, ones, gp->weights);
  for (size_t i = 0; i < gp->count; i++) {
    top += gp->weights[i] * gp->targets[i];
    bottom += gp->weights[i];
  }
  gp->mean = bottom > 0 ? top / bottom : 0;
}

bool kf_gp_condition(struct kf_gp *gp) {
  size_t n = gp->count;
  double *rest = malloc(n * sizeof *rest);
  if (!rest) return false;
  fill(gp, gp->factor);
  bool regular = factorize(gp->factor, n);
  if (regular) {
    invert_lower(gp->factor, gp->inverse, n);
    find_mean(gp, rest);
    for (size_t i = 0; i < n; i++) rest[i] = gp->targets[i] - gp->mean;
    solve(gp, rest, gp->weights);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += rest[i] * gp->weights[i];
    gp->amplitude = fmax(sum / (double)n, 1e-12);
  }
  free(rest);
  return regular;
}

// --- likelihood ---------------------------------------------------------------------------------

// Where length scales and noise are expected to be, before anything was seen.
static double prior(const struct kf_gp *gp, double *gradient) {
  double sum = 0, centre = log(0.5 * sqrt((double)gp->dims));
  for (size_t d = 0; d < gp->dims; d++) {
    double off = gp->scales[d] - centre;
    sum -= off * off / 2;
    gradient[d] -= off;
  }
  double off = (gp->scales[gp->dims] - log(1e-4)) / 2;
  gradient[gp->dims] -= off / 2;
  return sum - off * off / 2;
}

// One element of the gradients of the correlation between two points; weight is dL/dR.
static void add_pair(const struct kf_gp *gp, size_t i, size_t j, double weight, double *gradient) {
  const double *a = gp->points + i * gp->dims, *b = gp->points + j * gp->dims;
  double r = sqrt(5 * distance2(gp, a, b));
  double slope = 5.0 / 3 * (1 + r) * exp(-r) * weight;
  for (size_t d = 0; d < gp->dims; d++) {
    double g = gap(gp, d, a[d], b[d]);
    if (g != 0) gradient[d] += slope * g * g * exp(-2 * gp->scales[d]);
  }
}

// The inverse of the correlations, from that of their factor; row by row into `row`.
static void inverse_row(const struct kf_gp *gp, size_t i, double *row) {
  size_t n = gp->count;
  memset(row, 0, n * sizeof *row);
  for (size_t k = i; k < n; k++) {
    double x = gp->inverse[k * n + i];
    for (size_t j = 0; j <= i; j++) row[j] += x * gp->inverse[k * n + j];
  }
}

// The log of the posterior of the scales, up to a constant, and its gradient; −∞ when singular.
static double likelihood(struct kf_gp *gp, double *gradient, double *row) {
  size_t n = gp->count;
  memset(gradient, 0, (gp->dims + 1) * sizeof *gradient);
  if (!kf_gp_condition(gp)) return -INFINITY;
  double sum = -0.5 * (double)n * log(gp->amplitude), trace = 0, squares = 0;
  for (size_t i = 0; i < n; i++) {
    sum -= log(gp->factor[i * n + i]);
    inverse_row(gp, i, row);
    for (size_t j = 0; j < i; j++)
      add_pair(gp, i, j, gp->weights[i] * gp->weights[j] / gp->amplitude - row[j], gradient);
    trace += row[i];
    squares += gp->weights[i] * gp->weights[i];
  }
  gradient[gp->dims] += 0.5 * exp(gp->scales[gp->dims]) * (squares / gp->amplitude - trace);
  return sum + prior(gp, gradient);
}

// Resilient steps: each scale goes its own way, faster while the sign of its gradient stays.
static double climb(struct kf_gp *gp, double *space, int rounds) {
  size_t size = gp->dims + 1;
  double *gradient = space, *before = space + size, *step = space + 2 * size;
  double *top = space + 3 * size, *row = space + 4 * size, highest = -INFINITY;
  memset(before, 0, size * sizeof *before);
  for (size_t d = 0; d < size; d++) step[d] = 0.2;
  for (int round = 0; round < rounds; round++) {
    double value = likelihood(gp, gradient, row);
    if (value > highest) {
      highest = value;
      memcpy(top, gp->scales, size * sizeof *top);
    }
    if (value == -INFINITY) break;
    for (size_t d = 0; d < size; d++) {
      double turn = gradient[d] * before[d];
      step[d] = turn > 0 ? fmin(step[d] * 1.3, 1) : turn < 0 ? step[d] * 0.5 : step[d];
      double move = gradient[d] > 0 ? step[d] : gradient[d] < 0 ? -step[d] : 0;
      double low = d < gp->dims ? -5 : -14, high = d < gp->dims ? 4 : 0;
      gp->scales[d] = fmin(fmax(gp->scales[d] + move, low), high);
      before[d] = turn < 0 ? 0 : gradient[d];
    }
  }
  memcpy(gp->scales, top, size * sizeof *top);
  return highest;
}

bool kf_gp_fit(struct kf_gp *gp) {
  static const double starts[] = {0.2, 1.0};
  size_t size = gp->dims + 1;
  double *space = malloc((5 * size + gp->count) * sizeof *space);
  if (!space) return false;
  double *best = space + 4 * size + gp->count, highest = -INFINITY;
  for (size_t s = 0; s < sizeof starts / sizeof *starts; s++) {
    for (size_t d = 0; d < gp->dims; d++) gp->scales[d] = log(starts[s] * sqrt((double)gp->dims));
    gp->scales[gp->dims] = log(1e-3);
    double value = climb(gp, space, 30);
    if (value > highest) {
      highest = value;
      memcpy(best, gp->scales, size * sizeof *best);
    }
  }
  bool found = highest > -INFINITY;
  if (found) memcpy(gp->scales, best, size * sizeof *best);
  free(space);
  return found && kf_gp_condition(gp);
}

void kf_gp_predict(struct kf_gp *gp, const double *point, double *mean, double *deviation) {
  size_t n = gp->count;
  double value = gp->mean, explained = 0;
  for (size_t i = 0; i < n; i++) {
    gp->work[i] = matern(distance2(gp, point, gp->points + i * gp->dims));
    value += gp->work[i] * gp->weights[i];
  }
  for (size_t i = 0; i < n; i++) {
    double sum = 0;
    for (size_t j = 0; j <= i; j++) sum += gp->inverse[i * n + j] * gp->work[j];
    explained += sum * sum;
  }
  *mean = value;
  *deviation = sqrt(fmax(gp->amplitude * (1 - explained), 1e-16));
}
