"""FedSA-LoRA (Guo et al., 2410.01463): A is shared and averaged, every site keeps its own B.

up      dA (r, d_in)
down    A; the release's B is 0, so it need not travel
W_k     W0 + s B_k (sum p_j A_j): there is no model common to all sites, and an error of the product
        is defined only at a site, ||B_k (A - A_k)|| / ||B_k A_k||
"""

import math

from fl.aggregation.aggregator import Inputs
from fl.aggregation.factor_mean import FactorMean
from fl.aggregation.method import Method
from fl.aggregation.turn import LEARN_BOTH_SEND_A


def make(inputs: Inputs) -> FactorMean:
    """An aggregator for one round."""
    return FactorMean(inputs, "A", error=math.nan)


FEDSA = Method(
    name="fedsa",
    make=make,
    turn=lambda number: LEARN_BOTH_SEND_A,
    exact="exact for A (every site has its own B)",
)
