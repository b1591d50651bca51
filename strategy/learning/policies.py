"""A trained agent's policy as a table: the action for every bar and own position."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from strategy.learning.transitions import POSITIONS

ROWS_AT_ONCE = 65_536


def action_table(net: nn.Module, rows_TF: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the preferred action (T, 3) at every row for each own position, without noise."""
    was_training = net.training
    net.eval()
    table_TP = np.empty((len(rows_TF), POSITIONS), np.int64)
    with torch.inference_mode():
        for begin in range(0, len(rows_TF), ROWS_AT_ONCE):
            rows_BF = torch.from_numpy(rows_TF[begin : begin + ROWS_AT_ONCE])
            for held in range(POSITIONS):
                held_B3 = torch.zeros(len(rows_BF), POSITIONS)
                held_B3[:, held] = 1.0
                preferred_B = net(torch.cat((rows_BF, held_B3), dim=1)).argmax(dim=1)
                table_TP[begin : begin + len(rows_BF), held] = preferred_B.numpy()
    net.train(was_training)
    return table_TP


def walk(action_TP: NDArray[np.int64], held: int = 1) -> NDArray[np.int64]:
    """Return the own position (T) after each bar of a walk along a table."""
    position_T = np.empty(len(action_TP), np.int64)
    for t, action_P in enumerate(action_TP):
        held = int(action_P[held])
        position_T[t] = held
    return position_T
