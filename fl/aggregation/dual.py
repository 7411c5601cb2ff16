"""A shared and a personal adapter side by side (FedDPA, 2403.19211; Ditto, 2012.04221).

up      the shared part's dA (r, d_in), dB (d_out, r); nothing of the personal part
down    the shared part's A, B, averaged as by fedavg
W_k     W0 + s B_g A_g + s B_l A_l           both learn at once, in one pass
        W0 + (1 - a) s B_g A_g + a s B_l A_l with FedDPA's weight a (learning.personal_weight)
        W0 + s B_v A_v                       with Ditto's lambda (learning.ditto_lambda): v is a
                                             whole adapter, trained in steps of its own on
                                             F_k(v) + (lambda / 2) |v - w|^2, w the release

To serve both as one adapter they are stacked, never mixed entry by entry: B = [(1-a) B_g, a B_l],
A = [A_g; A_l] is their weighted sum exactly.
"""

import numpy as np

from fl.adapter import A_SUFFIX, Adapter
from fl.aggregation.aggregator import Inputs
from fl.aggregation.fedavg import FedAvg
from fl.aggregation.method import Method
from fl.aggregation.turn import BOTH
from fl.errors import SettingsError
from fl.sharing import join


def mixture(shared: Adapter, personal: Adapter, weight: float) -> Adapter:
    """One adapter that adds (1 - weight) of the shared and `weight` of the personal change.

    Raises SettingsError for a weight outside 0 to 1, AdapterError for parts that do not fit.
    """
    if not 0 <= weight <= 1:
        raise SettingsError(f"The personal part's weight is 0 to 1, found {weight}.")
    return join(_times(shared, 1 - weight), _times(personal, weight))


def make(inputs: Inputs) -> FedAvg:
    """An aggregator for one round of the shared part."""
    return FedAvg(inputs)


def _times(adapter: Adapter, weight: float) -> Adapter:
    """The adapter with its change scaled, on B alone."""
    tensors = {
        name: tensor if name.endswith(A_SUFFIX) else tensor * np.float32(weight)
        for name, tensor in adapter.tensors.items()
    }
    return Adapter(spec=adapter.spec, tensors=tensors)


DUAL = Method(name="dual", make=make, turn=lambda number: BOTH, exact="inexact (mean of factors)")
