"""FFA-LoRA (Sun et al., 2403.12313): A is drawn once and never trained, B is averaged.

up      dB (d_out, r)
down    B; A never changes, so a site draws it itself
W       W0 + s (sum p_k B_k) A_0 = W0 + sum p_k s B_k A_0, exactly
"""

from fl.aggregation.aggregator import Inputs
from fl.aggregation.factor_mean import FactorMean
from fl.aggregation.method import Method
from fl.aggregation.turn import ONLY_B


def make(inputs: Inputs) -> FactorMean:
    """An aggregator for one round."""
    return FactorMean(inputs, "B", error=0.0)


FFA = Method(name="ffa", make=make, turn=lambda number: ONLY_B, exact="exact (A is frozen)")
