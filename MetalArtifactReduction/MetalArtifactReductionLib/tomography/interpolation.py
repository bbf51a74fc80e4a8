"""A sparse matrix with the same number of taps in every row, and its exact transpose, in torch."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F


class TapMatrix:
    """Rows of ``taps`` weighted look-ups into ``columns`` entries, for many right-hand sides.

    Both directions are gathers (``embedding_bag`` with weights), hence deterministic and without
    atomic additions. ``embedding_bag`` is missing on some devices (MPS); there the forward product
    is a sum over taps and the transpose a scatter.

    :param index: int ``(rows, taps)``, values in ``[0, columns)``.
    :param weight: float ``(rows, taps)``.
    :param columns: length of the vectors that the matrix is applied to.
    :param device: where the product runs.
    """

    def __init__(
        self, index: np.ndarray, weight: np.ndarray, columns: int, device: torch.device
    ) -> None:
        rows, taps = index.shape
        self.rows, self.columns = rows, columns
        self.use_bags = device.type in ("cpu", "cuda")
        # Ascending indices within a row keep the look-ups close together in memory.
        order = np.argsort(index, axis=1, kind="stable")
        index = np.take_along_axis(index, order, axis=1).astype(np.int32)
        weight = np.take_along_axis(weight, order, axis=1).astype(np.float32)
        self.index = torch.from_numpy(index).to(device)
        self.weight = torch.from_numpy(weight).to(device)
        if self.use_bags:
            row_starts = np.arange(0, rows * taps + 1, taps)
            transposed = (
                sp.csr_matrix((weight.ravel(), index.ravel(), row_starts), shape=(rows, columns))
                .tocsc()
                .astype(np.float32)
            )
            self.t_start, self.t_index = (
                torch.from_numpy(part.astype(np.int32)).to(device)
                for part in (transposed.indptr, transposed.indices)
            )
            self.t_weight = torch.from_numpy(transposed.data).to(device)

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        """``(columns, width)`` -> ``(rows, width)``, float32."""
        if self.use_bags:
            return F.embedding_bag(self.index, dense, mode="sum", per_sample_weights=self.weight)
        out = dense.new_zeros(self.rows, dense.shape[1])
        for tap in range(self.index.shape[1]):
            out += dense[self.index[:, tap].long()] * self.weight[:, tap, None]
        return out

    def transpose(self, dense: torch.Tensor) -> torch.Tensor:
        """``(rows, width)`` -> ``(columns, width)``, float32; the exact transpose of `forward`."""
        if self.use_bags:
            return F.embedding_bag(
                self.t_index,
                dense,
                self.t_start,
                mode="sum",
                per_sample_weights=self.t_weight,
                include_last_offset=True,
            )
        out = dense.new_zeros(self.columns, dense.shape[1])
        for tap in range(self.index.shape[1]):
            out.index_add_(0, self.index[:, tap].long(), dense * self.weight[:, tap, None])
        return out
