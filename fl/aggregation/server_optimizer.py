"""What the mean update goes through before it moves the release: FedOpt (Reddi et al., 2003.00295).

The mean of the sites' updates is taken as a gradient, and the server takes the step. Entry by
entry, with D_t the mean update of round t (2003.00295, algorithm 2):
    m_t = b1 m_(t-1) + (1 - b1) D_t                                        m_0 = 0
    v_t = b2 v_(t-1) + (1 - b2) D_t^2                              adam    v_0 = tau^2
    v_t = v_(t-1) - (1 - b2) D_t^2 sign(v_(t-1) - D_t^2)           yogi    v_0 = tau^2
    step = learning_rate * m_t / (sqrt(v_t) + tau)
b1 = 0.9, b2 = 0.99 and tau = 0.001 are the paper's. m and v have the adapter's shapes and belong to
the release that their last step made; all arithmetic on them is in float64.
"""

from collections.abc import Mapping
from typing import Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from fl.adapter import Adapter
from fl.errors import FederationError, SettingsError

State = Mapping[str, npt.NDArray[np.float64]]

BETA_1, BETA_2 = 0.9, 0.99
TAU = 1e-3  # how adaptive: entries that move much less than this take smaller steps
_MEAN, _SQUARE = "m.", "v."  # before a tensor's name, in the state


class ServerOptimizer(Protocol):
    """Turns mean updates into steps, one a round; what it remembers can be saved and put back."""

    def step(self, delta: Adapter) -> Adapter:
        """What is added to the release. Raises FederationError when the state does not fit."""

    def state(self) -> dict[str, npt.NDArray[np.float64]]:
        """A copy of all it remembers; empty before the first step."""

    def load(self, state: State) -> None:
        """Remember this instead: `step` goes on exactly as it would have."""


def server_optimizer(name: str, learning_rate: float) -> ServerOptimizer:
    """A fresh optimiser: none, adam or yogi. Raises SettingsError."""
    if name == "none":
        return _MeanItself()
    if name not in ("adam", "yogi"):
        raise SettingsError(f"federation.server_optimizer is none, adam or yogi, found {name!r}.")
    return _Adaptive(cast(Literal["adam", "yogi"], name), learning_rate)


class _MeanItself:
    """FedAvg as it is: the release becomes the mean of the sites' adapters."""

    def step(self, delta: Adapter) -> Adapter:
        return delta

    def state(self) -> dict[str, npt.NDArray[np.float64]]:
        return {}

    def load(self, state: State) -> None:
        pass


class _Adaptive:
    """Adam and Yogi, which differ in how v forgets."""

    def __init__(self, name: Literal["adam", "yogi"], learning_rate: float) -> None:
        self._name = name
        self._learning_rate = learning_rate
        self._state: dict[str, npt.NDArray[np.float64]] = {}

    def step(self, delta: Adapter) -> Adapter:
        for name, tensor in delta.tensors.items():
            # rolora sends one side a round: each has a state of its own, which waits for its turn
            self._state.setdefault(_MEAN + name, np.zeros(tensor.shape))
            self._state.setdefault(_SQUARE + name, np.full(tensor.shape, TAU**2))
        self._check(delta)
        steps = {}
        for name, tensor in delta.tensors.items():
            gradient = tensor.astype(np.float64)
            squared = gradient**2
            m = BETA_1 * self._state[_MEAN + name] + (1 - BETA_1) * gradient
            v = self._forget(self._state[_SQUARE + name], squared)
            self._state[_MEAN + name], self._state[_SQUARE + name] = m, v
            steps[name] = (self._learning_rate * m / (np.sqrt(v) + TAU)).astype(np.float32)
        return Adapter(spec=delta.spec, tensors=steps)

    def state(self) -> dict[str, npt.NDArray[np.float64]]:
        return {name: tensor.copy() for name, tensor in self._state.items()}

    def load(self, state: State) -> None:
        self._state = {name: tensor.astype(np.float64) for name, tensor in state.items()}

    def _forget(
        self, v: npt.NDArray[np.float64], squared: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """v of this round. Adam's falls by a share, Yogi's by no more than the update's square."""
        if self._name == "adam":
            return BETA_2 * v + (1 - BETA_2) * squared
        return v - (1 - BETA_2) * squared * np.sign(v - squared)

    def _check(self, delta: Adapter) -> None:
        expected = {
            prefix + name: tensor.shape
            for name, tensor in delta.tensors.items()
            for prefix in (_MEAN, _SQUARE)
        }
        found = {name: tensor.shape for name, tensor in self._state.items() if name in expected}
        if found != expected:
            odd = sorted(dict(found.items() ^ expected.items()))
            raise FederationError(
                f"The server optimiser's state is of another adapter: {odd[0]} has shape "
                f"{found.get(odd[0])}, expected {expected.get(odd[0])}. Remove the folder "
                "optimizer of this federation to go on with a fresh state."
            )
