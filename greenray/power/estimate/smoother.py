"""The most likely course of a cumulative energy, given what power says between moments and what a counter says at some of them.

Power samples say how much energy lies between two moments, with an error that grows from stretch to stretch. A counter says how
much there was in all, with an error that does not. Both errors are taken as independent and of known size; the best linear
estimate is then the fixed-interval (Rauch-Tung-Striebel) smoother of a random walk. In information form its matrix is
tridiagonal, so a trace of thousands of moments takes a millisecond.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenray.power.trace import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Energy at n moments.

    Attributes:
        energy_j: (n,) most likely energy, on the counter's scale.
        deviation_j: (n,) standard deviation of each.
        carry: (n,) logarithm of how much of an error at the first moment is still there: errors at moments i < k
            have covariance exp(carry[k] - carry[i]) * deviation_j[k] ** 2.
        evidence: log-likelihood of the readings, up to a constant that does not depend on the variances.
        residuals: (m,) counter less estimate, in deviations of the reading.
    """

    energy_j: Floats
    deviation_j: Floats
    carry: Floats
    evidence: float
    residuals: Floats


def smooth(
    *, increments_j: Floats, increment_variances: Floats, at: NDArray[np.int64], counter_j: Floats, counter_variances: Floats
) -> Course:
    """Fuses (n - 1,) increments of energy by power, from each moment to the next, and (m,) readings of the counter.

    `at` are the increasing indices of the moments at which it was read; variances are in J^2 and positive.
    """
    from scipy.linalg import cho_solve_banded, cholesky_banded  # a fifth of a second, which `greenray measure` has later

    count = len(increments_j) + 1
    tie, trust = 1 / increment_variances, 1 / counter_variances
    # Energies about the course by power alone: all that is left to solve for is small.
    course_j = np.concatenate([[0.0], np.cumsum(increments_j)])
    course_j += counter_j[0] - course_j[at[0]]
    offset_j = counter_j - course_j[at]
    diagonal = np.zeros(count)
    diagonal[:-1] += tie
    diagonal[1:] += tie
    diagonal[at] += trust
    pulled = np.zeros(count)
    pulled[at] = trust * offset_j
    forward = cholesky_banded(np.vstack([diagonal, np.append(-tie, 0.0)]), lower=True, check_finite=False)
    backward = cholesky_banded(np.vstack([diagonal[::-1], np.append(-tie[::-1], 0.0)]), lower=True, check_finite=False)
    shift_j = cho_solve_banded((forward, True), pulled, check_finite=False)
    # Each moment's information is what came from before, what came from after, and its own, counted once.
    information = forward[0] ** 2 + backward[0][::-1] ** 2 - diagonal
    residual_j = offset_j - shift_j[at]
    misfit = float(np.sum(np.diff(shift_j) ** 2 * tie) + np.sum(residual_j**2 * trust))
    volume = float(np.sum(np.log(increment_variances)) + np.sum(np.log(counter_variances)) + 2 * np.sum(np.log(forward[0])))
    return Course(
        energy_j=course_j + shift_j,
        deviation_j=1 / np.sqrt(np.maximum(information, 1e-300)),
        carry=np.concatenate([[0.0], np.cumsum(np.log(np.maximum(tie / forward[0][:-1] ** 2, 1e-300)))]),
        evidence=-0.5 * (misfit + volume),
        residuals=residual_j * np.sqrt(trust),
    )
