"""Do two measurements of the same patients agree: bias and limits, intraclass and concordance correlation.

Works on paired numbers: a biomarker measured on the model's masks and on the expert's, or by two readers.
Masks belong to `overlap.py`, readers' masks to `observers.py`, pictures to `report/agreement_plots.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lesionlab.core.errors import DatasetError

BIOMARKERS: Final = ("lesions", "TMTV", "MTV", "TLG", "SUVmax", "SUVpeak", "Dmax")
"""What `agreement_table` looks for unless told; names that no pair holds are passed over."""
CONFIDENCE: Final = 0.95
LIMITS: Final = NormalDist().inv_cdf(0.975)
"""Standard deviations from the bias to a limit: 1.96, between which 95 % of normal differences lie."""
EQUAL: Final = 1e-12
"""A coefficient as near to 1 is 1: its interval would be made of what rounding leaves."""
NAN: Final = (math.nan, math.nan)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Bias (mean of measured - reference), standard deviation of the differences, and limits of agreement.

    In the measurement's unit. Each `*_interval` is (low, high). `trend` is Spearman's correlation of
    |difference| with the mean of the two: where it is high, the spread grows with the size and limits in
    the unit mislead at both ends (look at the picture, or take logarithms).
    """

    n: int
    bias: float
    bias_interval: tuple[float, float]
    sd: float
    lower: float
    lower_interval: tuple[float, float]
    upper: float
    upper_interval: tuple[float, float]
    trend: float


@dataclass(frozen=True, slots=True)
class Correlation:
    """A coefficient of agreement with its interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """One biomarker in paired tables: `n` pairs were compared, `undefined` lacked a value on a side."""

    name: str
    n: int
    undefined: int
    reference_mean: float
    measured_mean: float
    bland_altman: BlandAltman
    icc: Correlation
    concordance: Correlation
    reference: tuple[float, ...]
    """The reference values of the pairs compared, for pictures, and `measured` likewise."""
    measured: tuple[float, ...]
    cases: tuple[str, ...]


def bland_altman(
    reference: ArrayLike, measured: ArrayLike, *, limits: float = LIMITS, confidence: float = CONFIDENCE
) -> BlandAltman:
    """Bias and limits of agreement of two measurements of the same subjects, with confidence intervals.

    Bland and Altman (Lancet 1986, doi 10.1016/S0140-6736(86)90837-8): bias ± `limits` sd, by default 1.96
    (the paper's own example takes 2). The standard error of the bias is sd / sqrt(n), that of a limit sd
    sqrt((1 + limits**2 / 2) / n), the paper's sqrt(3 sd**2 / n) at 2; both by t with n - 1 degrees
    of freedom. Needs differences that are about normal. Pairs with a NaN are left out. NaN below two pairs.
    Raises DatasetError where the two differ in length.
    """
    first, second = _paired(reference, measured)
    n, differences = len(first), second - first
    if n < 2:
        bias = float(differences.mean()) if n else math.nan
        return BlandAltman(n, bias, NAN, math.nan, math.nan, NAN, math.nan, NAN, math.nan)
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    t = float(stats.t.ppf(0.5 + confidence / 2.0, n - 1))
    of_bias, of_limit = t * sd / math.sqrt(n), t * sd * math.sqrt((1.0 + limits**2 / 2.0) / n)
    lower, upper = bias - limits * sd, bias + limits * sd
    return BlandAltman(
        n,
        bias,
        (bias - of_bias, bias + of_bias),
        sd,
        lower,
        (lower - of_limit, lower + of_limit),
        upper,
        (upper - of_limit, upper + of_limit),
        _rank_correlation(np.abs(differences), (first + second) / 2.0),
    )


def icc_2_1(ratings: ArrayLike, *, confidence: float = CONFIDENCE) -> Correlation:
    """ICC(2,1) of a table (subjects, raters): two-way random effects, absolute agreement, single rating.

    (R - E) / (R + (k - 1) E + k (C - E) / n) with the mean squares of rows, columns and rest (Shrout and
    Fleiss, Psychol Bull 1979, doi 10.1037/0033-2909.86.2.420); the interval is that of ICC(A,1) by McGraw
    and Wong (Psychol Methods 1996, doi 10.1037/1082-989X.1.1.30). A rater who always reads higher
    lowers it, unlike ICC(3,1). Rows with a NaN are left out. NaN below two rows or two raters, where nothing
    differs, and where two raters only swap two values (the quotient is of zero); 1 with the interval (1, 1)
    where all raters agree, exactly or so nearly that 1e-12 is missing. Raises DatasetError unless the table
    is 2-D.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise DatasetError("intraclass correlation", f"{table.ndim} axes", "a table (subjects, raters)")
    table = table[~np.isnan(table).any(axis=1)]
    n, k = table.shape
    if n < 2 or k < 2:
        return Correlation(math.nan, math.nan, math.nan)
    rows, columns, rest = _mean_squares(table)
    # what rounding leaves of equal values is no variance
    least = (float(np.abs(table).max()) * 1e-12) ** 2
    if rows <= least and columns <= least and rest <= least:
        return Correlation(math.nan, math.nan, math.nan)
    whole = rows + (k - 1) * rest + k * (columns - rest) / n
    if whole <= EQUAL * rest:
        return Correlation(math.nan, math.nan, math.nan)
    icc = (rows - rest) / whole
    if (rest <= least and columns <= least) or 1.0 - icc < EQUAL:
        return Correlation(1.0, 1.0, 1.0)
    return Correlation(icc, *_icc_interval((rows, columns, rest), n, k, icc, confidence))


def concordance(reference: ArrayLike, measured: ArrayLike, *, confidence: float = CONFIDENCE) -> Correlation:
    """Lin's concordance correlation: how near the pairs lie to the line of identity.

    2 s12 / (s1**2 + s2**2 + (m1 - m2)**2) with variances over n (Lin, Biometrics 1989, doi 10.2307/2532051),
    the interval through Fisher's z with the variance as corrected (Lin, Biometrics 2000, 56:324-325).
    Pairs with a NaN are left out. NaN below two pairs and where neither varies nor do they differ; the
    interval is NaN below three pairs, and where either side does not vary.
    """
    x, y = _paired(reference, measured)
    n = len(x)
    if n < 2:
        return Correlation(math.nan, math.nan, math.nan)
    # the mean of equal values may miss them by what rounding leaves
    vx, vy = (float(side.var()) if np.ptp(side) > 0 else 0.0 for side in (x, y))
    apart = float(x.mean() - y.mean())
    both = vx + vy + apart**2
    if both <= (float(max(np.abs(x).max(), np.abs(y).max())) * 1e-12) ** 2:
        return Correlation(math.nan, math.nan, math.nan)
    shared = float(((x - x.mean()) * (y - y.mean())).mean()) if vx > 0.0 and vy > 0.0 else 0.0
    value = 2.0 * shared / both
    if n < 3 or shared == 0.0:
        return Correlation(value, math.nan, math.nan)
    if 1.0 - abs(value) < EQUAL:
        return Correlation(value, value, value)
    r, u2 = shared / math.sqrt(vx * vy), apart**2 / math.sqrt(vx * vy)
    out = 1.0 - value**2
    variance = (
        (1.0 - r**2) * value**2 / (out * r**2)
        + 2.0 * value**3 * (1.0 - value) * u2 / (r * out**2)
        - value**4 * u2**2 / (2.0 * r**2 * out**2)
    ) / (n - 2)
    half = NormalDist().inv_cdf(0.5 + confidence / 2.0) * math.sqrt(max(variance, 0.0))
    middle = math.atanh(value)
    return Correlation(value, math.tanh(middle - half), math.tanh(middle + half))


def agreement_table(
    pairs: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]],
    names: Sequence[str] | None = None,
) -> tuple[Agreement, ...]:
    """Agreement of every biomarker over paired tables: `pairs[case]` is (measured, reference) by name.

    The two may be `LesionTable.totals`, or rows of patients.csv. `names` defaults to those of `BIOMARKERS`
    that some pair holds. A pair where a side lacks the value or has NaN (SUVmax of a patient without
    lesions) is counted in `undefined`, so that agreement is told of the patients in whom both found
    something; `lesions` and `TMTV`, 0 in such patients, keep them.
    """
    known = {name for pair in pairs.values() for side in pair for name in side}
    wanted = [name for name in BIOMARKERS if name in known] if names is None else list(names)
    return tuple(_agreement(name, pairs) for name in wanted)


def agreement_record(table: Sequence[Agreement]) -> list[dict[str, Any]]:
    """The table as plain data, one flat row per biomarker, ready for CSV and JSON."""
    rows = []
    for one in table:
        row: dict[str, Any] = {"biomarker": one.name, "n": one.n, "undefined": one.undefined}
        row |= {"reference_mean": one.reference_mean, "measured_mean": one.measured_mean}
        for name, value in asdict(one.bland_altman).items():
            if isinstance(value, tuple):
                stem = name.removesuffix("_interval")
                row |= {f"{stem}_low": value[0], f"{stem}_high": value[1]}
            elif name != "n":
                row[name] = value
        for stem, found in (("icc", one.icc), ("ccc", one.concordance)):
            row |= {stem: found.value, f"{stem}_low": found.low, f"{stem}_high": found.high}
        rows.append(row)
    return rows


def _agreement(name: str, pairs: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]]) -> Agreement:
    values = {
        case: (float(side[1].get(name, math.nan)), float(side[0].get(name, math.nan)))
        for case, side in pairs.items()
    }
    full = {case: pair for case, pair in values.items() if not math.isnan(pair[0] + pair[1])}
    table = np.array(list(full.values())).reshape(-1, 2)
    reference, measured = table[:, 0], table[:, 1]
    return Agreement(
        name,
        len(full),
        len(values) - len(full),
        float(reference.mean()) if full else math.nan,
        float(measured.mean()) if full else math.nan,
        bland_altman(reference, measured),
        icc_2_1(table),
        concordance(reference, measured),
        tuple(reference.tolist()),
        tuple(measured.tolist()),
        tuple(full),
    )


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    x, y = (np.asarray(side, dtype=np.float64).ravel() for side in (first, second))
    if len(x) != len(y):
        raise DatasetError("agreement", f"{len(x)} and {len(y)} values", "a pair for every subject")
    full = ~np.isnan(x + y)
    return x[full], y[full]


def _rank_correlation(first: Floats, second: Floats) -> float:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(stats.spearmanr(first, second).statistic)


def _mean_squares(table: Floats) -> tuple[float, float, float]:
    """Mean squares of rows (R), columns (C) and the rest (E) of a two-way table."""
    n, k = table.shape
    over = table.mean()
    of_row, of_column = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    rest = table - of_row - of_column + over
    return (
        k * float(((of_row - over) ** 2).sum()) / (n - 1),
        n * float(((of_column - over) ** 2).sum()) / (k - 1),
        float((rest**2).sum()) / ((n - 1) * (k - 1)),
    )


def _icc_interval(
    squares: tuple[float, float, float], n: int, k: int, icc: float, confidence: float
) -> tuple[float, float]:
    """McGraw and Wong's interval of ICC(A,1), with Satterthwaite's degrees of freedom `v`.

    A negative coefficient counts as 0 there: variances are not negative, and the interval would miss it.
    """
    rows, columns, rest = squares
    odds = max(icc, 0.0) / (1.0 - icc)
    a = k * odds / n
    b = 1.0 + k * odds * (n - 1) / n
    whole = (a * columns) ** 2 / (k - 1) + (b * rest) ** 2 / ((n - 1) * (k - 1))
    if whole == 0.0:
        return NAN
    v = (a * columns + b * rest) ** 2 / whole
    tail = 0.5 + confidence / 2.0
    down, up = float(stats.f.ppf(tail, n - 1, v)), float(stats.f.ppf(tail, v, n - 1))
    error = k * columns + (k * n - k - n) * rest
    return (
        n * (rows - down * rest) / (down * error + n * rows),
        n * (up * rows - rest) / (error + n * up * rows),
    )
