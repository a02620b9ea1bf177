// A Gaussian process over the unit cube: Matérn 5/2, a length scale per dimension, noise. Plain C.
// It minimizes: targets are costs, standardized by the caller.
#ifndef KF_KATIB_GP_H
#define KF_KATIB_GP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A dimension: 0 is continuous, n > 1 has that many evenly spaced values, and −n that many values
// without an order.
struct kf_gp {
  size_t count, dims;
  const double *points;  // count × dims; the caller's
  const int *levels;     // dims; the caller's
  const double *targets;
  double *scales;    // log length scales, then the log of the noise
  double amplitude;  // variance of the signal
  double mean;
  double *factor;  // lower Cholesky factor of the correlations
  double *inverse; // of it
  double *weights; // correlations⁻¹ (targets − mean)
  double *work;    // count
};

// Allocates for count points; false when memory is out. kf_gp_free also after a failure.
bool kf_gp_start(struct kf_gp *gp, size_t count, size_t dims);
void kf_gp_free(struct kf_gp *gp);

// Finds the scales by marginal likelihood; false when the correlations are singular.
bool kf_gp_fit(struct kf_gp *gp);

// Uses scales that are there (kf_gp_fit leaves them).
bool kf_gp_condition(struct kf_gp *gp);

void kf_gp_predict(struct kf_gp *gp, const double *point, double *mean, double *deviation);

enum kf_gp_criterion { KF_GP_EI, KF_GP_LCB, KF_GP_PI };

// The point that promises most: of many random ones and neighbours of the best, refined. `best` is
// the lowest target. Writes dims numbers to `point`.
bool kf_gp_propose(struct kf_gp *gp, enum kf_gp_criterion criterion, double best, uint64_t seed,
                   double *point);

#endif
