"""The Universal Scalability Law: how throughput grows with load, where it peaks, and how certain that is.

`fit_usl` is the way in. `curve` has the law, `least_squares` the solver, `uncertainty` errors and intervals, `models`
the comparison with simpler laws, `diagnostics` the tests of the residuals.
"""

from loadgen.analysis.usl.curve import Coefficients
from loadgen.analysis.usl.fit import Errors, ExtrapolationError, UslDataError, UslFit, fit_usl

__all__ = ["Coefficients", "Errors", "ExtrapolationError", "UslDataError", "UslFit", "fit_usl"]
