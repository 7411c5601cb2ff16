"""RoLoRA (Chen et al., 2502.01755): one round B is trained and averaged, the next round A.

up      dB (d_out, r) in odd rounds, dA (r, d_in) in even ones
down    A and B
W       exact in every round, because the other factor is common: s (sum p_k B_k) A_t, then
        s B_t (sum p_k A_k)

Round 1 is a B round: with B = 0, the gradient of A would be 0. So is any later one that starts from
a release with B = 0 (fl.aggregation.turn).
"""

from fl.aggregation.aggregator import Inputs
from fl.aggregation.factor_mean import FactorMean
from fl.aggregation.method import Method
from fl.aggregation.turn import ONLY_A, ONLY_B, Turn


def turn(round_number: int) -> Turn:
    """Rounds count from 1."""
    return ONLY_B if round_number % 2 else ONLY_A


def make(inputs: Inputs) -> FactorMean:
    """An aggregator for one round."""
    return FactorMean(inputs, turn(inputs.round_number).sends, error=0.0)


ROLORA = Method(name="rolora", make=make, turn=turn, exact="exact (one factor a round)")
